"""What every search asks of its rows first: whether it can use them, and how large they are."""

from __future__ import annotations

import math
from collections.abc import Callable

from xpcls_backends import (
    Array,
    Namespace,
    elementwise_block_bytes,
    ignore_overflow,
    in_threads,
    namespace_of,
    row_blocks,
    row_dots,
    rows_within,
    scratch_bytes,
    thread_count,
    to_itemsize,
    to_scalar,
)

# The names users write, and what is scanned for them.
METRICS = {
    "l1": "l1",
    "manhattan": "l1",
    "l2": "l2",
    "euclidean": "l2",
    "sqeuclidean": "l2",
}
WORTH_A_THREAD = 2**22  # numbers; starting threads for fewer takes as long as they do
NEAR = 40  # powers of two from 1, between which squares of float32 neither overflow nor vanish


def check_metric(metric: str) -> None:
    """Raise unless it is the name of one."""
    if not isinstance(metric, str) or metric not in METRICS:
        raise ValueError(f"metric is {metric!r}, expected one of {', '.join(map(repr, METRICS))}")


def check_shapes(queries: Array, points: Array) -> None:
    """Raise unless both are rows of one width, with at least one feature and one point."""
    for x, name in ((queries, "queries"), (points, "points")):
        if x.ndim != 2 or x.shape[1] == 0:
            raise ValueError(
                f"{name} has shape {x.shape}, expected rows (n, D) with D of 1 or more"
            )
    if queries.shape[1] != points.shape[1]:
        raise ValueError(
            f"queries has {queries.shape[1]} features and points has {points.shape[1]}; "
            "rows must have the same length"
        )
    if points.shape[0] == 0:
        raise ValueError(f"points has shape {points.shape}, expected at least one row")


def largest_magnitude(x: Array, name: str) -> float:
    """The largest magnitude in `x`, or of floats near 1 something larger, up to a row's length.

    Also where NaN and infinity are caught, at no extra pass.
    """
    xp = namespace_of(x)
    if xp.isdtype(x.dtype, "complex floating"):
        raise ValueError(f"{name} has dtype {x.dtype}: Complex data not supported")
    if x.shape[0] == 0:
        return 0.0
    if xp.isdtype(x.dtype, "bool"):
        return 1.0
    if xp.isdtype(x.dtype, "real floating"):
        # One pass of squares takes half the time of two, and mostly says enough.
        length = math.sqrt(to_scalar(xp.max(_of_blocks(x, _longest))))
        if 2.0**-NEAR < length < 2.0**NEAR:
            return length
    ends = _of_blocks(x, _ends)
    span = max(abs(float(to_scalar(end))) for end in (xp.max(ends), xp.min(ends)))
    if not math.isfinite(span):
        raise ValueError(f"{name} contains NaN or infinity; remove or replace those rows first")
    return span


def _of_blocks(x: Array, look: Callable[[Array], Array]) -> Array:
    """What `look` finds in each block of rows, stacked."""
    xp = namespace_of(x)
    found: list[Array] = []
    row = x.shape[1] * to_itemsize(x)
    size = scratch_bytes(xp)
    in_blocks(lambda some: found.append(look(x[some, :])), x.shape[0], row, size, xp)
    return xp.stack(found)


def _ends(rows: Array) -> Array:
    xp = namespace_of(rows)
    return xp.stack((xp.max(rows), xp.min(rows)))


def _longest(rows: Array) -> Array:
    """The largest sum of squares of a row."""
    xp = namespace_of(rows)
    with ignore_overflow():
        return xp.max(row_dots(rows, rows))


def in_blocks(
    work: Callable[[slice], None],
    n: int,
    row: int,
    temporary: int,
    xp: Namespace,
    threads: int | None = None,
) -> None:
    """Call `work` with blocks of n rows, `row` bytes each, in threads where that is faster.

    Threads that make many short calls wait for each other, so blocks may outgrow a core's cache.
    """
    size = rows_within(min(8 * elementwise_block_bytes(xp), temporary), row)
    threads = thread_count(xp) if threads is None else threads
    in_threads(work, row_blocks(n, size), threads if n * row >= WORTH_A_THREAD else 1)
