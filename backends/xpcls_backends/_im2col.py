"""Convolution as one product: the pixels under each filter are laid out as the rows of a matrix.

Against the array namespace, for any filters. Images are worked on in blocks, on NumPy in threads.

Rows are output pixels, one image after the other. Of few channels (THIN) the matrix is laid out
column by column instead, rows in the order (Ho, Wo, n): runs over images are longer than those over
channels. Results lie in memory as the rows do.

On NumPy filters of several rows go the way of _filter_rows.py, with a smaller matrix, unless
channels are few; kernels/cpu/convolution.py needs none, for filters that are whole vectors. On a
CUDA card the matrix is laid out, and added up again, in one launch each.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import array_api_compat
from numpy.lib.stride_tricks import as_strided

from . import _filter_rows
from ._memory import lend, lend_images
from ._ops import elementwise_block_bytes, row_blocks, rows_within
from ._place import Array, Namespace, device_of
from ._threads import in_threads, thread_count
from .kernels import has_cuda_kernels, has_kernels

Pair = tuple[int, int]

THIN = 4  # channels
BLOCKS_IN_CACHE = 8  # the matrix of a block of images, in blocks for a single pass
ROW_BLOCKS = 14  # the same for _filter_rows, which has fewer and longer calls so
WORTH_KERNELS = 2**14  # entries of what comes out
KEPT_BLOCKS = 2  # of so few what is made of x is kept, for the gradient of the filters
FILTERS_A_CHANNEL = 2  # up to so many, dx is gathered; of more, spreading it out moves less


def forward(
    xp: Namespace, x: Array, w: Array, stride: Pair, padding: Pair, size: Pair
) -> tuple[Array, list[Any]]:
    """`convolve` for outputs of that size; also the matrix of each block, or None."""
    thin = _is_thin(xp, x)
    flat = xp.reshape(w, (-1, w.shape[3]))
    y = lend_images(xp, x, (x.shape[0], *size, w.shape[3]), by_pixels=thin)
    blocks = _blocks(xp, x, w, size)
    kept: list[Any] = [None] * len(blocks)
    direct = _direct(xp, w.shape, y, x, w)

    def work(i: int) -> None:
        images, target = x[blocks[i], ...], y[blocks[i], ...]
        if direct is not None:
            direct.forward(_padded(xp, images, padding, 1), w, stride, target)
            return
        columns = _columns(xp, images, w.shape, stride, padding, size)
        _multiply(xp, columns, flat, target, thin)
        if len(blocks) <= KEPT_BLOCKS:
            kept[i] = columns

    in_threads(work, range(len(blocks)), thread_count(xp))
    return y, kept


def backward(
    xp: Namespace,
    x: Array,
    w: Array,
    stride: Pair,
    padding: Pair,
    kept: list[Any],
    dy: Array,
    wanted: tuple[bool, bool],
) -> tuple[Array | None, Array | None]:
    """The gradients of x and w that are wanted; a matrix that is not kept is made again."""
    thin, size = _is_thin(xp, x), dy.shape[1:3]
    flat = xp.reshape(w, (-1, w.shape[3]))
    gathers = wanted[0] and _gathers(w, stride, padding)
    turned = xp.flip(xp.permute_dims(w, (0, 1, 3, 2)), axis=(0, 1)) if gathers else w
    from_g = xp.reshape(turned, (-1, turned.shape[3]))
    turned = xp.reshape(from_g, turned.shape)  # in standard order
    around = (w.shape[0] - 1 - padding[0], w.shape[1] - 1 - padding[1])
    blocks = _blocks(xp, x, w, size)
    dx = lend_images(xp, x, x.shape, by_pixels=thin) if wanted[0] else None
    parts: list[Any] = [None] * len(blocks)
    for_w = _direct(xp, w.shape, dy, x, w) if wanted[1] else None
    for_x = _direct(xp, turned.shape, dy, x, w) if gathers else None

    def work(i: int) -> None:
        images, g = x[blocks[i], ...], dy[blocks[i], ...]
        rows: Any = None
        if (wanted[1] and for_w is None) or (dx is not None and not gathers):
            rows = xp.reshape(by_pixels(xp, g) if thin else g, (-1, w.shape[3]))
        if for_w is not None:
            parts[i] = lend(xp, w.shape, w.dtype, device_of(w))
            for_w.filter_gradient(_padded(xp, images, padding, 1), g, stride, parts[i])
        elif wanted[1]:
            columns = kept[i]
            if columns is None:
                columns = _columns(xp, images, w.shape, stride, padding, size)
            parts[i] = xp.reshape(columns.mT @ rows, w.shape)
            del columns
        if dx is None:
            return
        target = dx[blocks[i], ...]
        if for_x is not None:
            for_x.forward(_padded(xp, g, around, 1), turned, (1, 1), target)
        elif gathers:
            columns = _columns(xp, g, turned.shape, (1, 1), around, x.shape[1:3])
            _multiply(xp, columns, from_g, target, thin=False)
        else:
            spread = _product(xp, rows, flat.mT)
            _add_up(xp, spread, w.shape, stride, padding, target, size, thin)

    in_threads(work, range(len(blocks)), thread_count(xp))
    return dx, added(xp, w, parts) if wanted[1] else None


def _direct(xp: Namespace, filters: tuple[int, ...], y: Array, *others: Array) -> ModuleType | None:
    """What needs no matrix of all pixels under such filters, to y or from its gradient, or None."""
    if has_kernels_for(xp, y, *others):
        from .kernels.cpu import convolution

        if convolution.fits(filters[3], y.dtype):
            return convolution
    return _filter_rows if _goes_by_rows(xp, filters) else None


def _goes_by_rows(xp: Namespace, filters: tuple[int, ...]) -> bool:
    return array_api_compat.is_numpy_namespace(xp) and filters[0] > 1 and filters[2] > THIN


def has_kernels_for(xp: Namespace, y: Array, *others: Array) -> bool:
    """Whether to take kernels, which want one dtype, where y, or its gradient, comes out."""
    fits = y.dtype in (xp.float32, xp.float64) and all(a.dtype == y.dtype for a in others)
    return fits and has_kernels(xp, worth=y.size >= WORTH_KERNELS)


def _image_kernels(xp: Namespace, x: Array) -> ModuleType | None:
    """What has `lay_out` and `add_up` for images on a CUDA card, or None."""
    if not has_cuda_kernels(xp):
        return None
    from .kernels.cuda import images

    return images if images.fits(x) else None


def _is_thin(xp: Namespace, x: Array) -> bool:
    """Whether the matrix is laid out column by column."""
    return x.shape[3] <= THIN and _image_kernels(xp, x) is None


def _gathers(w: Array, stride: Pair, padding: Pair) -> bool:
    """Whether dx is the convolution of dy with turned filters, and not spread out of dy."""
    kh, kw, channels, n_filters = w.shape
    fits = stride == (1, 1) and padding[0] < kh and padding[1] < kw
    return fits and THIN < n_filters <= FILTERS_A_CHANNEL * channels


def _columns(
    xp: Namespace, x: Array, filters: tuple[int, ...], stride: Pair, padding: Pair, size: Pair
) -> Array:
    """The pixels under each filter: (n Ho Wo, kh kw C), rows in the order said above."""
    kh, kw, channels, _ = filters
    n, device = x.shape[0], device_of(x)
    rows, width = math.prod(size) * n, kh * kw * channels
    kernels = _image_kernels(xp, x)
    if kernels is not None:
        return xp.reshape(kernels.lay_out(x, (kh, kw), stride, padding, size), (rows, width))
    if channels > THIN:
        padded = _padded(xp, x, padding, 1)
        laid = lend(xp, (n, *size, kh, kw * channels), x.dtype, device)
        for k, (i, j) in enumerate(_places(filters, stride, size)):
            u, v = divmod(k, kw)
            laid[:, :, :, u, v * channels : (v + 1) * channels] = padded[:, i, j, :]
        return xp.reshape(laid, (rows, width))
    padded = _padded(xp, xp.permute_dims(x, (3, 1, 2, 0)), padding, 1)
    laid = lend(xp, (kh, kw, channels, *size, n), x.dtype, device)
    if array_api_compat.is_numpy_namespace(xp):
        channel, down, right, one = padded.strides
        strides = (down, right, channel, stride[0] * down, stride[1] * right, one)
        laid[...] = as_strided(padded, laid.shape, strides, writeable=False)
    else:
        for k, (i, j) in enumerate(_places(filters, stride, size)):
            laid[(*divmod(k, kw), ...)] = padded[:, i, j, :]
    return xp.reshape(laid, (width, rows)).mT


def _add_up(
    xp: Namespace,
    spread: Array,
    filters: tuple[int, ...],
    stride: Pair,
    padding: Pair,
    dx: Array,
    size: Pair,
    thin: bool,
) -> None:
    """The transpose of `_columns`: each pixel of dx gets the sum of its places."""
    kh, kw, channels, _ = filters
    n, height, width = dx.shape[:3]
    top, left = padding
    kernels = _image_kernels(xp, dx)
    if kernels is not None:
        laid = xp.reshape(spread, (n, *size, kh, kw, channels))
        kernels.add_up(laid, dx, stride, padding)
        return
    order = (1, 2, 0) if thin else (0, 1, 2)
    counts = (n, *size)
    laid = xp.reshape(spread, (*(counts[axis] for axis in order), kh * kw, channels))
    if thin:
        laid = xp.permute_dims(laid, (2, 0, 1, 3, 4))
    whole = lend_images(xp, dx, (n, height + 2 * top, width + 2 * left, channels), by_pixels=thin)
    whole[...] = 0.0
    for k, (i, j) in enumerate(_places(filters, stride, size)):
        whole[:, i, j, :] += laid[:, :, :, k, :]
    dx[...] = whole[:, top : top + height, left : left + width, :]


def _places(filters: tuple[int, ...], stride: Pair, size: Pair) -> Iterator[tuple[slice, slice]]:
    """For each pixel of a filter, the rows and columns of the pixels that it meets."""
    for u in range(filters[0]):
        for v in range(filters[1]):
            yield (
                slice(u, u + (size[0] - 1) * stride[0] + 1, stride[0]),
                slice(v, v + (size[1] - 1) * stride[1] + 1, stride[1]),
            )


def _padded(xp: Namespace, x: Array, padding: Pair, axis: int) -> Array:
    """x with zeros around two axes, `axis` and the next; in standard order in memory."""
    top, left = padding
    shape = list(x.shape)
    shape[axis] += 2 * top
    shape[axis + 1] += 2 * left
    padded = lend(xp, tuple(shape), x.dtype, device_of(x))
    if top or left:
        padded[...] = 0.0
    inside = (slice(top, top + x.shape[axis]), slice(left, left + x.shape[axis + 1]))
    padded[(*(slice(None),) * axis, *inside, ...)] = x
    return padded


def _multiply(xp: Namespace, columns: Array, flat: Array, images: Array, thin: bool) -> None:
    """Fill images (n, H, W, F) with columns @ flat, whose rows are in the order of `_columns`."""
    target = by_pixels(xp, images) if thin else images
    if array_api_compat.is_numpy_namespace(xp) and target.flags.c_contiguous:
        xp.matmul(columns, flat, out=xp.reshape(target, (-1, flat.shape[1])))
    else:
        target[...] = xp.reshape(_product(xp, columns, flat), target.shape)


def _product(xp: Namespace, a: Array, b: Array) -> Array:
    if not array_api_compat.is_numpy_namespace(xp):
        return a @ b
    return xp.matmul(a, b, out=lend(xp, (a.shape[0], b.shape[1]), a.dtype, device_of(a)))


def _blocks(xp: Namespace, x: Array, w: Array, size: Pair) -> list[slice]:
    kh, kw, channels, n_filters = w.shape
    pixels, count = kh * kw * channels, BLOCKS_IN_CACHE
    if _goes_by_rows(xp, w.shape):
        pixels, count = kw * max(channels, n_filters), ROW_BLOCKS
    per_image = math.prod(size) * pixels * itemsize(xp, x)
    bound = count * elementwise_block_bytes(xp)
    return list(row_blocks(x.shape[0], rows_within(bound, per_image)))


def by_pixels(xp: Namespace, images: Array) -> Array:
    """(n, H, W, C) as (H, W, n, C)."""
    return xp.permute_dims(images, (1, 2, 0, 3))


def itemsize(xp: Namespace, x: Array) -> int:
    return int(xp.finfo(x.dtype).bits) // 8


def added(xp: Namespace, w: Array, parts: list[Array]) -> Array:
    """The sum of the parts of dw, in order, so that the number of threads changes no bit."""
    if not parts:
        return xp.zeros_like(w)
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
