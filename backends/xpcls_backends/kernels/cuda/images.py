"""What convolution and pooling do beside products, one launch each: images.cu."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from xpcls_backends._ops import row_blocks, rows_within
from xpcls_backends._place import Array, device_of, namespace_of

from ._module import i32, kernel, launch, on_its_card

Pair = tuple[int, int]

THREADS = 256
MOST = 2**31 - THREADS  # numbers of one launch
NUMBERS = {"float32": "float", "float64": "double"}


def fits(*arrays: Array) -> bool:
    """Whether there are kernels for such numbers, of one dtype."""
    xp = namespace_of(*arrays)
    dtypes = {x.dtype for x in arrays}
    return len(dtypes) == 1 and arrays[0].dtype in [getattr(xp, name) for name in NUMBERS]


@on_its_card
def lay_out(x: Array, filters: Pair, stride: Pair, padding: Pair, size: Pair) -> Array:
    """The pixels under each filter: (n, *size, *filters, C) of images x (n, H, W, C).

    size : how many filters stand down and across. Outside of the images are zeros.
    """
    shape = (x.shape[0], *size, *filters, x.shape[3])
    layer = _layer(x.shape[1:], filters, stride, padding, size)
    return _made("lay_out", (x,), shape, layer)


@on_its_card
def add_up(laid: Array, images: Array, stride: Pair, padding: Pair) -> None:
    """The transpose of `lay_out`: fills images, in C order; each pixel is the sum of its places."""
    layer = _layer(images.shape[1:], laid.shape[3:5], stride, padding, laid.shape[1:3])
    _fill(images, "add_up", (laid,), layer)


@on_its_card
def largest(x: Array, size: Pair, stride: Pair, windows: Pair) -> Array:
    """The largest entry of each window, (n, *windows, C), NaN where there is one."""
    layer = _layer(x.shape[1:], size, stride, (0, 0), windows)
    return _made("largest", (x,), (x.shape[0], *windows, x.shape[3]), layer)


@on_its_card
def largest_backward(x: Array, z: Array, g: Array, size: Pair, stride: Pair) -> Array:
    """The gradient of x from z, `largest` of it, and g, the gradient of z."""
    layer = _layer(x.shape[1:], size, stride, (0, 0), z.shape[1:3])
    return _made("largest_backward", (x, z, g), x.shape, layer)


@on_its_card
def rectified(x: Array, b: Array) -> Array:
    """max(x + b, 0) of x (..., C) and b (C,); NaN where x + b is."""
    channels = (i32(b.shape[0]),)
    return _made("rectified", (x,), x.shape, channels, whole=(_in_order(b),))


@on_its_card
def rectified_backward(z: Array, g: Array) -> Array:
    """The gradient of x + b, from z, the rectified sum, and g, the gradient of that."""
    return _made("rectified_backward", (z, g), z.shape, ())


def _in_order(x: Array) -> Array:
    """x in C order, itself where it is so."""
    return namespace_of(x).ascontiguousarray(x)


def _layer(
    image: tuple[int, ...], size: Pair, stride: Pair, padding: Pair, windows: Pair
) -> tuple[Any, ...]:
    return tuple(i32(x) for x in (*image, *size, *stride, *padding, *windows))


def _made(
    name: str,
    given: tuple[Array, ...],
    shape: tuple[int, ...],
    numbers: tuple[Any, ...],
    whole: tuple[Array, ...] = (),
) -> Array:
    """What a kernel makes of arrays, in a new one."""
    out = namespace_of(*given).empty(shape, dtype=given[0].dtype, device=device_of(*given))
    _fill(out, name, given, numbers, whole)
    return out


def _fill(
    out: Array,
    name: str,
    given: tuple[Array, ...],
    numbers: tuple[Any, ...],
    whole: tuple[Array, ...] = (),
) -> None:
    """Let a kernel fill `out`, of whose first axis it takes a part at a time, and of the arrays
    given the same part; arrays that are `whole` it takes as they are."""
    xp = namespace_of(out)
    dtype = next(dtype for dtype in NUMBERS if out.dtype == getattr(xp, dtype))
    function = kernel("images", name, (f"-DNUMBER={NUMBERS[dtype]}",))
    given = tuple(_in_order(x) for x in given)
    n, size = out.shape[0] if out.size else 0, math.prod(out.shape[1:])
    for some in row_blocks(n, rows_within(MOST, size)):
        target = out[some, ...]
        args = (*(x[some, ...] for x in given), *whole, target, *numbers, np.uint32(target.size))
        launch(function, (-(-target.size // THREADS),), THREADS, args)
