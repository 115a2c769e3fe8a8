"""The k nearest rows of a CuPy array: tiles of exact keys of bytes, candidates of floats.

Of uint8 rows all keys are integers, and the k smallest are the answer: L1 by VABSDIFF4, squared L2
by a product of int8,

    sum (q - p)^2 = sum q'^2 + sum p'^2 - 2 sum q' p',    q' = q - 128, p' = p - 128.

Of float32 rows, for L1, the m smallest of sums in float32 are candidates, and direct sums in
float64 decide. Let u be float32's unit roundoff and s the true sum of a pair. None of its D terms
is negative, so the sum in float32 is at most (s + floor) (1 + g(D)), with g(n) = n u / (1 - n u)
(Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 4.2) and floor for numbers
too small to be normal, which the card takes for 0. A point that is no candidate has a sum in
float32 of at least the m-th smallest, M, so its true sum is at least M (1 - g(D)) - floor. Where
that exceeds the k-th direct sum the answer is proven; else the query is left to the plain search.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpcls_backends._ops import flatnonzero, row_blocks, rows_within, sort_rows_by
from xpcls_backends._place import Array, device_of, namespace_of, to_scalar
from xpcls_backends._search import halved_budget

from ._module import on_its_card
from .direct import direct_keys
from .l1 import l1
from .products import byte_codes, overlaps, padded
from .smallest import MOST, smallest

LONGEST_BYTES = 2**15  # features, whose squares fit into 32 bits
LONGEST_FLOATS = 2**20  # features, of whose sums the bound still says something
CANDIDATES = 32  # beside k
TILE = 2**16  # points at once: enough work for a card
EPS = 2.0**-24  # u
SMALLEST = 2.0**-126  # normal number
LARGEST = 2.0**126


def fits(queries: Array, points: Array, kind: str) -> bool:
    """Whether there are kernels for such rows."""
    xp, length = namespace_of(queries, points), points.shape[1]
    if queries.dtype != points.dtype:
        return False
    if points.dtype == xp.uint8:
        return bool(length <= LONGEST_BYTES)
    return kind == "l1" and bool(points.dtype == xp.float32) and length <= LONGEST_FLOATS


class RowSearch:
    """Points (N, D), uint8 or float32, in which rows are searched.

    keep : for L2 their int8 codes are kept from the first search on, a byte for each number.
    """

    def __init__(self, points: Array, l1: bool, keep: bool) -> None:
        xp = namespace_of(points)
        self._points, self._l1, self._keep = xp.ascontiguousarray(points), l1, keep
        self._of_bytes = points.dtype == xp.uint8
        self._kept: tuple[Array, Array] | None = None
        self._span: float | None = None

    @on_its_card
    def search(
        self,
        queries: Array,
        k: int,
        budget: int,
        found: tuple[Array, Array],
        tell: Callable[[float], None],
        *,
        root: bool,
    ) -> Array:
        """Fill distances (n, k) and indices (n, k) int64, and return positions without an answer.

        queries : (n, D), of the points' dtype. budget : bytes of scratch. tell : is told which
        share is done. root : distances are square roots of L2's sums.
        """
        xp, device = namespace_of(queries), device_of(queries)
        n, start = queries.shape[0], 0
        left: list[Array] = []
        m = self._candidates(k)
        if m > MOST or not (self._of_bytes or self._in_range(queries)):
            return xp.arange(n, dtype=xp.int64, device=device)
        while start < n:
            down, across = self._cut(n - start, m, budget)
            rows = queries[start : start + down, :]
            try:
                keys, indices, proven = self._search_block(rows, k, m, across)
            except MemoryError:
                if self._kept is None and self._keep:
                    self._keep = False  # no room for all codes: they are made in tiles
                else:
                    budget = halved_budget(budget, xp)
                continue
            stop = start + rows.shape[0]
            keys = xp.astype(keys, xp.float64, copy=False)
            found[0][start:stop, :] = xp.sqrt(keys) if root else keys
            found[1][start:stop, :] = indices
            if proven is not None:
                left.append(flatnonzero(~proven) + start)
            start = stop
            tell(start / n)
        return xp.concat(left) if left else xp.empty((0,), dtype=xp.int64, device=device)

    def plan(self, n_queries: int, k: int, budget: int, dtype: object) -> dict[str, Any] | None:
        """How a search would be cut; None where it would not be done here."""
        m = self._candidates(k)
        if m > MOST:
            return None
        down, across = self._cut(n_queries, m, budget)
        n_points, length = self._points.shape
        coded = self._of_bytes and not self._l1
        return {
            "scan": "CUDA kernels, " + ("bytes" if self._of_bytes else "float32"),
            "queries": down,
            "points": across,
            "candidates": m,
            "kept": n_points * (length + 4) if coded and self._keep else 0,
        }

    def _candidates(self, k: int) -> int:
        n_points = int(self._points.shape[0])
        return k if self._of_bytes else min(n_points, 2 * k + CANDIDATES)

    def _cut(self, n: int, m: int, budget: int) -> tuple[int, int]:
        """Queries and points at a time: half of the budget for their keys of 4 bytes."""
        n_points, length = self._points.shape
        across = min(n_points, TILE)
        # A tile's codes, keys, and what is found in it and in all tiles before.
        while across > 256 and 2 * across * (length + 4) > budget:
            across = padded(-(-across // 2))
        width = length + 4 * across + 64 * m
        return min(n, rows_within(budget // 2, width)), across

    def _in_range(self, queries: Array) -> bool:
        """Whether no sum overflows, and nothing is NaN. Reads the host, once for the points."""
        if self._span is None:
            self._span = _largest(self._points)
        return bool(self._points.shape[1] * (self._span + _largest(queries)) < LARGEST)

    def _search_block(
        self, queries: Array, k: int, m: int, across: int
    ) -> tuple[Array, Array, Array | None]:
        """Keys and indices (n, k), and of floats whether they are proven (n,)."""
        xp = namespace_of(queries)
        queries = xp.ascontiguousarray(queries)
        best: tuple[Array, Array] | None = None
        coded = None if self._l1 or not self._of_bytes else byte_codes(queries)
        for some in row_blocks(self._points.shape[0], across):
            if coded is None:
                found = smallest(l1(queries, self._points[some, :]), min(m, some.stop - some.start))
            else:
                found = self._smallest_l2(coded[0], some, m)
            found = found[0], found[1] + some.start
            best = found if best is None else _merged(best, found, m)
        assert best is not None
        values, columns = best
        if coded is not None:
            n = queries.shape[0]
            return values[:n, :] + coded[1][:, None], columns[:n, :], None
        if self._of_bytes:
            return values, columns, None
        keys = direct_keys(queries, self._points, columns, "l1", 1.0)
        keys, columns = sort_rows_by(keys, columns)
        keys, columns = keys[:, :k], columns[:, :k]
        if m == self._points.shape[0]:
            return keys, columns, None
        length = self._points.shape[1]
        error = length * EPS / (1.0 - length * EPS)
        last = xp.astype(values[:, m - 1], xp.float64)
        return keys, columns, last * (1.0 - error) - 4.0 * length * SMALLEST > keys[:, k - 1]

    def _smallest_l2(self, queries: Array, some: slice, m: int) -> tuple[Array, Array]:
        """Keys and columns of a tile, but for what is the same of all points of a query."""
        codes, norms = self._codes_of(some)
        count = some.stop - some.start
        products = overlaps(queries, codes)
        return smallest(products, min(m, count), norms, scale=-2, columns=count)

    def _codes_of(self, some: slice) -> tuple[Array, Array]:
        if not self._keep:
            return byte_codes(self._points[some, :])
        if self._kept is None:
            self._kept = byte_codes(self._points)
        rows = slice(some.start, some.start + padded(some.stop - some.start))
        return self._kept[0][rows, :], self._kept[1][some]


def _merged(best: tuple[Array, Array], found: tuple[Array, Array], m: int) -> tuple[Array, Array]:
    """The m smallest of both; all columns of `found` are behind those of `best`."""
    xp = namespace_of(best[0])
    values = xp.concat((best[0], found[0]), axis=1)
    columns = xp.concat((best[1], found[1]), axis=1)
    values, places = smallest(values, min(m, values.shape[1]))
    return values, xp.take_along_axis(columns, places, axis=1)


def _largest(x: Array) -> float:
    """The largest magnitude, NaN where there is one; 0.0 of none."""
    xp = namespace_of(x)
    if x.size == 0:
        return 0.0
    ends = xp.stack([xp.max(x), -xp.min(x)])  # of which NaN is the largest
    return float(to_scalar(xp.max(ends)))
