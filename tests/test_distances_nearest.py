"""The nearest rows: exactly the right ones, in the stated order, within the stated memory.

The oracle has no rounding: keys are computed in whole numbers. An answer may differ from it only
where float64 cannot tell two rows apart, and never between rows that are the same.
"""

from __future__ import annotations

import itertools
import re
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests import reference
from xpcls.distances import METRICS, nearest
from xpcls.distances._points import Points
from xpcls.distances._scan import (
    Scan,
    direct_keys,
    make_scan,
    minus_two_overlaps,
    scan_points,
    scan_queries,
)
from xpcls.progress import listen
from xpcls_backends import Backend, device_of, scratch_bytes, to_host, widest_float
from xpcls_backends.testing import forbid_host_reads

DTYPES = ("float32", "uint8", "int8", "uint16", "int32", "int64", "bool", "float64")
LARGE = 2**26


def wide_of(backend: Backend) -> str:
    """The dtype of direct distances: float32 only where the device has no other."""
    has = widest_float(backend.xp, backend.device) == backend.xp.float64
    return "float64" if has else "float32"


def dtypes_of(backend: Backend) -> tuple[str, ...]:
    return DTYPES if wide_of(backend) == "float64" else DTYPES[:-1]


@st.composite
def searches(draw: st.DrawFn) -> tuple[str, int, tuple[int, int, int], int, int, str]:
    n_points = draw(st.integers(1, 40))
    k = draw(st.one_of(st.just(1), st.integers(1, n_points), st.integers(1, min(3, n_points))))
    sizes = draw(st.integers(1, 5)), n_points, draw(st.integers(1, 70))
    pair = draw(st.integers(0, 63))  # which dtypes, of those that the backend has
    kind, metric = draw(st.sampled_from(reference.HARD_ROWS)), draw(st.sampled_from(("l1", "l2")))
    return kind, pair, sizes, k, draw(st.integers(0, 2**16)), metric


def rows_for(backend: Backend, case: tuple) -> tuple[np.ndarray, np.ndarray]:
    """Queries and points; half of the queries are points, so that distances of 0 are asked for."""
    kind, pair, (n_queries, n_points, features), _, seed, _ = case
    dtypes = dtypes_of(backend)
    mixed = ("uint8", "float32"), ("float32", dtypes[-1]), ("uint8", "int32")
    of_queries, of_points = mixed[pair % 3] if pair >= 48 else (dtypes[pair % len(dtypes)],) * 2
    rng = np.random.default_rng(seed)
    points = reference.hard_rows(kind, (n_points, features), of_points, rng)
    queries = reference.hard_rows(kind, (n_queries, features), of_queries, rng)
    if of_queries == of_points:
        some = rng.random(n_queries) < 0.5
        queries[some] = points[rng.integers(0, n_points, n_queries)][some]
    return tuple(reference.as_read(x, backend.name) for x in (queries, points))


def assert_nearest(
    backend: Backend, queries: np.ndarray, points: np.ndarray, k: int, metric: str, budget: object
) -> None:
    wide = wide_of(backend)
    with forbid_host_reads():
        distances, indices = nearest(
            backend.asarray(queries), backend.asarray(points), k, metric, budget
        )
    assert distances.shape == indices.shape == (queries.shape[0], k)
    assert indices.dtype == backend.xp.int64
    chosen, found = to_host(indices).tolist(), to_host(distances).tolist()
    queries, points = queries.astype(wide), points.astype(wide)
    keys, unit = reference.exact_keys(queries, points, metric)
    error = 4 * (points.shape[1] + 4) * Fraction(1, 2 ** (53 if wide == "float64" else 24))
    vanished = reference.vanishing_key(queries, points, metric, wide) / unit
    narrow = "float32" in str(distances.dtype)
    step = reference.least_float32(backend.name) if narrow else Fraction(1, 2**1074)
    exact = unit == 1 and max(map(max, keys)) < 2**24  # no sum is ever rounded
    for query, row, js, ds in zip(queries, keys, chosen, found, strict=True):
        order = sorted(range(len(row)), key=lambda j: (row[j], j))[:k]
        if exact:
            assert js == order
        assert len(set(js)) == k
        for j, best, d in zip(js, order, ds, strict=True):
            assert abs(row[j] - row[best]) <= error * row[best] + vanished
            assert_distance(d, row[j] * unit, metric, step, vanished * unit)
            assert (points[j] != query).any() or d == 0
        assert all(a <= b for a, b in itertools.pairwise(ds))
        assert_ties_by_index(points, js)


