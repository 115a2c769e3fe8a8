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
64 covers the subtraction of the centre and the last additions. Sums of integers that stay below
1/u are exact: their slack is 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from xpcls_backends import (
    Array,
    Namespace,
    device_of,
    elementwise_block_bytes,
    namespace_of,
    row_blocks,
    rows_within,
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
SMALL_INTEGERS = ("bool", "uint8", "int8", "uint16", "int16")  # exact in float32


@dataclass(frozen=True)
class Scan:
    """How the rows of one search are read, and how far its scan can be off.

    dtype : the floating dtype of the scan; wide : that of direct distances; result : that of
        the distances given back.
    centre : (D,) subtracted from every row, or None; distances ignore it, rounding does not.
    factor : a power of two by which every row is multiplied, so that squares neither overflow
        nor vanish.
    slack, floor : the scan is off by at most slack * (mass(q) + mass(p)) + floor.
    """

    metric: str
    kind: str
    dtype: object
    wide: object
    result: object
    centre: Array | None
    factor: float
    slack: float
    floor: float


def make_scan(queries: Array, points: Array, metric: str) -> Scan:
    """Look once at the range and the mean of the rows. Reads four numbers on the host.

    Raises ValueError for an unknown metric, shapes that do not fit, and NaN or infinity.
    """
    xp, device = namespace_of(queries, points), device_of(queries, points)
    if metric not in METRICS:
        raise ValueError(f"metric is {metric!r}, expected one of {', '.join(map(repr, METRICS))}")
    _check_shapes(queries, points)
    kind, features = METRICS[metric], points.shape[1]
    spans = [_span(x, name) for x, name in ((queries, "queries"), (points, "points"))]
    span = max(spans)
    small = all(is_small_integer(x) for x in (queries, points))
    wide = widest_float(xp, device)
    narrow = all(x.dtype == xp.float32 or is_small_integer(x) for x in (queries, points))
    dtype = result = xp.float32 if narrow else wide
    unit = float(xp.finfo(dtype).eps) / 2.0
    largest_sum = 2.0 * features * (span * span if kind == "l2" else span)
    if small and largest_sum < 1.0 / unit:
        return Scan(metric, kind, dtype, wide, result, None, 1.0, slack=0.0, floor=0.0)
    terms = (2 if kind == "l2" else 3) * features + 64
    if terms * unit > 0.1:  # so many features that the bound says nothing
        dtype, unit = wide, float(xp.finfo(wide).eps) / 2.0
    factor = _power_of_two(span, xp, dtype)
    return Scan(
        metric,
        kind,
        dtype,
        wide,
        result,
        _mean_row(points, dtype, wide, factor),
        factor,
        slack=terms * unit / (1.0 - terms * unit),
        floor=8.0 * features * float(xp.finfo(dtype).smallest_normal),
    )


def scan_rows(scan: Scan, x: Array) -> Array:
    """Rows of `x` in the scan's dtype, scaled and centred: (n, D)."""
    xp = namespace_of(x)
    rows = xp.astype(x, scan.dtype, copy=False)
    if scan.factor != 1.0:
        rows = rows * scan.factor
    return rows if scan.centre is None else rows - scan.centre


def size_and_mass(scan: Scan, rows: Array) -> tuple[Array, Array]:
    """Of each row that `scan_rows` gave: its part of the key, and its part of the error. (n,)."""
    xp = namespace_of(rows)
    if scan.kind == "l2":
        squares = xp.vecdot(rows, rows)
        return squares, squares
    return xp.sum(rows, axis=1), xp.sum(xp.abs(rows), axis=1)


def minus_two_overlaps(scan: Scan, queries: Array, points: Array) -> Array:
    """-2 overlap(q, p) of every pair of rows that `scan_rows` gave: (n_queries, n_points)."""
    xp = namespace_of(queries, points)
    if scan.kind == "l2":
        return (-2.0 * queries) @ points.mT
    return _minus_two_minima(xp, queries, points)


def _minus_two_minima(xp: Namespace, queries: Array, points: Array) -> Array:
    device = device_of(queries, points)
    n_queries, n_points, features = queries.shape[0], points.shape[0], points.shape[1]
    out = xp.empty((n_queries, n_points), dtype=queries.dtype, device=device)
    twos = xp.full((features,), -2.0, dtype=queries.dtype, device=device)
    # The minima of a block must still be in the cache when the product reads them.
    pairs = rows_within(elementwise_block_bytes(xp), features * xp.finfo(queries.dtype).bits // 8)
    across = min(pairs, n_points)
    for some in row_blocks(n_points, across):
        for few in row_blocks(n_queries, max(1, pairs // across)):
            minima = xp.minimum(queries[few, None, :], points[None, some, :])
            out[few, some] = minima @ twos
    return out


def direct_keys(scan: Scan, queries: Array, points: Array) -> Array:
    """Keys by direct differences in the wide dtype, without cancellation.

    queries (n, D) and points (n, m, D), both as the user gave them: (n, m), in the scan's units.
    """
    xp = namespace_of(queries, points)
    differences = xp.astype(points, scan.wide) - xp.astype(queries, scan.wide)[:, None, :]
    if scan.factor != 1.0:
        differences = differences * scan.factor
    if scan.kind == "l2":
        return xp.vecdot(differences, differences)
    return xp.sum(xp.abs(differences), axis=-1)


def distances_of(scan: Scan, keys: Array) -> Array:
    """Keys in the scan's units as distances in the data's, in the dtype of results."""
    xp = namespace_of(keys)
    if scan.metric == "sqeuclidean":
        keys = keys / scan.factor / scan.factor
    elif scan.kind == "l2":
        keys = xp.sqrt(keys) / scan.factor
    else:
        keys = keys / scan.factor
    return xp.astype(keys, scan.result, copy=False)


def _check_shapes(queries: Array, points: Array) -> None:
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
    if x.shape[0] == 0:
        return 0.0
    if xp.isdtype(x.dtype, "complex floating"):
        raise ValueError(f"{name} has dtype {x.dtype}: Complex data not supported")
    if xp.isdtype(x.dtype, "bool"):
        return 1.0
    span = max(abs(float(to_scalar(xp.max(x)))), abs(float(to_scalar(xp.min(x)))))
    if not math.isfinite(span):
        raise ValueError(f"{name} contains NaN or infinity; remove or replace those rows first")
    return span


def is_small_integer(x: Array) -> bool:
    """Whether every value that the dtype of `x` can hold is exact in float32."""
    xp = namespace_of(x)
    return any(x.dtype == getattr(xp, name) for name in SMALL_INTEGERS)


def _power_of_two(span: float, xp: Namespace, dtype: object) -> float:
    """1.0 where squares and their sums are far from the ends of the dtype, else 2^-log2(span)."""
    reach = 40 if dtype == xp.float32 else 400
    exponent = math.frexp(span)[1]
    if span == 0.0 or abs(exponent) <= reach:
        return 1.0
    limit = 120 if dtype == xp.float32 else 1000
    return 2.0 ** max(-limit, min(limit, -exponent))


def _mean_row(points: Array, dtype: object, wide: object, factor: float) -> Array:
    """The mean of the rows, (D,), scaled; any row near the middle would do as a centre."""
    xp, device = namespace_of(points), device_of(points)
    total = xp.zeros((points.shape[1],), dtype=wide, device=device)
    for rows in row_blocks(points.shape[0], 1024):
        block = xp.astype(points[rows, :], wide)
        total = total + xp.sum(block * factor if factor != 1.0 else block, axis=0)
    return xp.astype(total / points.shape[0], dtype)
