"""MNIST, and what shares its format: IDX files, plain or packed by gzip.

An IDX file is two zero bytes, a type, the number of dimensions, each length as a big-endian
32-bit integer, and then the values, the last dimension running fastest.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import warnings
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from ._dataset import DataFormatError, Dataset, Images

PARTS = ("train", "t10k")  # the second is the official test part
KINDS = {"images": 3, "labels": 1}  # with their number of dimensions
CLASS_NAMES = tuple("0123456789")
HOME = "http://yann.lecun.com/exdb/mnist/ or a mirror of it"

UNSIGNED_BYTE = 0x08  # the only type of IDX that these files use
MAX_BYTES = 1 << 30  # of one file's values; MNIST's largest has 47 million
STEP = 1 << 20


def load_mnist(folder: str | os.PathLike[str]) -> Dataset:
    """MNIST from its IDX files, or another data set in files of the same names (Fashion-MNIST).

    folder : holds train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and
        t10k-labels-idx1-ubyte, each plain or with .gz; train-images.idx3-ubyte and so on will do.

    Returns a `Dataset` with `images` uint8 (N, H, W, 1), the rows of t10k last: they are the
    `official_test`. Where train or t10k is missing, a warning says so.

    Raises FileNotFoundError where there is none of the files, or images lack their labels, and
    DataFormatError where a file is damaged.
    """
    path = Path(folder).expanduser()
    found = find_mnist(path)
    if not found:
        problem = "holds no train-images-idx3-ubyte and no t10k-images-idx3-ubyte"
        raise FileNotFoundError(
            f"{path} {problem if path.exists() else 'does not exist'}; MNIST is at {HOME}"
        )
    images, labels = [], []
    for part in PARTS:
        if (part, "images") not in found and (part, "labels") not in found:
            warnings.warn(f"{path} lacks the files {part}-*: read without them", stacklevel=2)
            continue
        for kind in KINDS:
            if (part, kind) not in found:
                raise FileNotFoundError(
                    f"{path} lacks {part}-{kind}-idx{KINDS[kind]}-ubyte; MNIST is at {HOME}"
                )
        image_file, label_file = found[part, "images"], found[part, "labels"]
        images.append(read_idx(image_file, ndim=3))
        labels.append(read_idx(label_file, ndim=1))
        if len(images[-1]) != len(labels[-1]):
            raise DataFormatError(
                f"{label_file} has {len(labels[-1])} labels for the {len(images[-1])} images of "
                f"{image_file.name}; take both from {HOME}"
            )
        if labels[-1].max() >= len(CLASS_NAMES):
            raise DataFormatError(
                f"{label_file} holds the label {labels[-1].max()}, expected 0 to "
                f"{len(CLASS_NAMES) - 1}; take the file from {HOME}"
            )
    shapes = {array.shape[1:] for array in images}
    if len(shapes) > 1:
        raise DataFormatError(
            f"{path}: the images of train have shape {images[0].shape[1:]}, those of t10k "
            f"{images[1].shape[1:]}; put files of one data set into the folder"
        )
    has_test = (PARTS[1], "images") in found
    return Dataset(
        images=np.concatenate(images)[..., np.newaxis],
        labels=np.concatenate(labels).astype(np.int64),
        class_names=CLASS_NAMES,
        source=f"IDX files named like MNIST's, read from {path}",
        license="as the makers of the files say; MNIST itself is under CC BY-SA 3.0",
        official_test=len(labels[-1]) if has_test else 0,
    )


def find_mnist(folder: Path) -> dict[tuple[str, str], Path]:
    """The files that are there, by part ("train", "t10k") and kind ("images", "labels")."""
    found: dict[tuple[str, str], Path] = {}
    for part in PARTS:
        for kind, ndim in KINDS.items():
            for joint in ("-", "."):
                for ending in ("", ".gz"):
                    path = folder / f"{part}-{kind}{joint}idx{ndim}-ubyte{ending}"
                    if path.is_file():
                        found.setdefault((part, kind), path)
    return found


def read_idx(path: Path, ndim: int) -> Images:
    """The array of unsigned bytes, with `ndim` dimensions, in an IDX file, plain or packed.

    Raises DataFormatError where the file is not that, and memory is taken only as values arrive.
    """
    try:
        with open(path, "rb") as file:
            packed = file.read(2) == b"\x1f\x8b"  # by content: browsers unpack and keep the name
            file.seek(0)
            if not packed:
                return _read_idx(file, ndim)
            with gzip.open(file) as stream:
                return _read_idx(stream, ndim)
    except (_Malformed, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataFormatError(
            f"{path} is no IDX file of {ndim} dimensions: {error}; take the file from {HOME}"
        ) from None


class _Malformed(ValueError):
    """What is wrong with an IDX file, as one clause."""


def _read_idx(stream: IO[bytes] | gzip.GzipFile, ndim: int) -> Images:
    header = stream.read(4)
    if len(header) < 4 or header[:2] != b"\0\0":
        raise _Malformed("it does not begin with two zero bytes, a type and a number of dimensions")
    if header[2] != UNSIGNED_BYTE:
        raise _Malformed(f"its type is {header[2]:#04x}, not {UNSIGNED_BYTE:#04x}, unsigned byte")
    if header[3] != ndim:
        raise _Malformed(f"it says that it has {header[3]}")
    lengths = stream.read(4 * ndim)
    if len(lengths) < 4 * ndim:
        raise _Malformed("it ends in its header")
    shape = struct.unpack(f">{ndim}I", lengths)
    expected = math.prod(shape)  # Python's integers: it cannot wrap round to something small
    if not 0 < expected <= MAX_BYTES:
        raise _Malformed(f"its shape {shape} is empty or of more than {MAX_BYTES} bytes")
    values = bytearray()
    while len(values) < expected:
        step = stream.read(min(STEP, expected - len(values)))
        if not step:
            raise _Malformed(f"it ends after {len(values)} of {expected} values")
        values += step
    # One byte more: it shows what is too much, and at its end gzip compares its checksum.
    if stream.read(1):
        raise _Malformed(f"it goes on after its {expected} values")
    flat: Images = np.frombuffer(values, dtype=np.uint8)
    return flat.reshape(shape)
