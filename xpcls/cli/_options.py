"""What several commands take, and what is made of it."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from xpcls.base import Classifier
    from xpcls_backends import Backend


class DeviceName(StrEnum):
    """Where to run."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


Data = Annotated[
    str,
    typer.Option(
        help="A data set: mnist5k (bundled digits), shapes (drawn, in colour), or a path: "
        "CIFAR-10's batches, MNIST's IDX files, or a folder with one subfolder of images for each "
        "class.",
        metavar="PATH|mnist5k|shapes",
    ),
]
Device = Annotated[
    DeviceName,
    typer.Option(
        help="auto takes a CUDA GPU where one works and the images are not too few or too small "
        "for it, else the CPU."
    ),
]
Seed = Annotated[
    int, typer.Option(help="Of the split into parts and of training; one seed, one result.", min=0)
]
Model = Annotated[
    str,
    typer.Argument(
        help="nearest, knn, hinge, squared_hinge, one_vs_all, structured, softmax, mlp or convnet.",
        metavar="MODEL",
    ),
]
Models = Annotated[
    str | None,
    typer.Option(
        help="Only these, with commas between: nearest, knn, hinge, squared_hinge, one_vs_all, "
        "structured, softmax, mlp, convnet.",
        metavar="NAME,...",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="A hyper-parameter, for example --set l2=0.001 --set epochs=100: any parameter of "
        "KNeighborsClassifier, LinearClassifier, MLPClassifier or ConvNetClassifier.",
        metavar="NAME=VALUE",
    ),
]
Ledger = Annotated[
    Path | None,
    typer.Option(
        help="A file that remembers when the test part was opened, so that earlier openings, of "
        "`xpcls compare` and `xpcls evaluate`, are counted too. Each --seed has another test part.",
        metavar="FILE",
    ),
]
ModelFile = Annotated[
    Path, typer.Argument(help="A file that `xpcls train` wrote.", metavar="MODEL_FILE")
]


def backend_of(device: DeviceName) -> Backend:
    """The backend for --device."""
    from xpcls_backends import get_backend

    return get_backend(device.value)


def chosen(names: str | None, known: Iterable[str]) -> list[str]:
    """Names with commas between, in the order given; all that are known for None."""
    known = list(known)
    if names is None:
        return known
    given = [name.strip() for name in names.split(",") if name.strip()]
    for name in given:
        if name not in known:
            raise ValueError(f"--models names {name!r}, expected some of: {', '.join(known)}")
    if not given:
        raise ValueError(f"--models is empty, expected some of: {', '.join(known)}")
    return given


def model_names() -> tuple[str, ...]:
    """All that `new_model` knows."""
    from xpcls.linear_model import LINEAR_LOSSES

    return ("nearest", "knn", *LINEAR_LOSSES, "mlp", "convnet")


def new_model(name: str, settings: list[str], seed: int) -> Classifier:
    """The classifier called `name`, with hyper-parameters NAME=VALUE."""
    from xpcls.linear import LinearClassifier
    from xpcls.linear_model import LINEAR_LOSSES
    from xpcls.neighbors import KNeighborsClassifier
    from xpcls.networks import ConvNetClassifier, MLPClassifier

    model: Classifier
    if name in LINEAR_LOSSES:
        model = LinearClassifier(name, random_state=seed)
    elif name == "knn":
        model = KNeighborsClassifier()
    elif name == "nearest":
        model = KNeighborsClassifier(1, metric="l1")
    elif name == "mlp":
        model = MLPClassifier(random_state=seed)
    elif name == "convnet":
        model = ConvNetClassifier(random_state=seed)
    else:
        raise ValueError(f"MODEL is {name!r}, expected one of: {', '.join(model_names())}")
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise ValueError(f"--set is {setting!r}, expected NAME=VALUE, for example l2=0.001")
        model.set_params(**{key.strip(): _value(value.strip())})
    return model


def _value(text: str) -> Any:
    """A number, True, False or None where the text is one, else the text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def check_file(path: Path, option: str) -> None:
    """Raise where no file of that name can be written, before anything is done for it."""
    if path.is_dir():
        raise ValueError(f"{option} is {path}, which is a folder; give the name of a file")
    folder_of(path, option)


def folder_of(path: Path, option: str) -> Path:
    """The folder that `path` is to be written into; raises where it is not there."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise ValueError(f"{option} is {path}, but there is no folder {folder}; make it first")
    return folder
