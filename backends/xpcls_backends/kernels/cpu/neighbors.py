"""The k nearest rows of a NumPy array: codes of few bits are scanned, direct distances decide.

Bytes are scanned as they are. Other rows are rounded to codes of one byte, four times as fast as
float32, or, where rounding leaves too many points in doubt, of two bytes, twice as fast. What
rounding may have changed is bounded, and every point within the bound is looked at directly; the
bound and its proof stand in _codes.py and _scans.py. The first queries of a search tell which codes
suit the points. A query that has too many points in doubt even so gets no answer here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpcls_backends._ops import row_blocks
from xpcls_backends._search import halved_budget
from xpcls_backends._threads import hot_loop, in_threads

from . import _codes, _scans, _tiles
from ._block import Block, Panels
from ._rounding import Codes, Ranges, exact_codes, rounded_codes

HostArray = np.ndarray[Any, Any]

COLUMNS, ROWS = _tiles.COLUMNS, _tiles.ROWS
INSTRUCTIONS = _tiles.NAME
FIRST_QUERIES = 64  # tell whether the codes suit the points
SPARE = 1024  # candidates a query may have beside k, where codes have errors
PART_BYTES = 2**21  # for codes in the making, of one thread


@dataclass(frozen=True)
class Blocks:
    """How a search is cut: rows of queries and of points at a time, and candidates a query.

    packed : points whose codes a thread makes at a time. parts : of the points that are scanned
        at once, where there are too few queries to share out.
    """

    queries: int
    points: int
    packed: int
    candidates: int
    parts: int


class RowSearch:
    """Points (N, D), uint8 or float32, in which rows are searched.

    keep : from the first search on their codes are kept, a byte or two for each number, if there
        is memory for them.
    """

    def __init__(self, points: HostArray, l1: bool, keep: bool, threads: int) -> None:
        self._points, self._l1, self._keep, self._threads = points, l1, keep, threads
        self._lock = threading.Lock()
        self._kept: Panels | None = None
        self._suits = False  # whether the codes have been tried
        self._to_try = self._kinds_of_codes()
        self._codes = next(self._to_try, None)

    def search(
        self,
        queries: HostArray,
        k: int,
        budget: int,
        found: tuple[HostArray, HostArray],
        tell: Callable[[float], None],
        *,
        root: bool,
    ) -> HostArray:
        """Fill distances (n, k), float32 or float64, and indices (n, k), int64.

        queries : (n, D), uint8 or float32, not empty. budget : bytes of scratch.
        tell : is told which share is done. root : distances are square roots of L2's sums.
        Returns the positions of queries that have no answer: (some,), ascending.
        """
        with self._lock, hot_loop():
            n, start = queries.shape[0], 0
            while start < n:
                blocks = self.blocks(n - start, k, budget, queries.dtype)
                if self._codes is None or blocks is None:
                    found[1][start:] = -1
                    break
                trial = not self._suits and self._codes.error > 0.0
                at_once = min(blocks.queries, FIRST_QUERIES) if trial else blocks.queries
                stop = min(n, start + at_once)
                some = found[0][start:stop], found[1][start:stop]
                done, share = start / n, (stop - start) / n

                def told(part: float, done: float = done, share: float = share) -> None:
                    tell(done + share * part)

                try:
                    looked_at = self._search_block(queries[start:stop], blocks, some, told, root)
                except MemoryError:
                    if self._keep and self._kept is None:
                        self._keep = False  # no room for all codes: each search makes them in tiles
                    else:
                        budget = halved_budget(budget, np)
                    continue
                if trial and self._too_many(looked_at, some[1], k):
                    self._codes, self._kept = next(self._to_try, None), None
                    continue
                self._suits = True
                start = stop
            return np.flatnonzero(found[1][:, 0] < 0)

    def blocks(self, n_queries: int, k: int, budget: int, dtype: Any) -> Blocks | None:
        """How a search would be cut; None where the budget is too small for codes."""
        codes = self._codes
        if codes is None:
            return None
        third = 3 * budget // 10
        exact = codes.error == 0.0 and dtype == np.uint8 and codes.offset is None
        candidates = 2 * k + 64 + (0 if exact else SPARE)
        tiles = -(-n_queries // ROWS)
        parts = 1 if tiles >= 2 * self._threads else self._threads
        point = 4 * codes.steps
        # Codes, the same packed, candidates, the state of a search.
        query = 2 * point + parts * (8 * candidates + 32) + 64
        at_once = third // query // ROWS * ROWS
        held = third // (point + 8) // COLUMNS * COLUMNS
        if at_once < ROWS or held < COLUMNS:
            return None
        n_points = self._points.shape[0]
        return Blocks(
            min(n_queries, at_once),
            n_points if self._keep else min(n_points, held),
            COLUMNS * max(1, min(PART_BYTES, third // self._threads) // (3 * point * COLUMNS)),
            candidates,
            parts,
        )

    def plan(self, n_queries: int, k: int, budget: int, dtype: Any) -> dict[str, Any] | None:
        """How a search would be cut; None where it would not be done here."""
        with self._lock:
            blocks, codes = self.blocks(n_queries, k, budget, dtype), self._codes
        if blocks is None or codes is None:
            return None
        held = -(-self._points.shape[0] // COLUMNS) * COLUMNS * (4 * codes.steps + 4)
        return {
            "scan": f"codes of {codes.width * 8} bits, {INSTRUCTIONS}",
            "queries": blocks.queries,
            "points": blocks.points,
            "candidates": blocks.candidates,
            "kept": held if self._keep else 0,
        }

    def _kinds_of_codes(self) -> Iterator[Codes]:
        """The codes that can be used, fastest first."""
        points = self._points
        if points.dtype == np.uint8:
            codes = exact_codes(self._l1, points.shape[1])
            if codes is not None:
                yield codes
                return
        ranges = Ranges(points, self._threads)
        if ranges.suits:
            for width in (1, 2):
                rounded = rounded_codes(points, ranges, self._l1, width, self._threads)
                if rounded is not None:
                    yield rounded

    def _too_many(self, looked_at: int, indices: HostArray, k: int) -> bool:
        """Whether so many points were in doubt that other codes are faster."""
        assert self._codes is not None
        n = indices.shape[0]
        lost = int(np.sum(indices[:, 0] < 0))
        share = 64 if self._codes.width == 1 else 16
        fair = 2 * k + int(self._points.shape[0]) // share
        return bool(4 * lost > n or looked_at > (n - lost) * fair)

    def _search_block(
        self,
        queries: HostArray,
        blocks: Blocks,
        found: tuple[HostArray, HostArray],
        tell: Callable[[float], None],
        root: bool,
    ) -> int:
        """Search for one block of queries; how many candidates were looked at directly."""
        codes, points, looked_at = self._codes, self._points, 0
        assert codes is not None
        shared = (blocks.parts, blocks.candidates, self._threads, root)
        block = Block(codes, queries, points, found, *shared)
        for panels in self._panels(codes, blocks):
            looked_at = block.see(panels)
            tell(panels.stop / points.shape[0])
        return looked_at

    def _panels(self, codes: Codes, blocks: Blocks) -> Iterator[Panels]:
        """The points, packed, in order: all at once where they are kept."""
        if self._kept is not None:
            yield self._kept
            return
        for rows in row_blocks(self._points.shape[0], blocks.points):
            packed = self._pack(codes, rows, blocks.packed // COLUMNS)
            if self._keep:
                self._kept = packed
            yield packed
            del packed  # before the next ones are made

    def _pack(self, codes: Codes, rows: slice, at_once: int) -> Panels:
        n = rows.stop - rows.start
        panels = -(-n // COLUMNS)
        packed = np.empty((panels, codes.steps, COLUMNS), np.int32)
        keys = np.full((panels, COLUMNS), _scans.MOST)

        def work(some: slice) -> None:
            here = slice(some.start * COLUMNS, min(n, some.stop * COLUMNS))
            points = self._points[rows.start + here.start : rows.start + here.stop]
            made, sums, _ = codes.make(np.ascontiguousarray(points), points=True)
            _codes.pack(made, packed[some])
            keys.reshape(-1)[here] = codes.point_keys(sums)

        in_threads(work, row_blocks(panels, at_once), self._threads)
        return Panels(packed, keys, rows.start, rows.stop)
