"""Operations entry by entry. z is the output, g the gradient with respect to it."""

from __future__ import annotations

import math
from typing import Any

from xpcls_backends import Array, Namespace, sign

from ._variable import Pulls, operation

Result = tuple[Array, Pulls]


@operation
def add(xp: Namespace, x: Array, y: Array, /) -> Result:
    """x + y. A distributor: both inputs get the gradient as it is."""
    return x + y, (_same, _same)


@operation
def subtract(xp: Namespace, x: Array, y: Array, /) -> Result:
    """x - y."""
    return x - y, (_same, lambda g: -g)


@operation
def multiply(xp: Namespace, x: Array, y: Array, /) -> Result:
    """x y. A switcher: each input gets the gradient times the other input."""
    return x * y, (lambda g: g * y, lambda g: g * x)


@operation
def divide(xp: Namespace, x: Array, y: Array, /) -> Result:
    """x / y."""
    z = x / y
    return z, (lambda g: g / y, lambda g: -g * z / y)


@operation
def negative(xp: Namespace, x: Array, /) -> Result:
    """-x."""
    return -x, (lambda g: -g,)


@operation
def power(xp: Namespace, x: Array, y: Array, /) -> Result:
    """x to the power of y: dz/dx = y x^(y - 1), dz/dy = z ln x."""
    z = x * x if _is_number(y, 2.0) else x**y

    def of_base(g: Array) -> Array:
        if _is_number(y, 0.0):
            return g * 0.0  # not 0 x^-1, which is NaN at x = 0
        return g * (y * (x if _is_number(y, 2.0) else x ** (y - 1.0)))

    def of_exponent(g: Array) -> Array:
        return g * z * (math.log(x) if isinstance(x, int | float) else xp.log(x))

    return z, (of_base, of_exponent)


@operation
def exp(xp: Namespace, x: Array, /) -> Result:
    """e^x: dz/dx = z."""
    z = xp.exp(x)
    return z, (lambda g: g * z,)


@operation
def log(xp: Namespace, x: Array, /) -> Result:
    """The natural logarithm: dz/dx = 1 / x."""
    return xp.log(x), (lambda g: g / x,)


@operation
def sqrt(xp: Namespace, x: Array, /) -> Result:
    """The square root: dz/dx = 1 / (2 z)."""
    z = xp.sqrt(x)
    return z, (lambda g: g / (2.0 * z),)


@operation
def abs(xp: Namespace, x: Array, /) -> Result:
    """|x|: dz/dx = sign x, and 0 at 0."""
    return xp.abs(x), (lambda g: g * sign(x),)


@operation
def sigmoid(xp: Namespace, x: Array, /) -> Result:
    """1 / (1 + e^-x) as one node: dz/dx = z (1 - z).

    e^-x is cut off below the largest float, so that nothing overflows: where that shows, z is
    below the smallest normal float.
    """
    z = xp.exp(xp.minimum(-x, _log_of_largest(xp, x.dtype)))
    z += 1.0
    z = 1.0 / z

    def pull(g: Array) -> Array:
        slope = 1.0 - z
        slope *= z
        slope *= g
        return slope

    return z, (pull,)


@operation
def tanh(xp: Namespace, x: Array, /) -> Result:
    """The hyperbolic tangent: dz/dx = 1 - z^2."""
    z = xp.tanh(x)
    return z, (lambda g: g * (1.0 - z * z),)


@operation
def relu(xp: Namespace, x: Array, /) -> Result:
    """max(x, 0). A gate that is open where x > 0; at 0 it is shut."""
    z = xp.maximum(x, 0.0)

    def pull(g: Array) -> Array:
        gate = sign(z)
        gate *= g
        return gate

    return z, (pull,)


@operation
def maximum(xp: Namespace, x: Array, y: Array, /) -> Result:
    """The larger of x and y. A router: the gradient goes to the larger, to x where both are."""
    z = xp.maximum(x, y)
    return z, (
        lambda g: g * xp.astype(x >= y, z.dtype),
        lambda g: g * xp.astype(x < y, z.dtype),
    )


@operation
def minimum(xp: Namespace, x: Array, y: Array, /) -> Result:
    """The smaller of x and y; the gradient goes to the smaller, to x where both are."""
    z = xp.minimum(x, y)
    return z, (
        lambda g: g * xp.astype(x <= y, z.dtype),
        lambda g: g * xp.astype(x > y, z.dtype),
    )


@operation
def where(xp: Namespace, condition: Array, x: Array, y: Array, /) -> Result:
    """x where the condition holds, or is not 0, else y; each gets the gradient of its entries."""
    holds = xp.astype(condition, xp.bool, copy=False)
    z = xp.where(holds, x, y)
    return z, (
        None,
        lambda g: g * xp.astype(holds, z.dtype),
        lambda g: g * xp.astype(~holds, z.dtype),
    )


def _same(g: Array) -> Array:
    return g


def _is_number(y: Any, number: float) -> bool:
    return isinstance(y, int | float) and y == number


def _log_of_largest(xp: Namespace, dtype: Any) -> float:
    """A little below the logarithm of the largest float of a dtype."""
    return 88.7 if dtype == xp.float32 else 709.7
