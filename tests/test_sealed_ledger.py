"""The ledger of a SealedTestSet: kept in a file, shared by processes, never lost, never damaged."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xpcls import KNeighborsClassifier
from xpcls.model_selection import LedgerError, Opening, SealedTestSet, _ledger
from xpcls.model_selection._ledger import Ledger

rng = np.random.default_rng(0)
Y = np.arange(40) % 3
X = (rng.normal(size=(40, 4)) + Y[:, None]).astype("float32")
ONE = KNeighborsClassifier(1).fit(X, Y)
FIVE = KNeighborsClassifier(5).fit(X, Y)


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
    (opening,), (other,) = Ledger(path, "0" * 64).read()
    assert other == opening
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
    assert len(Ledger(path, "0" * 64).read()[0]) == 1


# --- a ledger that lasts ------------------------------------------------------------------------


def test_a_class_with_an_odd_name_does_not_end_the_ledger(tmp_path: Path) -> None:
    path = tmp_path / "openings.jsonl"
    sealed = SealedTestSet(X, Y, ledger=path)
    for i, name in enumerate(("Grid[Search]", "A" * 201, "two words", "Gruenspan")):
        odd = type(name, (KNeighborsClassifier,), {})(1).fit(X, Y)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sealed.open(odd)
        assert sealed.openings[i].models[0][0] == ("model" if i < 3 else "Gruenspan")
    assert len(SealedTestSet(X, Y, ledger=path).openings) == 4


def test_a_line_that_does_not_fit_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "openings.jsonl"
    sealed = SealedTestSet(X, Y, ledger=path)
    sealed.open(ONE)
    size = path.stat().st_size
    monkeypatch.setattr(_ledger, "LARGEST", 2 * size - 1)
    with pytest.raises(LedgerError, match=f"is full, with {size} bytes; give another file"):
        sealed.open(ONE)
    assert path.stat().st_size == size and len(sealed.openings) == 1
    monkeypatch.setattr(_ledger, "LARGEST", 2 * size)
    with pytest.warns(UserWarning, match="this is opening 2"):
        sealed.open(ONE)
    assert len(sealed.openings) == 2


def test_a_ledger_stays_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    sealed = SealedTestSet(X, Y, ledger="openings.jsonl")
    sealed.open(ONE)
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert len(sealed.openings) == 1
    with pytest.warns(UserWarning, match="this is opening 2"):
        sealed.open(ONE)
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["openings.jsonl"]


@pytest.mark.parametrize("replaced", ["deleted", "emptied", "by another's"])
def test_an_opening_that_is_gone_from_the_ledger_is_missed(replaced: str, tmp_path: Path) -> None:
    path = tmp_path / "openings.jsonl"
    sealed = SealedTestSet(X, Y, ledger=path)
    sealed.open(ONE)
    kept = path.read_bytes()
    if replaced == "deleted":
        path.unlink()
    else:
        path.write_text("" if replaced == "emptied" else GOOD + "\n")
    attempts: list[Callable[[], Any]] = [
        lambda: sealed.open(ONE),
        lambda: sealed.openings,
        lambda: sealed.report,
    ]
    for attempt in attempts:
        with pytest.raises(LedgerError, match="1 of 1 openings that were written there are gone"):
            attempt()
    path.write_bytes(kept)
    assert len(sealed.openings) == 1


def test_openings_of_the_same_rows_divided_otherwise_are_told(tmp_path: Path) -> None:
    """Who tries seeds until the score is good opens each test set once."""
    path = tmp_path / "openings.jsonl"
    order = np.random.default_rng(1).permutation(40)
    for i in range(3):
        sealed = SealedTestSet(X[order[i : i + 10]], Y[order[i : i + 10]], ledger=path)
        assert len(sealed.other_openings) == i
        sealed.open(ONE)
        assert len(sealed.openings) == 1
    assert sealed.report.endswith(
        "; its ledger holds 2 openings of other test sets, such as the same images divided by "
        "another seed"
    )
    fresh = SealedTestSet(X, Y, ledger=path)
    assert fresh.report.startswith(
        "the test set of 40 rows has not been opened; its ledger holds 3"
    )
    assert SealedTestSet(X, Y).other_openings == ()


@pytest.mark.parametrize("exists", [True, False])
def test_what_may_not_be_written_is_told_before_training(
    exists: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "openings.jsonl"
    if exists:
        path.write_text("")
    forbidden = path if exists else tmp_path
    monkeypatch.setattr(os, "access", lambda place, mode: place != forbidden.resolve())
    with pytest.raises(PermissionError, match="cannot be written; give a ledger elsewhere"):
        SealedTestSet(X, Y, ledger=path)
