"""The whole matrix of distances: right for every pair, and never NaN, negative or wrapped."""

from __future__ import annotations

import math
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests import reference
from xpcls.distances import METRICS, nearest, no_loops, one_loop, pairwise, two_loops
from xpcls_backends import Backend, device_of, scratch_bytes, to_host, widest_float
from xpcls_backends.testing import forbid_host_reads

TEACHING = (two_loops, one_loop, no_loops)


def wide_of(backend: Backend) -> str:
    has = widest_float(backend.xp, backend.device) == backend.xp.float64
    return "float64" if has else "float32"


def dtypes_of(backend: Backend) -> tuple[str, ...]:
    narrow = ("float32", "uint8", "int8", "uint16", "int16", "bool", "int32", "int64")
    return narrow if wide_of(backend) == "float32" else (*narrow, "float64")


@st.composite
def matrices(draw: st.DrawFn) -> tuple[str, int, tuple[int, int, int], int, str]:
    sizes = draw(st.integers(1, 6)), draw(st.integers(1, 40)), draw(st.integers(1, 70))
    kind, metric = draw(st.sampled_from(reference.HARD_ROWS)), draw(st.sampled_from(("l1", "l2")))
    return kind, draw(st.integers(0, 63)), sizes, draw(st.integers(0, 2**16)), metric


def rows_for(backend: Backend, case: tuple) -> tuple[np.ndarray, np.ndarray]:
    kind, pair, (n_queries, n_points, features), seed, _ = case
    dtypes = dtypes_of(backend)
    rng = np.random.default_rng(seed)
    of_queries, of_points = dtypes[pair % len(dtypes)], dtypes[pair % len(dtypes)]
    if pair >= 48:
        of_queries, of_points = (("uint8", "float32"), (dtypes[-1], "float32"))[pair % 2]
    points = reference.hard_rows(kind, (n_points, features), of_points, rng)
    queries = reference.hard_rows(kind, (n_queries, features), of_queries, rng)
    if of_queries == of_points:
        queries[0] = points[-1]
    return tuple(reference.as_read(x, backend.name) for x in (queries, points))


@settings(max_examples=150)
@given(case=matrices())
@example(case=("extremes", 2, (5, 40, 300), 7, "l2"))
@example(case=("extremes", 0, (5, 40, 30), 7, "l2"))
@example(case=("extremes", 8, (5, 40, 30), 7, "l1"))
@example(case=("mixed scales", 8, (5, 40, 30), 7, "l1"))
@example(case=("offset", 0, (5, 40, 70), 7, "l2"))
@example(case=("pixels", 0, (5, 40, 70), 7, "l2"))
def test_every_distance_is_that_of_exact_arithmetic(backend: Backend, case: tuple) -> None:
    queries, points = rows_for(backend, case)
    metric = case[-1]
    with forbid_host_reads():
        found = pairwise(backend.asarray(queries), backend.asarray(points), metric)
    assert device_of(found) == backend.device
    out = to_host(found)
    assert out.shape == (queries.shape[0], points.shape[0])
    wide = wide_of(backend)
    queries, points = queries.astype(wide), points.astype(wide)
    keys, unit = reference.exact_keys(queries, points, metric)
    vanished = reference.vanishing_key(queries, points, metric, wide)
    narrow = out.dtype == np.float32
    step = reference.least_float32(backend.name) if narrow else Fraction(1, 2**1074)
    for i, row in enumerate(keys):
        for j, key in enumerate(row):
            d = float(out[i, j])
            assert d >= 0  # nor NaN
            if (queries[i] == points[j]).all():
                assert d == 0
            assert_close_to_exact(d, key * unit, metric, out.dtype, step, vanished)


def assert_close_to_exact(
    d: float, key: Fraction, metric: str, dtype: np.dtype, step: Fraction, vanished: Fraction
) -> None:
    """To 2^-15 in float32: a key that is no sixteenth of its rows is computed afresh.

    step : the smallest number of that dtype.
    """
    power = 2 if metric == "l2" else 1
    largest = Fraction(float(np.finfo(dtype).max))
    if d == float("inf"):
        assert key > (largest * (1 - Fraction(1, 2**20))) ** power
        return
    slip = Fraction(d) / 2 ** (15 if dtype == np.float32 else 44)
    slip += step
    assert max(Fraction(0), Fraction(d) - slip) ** power <= key + vanished
    assert key <= (Fraction(d) + slip) ** power + vanished


@pytest.mark.parametrize("metric", ["l1", "l2"])
def test_images_never_wrap(backend: Backend, metric: str) -> None:
    # uint8 arithmetic would give 246 + 100 = 346 here, and squares modulo 256.
    x = np.asarray([[56, 32, 10, 18], [90, 23, 128, 133], [10, 20, 24, 17]], dtype="uint8")
    y = np.asarray([[0, 255, 0, 255], [255, 0, 255, 0]], dtype="uint8")
    for queries, points in ((x, x), (x, y), (y, y)):
        with forbid_host_reads():
            out = pairwise(backend.asarray(queries), backend.asarray(points), metric)
        assert out.dtype == backend.xp.float32
        np.testing.assert_allclose(
            to_host(out), reference.distances(queries, points, metric), rtol=1e-6
        )