def assert_distance(
    d: float, key: Fraction, metric: str, step: Fraction, vanished: Fraction
) -> None:
    """`d` is the distance of the exact `key`, as far as the dtype of the result can say, whose
    smallest number is `step`."""
    narrow = step > Fraction(1, 2**1000)
    largest = Fraction(float(np.finfo("float32" if narrow else "float64").max))
    power = 2 if metric == "l2" else 1
    if d == float("inf"):
        assert key >= (largest * (1 - Fraction(1, 2**20))) ** power
        return
    slip = Fraction(d) * Fraction(1, 2 ** (18 if narrow else 44)) + step
    assert d >= 0
    assert max(Fraction(0), Fraction(d) - slip) ** power <= key + vanished
    assert key <= (Fraction(d) + slip) ** power + vanished


def assert_ties_by_index(points: np.ndarray, js: list[int]) -> None:
    """Of rows that are the same the lowest come, in their order: nothing else could tell them."""
    same: dict[bytes, list[int]] = {}
    for j, row in enumerate(points + 0.0):  # -0.0 is 0.0
        same.setdefault(row.tobytes(), []).append(j)
    for copies in same.values():
        taken = [j for j in js if j in copies]
        assert taken == copies[: len(taken)]


@settings(max_examples=60)
@given(case=searches(), budget=st.sampled_from((None, 2**16, 2**18)))
@example(case=("extremes", 2, (5, 40, 300), 1, 7, "l2"), budget=None)
@example(case=("extremes", 2, (5, 40, 510), 3, 8, "l2"), budget=2**20)
@example(case=("equal", 0, (5, 40, 30), 2, 1, "l2"), budget=2**16)
@example(case=("near ties", 0, (5, 40, 70), 2, 1, "l2"), budget=2**16)
@example(case=("offset", 0, (5, 40, 70), 2, 1, "l1"), budget=2**16)
def test_neighbours_are_those_of_exact_arithmetic(
    backend: Backend, case: tuple, budget: int | None
) -> None:
    queries, points = rows_for(backend, case)
    assert_nearest(backend, queries, points, case[3], case[5], budget)


@pytest.mark.parametrize("metric", ["l1", "l2"])
@pytest.mark.parametrize("kind", reference.HARD_ROWS)
def test_neighbours_among_hard_rows(backend: Backend, kind: str, metric: str) -> None:
    for dtype, seed in itertools.product((0, 2, len(dtypes_of(backend)) - 1), range(3)):
        queries, points = rows_for(backend, (kind, dtype, (6, 30, 3), 2, seed, metric))
        assert_nearest(backend, queries, points, 2, metric, None)


@pytest.mark.parametrize("metric", ["l1", "l2"])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_more_neighbours_than_candidates_at_one_distance(
    backend: Backend, metric: str, dtype: str
) -> None:
    # 90 copies of each of four rows: no set of candidates short of all copies proves anything,
    # and a query that is asked again must come back to its own place.
    rng = np.random.default_rng(3)
    rows = rng.integers(0, 9, (4, 6)).astype(dtype)
    points = rows[rng.integers(0, 4, 360)]
    queries = np.concatenate([points[:9], rng.integers(0, 9, (5, 6)).astype(dtype), points[9:12]])
    expected, order = reference.nearest(queries, points, 4, metric)
    with forbid_host_reads():
        distances, indices = nearest(
            backend.asarray(queries), backend.asarray(points), 4, metric, 2**15
        )
    assert to_host(indices).tolist() == order.tolist()
    np.testing.assert_allclose(to_host(distances), expected, rtol=1e-6)


