"""Sums, means and maxima over axes, and products of matrices."""

from __future__ import annotations

import builtins
import math
from typing import Any

from xpcls_backends import Array, Namespace, device_of, product

from ._variable import Pulls, operation

Axis = int | tuple[int, ...] | None
Result = tuple[Array, Pulls]


@operation
def sum(xp: Namespace, x: Array, /, axis: Axis = None, keepdims: bool = False) -> Result:
    """The sum over the axes, all of them for None. Every entry gets the gradient of its sum."""
    kept = _kept_shape(x, axis)
    z = xp.sum(x, axis=axis, keepdims=keepdims)
    return z, (lambda g: xp.broadcast_to(xp.reshape(g, kept), x.shape),)


@operation
def mean(xp: Namespace, x: Array, /, axis: Axis = None, keepdims: bool = False) -> Result:
    """The mean over the axes. Every entry gets the gradient of its mean, divided by their number.

    Of nothing it is NaN, and there is no entry to get a gradient.
    """
    kept = _kept_shape(x, axis)
    count = math.prod(x.shape) // builtins.max(1, math.prod(kept))
    z = xp.mean(x, axis=axis, keepdims=keepdims)
    return z, (lambda g: xp.broadcast_to(xp.reshape(g, kept) / builtins.max(1, count), x.shape),)


@operation
def max(xp: Namespace, x: Array, /, axis: Axis = None, keepdims: bool = False) -> Result:
    """The largest entry along the axes. It gets the gradient, the first of several that are."""
    axes = _axes(x, axis)
    kept = _kept_shape(x, axis)
    # The reduced axes as one, the last, in the order of the array.
    others = tuple(i for i in range(x.ndim) if i not in axes)
    length = math.prod(x.shape[i] for i in axes)
    rows = xp.reshape(xp.permute_dims(x, others + axes), (*(x.shape[i] for i in others), length))
    z = xp.max(rows, axis=-1)
    z = xp.reshape(z, kept if keepdims else tuple(x.shape[i] for i in others))

    def pull(g: Array) -> Array:
        first = xp.argmax(rows, axis=-1, keepdims=True)
        places = xp.arange(length, dtype=first.dtype, device=device_of(x))
        hit = xp.astype(places == first, x.dtype)
        spread = xp.reshape(g, (*rows.shape[:-1], 1)) * hit
        spread = xp.reshape(spread, (*rows.shape[:-1], *(x.shape[i] for i in axes)))
        back = tuple((others + axes).index(i) for i in range(x.ndim))
        return xp.permute_dims(spread, back)

    return z, (pull,)


@operation
def matmul(xp: Namespace, x: Array, y: Array, /) -> Result:
    """The product of matrices, or of stacks of them; a vector is a row on the left, a column
    on the right.

    dz/dx: g y^T, dz/dy: x^T g. The lecture's |Wx|^2, q = Wx, has df/dW = 2 q x^T.
    """
    z = product(x, y)
    rows = x[None, :] if x.ndim == 1 else x
    columns = y[:, None] if y.ndim == 1 else y

    def of_left(g: Array) -> Array:
        if y.ndim == 1:
            g = g[..., None]
        if x.ndim == 1:
            g = g[..., None, :]
        found = product(g, columns.mT)
        return _sum_of_stack(xp, found) if x.ndim == 1 else found

    def of_right(g: Array) -> Array:
        if y.ndim == 1:
            g = g[..., None]
        if x.ndim == 1:
            g = g[..., None, :]
        found = product(rows.mT, g)
        return _sum_of_stack(xp, found) if y.ndim == 1 else found

    return z, (of_left, of_right)


def _sum_of_stack(xp: Namespace, matrices: Array) -> Array:
    """The sum of (..., 1, n) or (..., n, 1) as a vector (n,): one vector served every matrix."""
    n = math.prod(matrices.shape[-2:])
    return xp.sum(xp.reshape(matrices, (math.prod(matrices.shape[:-2]), n)), axis=0)


def _axes(x: Array, axis: Axis) -> tuple[int, ...]:
    """The axes that are meant, from 0 up, in order."""
    if axis is None:
        return tuple(range(x.ndim))
    given: Any = axis if isinstance(axis, tuple) else (axis,)
    for i in given:
        if not -x.ndim <= i < x.ndim:
            raise ValueError(f"axis is {axis}, expected axes of an array with {x.ndim}")
    return tuple(sorted(i % x.ndim for i in given))


def _kept_shape(x: Array, axis: Axis) -> tuple[int, ...]:
    """The shape of a reduction with keepdims."""
    axes = _axes(x, axis)
    return tuple(1 if i in axes else n for i, n in enumerate(x.shape))
