"""Sums of minima, which are the overlap of rows in L1, at the best speed that arrays alone reach.

NumPy is fastest where both operands of a minimum are one stretch of memory of the same shape: a
row that is repeated beforehand takes two thirds of the time of one that is broadcast. The minima
must still be in a core's own cache when they are summed, but threads with many short calls wait
for each other.
"""

from __future__ import annotations

import array_api_compat

from ._ops import elementwise_block_bytes, row_blocks, rows_within
from ._place import Array, device_of, namespace_of, to_itemsize

REPEATED = 8  # rows at most that are held repeated; a block of points is read once for all of them
BLOCK = 2**19  # bytes of minima at once; of uint8 twice that, whose sums take longer


def sums_of_minima(
    queries: Array, points: Array, factor: float, *, dtype: object, scratch: int
) -> Array:
    """factor * sum over d of min(q[d], p[d]) for every pair of rows: (n_queries, n_points).

    queries : (n_queries, D), points : (n_points, D), both uint8 or both of `dtype`, which is
    floating, and the dtype of the result. Of uint8 all sums must be exact in it.
    scratch : bytes that temporary arrays may take together.
    """
    xp, device = namespace_of(queries, points), device_of(queries, points)
    out = xp.empty((queries.shape[0], points.shape[0]), dtype=dtype, device=device)
    if not array_api_compat.is_numpy_namespace(xp):
        _by_broadcasting(queries, points, factor, out, scratch)
    else:
        _by_repeating(queries, points, factor, out, scratch)
    return out


def _by_broadcasting(
    queries: Array, points: Array, factor: float, out: Array, scratch: int
) -> None:
    xp, device = namespace_of(points), device_of(points)
    n_points, features = points.shape
    factors = xp.full((features,), factor, dtype=out.dtype, device=device)
    pairs = rows_within(min(elementwise_block_bytes(xp), scratch), features * to_itemsize(out))
    across = min(pairs, n_points)
    for few in row_blocks(queries.shape[0], max(1, pairs // across)):
        for some in row_blocks(n_points, across):
            minima = xp.minimum(queries[few, None, :], points[None, some, :])
            out[few, some] = xp.astype(minima, out.dtype, copy=False) @ factors


def _by_repeating(queries: Array, points: Array, factor: float, out: Array, scratch: int) -> None:
    # A product with ones sums floats fastest; bytes would have to be made floats for it.
    xp, device = namespace_of(points), device_of(points)
    n_points, features = points.shape
    width = to_itemsize(points)
    of_bytes = points.dtype != out.dtype
    size = min(2 * BLOCK if of_bytes else BLOCK, scratch // 2)
    across = min(n_points, rows_within(size, features * width))
    block = across * features * width
    few = max(1, min(REPEATED, queries.shape[0], scratch // block - 1))
    factors = xp.full((features,), factor, dtype=out.dtype, device=device)
    repeated = xp.empty((few, across, features), dtype=points.dtype, device=device)
    minima = xp.empty((across, features), dtype=points.dtype, device=device)
    for rows in row_blocks(queries.shape[0], few):
        repeated[: rows.stop - rows.start, ...] = queries[rows, None, :]
        for some in row_blocks(n_points, across):
            n = some.stop - some.start
            for i in range(rows.start, rows.stop):
                xp.minimum(points[some, :], repeated[i - rows.start, :n, :], out=minima[:n, :])
                if of_bytes:
                    out[i, some] = xp.sum(minima[:n, :], axis=1, dtype=xp.uint32)
                else:
                    xp.dot(minima[:n, :], factors, out=out[i, some])
    if of_bytes:
        out *= factor