@pytest.mark.parametrize("metric", ["l1", "l2"])
def test_ties_between_a_row_that_was_kept_and_one_that_was_not(metric: str) -> None:
    # Integers whose scan is exact: equality with the best row left out is no proof.
    for seed in range(120):
        rng = np.random.default_rng(seed)
        sizes, high = (int(rng.integers(20, 400)), int(rng.integers(1, 4))), rng.integers(2, 6)
        points = rng.integers(0, high, sizes).astype("uint8")
        queries = rng.integers(0, high, (2, sizes[1])).astype("uint8")
        k = int(rng.integers(1, 8))
        expected = reference.nearest(queries, points, k, metric)[1].tolist()
        assert nearest(queries, points, k, metric, 2**15)[1].tolist() == expected


@settings(max_examples=25)
@given(case=searches())
@example(case=("duplicates", 0, (5, 40, 70), 2, 1, "l2"))
@example(case=("near ties", 7, (5, 40, 70), 5, 2, "l1"))
def test_the_budget_changes_nothing(backend: Backend, case: tuple) -> None:
    queries, points = (backend.asarray(x) for x in rows_for(backend, case))
    k, metric = case[3], case[5]
    least = least_budget(queries, points, k, metric)
    expected = [to_host(x).tolist() for x in nearest(queries, points, k, metric)]
    for budget in (least, least + 4096, 4 * least, 2**20):
        given_ = nearest(queries, points, k, metric, budget)
        assert [to_host(x).tolist() for x in given_] == expected


def least_budget(queries: object, points: object, k: int, metric: str) -> int:
    """What the error says is enough."""
    with pytest.raises(ValueError, match="memory_budget is 1 bytes") as error:
        nearest(queries, points, k, metric, 1)
    found = re.search(r"at least (\d+)", str(error.value))
    assert found is not None
    return int(found.group(1))


def test_a_budget_below_the_least_is_refused(backend: Backend) -> None:
    x = backend.asarray(np.ones((20, 5), dtype="float32"))
    least = least_budget(x, x, 2, "l2")
    with pytest.raises(ValueError, match=f"{least - 1} bytes.*5 features.*2 neighbours"):
        nearest(x, x, 2, memory_budget=least - 1)
    nearest(x, x, 2, memory_budget=least)


@pytest.mark.parametrize("layout", ["read-only", "every other", "Fortran", "reversed"])
@pytest.mark.parametrize("metric", ["l1", "l2"])
@pytest.mark.parametrize("k", [1, 30])
def test_how_rows_lie_in_memory_changes_nothing(layout: str, metric: str, k: int) -> None:
    rng = np.random.default_rng(5)
    queries, points = rng.normal(size=(9, 37)), rng.normal(size=(60, 37))
    points[30:40] = points[5]
    expected = [x.tolist() for x in nearest(queries, points, k, metric)]

    def laid(x: np.ndarray) -> np.ndarray:
        if layout == "read-only":
            x = x.copy()
            x.flags.writeable = False
            return x
        if layout == "every other":
            return np.repeat(np.repeat(x, 2, axis=0), 2, axis=1)[::2, ::2]
        return np.asfortranarray(x) if layout == "Fortran" else x[::-1, ::-1].copy()[::-1, ::-1]

    queries, points = laid(queries), laid(points)
    before = queries.copy(), points.copy()
    for budget in (2**15, None):
        found = nearest(queries, points, k, metric, budget)
        assert [x.tolist() for x in found] == expected
    np.testing.assert_array_equal(queries, before[0])
    np.testing.assert_array_equal(points, before[1])