def test_dtypes_and_names_of_metrics(backend: Backend) -> None:
    rows = np.asarray([[0, 3], [4, 0], [4, 3]])
    wide = getattr(backend.xp, wide_of(backend))
    for dtype in dtypes_of(backend):
        x = backend.asarray(rows.astype(dtype))
        narrow = dtype not in ("int32", "int64", "float64")
        assert pairwise(x, x).dtype == (backend.xp.float32 if narrow else wide)
        mixed = pairwise(x, backend.asarray(rows.astype("uint8")))
        assert mixed.dtype == (backend.xp.float32 if narrow else wide)
    x = backend.asarray(rows.astype("float32"))
    found = {name: to_host(pairwise(x, x, name)).tolist()[0] for name in METRICS}
    assert found["l1"] == found["manhattan"] == [0, 7, 4]
    assert found["l2"] == found["euclidean"] == [0, 5, 4]
    assert found["sqeuclidean"] == [0, 25, 16]


@pytest.mark.parametrize("shape", [(0, 3), (2, 3)])
def test_blocks_cover_everything(backend: Backend, shape: tuple[int, int]) -> None:
    # More rows than a block of queries holds, and no queries at all.
    queries = np.zeros((1030 if shape[0] else 0, 3), dtype="float32")
    queries[:, 0] = np.arange(len(queries))
    points = queries[-2:] if shape[0] else np.ones((2, 3), dtype="float32")
    out = pairwise(backend.asarray(queries), backend.asarray(points), "l1")
    expected = np.abs(queries[:, None, 0] - points[None, :, 0])
    np.testing.assert_array_equal(to_host(out), expected)


@pytest.mark.parametrize("layout", ["read-only", "every other", "Fortran", "reversed"])
def test_how_rows_lie_in_memory_changes_little(layout: str) -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(9, 37))
    x[3] = x[7]
    expected = {metric: pairwise(x, x, metric) for metric in ("l1", "l2")}
    if layout == "read-only":
        x.flags.writeable = False
    elif layout == "every other":
        x = np.repeat(np.repeat(x, 2, axis=0), 2, axis=1)[::2, ::2]
    elif layout == "Fortran":
        x = np.asfortranarray(x)
    else:
        x = x[::-1, ::-1].copy()[::-1, ::-1]
    before = x.copy()
    for metric, out in expected.items():
        again = pairwise(x, x, metric)
        np.testing.assert_allclose(again, out, rtol=1e-13)
        assert again[3, 7] == again[7, 3] == again[0, 0] == 0
    np.testing.assert_array_equal(x, before)


def test_the_default_scratch_holds_when_every_pair_is_computed_afresh() -> None:
    # All rows are the same, so each pair is too close for the scan.
    x = np.full((3000, 16), 0.1, dtype="float32")
    pairwise(x[:2], x[:2])
    for metric in ("l1", "l2"):
        tracemalloc.start()
        try:
            out = pairwise(x[:2000], x, metric)
            peak = tracemalloc.get_traced_memory()[1] - out.nbytes
        finally:
            tracemalloc.stop()
        assert peak <= 1.1 * scratch_bytes(np)
        assert not out.any()


# The three forms that are taught.


@settings(max_examples=25)
@given(
    sizes=st.tuples(st.integers(1, 5), st.integers(1, 8), st.integers(1, 40)),
    dtypes=st.tuples(st.integers(0, 8), st.integers(0, 8)),
    seed=st.integers(0, 99),
)
@example(sizes=(5, 8, 40), dtypes=(1, 1), seed=0)
@example(sizes=(5, 8, 40), dtypes=(7, 7), seed=0)
@example(sizes=(5, 8, 40), dtypes=(1, 0), seed=0)
def test_the_teaching_forms_agree(
    backend: Backend, sizes: tuple[int, int, int], dtypes: tuple[int, int], seed: int
) -> None:
    known = dtypes_of(backend)
    ours, theirs = (known[i % len(known)] for i in dtypes)
    rng = np.random.default_rng(seed)
    high = 2 if "bool" in (ours, theirs) else 100
    points = rng.integers(0, high, (sizes[1], sizes[2])).astype(theirs)
    queries = rng.integers(0, high, (sizes[0], sizes[2])).astype(ours)
    queries, points = backend.asarray(queries), backend.asarray(points)
    expected = pairwise(queries, points)
    for form in TEACHING:
        with forbid_host_reads():
            out = form(queries, points)
        assert (out.dtype, device_of(out)) == (expected.dtype, backend.device)
        difference = to_host(out).astype("float64") - to_host(expected)
        assert np.linalg.norm(difference) < 1e-3  # the check of the course's assignment
        np.testing.assert_allclose(to_host(out), to_host(expected), rtol=1e-5)


