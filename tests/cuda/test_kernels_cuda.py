"""Every CUDA kernel, behind its launcher, against float64 or its plain version.

On a card, or on the simulator (`--backend fakecupy`), and there with threads that take turns in
several orders.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import reference
from tests.cuda.simulator import SCHEDULES, scheduled
from xpcls.distances import nearest
from xpcls.linear_model import LINEAR_LOSSES, LinearModel
from xpcls.losses import LOSSES, MARGIN_LOSSES
from xpcls.optimizers import SGD, Constant, Momentum
from xpcls.training import Settings, start_run, train
from xpcls_backends import (
    Backend,
    counter_bits,
    largest_of_windows,
    largest_of_windows_backward,
    rectified,
    rectified_backward,
    smallest_k,
    to_host,
)
from xpcls_backends.kernels import asking_for_kernels, has_cuda_kernels
from xpcls_backends.kernels.cuda import (
    _module,
    direct,
    images,
    l1,
    linear,
    losses,
    neighbors,
    products,
    smallest,
)

few = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**20)


@pytest.fixture(params=SCHEDULES, ids=lambda schedule: f"threads{schedule[0]}{schedule[1]}")
def turns(request: pytest.FixtureRequest) -> Iterator[None]:
    with scheduled(*request.param):
        yield


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the kernels that were launched, in order."""
    names: list[str] = []
    kernel = _module.kernel

    def told(file: str, name: str, *args: Any, **keywords: Any) -> Any:
        names.append(name)
        return kernel(file, name, *args, **keywords)

    for module in (direct, l1, linear, products, smallest):
        monkeypatch.setattr(module, "kernel", told)
    return names


