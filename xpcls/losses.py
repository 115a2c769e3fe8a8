"""Losses of scores, each with its gradient, as the lectures define them.

Every loss takes `scores` (N, C) floating, and `y` (N,) integers, the true class of each row, and
returns

    value : array of no dimension, the mean over examples; weighted by `sample_weight` if given
    gradient : (N, C), the derivative of `value` with respect to `scores`

in the dtype and on the device of `scores`. Below, s is one row of scores, y its class, C the
number of classes. At a kink, where a margin is exactly 0, the gradient takes the flat side.

Validation reads the range of `y` on the host. Training, whose labels are known to be good, passes
`validate=False`; CuPy would wrap a class that is out of range, silently.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

from xpcls_backends import Array, device_of, mean_loss, namespace_of, to_scalar

Loss = Callable[..., tuple[Array, Array]]
AnyLoss = TypeVar("AnyLoss", bound=Loss)


def _or_by_kernel(loss: AnyLoss) -> AnyLoss:
    """The loss as it is written, or by the kernel of the same name where there is one.

    Only where `y` is known to be good, as in training: a kernel checks nothing.
    """

    @functools.wraps(loss)
    def either(scores: Array, y: Array, *delta: float, **given: Any) -> tuple[Array, Array]:
        if not given.get("validate", True):
            margin = delta[0] if delta else given.get("delta", 1.0)
            found = mean_loss(loss.__name__, scores, y, margin, given.get("sample_weight"))
            if found is not None:
                return found
        return loss(scores, y, *delta, **given)

    return cast(AnyLoss, either)


@_or_by_kernel
def hinge(
    scores: Array,
    y: Array,
    delta: float = 1.0,
    *,
    sample_weight: Array | None = None,
    validate: bool = True,
) -> tuple[Array, Array]:
    """Multiclass hinge of Weston and Watkins: sum_{j != y} max(0, s_j - s_y + delta).

    The lecture's SVM loss; Weston and Watkins, Multi-Class Support Vector Machines, 1998.
    """
    truth = _true_class(scores, y, validate)
    xp = namespace_of(scores)
    margins = _margins(scores, truth, delta)
    raised = xp.astype(margins > 0, scores.dtype)  # each pulls s_j down and s_y up by 1
    gradient = raised - truth * xp.sum(raised, axis=1, keepdims=True)
    return _mean(xp.sum(margins, axis=1), gradient, sample_weight, validate)


@_or_by_kernel
def squared_hinge(
    scores: Array,
    y: Array,
    delta: float = 1.0,
    *,
    sample_weight: Array | None = None,
    validate: bool = True,
) -> tuple[Array, Array]:
    """Squared multiclass hinge: sum_{j != y} max(0, s_j - s_y + delta)^2.

    The square is outside the maximum: a margin that is met costs nothing.
    """
    truth = _true_class(scores, y, validate)
    xp = namespace_of(scores)
    margins = _margins(scores, truth, delta)
    raised = 2.0 * margins
    gradient = raised - truth * xp.sum(raised, axis=1, keepdims=True)
    return _mean(xp.sum(margins * margins, axis=1), gradient, sample_weight, validate)


@_or_by_kernel
def one_vs_all(
    scores: Array,
    y: Array,
    delta: float = 1.0,
    *,
    sample_weight: Array | None = None,
    validate: bool = True,
) -> tuple[Array, Array]:
    """One binary hinge a class: sum_j max(0, delta - t_j s_j), t_j = 1 for j = y, else -1."""
    truth = _true_class(scores, y, validate)
    xp = namespace_of(scores)
    sign = 2.0 * truth - 1.0
    margins = xp.maximum(delta - sign * scores, 0.0)
    gradient = -sign * xp.astype(margins > 0, scores.dtype)
    return _mean(xp.sum(margins, axis=1), gradient, sample_weight, validate)


@_or_by_kernel
def structured(
    scores: Array,
    y: Array,
    delta: float = 1.0,
    *,
    sample_weight: Array | None = None,
    validate: bool = True,
) -> tuple[Array, Array]:
    """Hinge of the worst class alone: max(0, max_{j != y} s_j - s_y + delta).

    Crammer and Singer, On the Algorithmic Implementation of Multiclass Kernel-based Vector
    Machines, 2001. Where several classes are worst, the gradient goes to the first.
    """
    truth = _true_class(scores, y, validate)
    xp, device = namespace_of(scores), device_of(scores)
    margins = _margins(scores, truth, delta)
    worst = xp.argmax(margins, axis=1, keepdims=True)
    classes = xp.arange(scores.shape[1], dtype=worst.dtype, device=device)
    raised = xp.astype((classes[None, :] == worst) & (margins > 0), scores.dtype)
    gradient = raised - truth * xp.sum(raised, axis=1, keepdims=True)
    return _mean(xp.max(margins, axis=1), gradient, sample_weight, validate)


@_or_by_kernel
def softmax(
    scores: Array,
    y: Array,
    *,
    sample_weight: Array | None = None,
    validate: bool = True,
) -> tuple[Array, Array]:
    """Cross-entropy of the softmax: -ln(exp(s_y) / sum_j exp(s_j)).

    Multinomial logistic regression. The largest score of each row is subtracted first, which
    changes nothing but keeps exp from overflowing. The gradient is p - 1[j = y].
    """
    truth = _true_class(scores, y, validate)
    xp = namespace_of(scores)
    shifted = scores - xp.max(scores, axis=1, keepdims=True)
    powers = xp.exp(shifted)
    total = xp.sum(powers, axis=1, keepdims=True)
    losses = xp.log(total[:, 0]) - xp.sum(shifted * truth, axis=1)
    return _mean(losses, powers / total - truth, sample_weight, validate)


@_or_by_kernel
def squared_error(
    scores: Array,
    y: Array,
    *,
    sample_weight: Array | None = None,
    validate: bool = True,
) -> tuple[Array, Array]:
    """Squared distance to a target: sum_j (s_j - t_j)^2.

    `y` is the target (N, C), floating; or (N,) classes, whose target is 1 for the class, else 0.
    """
    xp = namespace_of(scores, y)
    if y.ndim == 2:
        _check_scores(scores)
        if y.shape != scores.shape:
            raise ValueError(f"y has shape {y.shape}, expected that of scores, {scores.shape}")
        target = xp.astype(y, scores.dtype, copy=False)
    else:
        target = _true_class(scores, y, validate)
    difference = scores - target
    losses = xp.sum(difference * difference, axis=1)
    return _mean(losses, 2.0 * difference, sample_weight, validate)


LOSSES: dict[str, Loss] = {
    "hinge": hinge,
    "squared_hinge": squared_hinge,
    "one_vs_all": one_vs_all,
    "structured": structured,
    "softmax": softmax,
    "squared_error": squared_error,
}
MARGIN_LOSSES = ("hinge", "squared_hinge", "one_vs_all", "structured")  # they take delta


def probabilities(scores: Array) -> Array:
    """softmax(scores): exp(s_j) / sum_k exp(s_k), each row summing to 1. (N, C)."""
    xp = namespace_of(scores)
    powers = xp.exp(scores - xp.max(scores, axis=1, keepdims=True))
    return powers / xp.sum(powers, axis=1, keepdims=True)


def _true_class(scores: Array, y: Array, validate: bool) -> Array:
    """(N, C) in the dtype of scores: 1 where the column is the row's class, else 0."""
    xp, device = namespace_of(scores, y), device_of(scores, y)
    if validate:
        _check_scores(scores)
        _check_classes(scores, y)
    # int64, since a small dtype of y may not hold the number of classes.
    classes = xp.arange(scores.shape[1], dtype=xp.int64, device=device)
    y = xp.astype(y, xp.int64, copy=False)
    return xp.astype(y[:, None] == classes[None, :], scores.dtype)


