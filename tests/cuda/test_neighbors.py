"""Neighbours by CUDA kernels are those of float64; see test_rows.py for what this runs on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests import reference
from tests.cuda import fakecupy
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
    # A card takes distances that are not normal numbers for 0.
    np.testing.assert_allclose(distances, expected[0], rtol=2e-7, atol=scans.SMALLEST)
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


@pytest.mark.parametrize("queries_lie", ["C", "F"])
@pytest.mark.parametrize(("metric", "dtype"), CASES[:4])
def test_copies_of_rows_stay_within_the_budget(
    card: Backend, metric: str, dtype: str, queries_lie: str
) -> None:
    """Rows that are no whole vectors of 16 bytes, or that lie column by column, are copied."""
    if not fakecupy.installed():
        pytest.skip("what is held at one time is counted by the stand-in alone")
    rng = np.random.default_rng(9)
    points, queries = (rng.integers(0, 256, (n, 301)).astype(dtype) for n in (300, 12))
    expected = nearest(queries, points, 3, metric)
    given, budget = (card.asarray(queries), card.asarray(points)), 2**17
    if queries_lie == "F":
        given = card.xp.permute_dims(card.asarray(queries.T.copy()), (1, 0)), given[1]
    with fakecupy.trace() as t:
        found = nearest(*given, 3, metric, budget)
    assert t.most_held - 12 * 3 * 12 <= budget
    _assert_neighbours(found, queries, points, metric, expected)


def test_queries_that_are_asked_again_stay_within_the_budget(card: Backend) -> None:
    if not fakecupy.installed():
        pytest.skip("what is held at one time is counted by the stand-in alone")
    queries, points = (np.ones((n, 301), "float32") for n in (60, 40))  # at one distance
    with fakecupy.trace() as t:
        left = _left(card, queries, points, 3, True, 2**16)
    assert left.size == 0
    assert t.most_held - (60 + 40) * 301 * 4 - 60 * 3 * 12 <= 2**16


def test_no_more_keys_at_once_than_32_bits_count(card: Backend) -> None:
    points = card.asarray(np.zeros((700, 5), "uint8"))
    search = neighbors.RowSearch(points, False, False)
    _, across, block = search._cut(2**31, 1, 2**50, copied=False)
    assert 2**28 < across * block < 2**31
    few = card.asarray(np.zeros((1, 5), "uint8"))
    assert neighbors.fits(few, points, "l2")
    many = card.xp.broadcast_to(few, (2**31, 5))
    assert not neighbors.fits(few, many, "l2")


@pytest.mark.parametrize(("metric", "dtype"), CASES)
def test_a_plan_looks_at_no_point(card: Backend, metric: str, dtype: str) -> None:
    if not fakecupy.installed():
        pytest.skip("launches are counted by the stand-in alone")
    points, queries = (card.asarray(np.ones((n, 9), dtype)) for n in (300, 20))
    with fakecupy.trace() as told:
        plan = Index(points).plan(queries, 3, metric)
    assert plan.scan == f"CUDA kernels, {'bytes' if dtype == 'uint8' else 'float32'}"
    assert (told.launches, told.to_host, told.most_held) == (0, 0, 0)


def test_what_is_not_a_number_is_refused(card: Backend) -> None:
    for bad in (np.nan, np.inf, -np.inf):
        for place in ("queries", "points"):
            arrays = {name: np.ones((4, 8), "float32") for name in ("queries", "points")}
            arrays[place][2, 3] = bad
            with pytest.raises(ValueError, match=place):
                nearest(*(card.asarray(x) for x in arrays.values()), 2, "l1")


def _left(card: Backend, queries: Any, points: Any, k: int, l1: bool, budget: int = 2**22) -> Any:
    """What the kernels leave to the plain search."""
    shape = (queries.shape[0], k)
    found = card.asarray(np.empty(shape, "f4")), card.asarray(np.empty(shape, "i8"))
    search = neighbors.RowSearch(card.asarray(points), l1, False)
    given = card.asarray(queries), k, budget, found, lambda share: None
    left = search.search(*given, root=False)
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


@pytest.mark.parametrize("k", [500, 513])
def test_so_many_neighbours_are_left_to_the_plain_search(
    card: Backend, k: int, launched: list[str]
) -> None:
    rng = np.random.default_rng(8)
    points, queries = (rng.normal(size=(n, 5)).astype("float32") for n in (600, 2))
    assert _left(card, queries, points, k, l1=False).tolist() == [0, 1]
    assert "float_codes" not in launched
    found = nearest(card.asarray(queries), card.asarray(points), k)
    np.testing.assert_array_equal(to_host(found[1]), nearest(queries, points, k)[1])


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
    """Points that are all about as far from the query: a scan does not know their order.

    The stand-in's tensor cores lose as much as is allowed for; those of a card lose less, by which
    a bound without ADDITION is not seen to be wrong.
    """
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
    assert wrongs > 0 or (wrong == "ADDITION" and not fakecupy.installed())
