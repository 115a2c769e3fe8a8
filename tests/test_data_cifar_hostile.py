"""Hostile CIFAR-10 files: pickles that would run something, mutants, and archives of all kinds."""

from __future__ import annotations

import copyreg
import gzip
import io
import pickle
import struct
import tarfile
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.cifar_files import array, batch, label_list, mutants, python2, text
from xpcls.data import DataFormatError, load_cifar10
from xpcls.data._cifar import MAX_FILE
from xpcls.data._safe_pickle import MAX_INSTRUCTIONS, Refused, parse


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


def load_or_refuse(place: Path) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of missing batches
        try:
            data = load_cifar10(place)
        except DataFormatError:
            return False
    assert data.images.shape == (len(data), 32, 32, 3)
    return True


# --- pickles ----------------------------------------------------------------------------------


def payloads(command: str) -> dict[str, bytes]:
    """Instructions that, in Python's own unpickler, run `command` or worse, and leave one value."""
    shell = command.encode()
    code = f"__import__('os').system({command!r})".encode()
    called = b"(" + b"V" + shell + b"\ntR"
    coded = b"(V" + code + b"\ntR"
    wide = b"X" + struct.pack("<I", len(shell)) + shell
    return {
        "os.system": b"cos\nsystem\n" + called,
        "posix.system": b"cposix\nsystem\n" + called,
        "popen": b"cos\npopen\n" + called,
        "subprocess": b"csubprocess\ngetoutput\n" + called,
        "eval": b"cbuiltins\neval\n" + coded,
        "python 2 eval": b"c__builtin__\neval\n" + coded,
        "exec": b"cbuiltins\nexec\n" + coded,
        "open": b"cbuiltins\nopen\n(V/tmp/x\nVw\ntR",
        "getattr": b"cbuiltins\ngetattr\n(cos\nsystem\nV__call__\ntR",
        "np.load": b"cnumpy\nload\n(V/etc/passwd\ntR",
        "memmap": b"cnumpy\nmemmap\n(V/etc/passwd\ntR",
        "fromfile": b"cnumpy\nfromfile\n(V/etc/passwd\ntR",
        "stack global": b"\x8c\x02os\x8c\x06system\x93" + called,
        "nested global": b"\x8c\x15numpy.core.multiarray\x8c\x18_reconstruct.__globals__\x93",
        "dotted global": b"cnumpy.core.multiarray\n_reconstruct.__class__\n",
        "dotted module": b"\x8c\x05numpy\x8c\x0ecore.os.system\x93",
        "number as module": b"K\x01K\x02\x93",
        "inst": b"(V" + shell + b"\nios\nsystem\n",
        "obj": b"(cos\nsystem\nV" + shell + b"\no",
        "newobj": b"cos\nsystem\n(V" + shell + b"\nt\x81",
        "newobj_ex": b"cos\nsystem\n(V" + shell + b"\nt}\x92",
        "ext1": b"\x82\xee" + called,
        "ext2": b"\x83\xee\x00" + called,
        "ext4": b"\x84\xee\x00\x00\x00" + called,
        "persid": b"P" + shell + b"\n",
        "binpersid": wide + b"Q",
        "next_buffer": b"\x97",
        "build on a class": b"cnumpy\nndarray\n}(V__reduce__\nNub",
        "build on a function": b"cnumpy.core.multiarray\n_reconstruct\n(K\x01tb",
        "build on a list": b"]}b",
        "call without tuple": b"cnumpy\ndtype\n]R",
        "call of a call": b"cnumpy\ndtype\n)R)R",
        "bytearray of 8 GB": b"\x96" + struct.pack("<Q", 8 << 30) + b"x",
        "bytearray by a call": b"cbuiltins\nbytearray\n(J\xff\xff\xff\x7ftR",
        "bytes of 8 GB": b"\x8e" + struct.pack("<Q", 8 << 30) + b"x",
        "string of 2 GB": b"T\xff\xff\xff\x7fx",
        "string of negative length": b"T\xff\xff\xff\xffx",
        "frame of 8 GB": b"\x95" + struct.pack("<Q", 8 << 30) + b"B" + b"\xff" * 4,
        "huge memo": b"Nr\xff\xff\xff\x7f",
        "huge memo in decimals": b"Np" + b"9" * 4000 + b"\n",
        "memo never set": b"h\xf0",
        "long of 2 GB": b"\x8b\xff\xff\xff\x7fx",
        "long in decimals": b"L" + b"9" * 100_000 + b"L\n",
        "int in decimals": b"I" + b"9" * 100_000 + b"\n",
        "too many instructions": b"N" * (MAX_INSTRUCTIONS + 1),
        "marks left open": b"(" * 10_000,
        "tuples as key": b")q\x20" + b"h\x20h\x20h\x20\x87q\x20" * 60 + b"}h\x20Ns",
        "number as key": b"}K\x01Ns",
        "list as key": b"}]Ns",
        "appending to a tuple": b")Na",
        "setting in a list": b"]NNs",
        "key without value": b"}(U\x01au",
        "empty stack": b"0" * 9,
        "append without list": b"a",
        "appends without mark": b"e",
    }


