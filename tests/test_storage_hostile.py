"""Files that are no model: damaged, truncated, foreign, forged. One kind of error, always."""

from __future__ import annotations

import json
import os
import random
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from xpcls import KNeighborsClassifier, LinearClassifier, load, save
from xpcls.optimizers import Adam
from xpcls.storage import ModelFileError, _decoded, _digest, _encoded, _json

Meta = dict[str, Any]
Tensors = dict[str, Any]

X = np.arange(24, dtype=np.uint8).reshape(8, 3)
Y = np.asarray(["cat", "dog"] * 4)
QUERIES = np.arange(30, dtype=np.uint8).reshape(10, 3)


@pytest.fixture(params=["knn", "linear"])
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A small, valid file; kNN's has numeric labels, the other's has text."""
    model: Any = KNeighborsClassifier(2).fit(X, np.arange(8) % 2)
    if request.param == "linear":
        model = LinearClassifier(epochs=2, optimizer=Adam(), random_state=0).fit(X, Y)
    save(model, tmp_path / "model")
    return tmp_path / "model"


def contents(path: Path) -> tuple[Meta, Tensors]:
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    meta = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["xpcls"])
    return meta, safetensors.numpy.load(data)


def forge(path: Path, change: Callable[[Meta, Tensors], Any]) -> None:
    """Change what a file holds, and make its checksum right again."""
    meta, tensors = contents(path)
    change(meta, tensors)
    meta["sha256"] = _digest(meta, tensors)
    path.write_bytes(safetensors.numpy.save(tensors, {"xpcls": _json(meta)}))


def answers(path: Path) -> Any:
    """All that a loaded model says, or the error's text; any other error fails the test."""
    try:
        model: Any = load(path)
    except ModelFileError as error:
        message = str(error)
        assert message.startswith(f"{path}: ") and "\n" not in message and len(message) < 600
        return message
    learnt, plain = model._learnt()
    tensors = {name: tensor.tobytes() for name, tensor in learnt.items()}
    return repr(model), tensors, plain, model.classes_.tolist(), model.predict(QUERIES).tolist()


# --- damage -----------------------------------------------------------------------------------


def test_no_flipped_byte_goes_unnoticed(written: Path) -> None:
    good, truth = written.read_bytes(), answers(written)
    draw, loaded = random.Random(0), []
    for position in range(len(good)):
        flipped = bytes([good[position] ^ (1 << draw.randrange(8))])
        written.write_bytes(good[:position] + flipped + good[position + 1 :])
        found = answers(written)
        if isinstance(found, tuple):
            assert found == truth
            loaded.append(position)
    # What may change is a space at the end of the header, into other white space.
    end = 8 + int.from_bytes(good[:8], "little")
    assert all(good[position:end].isspace() for position in loaded)


def test_no_truncated_or_longer_file_is_loaded(written: Path) -> None:
    good = written.read_bytes()
    end = 8 + int.from_bytes(good[:8], "little")  # of the header
    edges = {n + d for n in (8, end, len(good)) for d in range(-8, 9) if 0 <= n + d < len(good)}
    for length in sorted({*edges, *range(0, len(good), 11)}):
        written.write_bytes(good[:length])
        assert isinstance(answers(written), str)
    for more in (b"\0", good, b"\0" * 1000):
        written.write_bytes(good + more)
        assert isinstance(answers(written), str)


def test_random_mutants(written: Path) -> None:
    good, truth = written.read_bytes(), answers(written)
    draw = random.Random(1)
    for _ in range(400):
        data = bytearray(good)
        for _ in range(draw.randint(1, 4)):
            at, n = draw.randrange(len(data)), draw.randint(1, 40)
            kind = draw.randrange(5)
            if kind == 0:
                del data[at : at + n]
            elif kind == 1:
                data[at:at] = draw.randbytes(n)
            elif kind == 2:
                data[at : at + n] = b"\xff" * n
            elif kind == 3:
                data[at : at + n] = draw.choice([b"9", b"[", b"{}", b'"', b"null", b"1e999"])
            else:
                there = draw.randrange(len(data))
                data[at : at + n] = data[there : there + n]
        written.write_bytes(data)
        found = answers(written)
        assert isinstance(found, str) or found == truth


# --- foreign ----------------------------------------------------------------------------------


