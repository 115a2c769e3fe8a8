"""The machinery of benchmarks/: order of rounds, figures, tables. Nothing here asserts a time."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import benchmarks_package
from tests.benchmarks_package import ROOT

bench = benchmarks_package.bench


class Fake:
    """Takes part in `interleave`: writes down what it is told, and takes the times it is given."""

    def __init__(self, name: str, log: list[str], times: list[float]) -> None:
        self.name, self.log, self.times = name, log, iter(times)

    def warm_up(self) -> None:
        self.log.append(f"warm {self.name}")

    def round(self) -> float:
        self.log.append(self.name)
        return next(self.times)


def test_all_are_warm_before_the_first_round_and_rounds_alternate(bench: Any) -> None:
    log: list[str] = []
    players = [Fake("a", log, [4.0, 1.0, 3.0]), Fake("b", log, [7.0, 9.0, 8.0])]
    a, b = bench("timing").interleave(players, 3, settle=0.0)
    assert log == ["warm a", "warm b", "a", "b", "a", "b", "a", "b"]
    assert a.rounds == (4.0, 1.0, 3.0)  # the warm-up is not among them
    assert (a.best, a.median, b.best, b.median) == (1.0, 3.0, 7.0, 8.0)


def test_a_slow_case_ends_early_with_as_many_rounds_for_each(bench: Any) -> None:
    timing, log = bench("timing"), list[str]()
    players = [Fake(name, log, [1.0] * 9) for name in "ab"]
    ticks = iter(range(0, 1000, 10))
    times = timing.interleave(players, 9, seconds=5.0, settle=0.0, clock=lambda: next(ticks))
    assert [len(t.rounds) for t in times] == [timing.FEWEST_ROUNDS] * 2


PLAYER = """
import os
print("a library that talks", flush=True)
def build(*, threads, reply):
    calls = []
    return lambda: calls.append(1), lambda: {
        "calls": len(calls), "reply": reply, "threads": threads,
        "processors": (
            len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        ),
        "environment": [
            os.environ.get(n) for n in ("OMP_NUM_THREADS", "OPENBLAS_CORETYPE", "MORE")
        ],
    }
def fails(*, threads):
    raise ValueError("no such data")
def dies(*, threads):
    os._exit(3)
