"""The linear model that is trained, and the pace at which: scores = X W + b."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from xpcls_backends import (
    Array,
    LinearTask,
    device_of,
    ignore_overflow,
    linear_descent,
    linear_objective,
    linear_scores,
    namespace_of,
    row_blocks,
    row_dots,
    to_scalar,
)

from .losses import LOSSES, MARGIN_LOSSES
from .optimizers import (
    Adam,
    Momentum,
    Nesterov,
    Optimizer,
    Parameters,
    float_dtype,
    heavy_ball,
)
from .regularizers import l1, shrink

LINEAR_LOSSES = (*MARGIN_LOSSES, "softmax")
BIAS_SHARE = 1.0 / 8.0  # of the curvature: see `automatic_pace`


@dataclass(frozen=True)
class LinearModel:
    """The function that is trained: parameters are weights (D, C) and bias weights (C,).

    The bias is the weight of a constant feature, `constant`, which is 1 in the lecture's bias
    trick: b = constant * bias weights. A constant about as long as a row lets one learning rate
    serve weights and bias, whatever the scale of the features.
    """

    loss: str
    delta: float
    l2: float
    l1: float
    constant: float = 1.0

    gathers: ClassVar[bool] = True  # see `xpcls.training`

    def scores(self, parameters: Parameters, X: Array) -> Array:
        """X W + b, (N, C); X (N, D) of any real dtype."""
        weights, bias = parameters
        return linear_scores(X, weights, self.constant * bias)

    def objective(
        self,
        parameters: Parameters,
        X: Array,
        y: Array,
        sample_weight: Array | None,
        with_gradient: bool,
        rows: Array | None = None,
    ) -> tuple[Array, Parameters | None]:
        """Mean loss plus l2 sum(W^2) plus l1 sum(|W|), and the gradient without its l1 part.

        L1 is left to `after_step`, which can make weights exactly 0. `sample_weight` has mean 1
        over all rows: a mini-batch of heavy rows then counts for more than one of light rows,
        and the mean over mini-batches is the weighted mean over the rows. rows : positions in X
        of the mini-batch, to which y and sample_weight belong; None for all of X.
        """

        def of_scores(scores: Array) -> tuple[Array, Array]:
            options = {"delta": self.delta} if self.loss in MARGIN_LOSSES else {}
            value, gradient = LOSSES[self.loss](
                scores, y, sample_weight=sample_weight, validate=False, **options
            )
            if sample_weight is None:
                return value, gradient
            share = namespace_of(scores).mean(sample_weight)
            return value * share, gradient * share

        data = (X, rows, y, sample_weight)
        value, gradients = linear_objective(
            self._task(), parameters, *data, of_scores, with_gradient
        )
        if self.l1:
            value = value + l1(parameters[0], self.l1)[0]
        return value, gradients

    def descend(
        self,
        optimizer: Optimizer,
        parameters: Parameters,
        state: Any,
        data: tuple[Array, Array, Array | None],
        order: Array,
        batch_size: int,
        rate: float,
    ) -> tuple[Parameters, Any, Array] | None:
        """Several steps at once; see `xpcls.training`. Without L1, plain or with momentum."""
        decay = heavy_ball(optimizer)
        if decay is None or self.l1:
            return None
        t, kept = state
        velocities = tuple(arrays[0] for arrays in kept) if decay else parameters
        found = linear_descent(
            self._task(), parameters, velocities, *data, order, batch_size, rate, decay
        )
        if found is None:
            return None
        parameters, velocities, losses = found
        kept = tuple((v,) for v in velocities) if decay else kept
        return parameters, (t + losses.shape[0], kept), losses

    def _task(self) -> LinearTask:
        return LinearTask(self.loss, self.delta, self.l2, self.constant)

    def after_step(self, parameters: Parameters, rate: float) -> Parameters:
        """The proximal step of L1."""
        weights, bias = parameters
        return (shrink(weights, rate * self.l1) if self.l1 else weights), bias


@dataclass(frozen=True)
class Pace:
    """How fast to learn: the rate, and the constant feature whose weight is the bias."""

    rate: float
    constant: float = 1.0


def curvature(loss: str, n_classes: int) -> float:
    """About the largest second derivative of a loss along the scores.

    Softmax's is at most 1/2, and the kinked losses do well with it. The square of a margin has 2,
    and n_classes - 1 of them pull at the true class together.
    """
    return float(n_classes) if loss == "squared_hinge" else 0.5


def automatic_pace(
    rows: Array,
    optimizer: Optimizer,
    steepest: float,
    l2: float,
    sample_weight: Array | None = None,
) -> Pace:
    """A learning rate, and a constant feature for the bias, that fit the scale of the rows.

    `steepest` : the `curvature` of the loss. Along the weights that of the objective is at most
    h = steepest * mean |x|^2 + 2 l2, and steps up to 2 / h are stable. The constant feature adds
    BIAS_SHARE of that, so the bias learns a little slower than the weights, and l2 is counted
    twice, since a step of 2 / h would only swing to and fro where l2 is most of h. That is the
    rate for steps along the gradient; (1 - decay) of it with momentum, which adds up steps;
    0.1 / r for Adam and the searches, whose steps do not shrink with the gradient, with r the
    length of a row and its constant.

    Scaling all features by c scales the weights by 1 / c, and changes no prediction where l2 and
    l1 are 0 or scaled with the weights.
    """
    squared = _mean_square(rows, sample_weight) or 1.0  # features that are all 0 say nothing
    if not math.isfinite(squared):
        raise ValueError(
            f"X holds values whose squares overflow {float_dtype(rows)}; scale it to about 1"
        )
    steepness = steepest * squared + 4.0 * l2
    constant = math.sqrt(BIAS_SHARE * steepness / steepest)
    if optimizer.uses_gradient and not isinstance(optimizer, Adam):
        decay = optimizer.decay if isinstance(optimizer, Momentum | Nesterov) else 0.0
        return Pace(2.0 * (1.0 - decay) / ((1.0 + BIAS_SHARE) * steepness), constant)
    return Pace(0.1 / math.sqrt(squared + constant**2), constant)


def _mean_square(rows: Array, sample_weight: Array | None) -> float:
    """The mean of |x|^2 over the rows. Reads the host once, or twice where there are weights."""
    xp, device = namespace_of(rows), device_of(rows)
    total = xp.asarray(0.0, dtype=float_dtype(rows), device=device)
    with ignore_overflow():
        for some in row_blocks(rows.shape[0], 1024):
            block = xp.astype(rows[some, :], total.dtype, copy=False)
            squares = row_dots(block, block)
            if sample_weight is not None:
                squares = squares * sample_weight[some]
            total = total + xp.sum(squares)
    share = rows.shape[0] if sample_weight is None else to_scalar(xp.sum(sample_weight))
    return float(to_scalar(total)) / float(share)


def stretched(weights: Array, image_shape: tuple[int, ...]) -> Array:
    """Rows of weights (C, D) as images (C, *image_shape) uint8, each from 0 to 255."""
    xp = namespace_of(weights)
    low = xp.min(weights, axis=1, keepdims=True)
    span = xp.max(weights, axis=1, keepdims=True) - low
    span = xp.where(span > 0, span, xp.ones_like(span))
    pixels = xp.astype(xp.round((weights - low) / span * 255.0), xp.uint8)
    return xp.reshape(pixels, (-1, *image_shape))


def zero_parameters(X: Array, n_classes: int) -> Parameters:
    """Zero weights are as good a start as any for a linear model, and its loss there is known."""
    xp, device = namespace_of(X), device_of(X)
    dtype = float_dtype(X)
    return (
        xp.zeros((n_classes, X.shape[1]), dtype=dtype, device=device).mT,
        xp.zeros((n_classes,), dtype=dtype, device=device),
    )
