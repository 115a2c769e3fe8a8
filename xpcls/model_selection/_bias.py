"""Whether two parts of a data set are drawn alike: rank sums, and counts of classes."""

from __future__ import annotations

import math
from typing import Any

from xpcls_backends import Array, bincount, label_codes, namespace_of, to_host

FEWEST_EXPECTED = 5.0  # rows of a class; below that its count is not nearly normal (Cochran, 1954)


def midranks(values: Any) -> Array:
    """The rank of each entry among all, 1 for the smallest; equal ones share their mean rank.

    values : (n,) on the host, anything that sorts. Returns (n,) float64.
    """
    _, codes = label_codes(values)
    counts = bincount(codes)
    xp = namespace_of(counts)
    last = xp.astype(xp.cumulative_sum(counts), xp.float64)
    return xp.take(last - (counts - 1) / 2, codes)


def rank_sum(a: Any, b: Any) -> tuple[float, float]:
    """(share, z): how often an entry of `b` comes after one of `a`, and how unlikely that is.

    a, b : (n_a,) and (n_b,) ranks, or any numbers, on the host.

    share = U / (n_a n_b), U = R_b - n_b (n_b + 1) / 2, R_b the sum of b's ranks among all
    N = n_a + n_b; 1/2 where both are drawn alike, equal entries counting half. Then U is nearly
    normal, with mean n_a n_b / 2 and variance n_a n_b / 12 ((N + 1) - sum (t^3 - t) / (N (N - 1)))
    over the numbers t of equal entries, and z = (U - mean) / deviation; 0 where all are equal.

    Mann and Whitney, On a test of whether one of two random variables is stochastically larger
    than the other, 1947; the correction for ties is Kruskal's, 1952.
    """
    n_a, n_b = a.shape[0], b.shape[0]
    xp = namespace_of(a, b)
    both = xp.concat((a, b))
    n = n_a + n_b
    _, codes = label_codes(both)
    ties = xp.astype(bincount(codes), xp.float64)
    u = float(midranks(both)[n_a:].sum()) - n_b * (n_b + 1) / 2
    tied = float((ties**3 - ties).sum()) / (n * (n - 1))
    variance = n_a * n_b / 12 * ((n + 1) - tied)
    z = (u - n_a * n_b / 2) / math.sqrt(variance) if variance > 0 else 0.0
    return u / (n_a * n_b), z


def group_means(ranks: Array, groups: list[Any]) -> Array:
    """The mean rank of each group, in the order in which the groups first occur; on the host.

    ranks : (n,). groups : of each, its group.
    """
    members: dict[Any, list[float]] = {}
    for group, rank in zip(groups, ranks.tolist(), strict=True):
        members.setdefault(group, []).append(rank)
    return to_host([sum(of_group) / len(of_group) for of_group in members.values()])


def two_sided(z: float) -> float:
    """The probability that a normal variable is as far from 0 as z, or farther."""
    return math.erfc(abs(z) / math.sqrt(2.0))


def homogeneity(a: list[int], b: list[int]) -> tuple[float, int, float]:
    """(chi^2, degrees of freedom, p) of the counts of classes in two parts.

    chi^2 = sum (observed - expected)^2 / expected over both parts and all classes, expected =
    rows of the part times share of the class in both (Pearson, 1900). Classes of which less than
    5 rows are expected in a part are counted as one. p by the cube root of chi^2 / degrees, which
    is nearly normal with mean 1 - 2 / (9 degrees) and variance 2 / (9 degrees) (Wilson and
    Hilferty, The distribution of chi-square, 1931). (0, 0, 1) where one class is left.
    """
    smaller, n = min(sum(a), sum(b)), sum(a) + sum(b)
    pairs: list[tuple[int, int]] = []
    rare_a = rare_b = 0
    for x, y in zip(a, b, strict=True):
        if (x + y) * smaller / n < FEWEST_EXPECTED:
            rare_a, rare_b = rare_a + x, rare_b + y
        else:
            pairs.append((x, y))
    if (rare_a + rare_b) * smaller / n >= FEWEST_EXPECTED:
        pairs.append((rare_a, rare_b))
    degrees = len(pairs) - 1
    if degrees < 1:
        return 0.0, 0, 1.0
    rows = sum(x for x, _ in pairs), sum(y for _, y in pairs)
    total = sum(rows)
    squares = 0.0
    for pair in pairs:
        for observed, of_part in zip(pair, rows, strict=True):
            expected = of_part * sum(pair) / total
            squares += (observed - expected) ** 2 / expected
    spread = 2.0 / (9.0 * degrees)
    z = ((squares / degrees) ** (1.0 / 3.0) - (1.0 - spread)) / math.sqrt(spread)
    return squares, degrees, math.erfc(z / math.sqrt(2.0)) / 2.0


def from_middle(ranks: Array) -> Array:
    """How far each rank is from the middle of all: what a part cut from the middle has little of.

    Its rank sum alone would be that of a random one.
    """
    n = ranks.shape[0]
    xp = namespace_of(ranks)
    return xp.abs(ranks - (n + 1) / 2)


def class_counts(codes: Any, n_classes: int) -> list[int]:
    """How many rows each class has."""
    counts: list[int] = to_host(bincount(codes, minlength=n_classes)).tolist()
    return counts
