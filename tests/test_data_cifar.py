"""CIFAR-10's batches: read as their makers wrote them, and refused when they are malformed."""

from __future__ import annotations

import pickle
import tarfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.cifar_files import array, batch, label_list, meta, protocol_0_meta, python2
from xpcls.data import DataFormatError, load_cifar10
from xpcls.data._cifar import CLASS_NAMES, MAX_FILE, TRAINING


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (4, 3072), dtype=np.uint8)


@pytest.fixture
def written(tmp_path: Path) -> Callable[[bytes], Path]:
    """A folder whose one batch has the content given."""

    def write(content: bytes) -> Path:
        (tmp_path / "data_batch_1").write_bytes(content)
        return tmp_path

    return write


def whole_set(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """All six batches, of 2 images each; returns the rows and labels in order."""
    rng = np.random.default_rng(1)
    every_row = rng.integers(0, 256, (12, 3072), dtype=np.uint8)
    labels = rng.integers(0, 10, 12)
    for i, name in enumerate((*TRAINING, "test_batch")):
        part = slice(2 * i, 2 * i + 2)
        (folder / name).write_bytes(python2(every_row[part], labels[part]))
    (folder / "batches.meta").write_bytes(meta([name.encode() for name in CLASS_NAMES]))
    return every_row, labels


def load_alone(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    with pytest.warns(UserWarning, match="lacks .*test_batch"):
        data = load_cifar10(folder)
    return data.images, data.labels


# --- what is read -----------------------------------------------------------------------------


def test_all_batches_in_order_with_the_test_batch_last(tmp_path: Path) -> None:
    every_row, labels = whole_set(tmp_path)
    data = load_cifar10(tmp_path)
    assert data.images.shape == (12, 32, 32, 3)
    assert data.images.dtype == np.uint8
    assert data.labels.dtype == np.int64
    assert data.labels.tolist() == labels.tolist()
    assert data.official_test == 2
    assert data.class_names == CLASS_NAMES
    for n, row, column, channel in [(0, 0, 0, 0), (3, 5, 31, 1), (11, 31, 2, 2), (7, 30, 30, 0)]:
        assert (
            data.images[n, row, column, channel] == every_row[n, channel * 1024 + row * 32 + column]
        )


def test_the_files_made_here_are_what_python_reads(rows: np.ndarray) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # numpy.core has moved
        content = pickle.loads(python2(rows, [1, 2, 3, 4]), encoding="bytes")
    assert np.array_equal(content[b"data"], rows)
    assert content[b"labels"] == [1, 2, 3, 4]


def test_the_parent_folder_and_the_archive_give_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    whole_set(folder)
    expected = load_cifar10(folder)
    (folder / "readme.html").write_text("not a batch")
    archive = tmp_path / "elsewhere" / "cifar-10-python.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, arcname=folder.name)
    for place in (tmp_path, archive, archive.parent):
        found = load_cifar10(place)
        assert np.array_equal(found.images, expected.images)
        assert np.array_equal(found.labels, expected.labels)
        assert found.official_test == 2
    assert sorted(p.name for p in archive.parent.iterdir()) == [archive.name]  # nothing unpacked


@pytest.mark.parametrize("write", [meta, protocol_0_meta])
def test_class_names_come_from_the_meta_file(tmp_path: Path, write: Callable[..., bytes]) -> None:
    whole_set(tmp_path)
    (tmp_path / "batches.meta").write_bytes(write([b"class %d" % i for i in range(10)]))
    assert load_cifar10(tmp_path).class_names == tuple(f"class {i}" for i in range(10))
    (tmp_path / "batches.meta").unlink()
    assert load_cifar10(tmp_path).class_names == CLASS_NAMES


@pytest.mark.parametrize(
    "names",
    [[b"a"] * 10, [b"a", b"b"], [b"%d" % i for i in range(9)] + [b"\x1b]0;owned\x07"]],
    ids=["twice", "two", "escape sequence"],
)
def test_bad_class_names_are_refused(tmp_path: Path, names: list[bytes]) -> None:
    whole_set(tmp_path)
    (tmp_path / "batches.meta").write_bytes(meta(names))
    with pytest.raises(DataFormatError, match=r"batches\.meta is refused: its label_names"):
        load_cifar10(tmp_path)


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("keys", [bytes, str])
def test_batches_written_anew_by_python_3(
    written: Callable[[bytes], Path], rows: np.ndarray, protocol: int, order: str, keys: type
) -> None:
    names = [b"data", b"labels"] if keys is bytes else ["data", "labels"]
    value = dict(zip(names, [np.asarray(rows, order=order), [3, 1, 4, 1]], strict=True))
    images, labels = load_alone(written(pickle.dumps(value, protocol)))
    assert np.array_equal(images.transpose(0, 3, 1, 2).reshape(4, -1), rows)
    assert labels.tolist() == [3, 1, 4, 1]


def test_python_3_with_an_old_protocol_is_refused(
    written: Callable[[bytes], Path], rows: np.ndarray
) -> None:
    content = pickle.dumps({b"data": rows, b"labels": [0, 1, 2, 3]}, 2)
    with pytest.raises(DataFormatError, match=r"asks for '_codecs\.encode'"):
        load_cifar10(written(content))


def test_missing_batches_are_named_in_a_warning(tmp_path: Path) -> None:
    whole_set(tmp_path)
    (tmp_path / "data_batch_3").unlink()
    (tmp_path / "test_batch").unlink()
    with pytest.warns(UserWarning, match="lacks data_batch_3, test_batch"):
        data = load_cifar10(tmp_path)
    assert len(data) == 8
    assert data.official_test == 0


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no CIFAR-10.*cs\.toronto\.edu"):
        load_cifar10(tmp_path)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_cifar10(tmp_path / "nowhere")


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (lambda x: python2(x, [0, 1, 2]), "3 labels for 4 images"),
        (lambda x: python2(x, [0, 1, 2, 10]), "not one of 0 to 9"),
        (lambda x: batch(array(x), b"](K\x01K\x01K\x01\x88e"), "no list of integers"),
        (lambda x: python2(x[:, :3071], [0] * 4), "not of 3072 bytes"),
        (lambda x: batch(array(x, b"i8"), label_list([0] * 4)), "not uint8"),
        (lambda x: batch(array(x, b"O8"), label_list([0] * 4)), "not uint8"),
        (lambda x: batch(array(x, shape=b"K\x05M\x00\x0c\x86"), label_list([0] * 5)), "as many"),
        (lambda x: batch(array(x, shape=b"J\xff\xff\xff\xffM\x00\x0c\x86"), b"]"), "shape"),
        (lambda x: batch(array(x, shape=b"K\x04\x85"), label_list([0] * 4)), "shape"),
        (lambda x: batch(b"N", label_list([0] * 4)), "data is no array"),
        (lambda x: batch(array(x, shape=b"K\x00ubK\x01"), b"]"), "takes a"),
        (lambda x: batch(array(x).replace(b"numpy\ndtype", b"numpy\nndarray"), b"]"), "no dtype"),
        (lambda x: batch(array(x).replace(b"U\x02u1", b"K\x01"), b"]"), "a name is expected"),
        (lambda x: python2(x, [0] * 4)[:-1], "no whole pickle"),
        (lambda x: python2(x, [0] * 4)[:200], "no whole pickle"),
        (lambda x: python2(x, [0] * 4) + b"N.", "ends at byte"),
        (lambda x: python2(x, [0] * 4) + b"\0", "ends at byte"),
        (lambda x: b"\x80\x02]q\x01.", "holds a list"),
        (lambda x: b"", "no whole pickle"),
        (lambda x: b"<html>404</html>", "no whole pickle"),
    ],
)
def test_malformed_batches(
    written: Callable[[bytes], Path],
    rows: np.ndarray,
    content: Callable[[np.ndarray], bytes],
    reason: str,
) -> None:
    with pytest.raises(DataFormatError, match=reason) as caught:
        load_cifar10(written(content(rows)))
    message = str(caught.value)
    assert "data_batch_1" in message
    assert "take the file from https://" in message
    assert "\n" not in message


def test_a_file_too_large_is_not_read_whole(tmp_path: Path) -> None:
    with open(tmp_path / "data_batch_1", "wb") as file:
        file.truncate(40 * MAX_FILE)  # sparse: takes no disk
    with pytest.raises(DataFormatError, match=f"more than {MAX_FILE} bytes"):
        load_cifar10(tmp_path)
