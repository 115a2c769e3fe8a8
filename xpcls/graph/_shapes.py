"""Operations that move entries and change none."""

from __future__ import annotations

import math
from typing import Any

from xpcls_backends import Array, Namespace, one_hot

from ._variable import Pulls, operation

Result = tuple[Array, Pulls]
Key = int | slice | None | Any


@operation
def reshape(xp: Namespace, x: Array, /, shape: int | tuple[int, ...]) -> Result:
    """The same entries in another shape; one length may be -1."""
    before = x.shape
    z = xp.reshape(x, (shape,) if isinstance(shape, int) else shape)
    return z, (lambda g: xp.reshape(g, before),)


@operation
def transpose(xp: Namespace, x: Array, /, axes: tuple[int, ...] | None = None) -> Result:
    """The axes in another order; reversed for None."""
    order = tuple(range(x.ndim))[::-1] if axes is None else tuple(i % x.ndim for i in axes)
    back = tuple(order.index(i) for i in range(x.ndim))
    return xp.permute_dims(x, order), (lambda g: xp.permute_dims(g, back),)


@operation
def broadcast_to(xp: Namespace, x: Array, /, shape: tuple[int, ...]) -> Result:
    """x repeated along axes of length 1 and new ones; the engine sums the gradient again."""
    return xp.broadcast_to(x, shape), (lambda g: g,)


@operation
def getitem(xp: Namespace, x: Array, key: Key, /) -> Result:
    """x[key] for integers, slices, ... and None; entries left out get 0."""
    parts = key if isinstance(key, tuple) else (key,)
    for part in parts:
        if not (part is None or part is Ellipsis or isinstance(part, int | slice)):
            raise TypeError(
                f"key is {key!r:.60}, expected integers, slices, ... and None; to pick one entry "
                "of each row use pick(x, labels)"
            )
    z = x[key]

    def pull(g: Array) -> Array:
        spread = xp.zeros_like(x)
        spread[tuple(part for part in parts if part is not None)] = xp.reshape(
            g, x[tuple(part for part in parts if part is not None)].shape
        )
        return spread

    return z, (pull, None)


@operation
def pick(xp: Namespace, x: Array, labels: Array, /) -> Result:
    """x[i, labels[i]] of each row: (N, C) and integers (N,) to (N,)."""
    if x.ndim != 2 or labels.shape != x.shape[:1]:
        raise ValueError("expected x of shape (N, C) and labels of shape (N,)")
    hit = one_hot(labels, x.shape[1], dtype=x.dtype)
    # Where no class fits, nothing would be picked; CuPy would wrap such a label round.
    return xp.sum(x * hit, axis=1), (lambda g: g[:, None] * hit, None)


@operation
def _concat(xp: Namespace, *arrays: Array, axis: int = 0) -> Result:
    """See `concat`."""
    along = axis % arrays[0].ndim
    pulls = []
    start = 0
    for array in arrays:
        stop = start + array.shape[along]
        here = (*(slice(None),) * along, slice(start, stop), ...)
        pulls.append(lambda g, here=here: g[here])
        start = stop
    return xp.concat(arrays, axis=along), tuple(pulls)


def concat(arrays: Any, axis: int = 0) -> Any:
    """The arrays of a sequence one after the other along an axis; each gets its part back."""
    return _concat(*arrays, axis=axis)


@operation
def flatten(xp: Namespace, x: Array, /) -> Result:
    """Each example as one row: (N, ...) to (N, D)."""

    def pull(g: Array) -> Array:
        spread = xp.empty_like(x)  # in the order in memory of x, which what follows is fast in
        spread[...] = xp.reshape(g, x.shape)
        return spread

    return xp.reshape(x, (x.shape[0], math.prod(x.shape[1:]))), (pull,)
