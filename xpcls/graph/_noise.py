"""Operations that training has and prediction has not: batch normalisation and dropout."""

from __future__ import annotations

import math
from typing import Any

from xpcls_backends import Array, Namespace, counter_bits, device_of, namespace_of

from ._variable import OPERATIONS, Pulls, operation, value_of

Result = tuple[Array, Pulls]


def moments(x: Any) -> tuple[Array, Array]:
    """Mean and variance, without Bessel's correction, over all axes but the last: two of (C,)."""
    value = value_of(x)
    xp = namespace_of(value)
    axes = tuple(range(value.ndim - 1))
    mean = xp.mean(value, axis=axes)
    centered = value - mean
    return mean, xp.mean(centered * centered, axis=axes)


def batch_norm(
    x: Any, gamma: Any, beta: Any, *, statistics: Any = None, epsilon: float = 1e-5
) -> Any:
    """gamma (x - mean) / sqrt(variance + epsilon) + beta, for each channel, the last axis.

    x : (N, C) or (N, H, W, C). gamma, beta : (C,).
    statistics : (mean, variance), each (C,), as in prediction; None for those of this batch, as
        in training, through which the gradient then flows too.

    Ioffe and Szegedy, Batch Normalization, 2015; the gradient is dx = gamma / sigma *
    (g - mean(g) - n mean(g n)), n the normalised x.
    """
    mean, variance = moments(x) if statistics is None else statistics
    return OPERATIONS["_batch_norm"](
        x,
        gamma,
        beta,
        mean=mean,
        variance=variance,
        epsilon=epsilon,
        of_batch=statistics is None,
    )


@operation
def _batch_norm(
    xp: Namespace,
    x: Array,
    gamma: Array,
    beta: Array,
    /,
    mean: Array,
    variance: Array,
    epsilon: float,
    of_batch: bool,
) -> Result:
    """See `batch_norm`. `of_batch` : mean and variance are those of x, and move with it."""
    axes = tuple(range(x.ndim - 1))
    count = max(1, math.prod(x.shape[:-1]))
    scale = 1.0 / xp.sqrt(variance + epsilon)
    normal = (x - mean) * scale

    def pull(g: Array, wanted: tuple[bool, ...]) -> tuple[Array | None, ...]:
        of_beta = xp.sum(g, axis=axes)
        of_gamma = xp.sum(g * normal, axis=axes)
        of_x = None
        if wanted[0] and of_batch:
            of_x = (g - of_beta / count - normal * (of_gamma / count)) * (gamma * scale)
        elif wanted[0]:
            of_x = g * (gamma * scale)
        return of_x, of_gamma, of_beta

    return normal * gamma + beta, pull


@operation
def dropout(xp: Namespace, x: Array, /, rate: float, *, key: int, first_row: int = 0) -> Result:
    """Each entry is 0 with probability `rate`, else divided by 1 - rate; the mean stays.

    key : a number of 64 bits that says which mask. An entry's bits depend on the key and on its
    place alone, so a mask is the same on every backend. first_row : where the rows of x stand in
    a batch that is worked on in parts; its mask does not depend on them.

    Srivastava and others, Dropout, 2014.
    """
    if not 0.0 <= rate < 1.0:
        raise ValueError(f"rate is {rate}, expected at least 0 and below 1")
    width = math.prod(x.shape[1:])
    bits = counter_bits(xp, device_of(x), key, first_row * width, x.shape[0] * width)
    kept = xp.astype(bits >= round(rate * 2**32), x.dtype)
    mask = xp.reshape(kept, x.shape) * (1.0 / (1.0 - rate))
    return x * mask, (lambda g: g * mask,)
