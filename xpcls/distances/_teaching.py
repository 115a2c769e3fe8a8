"""The Euclidean distance matrix three ways, as the lecture's first assignment asks for it.

The three agree up to rounding. They are here to be read and compared: `pairwise` is the one to
use, since `no_loops` cancels where rows are close and holds the whole matrix in float.
"""

from __future__ import annotations

from xpcls_backends import Array, device_of, namespace_of

from ._scan import is_small_integer


def two_loops(queries: Array, points: Array) -> Array:
    """sqrt(sum_k (q_k - p_k)^2), one pair at a time: (n_queries, n_points)."""
    queries, points = _as_float(queries), _as_float(points)
    xp, device = namespace_of(queries, points), device_of(queries, points)
    out = xp.empty((queries.shape[0], points.shape[0]), dtype=queries.dtype, device=device)
    for i in range(queries.shape[0]):
        for j in range(points.shape[0]):
            difference = queries[i, :] - points[j, :]
            out[i, j] = xp.sqrt(xp.sum(difference * difference))
    return out


def one_loop(queries: Array, points: Array) -> Array:
    """The same, one query at a time against all points: (n_queries, n_points)."""
    queries, points = _as_float(queries), _as_float(points)
    xp, device = namespace_of(queries, points), device_of(queries, points)
    out = xp.empty((queries.shape[0], points.shape[0]), dtype=queries.dtype, device=device)
    for i in range(queries.shape[0]):
        difference = points - queries[i, :][None, :]
        out[i, :] = xp.sqrt(xp.sum(difference * difference, axis=1))
    return out


def no_loops(queries: Array, points: Array) -> Array:
    """The same by sqrt(|q|^2 - 2 q.p + |p|^2), one matrix product: (n_queries, n_points).

    Rounding can make the sum of three terms negative where rows are close; it is cut off at 0.
    """
    queries, points = _as_float(queries), _as_float(points)
    xp = namespace_of(queries, points)
    squares = xp.sum(queries * queries, axis=1)[:, None] + xp.sum(points * points, axis=1)[None, :]
    return xp.sqrt(xp.maximum(squares - 2.0 * (queries @ points.mT), 0.0))


def _as_float(x: Array) -> Array:
    """uint8 images would wrap: 3 - 5 is 254. Small integers become float32, as elsewhere."""
    return namespace_of(x).astype(x, namespace_of(x).float32) if is_small_integer(x) else x
