"""The data set itself, the bundled digits, and MNIST's IDX files."""

from __future__ import annotations

import dataclasses
import gzip
import struct
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xpcls.data import DataFormatError, Dataset, load_mnist, load_mnist5k
from xpcls.data._mnist import MAX_BYTES, read_idx

# --- Dataset and the bundled digits -----------------------------------------------------------


def test_the_bundled_digits() -> None:
    digits = load_mnist5k()
    assert digits.images.shape == (5000, 28, 28, 1)
    assert digits.images.dtype == np.uint8
    assert digits.labels.dtype == np.int64
    assert np.bincount(digits.labels).tolist() == [500] * 10
    assert digits.class_names == tuple("0123456789")
    assert "LeCun" in digits.source
    assert "CC BY-SA 3.0" in digits.license
    assert digits.official_test == 0
    assert len(digits) == 5000
    ones, zeros = (digits.images[digits.labels == n].mean() for n in (1, 0))
    assert ones < zeros / 2  # a one takes far less ink: labels belong to the images


def valid() -> dict[str, Any]:
    return {
        "images": np.zeros((3, 4, 5, 1), np.uint8),
        "labels": np.asarray([0, 1, 1]),
        "class_names": ("cat", "dog"),
        "source": "here",
        "license": "CC0",
    }


def test_a_dataset_is_frozen_and_says_what_it_is() -> None:
    data = Dataset(**valid(), official_test=1)
    assert repr(data) == (
        "<Dataset: 3 images of 4 x 5 x 1, the last 1 for testing, 2 classes, source 'here'>"
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        data.labels = data.labels[::-1]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("field", "value", "kind", "message"),
    [
        ("images", [[1]], TypeError, "images is a list"),
        ("images", np.zeros((3, 4, 5, 1)), TypeError, "images has dtype float64, expected uint8"),
        (
            "images",
            np.zeros((3, 4, 5), np.uint8),
            ValueError,
            r"shape \(3, 4, 5\), expected \(N, H",
        ),
        ("images", np.zeros((3, 0, 5, 1), np.uint8), ValueError, "no pixels"),
        ("images", np.zeros((2, 4, 5, 1), np.uint8), ValueError, "3 entries for 2 images"),
        ("labels", np.asarray([0, 1, 1], np.uint8), TypeError, "labels has dtype uint8"),
        ("labels", np.asarray([[0, 1, 1]]), ValueError, r"labels has shape \(1, 3\)"),
        ("labels", np.asarray([0, 2, 1]), ValueError, "labels holds 2, expected 0 to 1"),
        ("labels", np.asarray([0, -1, 1]), ValueError, "labels holds -1"),
        ("class_names", ["cat", "dog"], TypeError, "class_names is"),
        ("class_names", ("cat", 2), TypeError, "class_names is"),
        ("class_names", ("cat", "cat"), ValueError, "none twice"),
        ("class_names", (), ValueError, "at least one"),
        ("source", None, TypeError, "source is None"),
        ("official_test", True, TypeError, "official_test is True"),
        ("official_test", 4, ValueError, "official_test is 4, expected 0 to 3"),
        ("official_test", -1, ValueError, "official_test is -1"),
    ],
)
def test_a_dataset_checks_its_fields(
    field: str, value: object, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        Dataset(**{**valid(), field: value})


# --- IDX --------------------------------------------------------------------------------------


def idx(array: np.ndarray) -> bytes:
    shape = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, 8, array.ndim]) + shape + array.astype(np.uint8).tobytes()


def images_and_labels(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 6, 5), dtype=np.uint8), rng.integers(0, 10, n)


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    for part, n in (("train", 7), ("t10k", 3)):
        images, labels = images_and_labels(n, seed=n)
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx(labels))
    return tmp_path


def pack(path: Path) -> None:
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


def with_a_dot(path: Path) -> None:
    path.rename(path.with_name(path.name.replace("-idx", ".idx")))


def packed_under_the_plain_name(path: Path) -> None:
    path.write_bytes(gzip.compress(path.read_bytes()))


@pytest.mark.parametrize("change", [None, pack, with_a_dot, packed_under_the_plain_name])
def test_mnist_in_its_variants(mnist: Path, change: Callable[[Path], None] | None) -> None:
    for path in sorted(mnist.iterdir()) if change else ():
        change(path)
    data = load_mnist(mnist)
    (images, labels), (test_images, test_labels) = (images_and_labels(n, seed=n) for n in (7, 3))
    assert np.array_equal(data.images[..., 0], np.concatenate([images, test_images]))
    assert np.array_equal(data.labels, np.concatenate([labels, test_labels]))
    assert data.labels.dtype == np.int64
    assert data.official_test == 3
    assert data.class_names == tuple("0123456789")


