"""SealedTestSet: the first opening is recorded, later ones warn, and none is lost."""

from __future__ import annotations

import copy
import json
import os
import pickle
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import array_api_strict
import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier as Theirs
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from xpcls import KNeighborsClassifier, LinearClassifier, MLPClassifier
from xpcls.model_selection import (
    KNeighborsClassifierCV,
    LedgerError,
    Opening,
    SealedTestSet,
    _ledger,
)
from xpcls.model_selection._fingerprint import fingerprint
from xpcls_backends import Backend, to_host

rng = np.random.default_rng(0)
Y = np.arange(40) % 3
X = (rng.normal(size=(40, 4)) + Y[:, None]).astype("float32")
ONE = KNeighborsClassifier(1).fit(X, Y)
FIVE = KNeighborsClassifier(5).fit(X, Y)


# --- openings -----------------------------------------------------------------------------------


def test_the_first_opening_is_recorded_and_later_ones_warn() -> None:
    sealed = SealedTestSet(X, Y)
    assert sealed.openings == () and str(sealed) == "the test set of 40 rows has not been opened"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows, labels = sealed.open(ONE)
    assert rows is X and labels is Y
    (first,) = sealed.openings
    assert first.models == (("KNeighborsClassifier", fingerprint(ONE)),)
    age = datetime.now(UTC) - datetime.fromisoformat(first.time)
    assert timedelta(0) <= age < timedelta(minutes=1)
    assert sealed.report == f"the test set of 40 rows was opened once, {first}"
    for i in (2, 3):
        with pytest.warns(
            UserWarning, match=f"first opened {re.escape(first.time)} by KN.*opening {i}: "
        ):
            sealed.open(FIVE)
    assert len(sealed.openings) == 3 and sealed.openings[0] == first
    assert sealed.report.startswith(f"the test set of 40 rows was opened 3 times, first {first}; ")


def test_the_warning_points_at_the_caller() -> None:
    sealed = SealedTestSet(X, Y)
    sealed.open(ONE)
    with pytest.warns(UserWarning, match="choose on validation") as caught:
        sealed.open(ONE)
        sealed.score(ONE)
    assert [Path(w.filename).name for w in caught] == ["test_sealed.py"] * 2


def test_scores_are_those_of_the_models_and_several_are_one_opening(backend: Backend) -> None:
    sealed = SealedTestSet(backend.asarray(X), backend.asarray(Y))
    models = [KNeighborsClassifier(k).fit(backend.asarray(X), backend.asarray(Y)) for k in (1, 9)]
    scores = sealed.score(*models)
    assert scores == [KNeighborsClassifier(k).fit(X, Y).score(X, Y) for k in (1, 9)]
    (opening,) = sealed.openings
    assert [name for name, _ in opening.models] == ["KNeighborsClassifier"] * 2
    with pytest.warns(UserWarning, match="this is opening 2"):
        alone = sealed.score(models[1])
    assert alone == scores[1] and type(alone) is float


def test_nothing_shows_the_labels_but_opening() -> None:
    secret = np.asarray([f"label {i % 2}" for i in range(40)])
    sealed = SealedTestSet(X, secret)
    assert repr(sealed) == "<SealedTestSet: 40 rows of shape (4,)>" and len(sealed) == 40
    public = [name for name in dir(sealed) if not name.startswith("_")]
    assert public == ["open", "openings", "report", "score"]
    assert "label 0" not in repr(vars(sealed)) + str(sealed)
    for taken in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot be copied or pickled"):
            taken(sealed)


