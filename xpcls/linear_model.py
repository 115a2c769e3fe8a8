"""The linear model that is trained, and the pace at which: scores = X W + b."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from xpcls_backends import (
    Array,
    LinearKernel,
    device_of,
    gather,
    ignore_overflow,
    in_threads,
    linear_kernel,
    namespace_of,
    row_blocks,
    share_rows,
    thread_count,
    to_scalar,
)

from .losses import LOSSES, MARGIN_LOSSES
from .optimizers import Adam, Momentum, Nesterov, Optimizer, Parameters, float_dtype
from .regularizers import l1, l2, shrink

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
        offsets = self.constant * bias
        if linear_kernel(X, weights) is None:
            return _float_rows(X, weights) @ weights + offsets
        # Where training has threads of ours, those of a BLAS library would stand in their way.
        xp, n = namespace_of(X), X.shape[0]
        shares = list(row_blocks(n, share_rows(n)))
        found: list[Any] = [None] * len(shares)

        def work(i: int) -> None:
            with ignore_overflow():
                found[i] = _float_rows(X[shares[i], :], weights) @ weights + offsets

        in_threads(work, range(len(shares)), thread_count(xp))
        return xp.concat(found, axis=0)

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
        weights = parameters[0]
        kernel = linear_kernel(X, weights) if with_gradient else None
        given = (parameters, X, y, sample_weight, rows)
        if kernel is None:
            value, of_weights, of_offsets = self._sums(*given, with_gradient)
        else:
            value, of_weights, of_offsets = self._sums_by(kernel, *given)
        if self.l1:
            value = value + l1(weights, self.l1)[0]
        if self.l2:
            # A kernel leaves weights in the order in memory of their transpose.
            penalty, of_penalty = l2(weights if kernel is None else weights.mT, self.l2)
            value = value + penalty
            if with_gradient:
                of_weights += of_penalty if kernel is None else of_penalty.mT
        return value, (of_weights, self.constant * of_offsets) if with_gradient else None

    def _sums(
        self,
        parameters: Parameters,
        X: Array,
        y: Array,
        sample_weight: Array | None,
        rows: Array | None,
        with_gradient: bool,
    ) -> tuple[Array, Any, Any]:
        """The mean loss, and its gradients with respect to the weights and to b."""
        weights = parameters[0]
        xp = namespace_of(weights)
        x = _float_rows(X if rows is None else gather(X, rows), weights)
        options = {"delta": self.delta} if self.loss in MARGIN_LOSSES else {}
        value, of_scores = LOSSES[self.loss](
            self.scores(parameters, x), y, sample_weight=sample_weight, validate=False, **options
        )
        if sample_weight is not None:
            share = xp.mean(sample_weight)
            value, of_scores = value * share, of_scores * share
        if not with_gradient:
            return value, None, None
        return value, x.mT @ of_scores, xp.sum(of_scores, axis=0)

    def _sums_by(
        self,
        kernel: LinearKernel,
        parameters: Parameters,
        X: Array,
        y: Array,
        sample_weight: Array | None,
        rows: Array | None,
    ) -> tuple[Array, Array, Array]:
        """`_sums` by a kernel, in threads.

        Shares of rows are added up in order, so the number of threads changes no bit.
        """
        weights, bias = parameters
        xp, device, n = namespace_of(weights), device_of(weights), y.shape[0]
        offsets = self.constant * bias
        rows = xp.arange(n, device=device) if rows is None else rows
        if sample_weight is None:
            factors = xp.full((n,), 1.0 / n, dtype=weights.dtype, device=device)
        else:
            factors = xp.astype(sample_weight, weights.dtype, copy=False) / n
        shares = list(row_blocks(n, share_rows(n)))
        parts: list[Any] = [None] * len(shares)

        def work(i: int) -> None:
            some = shares[i]
            batch = (X, rows[some], y[some], factors[some])
            parts[i] = kernel(self.loss, self.delta, *batch, weights, offsets)

        in_threads(work, range(len(shares)), thread_count(xp))
        value, of_weights, of_offsets = parts[0]
        for more, of_more_weights, of_more_offsets in parts[1:]:
            value = value + more
            of_weights += of_more_weights
            of_offsets += of_more_offsets
        return value, of_weights, of_offsets

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
            squares = xp.vecdot(block, block)
            if sample_weight is not None:
                squares = squares * sample_weight[some]
            total = total + xp.sum(squares)
    share = rows.shape[0] if sample_weight is None else to_scalar(xp.sum(sample_weight))
    return float(to_scalar(total)) / float(share)


def _float_rows(X: Array, weights: Array) -> Array:
    """X in the dtype of the weights."""
    return namespace_of(X).astype(X, weights.dtype, copy=False)


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
