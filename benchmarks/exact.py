"""The nearest rows in float64, by direct differences: what answers are checked against.

Slow and plain on purpose, and it shares nothing with xpcls.

What float64 decides, and what it leaves open
---------------------------------------------
A sum of D terms in float64, each rounded, depends on the order in which it is added up. So two
honest searches may order two rows differently when their distances differ by less than that. The
distances themselves are rational numbers, and `judge` compares these, without any rounding: rows
are integers in units of their last bit, and Python's integers have no end. Of two rows r and s

- with equal entries the lower one comes first: any sum gives both the same;
- whose exact sums are below 2^53 units (bytes, and floats on a coarse grid), every partial sum is
  an integer that float64 holds, so nothing is rounded: the nearer one comes first, and of equally
  near ones the lower;
- whose exact sums differ by more than 2 (D + 2) u / (1 - (D + 2) u) of the larger, u = 2^-53, the
  nearer one comes first: a sum is wrong by (D + 2) u / (1 - (D + 2) u) of itself at most (a
  difference, a square and D - 1 sums of terms that are not negative, Higham, "Accuracy and
  Stability", section 3.1; the smallest differences of float32 have squares that float64 holds);
- that are left, either one may come first. Such answers are counted apart.

`judge` knows nothing of who gave an answer, and the float64 sums of `nearest64` are judged by the
same rules: they propose the rows worth comparing, with a margin of twice that error.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Judgement:
    """Of so many `queries`: how many have neighbours that float64 forbids (wrong), and how many
    have others than `nearest64`, but in places that float64 leaves open (undecided)."""

    queries: int
    wrong: int
    undecided: int

    def text(self) -> str:
        text = f"{self.wrong} of {self.queries:,} queries differ from float64"
        return text if not self.undecided else f"{text}, {self.undecided} where it decides nothing"


def judge(
    answer: HostArray,
    truth: tuple[HostArray, HostArray],
    queries: HostArray,
    points: HostArray,
    metric: str,
) -> Judgement:
    """Whether neighbours (n_queries, k), nearest first, are what float64 allows.

    truth : as `nearest64` gives it. queries, points : of up to 32 bits, so that differences of
    their entries are integers in units of 2^-149.
    """
    if answer.shape != truth[1].shape:
        raise ValueError(f"the answer has shape {answer.shape}, expected {truth[1].shape}")
    differ = np.flatnonzero(np.any(answer != truth[1], axis=1))
    wrong = sum(
        not _allowed(answer[i], float(truth[0][i, -1]), queries[i], points, metric) for i in differ
    )
    return Judgement(answer.shape[0], wrong, differ.shape[0] - wrong)


def _allowed(
    found: HostArray, farthest: float, query: HostArray, points: HostArray, metric: str
) -> bool:
    """Whether no row stands before another, or in place of it, that float64 puts first."""
    k = found.shape[0]
    if len(set(found.tolist())) < k or found.min() < 0 or found.max() >= points.shape[0]:
        return False
    relative = _relative_error(points.shape[1])
    near = distances64(query.astype(np.float64), points, metric) <= farthest * (1 + 4 * relative)
    left_out = np.setdiff1d(np.flatnonzero(near), found)
    order = [*found.tolist(), *left_out.tolist()]
    rows = _as_integers(points[order])
    exact = _exact_sums(rows, _as_integers(query[None, :]), metric)
    unit = int(np.bitwise_or.reduce(np.append(rows.reshape(-1), _as_integers(query))))
    unit = (unit & -unit) ** (1 if metric == "l1" else 2)  # the last bit that is set in any entry

    def comes_first(s: int, r: int) -> bool:
        """Whether float64 puts the s-th of `order` before the r-th."""
        gap = exact[r] - exact[s]
        largest = max(exact[r], exact[s])
        rounded = largest >= 2**53 * unit
        if rounded and abs(gap) <= 2 * relative * largest and not np.array_equal(rows[r], rows[s]):
            return False
        return gap > 0 or (gap == 0 and order[s] < order[r])

    return not any(comes_first(s, r) for r in range(k) for s in range(r + 1, len(order)))


def _relative_error(features: int) -> float:
    """Of a sum of that many absolute values or squares of differences, in float64, at most."""
    rounding = (features + 2) * 2.0**-53
    return rounding / (1 - rounding)


def _as_integers(rows: HostArray) -> HostArray:
    """Entries times 2^149, which are integers for all float32 and uint8; as Python's integers."""
    scaled = np.ldexp(rows.astype(np.float64), 149)
    whole = [int(entry) for entry in scaled.reshape(-1).tolist()]
    return np.asarray(whole, dtype=object).reshape(rows.shape)


def _exact_sums(rows: HostArray, query: HostArray, metric: str) -> list[int]:
    differences = rows - query
    terms = abs(differences) if metric == "l1" else differences * differences
    return [int(total) for total in np.sum(terms, axis=1)]
