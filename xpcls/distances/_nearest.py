"""The k nearest rows, exactly: a fast scan proposes candidates, direct distances decide.

For every query the scan keeps the m smallest lower bounds of the key, m a little over k. Direct
distances of those m then give the k nearest among them. Every row left out has a lower bound at
least as large as the largest one kept; where that exceeds the k-th direct distance, no row left
out can belong to the answer, and it is proven. The few queries without proof are asked again
with four times as many candidates, up to all rows.
"""

from __future__ import annotations

from dataclasses import dataclass

from xpcls.progress import advance
from xpcls_backends import (
    Array,
    device_of,
    elementwise_block_bytes,
    flatnonzero,
    namespace_of,
    replace_rows,
    row_blocks,
    rows_within,
    scratch_bytes,
    smallest_k,
    smallest_k_unordered,
    sort_rows_by,
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

LONGEST_TILE = 2**14  # points; longer rows of keys would leave the caches


@dataclass(frozen=True)
class Tiles:
    """How the work is cut to stay within a budget of `budget` bytes.

    `queries` rows and `points` rows are held as the scan reads them; their keys are computed and
    selected from for `block` queries at a time. Points are converted once for all those queries,
    and a block sees many points at once, because selecting costs least in long rows.
    """

    queries: int
    points: int
    block: int
    budget: int


def nearest(
    queries: Array,
    points: Array,
    k: int,
    metric: str = "l2",
    memory_budget: int | None = None,
) -> tuple[Array, Array]:
    """The k nearest rows of `points` to each row of `queries`.

    Parameters
    ----------
    queries : array (n_queries, D), real; points : array (n_points, D), real, same library and
        device. uint8 images are taken as they are.
    k : 1 to n_points.
    metric : "l1" sum |a - b|, "l2" sqrt(sum (a - b)^2), or "sqeuclidean", its square.
    memory_budget : bytes of scratch beside the arrays given and returned; None: 64 MiB on a CPU,
        1 GiB on a GPU. The answer does not depend on it.

    Returns
    -------
    distances : (n_queries, k), ascending; float64 if an input is float64 or a 32- or 64-bit
        integer, else float32.
    indices : (n_queries, k) int64, rows of `points`.

    The neighbours are those that direct differences in float64 give, and equal distances are
    ordered by row, lowest first. An identical row is at distance exactly 0.

    Raises ValueError for shapes that do not fit, k out of range, NaN or infinity, an unknown
    metric, and a budget too small for one query and one point.
    """
    xp, device = namespace_of(queries, points), device_of(queries, points)
    scan = make_scan(queries, points, metric)
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= points.shape[0]:
        raise ValueError(f"k is {k!r}, expected an integer from 1 to {points.shape[0]} (n_points)")
    tiles = _plan(scan, queries, points, memory_budget)
    if queries.shape[0] == 0:
        empty = xp.zeros((0, k), dtype=scan.result, device=device)
        return empty, xp.astype(empty, xp.int64)
    keys, indices = _search(scan, queries, points, k, k + 4 + k // 2, tiles)
    return distances_of(scan, keys), indices


def _plan(scan: Scan, queries: Array, points: Array, budget: int | None) -> Tiles:
    """Tiles whose rows and products take a third of the budget each: two for rows, one for keys."""
    xp = namespace_of(points)
    if budget is None:
        budget = scratch_bytes(xp)
    width = xp.finfo(scan.dtype).bits // 8
    row = 2 * width * points.shape[1]  # as scanned, and once more while it is converted
    least = 16 * row
    if budget < least:
        raise ValueError(
            f"memory_budget is {budget} bytes, but rows of {points.shape[1]} features need at "
            f"least {least}; give more, or None for the default"
        )
    third = budget // 3
    n_queries = min(queries.shape[0], rows_within(third, row))
    n_points = min(points.shape[0], rows_within(third, row), LONGEST_TILE)
    # Three times the keys: themselves, and what selecting among them takes.
    block = min(n_queries, rows_within(third, 3 * width * n_points))
    return Tiles(n_queries, n_points, block, budget)


def _search(
    scan: Scan, queries: Array, points: Array, k: int, m: int, tiles: Tiles
) -> tuple[Array, Array]:
    """Keys and indices of the k nearest, from m candidates where they prove it, else from more."""
    xp = namespace_of(queries)
    if 2 * m > points.shape[0]:
        return _search_all(scan, queries, points, k, tiles)
    keys, indices, proven = _search_candidates(scan, queries, points, k, m, tiles)
    doubtful = flatnonzero(~proven)
    if doubtful.shape[0]:
        again = xp.take(queries, doubtful, axis=0)
        more_keys, more_indices = _search(scan, again, points, k, 4 * m, tiles)
        keys = replace_rows(keys, doubtful, more_keys)
        indices = replace_rows(indices, doubtful, more_indices)
    return keys, indices


def _search_candidates(
    scan: Scan, queries: Array, points: Array, k: int, m: int, tiles: Tiles
) -> tuple[Array, Array, Array]:
    """Keys, indices, and whether they are proven, of each query: (n, k), (n, k), (n,)."""
    xp = namespace_of(queries)
    found = []
    for block in row_blocks(queries.shape[0], tiles.queries):
        some = queries[block, :]
        done = block.start / queries.shape[0], block.stop / queries.shape[0]
        bounds, candidates = _smallest_bounds(scan, some, points, m, tiles, done)
        keys, indices = _settle(scan, some, points, candidates, k, tiles)
        unseen = xp.max(bounds, axis=1)  # no row outside the candidates has a smaller bound
        proven = unseen - scan.floor > keys[:, k - 1]
        found.append((keys, indices, proven))
    keys, indices, proven = (xp.concat(parts) for parts in zip(*found, strict=True))
    return keys, indices, proven


def _smallest_bounds(
    scan: Scan, queries: Array, points: Array, m: int, tiles: Tiles, done: tuple[float, float]
) -> tuple[Array, Array]:
    """The m smallest lower bounds of each query, wide, and the rows they belong to.

    `done` : the share of the whole search that is finished before and after this part.
    """
    xp = namespace_of(queries)
    rows = scan_rows(scan, queries)
    blocks = list(row_blocks(queries.shape[0], tiles.block))
    best: list[tuple[Array, Array] | None] = [None] * len(blocks)
    for tile in row_blocks(points.shape[0], tiles.points):
        others = scan_rows(scan, points[tile, :])
        size, mass = size_and_mass(scan, others)
        own = (size - scan.slack * mass)[None, :]
        for i, block in enumerate(blocks):
            bounds = minus_two_overlaps(scan, rows[block, :], others)
            bounds += own
            best[i] = _keep_smallest(best[i], bounds, tile.start, m)
        share = done[0] + (done[1] - done[0]) * tile.stop / points.shape[0]
        advance("nearest rows", round(1000 * share), 1000)
    bounds, columns = (xp.concat(parts) for parts in zip(*filter(None, best), strict=True))
    size, mass = size_and_mass(scan, rows)
    own = xp.astype(size - scan.slack * mass, scan.wide)
    return xp.astype(bounds, scan.wide) + own[:, None], columns


def _keep_smallest(
    best: tuple[Array, Array] | None, bounds: Array, first: int, m: int
) -> tuple[Array, Array]:
    """The m smallest of what was kept so far and of a tile whose columns begin at `first`."""
    xp = namespace_of(bounds)
    values, columns = smallest_k_unordered(bounds, min(m, bounds.shape[1]))
    columns = xp.astype(columns, xp.int64) + first
    if best is None:
        return values, columns
    values = xp.concat((best[0], values), axis=1)
    columns = xp.concat((best[1], columns), axis=1)
    values, kept = smallest_k_unordered(values, min(m, values.shape[1]))
    return values, xp.take_along_axis(columns, kept, axis=1)


def _settle(
    scan: Scan, queries: Array, points: Array, candidates: Array, k: int, tiles: Tiles
) -> tuple[Array, Array]:
    """The k nearest of each query's candidates by direct distances, ties to the lowest row."""
    xp = namespace_of(queries)
    n, m, features = candidates.shape[0], candidates.shape[1], points.shape[1]
    wide = xp.finfo(scan.wide).bits // 8
    size = min(tiles.budget // 3, 4 * elementwise_block_bytes(xp))
    settled = []
    for block in row_blocks(n, rows_within(size, 3 * wide * m * features)):
        chosen = candidates[block, :]
        gathered = xp.take(points, xp.reshape(chosen, (-1,)), axis=0)
        gathered = xp.reshape(gathered, (chosen.shape[0], m, features))
        settled.append(direct_keys(scan, queries[block, :], gathered))
    keys, indices = sort_rows_by(xp.concat(settled), candidates)
    return keys[:, :k], indices[:, :k]


def _search_all(
    scan: Scan, queries: Array, points: Array, k: int, tiles: Tiles
) -> tuple[Array, Array]:
    """The k nearest by direct distances to every row: where candidates would be most rows."""
    xp = namespace_of(queries)
    wide = xp.finfo(scan.wide).bits // 8
    size = min(tiles.budget // 3, elementwise_block_bytes(xp))
    across = min(points.shape[0], rows_within(size, 3 * wide * points.shape[1]))
    down = rows_within(size, 3 * wide * points.shape[1] * across)
    found = []
    for block in row_blocks(queries.shape[0], down):
        some = queries[block, :]
        keys = [
            direct_keys(scan, some, points[None, tile, :])
            for tile in row_blocks(points.shape[0], across)
        ]
        found.append(smallest_k(xp.concat(keys, axis=1), k))
        advance("nearest rows", round(1000 * block.stop / queries.shape[0]), 1000)
    keys, indices = (xp.concat(parts) for parts in zip(*found, strict=True))
    return keys, xp.astype(indices, xp.int64)
