"""The two steps of a scan for nearest rows that are written for speed: minima, and selection."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xpcls_backends import Backend, SmallestEntries, sums_of_minima, to_host, widest_float
from xpcls_backends.testing import forbid_host_reads


@settings(max_examples=40)
@given(
    sizes=st.tuples(st.integers(1, 20), st.integers(1, 60), st.integers(1, 70)),
    dtype=st.sampled_from(("uint8", "float32", "float64")),
    scratch=st.sampled_from((1, 500, 4000, 2**20)),
    seed=st.integers(0, 2**16),
)
def test_sums_of_minima_are_those_of_a_loop(
    backend: Backend, sizes: tuple[int, int, int], dtype: str, scratch: int, seed: int
) -> None:
    if widest_float(backend.xp, backend.device) != backend.xp.float64 and dtype == "float64":
        return
    rng = np.random.default_rng(seed)
    n_queries, n_points, features = sizes
    low = 0 if dtype == "uint8" else -255
    queries = rng.integers(low, 256, (n_queries, features)).astype(dtype)
    points = rng.integers(low, 256, (n_points, features)).astype(dtype)
    queries[0], points[-1] = 255, 255
    of = backend.xp.float64 if dtype == "float64" else backend.xp.float32
    with forbid_host_reads():
        found = sums_of_minima(
            backend.asarray(queries), backend.asarray(points), -2.0, dtype=of, scratch=scratch
        )
    assert found.dtype == of
    expected = [
        [-2 * sum(min(a, b) for a, b in zip(q, p, strict=True)) for p in points.tolist()]
        for q in queries.tolist()
    ]
    assert to_host(found).tolist() == expected


@settings(max_examples=60)
@given(
    n=st.integers(1, 12),
    parts=st.lists(st.integers(1, 90), min_size=1, max_size=8),
    m=st.integers(1, 40),
    order=st.sampled_from(("random", "falling", "rising", "tied")),
    seed=st.integers(0, 2**16),
)
def test_smallest_entries_of_parts_are_those_of_the_whole(
    backend: Backend, n: int, parts: list[int], m: int, order: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    whole = rng.normal(size=(n, sum(parts))).astype("float32")
    if order == "tied":
        whole = rng.integers(0, 3, whole.shape).astype("float32")
    elif order != "random":
        whole = np.sort(whole, axis=1)[:, :: 1 if order == "rising" else -1].copy()
    added = rng.integers(0, 5, whole.shape[1]).astype("float32")
    smallest, first = SmallestEntries(m), 0
    for across in parts:
        here = slice(first, first + across)
        part, of_columns = backend.asarray(whole[:, here].copy()), backend.asarray(added[here])
        with forbid_host_reads():
            smallest.add(part, first, of_columns)
        first += across
    whole += added
    values, columns = (to_host(x) for x in smallest.found())
    kept = min(m, whole.shape[1])
    assert values.shape == columns.shape == (n, kept) and columns.dtype == np.int64
    assert all(len(set(row)) == kept for row in columns.tolist())
    np.testing.assert_array_equal(np.take_along_axis(whole, columns, axis=1), values)
    np.testing.assert_array_equal(np.sort(values, axis=1), np.sort(whole, axis=1)[:, :kept])


@pytest.mark.parametrize("n", [3, 2**16 + 1])
def test_smallest_entries_of_many_rows(n: int) -> None:
    rng = np.random.default_rng(0)
    whole = rng.normal(size=(n, 200)).astype("float32")
    smallest = SmallestEntries(2)
    for first in range(0, 200, 50):
        smallest.add(whole[:, first : first + 50].copy(), first, np.zeros(50, "float32"))
    expected = np.partition(whole, 1, axis=1)[:, :2]
    np.testing.assert_array_equal(np.sort(smallest.found()[0]), np.sort(expected))
