"""The k nearest rows of a CuPy array: tiles of keys, and of each tile the smallest.

Which keys those are says scans.py. What a scan cannot prove is asked again with as many candidates
as a selection takes, and what even that does not prove is left to the plain search.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from xpcls_backends._ops import flatnonzero, row_blocks, rows_within
from xpcls_backends._place import Array, device_of, namespace_of, to_itemsize, to_scalar
from xpcls_backends._search import halved_budget

from ._module import on_its_card
from .products import VECTOR, padded
from .scans import LONGEST_BYTES, LONGEST_FLOATS, Coded, Found, Scan, scan_for
from .smallest import MOST, smallest

TILE = 2**16  # points at once: enough work for a card
CANDIDATE = 64  # bytes for each of a query: keys and columns, twice while they are joined
SPARE = 32  # candidates that floats have beside k, at least
MOST_KEYS = 2**30  # at once: more gain nothing, and cuBLAS counts with 32 bits
MOST_POINTS = 2**31 - VECTOR  # which codes.cu counts with 32 bits


def fits(queries: Array, points: Array, kind: str) -> bool:
    """Whether there are kernels for such rows."""
    if queries.dtype != points.dtype:
        return False
    longest = {"uint8": LONGEST_BYTES, "float32": LONGEST_FLOATS[kind]}
    n, features = points.shape
    return bool(n <= MOST_POINTS and features <= longest.get(points.dtype.name, -1))


class RowSearch:
    """Points (N, D), uint8 or float32, in which rows are searched.

    keep : codes that a scan makes of them are kept from the first search on.
    """

    @on_its_card
    def __init__(self, points: Array, l1: bool, keep: bool) -> None:
        self._points = namespace_of(points).ascontiguousarray(points)
        self._kind, self._keep = "l1" if l1 else "l2", keep
        self._of_bytes = points.dtype.name == "uint8"
        self._span: float | None = None
        self._scan: Scan | None = None
        self._kept: Coded | None = None

    @on_its_card
    def search(
        self,
        queries: Array,
        k: int,
        budget: int,
        found: Found,
        tell: Callable[[float], None],
        *,
        root: bool,
    ) -> Array:
        """Fill distances (n, k) and indices (n, k) int64, and return positions without an answer.

        queries : (n, D), of the points' dtype. budget : bytes of scratch. tell : is told which
        share is done. root : distances are square roots of L2's sums.
        """
        xp, device = namespace_of(queries), device_of(queries)
        if self._are_too_many(k) or not self._are_in_reach(queries):
            return xp.arange(queries.shape[0], dtype=xp.int64, device=device)
        m = self._candidates(k)
        left = self._pass(queries, None, m, k, budget, found, tell, root)
        if left.shape[0] and m < min(MOST, self._points.shape[0]):
            m = min(MOST, self._points.shape[0])
            left = self._pass(queries, left, m, k, budget, found, lambda share: None, root)
        return left

    def plan(self, n_queries: int, k: int, budget: int, dtype: object) -> dict[str, Any] | None:
        """How a search would be cut; None where it would not be done here."""
        if self._are_too_many(k):
            return None
        m, code_bytes = self._candidates(k), self._ready().code_bytes
        down, across, block = self._cut(n_queries, m, budget, copied=False)
        return {
            "scan": "CUDA kernels, " + ("bytes" if self._of_bytes else "float32"),
            "queries": min(down, block),
            "points": across,
            "candidates": m,
            "kept": self._points.shape[0] * code_bytes if self._keep else 0,
        }

    def _are_too_many(self, k: int) -> bool:
        """Whether a selection leaves out some of k, or of floats proves hardly anything."""
        spare = 0 if self._of_bytes or self._points.shape[0] <= MOST else SPARE
        return k + spare > MOST

    def _ready(self) -> Scan:
        if self._scan is None:
            self._scan = scan_for(self._points, self._kind)
        return self._scan

    def _candidates(self, k: int) -> int:
        n_points: int = self._points.shape[0]
        return min(n_points, MOST, self._ready().candidates(k))

    def _are_in_reach(self, queries: Array) -> bool:
        """Whether floats are neither too large for the scan nor NaN. Reads the host for them, of
        the points once."""
        reach = self._ready().reach
        if reach == math.inf:
            return True
        if self._span is None:
            self._span = _largest(self._points)
        return self._span + _largest(queries) < reach

    def _cut(self, n: int, m: int, budget: int, copied: bool) -> tuple[int, int, int]:
        """Queries that are held, points in a tile, and queries whose keys are computed at once.

        copied : whether queries are copied before they are coded.
        """
        code_bytes = self._ready().code_bytes
        row = self._points.shape[1] * to_itemsize(self._points) if copied else 0
        down = min(n, rows_within(budget // 4, row + code_bytes + CANDIDATE * m))
        across = min(self._points.shape[0], TILE)
        while across > VECTOR and across * code_bytes > budget // 4:
            across = padded(-(-across // 2))
        keys = min(MOST_KEYS, budget // 8)  # of 4 bytes
        block = rows_within(keys, across) // VECTOR * VECTOR
        return down, across, min(down, max(VECTOR, block))

    def _pass(
        self,
        queries: Array,
        where: Array | None,
        m: int,
        k: int,
        budget: int,
        found: Found,
        tell: Callable[[float], None],
        root: bool,
    ) -> Array:
        """Search with m candidates; the positions left. where : positions of the queries that are
        asked, if not all are."""
        xp, device = namespace_of(queries), device_of(queries)
        copied = where is not None or not queries.flags.c_contiguous
        proofs: list[Array] = []  # read at the end, when all is under way
        n, start = (queries if where is None else where).shape[0], 0
        while start < n:
            down, across, block = self._cut(n - start, m, budget, copied)
            rows = slice(start, start + down)
            try:
                some = queries[rows, :] if where is None else xp.take(queries, where[rows], axis=0)
                keys, indices, proven = self._nearest(some, k, m, across, block)
            except MemoryError:
                if self._keep and self._kept is None and self._ready().code_bytes:
                    self._keep = False  # no room for all codes: they are made in tiles
                    xp.get_default_memory_pool().free_all_blocks()
                else:
                    budget = halved_budget(budget, xp)
                continue
            keys = xp.astype(keys, xp.float64, copy=False)
            target = rows if where is None else where[rows]
            found[0][target] = xp.sqrt(keys) if root else keys
            found[1][target] = indices
            if proven is not None:
                proofs.append(proven)
            start += down
            if start < n:  # the end is told by who asked
                tell(start / n)
        if not proofs:
            return xp.empty((0,), dtype=xp.int64, device=device)
        left = flatnonzero(~(proofs[0] if len(proofs) == 1 else xp.concat(proofs)))
        return left if where is None else xp.take(where, left)

    def _nearest(
        self, queries: Array, k: int, m: int, across: int, block: int
    ) -> tuple[Array, Array, Array | None]:
        """Keys and indices (n, k), and of floats whether they are proven (n,)."""
        xp, scan = namespace_of(queries), self._ready()
        n_points = self._points.shape[0]
        queries = xp.ascontiguousarray(queries)
        coded = scan.coded(queries)
        best: list[Found] = []
        for some in row_blocks(n_points, across):
            values, columns = self._of_tile(coded, some, m, block)
            here = (values, columns + some.start)
            best = [here] if not best else [_merged(best[0], here, m)]
        keys, indices, proven = scan.answer(queries, coded, best[0], k)
        return keys, indices, None if m == n_points else proven

    def _of_tile(self, queries: Coded, some: slice, m: int, block: int) -> Found:
        """The m smallest keys of some of the points, and their columns; of all where they are
        fewer."""
        scan = self._ready()
        tile = self._tile(scan, some)
        parts = [
            scan.smallest(queries.part(rows), tile, min(m, tile.n))
            for rows in row_blocks(queries.n, block)
        ]
        return _joined(parts, axis=0)

    def _tile(self, scan: Scan, some: slice) -> Coded:
        """Codes of some of the points."""
        if not self._keep:
            return scan.coded(self._points[some, :])
        if self._kept is None:
            self._kept = scan.coded(self._points)
        return self._kept.part(some)


def _merged(best: Found, found: Found, m: int) -> Found:
    """The m smallest of both; the columns of `found` are all behind those of `best`."""
    values, columns = _joined([best, found], axis=1)
    return smallest(values, min(m, values.shape[1]), names=columns)


def _joined(parts: list[Found], axis: int) -> Found:
    if len(parts) == 1:
        return parts[0]
    xp = namespace_of(parts[0][0])
    values, columns = (xp.concat(arrays, axis=axis) for arrays in zip(*parts, strict=True))
    return values, columns


def _largest(x: Array) -> float:
    """The largest magnitude, NaN where there is one; 0.0 of none."""
    xp = namespace_of(x)
    if x.size == 0:
        return 0.0
    ends = xp.stack([xp.max(x), -xp.min(x)])  # of which NaN is the largest
    return float(to_scalar(xp.max(ends)))