"""


@pytest.fixture
def player(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a_player.py").write_text(PLAYER, "utf-8")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")


def test_a_worker_builds_runs_and_answers_in_its_own_process(bench: Any, player: None) -> None:
    timing, contestant = bench("timing"), bench("cases").Contestant
    here = contestant("x", "a_player:build", {"reply": "ä"}, environment={"MORE": "so"})
    with timing.Worker(here, 1) as worker:
        worker.build()
        (times,) = timing.interleave([worker], 3, settle=0.0)
        answer = worker.answer()
    assert len(times.rounds) == 3 and min(times.rounds) >= 0.0
    processors = answer.pop("processors")
    assert answer == {"calls": 4, "reply": "ä", "threads": 1, "environment": ["1", None, "so"]}
    assert processors == (1 if hasattr(os, "sched_setaffinity") else os.cpu_count())
    assert worker._process.returncode == 0


def test_a_contestant_may_have_other_threads_than_the_rest(bench: Any, player: None) -> None:
    timing, contestant = bench("timing"), bench("cases").Contestant
    with timing.Worker(contestant("x", "a_player:build", {"reply": ""}, threads=1), 2) as worker:
        worker.build()
        answer = worker.answer()
    assert answer["threads"] == 1 and answer["environment"][0] == "1"


def test_a_case_without_rounds_has_answers_and_no_times(bench: Any, player: None) -> None:
    cases, program = bench("cases"), bench("__main__")
    contestant = cases.Contestant("x", "a_player:build", {"reply": "yes"})

    def check(answers: dict[str, Any]) -> dict[str, Any]:
        return {"x": cases.Finding(answers["x"]["reply"], ok=answers["x"]["calls"] == 0)}

    case = cases.Case("suite", "name", (contestant,), check, most_rounds=0)
    measured = program.measure(case, 3, 1.0, 1)
    assert measured.times == {} and measured.wrong() == []
    assert list(measured.lines()) == ["suite  name  (rounds: 0)", "    x: yes"]


@pytest.mark.parametrize(
    ("build", "said"), [("fails", "x failed at 'build'(?s:.*)no such data"), ("dies", "code 3")]
)
def test_a_worker_that_fails_says_what_happened(
    bench: Any, player: None, build: str, said: str
) -> None:
    timing, contestant = bench("timing"), bench("cases").Contestant
    with (
        timing.Worker(contestant("x", f"a_player:{build}"), 1) as worker,
        pytest.raises(timing.ContestantError, match=said),
    ):
        worker.build()


def test_a_pool_with_more_threads_than_the_others_have_is_refused(bench: Any) -> None:
    check = bench("worker").check_pools
    pools = [{"internal_api": "openblas", "num_threads": 2}]
    assert check(pools, 2) == pools
    with pytest.raises(RuntimeError, match="more than 1 threads"):
        check(pools, 1)


@pytest.fixture
def measured(bench: Any) -> Any:
    """A case with a figure of each kind: held, missed, not measured, and a wrong answer."""
    cases, report, times = bench("cases"), bench("report"), bench("timing").Times
    holds = {"slow": 1.0, "fast": 1.0, "absent": 1.0}
    contestants = (
        cases.Contestant("xpcls", "", holds=holds, limit_ms=2.5),
        cases.Contestant("xpcls plain", "", holds={"slow": 0.5}),
        cases.Contestant("slow", ""),
        cases.Contestant("fast", ""),
        cases.Contestant("absent", "", needs=("no_such_module",)),
    )
    return report.Measured(
        cases.Case("suite", "name", contestants),
        {
            "xpcls": times((2.0, 3.0)),
            "xpcls plain": times((3.0, 3.0)),
            "slow": times((4.0, 9.0)),
            "fast": times((1.0, 5.0)),
        },
        {"xpcls": cases.Finding("3 of 9 differ", ok=False)},
        missing={"absent": contestants[-1].missing()},
    )


def grown(bench: Any, times: dict[int, float], at_most: float) -> Any:
    """A case of growth, whose curve has these times in milliseconds."""
    cases, report = bench("cases"), bench("report")
    contestants = tuple(
        cases.Contestant(f"xpcls, {x}", "", curve="xpcls", x=float(x)) for x in times
    )
    case = cases.Case("growth", "over x", contestants, axis="x", linear={"xpcls": at_most})
    found = {f"xpcls, {x}": bench("timing").Times((time,)) for x, time in times.items()}
    return report.Measured(case, found)


def test_what_is_held_missed_missing_and_wrong_is_told_apart(bench: Any, measured: Any) -> None:
    report, times = bench("report"), bench("timing").Times
    peers = ("slow", "fast", "absent")
    assert [measured.ratio("xpcls", name) for name in peers] == [0.5, 2.0, None]
    assert [(v.of, v.against, v.figure, v.said) for v in measured.verdicts()] == [
        ("xpcls", "slow", 0.5, "held"),
        ("xpcls", "fast", 2.0, "missed"),
        ("xpcls", "absent", None, "not measured"),
        ("xpcls", "ms", 2.0, "held"),
        ("xpcls plain", "slow", 0.75, "missed"),
    ]
    assert measured.wrong() == ["xpcls"]
    table = "\n".join(measured.lines())
    assert "no_such_module is not installed" in table and "WRONG: 3 of 9 differ" in table
    summary = report.summary([measured])
    assert summary.startswith("2 of 5 figures held.") and "1 of 1 cases are noisy" in summary
    assert "xpcls plain / slow: 0.75 (at most 0.5) missed, 1.33 times as fast (at least" in summary
    assert [times(t).noisy for t in ((2.0, 2.4, 9.0), (2.0, 2.6, 2.6))] == [False, True]
    assert measured.case.unheld().contestants[0].holds == {}


def test_a_curve_is_as_far_from_a_line_as_its_farthest_point(bench: Any) -> None:
    # 9, 11 and 9 milliseconds for each x: the line with 10 lies 10 % from all of them.
    entry = grown(bench, {10: 90.0, 100: 1100.0, 1000: 9_000.0}, 0.11)
    constant, slope, distance = bench("report").nearest_line(*entry.curve("xpcls"))
    assert (constant, slope, distance) == pytest.approx((0.0, 10.0, 0.1), abs=1e-6)
    assert [v.said for v in entry.verdicts()] == ["held"]
    # A constant part is allowed for, and told; growth by the square is not.
    (verdict,) = grown(bench, {10: 25.0, 100: 205.0, 1000: 2005.0}, 0.001).verdicts()
    assert verdict.said == "held" and "5 ms + 2 ms for each" in verdict.text()
    bent = grown(bench, {10: 100.0, 100: 10_000.0, 1000: 1e6}, 0.11)
    assert [v.said for v in bent.verdicts()] == ["missed"]
    # Nor is a negative one, with which times that jump would lie on a line.
    jump = grown(bench, {10: 1.0, 20: 101.0}, 0.11)
    assert [v.said for v in jump.verdicts()] == ["missed"]
    del entry.times["xpcls, 10"]
    assert [v.said for v in entry.verdicts()] == ["not measured"]
    assert entry.case.unheld().linear == {}


def test_a_record_has_times_figures_and_checks(bench: Any, measured: Any, tmp_path: Path) -> None:
    path = tmp_path / "new" / "results.json"
    bench("report").write_json(path, {"date": "today"}, [measured])
    document = json.loads(path.read_text("utf-8"))
    entries = {entry["name"]: entry for entry in document["cases"][0]["contestants"]}
    assert document["date"] == "today"
    assert entries["slow"]["best_ms"] == 4.0 and entries["slow"]["median_ms"] == 6.5
    assert entries["slow"]["ratio_of_best"] == 0.5 and "ratio_of_best" not in entries["xpcls"]
    assert entries["absent"]["missing"] == ["no_such_module"]
    assert entries["xpcls"]["check"] == {"text": "3 of 9 differ", "ok": False}
    assert [hold["verdict"] for hold in document["cases"][0]["holds"]] == [
        *("held", "missed", "not measured", "held", "missed"),
    ]


HEAD = {
    "date": "2026-01-02T03:04:05+00:00",
    "threads": 2,
    "machine": {"cpu": "A CPU", "cores": 2, "memory_gib": 4.0, "system": "Linux"},
    "versions": {"python": "3.11.1"},
}


@pytest.fixture
def document(bench: Any, measured: Any) -> dict[str, Any]:
    """What a run writes: the case above, and a case of growth in which FAISS is ahead."""
    curve = grown(bench, {10: 90.0, 100: 1100.0}, 0.5).record()
    faiss = {"name": "FAISS, 10", "settings": "", "curve": "FAISS", "x": 10.0, "best_ms": 45.0}
    curve["contestants"].append(faiss)
    return {**HEAD, "cases": [measured.record(), curve]}


def test_a_result_becomes_tables(bench: Any, document: dict[str, Any]) -> None:
    table = bench("table")
    text = table.tables(document, "growth.svg")
    assert "Measured on 2026-01-02: A CPU, 2 cores, 4.0 GiB, Linux; 2 threads; python" in text
    assert "| case | xpcls | xpcls plain | slow | fast | absent |" in text
    assert "| name | 2 | 3 (0.67) | 4 (0.50) | 1 (2.00) |  |" in text
    assert "0 of 1 checked answers are right. 2 of 5 figures are held." in text
    assert "- WRONG: name, xpcls: 3 of 9 differ" in text
    assert "- name: xpcls / fast: 2 (at most 1) missed" in text
    assert "![Growth curves](growth.svg)" in text
    assert "| x | xpcls | FAISS |" in text and "| 10 | 90 | 45 |" in text
    assert "| 100 | 1,100 |  |" in text
    ahead = table.peers_ahead(document).splitlines()[2:]
    assert ahead == [
        "| suite | name | fast | 1 | 2 | 2.00 |",
        "| growth | over x: 10 | FAISS | 45 | 90 | 2.00 |",
    ]
    document["cases"] = document["cases"][:0]
    assert table.peers_ahead(document) == "In no case of this result."


def test_tables_are_written_between_their_marks(
    bench: Any, document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = bench("table")
    monkeypatch.setattr(table, "HOME", tmp_path)
    for page, mark in (("README.md", table.MEASURED), ("PEERS.md", table.AHEAD)):
        text = f"before\n<!-- {mark} -->\nold\n<!-- end of {mark} -->\nafter\n"
        (tmp_path / page).write_text(text, "utf-8")
    result = tmp_path / "results" / "day.json"
    result.parent.mkdir()
    result.write_text(json.dumps(document), "utf-8")
    for _ in range(2):  # the second time the same comes out
        assert table.main([str(result), "--write"]) == 0
        readme = (tmp_path / "README.md").read_text("utf-8")
        expected = table.tables(document, "results/day-growth.svg")
        mark = table.MEASURED
        assert readme == f"before\n<!-- {mark} -->\n\n{expected}\n\n<!-- end of {mark} -->\nafter\n"
    assert "| fast | 1 | 2 | 2.00 |" in (tmp_path / "PEERS.md").read_text("utf-8")
    svg = (tmp_path / "results" / "day-growth.svg").read_text("utf-8")
    assert svg.startswith("<svg") and "A CPU" in svg and "linear" in svg
    with pytest.raises(ValueError, match="there is no <!-- other -->"):
        table.replaced("text", "other", "new")


def test_the_pages_have_the_marks_that_tables_go_between(bench: Any) -> None:
    table = bench("table")
    for page, mark in (("README.md", table.MEASURED), ("PEERS.md", table.AHEAD)):
        text = (ROOT / "benchmarks" / page).read_text("utf-8")
        assert "new" in table.replaced(text, mark, "new").split(f"<!-- {mark} -->")[1]


def test_the_machine_is_described(bench: Any, tmp_path: Path) -> None:
    machine = bench("machine")
    info = tmp_path / "cpuinfo"
    info.write_text("processor : 0\ncpu family : 26\nmodel : 2\nmodel name : A CPU\n", "utf-8")
    assert machine.cpu_model(info) == "A CPU (family 26, model 2)"
    assert machine.cpu_model(tmp_path / "nothing")
    described = machine.describe()
    assert described["cores"] >= 1 and described["cpu"] and described["system"]
    assert {"python", "numpy", "xpcls"} <= set(machine.versions(ROOT))


@pytest.mark.parametrize("quick", [True, False])
def test_every_case_names_functions_that_are_there(bench: Any, quick: bool) -> None:
    for suite, make in bench("__main__").SUITES.items():
        names = set()
        for case in make(quick):
            contestants = {contestant.name: contestant for contestant in case.contestants}
            assert case.suite == suite and case.name not in names
            names.add(case.name)
            assert len(contestants) == len(case.contestants)
            assert case.contestants[0].name.startswith("xpcls")
            assert set(case.linear) <= {contestant.curve for contestant in case.contestants}
            for contestant in case.contestants:
                assert set(contestant.holds) <= contestants.keys() - {contestant.name}
                module, _, function = contestant.build.partition(":")
                assert callable(getattr(bench(module.removeprefix("benchmarks.")), function))


def test_the_command_lists_and_refuses(bench: Any, capsys: pytest.CaptureFixture[str]) -> None:
    program = bench("__main__")
    assert program.main(["--list", "neighbors", "--only", "l1 uint8"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert listed and all(line.startswith("neighbors  L1 uint8") for line in listed)
    with pytest.raises(SystemExit, match="2"):
        program.main(["swimming"])
    assert "no suite swimming" in capsys.readouterr().err
