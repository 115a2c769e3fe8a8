"""Rows in which nearest rows are searched: once, or again and again.

Where a kernel searches such rows it is asked first, and the scan of _nearest.py answers the
queries that it leaves out, or all. Both give the neighbours that direct differences in float64
give, so that which of them ran shows in the time alone.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from xpcls.progress import advance
from xpcls_backends import (
    Array,
    RowSearch,
    device_of,
    is_small_integer,
    namespace_of,
    replace_rows,
    row_blocks,
    row_search,
    rows_within,
    scratch_bytes,
    to_itemsize,
)

from ._nearest import candidates_at_first, plan_tiles, scan_nearest
from ._points import Points
from ._rows import METRICS, check_metric, check_shapes
from ._scan import make_scan


@dataclass(frozen=True)
class Plan:
    """How a search will be done; printed, it is a line to read before a long run.

    scan : what looks at all points. queries, points : rows at a time. candidates : a query may
    have. scratch : bytes that the search may take, beside what is given and returned. kept : bytes
    that a fitted model, or an `Index`, keeps from its first search on.
    """

    scan: str
    queries: int
    points: int
    candidates: int
    scratch: int
    kept: int

    def __str__(self) -> str:
        kept = f"; {self.kept:,} bytes are kept for more searches" if self.kept else ""
        return (
            f"scan by {self.scan}: {self.queries:,} queries by {self.points:,} points at a time, "
            f"{self.candidates:,} candidates a query, at most {self.scratch:,} bytes of scratch"
            + kept
        )


def nearest(
    queries: Array,
    points: Array,
    k: int,
    metric: str = "l2",
    memory_budget: int | None = None,
) -> tuple[Array, Array]:
    """The k nearest rows of `points` to each row of `queries`.

    Parameters
    ----------
    queries : array (n_queries, D), real; points : array (n_points, D), real, same library and
        device. uint8 images are taken as they are.
    k : 1 to n_points.
    metric : "l1" sum |a - b|, "l2" sqrt(sum (a - b)^2), or "sqeuclidean", its square.
    memory_budget : bytes of scratch beside the arrays given and returned; None: 64 MiB on a CPU,
        1 GiB on a GPU. The answer does not depend on it.

    Returns
    -------
    distances : (n_queries, k), ascending; float64 if an input is float64 or a 32- or 64-bit
        integer, else float32.
    indices : (n_queries, k) int64, rows of `points`.

    The neighbours are those that direct differences in float64 give, and equal distances are
    ordered by row, lowest first. An identical row is at distance exactly 0.

    Where memory runs out, the search goes on with half as much scratch.

    Raises ValueError for shapes that do not fit, k out of range, NaN or infinity, an unknown
    metric, and a budget too small for one query and one point.
    """
    return Index(points, keep=False).nearest(queries, k, metric, memory_budget)


class Index:
    """Rows for more than one search: what `nearest` makes of `points` is kept.

    points : (n_points, D), real; a reference is kept, so do not change them afterwards.
    keep : with kernels (the extra `fast`) codes of uint8 and float32 rows are made in the first
        search and kept: a byte for each number, or two. Without, two numbers for each row.
    """

    def __init__(self, points: Array, *, keep: bool = True) -> None:
        self.points = points
        self._scanned = Points(points)
        self._keep = keep
        self._searches: dict[str, RowSearch] = {}

    def __reduce__(self) -> Any:
        return functools.partial(Index, keep=self._keep), (self.points,)

    def nearest(
        self, queries: Array, k: int, metric: str = "l2", memory_budget: int | None = None
    ) -> tuple[Array, Array]:
        """Distances and indices (n_queries, k); see the function `nearest`."""
        points, budget = self.points, self._check(queries, k, metric, memory_budget)
        tell = functools.partial(_tell, queries.shape[0] * points.shape[0])
        kernel = self._kernel(queries, metric)
        if kernel is None:
            scan = make_scan(queries, self._scanned, metric, budget)
            found = scan_nearest(scan, queries, self._scanned, k, budget, tell)
            tell(1.0)
            return found
        xp, device = namespace_of(queries), device_of(queries)
        shape = (queries.shape[0], k)
        distances = xp.empty(shape, dtype=xp.float32, device=device)
        indices = xp.empty(shape, dtype=xp.int64, device=device)
        root = metric != "sqeuclidean" and METRICS[metric] == "l2"
        left = kernel.search(queries, k, budget, (distances, indices), tell, root=root)
        width = to_itemsize(queries) * queries.shape[1]
        for some in row_blocks(left.shape[0], rows_within(budget // 4, width)):
            where = left[some]
            rows = xp.take(queries, where, axis=0)  # which takes a part of the budget
            scan = make_scan(rows, self._scanned, metric, budget - budget // 4)
            found = scan_nearest(scan, rows, self._scanned, k, budget - budget // 4, tell)
            distances = replace_rows(distances, where, found[0])
            indices = replace_rows(indices, where, found[1])
        tell(1.0)
        return distances, indices

    def plan(
        self, queries: Array, k: int, metric: str = "l2", memory_budget: int | None = None
    ) -> Plan:
        """How `nearest` would search for these rows, without doing it."""
        points, budget = self.points, self._check(queries, k, metric, memory_budget)
        kernel = self._kernel(queries, metric)
        if kernel is not None:
            cut = kernel.plan(queries.shape[0], k, budget, queries.dtype)
            if cut is not None:
                return Plan(**cut, scratch=budget)
        scan = make_scan(queries, self._scanned, metric, budget)
        m = candidates_at_first(k, points.shape[1])
        tiles = plan_tiles(scan, queries.shape[0], points, k, m, budget)
        dtype = getattr(scan.dtype, "__name__", str(scan.dtype)).rpartition(".")[2]
        name = "direct distances" if tiles.all_rows else dtype
        sizes = 0 if scan.sizes is None or not self._keep else 2 * scan.width * points.shape[0]
        return Plan(name, tiles.queries, tiles.points, m, budget, kept=sizes)

    def _check(self, queries: Array, k: int, metric: str, memory_budget: int | None) -> int:
        """Raise for what cannot be searched; the bytes of scratch."""
        points = self.points
        xp = namespace_of(queries, points)
        check_metric(metric)
        check_shapes(queries, points)
        if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= points.shape[0]:
            raise ValueError(
                f"k is {k!r}, expected an integer from 1 to {points.shape[0]} (n_points)"
            )
        budget = scratch_bytes(xp) if memory_budget is None else memory_budget
        width = max(4 if _is_narrow(x) else 8 for x in (queries, points))
        least = 32 * width * points.shape[1] + 512 * (k + 8)
        if budget < least:
            raise ValueError(
                f"memory_budget is {budget} bytes, but rows of {points.shape[1]} features and {k} "
                f"neighbours need at least {least}; give more, or None for the default"
            )
        return budget

    def _kernel(self, queries: Array, metric: str) -> RowSearch | None:
        kind = METRICS[metric]
        made = row_search(queries, self.points, kind, self._keep, self._searches.get(kind))
        if made is not None:
            self._searches[kind] = made
        return made


def _is_narrow(x: Array) -> bool:
    """Whether float32 holds these numbers."""
    return x.dtype == namespace_of(x).float32 or is_small_integer(x)


def _tell(pairs: int, share: float) -> None:
    """Report which share is done: all, only when all is done."""
    done = 1000 if share == 1.0 or pairs == 0 else min(999, round(1000 * share))
    advance("nearest rows", done, 1000)
