"""The rows that are searched, with what one search finds out about them and the next one needs."""

from __future__ import annotations

import math

from xpcls_backends import (
    Array,
    device_of,
    ignore_overflow,
    namespace_of,
    row_blocks,
    row_dots,
    rows_within,
    to_scalar,
)

from ._rows import in_blocks, largest_magnitude

CENTRE_ROWS = 128  # of which the centre is the mean


class Points:
    """Rows (n_points, D), a few numbers about all of them, and two about each.

    A reference to the rows is kept, so they must not change.
    """

    def __init__(self, rows: Array) -> None:
        self.rows = rows
        self._span: float | None = None
        self._middles: dict[tuple[str, float], tuple[Array, float]] = {}
        self._sizes: dict[tuple[str, bool], tuple[Array, Array]] = {}

    def span(self) -> float:
        """`largest_magnitude` of the rows."""
        if self._span is None:
            self._span = largest_magnitude(self.rows, "points")
        return self._span

    def middle(
        self, dtype: object, wide: object, factor: float, scratch: int
    ) -> tuple[Array, float]:
        """A row near the middle of all, (D,), scaled, and how many times as long as their
        distances from it rows are (the root of mean squares): 1 or more, at most infinity.

        Any row would do; one near the middle makes the masses, and so the doubt, small. It is the
        mean of at most CENTRE_ROWS rows, evenly spaced.
        """
        key = str(dtype), factor
        if key not in self._middles:
            self._middles[key] = _middle(self.rows, dtype, wide, factor, scratch)
        return self._middles[key]

    def sizes(
        self, kind: str, dtype: object, centre: Array | None, weight: float, scratch: int
    ) -> tuple[Array, Array]:
        """Of each row as it is, its part of a key and of the key's error: (n_points,) `dtype`.

        centre : None, or of L2 what the keys are centred by. See `_scan.py`, which says why.
        """
        key = kind, centre is None
        if key not in self._sizes:
            self._sizes[key] = _sizes(self.rows, kind, dtype, centre, weight, scratch)
        return self._sizes[key]


def _middle(
    points: Array, dtype: object, wide: object, factor: float, scratch: int
) -> tuple[Array, float]:
    xp, device = namespace_of(points), device_of(points)
    points = points[:: -(-points.shape[0] // CENTRE_ROWS), :]
    n, features = points.shape
    total = xp.zeros((features,), dtype=wide, device=device)
    squares = xp.zeros((), dtype=wide, device=device)
    size = rows_within(scratch, features * xp.finfo(wide).bits // 8)
    with ignore_overflow():  # of squares, which L1 does not ask for
        for rows in row_blocks(n, size):
            block = xp.astype(points[rows, :], wide)
            if factor != 1.0:
                block *= factor
            total = total + xp.sum(block, axis=0)
            squares = squares + xp.sum(row_dots(block, block))
        mean = total / n
        long = float(to_scalar(squares)) / n
        short = long - float(to_scalar(row_dots(mean, mean)))
    times = math.sqrt(max(1.0, long / short)) if 0.0 < short < math.inf else math.inf
    return xp.astype(mean, dtype), times


def _sizes(
    points: Array, kind: str, dtype: object, centre: Array | None, weight: float, scratch: int
) -> tuple[Array, Array]:
    xp, device = namespace_of(points), device_of(points)
    n, features = points.shape
    size, mass = (xp.zeros((n,), dtype=dtype, device=device) for _ in range(2))

    def fill(some: slice) -> None:
        part = points[some, :]
        if kind == "l1":
            size[some] = xp.sum(part, axis=1, dtype=dtype)
            return
        moved = part if centre is None else part - centre
        size[some] = row_dots(moved, moved)
        mass[some] = row_dots(part, part) / weight + size[some]

    in_blocks(fill, n, features * xp.finfo(dtype).bits // 8, scratch, xp)
    return size, mass