def test_dtypes_devices_and_names_of_metrics(backend: Backend) -> None:
    rows = np.asarray([[0, 3], [4, 0], [4, 3]])
    wide = getattr(backend.xp, wide_of(backend))
    for dtype in dtypes_of(backend):
        x = backend.asarray(rows.astype(dtype))
        distances, indices = nearest(x, x, 2)
        narrow = dtype not in ("int32", "int64", "float64")
        assert distances.dtype == (backend.xp.float32 if narrow else wide)
        assert device_of(distances, indices) == backend.device
    x = backend.asarray(rows.astype("uint8"))
    found = {name: to_host(nearest(x, x, 3, name)[0]).tolist()[0] for name in METRICS}
    assert found["l1"] == found["manhattan"] == [0, 4, 7]
    assert found["l2"] == found["euclidean"] == [0, 4, 5]
    assert found["sqeuclidean"] == [0, 16, 25]


def test_no_queries(backend: Backend) -> None:
    points = backend.asarray(np.ones((3, 2), dtype="float32"))
    distances, indices = nearest(points[:0, :], points, 2)
    assert distances.shape == indices.shape == (0, 2)
    assert (distances.dtype, indices.dtype) == (backend.xp.float32, backend.xp.int64)


@pytest.mark.parametrize("k", [0, 4, -1, True, 1.0, "1"])
def test_k_must_be_a_number_of_points(backend: Backend, k: object) -> None:
    x = backend.asarray(np.ones((3, 2), dtype="float32"))
    with pytest.raises(ValueError, match=rf"k is {k!r}, expected an integer from 1 to 3") as error:
        nearest(x, x, k)
    assert "\n" not in str(error.value)


# The bound on which every proof of the search rests.


@settings(max_examples=40)
@given(case=searches())
@example(case=("extremes", 2, (5, 40, 300), 1, 7, "l2"))
@example(case=("extremes", 2, (5, 40, 510), 1, 7, "l2"))
@example(case=("offset", 0, (5, 40, 70), 1, 7, "l2"))
def test_the_scan_is_never_further_off_than_it_says(backend: Backend, case: tuple) -> None:
    assert_bounded(backend, *rows_for(backend, case), case[5])


@pytest.mark.parametrize(("offset", "as_they_are"), [(0.0, True), (0.5, True), (50.0, False)])
def test_points_far_from_zero_are_copied(
    backend: Backend, offset: float, as_they_are: bool
) -> None:
    rng = np.random.default_rng(0)
    x = (rng.normal(0, 0.2, (60, 30)) + offset).astype("float32")
    scan = make_scan(backend.asarray(x[:4]), Points(backend.asarray(x)), "l2", LARGE)
    assert (scan.sizes is not None) == as_they_are
    assert_scan_bounded(backend, x[:4], x, scan)


def test_squares_that_vanish_are_allowed_for(backend: Backend) -> None:
    # One large query keeps the rest unscaled, and their squares round to multiples of 2^-149.
    rng = np.random.default_rng(0)
    points = (rng.integers(-3, 4, (40, 5)) * 2.0**-75).astype("float32")
    queries = np.concatenate([points[:3] * 2, np.full((1, 5), 2.0**-39, dtype="float32")])
    for metric in ("l1", "l2"):
        assert_bounded(backend, queries, points, metric)
        assert_nearest(backend, queries, points, 2, metric, None)


def assert_bounded(
    backend: Backend, host_queries: np.ndarray, host_points: np.ndarray, metric: str
) -> None:
    queries, points = backend.asarray(host_queries), backend.asarray(host_points)
    for copied in (False, True):
        scan = make_scan(queries, Points(points), metric, LARGE, copied=copied)
        assert_scan_bounded(backend, host_queries, host_points, scan)