@pytest.mark.parametrize(
    "model",
    [KNeighborsClassifier(), LogisticRegression(), make_pipeline(StandardScaler(), Theirs())],
)
def test_a_model_that_is_not_fitted_opens_nothing(model: Any) -> None:
    sealed = SealedTestSet(X, Y)
    with pytest.raises(NotFittedError):
        sealed.score(ONE, model)
    with pytest.raises(TypeError, match=r"no model is given: open\(model, ...\)"):
        sealed.open()
    assert sealed.openings == ()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X, Y[:3]), r"y has shape \(3,\), expected \(40,\), one label a row of X"),
        ((X, Y[:, None] + [[0, 1]]), r"y has shape \(40, 2\)"),
        ((X[:0], Y[:0]), r"X has shape \(0, 4\), expected at least one row"),
        (("images", Y), "X holds something that is no number"),
        ((None, Y), r"X has shape \(\), expected at least one row"),
    ],
)
def test_what_is_no_test_set_is_named(arguments: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        SealedTestSet(*arguments)


# --- fingerprints -------------------------------------------------------------------------------


def forest() -> Any:
    return RandomForestClassifier(3, random_state=0).fit(X, Y)


MODELS: dict[str, Callable[[], Any]] = {
    "knn": lambda: KNeighborsClassifier(3).fit(X, Y),
    "linear": lambda: LinearClassifier(epochs=2, random_state=0).fit(X, Y),
    "mlp": lambda: MLPClassifier((4,), epochs=2, random_state=0).fit(X, Y),
    "cv": lambda: KNeighborsClassifierCV((1, 3)).fit(X, Y),
    "text": lambda: KNeighborsClassifier(3).fit(X, np.asarray(["a", "b", "c"])[Y]),
    "forest": forest,
    "pipeline": lambda: make_pipeline(StandardScaler(), LogisticRegression(C=0.5)).fit(X, Y),
    "their knn": lambda: Theirs(3, algorithm="brute").fit(X, Y),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_same_model_has_the_same_hash(name: str) -> None:
    model = MODELS[name]()
    found = fingerprint(model)
    assert len(found) == 64 and found == fingerprint(MODELS[name]())
    assert found == fingerprint(pickle.loads(pickle.dumps(model)))
    model.predict(X)
    assert fingerprint(model) == found


def test_other_models_have_other_hashes() -> None:
    models = [make() for make in MODELS.values()]
    models += [
        KNeighborsClassifier(3, metric="l1").fit(X, Y),
        KNeighborsClassifier(3).fit(X[::-1], Y[::-1]),
        KNeighborsClassifier(3).fit(X.astype("float64"), Y),
        KNeighborsClassifier(3).fit(X, Y + 1),
        LinearClassifier(epochs=2, random_state=1).fit(X, Y),
        RandomForestClassifier(3, random_state=1).fit(X, Y),
        make_pipeline(StandardScaler(), LogisticRegression(C=0.25)).fit(X, Y),
    ]
    assert len({fingerprint(model) for model in models}) == len(models)


def test_the_hash_does_not_depend_on_the_device(backend: Backend) -> None:
    model = KNeighborsClassifier(3).fit(backend.asarray(X), backend.asarray(Y))
    assert fingerprint(model) == fingerprint(KNeighborsClassifier(3).fit(X, Y))


def test_the_hash_is_the_same_in_another_process(fresh_python: Callable[..., str]) -> None:
    """Whatever the seed of Python's own hashes is, by which sets and dicts may be ordered."""
    source = """
import numpy as np
from sklearn.ensemble import RandomForestClassifier
from xpcls.model_selection._fingerprint import fingerprint
class Odd:
    def __init__(self):
        self.names = {"a", "b", "c", 1, 2.5}
        self.table = {("x", 1): np.arange(3), "y": len, None: [Odd, b"z", 1j]}
        self.me = self
y = np.arange(40) % 3
x = np.arange(160.0).reshape(40, 4) % 7
print(fingerprint(RandomForestClassifier(3, random_state=0).fit(x, y)), fingerprint(Odd()))
"""
    assert fresh_python(source, PYTHONHASHSEED="1") == fresh_python(source, PYTHONHASHSEED="2")


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([1, [2]], [[1], 2]),
        ([1], (1,)),
        ([1], [True]),
        (["ab", "c"], ["a", "bc"]),
        ({"a": 1, "b": 2}, {"a": 2, "b": 1}),
        ({1, 2}, {1, 3}),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        (np.zeros(2, "float32"), np.zeros(1, "float64")),
        (np.asarray(["a"]), np.asarray(["b"])),
        (np.asarray([1, None], object), np.asarray([None, 1], object)),
        (np.zeros(0), np.zeros((0, 1))),
        (np.random.default_rng(0), np.random.default_rng(1)),
        (len, sum),
        (None, "None"),
    ],
)
def test_unequal_values_have_unequal_hashes(a: Any, b: Any) -> None:
    assert fingerprint(a) != fingerprint(b) and fingerprint(a) == fingerprint(copy.deepcopy(a))


def test_the_order_of_names_does_not_matter() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})


def test_what_cannot_be_copied_counts_by_its_kind() -> None:
    with open(os.devnull) as file, open(os.devnull, "wb") as other:
        assert fingerprint([file]) == fingerprint([file]) != fingerprint([other])


def test_layouts_of_memory_do_not_matter() -> None:
    table = np.arange(12.0).reshape(3, 4)
    for same in (np.asfortranarray(table), table.astype(">f8"), np.repeat(table, 2, axis=0)[::2]):
        assert fingerprint(same) == fingerprint(table)
    strict = array_api_strict.asarray(table, device=array_api_strict.Device("device1"))
    assert fingerprint(strict) == fingerprint(to_host(strict))


# --- the ledger ---------------------------------------------------------------------------------


def test_a_ledger_outlives_the_object_and_serves_many_sets(tmp_path: Path) -> None:
    path = tmp_path / "openings.jsonl"
    first = SealedTestSet(X, Y, ledger=path)
    assert not path.exists() and first.openings == ()
    first.open(ONE, FIVE)
    other = SealedTestSet(X, Y + 1, ledger=str(path))
    other.open(ONE)  # other data: the first opening, without a warning
    again = SealedTestSet(X.copy(), Y.copy(), ledger=path)
    assert again.openings == first.openings and len(again.openings) == 1
    when = re.escape(first.openings[0].time)
    with pytest.warns(UserWarning, match=f"first opened {when} .* opening 2:"):
        again.open(FIVE)
    assert len(first.openings) == 2 and len(other.openings) == 1
    assert all(json.loads(line) for line in path.read_text().splitlines())


