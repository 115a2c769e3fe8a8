"""The array calls of the course's NumPy section, with its own examples, on every backend.

Where the array API standard has the call it is the namespace's; where only the libraries have
it, `xpcls_backends` has a function for every backend, and the library's own call is held to the
same numbers (fixture `native`). Where the course says something that is wrong, the test says
what is right.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpcls_backends import Backend, bincount, choice, flatnonzero, to_host

PIXELS = [1, 2, 3, 5]


def numbers(x: object) -> object:
    return to_host(x).tolist()


# The shape of an array is a tuple.
def test_shape_is_a_tuple_of_ints(backend: Backend) -> None:
    shape = backend.asarray([[1, 2, 3], [0, 8, 2]]).shape
    assert shape == (2, 3)
    assert isinstance(shape, tuple) and all(type(n) is int for n in shape)


# Positions of what is not zero.
def test_flatnonzero(backend: Backend, no_host_reads: None) -> None:
    assert numbers(flatnonzero(backend.asarray([1, 2, 3, 0, 2]))) == [0, 1, 2, 4]
    assert numbers(flatnonzero(backend.asarray([[1, 2, 3], [0, 8, 2]]) == 2)) == [1, 5]


def test_flatnonzero_of_the_library(native: Backend) -> None:
    assert numbers(native.xp.flatnonzero(native.asarray([1, 2, 3, 0, 2]))) == [0, 1, 2, 4]


# Drawing from a population.
def test_choice_from_a_number_draws_below_it() -> None:
    draws = {int(choice(5, random_state=seed)) for seed in range(100)}
    assert draws == set(range(5))
    assert np.ndim(choice(5, random_state=0)) == 0  # without a size: a number, no array of one


def test_choice_from_a_population(backend: Backend) -> None:
    population = tuple(PIXELS)
    for seed in range(20):
        pair = numbers(choice(backend.asarray(population), 2, replace=False, random_state=seed))
        assert len(set(pair)) == 2 and set(pair) <= set(population)
        assert choice(population, 2, replace=False, random_state=seed).tolist() == pair


def test_choice_with_replacement_repeats_and_without_cannot() -> None:
    assert len(set(choice(3, 50, random_state=0).tolist())) == 3
    assert sorted(choice(3, 3, replace=False, random_state=0).tolist()) == [0, 1, 2]
    with pytest.raises(ValueError, match="larger sample than population"):
        choice(3, 4, replace=False, random_state=0)


def test_choice_weighs_by_p() -> None:
    drawn = choice(4, 4000, p=[0.1, 0.0, 0.6, 0.3], random_state=0)
    shares = np.bincount(drawn, minlength=4) / 4000
    # Five standard deviations of a share.
    np.testing.assert_allclose(shares, [0.1, 0.0, 0.6, 0.3], atol=5 * math.sqrt(0.24 / 4000))


# Reshaping.
@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((2, 2), [[1, 2], [3, 5]]),
        ((2, -1), [[1, 2], [3, 5]]),
        ((1, -1), [[1, 2, 3, 5]]),
        ((-1, 4), [[1, 2, 3, 5]]),
        ((4, -1), [[1], [2], [3], [5]]),
        ((4,), PIXELS),
    ],
)
def test_reshape_reads_rows_first_and_infers_one_length(
    backend: Backend, shape: tuple[int, ...], expected: object
) -> None:
    xp = backend.xp
    assert numbers(xp.reshape(backend.asarray(PIXELS), shape)) == expected
    assert numbers(xp.reshape(xp.reshape(backend.asarray(PIXELS), shape), (-1,))) == PIXELS


@pytest.mark.parametrize("shape", [(1,), (3, -1), (2, 3)])
def test_reshape_to_another_size_is_an_error(backend: Backend, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"reshape|size"):
        backend.xp.reshape(backend.asarray(PIXELS), shape)


def test_the_error_of_reshape_names_the_shape_that_was_asked_for() -> None:
    with pytest.raises(ValueError, match=r"array of size 4 into shape \(1,\)"):
        np.asarray([PIXELS]).reshape(1)


def test_reshape_in_other_orders(native: Backend) -> None:
    grid = native.asarray([[1, 2], [3, 5]])
    assert numbers(grid.reshape(-1, order="C")) == [1, 2, 3, 5]
    assert numbers(grid.reshape(-1, order="F")) == [1, 3, 2, 5]
    # "A" reads columns first where the array lies in memory that way, else rows first.
    assert numbers(grid.reshape(-1, order="A")) == [1, 2, 3, 5]
    assert numbers(grid.T.reshape(-1, order="A")) == [1, 2, 3, 5]
    assert numbers(grid.T.reshape(-1, order="C")) == [1, 3, 2, 5]


def test_reshape_is_a_view_where_the_memory_allows_it(native: Backend) -> None:
    x = native.asarray(PIXELS)
    y = native.xp.reshape(x, (2, 2))
    y[1, 1] = 6
    assert numbers(x) == [1, 2, 3, 6]


def test_reshape_is_a_copy_where_it_does_not(native: Backend) -> None:
    x = native.asarray([[1, 2], [3, 5]])
    for flat in (x.T.reshape(-1), x.reshape(-1, order="F")):
        flat[0] = 9
        assert numbers(x) == [[1, 2], [3, 5]]


# Sums, along an axis or over all.
def test_sum(backend: Backend) -> None:
    x = backend.asarray([[2, 3, 4], [7, 8, 9]])
    y = backend.asarray([[11, 12, 13], [5, 6, 7]])
    assert numbers(backend.xp.sum(x[0, ...] - y[0, ...])) == -27
    assert numbers(backend.xp.sum(x - y, axis=1)) == [-27, 6]
    assert numbers(backend.xp.sum(x - y, axis=0)) == [-7, -7, -7]


# Products: entry by entry, by a number, and of matrices.
def test_multiply_goes_entry_by_entry_and_broadcasts(backend: Backend) -> None:
    xp, x = backend.xp, backend.asarray([[1, 2], [3, 5]])
    assert numbers(xp.multiply(x, x)) == [[1, 4], [9, 25]]
    assert numbers(xp.multiply(x, 2)) == numbers(2 * x) == [[2, 4], [6, 10]]
    assert numbers(xp.multiply(x, backend.asarray([10, 100]))) == [[10, 200], [30, 500]]


def test_the_product_of_a_vector_and_a_matrix_is_a_vector(backend: Backend) -> None:
    xp, matrix = backend.xp, backend.asarray([[1.0, 2.0, 0.0], [3.0, 5.0, 1.0]], "float32")
    left, right = (backend.asarray([1.0] * n, "float32") for n in (2, 3))
    assert numbers(xp.matmul(left, matrix)) == [4.0, 7.0, 1.0]
    assert numbers(matrix @ right) == [3.0, 9.0]
    assert numbers(xp.vecdot(right, right)) == 3.0


def test_dot_of_the_library(native: Backend) -> None:
    dot, matrix = native.xp.dot, native.asarray([[1, 2, 0], [3, 5, 1]])
    assert numbers(dot(native.asarray([1, 1]), matrix)) == [4, 7, 1]
    assert dot(native.asarray([1, 1]), matrix).shape == (3,)
    if native.name == "numpy":  # of CuPy it takes no number; `2 * matrix` is the same everywhere
        assert numbers(dot(matrix, 2)) == [[2, 4, 0], [6, 10, 2]]
    assert numbers(dot(matrix, matrix.T)) == [[5, 13], [13, 35]]


# Counting.
def test_bincount(backend: Backend, no_host_reads: None) -> None:
    assert numbers(bincount(backend.asarray([0, 1, 1, 3, 2, 1, 7]))) == [1, 3, 1, 1, 0, 0, 0, 1]
    assert numbers(bincount(backend.xp.arange(5, device=backend.device))) == [1] * 5
    weights = backend.asarray([0.3, 0.5, 0.2, 0.7, 1.0, -0.6], "float32")
    sums = bincount(backend.asarray([0, 1, 1, 2, 2, 2]), weights)
    np.testing.assert_allclose(to_host(sums), [0.3, 0.7, 1.1], rtol=1e-6)
    assert numbers(bincount(backend.asarray([1]), minlength=4)) == [0, 1, 0, 0]
    assert numbers(bincount(backend.asarray([3]), minlength=2)) == [0, 0, 0, 1]


def test_bincount_of_the_library(native: Backend) -> None:
    x = native.asarray([0, 1, 1, 3, 2, 1, 7])
    assert numbers(native.xp.bincount(x)) == [1, 3, 1, 1, 0, 0, 0, 1]
    assert numbers(native.xp.bincount(x, minlength=10))[8:] == [0, 0]


# Positions: of a sorted order, of the largest, of the smallest.
def test_arg_functions_give_positions(backend: Backend) -> None:
    xp, x = backend.xp, backend.asarray([[3.0, 1.0, 2.0], [0.0, 5.0, 4.0]], "float32")
    assert numbers(xp.argsort(x, axis=1, stable=True)) == [[1, 2, 0], [0, 2, 1]]
    assert numbers(xp.argmax(x, axis=1)) == [0, 1]
    assert numbers(xp.argmin(x, axis=1)) == [1, 0]
    assert numbers(xp.argmax(x)) == 4  # in the flattened array


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40))
def test_equal_entries_keep_their_order(backend: Backend, values: list[int]) -> None:
    xp, x = backend.xp, backend.asarray(values)
    expected = sorted(range(len(values)), key=values.__getitem__)
    assert numbers(xp.argsort(x, stable=True)) == expected
    assert numbers(xp.argmin(x)) == values.index(min(values))
    assert numbers(xp.argmax(x)) == values.index(max(values))


# The rest of the calls in the course's code.
def test_creation(backend: Backend) -> None:
    xp, device = backend.xp, backend.device
    zeros = xp.zeros((2, 3), dtype=xp.int32, device=device)
    assert zeros.dtype == xp.int32 and numbers(zeros) == [[0] * 3] * 2
    assert numbers(xp.arange(2, 10, 3, device=device)) == [2, 5, 8]


def test_elementwise(backend: Backend) -> None:
    xp, x = backend.xp, backend.asarray([-2.0, 0.0, 3.0], "float32")
    assert numbers(xp.abs(x)) == [2.0, 0.0, 3.0]
    assert numbers(xp.square(x)) == [4.0, 0.0, 9.0]
    assert numbers(xp.sqrt(xp.square(x))) == [2.0, 0.0, 3.0]
    assert numbers(xp.maximum(x, 0.0)) == [0.0, 0.0, 3.0]
    np.testing.assert_allclose(to_host(xp.exp(x)), [math.exp(v) for v in (-2, 0, 3)], rtol=1e-6)


def test_repeat_and_transpose(backend: Backend) -> None:
    xp, x = backend.xp, backend.asarray([[1, 2, 3], [0, 8, 2]])
    assert numbers(xp.repeat(backend.asarray([4, 7]), 3)) == [4, 4, 4, 7, 7, 7]
    assert numbers(x.T) == numbers(xp.matrix_transpose(x)) == [[1, 0], [2, 8], [3, 2]]


def test_distances_as_the_course_composes_them(backend: Backend) -> None:
    """The squares of the rows repeated along both sides, less twice the product."""
    xp = backend.xp
    x = backend.asarray([[1.0, 2.0], [3.0, 5.0], [0.0, 0.0]], "float32")
    y = backend.asarray([[4.0, 6.0], [0.0, 1.0]], "float32")
    d = xp.reshape(xp.repeat(xp.sum(xp.square(x), axis=1), 2), (3, 2))
    d = d + xp.reshape(xp.repeat(xp.sum(xp.square(y), axis=1), 3), (2, 3)).T
    d = d - 2 * xp.matmul(x, y.T)
    by_hand = [[math.dist(a, b) for b in numbers(y)] for a in numbers(x)]
    np.testing.assert_allclose(to_host(xp.sqrt(d)), by_hand, rtol=1e-6)
