"""An index of rows: the same answers, a plan before, and less scratch where memory runs out."""

from __future__ import annotations

import copy
import pickle
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import xpcls.distances._nearest
from xpcls import KNeighborsClassifier
from xpcls.distances import Index, nearest
from xpcls_backends import Backend, halved_budget, to_host
from xpcls_backends.kernels import asking_for_kernels


def rows(backend: Backend, n: int, features: int, seed: int = 0, dtype: str = "uint8") -> Any:
    rng = np.random.default_rng(seed)
    return backend.asarray(rng.integers(0, 200, (n, features)).astype(dtype))


@pytest.mark.parametrize("dtype", ["uint8", "float32", "int32"])
def test_an_index_answers_as_nearest_does(backend: Backend, dtype: str) -> None:
    points, index = rows(backend, 90, 7, 1, dtype), None
    index = Index(points)
    for metric in ("l1", "l2", "sqeuclidean", "l1"):
        queries = rows(backend, 13, 7, 2, dtype)
        for a, b in zip(
            index.nearest(queries, 4, metric), nearest(queries, points, 4, metric), strict=True
        ):
            assert type(a) is type(b)
            np.testing.assert_array_equal(to_host(a), to_host(b))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "cosine"}, "metric is 'cosine', expected one of 'l1'"),
        ({"k": 91}, r"k is 91, expected an integer from 1 to 90 \(n_points\)"),
        ({"queries": np.zeros((3, 8), np.uint8)}, "queries has 8 features and points has 7"),
        ({"memory_budget": 10}, "memory_budget is 10 bytes"),
    ],
)
@pytest.mark.parametrize("method", ["nearest", "plan"])
def test_what_cannot_be_searched_is_said(
    backend: Backend, method: str, options: dict[str, Any], message: str
) -> None:
    given = {"queries": np.zeros((3, 7), np.uint8), "k": 2, "metric": "l2", **options}
    given["queries"] = backend.asarray(given["queries"])
    with pytest.raises(ValueError, match=message):
        getattr(Index(rows(backend, 90, 7)), method)(**given)


def test_an_index_is_copied_and_pickled_with_its_rows() -> None:
    points = np.random.default_rng(0).integers(0, 200, (90, 7), dtype=np.uint8)
    for other in (copy.deepcopy(Index(points)), pickle.loads(pickle.dumps(Index(points)))):
        np.testing.assert_array_equal(other.points, points)
        np.testing.assert_array_equal(
            other.nearest(points[:9], 3)[1], nearest(points[:9], points, 3)[1]
        )


def test_a_plan_is_a_line_with_its_numbers(backend: Backend) -> None:
    points, queries = rows(backend, 5000, 40, 1, "float32"), rows(backend, 300, 40, 2, "float32")
    with asking_for_kernels(False):
        plan = Index(points).plan(queries, 3, "l2", 2**20)
    assert plan.scratch == 2**20 and plan.kept == 8 * 5000  # two numbers a point
    assert plan.candidates >= 3 and 1 <= plan.queries <= 300 and 1 <= plan.points <= 5000
    assert str(plan) == (
        f"scan by float32: {plan.queries:,} queries by {plan.points:,} points at a time, "
        f"{plan.candidates:,} candidates a query, at most 1,048,576 bytes of scratch; "
        "40,000 bytes are kept for more searches"
    )
    smaller = Index(points).plan(queries, 3, "l2", 2**18)
    assert smaller.queries * smaller.points < plan.queries * plan.points


def test_a_model_says_how_it_will_search() -> None:
    points = np.random.default_rng(0).integers(0, 200, (90, 7), dtype=np.uint8)
    model = KNeighborsClassifier(2, memory_budget=2**20).fit(points, np.arange(90) % 2)
    assert model.plan(points[:5]) == Index(points).plan(points[:5], 2, "l2", 2**20)


@pytest.mark.parametrize("k", [3, 60])  # candidates, or direct distances to all
def test_memory_that_runs_out_halves_the_tiles(
    backend: Backend, k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    points, queries = rows(backend, 100, 30, 1, "float32"), rows(backend, 700, 30, 2, "float32")
    planned, asked = xpcls.distances._nearest.plan_tiles, []

    def limited(*options: Any) -> Any:
        tiles = planned(*options)
        asked.append(tiles.queries)
        if tiles.scratch > 2**18:
            monkeypatch.setattr(xpcls.distances._nearest, "_ask_candidates", out_of_memory)
            monkeypatch.setattr(xpcls.distances._nearest, "_ask_all", out_of_memory)
        else:
            monkeypatch.setattr(xpcls.distances._nearest, "_ask_candidates", ask_candidates)
            monkeypatch.setattr(xpcls.distances._nearest, "_ask_all", ask_all)
        return tiles

    def out_of_memory(*options: Any) -> Any:
        raise MemoryError

    ask_candidates = xpcls.distances._nearest._ask_candidates
    ask_all = xpcls.distances._nearest._ask_all
    with asking_for_kernels(False):
        expected = nearest(queries, points, k)
        monkeypatch.setattr(xpcls.distances._nearest, "plan_tiles", limited)
        found = nearest(queries, points, k)
    assert len(asked) > 5
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(to_host(a), to_host(b))


def test_memory_that_is_out_for_good_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_memory(*options: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(xpcls.distances._nearest, "_ask_candidates", out_of_memory)
    points = np.zeros((400, 3), np.float32)
    with (
        asking_for_kernels(False),
        pytest.raises(MemoryError, match=r"^memory ran out, and the search was down to \d+ bytes"),
    ):
        nearest(points[:9], points, 2)
    assert halved_budget(2**20, np) == 2**19


OUT_OF_MEMORY = """
import resource
import numpy as np
from xpcls.distances import nearest
rng = np.random.default_rng(0)
points = rng.integers(0, 200, (60_000, 256)).astype(np.float32)
queries = points[::50] + 1
nearest(queries[:300], points[:3000], 5)  # libraries loaded, threads and their buffers there
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + FREE, resource.RLIM_INFINITY))
found = nearest(queries, points, 5, memory_budget=2**30)[1]
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print((found == nearest(queries, points, 5)[1]).all())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits address space as Linux does")
def test_a_process_with_less_memory_than_the_budget_goes_on() -> None:
    """A real limit: the budget asks for a GiB where there are 200 MB."""
    path = ":".join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, "-c", re.sub("FREE", "200_000_000", OUT_OF_MEMORY)],
        env={"PYTHONPATH": path, "XPCLS_KERNELS": "off", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "True\n"
