"""Images that are nearly the same: brighter, noisy or compressed copies of one another."""

from __future__ import annotations

import math
from typing import Any

from xpcls.distances import nearest
from xpcls_backends import (
    Array,
    device_of,
    elementwise_block_bytes,
    gather,
    like,
    namespace_of,
    row_blocks,
    rows_within,
    to_host,
)

NEIGHBOURS = 10
SAMPLE = 1000  # training rows by which the dimension is measured


def standardized(images: Array) -> tuple[Array, Array]:
    """Each image less its mean and divided by its length: float32 (n, D), from (n, ...).

    Brightness and contrast are gone. The squared distance of two is 2 - 2 times their
    correlation. Also returned is whether anything is left, bool (n,): an image of one colour is 0.
    """
    xp, device = namespace_of(images), device_of(images)
    features = math.prod(images.shape[1:])
    flat = xp.reshape(images, (images.shape[0], features))
    found = xp.empty(flat.shape, dtype=xp.float32, device=device)
    lit = xp.empty((flat.shape[0],), dtype=xp.bool, device=device)
    size = rows_within(8 * elementwise_block_bytes(xp), 4 * features)
    for rows in row_blocks(flat.shape[0], size):
        part = xp.astype(flat[rows, :], xp.float32)
        part = part - xp.mean(part, axis=1, keepdims=True)
        # By the largest entry first: its square neither overflows nor vanishes.
        part = part / _or_one(xp.max(xp.abs(part), axis=1, keepdims=True))
        length = xp.sqrt(xp.sum(part * part, axis=1, keepdims=True))
        found[rows, :] = part / _or_one(length)
        lit[rows] = length[:, 0] > 0
    return found, lit


def near_copies(
    points: Array, queries: Array, false_alarms: float
) -> tuple[list[int], list[int], float, float]:
    """Queries that are nearly one of the points.

    points, queries : (n, D), standardised, none of them 0; at least 3 points.

    Returns (queries, points, threshold, dimension): positions of the pairs, at which share of the
    distance of the k-th neighbour the nearest one was taken for a copy, and the exponent d.

    The rule: where points are spread evenly around a query in d dimensions, the volume within the
    distance of the nearest one, as a share of that within the k-th, is a power: of the ratio r of
    the distances, r^d. The k - 1 nearer points fall into the ball of the k-th independently, so
    P(ratio <= r) = 1 - (1 - r^d)^(k - 1) (Facco et al., Estimating the intrinsic dimension of
    datasets by a minimal neighborhood information, 2017, have it for k = 2). The threshold is the
    r at which `false_alarms` are expected among all queries of an honest split. k is 10, so up to
    9 copies of a query among the points do no harm.

    d is measured among the points, from the ratio of the fifth neighbour to the tenth, which up to
    4 copies of each point do not touch. The j-th of the k - 1 nearer points lies within a share of
    the volume that is distributed as Beta(j, k - j), with the median (j - 1/3) / (k - 2/3), nearly
    (Kerman, A closed-form approximation for the median of the beta distribution, 2011); d is where
    the median ratio gives it.
    """
    n = points.shape[0]
    k = min(NEIGHBOURS, n - 1)
    step = -(-n // SAMPLE)
    own, _ = nearest(points[::step, :], points, k + 1)
    own = own[:, 1:]  # each is its own nearest
    j = (k + 1) // 2
    ratios = to_host(own[:, j - 1] / _or_one(own[:, k - 1]))
    median = min(max(float(sorted(ratios.tolist())[ratios.shape[0] // 2]), 1e-6), 1.0 - 1e-6)
    dimension = math.log((j - 1 / 3) / (k - 2 / 3)) / math.log(median)
    threshold = _share(false_alarms / queries.shape[0], k) ** (1.0 / dimension)
    distances, indices = nearest(queries, points, k)
    near = distances[:, 0] <= threshold * distances[:, k - 1]
    host = to_host(near)
    found = host.nonzero()[0]
    partners = to_host(indices[:, 0])[found]
    return found.tolist(), partners.tolist(), threshold, dimension


def rows_of(images: Array, rows: Any) -> Array:
    """Some rows, taken on the device."""
    return gather(images, like(rows, images))


def _share(probability: float, k: int) -> float:
    """The share of the k-th ball's volume within which the nearest lies with this probability."""
    return -math.expm1(math.log1p(-min(probability, 0.5)) / (k - 1))


def _or_one(x: Array) -> Array:
    """1 where x is 0, so that it can be divided by."""
    xp = namespace_of(x)
    return xp.where(x == 0, xp.ones_like(x), x)
