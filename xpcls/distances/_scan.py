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

Masses are small, and few rows in doubt, once a centre c is subtracted from all rows. For L2 that
takes no copy of the points: with q' = q - c

    sum (q - p)^2  =  sum q' (q' + 2 c)  +  sum (p - c)^2  -  2 sum q' p

and 2 |q' p| <= t q'^2 + p^2 / t, so that mass(q) = t sum q'^2 and mass(p) = sum p^2 / t +
sum (p - c)^2, where t >= 1 is about the ratio of a p to a q' in length. The first sum is one in
the wide dtype, and slack is g(D + 64) (D for the overlap, or for the other sum). Where wide is no
wider, 2 |q' c| <= 2 |q' p| + 2 |q' (p - c)| and direct distances make that g(7 D + 64). Rows so
far from 0 that t is over WEIGHT are copied and centred instead.
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
    multiplies_in_tf32,
    namespace_of,
    row_blocks,
    row_dots,
    sums_of_minima,
    thread_count,
    widest_float,
)

from ._points import Points
from ._rows import (
    METRICS,
    NEAR,
    WORTH_A_THREAD,
    check_metric,
    check_shapes,
    in_blocks,
    largest_magnitude,
)

LEAST_SCRATCH = 2**22  # of a budget for each thread; with less, blocks are too small to share
WIDE = 8  # bytes of a number in the widest dtype
SIZES = 8  # of a budget the part that the sizes of points as they are may take
WEIGHT = 4.0  # the most that t may be; beyond, to copy and centre rows leaves less in doubt


@dataclass(frozen=True)
class Scan:
    """How the rows of one search are read, and how far its scan can be off.

    dtype : the floating dtype of the scan, `width` bytes a number; wide : that of direct
        distances; result : that of the distances given back.
    centre : (D,) subtracted from every row, or None; distances ignore it, rounding does not.
    factor : a power of two by which every row is multiplied, so that squares neither overflow
        nor vanish.
    slack, floor : the scan is off by at most slack * (mass(q) + mass(p)) + floor.
    sizes : of points that are scanned as they are, their parts of a key and of the error, else
        None; weight : the t above.
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
    sizes: tuple[Array, Array] | None
    weight: float
    bytes_only: bool
    temporary: int
    threads: int


def make_scan(
    queries: Array, points: Points, metric: str, budget: int, *, copied: bool = False
) -> Scan:
    """Look once at the range and the mean of the rows. Reads a few numbers on the host.

    budget : bytes of scratch that the whole search has. copied : points are never scanned as they
        are, which makes their masses the smallest.

    Raises ValueError for an unknown metric, shapes that do not fit, and NaN or infinity.
    """
    rows = points.rows
    xp, device = namespace_of(queries, rows), device_of(queries, rows)
    check_metric(metric)
    check_shapes(queries, rows)
    kind, (n_points, features) = METRICS[metric], rows.shape
    span = max(largest_magnitude(queries, "queries"), points.span())
    small = all(is_small_integer(x) for x in (queries, rows))
    wide = widest_float(xp, device)
    narrow = all(x.dtype == xp.float32 or is_small_integer(x) for x in (queries, rows))
    result = xp.float32 if narrow else wide
    dtype = wide if multiplies_in_tf32(xp) else result  # the bound is that of float32 as it is
    unit = float(xp.finfo(dtype).eps) / 2.0
    width = xp.finfo(dtype).bits // 8
    threads = max(1, min(thread_count(xp), budget // LEAST_SCRATCH))
    temporary = max(1, budget // ((6 if kind == "l1" else 12) * threads))
    copied = copied or 2 * width * n_points > budget // SIZES
    largest_sum = 4.0 * features * (span * span if kind == "l2" else span)  # of -x and x
    if small and largest_sum < 1.0 / unit:
        unsigned = kind == "l1" and all(x.dtype in (xp.uint8, xp.bool) for x in (queries, rows))
        sizes = None
        if unsigned and rows.dtype == xp.uint8 and not copied:
            sizes = points.sizes(kind, dtype, None, 1.0, temporary)
        return Scan(
            metric,
            kind,
            dtype,
            width,
            wide,
            result,
            centre=None,
            factor=1.0,
            slack=0.0,
            floor=0.0,
            sizes=sizes,
            weight=1.0,
            bytes_only=unsigned,
            temporary=temporary,
            threads=threads,
        )
    terms = (2 if kind == "l2" else 3) * features + 64
    if terms * unit > 0.1:  # so many features that the bound says nothing
        dtype, unit = wide, float(xp.finfo(wide).eps) / 2.0
    factor = _power_of_two(span, kind, xp, dtype)
    scratch = min(budget // 3, elementwise_block_bytes(xp))
    centre, times = points.middle(dtype, wide, factor, scratch)
    sizes = None
    if kind == "l2" and rows.dtype == dtype and factor == 1.0 and times <= WEIGHT and not copied:
        sizes = points.sizes(kind, dtype, centre, times, temporary)
        terms = (7 if dtype == wide else 1) * features + 64
    elif dtype == wide:
        terms = 4 * features + 64
    return Scan(
        metric,
        kind,
        dtype,
        xp.finfo(dtype).bits // 8,
        wide,
        result,
        centre,
        factor,
        slack=terms * unit / (1.0 - terms * unit),
        floor=8.0 * features * float(xp.finfo(dtype).smallest_normal),
        sizes=sizes,
        weight=times,
        bytes_only=False,
        temporary=temporary,
        threads=threads,
    )


def scan_queries(scan: Scan, x: Array) -> tuple[Array, Array, Array]:
    """Queries, made ready for the left of `minus_two_overlaps`: as `scan_rows` gives them but for
    this, and their part of a key in the wide dtype."""
    xp, device = namespace_of(x), device_of(x)
    rows, size, mass = scan_rows(scan, x)
    if scan.sizes is not None and scan.centre is not None:
        mass *= scan.weight
        twice = 2.0 * xp.astype(scan.centre, scan.wide)
        size = xp.zeros(size.shape, dtype=scan.wide, device=device)

        def fill(some: slice) -> None:
            part = xp.astype(rows[some, :], scan.wide)
            size[some] = row_dots(part, part + twice)

        in_blocks(fill, x.shape[0], 2 * WIDE * x.shape[1], scan.temporary, xp, scan.threads)
    if scan.kind == "l2":
        rows *= -2.0  # exact, and done once instead of once a tile
    return rows, xp.astype(size, scan.wide, copy=False), mass


def scan_points(scan: Scan, points: Points, some: slice) -> tuple[Array, Array, Array]:
    """Some of the points, for the right of `minus_two_overlaps`, and what `scan_rows` says."""
    if scan.sizes is None:
        return scan_rows(scan, points.rows[some, :])
    size, mass = scan.sizes
    return points.rows[some, :], size[some], mass[some]


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
            size[some] = mass[some] = row_dots(part, part)
        else:
            size[some] = xp.sum(part, axis=1, dtype=scan.dtype)
            if not scan.bytes_only:
                mass[some] = xp.sum(xp.abs(part), axis=1)

    in_blocks(fill, n, features * scan.width, scan.temporary, xp, scan.threads)
    return rows, size, mass


def minus_two_overlaps(scan: Scan, queries: Array, points: Array) -> Array:
    """-2 overlap(q, p) of every pair: (n_queries, n_points), a new array.

    queries : as `scan_queries` gives them; points : as `scan_points` does.
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
        return row_dots(differences, differences)
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