def assert_scan_bounded(
    backend: Backend, host_queries: np.ndarray, host_points: np.ndarray, scan: Scan
) -> None:
    queries, points = backend.asarray(host_queries), backend.asarray(host_points)
    metric = scan.metric
    ours, size_q, mass_q = scan_queries(scan, queries)
    theirs, size_p, mass_p = scan_points(scan, Points(points), slice(0, points.shape[0]))
    parts = to_host(size_q), to_host(size_p), to_host(mass_q), to_host(mass_p)
    overlap = to_host(minus_two_overlaps(scan, ours, theirs))
    direct = to_host(direct_keys(scan, queries, points[None, :, :]))
    size_q, size_p, mass_q, mass_p = (x.astype("float64") for x in parts)
    wide = wide_of(backend)
    keys, unit = reference.exact_keys(host_queries.astype(wide), host_points.astype(wide), metric)
    factor = unit * Fraction(scan.factor) ** (1 if metric == "l1" else 2)
    for i, j in itertools.product(range(overlap.shape[0]), range(overlap.shape[1])):
        scanned = Fraction(float(overlap[i, j])) + Fraction(size_q[i]) + Fraction(size_p[j])
        bound = Fraction(scan.slack) * (Fraction(mass_q[i]) + Fraction(mass_p[j]))
        bound += Fraction(scan.floor)
        assert abs(scanned - keys[i][j] * factor) <= bound
        # What is compared with a direct distance is below it, for every row that was left out.
        assert scanned - bound <= Fraction(float(direct[i, j]))


# Memory. NumPy reports its arrays to tracemalloc, so this is what a search really takes.

SIZES = (  # queries, points, features, neighbours, budget
    (1500, 2000, 64, 5, 2**20),
    (120, 1000, 784, 5, 2**22),
    (3000, 2000, 2, 5, 2**20),
    (100, 1500, 16, 500, 2**22),
    (60, 1500, 16, 1000, 2**22),
    (20, 12000, 1, 800, 10 * 2**16),  # all points at one of two places: doubtful to the end
    (30, 150, 3072, 3, 2**21),
    (2000, 2000, 8, 1, 2**19),
)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", "int64"])
@pytest.mark.parametrize("metric", ["l1", "l2"])
def test_scratch_stays_within_the_budget(sizes: tuple[int, ...], dtype: str, metric: str) -> None:
    n_queries, n_points, features, k, budget = sizes
    rng = np.random.default_rng(0)
    # 20 copies of each point: most queries are asked again, with four times as many candidates.
    high = 200 if features > 1 else 2
    points = rng.integers(0, high, (n_points, features))[rng.integers(0, n_points // 20, n_points)]
    queries = rng.integers(0, 200, (n_queries, features))
    assert peak(queries.astype(dtype), points.astype(dtype), k, metric, budget) <= 1.1 * budget


@pytest.mark.parametrize("sizes", [(40000, 3000, 2, 5), (900, 2000, 3072, 3), (2000, 9000, 8, 500)])
def test_scratch_stays_within_the_default(sizes: tuple[int, ...]) -> None:
    n_queries, n_points, features, k = sizes
    rng = np.random.default_rng(0)
    points = rng.integers(0, 200, (n_points, features), dtype="uint8")
    queries = rng.integers(0, 200, (n_queries, features), dtype="uint8")
    assert peak(queries, points, k, "l2", None) <= 1.1 * scratch_bytes(np)


def peak(queries: np.ndarray, points: np.ndarray, k: int, metric: str, budget: int | None) -> int:
    """Bytes beside what was given and what came back, at the highest."""
    nearest(queries, points, k, metric, budget)  # imports, and compiles, once
    tracemalloc.start()
    try:
        found = nearest(queries, points, k, metric, budget)
        return tracemalloc.get_traced_memory()[1] - sum(x.nbytes for x in found)
    finally:
        tracemalloc.stop()


def test_progress_rises_to_the_end() -> None:
    rng = np.random.default_rng(0)
    points = np.repeat(rng.normal(size=(50, 8)), 20, axis=0)
    seen: list[tuple[int, int]] = []
    with listen(lambda task, done, total, facts: seen.append((done, total))):
        nearest(rng.normal(size=(2000, 8)), points, 3, "l2", 2**17)
    assert len(seen) > 3
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (1000, 1000) and all(done < total for done, total in seen[:-1])
