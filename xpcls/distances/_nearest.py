"""The k nearest rows, exactly: a fast scan proposes candidates, direct distances decide.

For every query the scan keeps the m smallest lower bounds of the key, m a little over k. Direct
distances, first of the k + 3 with the smallest bounds, then of all m, give the k nearest among
them. Every other row has a lower bound at least as large as the smallest one that was left aside;
where that exceeds the k-th direct distance, no other row can belong to the answer, and it is
proven. The few queries without proof are asked again with more candidates, up to all rows.
"""

from __future__ import annotations

import functools
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

from xpcls_backends import (
    Array,
    SmallestEntries,
    candidate_keys,
    device_of,
    elementwise_block_bytes,
    flatnonzero,
    gather,
    halved_budget,
    in_threads,
    namespace_of,
    replace_rows,
    row_blocks,
    rows_within,
    smallest_k,
    sort_rows_by,
    to_host,
)

from ._points import Points
from ._rows import WORTH_A_THREAD
from ._scan import (
    WIDE,
    Scan,
    direct_keys,
    distances_of,
    minus_two_overlaps,
    scan_points,
    scan_queries,
)

SCANNED_POINTS = 2**9  # at once: longer products gain nothing
WIDE_ROWS = 256  # features
SETTLED = 3  # candidates beside k whose direct distances are computed before all others'
LONGEST_TILE = 2**14  # points
ROUNDS = 4  # tiles for each thread, at least, so that all end at about the same time

# Bytes for each candidate of a query: its bound and row, twice while they are joined, or its key
# and row while they are sorted. The tests measure that it is enough.
CANDIDATE = 80

Tell = Callable[[float], None]  # is told which share of a search is done


@dataclass(frozen=True)
class Tiles:
    """How the work for m candidates is cut, so that each part takes its share of a budget.

    `queries` rows are held as the scan reads them. Each thread takes `points` rows at a time, and
    computes and selects from their keys for `block` queries after the other.

    scratch : bytes for each of three parts: the queries with what they found; the points of all
        threads; their keys. all_rows : no candidates, but direct distances to every point.
    """

    queries: int
    points: int
    block: int
    scratch: int
    all_rows: bool