def test_the_product_form_alone_is_never_nan() -> None:
    # Hand-outs take the square root of differences that rounding makes negative.
    x = np.random.default_rng(0).normal(size=(200, 64)).astype("float32") + 100
    sizes = (x * x).sum(axis=1)
    squares = sizes[:, None] + sizes[None, :] - 2 * x @ x.T
    assert (np.diag(squares) < 0).any()
    assert np.isfinite(no_loops(x, x)).all()
    assert (np.diag(pairwise(x, x)) == 0).all()


# L2 does not depend on the axes, L1 does.


def test_a_rotation_changes_l1_and_not_l2(backend: Backend) -> None:
    rng = np.random.default_rng(1)
    rotation, _ = np.linalg.qr(rng.normal(size=(20, 20)))
    x = rng.normal(size=(50, 20))
    dtype = wide_of(backend)
    before, after = backend.asarray(x.astype(dtype)), backend.asarray((x @ rotation).astype(dtype))
    rtol = 1e-12 if dtype == "float64" else 1e-4
    l2 = [to_host(pairwise(x[:5, :], x)) for x in (before, after)]
    np.testing.assert_allclose(l2[1], l2[0], rtol=rtol, atol=1e-5 if dtype == "float32" else 1e-12)
    l1 = [to_host(pairwise(x[:5, :], x, "l1")) for x in (before, after)]
    assert np.median(np.abs(l1[1] - l1[0]) / np.maximum(l1[0], 1)) > 0.01
    found = [to_host(nearest(x[:5, :], x, 8)[1]).tolist() for x in (before, after)]
    assert found[0] == found[1]


# Errors, which pairwise, nearest and the teaching forms share.


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, dtype="float32")


SHAPES = [
    (ones(3), ones(2, 3), r"queries has shape \(3,\), expected rows"),
    (ones(2, 3), ones(2, 3, 1), r"points has shape \(2, 3, 1\), expected rows"),
    (ones(2, 0), ones(2, 0), r"queries has shape \(2, 0\).*D of 1 or more"),
    (ones(2, 3), ones(0, 3), r"points has shape \(0, 3\), expected at least one row"),
    (ones(2, 3), ones(2, 4), r"queries has 3 features and points has 4"),
]


@pytest.mark.parametrize(("queries", "points", "message"), SHAPES)
def test_shapes_that_do_not_fit(
    backend: Backend, queries: np.ndarray, points: np.ndarray, message: str
) -> None:
    queries, points = backend.asarray(queries), backend.asarray(points)
    calls = [lambda form=form: form(queries, points) for form in (pairwise, *TEACHING)]
    for call in (*calls, lambda: nearest(queries, points, 1)):
        with pytest.raises(ValueError, match=message) as error:
            call()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["queries", "points"])
def test_numbers_that_are_not_finite(backend: Backend, value: float, name: str) -> None:
    good, bad = backend.asarray(ones(2, 3)), ones(2, 3)
    bad[1, 2] = value
    arrays = {"queries": good, "points": good, name: backend.asarray(bad)}
    for call in (pairwise, lambda queries, points: nearest(queries, points, 1)):
        with pytest.raises(ValueError, match=f"{name} contains NaN or infinity; remove"):
            call(**arrays)


@pytest.mark.parametrize("rows", [0, 2])
def test_complex_numbers(rows: int) -> None:
    with pytest.raises(ValueError, match="queries has dtype complex128: Complex data not"):
        pairwise(np.ones((rows, 3), dtype=complex), np.ones((2, 3)))
    with pytest.raises(ValueError, match="points has dtype complex64: Complex data not"):
        nearest(np.ones((rows, 3)), np.ones((2, 3), dtype="complex64"), 1)


@pytest.mark.parametrize("metric", ["L2", "cosine", None, ["l2"]])
def test_an_unknown_metric(metric: object) -> None:
    with pytest.raises(ValueError, match=r"metric is .*, expected one of 'l1', .*'sqeuclidean'$"):
        pairwise(ones(2, 3), ones(2, 3), metric)


def test_arrays_in_two_places(backend: Backend) -> None:
    here, host = backend.asarray(ones(2, 3)), ones(2, 3)
    calls = (pairwise, no_loops, lambda queries, points: nearest(queries, points, 1))
    if backend.name != "numpy":
        other = "cupy" if backend.name == "cupy" else "array_api_strict"
        for call in calls:
            with pytest.raises(TypeError, match=f"one library, got {other}, numpy; move one"):
                call(here, host)
    if backend.name.startswith("strict"):
        elsewhere = Backend("cpu", backend.xp, backend.xp.Device("CPU_DEVICE")).asarray(host)
        for call in calls:
            with pytest.raises(ValueError, match=r"two devices, .*CPU_DEVICE.* and .*; move"):
                call(elsewhere, here)
    for call in calls:
        with pytest.raises(TypeError, match="expected arrays, got list"):
            call([[1.0]], [[2.0]])
