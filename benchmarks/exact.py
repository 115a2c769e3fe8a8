"""The nearest rows in float64, by direct differences: what answers are checked against.

Slow and plain on purpose, and it shares nothing with xpcls.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

HostArray = np.ndarray[Any, Any]
BLOCK_BYTES = 2**20


def nearest64(
    queries: HostArray, points: HostArray, k: int, metric: str, threads: int = 2
) -> tuple[HostArray, HostArray]:
    """(distances, indices), (n_queries, k); equal distances are ordered by index, lowest first.

    L2 distances are squared, which has the same order and one rounding less.
    """
    wide = points.astype(np.float64)

    def one(query: HostArray) -> tuple[HostArray, HostArray]:
        distances = distances64(query, wide, metric)
        smallest = np.partition(distances, k - 1)[k - 1]
        candidates = np.flatnonzero(distances <= smallest)  # in the order of rows
        kept = candidates[np.argsort(distances[candidates], kind="stable")[:k]]
        return distances[kept], kept

    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(one, queries.astype(np.float64)))
    distances, indices = (np.stack(parts) for parts in zip(*found, strict=True))
    return distances, indices


def distances64(query: HostArray, points: HostArray, metric: str) -> HostArray:
    """From one row to each of `points`, in float64: sum |a - b|, or sum (a - b)^2."""
    out = np.empty(points.shape[0])
    step = max(1, BLOCK_BYTES // (8 * points.shape[1]))
    for start in range(0, points.shape[0], step):
        difference = points[start : start + step].astype(np.float64, copy=False) - query
        if metric == "l1":
            np.abs(difference, out=difference)
        else:
            np.multiply(difference, difference, out=difference)
        np.sum(difference, axis=1, out=out[start : start + step])
    return out


def count_differing(
    answer: HostArray,
    truth: tuple[HostArray, HostArray],
    queries: HostArray,
    points: HostArray,
    metric: str,
) -> tuple[int, int]:
    """How many queries' neighbours (n_queries, k) are not the true ones: (differ, farther).

    differ : the rows or their order are not those of `truth`, whose ties go to the lowest row.
    farther : even the distances are not: the rows named are farther away than the nearest ones.
        A wrong choice among equal distances is forgiven here.
    """
    distances, indices = truth
    differ = np.any(answer != indices, axis=1)
    farther = 0
    for i in np.flatnonzero(differ):
        chosen = distances64(queries[i].astype(np.float64), points[answer[i]], metric)
        repeated = len(set(answer[i].tolist())) < answer.shape[1]
        farther += repeated or not np.array_equal(np.sort(chosen), distances[i])
    return int(np.sum(differ)), farther
