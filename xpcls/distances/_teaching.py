"""The Euclidean distance matrix three ways, as the lecture's first assignment asks for it.

The three agree up to rounding. They are here to be read and compared: `pairwise` is the one to
use, since `no_loops` cancels where rows are close and holds the whole matrix in float.
"""

from __future__ import annotations

from xpcls_backends import (
    Array,
    Namespace,
    device_of,
    is_small_integer,
    namespace_of,
    widest_float,
)

from ._rows import check_shapes


def two_loops(queries: Array, points: Array) -> Array:
    """sqrt(sum_k (q_k - p_k)^2), one pair at a time: (n_queries, n_points)."""
    xp, queries, points, out = _prepare(queries, points)
    for i in range(queries.shape[0]):
        for j in range(points.shape[0]):
            difference = queries[i, :] - points[j, :]
            out[i, j] = xp.sqrt(xp.sum(difference * difference))
    return out


def one_loop(queries: Array, points: Array) -> Array:
    """The same, one query at a time against all points: (n_queries, n_points)."""
    xp, queries, points, out = _prepare(queries, points)
    for i in range(queries.shape[0]):
        difference = points - queries[i, :][None, :]
        out[i, :] = xp.sqrt(xp.sum(difference * difference, axis=1))
    return out


def no_loops(queries: Array, points: Array) -> Array:
    """The same by sqrt(|q|^2 - 2 q.p + |p|^2), one matrix product: (n_queries, n_points).

    Rounding can make the sum of three terms negative where rows are close; it is cut off at 0.
    """
    xp, queries, points, _ = _prepare(queries, points)
    squares = xp.sum(queries * queries, axis=1)[:, None] + xp.sum(points * points, axis=1)[None, :]
    return xp.sqrt(xp.maximum(squares - 2.0 * (queries @ points.mT), 0.0))


def _prepare(queries: Array, points: Array) -> tuple[Namespace, Array, Array, Array]:
    """The namespace, both in one floating dtype, and room for the distances.

    uint8 images would wrap: 3 - 5 is 254. The dtype is that of `pairwise`.
    """
    xp, device = namespace_of(queries, points), device_of(queries, points)
    check_shapes(queries, points)
    narrow = all(x.dtype == xp.float32 or is_small_integer(x) for x in (queries, points))
    dtype = xp.float32 if narrow else widest_float(xp, device)
    out = xp.empty((queries.shape[0], points.shape[0]), dtype=dtype, device=device)
    queries, points = (xp.astype(x, dtype, copy=False) for x in (queries, points))
    return xp, queries, points, out
