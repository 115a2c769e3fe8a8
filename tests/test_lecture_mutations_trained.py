"""Claims about losses and training fail when what they are about is broken."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import xpcls.linear
import xpcls_backends._linear
from tests.lecture_mutations import TRAINED, Mutation, Mutations, Patch, replace_search
from xpcls import distances, layers, losses, training
from xpcls.linear import LinearClassifier
from xpcls.linear_model import LinearModel
from xpcls_backends import Array, LinearTask, namespace_of

MUTATIONS = Mutations()
mutation = MUTATIONS.enter


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
    patch.setattr(layers.BiasedRelu, "forward", layers.Bias.forward)


@mutation("parity", "neighbours are one row off", "2 bits: accuracy of 5-NN")
def _(patch: Patch) -> None:
    def off_by_one(queries: Array, points: Array, k: int, *options: Any) -> tuple[Array, Array]:
        found, indices = distances.nearest(queries, points, k, *options)
        return found, (indices + 1) % points.shape[0]

    replace_search(patch, off_by_one)


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
    task = LinearModel._task

    def of_strength_1(self: LinearModel) -> LinearTask:
        return replace(task(self), l2=1.0) if self.l2 else task(self)

    patch.setattr(LinearModel, "_task", of_strength_1)


@mutation("one-dial", "the margin is always 1", "the largest relative difference")
def _(patch: Patch) -> None:
    hinge = losses.hinge

    def fixed(scores: Array, y: Array, delta: float = 1.0, **options: Any) -> tuple[Array, Array]:
        return hinge(scores, y, **options)

    patch.setitem(losses.LOSSES, "hinge", fixed)


@mutation("one-dial", "the penalty is left out of training", "ratio of the weights where lambda")
def _(patch: Patch) -> None:
    patch.setattr(xpcls_backends._linear, "add_scaled", lambda gradient, factor, weights: None)


@mutation("mini-batches", "a batch is always the first rows", "with replacement: |mean gradient")
def _(patch: Patch) -> None:
    orders = training._orders

    def first(X: Array, settings: Any, generator: Any) -> Iterator[Array | None]:
        for rows in orders(X, settings, generator):
            if rows is not None:
                rows = namespace_of(rows).arange(rows.shape[0]) % settings.batch_size
            yield rows

    patch.setattr(training, "_orders", first)


@mutation(
    "mini-batches",
    "rows are always drawn with replacement",
    "without replacement: |mean gradient",
)
def _(patch: Patch) -> None:
    orders = training._orders

    def replacing(X: Array, settings: Any, generator: Any) -> Iterator[Array | None]:
        return orders(X, replace(settings, replace=True), generator)

    patch.setattr(training, "_orders", replacing)


@mutation("mini-batches", "the loss is a sum, not a mean", "with replacement: |mean gradient")
def _(patch: Patch) -> None:
    softmax = losses.LOSSES["softmax"]

    def summed(scores: Array, y: Array, **options: Any) -> tuple[Array, Array]:
        value, gradient = softmax(scores, y, **options)
        return value * scores.shape[0], gradient * scores.shape[0]

    patch.setitem(losses.LOSSES, "softmax", summed)


@mutation("parity", "linear models have no gradient", "2 bits: their accuracy on the first bit")
def _(patch: Patch) -> None:
    objective = LinearModel.objective

    def flat(self: LinearModel, *given: Any) -> Any:
        value, gradients = objective(self, *given)
        return value, gradients and tuple(0.0 * gradient for gradient in gradients)

    patch.setattr(LinearModel, "objective", flat)


@mutation("parity", "linear models say 0", "2 bits: their accuracy on the first bit")
@mutation("bias", "linear models say 0", "share of rows given to the most frequent class")
def _(patch: Patch) -> None:
    predict = LinearClassifier.predict
    patch.setattr(LinearClassifier, "predict", lambda self, X: 0 * predict(self, X))


@mutation("margin", "the hinge is that of the worst class", "the largest |hinge - its formula|")
def _(patch: Patch) -> None:
    patch.setattr(losses, "hinge", losses.structured)


@mutation("margin", "the softmax has logarithms of 10 (errata E32)", "the largest |softmax - its")
def _(patch: Patch) -> None:
    softmax = losses.softmax

    def decimal(*given: Any, **options: Any) -> tuple[Array, Array]:
        value, gradient = softmax(*given, **options)
        return value / math.log(10.0), gradient / math.log(10.0)

    patch.setattr(losses, "softmax", decimal)


@mutation("margin", "the softmax's scores are divided by 3", "the largest |softmax - its formula|")
def _(patch: Patch) -> None:
    softmax = losses.softmax

    def cooled(scores: Array, y: Array, **options: Any) -> tuple[Array, Array]:
        value, gradient = softmax(scores / 3.0, y, **options)
        return value, gradient / 3.0

    patch.setattr(losses, "softmax", cooled)


@mutation("margin", "the hinge pulls at wrong classes for ever", "its largest |derivative by a sco")
def _(patch: Patch) -> None:
    hinge = losses.hinge

    def pulling(scores: Array, y: Array, **options: Any) -> tuple[Array, Array]:
        value, gradient = hinge(scores, y, **options)
        xp = namespace_of(gradient)
        right = xp.arange(scores.shape[1])[None, :] == y[:, None]
        return value, xp.where(right, gradient, 7.0 + 0.0 * gradient)

    patch.setattr(losses, "hinge", pulling)


@mutation("margin", "the hinge takes class 0 for the right one", "the largest |hinge| beyond")
def _(patch: Patch) -> None:
    hinge = losses.hinge
    patch.setattr(losses, "hinge", lambda scores, y, **options: hinge(scores, 0 * y, **options))


@mutation("one-dial", "the penalty's gradient lacks its 2", "the lowest J for scaled weights")
def _(patch: Patch) -> None:
    add_scaled = xpcls_backends._linear.add_scaled

    def halved(gradient: Array, factor: float, weights: Array) -> None:
        add_scaled(gradient, 0.5 * factor, weights)

    patch.setattr(xpcls_backends._linear, "add_scaled", halved)


@mutation("one-dial", "one-vs-all is its margin", "the largest |J / its formula - 1|")
def _(patch: Patch) -> None:
    def constant(scores: Array, y: Array, delta: float, **options: Any) -> tuple[Array, Array]:
        return delta + 0.0 * namespace_of(scores).sum(scores), 0.0 * scores

    patch.setitem(losses.LOSSES, "one_vs_all", constant)


@mutation("mini-batches", "rows keep their order", "first gradients of two epochs")
def _(patch: Patch) -> None:
    _replace_order(patch, lambda n, epoch: list(range(n)))


@mutation("mini-batches", "each epoch has the same order", "first gradients of two epochs")
def _(patch: Patch) -> None:
    _replace_order(patch, lambda n, epoch: [(7 * i + 3) % n for i in range(n)])


@mutation("mini-batches", "two orders take turns", "first gradients of two epochs")
def _(patch: Patch) -> None:
    _replace_order(patch, lambda n, epoch: [(7 * i + epoch % 2 * 50) % n for i in range(n)])


def _replace_order(patch: Patch, order: Any) -> None:
    """Without replacement, rows come in the order of each epoch; with it, as ever."""
    orders, epochs = training._orders, itertools.count()

    def ordered(X: Array, settings: Any, generator: Any) -> Iterator[Array | None]:
        if settings.replace:
            yield from orders(X, settings, generator)
        else:
            yield np.asarray(order(X.shape[0], next(epochs)))

    patch.setattr(training, "_orders", ordered)


def _without_gradient(scores: Array, y: Array, **options: Any) -> tuple[Array, Array]:
    value, gradient = losses.softmax(scores, y, **options)
    return value, 0.0 * gradient


@pytest.mark.parametrize("broken", MUTATIONS, ids=lambda m: f"{m.claim}: {m.what}")
def test_a_claim_fails_where_its_algorithm_is_broken(
    broken: Mutation, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken.check(monkeypatch)


def test_every_claim_has_a_mutation() -> None:
    assert {m.claim for m in MUTATIONS} == TRAINED