def test_the_switch_keeps_kernels_away(card: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    assert has_cuda_kernels(card.xp)
    with asking_for_kernels(False):
        assert not has_cuda_kernels(card.xp)
    monkeypatch.setenv("XPCLS_KERNELS", "off")
    assert not has_cuda_kernels(card.xp)


@few
@given(key=st.integers(0, 2**64 - 1), start=st.integers(0, 2**40), n=st.integers(0, 300))
def test_bits_are_those_of_the_plain_version(card: Backend, key: int, start: int, n: int) -> None:
    found = counter_bits(card.xp, card.device, key, start, n)
    with asking_for_kernels(False):
        expected = counter_bits(card.xp, card.device, key, start, n)
    assert found.dtype == card.xp.uint32 and found.shape == (n,)
    np.testing.assert_array_equal(to_host(found), to_host(expected))


def _entries(kind: str, shape: tuple[int, int], rng: np.random.Generator) -> Any:
    if kind == "integers":
        return rng.integers(-(2**31), 2**31, shape).astype("int32")
    x = rng.normal(size=shape)
    if kind == "ties":
        x = np.round(x)
    elif kind == "descending":
        x = np.sort(x, axis=1)[:, ::-1]
    elif kind == "zeros":
        x = rng.choice([0.0, -0.0, 1e-45, -1e-45], shape)
    elif kind == "infinite":
        x[rng.random(shape) < 0.3] = np.inf
        x[rng.random(shape) < 0.3] = -np.inf
    return x.astype("float32")


@pytest.mark.parametrize("kind", ["normal", "ties", "descending", "zeros", "infinite", "integers"])
def test_the_smallest_entries_of_rows(card: Backend, turns: None, kind: str) -> None:
    rng = np.random.default_rng(len(kind))
    for n, m, k in (
        (1, 1, 1),
        (3, 31, 31),
        (2, 129, 10),
        (3, 1000, 32),
        (2, 700, 33),
        (1, 600, 512),
    ):
        x = _entries(kind, (n, m), rng)
        values, columns = smallest_k(card.asarray(x), k)
        expected = np.argsort(x, axis=1, kind="stable")[:, :k]
        np.testing.assert_array_equal(to_host(columns), expected)
        np.testing.assert_array_equal(to_host(values), np.take_along_axis(x, expected, axis=1))
        assert columns.dtype == card.xp.int64 and values.dtype == getattr(card.xp, x.dtype.name)


def test_the_smallest_of_scaled_and_added_entries(card: Backend, turns: None) -> None:
    rng = np.random.default_rng(5)
    x = rng.integers(-1000, 1000, (3, 400)).astype("int32")
    added = rng.integers(0, 50, 400).astype("int32")
    values, columns = smallest.smallest(card.asarray(x), 20, card.asarray(added), scale=-2)
    keys = -2 * x + added
    expected = np.argsort(keys, axis=1, kind="stable")[:, :20]
    np.testing.assert_array_equal(to_host(columns), expected)
    np.testing.assert_array_equal(to_host(values), np.take_along_axis(keys, expected, axis=1))


def test_more_than_a_kernel_keeps_is_sorted_plainly(card: Backend, launched: list[str]) -> None:
    x = card.asarray(np.random.default_rng(0).normal(size=(2, 900)).astype("float32"))
    smallest_k(x, smallest.MOST)
    assert launched == ["smallest_f32"]
    _, columns = smallest_k(x, smallest.MOST + 1)
    assert launched == ["smallest_f32"]
    expected = np.argsort(to_host(x), axis=1, kind="stable")[:, : smallest.MOST + 1]
    np.testing.assert_array_equal(to_host(columns), expected)


@pytest.mark.parametrize("shapes", [(1, 1, 1), (130, 70, 48), (5, 257, 200), (3, 129, 31)])
def test_l1_of_all_pairs(card: Backend, turns: None, shapes: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(sum(shapes))
    n_a, n_b, length = shapes
    a, b = (rng.integers(0, 256, (n, length)).astype("uint8") for n in (n_a, n_b))
    found = l1.l1(card.asarray(a), card.asarray(b))
    differences = np.abs(a[:, None].astype("int64") - b[None])
    np.testing.assert_array_equal(to_host(found), differences.sum(-1))
    assert found.dtype == card.xp.int32
    a, b = (rng.normal(size=(n, length)).astype("float32") for n in (n_a, n_b))
    found = to_host(l1.l1(card.asarray(a), card.asarray(b)))
    expected = np.abs(a[:, None].astype("float64") - b[None]).sum(-1)
    bound = length * 2.0**-24 / (1.0 - length * 2.0**-24) * expected  # of kernels/cuda/neighbors.py
    assert found.dtype == "float32" and (np.abs(found - expected) <= bound).all()


@pytest.mark.parametrize("shapes", [(1, 1, 1), (9, 33, 17), (4, 40, 64)])
def test_codes_of_bytes_and_their_products(card: Backend, shapes: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(sum(shapes))
    n_a, n_b, length = shapes
    a, b = (rng.choice([0, 1, 127, 128, 255], (n, length)).astype("uint8") for n in (n_a, n_b))
    codes_a, squares = products.byte_codes(card.asarray(a))
    codes_b, _ = products.byte_codes(card.asarray(b))
    signed_a, signed_b = a.astype("int64") - 128, b.astype("int64") - 128
    np.testing.assert_array_equal(to_host(codes_a)[:, :length], signed_a)
    assert not to_host(codes_a)[:, length:].any()
    np.testing.assert_array_equal(to_host(squares), np.sum(signed_a**2, axis=1))
    found = products.overlaps(codes_a, codes_b)
    np.testing.assert_array_equal(to_host(found), signed_a @ signed_b.T)


@pytest.mark.parametrize("dtype", list(direct.PIXELS))
@pytest.mark.parametrize("kind", ["l1", "l2"])
def test_direct_keys_of_candidates(card: Backend, turns: None, dtype: str, kind: str) -> None:
    rng = np.random.default_rng(3)
    for hard in ("duplicates", "offset", "denormal", "pixels"):
        points = reference.hard_rows(hard, (40, 37), dtype, rng)
        queries = reference.hard_rows(hard, (5, 37), dtype, rng)
        candidates = rng.integers(0, 40, (5, 9))
        factor = 2.0**100 if hard == "denormal" else 1.0
        args = (card.asarray(x) for x in (queries, points, candidates))
        found = to_host(direct.direct_keys(*args, kind, factor))
        d = queries[:, None].astype("float64") * factor - points[candidates] * np.float64(factor)
        expected = np.sum(np.abs(d) if kind == "l1" else d * d, axis=-1)
        assert found.dtype == "float64"
        np.testing.assert_allclose(found, expected, rtol=1e-13)
        assert ((found == 0.0) == (expected == 0.0)).all()


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
    of_keys = {("l1", "uint8"): "l1_u8", ("l1", "float32"): "l1_f32"}
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


def _run(
    backend: Backend,
    loss: str,
    sizes: tuple[int, int, int],
    batch: int,
    decay: float,
    pixels: str,
    weighted: bool,
    seed: int,
) -> Any:
    """Weights, bias, velocities and losses of two epochs."""
    rng = np.random.default_rng(seed)
    n, features, n_classes = sizes
    X = rng.integers(0, 9, (n, features)).astype(pixels)
    weights = rng.normal(size=(n_classes, features)).astype("float32").T
    bias = rng.normal(size=n_classes).astype("float32")
    y = rng.integers(0, n_classes, n)
    weight = backend.asarray(rng.uniform(0.1, 2.0, n).astype("float32")) if weighted else None
    given = Settings(Momentum(decay) if decay else SGD(), Constant(), 0.002, 2, batch)
    model = LinearModel(loss, delta=1.3, l2=0.01, l1=0.0, constant=2.0)
    start = start_run(tuple(map(backend.asarray, (weights, bias))), given)
    data = backend.asarray(X), backend.asarray(y), given, np.random.default_rng(seed)
    run = train(model, start, *data, sample_weight=weight)
    moved = [to_host(v) for kept in run.state[1] for v in kept]
    return [*map(to_host, run.parameters), np.asarray(run.history["loss"]), *moved]


@pytest.mark.parametrize("loss", LINEAR_LOSSES)
@pytest.mark.parametrize("decay", [0.0, 0.9])
@settings(max_examples=6, deadline=None)
@given(
    sizes=st.tuples(st.integers(3, 40), st.integers(1, 70), st.integers(2, 12)),
    batch=st.integers(1, 33),
    pixels=st.sampled_from(["float32", "uint8"]),
    weighted=st.booleans(),
    seed=seeds,
)
def test_linear_descent_is_that_of_plain_steps(
    card: Backend,
    loss: str,
    decay: float,
    sizes: Any,
    batch: int,
    pixels: str,
    weighted: bool,
    seed: int,
) -> None:
    given = (loss, sizes, batch, decay, pixels, weighted, seed)
    calls, descend = [], linear.descend

    def counted(*args: Any) -> Any:
        found = descend(*args)
        calls.append(found is not None)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear, "descend", counted)
        found = _run(card, *given)
        assert calls == [True, True]
        with asking_for_kernels(False):
            expected = _run(card, *given)
    for a, b in zip(found, expected, strict=True):
        scale = float(np.max(np.abs(b), initial=1.0))
        np.testing.assert_allclose(a, b, rtol=0.0, atol=3e-5 * scale)


def test_linear_descent_has_the_same_bits_whatever_thread_is_first(card: Backend) -> None:
    found = []
    for schedule in SCHEDULES:
        with scheduled(*schedule):
            found.append(_run(card, "softmax", (50, 60, 10), 16, 0.9, "float32", True, 7))
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_linear_descent_stays_away_where_not_all_blocks_fit(
    card: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ("hinge", (30, 70, 3), 10, 0.0, "float32", False, 3)
    with asking_for_kernels(False):
        expected = _run(card, *given)
    monkeypatch.setattr(linear, "_at_once", lambda function, shared: 2)
    assert linear._cut(70, 3, 10, "float") is None
    for a, b in zip(_run(card, *given), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_shared_memory_of_linear_descent_is_what_its_source_lays_out(card: Backend) -> None:
    # A byte less would be written over by the last block, or by nobody: the simulator would tell.
    assert linear.shared_bytes(24, 10, 256) == 4 * (256 * 25 + 256 * 11 + 2 * 250 + 16)


@pytest.mark.parametrize("name", list(LOSSES))
@few
@given(n=st.integers(1, 200), n_classes=st.integers(2, 16), weighted=st.booleans(), seed=seeds)
def test_losses_are_those_of_the_plain_version(
    card: Backend, name: str, n: int, n_classes: int, weighted: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    scores = card.asarray(np.round(rng.normal(size=(n, n_classes)), 1).astype("float32"))
    y = card.asarray(rng.integers(0, n_classes, n))
    weight = card.asarray(rng.uniform(0.0, 2.0, n).astype("float32")) if weighted else None
    given = {"sample_weight": weight, "validate": False}
    given |= {"delta": 0.7} if name in MARGIN_LOSSES else {}
    calls, rows_losses = [], losses.rows_losses
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(losses, "rows_losses", lambda *a: calls.append(1) or rows_losses(*a))
        found = LOSSES[name](scores, y, **given)
        assert calls == [1]
        with asking_for_kernels(False):
            expected = LOSSES[name](scores, y, **given)
        LOSSES[name](scores, y, **given | {"validate": True})
        assert calls == [1]
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_allclose(to_host(a), to_host(b), rtol=2e-5, atol=1e-6)


def test_a_loss_of_nan_is_nan(card: Backend) -> None:
    scores = np.zeros((3, 4), "float32")
    scores[1, 2] = np.nan
    for name in LOSSES:
        y = card.asarray(np.array([0, 1, 2]))
        value, _ = LOSSES[name](card.asarray(scores), y, validate=False)
        assert np.isnan(to_host(value)), name


def test_more_classes_than_registers_hold_are_left_to_the_plain_version(card: Backend) -> None:
    scores = card.asarray(np.zeros((3, losses.MOST_CLASSES + 1), "float32"))
    value, _ = LOSSES["softmax"](scores, card.asarray(np.array([0, 1, 16])), validate=False)
    np.testing.assert_allclose(to_host(value), np.log(losses.MOST_CLASSES + 1), rtol=1e-6)


@pytest.mark.parametrize("dtype", list(images.NUMBERS))
@few
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(3, 9), st.integers(3, 9), st.integers(1, 5)),
    size=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    seed=seeds,
)
def test_pooling_is_that_of_the_plain_version(
    card: Backend, dtype: str, shape: Any, size: Any, stride: Any, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x = np.round(rng.normal(size=shape), 1).astype(dtype)  # with ties
    x[rng.random(shape) < 0.02] = np.nan
    x = card.asarray(x)
    z = largest_of_windows(x, size, stride)
    g = card.asarray(rng.normal(size=z.shape).astype(dtype))
    dx = largest_of_windows_backward(x, z, g, size, stride)
    with asking_for_kernels(False):
        assert_same(z, largest_of_windows(x, size, stride))
        assert_same(dx, largest_of_windows_backward(x, z, g, size, stride), rtol=1e-6)


@pytest.mark.parametrize("dtype", list(images.NUMBERS))
def test_rectified_sums_are_those_of_the_plain_version(card: Backend, dtype: str) -> None:
    rng = np.random.default_rng(4)
    for shape in ((7, 5), (2, 3, 4, 5), (0, 5)):
        x, b = (np.round(rng.normal(size=s), 1).astype(dtype) for s in (shape, shape[-1:]))
        x[rng.random(shape) < 0.1] = np.nan
        x, b = card.asarray(x), card.asarray(b)
        g = card.asarray(rng.normal(size=shape).astype(dtype))
        z = rectified(x, b)
        found = rectified_backward(z, g)
        with asking_for_kernels(False):
            assert_same(z, rectified(x, b))
            for a, expected in zip(found, rectified_backward(z, g), strict=True):
                assert_same(a, expected, rtol=1e-6)


def assert_same(a: Any, b: Any, rtol: float = 0.0) -> None:
    assert a.dtype == b.dtype and a.shape == b.shape
    np.testing.assert_allclose(to_host(a), to_host(b), rtol=rtol, atol=rtol)


def test_every_launcher_is_tested_here() -> None:
    launchers = {path.stem for path in _module.HOME.glob("[a-z]*.py")}
    text = Path(__file__).read_text()
    tested = {"bits": "counter_bits("} | {name: f"{name}." for name in launchers - {"bits"}}
    assert all(call in text for call in tested.values()), launchers
