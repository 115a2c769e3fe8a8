"""CIFAR-10 as its makers publish it: pickled batches, in a folder or in their .tar.gz.

The batches were pickled by Python 2 in 2009. Copies of them travel from disk to disk, and a pickle
can hold a program, so they are parsed by `_safe_pickle`, which runs nothing; then every shape,
dtype and length is checked before an array is made.
"""

from __future__ import annotations

import gzip
import os
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from xpcls.progress import advance

from . import _safe_pickle
from ._dataset import DataFormatError, Dataset, Images, Indices
from ._safe_pickle import Call, Refused

TRAINING = tuple(f"data_batch_{i}" for i in range(1, 6))
TEST = "test_batch"
META = "batches.meta"
FOLDER = "cifar-10-batches-py"
ARCHIVE = "cifar-10-python.tar.gz"
HOME = "https://www.cs.toronto.edu/~kriz/cifar.html"

CLASS_NAMES: tuple[str, ...] = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
SIDE = 32
ROW_BYTES = 3 * SIDE * SIDE  # red, then green, then blue, each row by row

MAX_FILE = 64 << 20  # bytes; a batch has 31 million
MAX_ARCHIVE = 512 << 20  # bytes when unpacked; the archive has 186 million
MAX_MEMBERS = 100  # the archive has 9

# NumPy has moved its modules; what the files ask for has stayed the same.
_RECONSTRUCT = {f"numpy.{core}.multiarray._reconstruct" for core in ("core", "_core")}
_FROM_BUFFER = {f"numpy.{core}.numeric._frombuffer" for core in ("core", "_core")}
_NAMES = _RECONSTRUCT | _FROM_BUFFER | {"numpy.ndarray", "numpy.dtype"}


def load_cifar10(folder: str | os.PathLike[str]) -> Dataset:
    """CIFAR-10 from its Python version: 60,000 colour images of 32 x 32 pixels in ten classes.

    folder : the folder cifar-10-batches-py, the folder that holds it, or the file
        cifar-10-python.tar.gz, which is read without unpacking it to disk.

    Returns a `Dataset` with `images` uint8 (N, 32, 32, 3), the training batches in order and then
    the test batch, whose rows are the `official_test`. Batches that are missing are named in a
    warning. Files of pickle protocols 3 to 5, written anew by Python 3, are read too.

    Raises FileNotFoundError where there is no batch, and DataFormatError where a file is damaged
    or holds anything but images and labels. Nothing in a file is run.
    """
    path = Path(folder).expanduser()
    place = find_cifar10(path)
    if place is None:
        problem = f"holds no CIFAR-10: no {TRAINING[0]} ... {TEST}, no {FOLDER}, no {ARCHIVE}"
        raise FileNotFoundError(
            f"{path} {problem if path.exists() else 'does not exist'}; "
            f"the python version of CIFAR-10 is at {HOME}"
        )
    batches: dict[str, tuple[Images, Indices]] = {}
    class_names = CLASS_NAMES
    for name, where, buffer in _from_archive(place) if place.is_file() else _from_folder(place):
        try:
            content = _safe_pickle.parse(buffer, _NAMES)
            if name == META:
                class_names = _class_names(content)
            else:
                batches[name] = _batch(content)
        except Refused as reason:
            raise DataFormatError(
                f"{where} is refused: {reason}; take the file from {HOME}"
            ) from None
        advance("reading CIFAR-10", len(batches), 1 + len(TRAINING))
    if not batches:
        raise DataFormatError(f"{place} holds no batch of CIFAR-10; take the archive from {HOME}")
    missing = [name for name in (*TRAINING, TEST) if name not in batches]
    if missing:
        warnings.warn(
            f"{place} lacks {', '.join(missing)}: CIFAR-10 is read without them", stacklevel=2
        )
    ordered = [batches[name] for name in (*TRAINING, TEST) if name in batches]
    return Dataset(
        images=np.concatenate([images for images, _ in ordered]),
        labels=np.concatenate([labels for _, labels in ordered]),
        class_names=class_names,
        source=f"CIFAR-10 (Alex Krizhevsky, Vinod Nair, Geoffrey Hinton), read from {place}",
        license=f"none named by its makers; they ask to be cited, see {HOME}",
        official_test=len(batches[TEST][1]) if TEST in batches else 0,
    )


def find_cifar10(path: Path) -> Path | None:
    """The folder with the batches or the archive, at `path` or in it, or None."""
    if path.is_file():
        return path
    for folder in (path, path / FOLDER):
        if any((folder / name).is_file() for name in (*TRAINING, TEST)):
            return folder
    return path / ARCHIVE if (path / ARCHIVE).is_file() else None


def _from_folder(folder: Path) -> Iterator[tuple[str, str, bytes]]:
    """(name, where, content) of each file of CIFAR-10 in a folder."""
    for name in (META, *TRAINING, TEST):
        path = folder / name
        if path.is_file():
            with open(path, "rb") as file:
                content = file.read(MAX_FILE + 1)
            if len(content) > MAX_FILE:
                raise DataFormatError(
                    f"{path} has more than {MAX_FILE} bytes, a batch has 31 million; "
                    f"take the file from {HOME}"
                )
            yield name, str(path), content


