"""A fast scan of distances with a proven error, and the slow direct distance that settles doubt.

Both metrics are computed in one form. With p and q two rows,

    squared L2:  sum (p - q)^2  =  sum p^2 + sum q^2 - 2 sum p q
    L1:          sum |p - q|    =  sum p   + sum q   - 2 sum min(p, q)

that is, key(q, p) = size(q) + size(p) - 2 overlap(q, p). The overlap of a tile of rows is a matrix
product (L2), or one minimum and one product with ones (L1). It loses digits where p and q are
close, so a scan alone neither orders near neighbours nor finds identical rows at distance 0.

The loss is bounded. Let u be the unit roundoff of the scan's dtype and g(n) = n u / (1 - n u).
A sum of n products, in whatever order, is off by at most g(n) times the sum of their magnitudes
(Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1). With mass(x) = sum x^2
(L2) or sum |x| (L1), and 2 |p q| <= p^2 + q^2, |min(p, q)| <= |p| + |q|,

    | scanned key - true key |  <=  slack * (mass(q) + mass(p))

where slack = g(2 D + 64) for L2 (D for the overlap, D for the sizes) and g(3 D + 64) for L1; the
64 covers the subtraction of the centre and the last additions. What a scan is held against is the
direct distance, which rounds too: where it is no wider than the scan, slack is g(4 D + 64). Sums
of integers that stay below 1/u are exact: their slack is 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from xpcls_backends import (
    Array,
    Namespace,
    device_of,
    elementwise_block_bytes,
    ignore_overflow,
    in_threads,
    is_small_integer,
    namespace_of,
    row_blocks,
    rows_within,
    scratch_bytes,
    sums_of_minima,
    thread_count,
    to_itemsize,
    to_scalar,
    widest_float,
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
LEAST_SCRATCH = 2**22  # of a budget for each thread; with less, blocks are too small to share
NEAR = 40  # powers of two from 1, between which squares of float32 neither overflow nor vanish
CENTRE_ROWS = 128  # of which the centre is the mean


@dataclass(frozen=True)
class Scan:
    """How the rows of one search are read, and how far its scan can be off.

    dtype : the floating dtype of the scan, `width` bytes a number; wide : that of direct
        distances; result : that of the distances given back.
    centre : (D,) subtracted from every row, or None; distances ignore it, rounding does not.
    factor : a power of two by which every row is multiplied, so that squares neither overflow
        nor vanish.
    slack, floor : the scan is off by at most slack * (mass(q) + mass(p)) + floor.
    bytes_only : whether rows are scanned as bytes: those of L1 whose sums are exact.
    temporary : the most bytes that temporary arrays inside the functions below may take, in each
        of `threads` threads.
    """

    metric: str
    kind: str
    dtype: object
    width: int
    wide: object
    result: object
    centre: Array | None
    factor: float
    slack: float
    floor: float
    bytes_only: bool
    temporary: int
    threads: int


def make_scan(queries: Array, points: Array, metric: str, budget: int) -> Scan:
    """Look once at the range and the mean of the rows. Reads four numbers on the host.

    `budget` : bytes of scratch that the whole search has.

    Raises ValueError for an unknown metric, shapes that do not fit, and NaN or infinity.
    """
    xp, device = namespace_of(queries, points), device_of(queries, points)
    check_metric(metric)
    check_shapes(queries, points)
    kind, features = METRICS[metric], points.shape[1]
    spans = [_span(x, name) for x, name in ((queries, "queries"), (points, "points"))]
    span = max(spans)
    small = all(is_small_integer(x) for x in (queries, points))
    wide = widest_float(xp, device)
    narrow = all(x.dtype == xp.float32 or is_small_integer(x) for x in (queries, points))
    dtype = result = xp.float32 if narrow else wide
    unit = float(xp.finfo(dtype).eps) / 2.0
    width = xp.finfo(dtype).bits // 8
    threads = max(1, min(thread_count(xp), budget // LEAST_SCRATCH))
    temporary = max(1, budget // ((6 if kind == "l1" else 12) * threads))
    largest_sum = 4.0 * features * (span * span if kind == "l2" else span)  # of -x and x
    if small and largest_sum < 1.0 / unit:
        none = None, 1.0, 0.0, 0.0  # neither centre nor factor, slack or floor
        unsigned = kind == "l1" and all(x.dtype in (xp.uint8, xp.bool) for x in (queries, points))
        return Scan(metric, kind, dtype, width, wide, result, *none, unsigned, temporary, threads)
    terms = (2 if kind == "l2" else 3) * features + 64
    if terms * unit > 0.1:  # so many features that the bound says nothing
        dtype, unit = wide, float(xp.finfo(wide).eps) / 2.0
    if dtype == wide:
        terms = 4 * features + 64
    factor = _power_of_two(span, kind, xp, dtype)
    return Scan(
        metric,
        kind,
        dtype,
        xp.finfo(dtype).bits // 8,
        wide,
        result,
        _mean_row(points, dtype, wide, factor, min(budget // 3, elementwise_block_bytes(xp))),
        factor,
        slack=terms * unit / (1.0 - terms * unit),
        floor=8.0 * features * float(xp.finfo(dtype).smallest_normal),
        bytes_only=False,
        temporary=temporary,
        threads=threads,
    )


def scan_rows(scan: Scan, x: Array) -> tuple[Array, Array, Array]:
    """Rows of `x` as they are scanned, scaled and centred, with the part of each in a key and its
    part of the error: (n, D), a new array, in the scan's dtype or uint8, (n,) and (n,).
    """
    xp, device = namespace_of(x), device_of(x)
    n, features = x.shape
    dtype = xp.uint8 if scan.bytes_only else scan.dtype
    rows = xp.empty((n, features), dtype=dtype, device=device)
    size, mass = (xp.zeros((n,), dtype=scan.dtype, device=device) for _ in range(2))

    def fill(some: slice) -> None:
        part = rows[some, :]
        part[...] = xp.astype(x[some, :], dtype, copy=False)
        if scan.factor != 1.0:
            part *= scan.factor
        if scan.centre is not None:
            part -= scan.centre
        if scan.kind == "l2":
            size[some] = mass[some] = xp.vecdot(part, part)
        else:
            size[some] = xp.sum(part, axis=1, dtype=scan.dtype)
            if not scan.bytes_only:
                mass[some] = xp.sum(xp.abs(part), axis=1)

    _in_blocks(fill, n, features * scan.width, scan.temporary, xp, scan.threads)
    return rows, size, mass


def _in_blocks(
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


def left_rows(scan: Scan, rows: Array) -> Array:
    """Rows that `scan_rows` gave, made ready for the left of `minus_two_overlaps`, in place."""
    if scan.kind == "l2":
        rows *= -2.0  # exact, and done once instead of once a tile
    return rows


def minus_two_overlaps(scan: Scan, queries: Array, points: Array) -> Array:
    """-2 overlap(q, p) of every pair: (n_queries, n_points), a new array.

    queries : as `left_rows` gives them; points : as `scan_rows` does.
    """
    if scan.kind == "l2":
        return queries @ points.mT
    xp, device = namespace_of(queries, points), device_of(queries, points)
    n, (n_points, features) = queries.shape[0], points.shape
    out = xp.empty((n, n_points), dtype=scan.dtype, device=device)

    def fill(some: slice) -> None:
        out[some, :] = sums_of_minima(
            queries[some, :], points, -2.0, dtype=scan.dtype, scratch=scan.temporary
        )

    threads = scan.threads if n * n_points * features >= WORTH_A_THREAD else 1
    in_threads(fill, row_blocks(n, -(-n // threads)), threads)
    return out


def direct_keys(scan: Scan, queries: Array, points: Array) -> Array:
    """Keys by direct differences in the wide dtype, without cancellation.

    queries (n, D) and points (n, m, D), both as the user gave them: (n, m), in the scan's units.
    """
    xp = namespace_of(queries, points)
    theirs, ours = xp.astype(points, scan.wide), xp.astype(queries, scan.wide)
    if scan.factor != 1.0:  # first, since the difference of the largest numbers overflows
        theirs *= scan.factor
        ours *= scan.factor
    if theirs.shape[0] == ours.shape[0]:
        theirs -= ours[:, None, :]  # a copy already
        differences = theirs
    else:  # one block of points for all queries
        differences = theirs - ours[:, None, :]
    del theirs
    if scan.kind == "l2":
        return xp.vecdot(differences, differences)
    return xp.sum(xp.abs(differences), axis=-1)


def distances_of(scan: Scan, keys: Array) -> Array:
    """Keys in the scan's units as distances in the data's, in the dtype of results.

    A distance past the end of that dtype is infinity.
    """
    xp = namespace_of(keys)
    with ignore_overflow():
        if scan.metric == "sqeuclidean":
            keys = keys / scan.factor / scan.factor
        elif scan.kind == "l2":
            keys = xp.sqrt(keys) / scan.factor
        else:
            keys = keys / scan.factor
        return xp.astype(keys, scan.result, copy=False)


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


def _span(x: Array, name: str) -> float:
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
    _in_blocks(lambda some: found.append(look(x[some, :])), x.shape[0], row, size, xp)
    return xp.stack(found)


def _ends(rows: Array) -> Array:
    xp = namespace_of(rows)
    return xp.stack((xp.max(rows), xp.min(rows)))


def _longest(rows: Array) -> Array:
    """The largest sum of squares of a row."""
    xp = namespace_of(rows)
    with ignore_overflow():
        return xp.max(xp.vecdot(rows, rows))


def _power_of_two(span: float, kind: str, xp: Namespace, dtype: object) -> float:
    """1.0 where keys are far from the ends of the dtype, else what moves `span` away from them.

    Large numbers are moved no further than they must, so that small ones beside them survive.
    """
    reach, limit = (NEAR, 120) if dtype == xp.float32 else (400, 1000)
    if kind == "l1":
        reach = 100 if dtype == xp.float32 else 1000  # sums need far less room than squares
    exponent = math.frexp(span)[1]
    if span == 0.0 or abs(exponent) <= reach:
        return 1.0
    return 2.0 ** (reach - exponent if exponent > 0 else min(limit, -exponent))


def _mean_row(points: Array, dtype: object, wide: object, factor: float, scratch: int) -> Array:
    """About the mean of the rows, (D,), scaled: that of at most CENTRE_ROWS, evenly spaced.

    Any row would do as a centre; one near the middle makes the masses, and so the doubt, small.
    """
    xp, device = namespace_of(points), device_of(points)
    points = points[:: -(-points.shape[0] // CENTRE_ROWS), :]
    total = xp.zeros((points.shape[1],), dtype=wide, device=device)
    size = rows_within(scratch, points.shape[1] * xp.finfo(wide).bits // 8)
    for rows in row_blocks(points.shape[0], size):
        block = xp.astype(points[rows, :], wide)
        if factor != 1.0:
            block *= factor
        total = total + xp.sum(block, axis=0)
    return xp.astype(total / points.shape[0], dtype)
