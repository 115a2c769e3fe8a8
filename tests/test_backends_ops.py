"""What the standard lacks, against loops in plain Python, on every backend.

The strict devices stand in for a GPU: nothing here may turn an array into a Python number
unless it goes through `to_scalar` or `to_host`.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.reference_features import tile_histograms as naive_tile_histograms
from xpcls_backends import (
    Backend,
    _ops,
    add_scaled,
    bincount,
    device_of,
    elementwise_block_bytes,
    flatnonzero,
    gather,
    namespace_of,
    one_hot,
    product,
    replace_rows,
    row_blocks,
    rows_within,
    sign,
    smallest_k,
    smallest_k_unordered,
    sort_rows_by,
    tile_histograms,
    to_host,
    update_blocks,
    widest_float,
)
from xpcls_backends.testing import assert_close, forbid_host_reads

pytestmark = pytest.mark.usefixtures("no_host_reads")

DTYPES = ("float32", "int64", "int32", "uint8")  # that every device here has
KINDS = ("ties", "distinct", "all equal", "infinite")


def rows_of(kind: str, shape: tuple[int, int], dtype: str, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if kind == "all equal":
        return np.full(shape, 7, dtype=dtype)
    if kind == "distinct" and shape[1] <= 256:
        return np.stack([rng.permutation(shape[1]) for _ in range(shape[0])]).astype(dtype)
    x = rng.integers(0, 4, size=shape).astype(dtype)
    if kind == "infinite" and dtype == "float32":
        x = np.asarray([-np.inf, 0.0, -0.0, np.inf], dtype=dtype)[x.astype(int)]
    return x


@st.composite
def matrices(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    """A matrix and a k. Wide rows with a small k are cut into groups, with a rest or without."""
    n = draw(st.one_of(st.integers(1, 40), st.sampled_from((16, 64, 65, 71, 256, 300))))
    k = draw(st.one_of(st.just(1), st.just(n), st.integers(1, n), st.integers(1, min(n, 4))))
    shape = (draw(st.integers(1, 4)), n)
    kind, dtype = draw(st.sampled_from(KINDS)), draw(st.sampled_from(DTYPES))
    return rows_of(kind, shape, dtype, draw(st.integers(0, 2**16))), k


def smallest_by_hand(rows: np.ndarray, k: int) -> list[list[int]]:
    return [sorted(range(len(row)), key=lambda j: (row[j], j))[:k] for row in rows.tolist()]


def columns(rows: np.ndarray, chosen: list[list[int]]) -> np.ndarray:
    picked = [[row[j] for j in js] for row, js in zip(rows, chosen, strict=True)]
    return np.asarray(picked, dtype=rows.dtype)


@given(matrices())
@example((rows_of("ties", (2, 64), "float32", 0), 4))  # groups of 4, none left over
@example((rows_of("ties", (2, 71), "float32", 0), 4))  # the same, and 7 columns left over
@example((rows_of("all equal", (3, 300), "int64", 0), 3))
def test_smallest_k_takes_the_lowest_column_among_equals(
    backend: Backend, case: tuple[np.ndarray, int]
) -> None:
    rows, k = case
    expected = smallest_by_hand(rows, k)
    values, indices = smallest_k(backend.asarray(rows), k)
    assert_close(values, backend.asarray(columns(rows, expected)))
    assert to_host(indices).tolist() == expected
    assert device_of(values, indices) == backend.device


@given(matrices())
@example((rows_of("distinct", (1, 256), "int32", 1), 16))
def test_unordered_selection_leaves_nothing_smaller_behind(
    backend: Backend, case: tuple[np.ndarray, int]
) -> None:
    rows, k = case
    values, indices = map(to_host, smallest_k_unordered(backend.asarray(rows), k))
    assert values.shape == indices.shape == (rows.shape[0], k)
    for row, value, index in zip(rows, values, indices, strict=True):
        assert len(set(index.tolist())) == k
        np.testing.assert_array_equal(row[index], value)
        left_out = np.delete(row, index)
        assert left_out.size == 0 or left_out.min() >= value.max()


@pytest.mark.parametrize("k", [0, 6, -1])
def test_smallest_k_refuses_a_k_outside_the_row(backend: Backend, k: int) -> None:
    with pytest.raises(ValueError, match=rf"k is {k}, expected 1 to n for x of shape \(2, 5\)"):
        smallest_k(backend.asarray(np.zeros((2, 5), dtype=np.float32)), k)


def test_smallest_k_of_no_rows(backend: Backend) -> None:
    values, indices = smallest_k(backend.asarray(np.zeros((0, 100), dtype=np.float32)), 3)
    assert values.shape == indices.shape == (0, 3)


@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 2**16))
def test_rows_are_sorted_by_value_then_by_index(
    backend: Backend, n_rows: int, n: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 3, size=(n_rows, n)).astype(np.float32)
    indices = np.stack([rng.permutation(n) for _ in range(n_rows)])
    expected = [
        sorted(zip(v, i, strict=True))
        for v, i in zip(values.tolist(), indices.tolist(), strict=True)
    ]
    by_value, by_index = sort_rows_by(backend.asarray(values), backend.asarray(indices))
    assert to_host(by_value).tolist() == [[v for v, _ in row] for row in expected]
    assert to_host(by_index).tolist() == [[i for _, i in row] for row in expected]


@given(st.integers(1, 8), st.data())
def test_rows_are_replaced_in_a_copy(backend: Backend, n: int, data: st.DataObject) -> None:
    where = sorted(data.draw(st.sets(st.integers(0, n - 1))))
    x = np.arange(n * 3, dtype=np.float32).reshape(n, 3)
    rows = -1 - np.arange(len(where) * 3, dtype=np.float32).reshape(len(where), 3)
    expected = x.copy()
    for position, row in zip(where, rows, strict=True):
        expected[position] = row
    before = backend.asarray(x.copy())
    after = replace_rows(
        before, backend.asarray(np.asarray(where, dtype=np.int64)), backend.asarray(rows)
    )
    assert_close(after, backend.asarray(expected))
    assert_close(before, backend.asarray(x))


@given(st.lists(st.integers(0, 9), max_size=20), st.integers(0, 12), st.sampled_from(DTYPES[1:]))
def test_bincount_counts(backend: Backend, x: list[int], minlength: int, dtype: str) -> None:
    expected = [x.count(i) for i in range(max(minlength, max(x, default=-1) + 1))]
    counts = bincount(backend.asarray(np.asarray(x, dtype=dtype)), minlength=minlength)
    assert_close(counts, backend.asarray(np.asarray(expected, dtype=np.int64)))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(-8, 8)), max_size=20))
@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_bincount_sums_weights_in_their_dtype(
    backend: Backend, dtype: str, pairs: list[tuple[int, int]]
) -> None:
    x = np.asarray([i for i, _ in pairs], dtype=np.int64)
    weights = np.asarray([w for _, w in pairs], dtype=dtype)
    expected = [sum(w for j, w in pairs if i == j) for i in range(7)]
    sums = bincount(backend.asarray(x), backend.asarray(weights), minlength=7)
    assert_close(sums, backend.asarray(np.asarray(expected, dtype=dtype)))


def test_bincount_refuses_negative_numbers(backend: Backend) -> None:
    with pytest.raises(ValueError, match="x holds -2, expected 0 or more"):
        bincount(backend.asarray(np.asarray([3, -2], dtype=np.int64)))


@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 2**16), st.sampled_from(DTYPES))
def test_flatnonzero_gives_positions_in_row_order(
    backend: Backend, n_rows: int, n: int, seed: int, dtype: str
) -> None:
    x = np.random.default_rng(seed).integers(0, 2, size=(n_rows, n)).astype(dtype)
    expected = [i for i, value in enumerate(v for row in x.tolist() for v in row) if value]
    found = flatnonzero(backend.asarray(x))
    assert to_host(found).tolist() == expected
    assert device_of(found) == backend.device


@given(st.lists(st.integers(0, 4), max_size=8), st.sampled_from(("float32", "int64", "uint8")))
def test_one_hot_is_rows_of_the_identity(backend: Backend, labels: list[int], dtype: str) -> None:
    expected = [[int(c == label) for c in range(5)] for label in labels]
    codes = backend.asarray(np.asarray(labels, dtype=np.int64))
    encoded = one_hot(codes, 5, dtype=getattr(backend.xp, dtype))
    rows = np.asarray(expected, dtype=dtype).reshape(len(labels), 5)
    assert_close(encoded, backend.asarray(rows))


@pytest.mark.parametrize("shape", [(7,), (7, 3), (7, 2, 2)])
def test_gather_takes_rows_in_any_order_and_again(backend: Backend, shape: tuple[int, ...]) -> None:
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    rows = np.asarray([6, 0, 3, 3], dtype=np.int64)
    with forbid_host_reads():
        found = gather(backend.asarray(x), backend.asarray(rows))
    assert_close(found, backend.asarray(np.stack([x[i] for i in rows.tolist()])))


def test_the_widest_float_is_what_the_device_has(backend: Backend) -> None:
    widest = widest_float(backend.xp, backend.device)
    expected = "float32" if backend.name == "strict-no_float64" else "float64"
    assert widest == getattr(backend.xp, expected)
    zero = backend.xp.zeros(1, dtype=widest, device=backend.device)
    assert namespace_of(zero) is backend.xp


@given(st.integers(0, 50), st.integers(-1, 60))
def test_row_blocks_cover_every_row_once(n_rows: int, size: int) -> None:
    blocks = list(row_blocks(n_rows, size))
    assert [i for block in blocks for i in range(block.start, block.stop)] == list(range(n_rows))
    assert all(block.stop - block.start <= max(1, size) for block in blocks)
    assert all(block.stop <= n_rows for block in blocks)


@given(st.integers(-5, 1000), st.integers(0, 100))
def test_rows_within_a_budget_is_one_at_least(n_bytes: int, bytes_per_row: int) -> None:
    rows = rows_within(n_bytes, bytes_per_row)
    assert rows >= 1
    assert rows == 1 or rows * bytes_per_row <= n_bytes


@given(st.integers(0, 9), st.integers(1, 9))
def test_scaled_rows_are_added_in_place(backend: Backend, n: int, size: int) -> None:
    rows = np.random.default_rng(n).normal(size=(2, n, 3)).astype("f4")
    target, x = (backend.asarray(part.copy()) for part in rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_ops, "update_blocks", lambda x: row_blocks(x.shape[0], size))
        add_scaled(target, -0.5, x)
    assert np.array_equal(to_host(target), rows[0] + np.float32(-0.5) * rows[1])
    assert np.array_equal(to_host(x), rows[1])


@given(
    rows=st.sampled_from([1, 7, 128, 200]),
    inner=st.sampled_from([1, 5, 40]),
    columns=st.sampled_from([1, 9, 128, 190]),
    dtypes=st.tuples(*[st.sampled_from(["f4", "f4", "f4", "i2"])] * 2),
    turned=st.booleans(),
)
def test_a_product_is_that_of_a_loop(
    backend: Backend, rows: int, inner: int, columns: int, dtypes: tuple[str, str], turned: bool
) -> None:
    rng = np.random.default_rng(rows + inner + columns)
    x = rng.integers(-3, 4, (rows, inner)).astype(dtypes[0])
    y = rng.integers(-3, 4, (columns, inner) if turned else (inner, columns)).astype(dtypes[1])
    if backend.name != "numpy" and dtypes[0] != dtypes[1]:
        return  # the standard says nothing of such products
    a, b = backend.asarray(x), backend.asarray(y)
    found = product(a, b.mT if turned else b)
    expected = np.einsum("ij,jk->ik", x.astype("i8"), (y.T if turned else y).astype("i8"))
    assert np.array_equal(to_host(found), expected)
    assert namespace_of(found) is backend.xp and device_of(found) == backend.device


def test_products_do_not_share_memory() -> None:
    x = np.ones((200, 3), "f4")
    first = product(x, x.T)
    second = product(2 * x, x.T)
    assert (first == 3).all() and (second == 6).all()
    vector = product(x, np.ones(3, "f4"))
    assert vector.shape == (200,) and (vector == 3).all()


@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_the_sign_of_a_number_and_of_none(backend: Backend, dtype: str) -> None:
    values = [-np.inf, -2.5, -0.0, 0.0, 1e-30, np.inf, np.nan] if dtype == "float32" else [-3, 0, 9]
    x = backend.asarray(np.asarray(values, dtype))
    assert_close(sign(x), backend.asarray(np.sign(np.asarray(values, dtype))))


def test_blocks_of_an_update_are_small_and_cover_all(backend: Backend) -> None:
    x = backend.xp.zeros((1000, 700), dtype=backend.xp.float32, device=backend.device)
    blocks = list(update_blocks(x))
    assert [i for block in blocks for i in range(1000)[block]] == list(range(1000))
    assert all(
        (b.stop - b.start) * 700 * 8 <= 4 * elementwise_block_bytes(backend.xp) for b in blocks
    )


@given(
    st.tuples(*4 * [st.integers(1, 3)]),
    st.integers(1, 3),
    st.integers(1, 5),
    st.booleans(),
    st.integers(0, 99),
)
def test_tile_histograms_are_those_of_a_loop(
    backend: Backend,
    lengths: tuple[int, int, int, int],
    n: int,
    n_bins: int,
    weighted: bool,
    seed: int,
) -> None:
    """Tiles of any shape, one or many of them."""
    down, across, height, width = lengths
    rng = np.random.default_rng(seed)
    bins = rng.integers(0, n_bins, (n, down * height, across * width)).astype(np.uint8)
    weights = rng.uniform(0, 9, bins.shape).astype(np.float32) if weighted else None
    given_ = None if weights is None else backend.asarray(weights)
    found = tile_histograms(backend.asarray(bins), given_, n_bins, (height, width))
    assert namespace_of(found) is backend.xp and device_of(found) == backend.device
    assert found.dtype == backend.xp.float32
    expected = naive_tile_histograms(bins, weights, n_bins, (height, width))
    np.testing.assert_allclose(to_host(found), expected, rtol=1e-6)