def test_missing_parts(mnist: Path, tmp_path: Path) -> None:
    for path in mnist.glob("t10k*"):
        path.unlink()
    with pytest.warns(UserWarning, match=r"lacks the files t10k-\*"):
        data = load_mnist(mnist)
    assert (len(data), data.official_test) == (7, 0)
    (mnist / "train-labels-idx1-ubyte").unlink()
    with (
        pytest.raises(FileNotFoundError, match="lacks train-labels-idx1-ubyte"),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        load_mnist(mnist)
    (mnist / "train-images-idx3-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match="holds no train-images-idx3-ubyte"):
        load_mnist(mnist)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_mnist(tmp_path / "nowhere")


def header(*lengths: int, kind: int = 8, ndim: int = 3) -> bytes:
    return bytes([0, 0, kind, ndim]) + struct.pack(f">{len(lengths)}I", *lengths)


BAD = {
    "empty": (b"", "does not begin with"),
    "three bytes": (b"\0\0\x08", "does not begin with"),
    "text": (b"<html>", "does not begin with"),
    "type": (header(1, 1, 1, kind=0x0D) + b"x", "its type is 0x0d"),
    "dimensions": (header(1, 1, ndim=2) + b"x", "says that it has 2"),
    "255 dimensions": (header(*[1] * 255, ndim=255) + b"x", "says that it has 255"),
    "short header": (header(1, 1), "ends in its header"),
    "no values": (header(0, 1, 1), "is empty"),
    "too large": (header(MAX_BYTES, 1, 2), "of more than"),
    "product past 64 bits": (header(2**32 - 1, 2**32 - 1, 2**32 - 1), "of more than"),
    "product that wraps to 4": (header(2**31, 2**31, 4), "of more than"),
    "truncated": (header(2, 2, 2) + b"1234567", "ends after 7 of 8"),
    "far too short": (header(MAX_BYTES, 1, 1) + b"1234567", f"ends after 7 of {MAX_BYTES}"),
    "too long": (header(2, 2, 2) + b"123456789", "goes on after its 8"),
}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("kind", BAD)
def test_malformed_idx(tmp_path: Path, kind: str, packed: bool) -> None:
    content, reason = BAD[kind]
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(gzip.compress(content) if packed else content)
    tracemalloc.start()
    with pytest.raises(DataFormatError, match=reason) as caught:
        read_idx(path, ndim=3)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20
    assert str(path) in str(caught.value)
    assert "take the file from" in str(caught.value)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda packed: packed[:-1],
        lambda packed: packed[:-8],
        lambda packed: packed[:-8] + b"\0\0\0\0" + packed[-4:],  # the checksum
        lambda packed: packed[:-4] + b"\0\0\0\0",  # the length
        lambda packed: packed + b"behind the end",
        lambda packed: packed[:20] + b"\xff\xff\xff\xff" + packed[24:],
    ],
)
def test_damaged_gzip(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    images, _ = images_and_labels(50, seed=0)
    path = tmp_path / "images.gz"
    path.write_bytes(spoil(gzip.compress(idx(images))))
    with pytest.raises(DataFormatError, match=r"images\.gz is no IDX file"):
        read_idx(path, ndim=3)


def test_a_gzip_bomb_is_left_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    zeros = gzip.compress(bytes(1 << 20)) * 500  # members of one stream: 500 MiB in 0.5 MiB
    path.write_bytes(gzip.compress(header(2, 2, 2)) + zeros)
    tracemalloc.start()
    with pytest.raises(DataFormatError, match="goes on after its 8 values"):
        read_idx(path, ndim=3)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20


def test_files_that_do_not_fit_together(mnist: Path) -> None:
    labels = mnist / "t10k-labels-idx1-ubyte"
    good = labels.read_bytes()
    labels.write_bytes(idx(np.zeros(4)))
    with pytest.raises(DataFormatError, match="4 labels for the 3 images of t10k-images"):
        load_mnist(mnist)
    labels.write_bytes(idx(np.asarray([1, 10, 2])))
    with pytest.raises(DataFormatError, match="holds the label 10"):
        load_mnist(mnist)
    labels.write_bytes(good)
    (mnist / "t10k-images-idx3-ubyte").write_bytes(idx(np.zeros((3, 5, 6))))
    with pytest.raises(DataFormatError, match="one data set"):
        load_mnist(mnist)


def test_mutants_of_idx_files(mnist: Path) -> None:
    rng = np.random.default_rng(0)
    path = mnist / "t10k-images-idx3-ubyte"
    content = path.read_bytes()
    outcomes = set()
    for i in range(600):
        mutant = bytearray(gzip.compress(content) if i % 2 else content)
        for _ in range(rng.integers(1, 4)):
            at = int(rng.integers(min(len(mutant), 40) if rng.random() < 0.6 else len(mutant)))
            change = rng.integers(3)
            if change == 0:
                mutant[at] = rng.integers(256)
            elif change == 1:
                del mutant[at : at + int(rng.integers(1, 5))]
            else:
                mutant[at:at] = rng.bytes(int(rng.integers(1, 5)))
        path.write_bytes(bytes(mutant))
        try:
            data = load_mnist(mnist)
        except DataFormatError:
            outcomes.add("refused")
        else:
            outcomes.add("loaded")
            assert data.images.shape[0] == 10
    assert outcomes == {"refused", "loaded"}
