"""Each claim of the lecture fails when the algorithm that it is about is broken on purpose."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

import xpcls.distances._nearest
import xpcls.distances._pairwise
import xpcls.features._hog
import xpcls.lecture._neighbors
import xpcls.linear
import xpcls.linear_model
import xpcls.neighbors
from xpcls import distances, layers, losses, training
from xpcls.features import ColorHistogram, PolarMap
from xpcls.lecture import CLAIMS, ClaimFailed
from xpcls.linear_model import LinearModel
from xpcls.neighbors import KNeighborsClassifier
from xpcls_backends import Array, get_backend, namespace_of

Patch = pytest.MonkeyPatch
Break = Callable[[Patch], None]


@dataclass(frozen=True)
class Mutation:
    """What is broken, and the assertion of the claim that has to see it first."""

    claim: str
    what: str
    seen_by: str
    apply: Break


MUTATIONS: list[Mutation] = []


def mutation(claim: str, what: str, seen_by: str) -> Callable[[Break], Break]:
    def enter(apply: Break) -> Break:
        MUTATIONS.append(Mutation(claim, what, seen_by, apply))
        return apply

    return enter


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

    patch.setattr(xpcls.neighbors, "nearest", skipping)


@mutation("curse", "distances look at two features alone", "contrast / that in fewer dimensions")
def _(patch: Patch) -> None:
    patch.setattr(
        xpcls.lecture._neighbors,
        "pairwise",
        lambda queries, points: distances.pairwise(queries[:, :2], points[:, :2]),
    )


@mutation("curse", "neighbours are found by two features alone", "accuracy of 5-NN beside 1024")
def _(patch: Patch) -> None:
    patch.setattr(
        xpcls.neighbors,
        "nearest",
        lambda q, p, k, *options: distances.nearest(q[:, :2], p[:, :2], k, *options),
    )


@mutation("bias", "the bias is not trained", "the largest |difference of biases")
def _(patch: Patch) -> None:
    objective = LinearModel.objective

    def unbiased(self: LinearModel, *given: Any) -> Any:
        value, gradients = objective(self, *given)
        if gradients is None:
            return value, None
        return value, (gradients[0], 0.0 * gradients[1])

    patch.setattr(LinearModel, "objective", unbiased)


@mutation("bias", "the bias is punished like a weight", "the largest |difference of biases")
def _(patch: Patch) -> None:
    objective = LinearModel.objective

    def punished(self: LinearModel, parameters: Any, *given: Any) -> Any:
        value, gradients = objective(self, parameters, *given)
        if gradients is None:
            return value, None
        return value, (gradients[0], gradients[1] + 0.1 * parameters[1])

    patch.setattr(LinearModel, "objective", punished)


@mutation("two-headed-horse", "the softmax has no gradient", "correlation with a head on the left")
def _(patch: Patch) -> None:
    patch.setitem(losses.LOSSES, "softmax", _without_gradient)


@mutation("two-headed-horse", "templates are negatives", "correlation with a head on the left")
def _(patch: Patch) -> None:
    stretched = xpcls.linear.stretched
    patch.setattr(xpcls.linear, "stretched", lambda w, shape: 255 - stretched(w, shape))


@mutation("two-headed-horse", "rows and columns change places", "correlation with a head on the")
def _(patch: Patch) -> None:
    stretched = xpcls.linear.stretched
    patch.setattr(xpcls.linear, "stretched", lambda w, shape: stretched(w, shape).mT)


@mutation("parity", "the network's relu does nothing", "2 bits: accuracy of the network")
def _(patch: Patch) -> None:
    patch.setattr(layers.Activation, "forward", lambda self, x, arrays, now: x)


@mutation("parity", "neighbours are one row off", "2 bits: accuracy of 5-NN")
def _(patch: Patch) -> None:
    def off_by_one(queries: Array, points: Array, k: int, *options: Any) -> tuple[Array, Array]:
        found, indices = distances.nearest(queries, points, k, *options)
        return found, (indices + 1) % points.shape[0]

    patch.setattr(xpcls.neighbors, "nearest", off_by_one)


@mutation("margin", "the hinge has no maximum with 0", "the largest |hinge| beyond the margin")
def _(patch: Patch) -> None:
    def margins(scores: Array, truth: Array, delta: float) -> Array:
        own = namespace_of(scores).sum(scores * truth, axis=1, keepdims=True)
        return (scores - own + delta) * (1.0 - truth)

    patch.setattr(losses, "_margins", margins)


@mutation("margin", "the softmax's gradient is cut off", "the largest derivative of the softmax")
def _(patch: Patch) -> None:
    softmax = losses.softmax

    def cut(scores: Array, y: Array, **options: Any) -> tuple[Array, Array]:
        value, gradient = softmax(scores, y, **options)
        xp = namespace_of(gradient)
        return value, xp.where(xp.abs(gradient) < 0.1, 0.0 * gradient, gradient)

    patch.setattr(losses, "softmax", cut)


@mutation("margin", "the hinge's gradient is halved", "its largest derivative before")
def _(patch: Patch) -> None:
    hinge = losses.hinge

    def halved(*given: Any, **options: Any) -> tuple[Array, Array]:
        value, gradient = hinge(*given, **options)
        return value, gradient / 2

    patch.setattr(losses, "hinge", halved)


@mutation("one-dial", "the penalty ignores its strength", "the largest relative difference")
def _(patch: Patch) -> None:
    l2 = xpcls.linear_model.l2
    patch.setattr(xpcls.linear_model, "l2", lambda weights, strength: l2(weights, 1.0))


@mutation("one-dial", "the margin is always 1", "the largest relative difference")
def _(patch: Patch) -> None:
    hinge = losses.hinge

    def fixed(scores: Array, y: Array, delta: float = 1.0, **options: Any) -> tuple[Array, Array]:
        return hinge(scores, y, **options)

    patch.setitem(losses.LOSSES, "hinge", fixed)


@mutation("one-dial", "the penalty is left out of training", "ratio of the weights where lambda")
def _(patch: Patch) -> None:
    l2 = xpcls.linear_model.l2

    def valued_only(weights: Array, strength: float) -> tuple[Array, Array]:
        value, gradient = l2(weights, strength)
        return value, 0.0 * gradient

    patch.setattr(xpcls.linear_model, "l2", valued_only)


@mutation("mini-batches", "a batch is always the first rows", "with replacement: |mean gradient")
def _(patch: Patch) -> None:
    batches = training._batches

    def first(X: Array, settings: Any, generator: Any) -> Iterator[Array | None]:
        for rows in batches(X, settings, generator):
            yield rows if rows is None else namespace_of(rows).arange(rows.shape[0])

    patch.setattr(training, "_batches", first)


@mutation(
    "mini-batches",
    "rows are always drawn with replacement",
    "without replacement: |mean gradient",
)
def _(patch: Patch) -> None:
    batches = training._batches

    def replacing(X: Array, settings: Any, generator: Any) -> Iterator[Array | None]:
        from dataclasses import replace

        return batches(X, replace(settings, replace=True), generator)

    patch.setattr(training, "_batches", replacing)


@mutation("mini-batches", "the loss is a sum, not a mean", "with replacement: |mean gradient")
def _(patch: Patch) -> None:
    softmax = losses.LOSSES["softmax"]

    def summed(scores: Array, y: Array, **options: Any) -> tuple[Array, Array]:
        value, gradient = softmax(scores, y, **options)
        return value * scores.shape[0], gradient * scores.shape[0]

    patch.setitem(losses.LOSSES, "softmax", summed)


@mutation("polar", "the radius is dropped", "accuracy on radius and angle")
def _(patch: Patch) -> None:
    transform = PolarMap.transform
    patch.setattr(PolarMap, "transform", lambda self, X: 0.0 + transform(self, X)[:, 1:])


@mutation("features", "HOG loses negative directions (errata E57)", "|HOG on negatives")
def _(patch: Patch) -> None:
    gradients = xpcls.features._hog.oriented_gradients

    def half(images: Array, orientations: int) -> tuple[Array, Array]:
        bins, lengths = gradients(images, orientations)
        xp = namespace_of(images)
        grey = xp.sum(xp.astype(images, xp.float32), axis=3)
        right = 0.0 * grey
        right[:, :, 1:-1] = grey[:, :, 2:] - grey[:, :, :-2]
        return bins, lengths * xp.astype(right >= 0, lengths.dtype)

    patch.setattr(xpcls.features._hog, "oriented_gradients", half)


@mutation("features", "HOG knows one direction alone", "as they are: HOG - pixels")
def _(patch: Patch) -> None:
    gradients = xpcls.features._hog.oriented_gradients

    def undirected(images: Array, orientations: int) -> tuple[Array, Array]:
        bins, lengths = gradients(images, orientations)
        return 0 * bins, lengths

    patch.setattr(xpcls.features._hog, "oriented_gradients", undirected)


@mutation("features", "hue is dropped", "as they are: hue")
def _(patch: Patch) -> None:
    histograms = ColorHistogram._histograms
    patch.setattr(
        ColorHistogram, "_histograms", lambda self, images: 0.0 * histograms(self, images)
    )


def _without_gradient(scores: Array, y: Array, **options: Any) -> tuple[Array, Array]:
    value, gradient = losses.softmax(scores, y, **options)
    return value, 0.0 * gradient


@pytest.mark.parametrize("broken", MUTATIONS, ids=lambda m: f"{m.claim}: {m.what}")
def test_a_claim_fails_where_its_algorithm_is_broken(
    broken: Mutation, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken.apply(monkeypatch)
    with pytest.raises(ClaimFailed, match=f"failed: {re.escape(broken.seen_by)}") as caught:
        CLAIMS[broken.claim].run(get_backend("numpy"))
    assert "\n" not in str(caught.value)


def test_every_claim_has_a_mutation() -> None:
    assert {m.claim for m in MUTATIONS} == set(CLAIMS)
