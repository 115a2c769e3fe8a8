"""A block of queries on its way through the points: packed, scanned, settled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from xpcls_backends._memory import lend
from xpcls_backends._ops import row_blocks
from xpcls_backends._threads import in_threads

from . import _codes, _scans, _tiles
from ._rounding import LONGEST_QUERY, Codes

HostArray = np.ndarray[Any, Any]
Rows = tuple[int, int]  # from, to

COLUMNS, ROWS = _tiles.COLUMNS, _tiles.ROWS
WORTH_A_PASS = 16  # tiles
LONGEST_CALL = 2**35  # products; then Python sees to Ctrl-C, and progress is told


@dataclass(frozen=True)
class Panels:
    """Points `first` to `stop`, packed: (panels, steps, COLUMNS), and keys (panels, COLUMNS)."""

    points: HostArray
    keys: HostArray
    first: int
    stop: int


class Block:
    """Queries (n, D), the k nearest of whom are sought among `points` (N, D).

    parts : of the points, each with its own candidates, so many for each query; more than one
        where there are too few queries for all threads.
    found : distances and indices (n, k), filled at the end; `root`: square roots of L2's sums.
    """

    def __init__(
        self,
        codes: Codes,
        queries: HostArray,
        points: HostArray,
        found: tuple[HostArray, HostArray],
        parts: int,
        candidates: int,
        threads: int,
        root: bool,
    ) -> None:
        self._codes, self._queries, self._points, self._found = codes, queries, points, found
        self._root, self._threads, self._parts = root, threads, parts
        n, self._k = found[1].shape
        self._tiles = -(-n // ROWS)
        self._packed = np.empty((self._tiles, codes.steps, ROWS), np.int32)
        self._base, self._off = (np.zeros(self._tiles * ROWS, t) for t in (np.int64, np.float64))
        self._relative = 2.0 * (points.shape[1] + 4) * 2.0**-53
        shape = (parts, self._tiles * ROWS)
        self._limits = np.full(shape, _scans.LEAST)  # padding takes no candidates
        self._candidates = lend(np, (*shape, candidates), np.int64, "cpu")
        self._counts = np.zeros(shape, np.int64)
        self._full = np.full(shape, min(candidates, self._k + 32))
        self._looked_at = [0] * n  # by the first query of a call
        # Each cut reads all points anew; more than one a thread evens out a thread that is late.
        rounds = max(1, min(4, self._tiles // (WORTH_A_PASS * threads)))
        size = self._tiles if parts > 1 else -(-self._tiles // (rounds * threads))
        self._cuts = [(some.start, some.stop) for some in row_blocks(self._tiles, size)]
        if parts > 1:
            self._pack((0, self._tiles))

    def see(self, panels: Panels) -> int:
        """Scan these points, which follow those seen before; settle once all have been seen.

        Returns how many candidates were looked at directly so far.
        """
        n_panels, steps = panels.points.shape[:2]
        products = ROWS * self._tiles * COLUMNS * steps * 4 // self._codes.width
        at_once = self._parts * max(1, LONGEST_CALL // products)
        for some in row_blocks(n_panels, at_once):
            begins = panels.first == some.start == 0
            ends = panels.stop == self._points.shape[0] and some.stop == n_panels
            if self._parts > 1:
                self._see_by_parts(panels, some, ends)
                continue

            def work(
                tiles: Rows, some: slice = some, begins: bool = begins, ends: bool = ends
            ) -> None:
                if begins:
                    self._pack(tiles)
                self._scan(0, tiles, panels, some)
                if ends:  # while other threads scan: this waits for memory, and that does not
                    self._settle(tiles)

            in_threads(work, self._cuts, self._threads)
        return sum(self._looked_at)

    def _see_by_parts(self, panels: Panels, some: slice, ends: bool) -> None:
        shares = list(
            row_blocks(some.stop - some.start, -(-(some.stop - some.start) // self._parts))
        )

        def work(part: int) -> None:
            share = slice(some.start + shares[part].start, some.start + shares[part].stop)
            self._scan(part, self._cuts[0], panels, share)

        in_threads(work, range(len(shares)), self._threads)
        if ends:
            self._settle(self._cuts[0])

    def _pack(self, tiles: Rows) -> None:
        codes = self._codes
        rows = self._rows(tiles)
        queries = self._queries[rows]
        made, sums, errors = codes.make(np.ascontiguousarray(queries), points=False)
        _codes.pack(made, self._packed[slice(*tiles)])
        self._base[rows] = codes.base(sums)
        if codes.offset is not None or queries.dtype != np.uint8:
            self._off[rows] = codes.bounds(errors) + codes.error
        if codes.width == 2 and not codes.l1:
            self._off[rows][sums[:, 1] > LONGEST_QUERY**2] = np.inf
        lost = ~np.isfinite(self._off[rows])
        self._limits[:, rows] = np.where(lost, _scans.LEAST, _scans.MOST)
        self._counts[:, rows] = np.where(lost, -1, 0)

    def _scan(self, part: int, tiles: Rows, panels: Panels, some: slice) -> None:
        _scans.scan(
            self._codes.width == 2,
            self._codes.l1,
            self._packed,
            panels.points[some],
            panels.keys[some],
            panels.first + some.start * COLUMNS,
            panels.stop,
            tiles,
            self._k,
            self._base,
            self._off,
            self._relative,
            self._limits[part],
            self._candidates[part],
            self._counts[part],
            self._full[part],
        )

    def _settle(self, tiles: Rows) -> None:
        rows = self._rows(tiles)
        self._looked_at[rows.start] = _scans.settle(
            self._queries,
            self._points,
            (rows.start, rows.stop),
            self._k,
            self._codes.l1,
            self._base,
            self._off,
            self._relative,
            self._candidates,
            self._counts,
            self._root,
            *self._found,
        )

    def _rows(self, tiles: Rows) -> slice:
        """The queries in these tiles."""
        return slice(tiles[0] * ROWS, min(self._queries.shape[0], tiles[1] * ROWS))
