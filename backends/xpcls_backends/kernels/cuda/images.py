"""What convolution and pooling do beside products, one launch each: images.cu."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from xpcls_backends._ops import row_blocks, rows_within
from xpcls_backends._place import Array, device_of, namespace_of

from ._module import i32, kernel, launch, on_its_card

Pair = tuple[int, int]

THREADS = 256
MOST = 2**31 - THREADS  # numbers of one launch
NUMBERS = {"float32": "float", "float64": "double"}
LANES = 4  # channels that a thread takes, where there are so many in every pixel
VECTOR = 16  # bytes; where a vector may begin


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

    def numbers(channels: int) -> tuple[Any, ...]:
        layer = _layer(x, channels, filters, stride, padding, size)
        return (*layer, *map(divider, (filters[1] * channels, filters[0], size[1], size[0])))

    return _made("lay_out", (x,), shape, numbers)


@on_its_card
def add_up(laid: Array, images: Array, stride: Pair, padding: Pair) -> None:
    """The transpose of `lay_out`: fills images, in C order; each pixel is the sum of its places."""

    def numbers(channels: int) -> tuple[Any, ...]:
        sizes = (laid.shape[3:5], stride, padding, laid.shape[1:3])
        layer = _layer(images, channels, *sizes)
        return (*layer, *_split(images, channels), *map(divider, stride))

    _fill(images, "add_up", (laid,), numbers)


@on_its_card
def largest(x: Array, size: Pair, stride: Pair, windows: Pair) -> Array:
    """The largest entry of each window, (n, *windows, C), NaN where there is one."""

    def numbers(channels: int) -> tuple[Any, ...]:
        layer = _layer(x, channels, size, stride, (0, 0), windows)
        return (*layer, *map(divider, (channels, windows[1], windows[0])))

    return _made("largest", (x,), (x.shape[0], *windows, x.shape[3]), numbers)


@on_its_card
def largest_backward(x: Array, z: Array, g: Array, size: Pair, stride: Pair) -> Array:
    """The gradient of x from z, `largest` of it, and g, the gradient of z."""

    def numbers(channels: int) -> tuple[Any, ...]:
        layer = _layer(x, channels, size, stride, (0, 0), z.shape[1:3])
        return (*layer, *_split(x, channels), *map(divider, stride))

    return _made("largest_backward", (x, z, g), x.shape, numbers)


@on_its_card
def rectified(x: Array, b: Array) -> Array:
    """max(x + b, 0) of x (..., C) and b (C,); NaN where x + b is."""

    def numbers(channels: int) -> tuple[Any, ...]:
        return i32(channels), divider(channels)

    return _made("rectified", (x,), x.shape, numbers, whole=(_in_order(b),))


@on_its_card
def rectified_backward(z: Array, g: Array) -> Array:
    """The gradient of x + b, from z, the rectified sum, and g, the gradient of that."""
    return _made("rectified_backward", (z, g), z.shape, lambda channels: ())


def divider(d: int) -> np.uint64:
    """What divides numbers below 2^31 by d, 1 to 2^31 - 1, by a product: see `divided`.

    With s such that d <= 2^s < 2 d, and m = ceil(2^(31 + s) / d), which has 32 bits, n / d is
    n m / 2^(31 + s), rounded down: m d exceeds 2^(31 + s) by less than d, so the quotient is too
    large by less than n / 2^(31 + s) < 1 / 2^s <= 1 / d. Granlund and Montgomery, Division by
    invariant integers using multiplication (1994). Its bits: m, then s.
    """
    s = (d - 1).bit_length()
    return np.uint64(-(-(2 ** (31 + s)) // d) << 32 | s)


def _in_order(x: Array) -> Array:
    """x in C order, itself where it is so."""
    return namespace_of(x).ascontiguousarray(x)


def _layer(
    images: Array, channels: int, size: Pair, stride: Pair, padding: Pair, windows: Pair
) -> tuple[Any, ...]:
    sizes = (*images.shape[1:3], channels, *size, *stride, *padding, *windows)
    return tuple(i32(x) for x in sizes)


def _split(images: Array, channels: int) -> tuple[Any, ...]:
    return tuple(divider(x) for x in (channels, images.shape[2], images.shape[1]))


Numbers = Callable[[int], tuple[Any, ...]]  # of a kernel, by how many channels there are


def _made(
    name: str,
    given: tuple[Array, ...],
    shape: tuple[int, ...],
    numbers: Numbers,
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
    numbers: Numbers,
    whole: tuple[Array, ...] = (),
) -> None:
    """Let a kernel fill `out`, of whose first axis it takes a part at a time, and of the arrays
    given the same part; arrays that are `whole` it takes as they are."""
    if out.size == 0:
        return
    xp = namespace_of(out)
    dtype = next(dtype for dtype in NUMBERS if out.dtype == getattr(xp, dtype))
    given, channels = tuple(_in_order(x) for x in given), out.shape[-1]
    begins = all(x.data.ptr % VECTOR == 0 for x in (*given, *whole, out))
    lanes = LANES if begins and channels % LANES == 0 else 1
    function = kernel("images", name, (f"-DNUMBER={NUMBERS[dtype]}", f"-DLANES={lanes}"))
    sizes = numbers(channels // lanes)
    for some in row_blocks(out.shape[0], rows_within(MOST, math.prod(out.shape[1:]))):
        target = out[some, ...]
        total = target.size // lanes
        args = (*(x[some, ...] for x in given), *whole, target, *sizes, i32(total))
        launch(function, (-(-total // THREADS),), THREADS, args)
