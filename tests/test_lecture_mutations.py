"""Claims about distances, neighbours and features fail when what they are about is broken."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import xpcls.distances._pairwise
import xpcls.features._hog
import xpcls.lecture._distance
import xpcls.lecture._neighbors
from tests.lecture_mutations import TRAINED, Mutation, Mutations, Patch, replace_search
from xpcls import distances
from xpcls.features import ColorHistogram, PolarMap
from xpcls.lecture import CLAIMS
from xpcls.neighbors import KNeighborsClassifier
from xpcls_backends import Array, namespace_of

MUTATIONS = Mutations()
mutation = MUTATIONS.enter


@mutation("unit-balls", "L1 is computed as L2", "l1: the largest |distance - 1|")
def _(patch: Patch) -> None:
    patch.setitem(distances.METRICS, "l1", "l2")


@mutation("unit-balls", "L2 is computed as L1", "l2: the largest |distance - 1|")
@mutation("rotation", "L2 is computed as L1", "l2: the largest relative change")
@mutation("curse", "L2 is computed as L1", "reach an axis of 4^2 points")
@mutation("equal-distance", "L2 is computed as L1", "the relative difference of the L2 distances")
def _(patch: Patch) -> None:
    patch.setitem(distances.METRICS, "l2", "l1")


@mutation("rotation", "L1 is computed as L2", "l1: the mean relative change")
@mutation("equal-distance", "L1 is computed as L2", "the largest L1 distance / the smallest")
def _(patch: Patch) -> None:
    patch.setitem(distances.METRICS, "l1", "l2")


@mutation("equal-distance", "no root is taken", "|L2 distance / the distance aimed at - 1|")
def _(patch: Patch) -> None:
    patch.setattr(xpcls.distances._pairwise, "distances_of", lambda scan, keys: keys)


@mutation("label-noise", "only the first of k neighbours votes", "test error of 15-NN")
def _(patch: Patch) -> None:
    votes = KNeighborsClassifier._votes
    patch.setattr(
        KNeighborsClassifier, "_votes", lambda self, d, i: votes(self, d[:, :1], i[:, :1])
    )


@mutation("label-noise", "the nearest row is skipped", "the accuracy of 1-NN on its training")
def _(patch: Patch) -> None:
    def skipping(queries: Array, points: Array, k: int, *options: Any) -> tuple[Array, Array]:
        found, indices = distances.nearest(queries, points, k + 1, *options)
        return found[:, 1:], indices[:, 1:]

    replace_search(patch, skipping)


@mutation("curse", "distances look at two features alone", "contrast / that in fewer dimensions")
def _(patch: Patch) -> None:
    patch.setattr(
        xpcls.lecture._neighbors,
        "pairwise",
        lambda queries, points: distances.pairwise(queries[:, :2], points[:, :2]),
    )


@mutation("curse", "neighbours are found by two features alone", "accuracy of 5-NN beside 1024")
def _(patch: Patch) -> None:
    replace_search(
        patch, lambda q, p, k, *options: distances.nearest(q[:, :2], p[:, :2], k, *options)
    )


@mutation("polar", "the radius is always 0", "accuracy on radius and angle")
def _(patch: Patch) -> None:
    _replace_polar(patch, lambda polar: polar * np.asarray([0.0, 1.0], dtype=polar.dtype))


@mutation("features", "HOG loses negative directions (errata E57)", "|HOG on negatives")
def _(patch: Patch) -> None:
    gradients = xpcls.features._hog.oriented_gradients

    def half(images: Array, *options: Any) -> tuple[Array, Array]:
        bins, lengths = gradients(images, *options)
        xp = namespace_of(images)
        grey = xp.sum(xp.astype(images, xp.float32), axis=3)
        right = 0.0 * grey
        right[:, :, 1:-1] = grey[:, :, 2:] - grey[:, :, :-2]
        return bins, lengths * xp.astype(right >= 0, lengths.dtype)

    patch.setattr(xpcls.features._hog, "oriented_gradients", half)


@mutation("features", "HOG knows one direction alone", "HOG - pixels")
def _(patch: Patch) -> None:
    gradients = xpcls.features._hog.oriented_gradients

    def undirected(images: Array, *options: Any) -> tuple[Array, Array]:
        bins, lengths = gradients(images, *options)
        return 0 * bins, lengths

    patch.setattr(xpcls.features._hog, "oriented_gradients", undirected)


@mutation("features", "hue is dropped", "HOG and hue - pixels")
def _(patch: Patch) -> None:
    histograms = ColorHistogram._histograms
    patch.setattr(
        ColorHistogram,
        "_histograms",
        lambda self, kernel, images: 0.0 * histograms(self, kernel, images),
    )


@mutation("unit-balls", "points are mirrored", "l1: the largest |distance - 1|")
def _(patch: Patch) -> None:
    _replace_pairwise(patch, lambda q, p, metric: distances.pairwise(q, -p, metric))


@mutation("unit-balls", "queries are at the origin", "l1: the largest |distance - 1|")
def _(patch: Patch) -> None:
    _replace_pairwise(patch, lambda q, p, metric: distances.pairwise(0.0 * q, p, metric))


@mutation("rotation", "L2 is 1 everywhere", "l2: the largest |distance / the formula's - 1|")
def _(patch: Patch) -> None:
    def constant(queries: Array, points: Array, metric: str) -> Array:
        found = distances.pairwise(queries, points, metric)
        return 0.0 * found + 1.0 if metric == "l2" else found

    _replace_pairwise(patch, constant)


@mutation("rotation", "differences are sums", "l1: the largest |distance / the formula's - 1|")
def _(patch: Patch) -> None:
    _replace_pairwise(patch, lambda q, p, metric: distances.pairwise(q, -p, metric))


def _replace_pairwise(patch: Patch, broken: Any) -> None:
    patch.setattr(xpcls.lecture._distance, "pairwise", broken)


@mutation("rotation", "nearest by L2 are rows 0 to 4", "l2: the five nearest")
def _(patch: Patch) -> None:
    _replace_nearest(patch, "l2", lambda q, p, k: np.tile(np.arange(k), (q.shape[0], 1)))


@mutation("rotation", "nearest by L2 are the farthest", "l2: the five nearest")
def _(patch: Patch) -> None:
    def farthest(queries: Array, points: Array, k: int) -> Array:
        return np.argsort(-distances.pairwise(queries, points), axis=1)[:, :k]

    _replace_nearest(patch, "l2", farthest)


@mutation("rotation", "nearest by L1 are any rows", "l1: the five nearest")
def _(patch: Patch) -> None:
    rng = np.random.default_rng(0)
    _replace_nearest(patch, "l1", lambda q, p, k: rng.integers(0, p.shape[0], (q.shape[0], k)))


def _replace_nearest(patch: Patch, broken: str, rows: Any) -> None:
    def nearest(queries: Array, points: Array, k: int, metric: str) -> tuple[Array, Array]:
        found = distances.nearest(queries, points, k, metric)
        return (found[0], rows(queries, points, k)) if metric == broken else found

    patch.setattr(xpcls.lecture._distance, "nearest", nearest)


@mutation("curse", "distances are squared", "contrast in 2 dimensions")
def _(patch: Patch) -> None:
    patch.setattr(
        xpcls.lecture._neighbors, "pairwise", lambda q, p: distances.pairwise(q, p, "sqeuclidean")
    )


@mutation("curse", "L1 is taken for L2", "the largest |distance - the formula's|")
def _(patch: Patch) -> None:
    patch.setattr(xpcls.lecture._neighbors, "pairwise", lambda q, p: distances.pairwise(q, p, "l1"))


@mutation("polar", "the angle is always 0", "|(r cos theta, r sin theta) - (x, y)|")
def _(patch: Patch) -> None:
    _replace_polar(patch, lambda polar: polar * np.asarray([1.0, 0.0], dtype=polar.dtype))


@mutation("polar", "the angle is any angle", "|(r cos theta, r sin theta) - (x, y)|")
def _(patch: Patch) -> None:
    rng = np.random.default_rng(0)

    def anywhere(polar: Array) -> Array:
        return np.stack([polar[:, 0], rng.uniform(-3.0, 3.0, polar.shape[0])], axis=1)

    _replace_polar(patch, anywhere)


@mutation("polar", "the radius is squared", "|(r cos theta, r sin theta) - (x, y)|")
def _(patch: Patch) -> None:
    _replace_polar(patch, lambda polar: np.stack([polar[:, 0] ** 2, polar[:, 1]], axis=1))


def _replace_polar(patch: Patch, change: Any) -> None:
    transform = PolarMap.transform
    patch.setattr(PolarMap, "transform", lambda self, X: change(transform(self, X)))


@mutation("features", "HOG counts all edges alike", "HOG at twice the contrast / HOG")
def _(patch: Patch) -> None:
    gradients = xpcls.features._hog.oriented_gradients

    def alike(images: Array, *options: Any) -> tuple[Array, Array]:
        bins, lengths = gradients(images, *options)
        return bins, 0.0 * lengths + 1.0

    patch.setattr(xpcls.features._hog, "oriented_gradients", alike)


@pytest.mark.parametrize("broken", MUTATIONS, ids=lambda m: f"{m.claim}: {m.what}")
def test_a_claim_fails_where_its_algorithm_is_broken(
    broken: Mutation, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken.check(monkeypatch)


def test_every_claim_has_a_mutation() -> None:
    assert {m.claim for m in MUTATIONS} == set(CLAIMS) - TRAINED
