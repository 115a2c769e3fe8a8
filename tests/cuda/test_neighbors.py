"""Neighbours by CUDA kernels are those of float64; see test_rows.py for what this runs on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests import reference
from xpcls.distances import nearest
from xpcls_backends import Backend, to_host
from xpcls_backends.kernels.cuda import neighbors

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
    too_large = dtype == "float32" and hard == "extremes"  # for sums in float32
    of_keys = {("l1", "uint8"): "l1_few_u8", ("l1", "float32"): "l1_few_f32"}
    expected = of_keys.get((metric, dtype), "byte_codes" if dtype == "uint8" else "direct_keys")
    assert expected in launched or (too_large and metric == "l1")
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


@pytest.mark.parametrize(("metric", "dtype"), [("l1", "float32"), ("l2", "uint8")])
def test_out_of_memory_halves_the_tile(
    card: Backend, metric: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(2)
    points, queries = (reference.hard_rows("pixels", (n, 16), dtype, rng) for n in (900, 30))
    block, rows = neighbors.RowSearch._search_block, []

    def fails_for_many(self: Any, some: Any, *args: Any) -> Any:
        rows.append(some.shape[0])
        if some.shape[0] > 16:
            raise MemoryError
        return block(self, some, *args)

    monkeypatch.setattr(neighbors.RowSearch, "_search_block", fails_for_many)
    found = nearest(card.asarray(queries), card.asarray(points), 3, metric, 2**19)
    _assert_neighbours(found, queries, points, metric, nearest(queries, points, 3, metric))
    assert rows[0] == 30 and rows[-1] <= 16


def test_what_is_not_a_number_is_refused(card: Backend) -> None:
    for bad in (np.nan, np.inf, -np.inf):
        for place in ("queries", "points"):
            arrays = {name: np.ones((4, 8), "float32") for name in ("queries", "points")}
            arrays[place][2, 3] = bad
            with pytest.raises(ValueError, match=place):
                nearest(*(card.asarray(x) for x in arrays.values()), 2, "l1")


def test_a_query_that_is_not_proven_is_asked_again(card: Backend) -> None:
    # 200 points whose sums in float32 are one number, and whose true sums are not.
    points = np.full((200, 9), 2.0**-26, "float32")
    points[:, 0] = 1.0
    points[:, 1] *= 1 + (np.arange(200)[::-1] % 97)
    queries = np.zeros((3, 9), "float32")
    found = nearest(card.asarray(queries), card.asarray(points), 4, "l1")
    expected = nearest(queries, points, 4, "l1")
    np.testing.assert_array_equal(to_host(found[1]), expected[1])
    left = neighbors.RowSearch(card.asarray(points), True, False).search(
        card.asarray(queries),
        *(4, 2**20, tuple(map(card.asarray, expected)), lambda share: None),
        root=False,
    )
    np.testing.assert_array_equal(to_host(left), [0, 1, 2])
