"""The kernel that searches nearest rows: its bound, its answers, its memory."""

from __future__ import annotations

import copy
import pickle
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from tests import reference
from tests.test_distances_nearest import SIZES, assert_nearest, peak, rows_for, searches
from xpcls import KNeighborsClassifier
from xpcls.distances import Index, nearest
from xpcls_backends import get_backend
from xpcls_backends.kernels import asking_for_kernels, why_none

if why_none() is not None:
    pytest.skip(f"no kernels: {why_none()}", allow_module_level=True)

from xpcls_backends.kernels.cpu import _rounding, _tiles, neighbors

NUMPY = get_backend("numpy")
BUDGET = 2**24


def search(
    queries: np.ndarray, points: np.ndarray, k: int, metric: str, keep: bool = True
) -> tuple[np.ndarray, np.ndarray, neighbors.RowSearch]:
    """The kernel's own answer: positions it leaves out, indices, and the search itself."""
    made = neighbors.RowSearch(points, metric == "l1", keep, 2)
    distances = np.empty((queries.shape[0], k), np.float32)
    indices = np.empty((queries.shape[0], k), np.int64)
    left = made.search(queries, k, BUDGET, (distances, indices), lambda share: None, root=True)
    return left, indices, made


@settings(max_examples=150)
@given(case=searches(), budget=st.sampled_from((None, 2**17, 2**20)))
@example(case=("extremes", 2, (5, 40, 300), 1, 7, "l2"), budget=None)
@example(case=("near ties", 0, (5, 40, 70), 2, 1, "l2"), budget=2**17)
def test_neighbours_are_those_of_exact_arithmetic(case: tuple, budget: int | None) -> None:
    queries, points = rows_for(NUMPY, case)
    with asking_for_kernels(True):
        assert_nearest(NUMPY, queries, points, case[3], case[5], budget)


@pytest.mark.parametrize("metric", ["l1", "l2"])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("kind", reference.HARD_ROWS)
def test_neighbours_among_many_hard_rows(kind: str, dtype: str, metric: str) -> None:
    """Enough rows that candidates are dropped, in several panels and tiles."""
    rng = np.random.default_rng(reference.HARD_ROWS.index(kind))
    points = reference.hard_rows(kind, (700, 45), dtype, rng)
    queries = np.concatenate((points[::50], reference.hard_rows(kind, (20, 45), dtype, rng)))
    for k in (1, 10, 100):
        with asking_for_kernels(True):
            found = nearest(queries, points, k, metric)
        with asking_for_kernels(False):
            expected = nearest(queries, points, k, metric)
        np.testing.assert_array_equal(found[1], expected[1])
        np.testing.assert_allclose(found[0], expected[0], rtol=1e-6)


@settings(max_examples=60)
@given(
    kind=st.sampled_from(reference.HARD_ROWS),
    shape=st.tuples(st.integers(2, 60), st.integers(1, 40)),
    metric=st.sampled_from(("l1", "l2")),
    width=st.sampled_from((1, 2)),
    seed=st.integers(0, 2**16),
)
def test_codes_are_no_further_off_than_they_say(
    kind: str, shape: tuple[int, int], metric: str, width: int, seed: int
) -> None:
    """In exact arithmetic: the distances of codes, against those of the rows."""
    rng = np.random.default_rng(seed)
    points = reference.hard_rows(kind, shape, "float32", rng)
    # Beside rows like the points, rows far out of their range, whose codes are cut off.
    queries = reference.hard_rows(kind, (3, shape[1]), "float32", rng)
    ranges = _rounding.Ranges(points, 1)
    assume(ranges.suits)
    queries[0] *= np.float32(3.0)
    codes = _rounding.rounded_codes(points, ranges, metric == "l1", width, 1)
    assume(codes is not None)
    numbers, off = zip(*(decoded(codes, x) for x in (points, queries)), strict=True)
    assert (off[0] <= codes.error).all()
    per_unit = Fraction(float(np.float32(codes.per_unit)))
    true, unit = reference.exact_keys(queries.astype(float), points.astype(float), metric)
    for i, j in np.ndindex(3, points.shape[0]):
        if not np.isfinite(off[1][i]):
            continue
        difference = [
            abs(int(a) - int(b)) for a, b in zip(numbers[1][i], numbers[0][j], strict=True)
        ]
        bound = Fraction(float(off[1][i])) + Fraction(codes.error)
        key = Fraction(true[i][j]) * unit
        if metric == "l1":
            assert abs(key * per_unit - sum(difference)) <= bound
        else:  # |sqrt(a) - sqrt(b)| <= c, squared twice
            a, b = key * per_unit**2, sum(d * d for d in difference)
            assert a + b - bound**2 <= 0 or (a + b - bound**2) ** 2 <= 4 * a * b


