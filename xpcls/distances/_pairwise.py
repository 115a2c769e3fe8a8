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

from ._scan import (
    Scan,
    direct_keys,
    distances_of,
    make_scan,
    minus_two_overlaps,
    scan_rows,
    size_and_mass,
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
    scan = make_scan(queries, points, metric)
    out = xp.empty((queries.shape[0], points.shape[0]), dtype=scan.result, device=device)
    width = xp.finfo(scan.dtype).bits // 8
    scratch = scratch_bytes(xp) // 3
    down = rows_within(scratch, 2 * width * points.shape[1])
    across = min(points.shape[0], down, rows_within(scratch, 6 * width * min(down, 1024)))
    for tile in row_blocks(points.shape[0], across):
        others = scan_rows(scan, points[tile, :])
        for block in row_blocks(queries.shape[0], min(down, 1024)):
            keys = _tile(scan, queries[block, :], points[tile, :], others)
            out[block, tile] = distances_of(scan, keys)
        advance("distances", tile.stop, points.shape[0])
    return out


def _tile(scan: Scan, queries: Array, points: Array, others: Array) -> Array:
    """Keys of a tile; `others` are the points as `scan_rows` gives them."""
    rows = scan_rows(scan, queries)
    own_size, own_mass = size_and_mass(scan, rows)
    size, mass = size_and_mass(scan, others)
    keys = minus_two_overlaps(scan, rows, others)
    keys += size[None, :]
    keys += own_size[:, None]
    if scan.slack == 0.0:
        return keys  # sums of integers, each exact
    close = flatnonzero(keys <= CLOSE * (own_mass[:, None] + mass[None, :]) + scan.floor)
    return _redo(scan, queries, points, keys, close) if close.shape[0] else keys


def _redo(scan: Scan, queries: Array, points: Array, keys: Array, close: Array) -> Array:
    """`keys` with the entries at the flat positions `close` replaced by direct ones."""
    xp = namespace_of(keys)
    n_points = points.shape[0]
    scratch = scratch_bytes(xp) // 3
    wide = xp.finfo(scan.wide).bits // 8
    direct = []
    for some in row_blocks(close.shape[0], rows_within(scratch, 4 * wide * points.shape[1])):
        pairs = close[some]
        ours = xp.take(queries, pairs // n_points, axis=0)
        theirs = xp.take(points, pairs % n_points, axis=0)
        direct.append(direct_keys(scan, ours, theirs[:, None, :])[:, 0])
    exact = xp.astype(xp.concat(direct), keys.dtype)
    flat = replace_rows(xp.reshape(keys, (-1,)), close, exact)
    return xp.reshape(flat, keys.shape)
