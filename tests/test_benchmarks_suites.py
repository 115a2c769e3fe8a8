"""The suites of benchmarks/: contestants do the same work, and checks catch wrong work."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests import benchmarks_package

bench = benchmarks_package.bench


@pytest.mark.parametrize("loss", ["softmax", "hinge"])
def test_an_epoch_of_torch_does_the_same_work(bench: Any, loss: str) -> None:
    pytest.importorskip("torch")
    sgd = bench("sgd")
    options = {"loss": loss, "rows": 600, "features": 32}
    builders = {"xpcls": sgd.build_xpcls, "torch": sgd.build_torch}
    answers = {name: build(threads=1, **options)[1]() for name, build in builders.items()}
    assert sgd.check(answers)["xpcls"].ok
    answers["xpcls"]["weights"][0][0] += 1.0
    assert sgd.check(answers)["xpcls"].ok is False


@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize("loss", ["softmax", "hinge"])
def test_an_epoch_of_jax_does_the_same_work(bench: Any, loss: str, scan: bool) -> None:
    pytest.importorskip("jax")
    options = {"loss": loss, "rows": 600, "features": 32}
    ours = bench("sgd").build_xpcls(threads=1, **options)[1]()
    theirs = bench("sgd_jax").build(threads=1, scan=scan, **options)[1]()
    findings = bench("sgd").check({"xpcls": ours, "torch": theirs})
    assert findings["xpcls"].ok


@pytest.mark.parametrize("scan", [False, True])
def test_a_network_of_jax_does_the_same_work(bench: Any, scan: bool) -> None:
    pytest.importorskip("jax")
    networks = bench("networks")
    ours = networks.build_xpcls(kind="mlp", batch=10, rows=20, units=5, threads=1)[1]()
    run, answer = bench("networks_jax").build(batch=10, rows=20, units=5, scan=scan, threads=1)
    run()
    assert networks.check({"xpcls": ours, "jax": answer()})["jax"].ok


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
    convolution = bench("convolution")
    shape = (3, 6, 8, 9)
    _, ours = convolution.build_xpcls(shape=shape, method=method, threads=1)
    _, theirs = convolution.build_torch(shape=shape, channels_last=True, threads=1)
    answers = {"xpcls": ours(), "torch channels_last": theirs()}
    assert convolution.check(answers)["xpcls"].ok
    answers["xpcls"][1] *= 1.01
    assert convolution.check(answers)["xpcls"].ok is False


def test_the_loops_and_chains_of_the_graph_do_the_same_work(bench: Any) -> None:
    graph = bench("graph")
    builders = {
        "xpcls": graph.build_graph,
        "by hand": graph.build_by_hand,
        "by hand, out=": graph.build_with_buffers,
    }
    answers = {name: build(steps=3, threads=1)[1]() for name, build in builders.items()}
    assert all(finding.ok for finding in graph.check_losses(answers).values())
    answers["xpcls"] *= 1.01
    assert graph.check_losses(answers)["xpcls"].ok is False
    chain = bench("graph_chain")
    found = chain.build(nodes=50, threads=1)[1]()
    assert found["gradient"] == 51 and 100 < found["bytes"] < 2000
    pytest.importorskip("torch")
    assert graph.build_torch(steps=3, threads=1)[1]() == pytest.approx(answers["by hand"], rel=1e-4)
    assert graph.build_torch_nn(steps=3, threads=1)[1]() == pytest.approx(
        answers["by hand"], rel=1e-4
    )
    assert chain.build_torch(nodes=50, threads=1)[1]() == {"gradient": 51}


@pytest.mark.parametrize("scan", [False, True])
def test_the_loop_of_jax_does_the_same_work(bench: Any, scan: bool) -> None:
    pytest.importorskip("jax")
    graph = bench("graph")
    expected = graph.build_by_hand(steps=3, threads=1)[1]()
    found = graph.build_jax(steps=3, scan=scan, threads=1)[1]()
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("metric", ["l1", "l2"])
def test_faiss_and_the_function_search_the_same_rows(bench: Any, metric: str) -> None:
    neighbors = bench("neighbors")
    options = {"metric": metric, "kind": "uint8", "points": 90, "queries": 6, "features": 48}
    builders = {"xpcls nearest": neighbors.build_nearest}
    if importlib.util.find_spec("faiss") is not None:
        builders["FAISS"] = neighbors.build_faiss
    answers = {}
    for name, build in builders.items():
        run, answer = build(threads=1, **options)
        run()
        answers[name] = answer()
    findings = neighbors.check(options, answers)
    assert findings["xpcls nearest"].ok
    assert all(finding.text.startswith("0 of 6 queries") for finding in findings.values())


@pytest.mark.parametrize("kind", ["tiny", "linear"])
def test_the_loop_and_xpcls_check_as_many_entries(bench: Any, kind: str) -> None:
    checks = bench("checks")
    options = {"n": 4, "features": 6, "classes": 3, "threads": 1}
    ours = getattr(checks, f"build_{kind}")(**options)[1]()
    loop = checks.build_loop(bias=kind == "linear", **options)[1]()
    answers = {"xpcls": ours, "loop": loop}
    assert all(finding.ok for finding in checks.check(answers).values())
    assert loop["entries"] == (21 if kind == "linear" else 18)
    ours["entries"] -= 1
    assert checks.check(answers)["xpcls"].ok is False


def test_a_first_call_is_a_process_of_its_own(bench: Any, tmp_path: Path) -> None:
    first = bench("first_call")
    told = tmp_path / "told"
    program = (
        "import os; folder = os.environ['NUMBA_CACHE_DIR']; known = os.listdir(folder); "
        "open(os.path.join(folder, 'kernel'), 'w').close(); "
        f"open({str(told)!r}, 'a').write(f'{{len(known)}} ')"
    )
    for anew, expected in ((False, "0 1 1 "), (True, "0 0 0 ")):
        told.write_text("")
        run, _ = first.build(program=program, anew=anew, threads=1)
        for _ in range(3):
            run()
        assert told.read_text() == expected
    broken, _ = first.build(program="raise SystemExit(3)", threads=1)
    with pytest.raises(subprocess.CalledProcessError):
        broken()