def _from_archive(path: Path) -> Iterator[tuple[str, str, bytes]]:
    """(name, where, content) of each file of CIFAR-10 in a .tar.gz, in the order they stand there.

    A tar file is a row of members, each a header of 512 bytes and the content, padded to 512. Its
    names and sizes are all that is needed, and a few lines for them have no long names, links or
    sparse files by which an archive could take memory or time.
    """
    seen: set[str] = set()
    try:
        with gzip.open(path, "rb") as stream:
            for _ in range(MAX_MEMBERS):
                header = stream.read(512)
                if len(header) < 512 or not any(header):
                    break
                full, size, regular = _header(header)
                name = full.rpartition("/")[2]
                if regular and name in (META, *TRAINING, TEST) and name not in seen:
                    if size > MAX_FILE:
                        raise Refused(f"{name} has {size} bytes, a batch has 31 million")
                    content = stream.read(size)
                    if len(content) < size:
                        raise EOFError(f"{name} is cut off")
                    seen.add(name)
                    yield name, f"{path}: {name}", content
                    size = -size % 512  # what is left is padding
                else:
                    size += -size % 512
                _skip(stream, size)
            _skip(stream, None)  # to the end, where gzip's checksum stands
    except (Refused, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataFormatError(
            f"{path} is no whole {ARCHIVE}: {error}; take it from {HOME}"
        ) from None


def _header(block: bytes) -> tuple[str, int, bool]:
    """(name, size, whether it is a file) of a tar header."""
    try:
        total = sum(block) - sum(block[148:156]) + 8 * ord(" ")
        if int(block[148:156].rstrip(b" \0"), 8) == total:
            size = int(block[124:136].rstrip(b" \0") or b"0", 8)
            if size >= 0:
                name = block[:100].partition(b"\0")[0].decode("latin-1")
                return name, size, block[156:157] in (b"0", b"\0")
    except ValueError:
        pass
    raise Refused("what it packs is no tar file")


def _skip(stream: gzip.GzipFile, size: int | None) -> None:
    """Read over `size` bytes, or over the rest, in steps."""
    while size is None or size > 0:
        if stream.tell() > MAX_ARCHIVE:
            raise Refused(f"it unpacks to more than {MAX_ARCHIVE} bytes")
        step = len(stream.read(1 << 20 if size is None else min(size, 1 << 20)))
        if not step:
            break
        size = None if size is None else size - step


def _batch(content: Any) -> tuple[Images, Indices]:
    """Images (n, 32, 32, 3) and labels (n,) of a parsed batch."""
    entries = _entries(content)
    rows = _rows(entries.get("data"))
    labels = entries.get("labels")
    if type(labels) is not list or not all(type(label) is int for label in labels):
        raise Refused("its labels are no list of integers")
    if len(labels) != len(rows):
        raise Refused(f"it has {len(labels)} labels for {len(rows)} images")
    if not all(0 <= label < len(CLASS_NAMES) for label in labels):
        raise Refused(f"a label is not one of 0 to {len(CLASS_NAMES) - 1}")
    images = rows.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), np.asarray(labels, dtype=np.int64)


def _class_names(content: Any) -> tuple[str, ...]:
    names = _entries(content).get("label_names")
    if type(names) is not list or len(names) != len(CLASS_NAMES):
        raise Refused(f"its label_names are no list of {len(CLASS_NAMES)}")
    texts = tuple(map(_text, names))
    if len(set(texts)) < len(texts):
        raise Refused("its label_names hold one name twice")
    if not all(text.isprintable() for text in texts):  # a terminal would obey escape sequences
        raise Refused("its label_names hold characters that cannot be printed")
    return texts


def _entries(content: Any) -> dict[str, Any]:
    if type(content) is not dict:
        raise Refused(f"it holds a {type(content).__name__}, not a dictionary")
    return {_text(key): value for key, value in content.items()}


def _text(value: Any) -> str:
    """Text as Python 2 wrote it (bytes) or as Python 3 does."""
    if type(value) is bytes:
        return value.decode("latin-1")
    if type(value) is str:
        return value
    raise Refused(f"a {type(value).__name__} stands where a name is expected")


def _rows(value: Any) -> Images:
    """The array uint8 (n, 3072) that the parsed calls describe, once all of it is checked.

    Until protocol 4, NumPy writes `_reconstruct(...)` and the state (version, shape, dtype, whether
    columns come first, bytes); in protocol 5 `_frombuffer(bytes, dtype, shape, order)`.
    """
    if type(value) is not Call:
        raise Refused("its data is no array")
    if value.function in _RECONSTRUCT and type(value.state) is tuple and len(value.state) == 5:
        _, shape, dtype, by_column, raw = value.state
    elif value.function in _FROM_BUFFER and len(value.arguments) == 4:
        raw, dtype, shape, order = value.arguments
        by_column = type(order) is str and order == "F"
    else:
        raise Refused("its data is no array")
    if type(dtype) is not Call or dtype.function != "numpy.dtype" or not dtype.arguments:
        raise Refused("its array has no dtype")
    if _text(dtype.arguments[0]) not in ("u1", "|u1", "uint8"):
        raise Refused("the dtype of its array is not uint8")
    if type(shape) is not tuple or [type(n) for n in shape] != [int, int] or shape[0] < 1:
        raise Refused("the shape of its array is not (rows, columns)")
    if shape[1] != ROW_BYTES:
        raise Refused(f"the rows of its array are not of {ROW_BYTES} bytes")
    if type(raw) not in (bytes, bytearray) or len(raw) != shape[0] * shape[1]:
        raise Refused("the bytes of its array are not as many as its shape says")
    flat: Images = np.frombuffer(raw, dtype=np.uint8)
    return flat.reshape(shape[::-1]).T if by_column else flat.reshape(shape)
