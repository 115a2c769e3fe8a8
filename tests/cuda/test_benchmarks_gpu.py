"""The timings on a card run: on a card, or with `--backend fakecupy` on what stands in for one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests import benchmarks_package
from tests.cuda import fakecupy
from xpcls_backends import Backend

bench = benchmarks_package.bench
Bench = Callable[[str], ModuleType]


def test_all_cases_run_and_their_answers_are_right(
    card: Backend, bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "gpu.json"
    assert bench("gpu").main(["--quick", "--rounds", "1", "--json", str(path)]) == 0
    told = json.loads(path.read_text("utf-8"))
    assert told["card"]["name"] and told["quick"]
    assert len(told["cases"]) == 8
    for case in told["cases"]:
        first = case["contestants"][0]
        assert first["name"] == "xpcls" and first["best_ms"] > 0.0, first
        assert first.get("check", {"ok": True})["ok"]
    assert capsys.readouterr().out.count("0 of 20 queries differ from float64") == 4


def test_convolution_by_cudnn_is_timed_beside_the_other_way(
    card: Backend, bench: Bench, cudnn_there: Any, tmp_path: Path
) -> None:
    path = tmp_path / "gpu.json"
    arguments = ["--quick", "--rounds", "1", "--only", "convnet", "--json", str(path)]
    with fakecupy.trace() as t:
        assert bench("gpu").main(arguments) == 0
    (case,) = json.loads(path.read_text("utf-8"))["cases"]
    ours, by_cudnn, *_ = case["contestants"]
    assert by_cudnn["name"] == "xpcls cuDNN" and by_cudnn["best_ms"] > 0.0
    assert ours["check"]["ok"] and by_cudnn["check"]["ok"]
    if fakecupy.installed():
        assert "lay_out" in t.names and "cudnn wgrad" in t.names
    assert "XPCLS_CUDNN" not in os.environ


def test_a_contestant_that_fails_is_told_and_the_others_go_on(
    card: Backend, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(**options: object) -> None:
        raise MemoryError("no memory for a product")

    monkeypatch.setattr(bench("gpu_neighbors"), "build_product", fails)
    path = tmp_path / "gpu.json"
    assert (
        bench("gpu").main(["--quick", "--rounds", "1", "--only", "L2 uint8", "--json", str(path)])
        == 0
    )
    (case,) = json.loads(path.read_text("utf-8"))["cases"]
    ours, product, *_ = case["contestants"]
    assert "best_ms" in ours and "no memory for a product" in product["missing"][0]


def test_wrong_neighbours_are_told(
    card: Backend, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench("gpu_neighbors"), "brute", lambda *given: [[0] * 10] * 20)
    assert bench("gpu").main(["--quick", "--rounds", "1", "--only", "L1 uint8"]) == 1


def test_without_a_card_it_says_so(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench("gpu"), "why_not", lambda name: "no driver. Install one.")
    assert bench("gpu").main(["--quick"]) == 2
    assert "no card to run on: no driver" in capsys.readouterr().err
    assert bench("gpu").main(["--list"]) == 0
    assert "L2 uint8 50,000 x 10,000 x 3,072" in capsys.readouterr().out