def scan_nearest(
    scan: Scan,
    queries: Array,
    points: Points,
    k: int,
    budget: int,
    tell: Tell,
) -> tuple[Array, Array]:
    """Distances and indices (n_queries, k) of the k nearest, as `nearest` gives them.

    budget : bytes of scratch; where memory runs out, the search goes on with half of it.
    """
    xp, device = namespace_of(queries), device_of(queries)
    n = queries.shape[0]
    distances = xp.empty((n, k), dtype=scan.result, device=device)
    indices = xp.empty((n, k), dtype=xp.int64, device=device)
    # Of each query it may have to be remembered that it is in doubt: a position, twice.
    for some in row_blocks(n, rows_within(budget // 16, 2 * WIDE)):
        found = distances[some, :], indices[some, :]
        told = functools.partial(_tell_part, tell, some.start / n, some.stop / n)
        _search(scan, queries[some, :], points, found, budget, told)
    return distances, indices


def candidates_at_first(k: int, features: int) -> int:
    """How many candidates each query gets: a few more than k prove most answers on images.

    Of wide rows twice as many, since they cost little where they are not needed, and to look at
    all points again for a few queries costs much.
    """
    return 2 * k + 12 if features >= WIDE_ROWS else k + 4 + k // 4


def plan_tiles(scan: Scan, n_queries: int, points: Array, k: int, m: int, budget: int) -> Tiles:
    """Tiles for m candidates, or for all rows where m is most of them or takes too much."""
    n_points, features = points.shape
    width = scan.width
    third = 3 * budget // 10  # the last tenth: temporaries of the scan, and small arrays
    row = width * features
    query = 2 * row + CANDIDATE * m  # as given, taken from their places, and as scanned
    if 2 * m > n_points or query > third:
        size = rows_within(third, row + CANDIDATE * k)
        return Tiles(min(n_queries, size), n_points, 1, third, all_rows=True)
    down = min(n_queries, rows_within(third, query))
    share = third // scan.threads
    key = width + WIDE  # a number, and an index while the smallest are selected
    across = min(n_points, rows_within(share, 8 * key), LONGEST_TILE)
    if scan.sizes is None:
        across = min(across, rows_within(share, row + 8 * width))
    block = down
    if scan.kind == "l2":
        # Keys should stay in a core's own cache, the more so the less each has cost.
        size = 4 * elementwise_block_bytes(namespace_of(points))
        across = min(across, max(SCANNED_POINTS, rows_within(size, width * down)))
        size *= max(1, features // WIDE_ROWS)
        block = min(down, rows_within(size, width * across))
    if scan.threads > 1:
        rounds = scan.threads * max(1, -(-n_points // (across * scan.threads)))
        if scan.kind == "l1":
            rounds = max(rounds, ROUNDS * scan.threads)
        across = -(-n_points // rounds)
    block = min(block, rows_within(share, key * across + CANDIDATE * min(m, across)))
    return Tiles(down, across, -(-down // -(-down // block)), third, all_rows=False)


def _search(
    scan: Scan,
    queries: Array,
    points: Points,
    found: tuple[Array, Array],
    budget: int,
    tell: Tell,
) -> None:
    """Write distances and indices of the k nearest into `found`, two arrays (n_queries, k)."""
    xp = namespace_of(queries)
    k = found[0].shape[1]
    m = candidates_at_first(k, queries.shape[1])
    doubtful = None  # at first every query, then positions in `queries`
    n = queries.shape[0]
    while n:
        unproven, start = [], 0
        while start < n:
            tiles = plan_tiles(scan, n - start, points.rows, k, m, budget)
            block = slice(start, min(n, start + tiles.queries))
            if doubtful is None:
                where, some = None, queries[block, :]
                told: Tell = functools.partial(_tell_part, tell, block.start / n, block.stop / n)
            else:
                where, told = doubtful[block], _tell_nobody
                some = xp.take(queries, where, axis=0)
            ask = _ask_all if tiles.all_rows else _ask_candidates
            try:
                keys, indices, proven = ask(scan, some, points, k, m, tiles, told)
                _write(found[0], block, where, distances_of(scan, keys), tiles)
                _write(found[1], block, where, indices, tiles)
            except MemoryError:
                budget = halved_budget(budget, xp)
                continue
            if proven is not None:
                left = flatnonzero(~proven)
                unproven.append(left + start if where is None else xp.take(where, left))
            start = block.stop
        doubtful = xp.concat(unproven) if unproven else None
        asked, n = n, 0 if doubtful is None else doubtful.shape[0]
        m *= 4 if 16 * n > asked else 16  # of a few, what costs is to look at all points again
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
    scan: Scan, queries: Array, points: Points, k: int, m: int, tiles: Tiles, tell: Tell
) -> tuple[Array, Array, Array | None]:
    """Keys, indices, and whether they are proven, of each query: (n, k), (n, k), (n,).

    None where all are, so that nobody waits for a device to count the others again.
    """
    xp = namespace_of(queries)
    bounds, candidates = _smallest_bounds(scan, queries, points, m, tiles, tell)
    few = k + SETTLED
    keys, indices = _settle(scan, queries, points.rows, candidates[:, :few], tiles)
    keys, indices = keys[:, :k], indices[:, :k]
    proven = bounds[:, few] - scan.floor > keys[:, k - 1]
    left = flatnonzero(~proven)
    if not left.shape[0]:
        return keys, indices, None
    # The rest of the candidates.
    some, theirs, theirs_bounds = (xp.take(x, left, axis=0) for x in (queries, candidates, bounds))
    more = [x[:, :k] for x in _settle(scan, some, points.rows, theirs, tiles)]
    keys, indices = replace_rows(keys, left, more[0]), replace_rows(indices, left, more[1])
    now = theirs_bounds[:, m - 1] - scan.floor > more[0][:, k - 1]
    return keys, indices, replace_rows(proven, left, now)


def _smallest_bounds(
    scan: Scan, queries: Array, points: Points, m: int, tiles: Tiles, tell: Tell
) -> tuple[Array, Array]:
    """Of each query the m smallest lower bounds, ascending, and their rows: (n, m) each.

    Bounds are wide, and no row outside the m has a smaller one.
    """
    xp = namespace_of(queries)
    n, (n_points, features) = queries.shape[0], points.rows.shape
    rows, size, mass = scan_queries(scan, queries)
    base = size - scan.slack * xp.astype(mass, scan.wide)
    blocks = [(block, SmallestEntries(m)) for block in row_blocks(n, tiles.block)]

    def look(tile: slice) -> None:
        theirs, their_size, their_mass = scan_points(scan, points, tile)
        own = their_size - scan.slack * their_mass
        for block, smallest in blocks:
            bounds = minus_two_overlaps(scan, rows[block, :], theirs)
            smallest.add(bounds, tile.start, own)
            del bounds  # before the next ones are made

    parts = list(row_blocks(n_points, tiles.points))
    threads = scan.threads if n * n_points * features >= WORTH_A_THREAD else 1
    in_threads(look, parts, threads, lambda done: tell(done / len(parts)))
    found = (smallest.found() for _, smallest in blocks)
    bounds, columns = (xp.concat(parts) for parts in zip(*found, strict=True))
    bounds, columns = sort_rows_by(bounds, columns)
    return xp.astype(bounds, scan.wide) + base[:, None], columns


def _settle(
    scan: Scan, queries: Array, points: Array, candidates: Array, tiles: Tiles
) -> tuple[Array, Array]:
    """Each query's candidates by direct distances, nearest first, ties to the lowest row."""
    xp, device = namespace_of(queries), device_of(queries)
    found = candidate_keys(queries, points, candidates, scan.kind, scan.factor)
    if found is not None:
        return sort_rows_by(found, candidates)
    n, m = candidates.shape
    size = 32 * elementwise_block_bytes(xp)  # threads with many short calls wait for each other
    across, down = _direct_blocks(points, m, min(size, tiles.scratch // scan.threads))
    keys = xp.empty((n, m), dtype=scan.wide, device=device)

    def fill(block: slice) -> None:
        ours = _copied(queries, block)
        for some in row_blocks(m, across):
            chosen = candidates[block, some]
            gathered = gather(points, xp.reshape(chosen, (-1,)))
            gathered = xp.reshape(gathered, (*chosen.shape, points.shape[1]))
            keys[block, some] = direct_keys(scan, ours, gathered)

    few = n * m * points.shape[1] < WORTH_A_THREAD
    in_threads(fill, row_blocks(n, down), 1 if few else scan.threads)
    return sort_rows_by(keys, candidates)


def _ask_all(
    scan: Scan, queries: Array, points: Points, k: int, m: int, tiles: Tiles, tell: Tell
) -> tuple[Array, Array, None]:
    """The same by direct distances to every row: where candidates would be most rows."""
    xp = namespace_of(queries)
    n, n_points = queries.shape[0], points.rows.shape[0]
    # Six times the keys: joined from parts, selected from, and sorted where they tie.
    across = min(n_points, rows_within(tiles.scratch, 6 * WIDE))
    down = rows_within(tiles.scratch, 6 * WIDE * across + 2 * CANDIDATE * k)
    found = []
    for block in row_blocks(n, down):
        best = None
        for tile in row_blocks(n_points, across):
            keys = _all_keys(scan, queries[block, :], points.rows[tile, :], tiles)
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
    size = min(elementwise_block_bytes(xp), tiles.scratch)
    across, down = _direct_blocks(points, points.shape[0], size)
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


def _direct_blocks(points: Array, n_points: int, size: int) -> tuple[int, int]:
    """How many points, and how many queries, `direct_keys` takes at once within `size` bytes."""
    pair = 3 * WIDE * points.shape[1]  # gathered, widened, subtracted
    across = min(n_points, rows_within(size, pair))
    return across, rows_within(size, pair * across)


def _tell_part(tell: Tell, begin: float, end: float, share: float) -> None:
    tell(0.999 * (begin + (end - begin) * share))  # the doubtful are still to be asked again


def _tell_nobody(share: float) -> None:
    pass
