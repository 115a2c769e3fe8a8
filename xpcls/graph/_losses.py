"""The losses of `xpcls.losses` as operations: scores in, one number out."""

from __future__ import annotations

from typing import Any

from xpcls import losses
from xpcls_backends import Array, Namespace

from ._variable import Pulls, operation

Result = tuple[Array, Pulls]


@operation
def softmax_cross_entropy(
    xp: Namespace, scores: Array, /, y: Array, *, sample_weight: Any = None, validate: bool = True
) -> Result:
    """`losses.softmax`: the mean of -ln softmax(scores)[y]. scores (N, C), y (N,) classes."""
    return _scaled(losses.softmax(scores, y, sample_weight=sample_weight, validate=validate))


@operation
def hinge(
    xp: Namespace,
    scores: Array,
    /,
    y: Array,
    *,
    delta: float = 1.0,
    sample_weight: Any = None,
    validate: bool = True,
) -> Result:
    """`losses.hinge`, the multiclass hinge of Weston and Watkins."""
    return _scaled(losses.hinge(scores, y, delta, sample_weight=sample_weight, validate=validate))


@operation
def squared_hinge(
    xp: Namespace,
    scores: Array,
    /,
    y: Array,
    *,
    delta: float = 1.0,
    sample_weight: Any = None,
    validate: bool = True,
) -> Result:
    """`losses.squared_hinge`."""
    return _scaled(
        losses.squared_hinge(scores, y, delta, sample_weight=sample_weight, validate=validate)
    )


@operation
def one_vs_all(
    xp: Namespace,
    scores: Array,
    /,
    y: Array,
    *,
    delta: float = 1.0,
    sample_weight: Any = None,
    validate: bool = True,
) -> Result:
    """`losses.one_vs_all`, a binary hinge for each class."""
    return _scaled(
        losses.one_vs_all(scores, y, delta, sample_weight=sample_weight, validate=validate)
    )


@operation
def structured(
    xp: Namespace,
    scores: Array,
    /,
    y: Array,
    *,
    delta: float = 1.0,
    sample_weight: Any = None,
    validate: bool = True,
) -> Result:
    """`losses.structured`, the hinge of Crammer and Singer."""
    return _scaled(
        losses.structured(scores, y, delta, sample_weight=sample_weight, validate=validate)
    )


@operation
def squared_error(
    xp: Namespace, scores: Array, /, y: Array, *, sample_weight: Any = None, validate: bool = True
) -> Result:
    """`losses.squared_error`: the mean over rows of |scores - y|^2; y targets or classes."""
    return _scaled(losses.squared_error(scores, y, sample_weight=sample_weight, validate=validate))


def _scaled(loss: tuple[Array, Array]) -> Result:
    value, gradient = loss
    return value, (lambda g: g * gradient,)
