"""The commands that train and use models: compare, train, predict, evaluate."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._auto import at_a_time, for_images
from ._options import (
    Data,
    Device,
    DeviceName,
    Ledger,
    Model,
    ModelFile,
    Models,
    Seed,
    Settings,
    backend_of,
    check_file,
    chosen,
    new_model,
)

if TYPE_CHECKING:
    from xpcls.base import Classifier
    from xpcls.data import Dataset
    from xpcls_backends import Backend

BLOCK = 2**26  # bytes of images that are predicted at a time


def compare(
    data: Data = "mnist5k",
    device: Device = DeviceName.auto,
    models: Models = None,
    features: Annotated[
        str,
        typer.Option(
            help="What the models are given: raw pixels; hog, how edges run in each part; hue, how "
            "colours are distributed; both; or pca, principal components. The ConvNet takes "
            "images, so it is left out but for raw.",
            metavar="raw|hog|hue|hog+hue|pca",
        ),
    ] = "raw",
    seed: Seed = 0,
    ledger: Ledger = None,
    json: Annotated[
        Path | None, typer.Option(help="Also write the results to this file.", metavar="FILE")
    ] = None,
) -> None:
    """Train and test every classifier on a data set, and print one table.

    Hyper-parameters are chosen on the validation part, and each model is fitted again, with the
    best of them, on the training and the validation part. When all are final, the test part is
    opened, once, for all of them. Ctrl-C before that leaves it closed, and prints what is done.
    """
    from xpcls import compare as comparison
    from xpcls import data as readers
    from xpcls.progress import show_progress

    from ._console import (
        comparison_table,
        described,
        note,
        say,
        show,
        test_part,
        write_comparison,
    )

    if features not in comparison.FEATURES:
        raise ValueError(
            f"--features is {features!r}, expected one of: {', '.join(comparison.FEATURES)}"
        )
    names = chosen(models, comparison.candidates(features))
    for path, option in ((json, "--json"), (ledger, "--ledger")):
        if path is not None:
            check_file(path, option)
    backend = backend_of(device)
    with show_progress():
        loaded = readers.load(data)
    comparison.check_features(features, loaded)
    parts = readers.split(loaded, random_state=seed)
    step = at_a_time(names, len(parts.train))
    note(described(data, loaded, parts, seed))
    backend = for_images(device, backend, step, loaded.images.shape[1:])
    rows: dict[str, comparison.Row] = {}
    try:
        test = comparison.seal(loaded, parts, ledger)
        before = len(test.openings)
        with show_progress():
            prepared = comparison.prepare(loaded, parts, backend, features)
            if features != "raw":
                note(
                    f"{features}: {prepared.both[0].shape[1]} numbers an image, made of "
                    f"{prepared.both[0].shape[0]} images in {prepared.seconds:.2f} s, which are "
                    "in no time below"
                )
            for row in comparison.compare(prepared, test, names, seed):
                rows[row.model] = row
    finally:  # also where Ctrl-C or an error ends it: what is done is not lost
        if rows:
            show(comparison_table(list(rows.values())))
            say(test_part(test, before))
            if json is not None:
                openings = [asdict(opening) for opening in test.openings]
                facts = {"features": features, "test_openings": openings}
                write_comparison(json, loaded, parts, seed, list(rows.values()), **facts)
                note(f"wrote {json}")


def train(
    model: Model,
    out: Annotated[Path, typer.Option(help="Where to save the model.", metavar="FILE")],
    data: Data = "mnist5k",
    device: Device = DeviceName.auto,
    seed: Seed = 0,
    settings: Settings = None,
) -> None:
    """Train one classifier on the training part of a data set and save it.

    The test part is left alone, for `xpcls evaluate` with the same --seed. Ctrl-C saves what has
    been learnt so far. A file of knn or nearest contains the training images.
    """
    from xpcls import data as readers
    from xpcls.pixels import fit_images
    from xpcls.progress import show_progress
    from xpcls.storage import save

    from ._console import note, say

    classifier = new_model(model, settings or [], seed)
    check_file(out, "--out")
    backend = backend_of(device)
    with show_progress():
        loaded = readers.load(data)
    parts = readers.split(loaded, random_state=seed)
    step = at_a_time([model], len(parts.train))
    backend = for_images(device, backend, step, loaded.images.shape[1:])
    interrupted = False
    try:
        with show_progress():
            images = backend.asarray(loaded.images[parts.train])
            fit_images(classifier, images, _labels(loaded, parts.train))
    except KeyboardInterrupt:
        if not hasattr(classifier, "classes_"):
            raise
        interrupted = True
        note("interrupted: saving what has been learnt so far")
    save(classifier, out)
    truth = _labels(loaded, parts.validation)
    accuracy = _right(classifier, loaded.images[parts.validation], truth, backend).mean()
    say(f"{out}: {classifier!r}, {len(parts.train)} images, validation accuracy {accuracy:.4f}")
    if interrupted:
        raise KeyboardInterrupt


def predict(
    model_file: ModelFile,
    images: Annotated[list[Path], typer.Argument(help="Image files.", metavar="IMAGE...")],
    device: Device = DeviceName.auto,
    resize: Annotated[
        bool, typer.Option(help="Resize images that are not of the model's size.")
    ] = False,
) -> None:
    """Print the class of each image file, and its probability where the model gives one."""
    from xpcls.data import read_image
    from xpcls.storage import load
    from xpcls_backends import prefetch_to_device, to_host

    from ._console import say

    backend = backend_of(device)
    model = load(model_file)
    shape = _image_shape(model, model_file)
    backend = for_images(device, backend, 1, shape)
    model = _placed(model, model_file, backend)

    def read() -> Iterator[tuple[Any]]:
        for path in images:
            size = shape[:2] if resize else None
            image = read_image(path, size, grey=shape[2] == 1)
            if image.shape != shape:
                raise ValueError(
                    f"{path} has {image.shape[0]} x {image.shape[1]} pixels, but the model was "
                    f"trained on {shape[0]} x {shape[1]}; add --resize"
                )
            yield (image[None],)

    for path, (batch,) in zip(images, prefetch_to_device(read(), backend), strict=True):
        answer = f"{path}: {to_host(model.predict(batch))[0]}"
        if hasattr(model, "predict_proba"):
            answer += f" {to_host(model.predict_proba(batch)).max():.3f}"
        say(answer)


def evaluate(
    model_file: ModelFile,
    data: Data = "mnist5k",
    device: Device = DeviceName.auto,
    seed: Seed = 0,
    part: Annotated[
        str, typer.Option(help="train, validation, test or all.", metavar="PART")
    ] = "test",
    ledger: Ledger = None,
) -> None:
    """Print the accuracy of a saved model on a part of a data set, for each class and in all.

    With the data and the --seed of `xpcls train`, the test part holds no image it was trained on.
    Open it once, at the very end: a model that is chosen by such numbers looks better than it is.
    """
    from xpcls import data as readers
    from xpcls.compare import seal
    from xpcls.progress import show_progress
    from xpcls.storage import load

    from ._console import say, show, table_of, test_part

    if part not in ("train", "validation", "test", "all"):
        raise ValueError(f"--part is {part!r}, expected train, validation, test or all")
    if ledger is not None:
        if part != "test":
            raise ValueError(f"--ledger is for the test part, and --part is {part}; leave it out")
        check_file(ledger, "--ledger")
    backend = backend_of(device)
    model = load(model_file)
    with show_progress():
        loaded = readers.load(data)
        parts = readers.split(loaded, random_state=seed)
        rows: Any = slice(None) if part == "all" else getattr(parts, part)
        truth = _labels(loaded, rows)
        backend = for_images(device, backend, len(truth), loaded.images.shape[1:])
        model = _placed(model, model_file, backend)
        if part == "test":
            test = seal(loaded, parts, ledger)
            before = len(test.openings)
            images, _ = test.open(model)
        else:
            images = loaded.images[rows]
        right = _right(model, images, truth, backend)
    cells = [
        (name, (truth == name).sum(), f"{right[truth == name].mean():.4f}")
        for name in loaded.class_names
        if (truth == name).any()
    ]
    show(table_of(("class", "images", "accuracy"), cells, {"images", "accuracy"}))
    say(f"accuracy on {len(truth)} images ({part}): {right.mean():.4f}")
    if part == "test":
        say(test_part(test, before))


def _labels(data: Dataset, rows: Any) -> Any:
    """The names of the classes of these rows: text, so that a model says what it means."""
    from xpcls_backends import to_host

    return to_host(data.class_names)[data.labels[rows]]


def _right(model: Classifier, images: Any, truth: Any, backend: Backend) -> Any:
    """Whether the model is right about each of these images, all on the host: (N,) booleans.

    They go to the device in parts, so that a card holds a few of those and no more.
    """
    from xpcls_backends import namespace_of, prefetch_to_device, row_blocks, rows_within, to_host

    size = rows_within(BLOCK, math.prod(images.shape[1:]))
    parts = ((images[rows, ...],) for rows in row_blocks(images.shape[0], size))
    found = [to_host(model.predict(x)) for (x,) in prefetch_to_device(parts, backend)]
    return namespace_of(truth).concat(found) == truth


def _placed(model: Classifier, model_file: Path, backend: Backend) -> Classifier:
    """The model, which was read to the CPU, on `backend`."""
    from xpcls.storage import load

    return model if backend.name == "numpy" else load(model_file, backend)


def _image_shape(model: Any, model_file: Path) -> tuple[int, int, int]:
    shape = getattr(model, "image_shape_", None)
    if shape is None:
        raise ValueError(
            f"{model_file} holds a model of {model.n_features_in_} features that was not trained "
            "on images; train one with `xpcls train`"
        )
    height, width, channels = shape
    return height, width, channels