@pytest.fixture
def extension() -> Iterator[None]:
    """A registered extension code, which lets a pickle call os.system without naming it."""
    copyreg.add_extension("os", "system", 0xEE)
    yield
    copyreg.remove_extension("os", "system", 0xEE)


@pytest.mark.parametrize("kind", sorted(payloads("")))
@pytest.mark.parametrize("place", ["alone", "first", "value", "state", "label", "key"])
@pytest.mark.usefixtures("extension")
def test_hostile_pickles_are_refused_and_nothing_runs(
    written: Callable[[bytes], Path], rows: np.ndarray, tmp_path: Path, kind: str, place: str
) -> None:
    sentinel = tmp_path / "it-ran"
    payload = payloads(f"touch {sentinel}")[kind]
    good, labels = array(rows[:2]), label_list([1, 2])
    content = {
        "alone": b"\x80\x04" + payload + b".",
        "first": b"\x80\x04" + payload + b"0" + batch(good, labels)[2:],
        "value": batch(good, labels, extra=text(b"more") + payload),
        "state": batch(array(rows[:2], shape=payload), labels),
        "label": batch(good, b"](K\x01" + payload + b"e"),
        "key": batch(good, labels, extra=payload + b"N"),
    }[place]
    tracemalloc.start()
    try:
        with pytest.raises(DataFormatError, match="data_batch_1 is refused"):
            load_cifar10(written(content))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100 << 20
    assert not sentinel.exists()


def test_the_payloads_would_run_elsewhere(tmp_path: Path) -> None:
    """Else the test above would prove nothing."""
    sentinel = tmp_path / "it-ran"
    for kind in ("os.system", "exec", "stack global", "inst", "obj"):
        pickle.loads(b"\x80\x04" + payloads(f"touch {sentinel}")[kind] + b".")
        assert sentinel.exists(), kind
        sentinel.unlink()


def test_a_second_pickle_behind_the_batch_does_not_run(
    written: Callable[[bytes], Path], rows: np.ndarray, tmp_path: Path
) -> None:
    sentinel = tmp_path / "it-ran"
    behind = b"\x80\x02" + payloads(f"touch {sentinel}")["os.system"] + b"."
    with pytest.raises(DataFormatError, match="ends at byte"):
        load_cifar10(written(python2(rows, [0] * 4) + behind))
    assert not sentinel.exists()


def test_containers_in_themselves_are_refused_quickly(
    written: Callable[[bytes], Path], rows: np.ndarray
) -> None:
    """Printing or hashing these would take 3**60 steps: they are looked at by type alone."""
    laughs = b")q\x20" + b"h\x20h\x20h\x20\x87q\x20" * 60
    itself = b"]q\x20h\x20a"
    for value in (laughs, itself):
        for content in (
            batch(array(rows, shape=value), label_list([0] * 4)),
            batch(array(rows), value),
            batch(value, label_list([0] * 4)),
            b"\x80\x02" + value + b".",
        ):
            with pytest.raises(DataFormatError) as caught:
                load_cifar10(written(content))
            assert len(str(caught.value)) < 1000