PROGRAM = """
import sys, warnings
import numpy as np
from xpcls import KNeighborsClassifier
from xpcls.model_selection import SealedTestSet
model = KNeighborsClassifier(1).fit(np.eye(4), [0, 1, 0, 1])
sealed = SealedTestSet(np.eye(4), np.arange(4) % 2, ledger=sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for _ in range(int(sys.argv[2])):
        sealed.open(model)
print(int(sys.argv[2]) - len(caught))
"""


def started(path: Path, times: int) -> subprocess.Popen[str]:
    """A process that waits for a line before it opens the set `times` times."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(path), str(times)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def test_processes_count_together_even_at_once(tmp_path: Path) -> None:
    path = tmp_path / "openings.jsonl"
    times = 40
    processes = [started(path, times) for _ in range(2)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    silent = [int(process.communicate()[0]) for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sum(silent) == 1, "exactly one of all openings was the first"
    sealed = SealedTestSet(np.eye(4), np.arange(4) % 2, ledger=path)
    assert len(sealed.openings) == 2 * times
    assert {name for name, _ in sealed.openings[0].models} == {"KNeighborsClassifier"}


GOOD = json.dumps(
    {
        "data": "0" * 64,
        "time": "2026-11-24T10:00:00+00:00",
        "models": [["KNeighborsClassifier", "1" * 64]],
        "id": "2" * 32,
    }
)


def changed(**changes: Any) -> str:
    return json.dumps({**json.loads(GOOD), **changes}) + "\n"


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        ("my thesis\n", "line 1 is no opening of a test set: it is no JSON"),
        (GOOD + "\n" + GOOD, "line 2 .* it ends within a line"),
        (GOOD + "\n\n", "line 2 .* it is no JSON"),
        (GOOD + "\n[]\n", "line 2 .* it has not the keys data, id, models, time"),
        ("[" * 100_000 + "\n", "line 1 .* it is no JSON"),
        ("1" * 5000 + "\n", "line 1 .* it is no JSON"),
        (changed(more=1), "it has not the keys"),
        (changed(data="0" * 63), "its data, id or time is malformed"),
        (changed(data=[]), "its data, id or time is malformed"),
        (changed(id="X" * 32), "its data, id or time is malformed"),
        (changed(time="yesterday"), "its data, id or time is malformed"),
        (changed(time="2026-11-24T10:00:00"), "its data, id or time is malformed"),
        (changed(time=5), "its data, id or time is malformed"),
        (changed(models=[]), "its models are malformed"),
        (changed(models="ab"), "its models are malformed"),
        (changed(models=[["A", "1" * 63]]), "its models are malformed"),
        (changed(models=[["\x1b[2J", "1" * 64]]), "its models are malformed"),
        (changed(models=[["A" * 201, "1" * 64]]), "its models are malformed"),
        (b"\xff\xfe\n", "line 1 .* it is no JSON"),
        (b"\x00" * (_ledger.LARGEST + 1), "is no ledger: it is no plain file of at most"),
    ],
)
def test_a_file_that_is_no_ledger_is_named_and_left_as_it_is(
    content: str | bytes, cause: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_ledger, "PATIENCE", (1, 0.0))
    path = tmp_path / "openings.jsonl"
    sealed = SealedTestSet(X, Y, ledger=path)
    before = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(before)
    attempts: list[Callable[[], Any]] = [
        lambda: SealedTestSet(X, Y, ledger=path),
        lambda: sealed.open(ONE),
        lambda: sealed.openings,
    ]
    for attempt in attempts:
        with pytest.raises(LedgerError, match=cause) as caught:
            attempt()
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert path.read_bytes() == before


def test_a_good_line_is_read(tmp_path: Path) -> None:
    path = tmp_path / "openings.jsonl"
    path.write_text(GOOD + "\n" + changed(data="3" * 64))
    (opening,) = _ledger.read(path, "0" * 64)
    assert opening == Opening("2026-11-24T10:00:00+00:00", (("KNeighborsClassifier", "1" * 64),))
    assert str(opening) == "2026-11-24T10:00:00+00:00 by KNeighborsClassifier 111111111111"


def test_a_ledger_that_cannot_be_written_opens_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileNotFoundError, match="is no folder; make it first"):
        SealedTestSet(X, Y, ledger=tmp_path / "nowhere" / "openings.jsonl")
    with pytest.raises(IsADirectoryError, match="is a folder; give the name of a file"):
        SealedTestSet(X, Y, ledger=tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(LedgerError, match="is no plain file"):
            SealedTestSet(X, Y, ledger=tmp_path / "pipe")
    sealed = SealedTestSet(X, Y, ledger=tmp_path / "openings.jsonl")
    monkeypatch.setattr(os, "write", lambda descriptor, line: len(line) - 1)
    with pytest.raises(OSError, match="could not be written whole; is the disk full"):
        sealed.open(ONE)
    assert sealed.openings == ()


def test_a_half_written_line_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "openings.jsonl"
    path.write_text(GOOD)

    def finished(seconds: float) -> None:
        path.write_text(GOOD + "\n")

    monkeypatch.setattr(_ledger.time, "sleep", finished)
    assert len(_ledger.read(path, "0" * 64)) == 1
