"""Convolution of images with filters, and its gradients.

Two ways give the same. The plain one, `im2col`, is written against the array namespace and takes
any filters: it lays the pixels under each filter out as the rows of a matrix, so that convolution
is one product. On NumPy, 3 x 3 filters of stride 1 go the way of Winograd, for which the plain one
is the fallback and the reference.

On NumPy results are (N, H, W, C) in shape and (H, W, N, C) in memory: elementwise functions keep
that order, and everything that runs over neighbouring pixels then runs over long stretches.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import array_api_compat
from numpy.lib.stride_tricks import as_strided

from . import _winograd
from ._ops import elementwise_block_bytes, row_blocks, rows_within
from ._place import Array, Namespace, device_of, namespace_of
from ._threads import in_threads, one_thread_products, thread_count

Pair = tuple[int, int]

METHODS = ("im2col", "winograd")
FEW_CHANNELS = 8  # below, Winograd's transforms cost more than its products save
THIN = 4  # up to so many channels are laid out one after the other, since runs of them are short
BLOCKS_IN_CACHE = 24  # the scratch of a block of images, in blocks for a single pass
TILES_IN_CACHE = 9  # the tiles of a block of images, likewise


@dataclass(frozen=True)
class Kept:
    """What `convolve_backward` takes.

    by_tiles : whether the way was Winograd's. scratch : its transformed inputs, or the plain way's
    matrix of pixels, where all images were one block.
    """

    x: Array
    w: Array
    stride: Pair
    padding: Pair
    by_tiles: bool = False
    scratch: Array | None = None


def convolve(
    x: Array,
    w: Array,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    method: str | None = None,
) -> tuple[Array, Kept]:
    """Cross-correlation of images (N, H, W, C) with filters (kh, kw, C, F).

        y[n, i, j, f] = sum_{u, v, c} x[n, i s + u - p, j s + v - p, c] w[u, v, c, f]

    with zeros outside of the images. stride, padding : of rows and columns.
    method : "im2col", "winograd", or None for the faster of those that can be used.
    Returns y (N, (H + 2 p - kh) // s + 1, ..., F), and what `convolve_backward` needs.
    """
    if method not in (None, *METHODS):
        raise ValueError(f"method is {method!r}, expected None or one of {', '.join(METHODS)}")
    height, width = _output_size(x, w, stride, padding)
    xp = namespace_of(x, w)
    fits = (
        array_api_compat.is_numpy_namespace(xp)
        and w.shape[:2] == (3, 3)
        and stride == (1, 1)
        and max(padding) <= 2
    )
    if method == "winograd" and not fits:
        raise ValueError(
            "method is 'winograd', which takes 3 x 3 filters with stride 1 and padding of up to 2 "
            "on NumPy"
        )
    if method is None:
        method = "winograd" if fits and min(w.shape[2:]) >= FEW_CHANNELS else "im2col"
    if method == "im2col":
        return _plain_forward(xp, x, w, stride, padding, (height, width))
    y = _images_like(xp, x, (x.shape[0], height, width, w.shape[3]))
    blocks = _winograd_blocks(xp, w, x.shape[0], (height, width))
    tiles: Array | None = None

    def work(here: slice) -> None:
        nonlocal tiles
        source, target = _by_pixels(xp, x[here, ...]), _by_pixels(xp, y[here, ...])
        if len(blocks) == 1:  # still in the cache when the gradient is asked for
            tiles = _winograd.input_tiles(source, padding, (height, width))
        _winograd.convolve_block(source, filters, padding, target, tiles)

    with one_thread_products(xp):
        filters = _winograd.transformed_filters(w)
        in_threads(work, blocks, thread_count(xp))
    return y, Kept(x, w, stride, padding, by_tiles=True, scratch=tiles)


def convolve_backward(
    kept: Kept, dy: Array, wants_x: bool = True, wants_w: bool = True
) -> tuple[Array | None, Array | None]:
    """The gradients of x and of w, from that of y; None for one that is not wanted."""
    xp = namespace_of(kept.x, dy)
    if not kept.by_tiles:
        return _plain_backward(xp, kept, dy, wants_x, wants_w)
    dx = _images_like(xp, kept.x, kept.x.shape) if wants_x else None
    size = dy.shape[1:3]
    blocks = _winograd_blocks(xp, kept.w, dy.shape[0], size)  # those of `convolve`
    around = (2 - kept.padding[0], 2 - kept.padding[1])
    parts: list[Any] = [None] * len(blocks)

    def work(i: int) -> None:
        here = blocks[i]
        g = _by_pixels(xp, dy[here, ...])
        if wants_w:
            tiles = kept.scratch
            if tiles is None:
                source = _by_pixels(xp, kept.x[here, ...])
                tiles = _winograd.input_tiles(source, kept.padding, size)
            parts[i] = _winograd.filter_gradient(tiles, g)
        if dx is not None and filters is not None:
            _winograd.convolve_block(g, filters, around, _by_pixels(xp, dx[here, ...]))

    with one_thread_products(xp):
        filters = _winograd.transformed_filters(_winograd.turned(kept.w)) if wants_x else None
        in_threads(work, range(len(blocks)), thread_count(xp))
    return dx, _added(xp, kept.w, parts) if wants_w else None


def _plain_forward(
    xp: Namespace, x: Array, w: Array, stride: Pair, padding: Pair, size: Pair
) -> tuple[Array, Kept]:
    """By the matrix of pixels, which is kept where there is one for all images."""
    flat = xp.reshape(w, (math.prod(w.shape[:3]), w.shape[3]))
    blocks = _plain_blocks(xp, x, w, size)

    def product(here: slice) -> tuple[Array, Array]:
        columns = _columns(xp, x[here, ...], w.shape, stride, padding, size)
        shape = (*size, here.stop - here.start, w.shape[3])
        return _by_images(xp, xp.reshape(columns @ flat, shape)), columns

    if len(blocks) == 1:
        y, columns = product(blocks[0])
        return y, Kept(x, w, stride, padding, scratch=columns)
    y = _images_like(xp, x, (x.shape[0], *size, w.shape[3]))

    def work(here: slice) -> None:
        y[here, ...] = product(here)[0]

    in_threads(work, blocks, thread_count(xp))
    return y, Kept(x, w, stride, padding)


def _plain_backward(
    xp: Namespace, kept: Kept, dy: Array, wants_x: bool, wants_w: bool
) -> tuple[Array | None, Array | None]:
    """Of several blocks the matrix of pixels is laid out again, which is cheaper than keeping."""
    w, size = kept.w, dy.shape[1:3]
    flat = xp.reshape(w, (math.prod(w.shape[:3]), w.shape[3]))
    blocks = _plain_blocks(xp, kept.x, w, size)

    def gradients(here: slice) -> tuple[Array | None, Array | None]:
        g = xp.reshape(_by_pixels(xp, dy[here, ...]), (-1, w.shape[3]))
        of_x = of_w = None
        if wants_w:
            columns = kept.scratch
            if columns is None:
                x = kept.x[here, ...]
                columns = _columns(xp, x, w.shape, kept.stride, kept.padding, size)
            of_w = xp.reshape(columns.mT @ g, w.shape)
        if wants_x:
            found = _from_columns(xp, g @ flat.mT, kept, size, here.stop - here.start)
            of_x = _by_images(xp, found)
        return of_x, of_w

    if len(blocks) == 1:
        return gradients(blocks[0])
    dx = _images_like(xp, kept.x, kept.x.shape) if wants_x else None
    parts: list[Any] = [None] * len(blocks)

    def work(i: int) -> None:
        of_x, parts[i] = gradients(blocks[i])
        if dx is not None:
            dx[blocks[i], ...] = of_x

    in_threads(work, range(len(blocks)), thread_count(xp))
    return dx, _added(xp, w, parts) if wants_w else None


def _columns(
    xp: Namespace, x: Array, filters: tuple[int, ...], stride: Pair, padding: Pair, size: Pair
) -> Array:
    """The pixels under each filter: (Ho Wo n, kh kw C), rows in the order of _by_pixels."""
    kh, kw, channels, _ = filters
    n = x.shape[0]
    rows, width = size[0] * size[1] * n, kh * kw * channels
    if channels > THIN:
        padded = _padded(xp, _by_pixels(xp, x), padding, 0)
        laid = xp.empty((*size, n, kh * kw, channels), dtype=x.dtype, device=device_of(x))
        for k, window in _windows(xp, padded, 0, filters, stride, size):
            xp.permute_dims(laid, (3, 0, 1, 2, 4))[k, ...] = window
        return xp.reshape(laid, (rows, width))
    # The same matrix, one column after the other in memory.
    padded = _padded(xp, xp.permute_dims(x, (3, 1, 2, 0)), padding, 1)
    laid = xp.empty((kh * kw, channels, *size, n), dtype=x.dtype, device=device_of(x))
    for k, window in _windows(xp, padded, 1, filters, stride, size):
        laid[k, ...] = window
    return xp.reshape(laid, (width, rows)).mT


def _from_columns(xp: Namespace, columns: Array, kept: Kept, size: Pair, n: int) -> Array:
    """The transpose of `_columns`: each pixel gets the sum of its places; (H, W, n, C)."""
    kh, kw, channels, _ = kept.w.shape
    height, width = kept.x.shape[1:3]
    top, left = kept.padding
    laid = xp.reshape(columns, (*size, n, kh * kw, channels))
    shape = (height + 2 * top, width + 2 * left, n, channels)
    padded = xp.zeros(shape, dtype=columns.dtype, device=device_of(columns))
    for k, (i, j) in enumerate(_places(kept.w.shape, kept.stride, size)):
        padded[i, j, :, :] += laid[:, :, :, k, :]
    return padded[top : top + height, left : left + width, :, :]


def _places(filters: tuple[int, ...], stride: Pair, size: Pair) -> Iterator[tuple[slice, slice]]:
    """For each pixel of a filter, the rows and columns of the pixels that it meets."""
    for u in range(filters[0]):
        for v in range(filters[1]):
            yield (
                slice(u, u + (size[0] - 1) * stride[0] + 1, stride[0]),
                slice(v, v + (size[1] - 1) * stride[1] + 1, stride[1]),
            )


def _windows(
    xp: Namespace, padded: Array, axis: int, filters: tuple[int, ...], stride: Pair, size: Pair
) -> Iterator[tuple[int | slice, Array]]:
    """For each pixel of a filter its number, and the pixels that it meets, of its own shape.

    Rows and columns are `axis` of the images, and the next. On NumPy all pixels of a row of the
    filter come at once, as a view: fewer calls take less time, above all from other threads.
    """
    if not array_api_compat.is_numpy_namespace(xp):
        before = (slice(None),) * axis
        for k, (i, j) in enumerate(_places(filters, stride, size)):
            yield k, padded[(*before, i, j, ...)]
        return
    down, right = padded.strides[axis : axis + 2]
    shape = (*padded.shape[:axis], *size, *padded.shape[axis + 2 :])
    strides = list(padded.strides)
    strides[axis : axis + 2] = down * stride[0], right * stride[1]
    for u in range(filters[0]):
        row = padded[(*(slice(None),) * axis, slice(u, None), ...)]
        view = as_strided(row, (filters[1], *shape), (right, *strides), writeable=False)
        yield slice(u * filters[1], (u + 1) * filters[1]), view


def _padded(xp: Namespace, x: Array, padding: Pair, axis: int) -> Array:
    """x with zeros around two axes, `axis` and the next."""
    top, left = padding
    if top == left == 0:
        return x
    shape = list(x.shape)
    shape[axis] += 2 * top
    shape[axis + 1] += 2 * left
    padded = xp.zeros(tuple(shape), dtype=x.dtype, device=device_of(x))
    inside = (slice(top, top + x.shape[axis]), slice(left, left + x.shape[axis + 1]))
    padded[(*(slice(None),) * axis, *inside, ...)] = x
    return padded


def _by_pixels(xp: Namespace, images: Array) -> Array:
    """(n, H, W, C) as (H, W, n, C)."""
    return xp.permute_dims(images, (1, 2, 0, 3))


def _by_images(xp: Namespace, pixels: Array) -> Array:
    """(H, W, n, C) as (n, H, W, C)."""
    return xp.permute_dims(pixels, (2, 0, 1, 3))


def _images_like(xp: Namespace, x: Array, shape: tuple[int, ...]) -> Array:
    """An array of images that is (H, W, n, C) in memory, its entries not set."""
    n, height, width, channels = shape
    found = xp.empty((height, width, n, channels), dtype=x.dtype, device=device_of(x))
    return _by_images(xp, found)


def _output_size(x: Array, w: Array, stride: Pair, padding: Pair) -> Pair:
    height, width = (
        (n + 2 * p - k) // s + 1
        for n, p, k, s in zip(x.shape[1:3], padding, w.shape[:2], stride, strict=True)
    )
    if min(height, width) < 1:
        raise ValueError(
            f"filters of {w.shape[0]} x {w.shape[1]} do not fit into images of "
            f"{x.shape[1]} x {x.shape[2]} with padding {padding}"
        )
    return height, width


def _plain_blocks(xp: Namespace, x: Array, w: Array, size: Pair) -> list[slice]:
    per_image = math.prod(size) * math.prod(w.shape[:3]) * _itemsize(xp, x)
    bound = BLOCKS_IN_CACHE * elementwise_block_bytes(xp)
    return list(row_blocks(x.shape[0], rows_within(bound, per_image)))


def _winograd_blocks(xp: Namespace, w: Array, n: int, size: Pair) -> list[slice]:
    per_tile = _winograd.SPAN**2 / _winograd.TILE**2
    per_image = math.ceil(per_tile * math.prod(size)) * max(w.shape[2:]) * _itemsize(xp, w)
    bound = TILES_IN_CACHE * elementwise_block_bytes(xp)
    return list(row_blocks(n, rows_within(bound, per_image)))


def _itemsize(xp: Namespace, x: Array) -> int:
    return int(xp.finfo(x.dtype).bits) // 8


def _added(xp: Namespace, w: Array, parts: list[Array]) -> Array:
    """The sum of the parts of dw, in order, so that the number of threads changes no bit."""
    if not parts:
        return xp.zeros_like(w)
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
