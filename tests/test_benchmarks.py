"""The machinery of benchmarks/: order of rounds, figures, checks. Nothing here asserts a time."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """A function that imports a module of benchmarks/, by its name in there.

    The package is found by its file: with the checkout on the path, the tests of an installed
    xpcls would find the checkout's instead.
    """
    folder = ROOT / "benchmarks"
    if not (folder / "__init__.py").is_file():
        pytest.skip("benchmarks/ is not here: the tests do not lie in a checkout")
    before = dict(sys.modules)
    spec = importlib.util.spec_from_file_location(
        "benchmarks", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "benchmarks", package)
    spec.loader.exec_module(package)
    yield lambda name: importlib.import_module(f"benchmarks.{name}")
    for name in set(sys.modules) - set(before):
        if name.startswith("benchmarks."):
            del sys.modules[name]


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
        "environment": [os.environ.get(n) for n in ("OMP_NUM_THREADS", "OPENBLAS_CORETYPE")],
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
    with timing.Worker(contestant("x", "a_player:build", {"reply": "ä"}), 1) as worker:
        worker.build()
        (times,) = timing.interleave([worker], 3, settle=0.0)
        answer = worker.answer()
    assert len(times.rounds) == 3 and min(times.rounds) >= 0.0
    assert answer == {"calls": 4, "reply": "ä", "threads": 1, "environment": ["1", None]}
    assert worker._process.returncode == 0


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


def test_what_is_held_missed_missing_and_wrong_is_told_apart(bench: Any, tmp_path: Path) -> None:
    cases, report, times = bench("cases"), bench("report"), bench("timing").Times
    make = cases.Contestant
    contestants = (
        make("xpcls", ""),
        make("slow", "", hold=1.0),
        make("fast", "", hold=1.0),
        make("absent", "", hold=1.0, needs=("no_such_module",)),
        make("shown", ""),
    )
    measured = report.Measured(
        cases.Case("suite", "name", contestants),
        {
            "xpcls": times((2.0, 3.0)),
            "slow": times((4.0, 9.0)),
            "fast": times((1.0, 5.0)),
            "shown": times((8.0, 8.0)),
        },
        {"xpcls": cases.Finding("3 of 9 differ", ok=False)},
        missing={"absent": contestants[3].missing()},
    )
    assert [measured.ratio(name) for name in ("slow", "fast", "absent")] == [0.5, 2.0, None]
    assert measured.verdicts() == {"slow": "held", "fast": "missed", "absent": "not measured"}
    assert measured.wrong() == ["xpcls"]
    table = "\n".join(measured.lines())
    assert "no_such_module is not installed" in table and "WRONG: 3 of 9 differ" in table
    summary = report.summary([measured])
    assert summary.startswith("1 of 3 ratios held.") and "1 of 1 cases are noisy" in summary
    assert [times(t).noisy for t in ((2.0, 2.4, 9.0), (2.0, 2.6, 2.6))] == [False, True]

    path = tmp_path / "new" / "results.json"
    report.write_json(path, {"date": "today"}, [measured])
    document = json.loads(path.read_text("utf-8"))
    entries = {entry["name"]: entry for entry in document["cases"][0]["contestants"]}
    assert document["date"] == "today"
    assert entries["slow"]["best_ms"] == 4.0 and entries["slow"]["median_ms"] == 6.5
    assert entries["fast"]["verdict"] == "missed" and entries["shown"]["ratio_of_best"] == 0.25
    assert entries["absent"]["missing"] == ["no_such_module"]
    assert entries["xpcls"]["check"] == {"text": "3 of 9 differ", "ok": False}


def test_the_machine_is_described(bench: Any, tmp_path: Path) -> None:
    machine = bench("machine")
    info = tmp_path / "cpuinfo"
    info.write_text("processor : 0\ncpu family : 26\nmodel : 2\nmodel name : A CPU\n", "utf-8")
    assert machine.cpu_model(info) == "A CPU (family 26, model 2)"
    assert machine.cpu_model(tmp_path / "nothing")
    described = machine.describe()
    assert described["cores"] >= 1 and described["cpu"] and described["system"]
    assert {"python", "numpy", "xpcls"} <= set(machine.versions(ROOT))


@pytest.mark.parametrize("metric", ["l1", "l2"])
def test_the_reference_finds_what_a_full_sort_finds(bench: Any, metric: str) -> None:
    rng = np.random.default_rng(0)
    queries, points = rng.integers(0, 3, (5, 4)), rng.integers(0, 3, (40, 4))  # full of ties
    power = {"l1": 1, "l2": 2}[metric]
    every = np.sum(np.abs(queries[:, None, :] - points[None, :, :]) ** power, axis=2)
    distances, indices = bench("exact").nearest64(queries, points, 7, metric)
    assert np.array_equal(indices, np.argsort(every, axis=1, kind="stable")[:, :7])
    assert np.array_equal(distances, np.sort(every, axis=1)[:, :7])


@pytest.mark.parametrize("metric", ["l1", "l2"])
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_the_check_of_neighbours_catches_a_wrong_one(bench: Any, metric: str, dtype: str) -> None:
    neighbors = bench("neighbors")
    options = {"metric": metric, "dtype": dtype, "points": 90, "queries": 6, "features": 48}
    run, answer = neighbors.build_xpcls(threads=1, **options)
    run()
    right = answer()
    wrong = [list(row) for row in right]
    wrong[2][-1] = next(i for i in range(90) if i not in right[2])
    findings = neighbors.check(options, {"xpcls": right, "peer": wrong})
    assert findings["xpcls"].ok and findings["xpcls"].text.startswith("0 of 6 queries differ")
    assert findings["peer"].ok is None
    assert findings["peer"].text == "1 of 6 queries differ from float64, 1 are farther"
    assert neighbors.check(options, {"xpcls": wrong})["xpcls"].ok is False


def test_a_wrong_choice_among_equal_distances_differs_and_is_not_farther(bench: Any) -> None:
    exact = bench("exact")
    points = np.asarray([[0], [5], [5], [9]], dtype=np.uint8)
    queries = np.asarray([[1]], dtype=np.uint8)
    truth = exact.nearest64(queries, points, 2, "l2")
    assert truth[1].tolist() == [[0, 1]]
    for answer, expected in (
        ([0, 1], (0, 0)),
        ([0, 2], (1, 0)),
        ([0, 3], (1, 1)),
        ([0, 0], (1, 1)),
    ):
        found = exact.count_differing(np.asarray([answer]), truth, queries, points, "l2")
        assert found == expected


def test_rows_are_alike_in_every_process_and_of_eight_bits(bench: Any) -> None:
    data = bench("data")
    pixels = data.image_rows(20, 48, 1, dtype="uint8")
    floats = data.image_rows(20, 48, 1, dtype="float32")
    assert floats.dtype == np.float32 and floats.min() >= 0.0 and floats.max() <= 1.0
    assert np.array_equal(np.rint(floats * 255), pixels) and np.ptp(pixels) > 50
    assert not np.array_equal(pixels, data.image_rows(20, 48, 2, dtype="uint8"))


@pytest.mark.parametrize("loss", ["softmax", "hinge"])
def test_an_epoch_of_torch_does_the_same_work(bench: Any, loss: str) -> None:
    pytest.importorskip("torch")
    sgd = bench("sgd")
    options = {"loss": loss, "rows": 600, "features": 32}
    builders = {"xpcls": sgd.build_xpcls, "torch": sgd.build_torch}
    answers = {name: build(threads=1, **options)[1]() for name, build in builders.items()}
    assert sgd.check(options, answers)["xpcls"].ok
    answers["torch"]["weights"][0][0] += 1.0
    assert sgd.check(options, answers)["xpcls"].ok is False


@pytest.mark.parametrize("kind", ["mlp", "convnet"])
def test_a_network_of_torch_does_the_same_work(bench: Any, kind: str) -> None:
    pytest.importorskip("torch")
    networks = bench("networks")
    options = {"kind": kind, "batch": 10, "rows": 20, "units": 5}
    builders = {"xpcls": networks.build_xpcls, "torch": networks.build_torch}
    answers = {name: build(threads=1, **options)[1]() for name, build in builders.items()}
    assert networks.check(answers)["torch"].ok
    answers["torch"]["losses"][2] *= 1.01
    assert networks.check(answers)["torch"].ok is False


@pytest.mark.parametrize("method", ["im2col", "winograd"])
def test_a_convolution_of_torch_does_the_same_work(bench: Any, method: str) -> None:
    pytest.importorskip("torch")
    networks = bench("networks")
    shape = (3, 6, 8, 9)
    _, ours = networks.build_convolution(shape=shape, method=method, threads=1)
    _, theirs = networks.build_torch_convolution(shape=shape, channels_last=True, threads=1)
    answers = {"xpcls": ours(), "torch channels_last": theirs()}
    assert networks.check_sums(answers)["xpcls"].ok
    answers["xpcls"][1] *= 1.01
    assert networks.check_sums(answers)["xpcls"].ok is False


def test_the_loops_and_chains_of_the_graph_do_the_same_work(bench: Any) -> None:
    graph = bench("graph")
    builders = {"xpcls": graph.build_graph, "by hand": graph.build_by_hand}
    answers = {name: build(steps=3, threads=1)[1]() for name, build in builders.items()}
    assert graph.check_losses(answers)["xpcls"].ok
    answers["xpcls"] *= 1.01
    assert graph.check_losses(answers)["xpcls"].ok is False
    found = graph.build_chain(nodes=50, threads=1)[1]()
    assert found["gradient"] == 51 and 100 < found["bytes"] < 2000
    pytest.importorskip("torch")
    assert graph.build_torch(steps=3, threads=1)[1]() == pytest.approx(answers["by hand"], rel=1e-4)
    assert graph.build_torch_nn(steps=3, threads=1)[1]() == pytest.approx(
        answers["by hand"], rel=1e-4
    )
    assert graph.build_torch_chain(nodes=50, threads=1)[1]() == {"gradient": 51}


@pytest.mark.parametrize("suite", ["neighbors", "sgd", "graph", "networks"])
@pytest.mark.parametrize("quick", [True, False])
def test_every_case_names_functions_that_are_there(bench: Any, suite: str, quick: bool) -> None:
    module = bench(suite)
    for case in module.cases(quick):
        names = [contestant.name for contestant in case.contestants]
        assert names[0] == "xpcls" and len(set(names)) == len(names)
        assert any(contestant.hold for contestant in case.contestants)
        for contestant in case.contestants:
            owner, _, function = contestant.build.partition(":")
            assert owner == f"benchmarks.{suite}" and callable(getattr(module, function))


def test_the_command_lists_and_refuses(bench: Any, capsys: pytest.CaptureFixture[str]) -> None:
    program = bench("__main__")
    assert program.main(["--list", "neighbors", "--only", "l1 uint8"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert listed and all(line.startswith("neighbors  L1 uint8") for line in listed)
    with pytest.raises(SystemExit, match="2"):
        program.main(["swimming"])
    assert "no suite swimming" in capsys.readouterr().err