def _margins(scores: Array, truth: Array, delta: float) -> Array:
    """max(0, s_j - s_y + delta), and 0 in the column of the true class."""
    xp = namespace_of(scores)
    own = xp.sum(scores * truth, axis=1, keepdims=True)
    return xp.maximum(scores - own + delta, 0.0) * (1.0 - truth)


def _mean(
    losses: Array, gradient: Array, sample_weight: Array | None, validate: bool
) -> tuple[Array, Array]:
    """Mean over examples of losses (N,), and of the gradients that belong to them (N, C).

    Both are 0 where all weights are 0, which a mini-batch of good weights can be.
    """
    xp = namespace_of(losses)
    if sample_weight is None:
        return xp.mean(losses), gradient / losses.shape[0]
    if validate:
        _check_weight(losses, sample_weight)
    weight = xp.astype(sample_weight, losses.dtype, copy=False)
    total = xp.sum(weight)
    share = weight / xp.where(total > 0, total, xp.ones_like(total))
    return xp.sum(losses * share), gradient * share[:, None]


def _check_scores(scores: Array) -> None:
    xp = namespace_of(scores)
    if scores.ndim != 2 or 0 in scores.shape:
        raise ValueError(f"scores has shape {scores.shape}, expected (N, C) with N, C of 1 or more")
    if not xp.isdtype(scores.dtype, "real floating"):
        raise TypeError(f"scores has dtype {scores.dtype}, expected float32 or float64")


def _check_classes(scores: Array, y: Array) -> None:
    xp = namespace_of(scores, y)
    if y.shape != scores.shape[:1]:
        raise ValueError(f"y has shape {y.shape}, expected {scores.shape[:1]}, one class a row")
    if not xp.isdtype(y.dtype, "integral"):
        raise TypeError(f"y has dtype {y.dtype}, expected integers, the class of each row")
    lowest, highest = to_scalar(xp.min(y)), to_scalar(xp.max(y))
    if lowest < 0 or highest >= scores.shape[1]:
        wrong = lowest if lowest < 0 else highest
        raise ValueError(f"y holds {wrong}, expected classes from 0 to {scores.shape[1] - 1}")


def _check_weight(losses: Array, sample_weight: Array) -> None:
    xp = namespace_of(losses, sample_weight)
    device_of(losses, sample_weight)
    if sample_weight.shape != losses.shape:
        raise ValueError(
            f"sample_weight has shape {sample_weight.shape}, expected {losses.shape}, one a row"
        )
    least, total = to_scalar(xp.min(sample_weight)), to_scalar(xp.sum(sample_weight))
    if not (least >= 0 and 0 < total < float("inf")):
        raise ValueError(
            f"sample_weight has minimum {least} and sum {total}, expected finite weights of 0 or "
            "more that are not all 0"
        )
