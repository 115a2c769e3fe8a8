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
    thread_count,
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
WORTH_A_THREAD = 2**22  # minima; starting threads for fewer takes as long as they do


@dataclass(frozen=True)
class Scan:
    """How the rows of one search are read, and how far its scan can be off.

    dtype : the floating dtype of the scan, `width` bytes a number; wide : that of direct
        distances; result : that of the distances given back.
    centre : (D,) subtracted from every row, or None; distances ignore it, rounding does not.
    factor : a power of two by which every row is multiplied, so that squares neither overflow
        nor vanish.
    slack, floor : the scan is off by at most slack * (mass(q) + mass(p)) + floor.
    temporary : the most bytes that a temporary array inside the functions below may take.
    threads : how many such arrays there may be at once.
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
    temporary: int
    threads: int


def make_scan(queries: Array, points: Array, metric: str, budget: int) -> Scan:
    """Look once at the range and the mean of the rows. Reads four numbers on the host.

    `budget` : bytes of scratch that the whole search has.

    Raises ValueError for an unknown metric, shapes that do not fit, and NaN or infinity.
    """
    xp, device = namespace_of(queries, points), device_of(queries, points)
    if not isinstance(metric, str) or metric not in METRICS:
        raise ValueError(f"metric is {metric!r}, expected one of {', '.join(map(repr, METRICS))}")
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
    temporary = max(1, min(elementwise_block_bytes(xp), budget // 12))
    threads = max(1, min(thread_count(xp), budget // (12 * temporary)))
    largest_sum = 4.0 * features * (span * span if kind == "l2" else span)  # of -x and x
    if small and largest_sum < 1.0 / unit:
        none = None, 1.0, 0.0, 0.0  # neither centre nor factor, slack or floor
        return Scan(metric, kind, dtype, width, wide, result, *none, temporary, threads)
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
        _mean_row(points, dtype, wide, factor, budget // 3),
        factor,
        slack=terms * unit / (1.0 - terms * unit),
        floor=8.0 * features * float(xp.finfo(dtype).smallest_normal),
        temporary=temporary,
        threads=threads,
    )


def scan_rows(scan: Scan, x: Array) -> Array:
    """Rows of `x` in the scan's dtype, scaled and centred: (n, D), a new array."""
    rows = namespace_of(x).astype(x, scan.dtype)
    if scan.factor != 1.0:
        rows *= scan.factor
    if scan.centre is not None:
        rows -= scan.centre
    return rows


def size_and_mass(scan: Scan, rows: Array) -> tuple[Array, Array]:
    """Of each row that `scan_rows` gave: its part of the key, and its part of the error. (n,)."""
    xp = namespace_of(rows)
    if scan.kind == "l2":
        squares = xp.vecdot(rows, rows)
        return squares, squares
    few = rows_within(scan.temporary, rows.shape[1] * xp.finfo(rows.dtype).bits // 8)
    mass = [xp.sum(xp.abs(rows[some, :]), axis=1) for some in row_blocks(rows.shape[0], few)]
    return xp.sum(rows, axis=1), xp.concat(mass)


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
    return _minus_two_minima(scan, queries, points)


def _minus_two_minima(scan: Scan, queries: Array, points: Array) -> Array:
    xp, device = namespace_of(queries, points), device_of(queries, points)
    n_queries, n_points, features = queries.shape[0], points.shape[0], points.shape[1]
    out = xp.empty((n_queries, n_points), dtype=queries.dtype, device=device)
    twos = xp.full((features,), -2.0, dtype=queries.dtype, device=device)
    # The minima of a block must still be in the cache when the product reads them.
    pairs = rows_within(scan.temporary, features * scan.width)
    across = min(pairs, n_points)
    down = max(1, pairs // across)

    def fill(rows: slice) -> None:
        ours, part = queries[rows, :], out[rows, :]
        for some in row_blocks(n_points, across):
            for few in row_blocks(ours.shape[0], down):
                minima = xp.minimum(ours[few, None, :], points[None, some, :])
                part[few, some] = minima @ twos

    small = n_queries * n_points * features < WORTH_A_THREAD
    threads = 1 if small else scan.threads
    in_threads(fill, row_blocks(n_queries, -(-n_queries // threads)), threads)
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
    """The largest magnitude in `x`; also where NaN and infinity are caught, at no extra pass."""
    xp = namespace_of(x)
    if xp.isdtype(x.dtype, "complex floating"):
        raise ValueError(f"{name} has dtype {x.dtype}: Complex data not supported")
    if x.shape[0] == 0:
        return 0.0
    if xp.isdtype(x.dtype, "bool"):
        return 1.0
    span = max(abs(float(to_scalar(xp.max(x)))), abs(float(to_scalar(xp.min(x)))))
    if not math.isfinite(span):
        raise ValueError(f"{name} contains NaN or infinity; remove or replace those rows first")
    return span


def _power_of_two(span: float, kind: str, xp: Namespace, dtype: object) -> float:
    """1.0 where keys are far from the ends of the dtype, else what moves `span` away from them.

    Large numbers are moved no further than they must, so that small ones beside them survive.
    """
    reach, limit = (40, 120) if dtype == xp.float32 else (400, 1000)
    if kind == "l1":
        reach = 100 if dtype == xp.float32 else 1000  # sums need far less room than squares
    exponent = math.frexp(span)[1]
    if span == 0.0 or abs(exponent) <= reach:
        return 1.0
    return 2.0 ** (reach - exponent if exponent > 0 else min(limit, -exponent))


def _mean_row(points: Array, dtype: object, wide: object, factor: float, scratch: int) -> Array:
    """About the mean of the rows, (D,), scaled: that of at most 512 rows, evenly spaced.

    Any row would do as a centre; one near the middle makes the masses, and so the doubt, small.
    """
    xp, device = namespace_of(points), device_of(points)
    points = points[:: -(-points.shape[0] // 512), :]
    total = xp.zeros((points.shape[1],), dtype=wide, device=device)
    size = rows_within(scratch, points.shape[1] * xp.finfo(wide).bits // 8)
    for rows in row_blocks(points.shape[0], min(size, 1024)):
        block = xp.astype(points[rows, :], wide)
        if factor != 1.0:
            block *= factor
        total = total + xp.sum(block, axis=0)
    return xp.astype(total / points.shape[0], dtype)
