"""Which points can be among the k nearest of each query: the scan, and what settles it.

Keys. Of codes (see _codes.py) a tile gives an int32, the squared L2 or the L1 distance up to
`base`, a number of the query alone:

    bytes, L2    |p|^2 - 2 sum q (p - 128)     base |q|^2 - 256 sum q
    words, L2    |p|^2 - 2 sum q p             base |q|^2
    L1           2 sum max(q, p) - sum p       base -sum q

Which are kept. With W = |e_q| + max |e_p| a distance of codes is off by at most W, so the k-th
nearest point of a query, by codes at distance r, lies within r + W, and a point that by codes is
farther than r + 2 W is farther than k others are: it is dropped. r only shrinks as more points are
seen. Codes without error have W = 0, and of equal keys the first is kept. All else is settled by
direct distances in float64, each the sum of D terms: they agree with true ones to (D + 4) 2^-53 of
themselves, by which, twice, the limit is larger still. So the answer is the one that direct
distances to all points would give, ties to the lowest row.

A candidate is one int64, key * 2^32 + row, so that their order is that of keys and, where these
are equal, of rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _tiles
from ._compile import compiled

HostArray = np.ndarray[Any, Any]

COLUMNS, ROWS = _tiles.COLUMNS, _tiles.ROWS
MOST = np.int32(2**31 - 1)
LEAST = np.int32(-(2**31))

# The four tiles; where there is none of bytes, that of words stands in its place, never called.
_lowest_bit = _tiles.lowest_bit
_word_products, _word_maxima = _tiles.word_products, _tiles.word_maxima
_byte_products = _tiles.byte_products if _tiles.VNNI else _tiles.word_products
_byte_maxima = _tiles.byte_maxima if _tiles.VNNI else _tiles.word_maxima


@compiled()
def _nth(values: HostArray, count: int, n: int) -> np.int64:
    """The n-th smallest, from 0, of the first `count` values, which are put in another order."""
    low, high = 0, count - 1
    while low < high:
        pivot = values[(low + high) >> 1]
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if n <= j:
            high = j
        elif n >= i:
            low = i
        else:
            break
    return np.int64(values[n])


@compiled()
def _limit(key: np.int64, base: int, off: float, relative: float, l1: bool) -> np.int64:
    """The largest key of a point that may be as near as one with this key."""
    distance = np.float64(key + base)
    if l1:
        reach = (distance + 2.0 * off) * (1.0 + relative)
    else:
        reach = ((np.sqrt(max(distance, 0.0)) + 2.0 * off) * (1.0 + relative)) ** 2
    return np.int64(min(reach - base + 1.0, np.float64(MOST - 1)))


@compiled()
def _cut(
    found: HostArray, count: int, k: int, base: int, off: float, relative: float, l1: bool
) -> tuple[int, np.int64]:
    """Drop candidates that are out: how many are left, and below which key others are worth it."""
    key = _nth(found, count, k - 1) >> 32
    if off == 0.0:
        return k, key
    limit = _limit(key, base, off, relative, l1)
    kept = 0
    for i in range(count):
        if found[i] >> 32 <= limit:
            found[kept] = found[i]
            kept += 1
    return kept, limit + 1


@compiled()
def scan(
    words: bool,
    l1: bool,
    queries: HostArray,
    points: HostArray,
    point_keys: HostArray,
    first: int,
    stop: int,
    tiles: tuple[int, int],
    k: int,
    base: HostArray,
    off: HostArray,
    relative: float,
    limits: HostArray,
    found: HostArray,
    counts: HostArray,
    full: HostArray,
) -> None:
    """See all `points` with the queries of some tiles, and keep what can be among the k nearest.

    queries (tiles, K, ROWS), points (panels, K, COLUMNS), point_keys (panels, COLUMNS) : the
        points are rows `first` to `stop`; the last panel need not be full.
    tiles : of which to which tile of queries.
    base (m,) int64, off (m,) float64 : of each query, m = tiles * ROWS.
    limits (m,) int32, found (m, capacity) int64, counts (m,) and full (m,) int64 : the state of
        the search, that the next call goes on with: keys from which on a point is out, candidates,
        how many, and at how many of them some are dropped next. A count of -1: there were too many.
    """
    steps, capacity = queries.shape[1], found.shape[1]
    keys, below = np.empty((ROWS, COLUMNS), np.int32), np.empty(ROWS, np.int64)
    to_keys, to_below = keys.ctypes.data, below.ctypes.data
    for panel in range(points.shape[0]):
        row = first + panel * COLUMNS
        valid = (np.int64(1) << min(COLUMNS, stop - row)) - 1  # the last panel need not be full
        at = points[panel].ctypes.data
        own = point_keys[panel].ctypes.data
        for tile in range(tiles[0], tiles[1]):
            ours = queries[tile].ctypes.data
            outside = limits[tile * ROWS :].ctypes.data
            if words:
                if l1:
                    hits = _word_maxima(ours, at, steps, own, outside, to_keys, to_below)
                else:
                    hits = _word_products(ours, at, steps, own, outside, to_keys, to_below)
            elif l1:
                hits = _byte_maxima(ours, at, steps, own, outside, to_keys, to_below)
            else:
                hits = _byte_products(ours, at, steps, own, outside, to_keys, to_below)
            if hits == 0:
                continue
            for i in range(ROWS):
                bits = below[i] & valid
                if bits == 0:
                    continue
                q = tile * ROWS + i
                count, limit = counts[q], limits[q]
                while bits != 0:
                    j = _lowest_bit(bits)
                    bits &= bits - 1
                    if keys[i, j] >= limit:  # which may have sunk since
                        continue
                    found[q, count] = (np.int64(keys[i, j]) << 32) | np.int64(row + j)
                    count += 1
                    if count < full[q]:
                        continue
                    count, cut = _cut(found[q], count, k, base[q], off[q], relative, l1)
                    limit = np.int32(cut)
                    full[q] = min(capacity, max(2 * count, k + 32))
                    if count >= capacity - 1:
                        count, limit = -1, LEAST
                        break
                counts[q], limits[q] = count, limit


@compiled(fastmath={"reassoc", "contract"})
def _four_distances(
    query: HostArray, a: HostArray, b: HostArray, c: HostArray, d: HostArray, l1: bool
) -> tuple[float, float, float, float]:
    """sum |q - p| or sum (q - p)^2 of four points: one alone would wait for the memory."""
    of_a = of_b = of_c = of_d = 0.0
    if l1:
        for i in range(query.shape[0]):
            q = query[i]
            of_a += abs(q - np.float64(a[i]))
            of_b += abs(q - np.float64(b[i]))
            of_c += abs(q - np.float64(c[i]))
            of_d += abs(q - np.float64(d[i]))
    else:
        for i in range(query.shape[0]):
            q = query[i]
            of_a += (q - np.float64(a[i])) ** 2
            of_b += (q - np.float64(b[i])) ** 2
            of_c += (q - np.float64(c[i])) ** 2
            of_d += (q - np.float64(d[i])) ** 2
    return of_a, of_b, of_c, of_d


@compiled()
def settle(
    queries: HostArray,
    points: HostArray,
    some: tuple[int, int],
    k: int,
    l1: bool,
    base: HostArray,
    off: HostArray,
    relative: float,
    found: HostArray,
    counts: HostArray,
    root: bool,
    distances: HostArray,
    indices: HostArray,
) -> int:
    """The k nearest of some queries among their candidates, nearest first, ties to the lowest row.

    queries (n, D) and points (N, D) as they were given. base, off : as for `scan`, (m,).
    found (parts, m, capacity), counts (parts, m) : what scans of parts of the points found.
    distances (n, k), float32 or float64, and indices (n, k) int64 are filled; `root` : with square
    roots of the sums. A query that had too many candidates gets indices of -1.

    Returns how many candidates were looked at directly.
    """
    parts, capacity = found.shape[0], found.shape[2]
    candidates = np.empty(parts * capacity, np.int64)
    direct = np.empty(parts * capacity, np.float64)
    query = np.empty(queries.shape[1], np.float64)
    looked_at = 0
    for q in range(some[0], some[1]):
        count, lost = 0, False
        for part in range(parts):
            lost = lost or counts[part, q] < 0
            for i in range(counts[part, q]):
                candidates[count] = found[part, q, i]
                count += 1
        if lost or count < k:
            indices[q, :] = -1
            continue
        count, _ = _cut(candidates, count, k, base[q], off[q], relative, l1)
        if off[q] == 0.0:
            nearest = np.sort(candidates[:k])
            for i in range(k):
                distance = np.float64((nearest[i] >> 32) + base[q])
                distances[q, i] = np.sqrt(distance) if root else distance
                indices[q, i] = nearest[i] & 0xFFFFFFFF
            continue
        looked_at += count
        rows = candidates[:count]
        for i in range(count):
            rows[i] &= 0xFFFFFFFF
        rows.sort()
        for d in range(queries.shape[1]):
            query[d] = np.float64(queries[q, d])
        for i in range(0, count, 4):
            last = count - 1
            sums = _four_distances(
                query,
                points[rows[i]],
                points[rows[min(i + 1, last)]],
                points[rows[min(i + 2, last)]],
                points[rows[min(i + 3, last)]],
                l1,
            )
            for j in range(min(4, count - i)):
                direct[i + j] = sums[j]
        order = np.argsort(direct[:count], kind="mergesort")  # stable: ties stay in order of rows
        for i in range(k):
            distance = direct[order[i]]
            distances[q, i] = np.sqrt(distance) if root else distance
            indices[q, i] = rows[order[i]]
    return looked_at
