"""What the values of f on a line through x say about its slope there, and of the gradient given.

All arrays (P,) on the host, one entry a coordinate; values of f are given minus f(x).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xpcls_backends import namespace_of

HALVES = (-1.0, -0.5, 0.0, 0.5, 1.0)  # where f is looked at a second time, in steps
EPSILON = 2.0**-52
# Rounding: a slope over one step is wrong by at most so many EPSILON * |f| / step. A generous
# guess, since nobody knows how f is computed; it matters for entries close to 0 alone.
ROUNDING = 32.0
# Slopes to both sides that differ by more, relative, are looked at again: where the gradient lies
# in the middle of a kink, the central difference alone would not show it. Where f is smooth they
# differ by h f'', which is as much for entries close to 0 alone.
BEND = 0.1


@dataclass
class Slopes:
    """numerical : what the gradient is compared with. errors : relative, infinite for NaN.

    unclear : where a kink may be in the way; after a second look, where one is.
    """

    numerical: Any
    errors: Any
    unclear: Any


def at_a_step(
    analytic: Any, steps: Any, above: Any, below: Any, width: Any, size: float, tolerance: float
) -> Slopes:
    """From f at x + step and x - step, `width` apart. size : |f(x)|."""
    xp = namespace_of(analytic)
    central = (above - below) / width
    both = xp.abs(analytic) + xp.abs(central)
    noise = ROUNDING * EPSILON * size / steps
    errors = _relative(analytic, central, both, noise, tolerance)
    bent = xp.abs(above + below) > steps * xp.maximum(BEND * both, noise)
    return Slopes(central, errors, (errors > tolerance) | bent)


def at_half_steps(
    analytic: Any, points: Any, changes: Any, size: float, tolerance: float
) -> Slopes:
    """From f at the five points HALVES; points and changes (P, 5)."""
    xp = namespace_of(analytic)
    slopes = (changes[:, 1:] - changes[:, :-1]) / (points[:, 1:] - points[:, :-1])
    central = (changes[:, 4] - changes[:, 0]) / (points[:, 4] - points[:, 0])
    size = size + xp.max(xp.abs(changes), axis=1)
    noise = ROUNDING * EPSILON * size / (points[:, 4] - points[:, 2])
    # Where f is smooth the slopes of neighbouring half steps differ evenly, by h/2 f''. A kink
    # adds its jump at one or two of the three places where they meet, never equally at all
    # three, and what it adds to the differences bounds what it adds to the central one.
    bends = slopes[:, 1:] - slopes[:, :-1]
    unevenness = xp.max(bends, axis=1) - xp.min(bends, axis=1)
    kinked = unevenness > xp.maximum(noise, tolerance * (xp.abs(analytic) + xp.abs(central)))
    low = xp.min(slopes, axis=1) - unevenness
    high = xp.max(slopes, axis=1) + unevenness
    between = xp.minimum(xp.maximum(analytic, low), high)
    numerical = xp.where(kinked, between, central)
    both = xp.abs(analytic) + xp.abs(numerical)
    return Slopes(numerical, _relative(analytic, numerical, both, noise, tolerance), kinked)


def _relative(analytic: Any, numerical: Any, both: Any, noise: Any, tolerance: float) -> Any:
    """|a - n| / (|a| + |n|), or less where the noise of n is more than the tolerance."""
    xp = namespace_of(analytic)
    floor = xp.maximum(noise / tolerance, 1e-300)  # 0/0 is 0
    errors = xp.abs(analytic - numerical) / xp.maximum(both, floor)
    # Not a number is as wrong as can be.
    return xp.where(xp.isnan(errors), xp.full_like(errors, float("inf")), errors)