def decoded(codes: _rounding.Codes, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes as numbers (n, D), and the bounds of their errors (n,)."""
    made, _, errors = codes.make(rows, points=False)
    numbers = made.view(np.uint8) if codes.width == 1 else made.view(np.int16)
    return numbers[:, : codes.features], codes.bounds(errors)


@pytest.mark.parametrize("metric", ["l1", "l2"])
@pytest.mark.parametrize("keep", [True, False])
def test_images_are_answered_by_the_kernel_alone(metric: str, keep: bool) -> None:
    rng = np.random.default_rng(0)
    smooth = np.cumsum(rng.normal(size=(900, 300)), axis=1)
    rows = ((smooth - smooth.min()) / np.ptp(smooth) * 255).astype(np.uint8)
    width = 1 if _tiles.VNNI else 2
    for x in (rows, rows / np.float32(255), rows.astype(np.float32), smooth.astype(np.float32)):
        left, indices, made = search(x[:80], x, 5, metric, keep)
        assert left.shape == (0,)
        assert (indices[:, 0] == np.arange(80)).all()
        cut = made.plan(80, 5, BUDGET, x.dtype)
        assert cut is not None and cut["scan"] == f"codes of {8 * width} bits, {_tiles.NAME}"
        assert (cut["kept"] > 0) == keep
    exact = neighbors.RowSearch(rows / np.float32(255), metric == "l1", keep, 1)
    assert exact._codes is not None and exact._codes.error < 0.5, "pixels have codes of their own"


def test_rows_that_bytes_cannot_tell_apart_get_words() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(2000, 1000)).astype(np.float32)
    left, _, made = search(points[:70] + np.float32(0.1), points, 5, "l2")
    assert left.shape == (0,)
    assert made._codes is not None and made._codes.width == 2


@pytest.mark.parametrize("metric", ["l1", "l2"])
def test_rows_that_no_code_tells_apart_are_left_to_the_plain_search(metric: str) -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(3000, 20)).astype(np.float32)
    points[0] = 1e9  # one row stretches the codes of all
    queries = points[1:200] + np.float32(0.01)
    left, _, _ = search(queries, points, 3, metric)
    assert left.shape == (199,)
    with asking_for_kernels(True):
        found = nearest(queries, points, 3, metric)
    with asking_for_kernels(False):
        expected = nearest(queries, points, 3, metric)
    np.testing.assert_array_equal(found[1], expected[1])


def test_some_queries_that_the_kernel_leaves_out_are_answered_in_their_places() -> None:
    rng = np.random.default_rng(0)
    points = np.repeat(rng.normal(size=(3, 8)), 2000, axis=0).astype(np.float32)
    points += (np.arange(6000) % 3 == 1)[:, None] * np.float32(0.3)
    queries = rng.normal(size=(90, 8)).astype(np.float32)
    queries[40] = np.float32(1e6)  # from so far all points are as near, by codes
    with asking_for_kernels(True):
        found = nearest(queries, points, 4)
    with asking_for_kernels(False):
        expected = nearest(queries, points, 4)
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-6)


@pytest.mark.parametrize("where", ["queries", "points"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(where: str, bad: float) -> None:
    rows = {"queries": np.zeros((40, 9), np.float32), "points": np.eye(300, 9, dtype=np.float32)}
    rows[where][31, 4] = bad
    with asking_for_kernels(True), pytest.raises(ValueError, match=f"{where} contains NaN or inf"):
        nearest(rows["queries"], rows["points"], 2)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("metric", ["l1", "l2"])
def test_scratch_stays_within_the_budget(sizes: tuple[int, ...], dtype: str, metric: str) -> None:
    n_queries, n_points, features, k, budget = sizes
    rng = np.random.default_rng(0)
    points = rng.integers(0, 200, (n_points, features)).astype(dtype)
    queries = rng.integers(0, 200, (n_queries, features)).astype(dtype)
    with asking_for_kernels(True):
        assert peak(queries, points, k, metric, budget) <= 1.1 * budget


def test_queries_that_the_kernel_leaves_out_are_copied_within_the_budget() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(600, 256)).astype(np.float32)
    queries = np.full((3000, 256), 1e6, np.float32)  # from so far all points are as near, by codes
    with asking_for_kernels(True):
        assert peak(queries, points, 3, "l2", 2**20) <= 1.1 * 2**20


def test_what_an_index_keeps_is_what_its_plan_says() -> None:
    rng = np.random.default_rng(0)
    points = rng.integers(0, 256, (5000, 100), dtype=np.uint8)
    index = Index(points)
    with asking_for_kernels(True):
        plan = index.plan(points[:30], 3)
        index.nearest(points[:30], 3)
    kept = index._searches["l2"]._kept  # type: ignore[attr-defined]
    assert plan.kept == kept.points.nbytes + kept.keys.nbytes
    assert f"{plan.kept:,} bytes are kept" in str(plan)
    assert _tiles.NAME in str(plan)


def test_an_index_is_pickled_and_copied_without_its_codes() -> None:
    rng = np.random.default_rng(0)
    points = rng.integers(0, 256, (3000, 50), dtype=np.uint8)
    model = KNeighborsClassifier(3).fit(points, np.arange(3000) % 4)
    with asking_for_kernels(True):
        expected = model.kneighbors(points[:20] // 2)
        assert model._index._searches
        for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
            assert not other._index._searches
            for a, b in zip(other.kneighbors(points[:20] // 2), expected, strict=True):
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", ["uint8", "pixels", "normal"])
def test_memory_that_runs_out_halves_the_blocks(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    bytes_ = rng.integers(0, 256, (4000, 64), dtype=np.uint8)
    rows: Any = {
        "uint8": bytes_,
        "pixels": bytes_ / np.float32(255),
        "normal": rng.normal(size=(4000, 64)).astype(np.float32),
    }[kind]
    search_block, asked = neighbors.RowSearch._search_block, []

    def limited(self: Any, queries: Any, blocks: Any, *more: Any) -> int:
        asked.append(blocks.queries)
        if blocks.queries > 100:
            raise MemoryError
        return search_block(self, queries, blocks, *more)

    with asking_for_kernels(True):
        expected = nearest(rows[:1000], rows, 5)
        monkeypatch.setattr(neighbors.RowSearch, "_search_block", limited)
        found = nearest(rows[:1000], rows, 5)
    assert asked[0] > 100 >= asked[-1]
    np.testing.assert_array_equal(found[1], expected[1])


def test_without_memory_for_all_codes_they_are_made_in_tiles(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    points = np.random.default_rng(0).integers(0, 256, (4000, 64), dtype=np.uint8)
    pack, packed = neighbors.RowSearch._pack, []

    def limited(self: Any, codes: Any, rows: slice, at_once: int) -> Any:
        packed.append(rows.stop - rows.start)
        if rows.stop - rows.start > 2000:
            raise MemoryError
        return pack(self, codes, rows, at_once)

    index = Index(points)
    monkeypatch.setattr(neighbors.RowSearch, "_pack", limited)
    with asking_for_kernels(True):
        found = index.nearest(points[:300], 3, "l2", 2**18)
    with asking_for_kernels(False):
        expected = nearest(points[:300], points, 3)
    assert packed[0] == 4000 and max(packed[1:]) <= 2000
    np.testing.assert_array_equal(found[1], expected[1])
