"""The k nearest rows, exactly: a fast scan proposes candidates, direct distances decide.

For every query the scan keeps the m smallest lower bounds of the key, m a little over k. Direct
distances of those m then give the k nearest among them. Every row left out has a lower bound at
least as large as the largest one kept; where that exceeds the k-th direct distance, no row left
out can belong to the answer, and it is proven. The few queries without proof are asked again
with four times as many candidates, up to all rows.
"""

from __future__ import annotations

import functools
from bisect import bisect_left
from collections.abc import Callable
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
    to_host,
)

from ._scan import (
    Scan,
    direct_keys,
    distances_of,
    left_rows,
    make_scan,
    minus_two_overlaps,
    scan_rows,
    size_and_mass,
)

LONGEST_TILE = 2**14  # points; longer rows of keys would leave the caches

# Bytes for each candidate of a query: its bound and row, twice while they are joined, or its key
# and row while they are sorted. The tests measure that it is enough.
CANDIDATE = 80
WIDE = 8  # bytes of a number in the widest dtype, and of an index

Tell = Callable[[float], None]  # is told which share of a search is done


@dataclass(frozen=True)
class Tiles:
    """How the work for m candidates is cut, so that each part takes its share of a budget.

    `queries` rows and `points` rows are held as the scan reads them; their keys are computed and
    selected from for `block` queries at a time. Points are converted once for all those queries,
    and a block sees many points at once, because selecting costs least in long rows.

    scratch : bytes for each of three parts: the queries with what they found; the points; the
        keys. all_rows : no candidates, but direct distances to every point.
    """

    queries: int
    points: int
    block: int
    scratch: int
    all_rows: bool


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
    budget = scratch_bytes(xp) if memory_budget is None else memory_budget
    scan = make_scan(queries, points, metric, budget)
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= points.shape[0]:
        raise ValueError(f"k is {k!r}, expected an integer from 1 to {points.shape[0]} (n_points)")
    _check_budget(scan, points, k, budget)
    n = queries.shape[0]
    distances = xp.empty((n, k), dtype=scan.result, device=device)
    indices = xp.empty((n, k), dtype=xp.int64, device=device)
    # Of each query it may have to be remembered that it is in doubt: a position, twice.
    for some in row_blocks(n, rows_within(budget // 16, 2 * WIDE)):
        found = distances[some, :], indices[some, :]
        tell = functools.partial(_tell, some.start / n, some.stop / n)
        _search(scan, queries[some, :], points, found, budget, tell)
    return distances, indices


def _check_budget(scan: Scan, points: Array, k: int, budget: int) -> None:
    features = points.shape[1]
    least = 32 * scan.width * features + 512 * (k + 8)
    if budget < least:
        raise ValueError(
            f"memory_budget is {budget} bytes, but rows of {features} features and {k} neighbours "
            f"need at least {least}; give more, or None for the default"
        )


def _plan(scan: Scan, n_queries: int, points: Array, k: int, m: int, budget: int) -> Tiles:
    """Tiles for m candidates, or for all rows where m is most of them or takes too much."""
    n_points, features = points.shape
    width = scan.width
    third = 3 * budget // 10  # the last tenth: temporaries of the scan, and small arrays
    row = width * features
    query = 2 * row + CANDIDATE * m  # as given, taken from their places, and as scanned
    if 2 * m > n_points or query > third:
        size = rows_within(third, row + CANDIDATE * k)
        return Tiles(min(n_queries, size), n_points, 1, third, all_rows=True)
    key = width + WIDE  # a number, and an index while the smallest are selected
    across = min(rows_within(third, row + 8 * width), rows_within(third, 8 * key), LONGEST_TILE)
    across = min(n_points, across)
    down = min(n_queries, rows_within(third, query))
    block = min(down, rows_within(third, key * across + CANDIDATE * min(m, across)))
    return Tiles(down, across, block, third, all_rows=False)


def _search(
    scan: Scan,
    queries: Array,
    points: Array,
    found: tuple[Array, Array],
    budget: int,
    tell: Tell,
) -> None:
    """Write distances and indices of the k nearest into `found`, two arrays (n_queries, k)."""
    xp = namespace_of(queries)
    k = found[0].shape[1]
    m = k + 4 + k // 4  # candidates; a few more than k prove most answers on images
    doubtful = None  # at first every query, then positions in `queries`
    n = queries.shape[0]
    while n:
        tiles = _plan(scan, n, points, k, m, budget)
        unproven = []
        for block in row_blocks(n, tiles.queries):
            if doubtful is None:
                some, where = queries[block, :], None
                told: Tell = functools.partial(_tell_part, tell, block.start / n, block.stop / n)
            else:
                where, told = doubtful[block], _tell_nobody
                some = xp.take(queries, where, axis=0)
            ask = _ask_all if tiles.all_rows else _ask_candidates
            keys, indices, proven = ask(scan, some, points, k, m, tiles, told)
            _write(found[0], block, where, distances_of(scan, keys), tiles)
            _write(found[1], block, where, indices, tiles)
            if proven is not None:
                left = flatnonzero(~proven)
                unproven.append(left + block.start if where is None else xp.take(where, left))
        doubtful = xp.concat(unproven) if unproven else None
        n = 0 if doubtful is None else doubtful.shape[0]
        m *= 4
    tell(1.0)


def _write(out: Array, block: slice, where: Array | None, rows: Array, tiles: Tiles) -> None:
    """Rows into `out`: at `block`, or at the ascending positions `where` if they are given."""
    if where is None:
        out[block, :] = rows
        return
    # The standard has no assignment by index: stretches of `out` are copied and written back.
    positions = to_host(where).tolist()
    longest = rows_within(tiles.scratch, 4 * WIDE * out.shape[1])
    start = 0
    while start < len(positions):
        first = positions[start]
        stop = bisect_left(positions, first + longest, start)
        stretch, some = slice(first, positions[stop - 1] + 1), slice(start, stop)
        out[stretch, :] = replace_rows(out[stretch, :], where[some] - first, rows[some, :])
        start = stop


def _ask_candidates(
    scan: Scan, queries: Array, points: Array, k: int, m: int, tiles: Tiles, tell: Tell
) -> tuple[Array, Array, Array]:
    """Keys, indices, and whether they are proven, of each query: (n, k), (n, k), (n,)."""
    unseen, candidates = _smallest_bounds(scan, queries, points, m, tiles, tell)
    keys, indices = _settle(scan, queries, points, candidates, tiles)
    return keys[:, :k], indices[:, :k], unseen - scan.floor > keys[:, k - 1]


def _smallest_bounds(
    scan: Scan, queries: Array, points: Array, m: int, tiles: Tiles, tell: Tell
) -> tuple[Array, Array]:
    """Of each query the rows with the m smallest lower bounds, and the largest of these, wide.

    No row outside the m has a smaller bound. (n,) and (n, m).
    """
    xp = namespace_of(queries)
    rows = scan_rows(scan, queries)
    size, mass = size_and_mass(scan, rows)
    base = xp.astype(size - scan.slack * mass, scan.wide)
    rows = left_rows(scan, rows)
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
            del bounds  # before the next ones are made
        del others
        tell(tile.stop / points.shape[0])
    bounds, columns = (xp.concat(parts) for parts in zip(*filter(None, best), strict=True))
    return xp.astype(xp.max(bounds, axis=1), scan.wide) + base, columns


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
    scan: Scan, queries: Array, points: Array, candidates: Array, tiles: Tiles
) -> tuple[Array, Array]:
    """Each query's candidates by direct distances, nearest first, ties to the lowest row."""
    xp = namespace_of(queries)
    n, m = candidates.shape
    across, down = _direct_blocks(points, m, tiles, 8 * elementwise_block_bytes(xp))
    keys = []
    for block in row_blocks(n, down):
        ours, parts = _copied(queries, block), []
        for some in row_blocks(m, across):
            chosen = candidates[block, some]
            gathered = xp.take(points, xp.reshape(chosen, (-1,)), axis=0)
            gathered = xp.reshape(gathered, (*chosen.shape, points.shape[1]))
            parts.append(direct_keys(scan, ours, gathered))
        keys.append(xp.concat(parts, axis=1))
    return sort_rows_by(xp.concat(keys), candidates)


def _ask_all(
    scan: Scan, queries: Array, points: Array, k: int, m: int, tiles: Tiles, tell: Tell
) -> tuple[Array, Array, None]:
    """The same by direct distances to every row: where candidates would be most rows."""
    xp = namespace_of(queries)
    n, n_points = queries.shape[0], points.shape[0]
    # Six times the keys: joined from parts, selected from, and sorted where they tie.
    across = min(n_points, rows_within(tiles.scratch, 6 * WIDE))
    down = rows_within(tiles.scratch, 6 * WIDE * across + 2 * CANDIDATE * k)
    found = []
    for block in row_blocks(n, down):
        best = None
        for tile in row_blocks(n_points, across):
            keys = _all_keys(scan, queries[block, :], points[tile, :], tiles)
            values, columns = smallest_k(keys, min(k, keys.shape[1]))
            columns = xp.astype(columns, xp.int64) + tile.start
            if best is not None:
                values = xp.concat((best[0], values), axis=1)
                columns = xp.concat((best[1], columns), axis=1)
                values, columns = sort_rows_by(values, columns)
            best = values[:, :k], columns[:, :k]
        found.append(best)
        tell(block.stop / n)
    keys, indices = (xp.concat(parts) for parts in zip(*filter(None, found), strict=True))
    return keys, indices, None


def _all_keys(scan: Scan, queries: Array, points: Array, tiles: Tiles) -> Array:
    """Direct keys of every pair: (n_queries, n_points)."""
    xp = namespace_of(queries)
    size = elementwise_block_bytes(xp)
    across, down = _direct_blocks(points, points.shape[0], tiles, size)
    rows = []
    for block in row_blocks(queries.shape[0], down):
        ours = _copied(queries, block)
        parts = [
            direct_keys(scan, ours, _copied(points, some)[None, :, :])
            for some in row_blocks(points.shape[0], across)
        ]
        rows.append(xp.concat(parts, axis=1))
    return xp.concat(rows)


def _copied(x: Array, rows: slice) -> Array:
    """Those rows, each one stretch of memory whatever the order of `x` is.

    Sums are rounded in the order in which numbers lie, and it must be one order for all.
    """
    xp, device = namespace_of(x), device_of(x)
    return xp.take(x, xp.arange(rows.start, rows.stop, device=device), axis=0)


def _direct_blocks(points: Array, n_points: int, tiles: Tiles, size: int) -> tuple[int, int]:
    """How many points, and how many queries, `direct_keys` takes at once within `size` bytes."""
    pair = 3 * WIDE * points.shape[1]  # gathered, widened, subtracted
    size = min(size, tiles.scratch)
    across = min(n_points, rows_within(size, pair))
    return across, rows_within(size, pair * across)


def _tell(begin: float, end: float, share: float) -> None:
    """Report a share of the part of the work from `begin` to `end`: all, only when all is done."""
    done = 1000 if share == end == 1.0 else min(999, round(1000 * (begin + (end - begin) * share)))
    advance("nearest rows", done, 1000)


def _tell_part(tell: Tell, begin: float, end: float, share: float) -> None:
    tell(0.999 * (begin + (end - begin) * share))  # the doubtful are still to be asked again


def _tell_nobody(share: float) -> None:
    pass