def test_deep_nesting_neither_recurses_nor_matters(
    written: Callable[[bytes], Path], rows: np.ndarray
) -> None:
    deep = b"]" * 100_000 + b"a" * 99_999
    assert load_or_refuse(
        written(batch(array(rows), label_list([0] * 4), extra=text(b"more") + deep))
    )


def test_parse_leaves_a_call_as_a_note() -> None:
    call = parse(b"cos\nsystem\n(Vtrue\ntR.", {"os.system"})
    assert (call.function, call.arguments, call.state) == ("os.system", ("true",), None)
    with pytest.raises(Refused, match=r"os\.system"):
        parse(b"cos\nsystem\n.", ())


def test_mutants_of_a_batch(written: Callable[[bytes], Path], rows: np.ndarray) -> None:
    contents = [python2(rows, [0, 1, 2, 3])]
    contents += [pickle.dumps({b"data": rows, b"labels": [0, 1, 2, 3]}, p) for p in (3, 4, 5)]
    loaded = [
        load_or_refuse(written(mutant))
        for seed, content in enumerate(contents)
        for mutant in mutants(content, 250, seed)
    ]
    assert True in loaded  # other pixels
    assert False in loaded


# --- archives ---------------------------------------------------------------------------------


def packed(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def test_mutants_of_an_archive(tmp_path: Path, rows: np.ndarray) -> None:
    tar = packed(
        {"data_batch_1": python2(rows, [0, 1, 2, 3]), "test_batch": python2(rows, [0] * 4)}
    )
    path = tmp_path / "cifar-10-python.tar.gz"
    outside = mutants(gzip.compress(tar), 150, seed=7)
    inside = [gzip.compress(mutant) for mutant in mutants(tar, 150, seed=8)]
    loaded = []
    for content in outside + inside:
        path.write_bytes(content)
        loaded.append(load_or_refuse(path))
    assert False in loaded


def test_links_and_paths_in_an_archive_write_nothing(tmp_path: Path, rows: np.ndarray) -> None:
    path = tmp_path / "inner" / "cifar-10-python.tar.gz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as tar:
        link = tarfile.TarInfo("cifar-10-batches-py/data_batch_2")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        content = python2(rows, [0, 1, 2, 3])
        outside = tarfile.TarInfo("../data_batch_1")
        outside.size = len(content)
        tar.addfile(outside, io.BytesIO(content))
    assert load_or_refuse(path)
    assert [p.name for p in tmp_path.iterdir()] == ["inner"]


def test_an_archive_that_unpacks_to_very_much_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xpcls.data._cifar.MAX_ARCHIVE", 40 << 20)
    bomb = tmp_path / "cifar-10-python.tar.gz"
    filler = tarfile.TarInfo("filler")
    filler.size = 400 << 20
    named = tarfile.TarInfo("data_batch_1")
    named.size = MAX_FILE + 1
    zeros = gzip.compress(bytes(50 << 20))
    for header, reason in ((filler, "unpacks to more than"), (named, "a batch has 31 million")):
        bomb.write_bytes(gzip.compress(header.tobuf(tarfile.GNU_FORMAT)) + zeros)
        tracemalloc.start()
        with pytest.raises(DataFormatError, match=reason):
            load_cifar10(bomb)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 20 << 20


@pytest.mark.parametrize(
    "spoil",
    [
        lambda packed: packed[:-4],  # gzip's length
        lambda packed: packed[:-8] + b"\0\0\0\0" + packed[-4:],  # gzip's checksum
        lambda packed: packed[: len(packed) // 2],
        lambda packed: b"no gzip at all",
        lambda packed: b"",
        lambda packed: gzip.compress(b"no tar at all" * 100),
        lambda packed: gzip.compress(bytes(1024)),
    ],
)
def test_damaged_archives(
    tmp_path: Path, rows: np.ndarray, spoil: Callable[[bytes], bytes]
) -> None:
    whole = gzip.compress(packed({"data_batch_1": python2(rows, [0, 1, 2, 3])}))
    path = tmp_path / "cifar-10-python.tar.gz"
    path.write_bytes(spoil(whole))
    with pytest.raises(DataFormatError, match=r"cifar-10-python\.tar\.gz"):
        load_cifar10(path)
