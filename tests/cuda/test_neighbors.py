"""Neighbours by CUDA kernels are those of float64; see test_rows.py for what this runs on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests import reference
from xpcls.distances import Index, nearest
from xpcls_backends import Backend, to_host
from xpcls_backends.kernels.cuda import neighbors, scans

CASES = [
    (metric, dtype) for metric in ("l1", "l2", "sqeuclidean") for dtype in ("uint8", "float32")
]


def _assert_neighbours(found: Any, queries: Any, points: Any, metric: str, expected: Any) -> None:
    """The expected distances; the expected rows, but that sums of floats are rounded in another
    order on a card, so that of two rows at one distance either may be first."""
    distances, indices = (to_host(x) for x in found)
    assert distances.dtype == "float32" and indices.dtype == "int64"
    if points.dtype == "uint8":
        np.testing.assert_array_equal(indices, expected[1])
        np.testing.assert_array_equal(distances, expected[0])
        return
    np.testing.assert_allclose(distances, expected[0], rtol=2e-7)
    keys = []
    for chosen in (indices, expected[1]):
        assert all(len(set(row)) == len(row) for row in chosen.tolist())
        d = np.abs(queries[:, None].astype("float64") - points[chosen])
        keys.append(np.sum(d if metric == "l1" else d * d, axis=-1))
    np.testing.assert_allclose(*keys, rtol=1e-13)


@pytest.mark.parametrize(("metric", "dtype"), CASES)
@pytest.mark.parametrize("hard", reference.HARD_ROWS)
def test_neighbours_are_those_of_float64(
    card: Backend, metric: str, dtype: str, hard: str, launched: list[str]
) -> None:
    rng = np.random.default_rng(len(hard))
    points, queries = (
        np.ascontiguousarray(reference.hard_rows(hard, (n, 20), dtype, rng)) for n in (150, 12)
    )
    for k in (1, 7, 150):
        found = nearest(card.asarray(queries), card.asarray(points), k, metric)
        _assert_neighbours(found, queries, points, metric, nearest(queries, points, k, metric))
    # For sums in float32, and for squares.
    too_large = hard in (("extremes",) if metric == "l1" else ("extremes", "huge", "mixed scales"))
    of_keys = {("l1", "uint8"): "l1_few_u8", ("l1", "float32"): "l1_few_f32"}
    expected = of_keys.get((metric, dtype), "byte_codes" if dtype == "uint8" else "float_codes")
    assert expected in launched or (too_large and dtype == "float32")
    assert ("smallest_i32" if dtype == "uint8" else "smallest_f32") in launched


@pytest.mark.parametrize(("metric", "dtype"), CASES)
def test_tiles_change_nothing(
    card: Backend, metric: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbors, "TILE", 64)
    rng = np.random.default_rng(1)
    points, queries = (reference.hard_rows("near ties", (n, 24), dtype, rng) for n in (333, 40))
    expected = nearest(queries, points, 9, metric)
    for budget in (None, 2**14):
        found = nearest(card.asarray(queries), card.asarray(points), 9, metric, budget)
        _assert_neighbours(found, queries, points, metric, expected)


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize(("metric", "dtype"), CASES)
def test_out_of_memory_halves_the_tile(
    card: Backend, metric: str, dtype: str, keep: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(2)
    points, queries = (reference.hard_rows("pixels", (n, 16), dtype, rng) for n in (900, 60))
    found_in, blocks = neighbors.RowSearch._nearest, []

    def fails_for_many(self: Any, *args: Any) -> Any:
        blocks.append(args[-1])  # queries whose keys are there at one time
        if args[-1] > 16:
            raise MemoryError
        return found_in(self, *args)

    monkeypatch.setattr(neighbors.RowSearch, "_nearest", fails_for_many)
    index = Index(card.asarray(points), keep=keep)
    found = index.nearest(card.asarray(queries), 3, metric, 2**19)
    _assert_neighbours(found, queries, points, metric, nearest(queries, points, 3, metric))
    assert blocks[0] > 16 >= blocks[-1]
    # Where there is no room to work there is none for what is kept.
    assert index.plan(card.asarray(queries), 3, metric).kept == 0


def test_what_is_not_a_number_is_refused(card: Backend) -> None:
    for bad in (np.nan, np.inf, -np.inf):
        for place in ("queries", "points"):
            arrays = {name: np.ones((4, 8), "float32") for name in ("queries", "points")}
            arrays[place][2, 3] = bad
            with pytest.raises(ValueError, match=place):
                nearest(*(card.asarray(x) for x in arrays.values()), 2, "l1")


def _left(card: Backend, queries: Any, points: Any, k: int, l1: bool) -> Any:
    """What the kernels leave to the plain search."""
    shape = (queries.shape[0], k)
    found = card.asarray(np.empty(shape, "f4")), card.asarray(np.empty(shape, "i8"))
    search = neighbors.RowSearch(card.asarray(points), l1, False)
    left = search.search(*(card.asarray(queries), k, 2**22, found, lambda share: None), root=False)
    return to_host(left)


def _far_apart_and_alike(rng: np.random.Generator) -> tuple[Any, Any]:
    """700 points whose sums in float32 are one number, and whose true sums are not, and 3 queries
    at them; one more query at 5 points elsewhere."""
    points = np.full((705, 9), 2.0**-26, "float32")
    points[:, 0] = 1.0
    points[:, 1] *= 1 + (rng.permutation(705) % 7)
    points[700:, 0] = np.arange(100, 105)
    queries = np.zeros((4, 9), "float32")
    queries[2, 0] = 100.0
    return queries, points


@pytest.mark.parametrize("metric", ["l1", "l2"])
def test_a_query_that_is_not_proven_is_asked_again(card: Backend, metric: str) -> None:
    queries, points = _far_apart_and_alike(np.random.default_rng(3))
    found = nearest(card.asarray(queries), card.asarray(points), 4, metric)
    expected = nearest(queries, points, 4, metric)
    np.testing.assert_array_equal(to_host(found[1]), expected[1])
    assert _left(card, queries, points, 4, metric == "l1").tolist() == [0, 1, 3]


@pytest.mark.parametrize("metric", ["l1", "l2"])
def test_more_candidates_prove_what_few_do_not(
    card: Backend, metric: str, launched: list[str]
) -> None:
    queries, points = _far_apart_and_alike(np.random.default_rng(3))
    points = points[[*range(0, 700, 3), *range(700, 705)]]  # of the first 234 are alike
    assert _left(card, queries, points, 4, metric == "l1").size == 0
    scans = launched.count("l1_few_f32") if metric == "l1" else launched.count("direct_keys") // 2
    assert scans == 2


@pytest.mark.parametrize(
    ("wrong", "features", "spread"), [("TF32_ERROR", 64, 2e-4), ("ADDITION", 2**15, 1.5e-2)]
)
def test_a_bound_that_is_too_small_would_be_seen(
    card: Backend, wrong: str, features: int, spread: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Points that are all about as far from the query: a scan does not know their order."""
    rng, wrongs = np.random.default_rng(4), 0
    queries = np.zeros((1, features), "float32")
    for _ in range(4):
        points = rng.normal(size=(300, features)) + 1.0  # the query is not in their middle
        squares = np.sum(points * points, axis=1, keepdims=True)
        points *= np.sqrt(rng.permutation(1.0 + np.linspace(0.0, spread, 300))[:, None] / squares)
        points = points.astype("float32")
        expected = nearest(queries, points, 1)[1]
        given = card.asarray(queries), card.asarray(points)
        np.testing.assert_array_equal(to_host(nearest(*given, 1)[1]), expected)
        with monkeypatch.context() as patch:
            patch.setattr(scans, wrong, 0.0)
            wrongs += int(to_host(nearest(*given, 1)[1])[0, 0] != expected[0, 0])
    assert wrongs > 0