def packed(header: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


ENTRY = '"a":{"dtype":"U8","shape":[%s],"data_offsets":[0,1]}'
FOREIGN = {
    "empty": b"",
    "text": b"hello, I am no model at all",
    "pickle": b"\x80\x04\x95\x1d\0\0\0\0\0\0\0\x8c\x05posix\x8c\x06system\x93",
    "zip": b"PK\x03\x04" + b"\0" * 100,
    "zeros": b"\0" * 100,
    "another model": safetensors.numpy.save({"a": np.zeros(3)}, {"format": "pt"}),
    "no metadata": safetensors.numpy.save({"xpcls": np.zeros(3)}),
    "header of 2^63 bytes": packed(b"{}", length=2**63),
    "header of 2^64-1 bytes": packed(b"{}", length=2**64 - 1),
    "header of 200 MB": packed(b"{}", length=200_000_000),
    "no JSON": packed(b'{"xpcls'),
    "JSON of JSON": packed(b'{"__metadata__":{"xpcls":"{"}}'),
    "a list": packed(b'{"__metadata__":{"xpcls":"[]"}}'),
    "a number": packed(b'{"__metadata__":{"xpcls":"1"}}'),
    "null": packed(b'{"__metadata__":{"xpcls":"null"}}'),
    "an empty dict": packed(b'{"__metadata__":{"xpcls":"{}"}}'),
    "deep": packed(b'{"__metadata__":{"xpcls":"' + b"[" * 200_000 + b'"}}'),
    "many digits": packed(b'{"__metadata__":{"xpcls":"' + b"9" * 10_000 + b'"}}'),
    "huge shape": packed(f'{{"__metadata__":{{"xpcls":"{{}}"}},{ENTRY % 2**62}}}'.encode(), b"\0"),
    "negative shape": packed(f'{{"__metadata__":{{"xpcls":"{{}}"}},{ENTRY % -1}}}'.encode(), b"\0"),
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_a_foreign_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(content)
    found = answers(tmp_path / "model")
    assert isinstance(found, str)
    assert "expected a file written by xpcls.save" in found or "save the model again" in found


def test_a_large_foreign_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model"
    with path.open("wb") as file:
        file.write(packed(b'{"a":1}'))
        file.truncate(1 << 30)  # sparse
    tracemalloc.start()
    try:
        assert isinstance(answers(path), str)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="POSIX")
def test_a_device_is_refused() -> None:
    with pytest.raises(ModelFileError, match="no file but a device"):
        load("/dev/zero")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_a_file_that_may_not_be_read_is_no_damaged_file(written: Path) -> None:
    written.chmod(0)
    with pytest.raises(PermissionError):
        load(written)


def test_a_newer_format_says_to_update(written: Path) -> None:
    meta, tensors = contents(written)
    meta |= {"format": 2, "sha256": "made otherwise", "versions": {"xpcls": "3.1"}}
    written.write_bytes(safetensors.numpy.save(tensors, {"xpcls": json.dumps(meta)}))
    with pytest.raises(ModelFileError, match=r"format is 2, .* reads 1; update xpcls; .* by 3\.1"):
        load(written)


# --- forged, with a checksum that is right ------------------------------------------------------


def put(*path: Any) -> Callable[[Meta, Tensors], Any]:
    """Set an entry of the metadata: keys, then the value."""
    *keys, last, value = path

    def change(meta: Meta, tensors: Tensors) -> None:
        for key in keys:
            meta = meta[key]
        meta[last] = value

    return change


def drop(key: str) -> Callable[[Meta, Tensors], Any]:
    return lambda meta, tensors: meta.pop(key)


def tensor(name: str, value: Callable[[Any], Any]) -> Callable[[Meta, Tensors], Any]:
    def change(meta: Meta, tensors: Tensors) -> None:
        tensors[name] = np.ascontiguousarray(value(tensors.get(name)))

    return change


ADAM = {"object": "Adam", "fields": {}}
EITHER = {
    "a class to import": put("class", "os.system"),
    "a class that is a list": put("class", ["LinearClassifier"]),
    "an abstract class": put("class", "Classifier"),
    "the other class": lambda meta, _: meta.update(
        {"class": "LinearClassifier" if meta["class"].startswith("KN") else "KNeighborsClassifier"}
    ),
    "an unknown parameter": put("params", "hidden", 3),
    "a dunder parameter": put("params", "__class__", 3),
    "parameters in a list": put("params", []),
    "format as bool": put("format", True),
    "format as text": put("format", "1"),
    "format 0": put("format", 0),
    "no features": put("n_features_in", 0),
    "other features": put("n_features_in", 4),
    "features as text": put("n_features_in", "3"),
    "image shape as text": put("image_shape", "abc"),
    "image shape below 1": put("image_shape", [0, -1]),
    "feature names too few": put("feature_names", ["a"]),
    "feature names as numbers": put("feature_names", [1, 2, 3]),
    "one class": put("classes", {"values": ["a"], "width": None}),
    "three classes": put("classes", {"values": ["a", "b", "c"], "width": None}),
    "classes out of order": put("classes", {"values": ["b", "a"], "width": None}),
    "equal classes": put("classes", {"values": ["a", "a"], "width": None}),
    "classes of two kinds": put("classes", {"values": ["a", 1], "width": None}),
    "classes of lists": put("classes", {"values": [["a"], ["b"]], "width": None}),
    "classes of a huge width": put("classes", {"values": ["a", "b"], "width": 10**9}),
    "a tensor more": tensor("more", lambda _: np.zeros(3)),
    **{f"no {key}": drop(key) for key in ("class", "params", "n_features_in", "classes", "plain")},
}
KNN = {
    "a metric": put("params", "metric", "cosine"),
    "too many neighbours": put("params", "n_neighbors", 9),
    "neighbours as object": put("params", "n_neighbors", ADAM),
    "no rows": lambda _, t: t.update(rows=t["rows"][:0], codes=t["codes"][:0]),
    "rows missing": lambda _, t: t.pop("rows"),
    "codes too few": tensor("codes", lambda c: c[:-1]),
    "codes of another dtype": tensor("codes", lambda c: c.astype("i4")),
    "a code too high": tensor("codes", lambda c: c + 1),
    "a code below 0": tensor("codes", lambda c: c - 1),
    "codes as a table": tensor("codes", lambda c: c[:, None]),
    "rows as vector": tensor("rows", lambda r: r.reshape(-1)),
    "rows of half floats": tensor("rows", lambda r: r.astype("f2")),
    "rows with NaN": tensor("rows", lambda r: r * np.float32("nan")),
    "labels that are NaN": tensor("classes", lambda c: c * np.float64("nan")),
    "labels out of order": tensor("classes", lambda c: c[::-1]),
    "labels as a table": tensor("classes", lambda c: c[:, None]),
    "labels missing": lambda _, t: t.pop("classes"),
}
LINEAR = {
    "a loss": put("params", "loss", ["softmax"]),
    "delta 0": put("params", "delta", 0),
    "a number as text": put("params", "l2", "0.1"),
    "a schedule to import": put("params", "schedule", {"object": "os.system", "fields": {}}),
    "a schedule as optimizer": put("params", "optimizer", {"object": "Cosine", "fields": {}}),
    "an optimizer without fields": put("params", "optimizer", {"object": "Adam"}),
    "a field that is none": put(
        "params", "optimizer", {"object": "Adam", "fields": {"__init__": 1}}
    ),
    "a field as text": put("params", "optimizer", {"object": "Adam", "fields": {"beta1": "x"}}),
    "a random state": put("params", "random_state", "os.system"),
    "a learning rate below 0": put("plain", "learning_rate", -1.0),
    "no learning rate": put("plain", {}),
    "a history of texts": put("plain", "history", {"loss": ["a"]}),
    "a history as text": put("plain", "history", "loss"),
    "a history that is none": put("plain", "history", {"loss": 3}),
    "NaN": tensor("weights", lambda w: w * np.float32("nan")),
    "infinity": tensor("bias", lambda b: b / np.float32(0)),
    "the transpose": tensor("weights", lambda w: w.T),
    "integers": tensor("weights", lambda w: w.astype("i4")),
    "bias too long": tensor("bias", lambda b: np.concatenate([b, b])),
    "a scalar": tensor("bias", lambda b: b[0]),
}


@pytest.mark.parametrize("change", EITHER.values(), ids=EITHER)
@pytest.mark.filterwarnings("ignore:(invalid|divide):RuntimeWarning")
def test_forged_files_are_refused(written: Path, change: Callable[..., Any]) -> None:
    forge(written, change)
    assert isinstance(answers(written), str)


@pytest.mark.parametrize("written", ["knn"], indirect=True)
@pytest.mark.parametrize("change", KNN.values(), ids=KNN)
def test_forged_neighbours_are_refused(written: Path, change: Callable[..., Any]) -> None:
    forge(written, change)
    assert isinstance(answers(written), str)


@pytest.mark.parametrize("written", ["linear"], indirect=True)
@pytest.mark.parametrize("change", LINEAR.values(), ids=LINEAR)
@pytest.mark.filterwarnings("ignore:(invalid|divide):RuntimeWarning")
def test_forged_linear_files_are_refused(written: Path, change: Callable[..., Any]) -> None:
    forge(written, change)
    assert isinstance(answers(written), str)


def test_a_forgery_that_changes_nothing_is_loaded(written: Path) -> None:
    truth = answers(written)
    forge(written, lambda meta, tensors: None)
    assert isinstance(truth, tuple) and answers(written) == truth


@pytest.mark.parametrize("value", [(100, 50), [1, (2.5, "a"), None], (), Adam(beta1=0.5)])
def test_parameters_of_any_plain_kind_come_back(value: Any) -> None:
    encoded = json.loads(json.dumps(_encoded("hidden", value, "Net")))
    assert _decoded(encoded) == value


@pytest.mark.parametrize("dtype", ["f2", np.dtypes.StringDType()])
def test_labels_that_no_file_can_hold_are_named(dtype: Any, tmp_path: Path) -> None:
    model = KNeighborsClassifier(1).fit(X, np.asarray([1, 2] * 4).astype(dtype))
    with pytest.raises(TypeError, match=r"labels of dtype .* cannot be saved; use integers or str"):
        save(model, tmp_path / "model")


def test_a_parameter_of_later_date_has_its_default(written: Path) -> None:
    forge(written, lambda meta, tensors: meta["params"].clear())
    assert "n_neighbors" not in repr(load(written)) and load(written).get_params()


@pytest.mark.parametrize("written", ["knn"], indirect=True)
def test_the_message_says_what_is_wrong(written: Path) -> None:
    forge(written, put("class", "os.system"))
    with pytest.raises(ModelFileError, match=r"its class is 'os\.system', expected one of KNeigh"):
        load(written)
