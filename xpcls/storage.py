"""Fitted classifiers in files: no pickle, no code; trained on a GPU, loaded on a laptop.

A file is in the safetensors format, which any language reads. It holds what the classifier has
learnt as tensors, and one metadata entry, "xpcls", with the rest as JSON:

    format        1
    class         the name of the classifier; one of CLASSES
    params        its hyper-parameters
    n_features_in, image_shape, feature_names    what it expects of X
    classes       the labels where they are text; else null, and they are the tensor "classes"
    plain         what it has learnt that is no tensor, such as the history of training
    versions      of xpcls, NumPy and Python at the time
    sha256        of all the other entries and all tensors

The checksum finds damage. It is no signature: a file made by an enemy can hold wrong weights, but
never anything that is run.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.metadata
import json
import os
import platform
import secrets
import stat
from dataclasses import asdict
from pathlib import Path
from typing import Any

from xpcls_backends import (
    Array,
    Backend,
    get_backend,
    namespace_of,
    object_array,
    to_device,
    to_host,
)

from . import __version__
from .base import REAL_DTYPES, Classifier, TensorKind
from .optimizers import OPTIMIZERS, SCHEDULES
from .options import check_integer

FORMAT = 1
CLASSES = {  # name: module; a file names one of these and nothing else is ever imported
    "KNeighborsClassifier": "xpcls.neighbors",
    "LinearClassifier": "xpcls.linear",
    "MLPClassifier": "xpcls.networks",
    "ConvNetClassifier": "xpcls.networks",
}
# Parameters that are objects: stored as their class's name and their fields, all numbers.
OBJECTS: dict[str, Any] = {
    factory().__class__.__name__: factory for factory in (*OPTIMIZERS.values(), *SCHEDULES.values())
}
WIDEST_TEXT = 4096  # characters, of a dtype of text labels that is wider than its labels

AGAIN = "save the model again, or take another copy of the file"
OURS = "expected a file written by xpcls.save"


class ModelFileError(ValueError):
    """A file is no model: damaged, truncated, foreign, too new or hostile.

    The message names the file, the cause and what to do.
    """


class _Refused(Exception):
    """Why a file is no model, and what to do."""

    def __init__(self, cause: str, remedy: str = AGAIN) -> None:
        super().__init__(cause)
        self.remedy = remedy


def save(model: Classifier, path: str | os.PathLike[str]) -> None:
    """Write a fitted classifier to a file, whole or not at all.

    The folder must exist. A file of that name is replaced, in one step, once the new one is on
    the disk; where anything fails before that, it stays as it was. Only a process that is killed
    can leave something behind, a hidden file .xpcls-*.part beside it.

    The file of a KNeighborsClassifier contains its training images: share it only where you may
    share them. A random_state that is a generator is stored as None.

    Raises NotFittedError before `fit`; TypeError for other classes, and for parameters
    that are no plain data, such as a function as schedule; FileNotFoundError, IsADirectoryError
    and other OSErrors where the file cannot be written.
    """
    name = type(model).__name__
    if name not in CLASSES or type(model) is not _class_named(name):
        raise TypeError(f"model is a {name}, expected one of {', '.join(CLASSES)}")
    model._check_fitted()
    learnt, plain = model._learnt()
    tensors = {key: _storable(tensor) for key, tensor in learnt.items()}
    classes = to_host(model.classes_)
    text = _text_labels(classes)
    if text is None:
        tensors["classes"] = _storable(classes)
    meta = {
        "format": FORMAT,
        "class": name,
        "params": {
            key: _encoded(key, value, name) for key, value in model.get_params(deep=False).items()
        },
        "n_features_in": model.n_features_in_,
        "image_shape": model.image_shape_ and list(model.image_shape_),
        "feature_names": getattr(model, "feature_names_in_", object_array([])).tolist() or None,
        "classes": text,
        "plain": plain,
        "versions": {
            "xpcls": __version__,
            "numpy": importlib.metadata.version("numpy"),
            "python": platform.python_version(),
        },
    }
    # Nothing is written that would not be loaded: a parameter set after fit may not fit it.
    try:
        _rebuild(meta, tensors, get_backend("numpy"))
    except _Refused as refused:
        raise ValueError(f"this {name} cannot be saved: {refused}") from None
    meta["sha256"] = _digest(meta, tensors)
    from safetensors.numpy import save as packed

    _write_whole(Path(path).expanduser(), packed(tensors, {"xpcls": _json(meta)}))


def load(path: str | os.PathLike[str], backend: str | Backend = "numpy") -> Classifier:
    """Read a classifier that `save` has written; its arrays are placed on `backend`.

    backend : a `Backend`, or its name as for `get_backend`. The file may come from any other.

    Predictions are those of the saved classifier, bit for bit on the same device. `partial_fit`
    goes on from the weights; an optimiser's running means and the random stream start afresh.

    Raises ModelFileError, and nothing else, for whatever an existing file holds, and
    FileNotFoundError or IsADirectoryError where there is no file. Nothing in a file is run.
    """
    place = get_backend(backend) if isinstance(backend, str) else backend
    host = get_backend("numpy")
    file = Path(path).expanduser()
    try:
        meta, tensors = _parsed(_read(file))
        model = _rebuild(meta, tensors, host)
    except (OSError, MemoryError):
        raise
    except _Refused as refused:
        raise ModelFileError(f"{file}: {refused}; {refused.remedy}") from None
    except Exception as error:  # hostile contents can raise anything, anywhere
        cause = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ModelFileError(f"{file}: it is damaged ({cause:.200}); {AGAIN}") from error
    # What is known to be good is placed outside of the net above: it can fail only for the device.
    return model if place.xp is host.xp else _rebuild(meta, tensors, place)


def _class_named(name: str) -> type[Classifier]:
    found: type[Classifier] = getattr(importlib.import_module(CLASSES[name]), name)
    return found


# --- contents -----------------------------------------------------------------------------------


def _rebuild(meta: dict[str, Any], tensors: dict[str, Array], backend: Backend) -> Classifier:
    """The classifier that a file describes, its arrays on `backend`; each value is checked."""
    if meta["class"] not in CLASSES:
        raise _Refused(f"its class is {meta['class']!r:.100}, expected one of {', '.join(CLASSES)}")
    params = {name: _decoded(value) for name, value in meta["params"].items()}
    model = _class_named(meta["class"])(**params)
    model._check_options()
    model.n_features_in_ = check_integer("n_features_in", meta["n_features_in"], at_least=1)
    shape = meta["image_shape"]
    model.image_shape_ = shape and tuple(check_integer("image_shape", n, at_least=1) for n in shape)
    names = meta["feature_names"]
    if names is not None:
        _check_strings("feature_names", names, model.n_features_in_)
        model.feature_names_in_ = object_array(names)
    text = meta["classes"]
    n_classes = tensors["classes"].shape[0] if text is None else len(text["values"])
    kinds = model._tensor_kinds(n_classes)
    if text is None:
        kinds = {"classes": (REAL_DTYPES, (n_classes,)), **kinds}
    _check_tensors(tensors, kinds)
    placed = {name: to_device(tensor, backend) for name, tensor in tensors.items()}
    classes = tensors["classes"] if text is None else _labels_of(text)
    ascending = classes[:-1] < classes[1:]
    if n_classes < 2 or not ascending.all():
        raise _Refused("its classes are not in order, each once, and at least two")
    model._restore(placed.pop("classes", classes), placed, meta["plain"])
    return model


def _check_tensors(tensors: dict[str, Array], kinds: dict[str, TensorKind]) -> None:
    if tensors.keys() != kinds.keys():
        raise _Refused(f"it holds {', '.join(tensors)!s:.100}, expected {', '.join(kinds)}")
    for name, (dtypes, shape) in kinds.items():
        tensor, xp = tensors[name], namespace_of(tensors[name])
        fits = len(shape) == tensor.ndim and all(
            wanted in (n, None) for wanted, n in zip(shape, tensor.shape, strict=True)
        )
        if not fits or 0 in tensor.shape or tensor.dtype.name not in dtypes:
            wanted = " or ".join(dtypes) if len(dtypes) < 3 else "real numbers"
            raise _Refused(
                f"its {name} have dtype {tensor.dtype.name} and shape {tensor.shape}, expected "
                f"{wanted} of shape {str(shape).replace('None', 'any')}"
            )
        if xp.isdtype(tensor.dtype, "real floating") and not xp.isfinite(tensor).all():
            raise _Refused(f"its {name} hold NaN or infinity", "train the model again")


def _storable(tensor: Array) -> Any:
    """On the host, in the order of bytes that safetensors writes; only plain dtypes."""
    host = to_host(tensor)
    if host.dtype.name not in REAL_DTYPES:
        raise TypeError(f"labels of dtype {host.dtype} cannot be saved; use integers or str")
    return host.astype(host.dtype.newbyteorder("<"), order="C", copy=False)


def _text_labels(classes: Any) -> dict[str, Any] | None:
    """Labels that are text, or a mixture of objects, as JSON; None for numbers."""
    if classes.dtype.kind not in "OUS":
        return None
    values = [v.item() if hasattr(v, "item") else v for v in classes.tolist()]
    wrong = next((v for v in values if not isinstance(v, str | int | float)), None)
    if wrong is not None:
        raise TypeError(f"the label {wrong!r} cannot be saved; use labels of int or str in fit")
    width = classes.dtype.itemsize // 4 if classes.dtype.kind == "U" else None
    return {"values": values, "width": width and min(width, _widest(values))}


def _labels_of(text: dict[str, Any]) -> Any:
    """The reverse: an array of str of that width, or of objects where it is None."""
    values, width = text["values"], text["width"]
    if not all(isinstance(value, str | int | float) for value in values):
        raise _Refused("its classes are neither text nor numbers")
    labels = object_array(values)
    if width is None:
        return labels
    _check_strings("classes", values, len(values))
    return labels.astype(f"U{check_integer('width', width, at_least=1, at_most=_widest(values))}")


def _widest(values: list[str]) -> int:
    return max(WIDEST_TEXT, *map(len, values))


def _check_strings(name: str, values: Any, n: int) -> None:
    if not isinstance(values, list) or [type(v) for v in values] != [str] * n:
        raise _Refused(f"its {name} are not {n} texts")


# --- parameters ---------------------------------------------------------------------------------


def _encoded(name: str, value: Any, owner: str) -> Any:
    """A parameter as JSON: a number, text or None as it is, an object as its name and fields."""
    if hasattr(value, "dtype") and getattr(value, "shape", None) == ():
        value = value.item()  # a number of NumPy's, as searches set them
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, tuple | list):
        items = [_encoded(name, item, owner) for item in value]
        return items if isinstance(value, list) else {"tuple": items}
    kind = type(value).__name__
    if kind in OBJECTS and type(value) is type(OBJECTS[kind]()):
        fields = {key: _encoded(f"{name}.{key}", v, owner) for key, v in asdict(value).items()}
        return {"object": kind, "fields": fields}
    if name == "random_state":
        return None
    raise TypeError(
        f"{name} is {value!r}, which no file can hold; before saving, change it with "
        f"set_params({name}=...) to plain data or to an object of xpcls.optimizers: "
        f"this changes nothing that the {owner} has learnt"
    )


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "tuple" in value:
        return tuple(_decoded(value["tuple"]))
    factory, fields = OBJECTS[value["object"]], value["fields"]
    defaults = asdict(factory())
    for key, field in fields.items():
        if isinstance(field, bool) or not isinstance(field, int | float) or key not in defaults:
            raise _Refused(f"its {value['object']} has {key!s:.50}={field!r:.50}")
    return factory(**fields)


# --- bytes --------------------------------------------------------------------------------------


def _json(meta: dict[str, Any]) -> str:
    return json.dumps(meta, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _digest(meta: dict[str, Any], tensors: dict[str, Any]) -> str:
    """SHA-256 of the rest of the metadata, and of each tensor's name, dtype, shape and bytes."""
    rest = {key: value for key, value in meta.items() if key != "sha256"}
    total = hashlib.sha256(_json(rest).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        total.update(f"|{name}|{tensor.dtype.name}|{tensor.shape}|".encode())
        total.update(tensor.data)
    return total.hexdigest()


def _parsed(content: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Metadata and tensors, known to be as they were written."""
    from safetensors.numpy import load as unpacked

    length = int.from_bytes(content[:8], "little")
    tensors = unpacked(content)
    meta = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["xpcls"])
    written = meta["format"]
    if type(written) is int and written > FORMAT:
        raise _Refused(
            f"its format is {written}, and this xpcls reads {FORMAT}",
            f"update xpcls; the file was written by {meta.get('versions', {}).get('xpcls')!s:.20}",
        )
    if type(written) is not int or written != FORMAT or meta["sha256"] != _digest(meta, tensors):
        raise _Refused("it is damaged: its checksum does not fit its contents")
    return meta, tensors


def _read(path: Path) -> bytes:
    """All bytes of a file that begins as safetensors and names us; others are not read whole."""
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; {OURS}")
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; {OURS}")
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise _Refused("it is no file but a device or pipe", OURS)
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= status.st_size - 8:
            raise _Refused("it is truncated, or no model at all", f"{OURS}; {AGAIN}")
        header = file.read(length)
        if not header.startswith(b"{") or b'"xpcls"' not in header:
            raise _Refused("it was not written by xpcls, or is damaged", OURS)
        file.seek(0)
        return file.read()


def _write_whole(path: Path, content: bytes) -> None:
    """Replace the file by one with this content; after a crash it is the old or the new one."""
    path = Path(os.path.realpath(path))  # behind a link, the file is replaced and not the link
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the name of a file")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent} is no folder; make it first")
    part = path.parent / f".xpcls-{secrets.token_hex(8)}.part"
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o666)
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
    _sync_folder(path.parent)


_BINARY = getattr(os, "O_BINARY", 0)  # of Windows


def _sync_folder(folder: Path) -> None:
    """Make the new name last. Not every system can; the file is whole with or without."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
