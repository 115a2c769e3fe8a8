"""Penalties on weights, each with its gradient. Biases are not penalised.

There is no half in front of L2: R(W) = sum W^2, so its gradient is 2 W. Course hand-outs differ
among themselves here; the lecture's slides and this project do not.
"""

from __future__ import annotations

from xpcls_backends import Array, namespace_of, sign


def l2(weights: Array, strength: float) -> tuple[Array, Array]:
    """strength * sum(W^2) and its gradient 2 * strength * W. It spreads weight over features."""
    return l2_value(weights, strength), (2.0 * strength) * weights


def l2_value(weights: Array, strength: float) -> Array:
    """strength * sum(W^2) alone."""
    return strength * sum_of_squares(weights)


def sum_of_squares(weights: Array) -> Array:
    """sum(W^2), ()."""
    flat = namespace_of(weights).reshape(weights, (-1,))
    return flat @ flat  # vecdot would copy them first on CuPy


def l1(weights: Array, strength: float) -> tuple[Array, Array]:
    """strength * sum(|W|) and its subgradient strength * sign(W), 0 at 0. It favours few features.

    Steps along the subgradient jump across 0 and rarely stop there; see `shrink`.
    """
    xp = namespace_of(weights)
    return strength * xp.sum(xp.abs(weights)), strength * sign(weights)


def elastic_net(weights: Array, l2_strength: float, l1_strength: float) -> tuple[Array, Array]:
    """l2_strength * sum(W^2) + l1_strength * sum(|W|), and its subgradient."""
    (value2, gradient2), (value1, gradient1) = l2(weights, l2_strength), l1(weights, l1_strength)
    return value2 + value1, gradient2 + gradient1


def shrink(weights: Array, threshold: float) -> Array:
    """Each weight moved towards 0 by `threshold`, and to 0 exactly where it would pass it.

    The proximal step of L1: training takes a gradient step on the rest of the loss, then shrinks
    by learning_rate * l1, so that weights become exactly 0 (Parikh and Boyd, Proximal Algorithms,
    2014, section 6.5.2).
    """
    xp = namespace_of(weights)
    return sign(weights) * xp.maximum(xp.abs(weights) - threshold, 0.0)
