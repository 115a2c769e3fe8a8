"""The whole matrix of distances."""

from __future__ import annotations

from xpcls.progress import advance
from xpcls_backends import (
    Array,
    device_of,
    flatnonzero,
    namespace_of,
    replace_rows,
    row_blocks,
    rows_within,
    scratch_bytes,
)

from ._points import Points
from ._scan import (
    Scan,
    direct_keys,
    distances_of,
    make_scan,
    minus_two_overlaps,
    scan_points,
    scan_queries,
)

# A key under this share of what it was computed from has lost over 4 of its bits to cancellation.
CLOSE = 1.0 / 16.0


def pairwise(queries: Array, points: Array, metric: str = "l2") -> Array:
    """Every distance between a row of `queries` and a row of `points`.

    Parameters
    ----------
    queries : array (n_queries, D), real; points : array (n_points, D), real, same library and
        device. uint8 images are taken as they are and never wrap.
    metric : "l1" sum |a - b|, "l2" sqrt(sum (a - b)^2), or "sqeuclidean", its square.

    Returns
    -------
    (n_queries, n_points); float64 if an input is float64 or a 32- or 64-bit integer, else
    float32. Never NaN, never negative; identical rows are at exactly 0. Pairs that are close for
    the size of their rows are computed by direct differences.

    Raises ValueError for shapes that do not fit, NaN or infinity, and an unknown metric.
    """
    xp, device = namespace_of(queries, points), device_of(queries, points)
    scanned = Points(points)
    scan = make_scan(queries, scanned, metric, scratch_bytes(xp), copied=True)
    out = xp.empty((queries.shape[0], points.shape[0]), dtype=scan.result, device=device)
    scratch = scratch_bytes(xp) // 3
    down = rows_within(scratch, 2 * scan.width * points.shape[1])
    across = min(points.shape[0], down, rows_within(scratch, 6 * scan.width * min(down, 1024)))
    for tile in row_blocks(points.shape[0], across):
        others = scan_points(scan, scanned, tile)
        for block in row_blocks(queries.shape[0], min(down, 1024)):
            out[block, tile] = _tile(scan, queries[block, :], points[tile, :], others)
        advance("distances", tile.stop, points.shape[0])
    return out


def _tile(scan: Scan, queries: Array, points: Array, others: tuple[Array, Array, Array]) -> Array:
    """Distances of a tile; `others` is what `scan_points` gives."""
    xp = namespace_of(queries)
    rows, own_size, own_mass = scan_queries(scan, queries)
    scanned, size, mass = others
    keys = minus_two_overlaps(scan, rows, scanned)
    keys += size[None, :]
    keys += xp.astype(own_size, scan.dtype, copy=False)[:, None]
    if scan.slack == 0.0:
        return distances_of(scan, keys)  # sums of integers, each exact
    close = flatnonzero(keys <= CLOSE * (own_mass[:, None] + mass[None, :]) + scan.floor)
    distances = distances_of(scan, xp.maximum(keys, 0.0))
    if close.shape[0] == 0:
        return distances
    flat = xp.reshape(distances, (-1,))
    flat = replace_rows(flat, close, _direct(scan, queries, points, close))
    return xp.reshape(flat, distances.shape)


def _direct(scan: Scan, queries: Array, points: Array, pairs: Array) -> Array:
    """Distances by direct differences; a pair is query * n_points + point. (n_pairs,)."""
    xp = namespace_of(queries)
    n_points, features = points.shape
    wide = xp.finfo(scan.wide).bits // 8
    size = rows_within(scratch_bytes(xp) // 3, 4 * wide * features)
    distances = []
    for some in row_blocks(pairs.shape[0], size):
        ours = xp.take(queries, pairs[some] // n_points, axis=0)
        theirs = xp.take(points, pairs[some] % n_points, axis=0)
        keys = direct_keys(scan, ours, theirs[:, None, :])[:, 0]
        distances.append(distances_of(scan, keys))
    return xp.concat(distances)
