"""Convolution of images with filters, and its gradients.

Two ways give the same. The plain one, of _im2col.py, is written against the array namespace and
takes any filters. On NumPy, 3 x 3 filters of stride 1 go the way of Winograd (_winograd.py), for
which the plain one is the fallback and the reference.

Winograd's results, and those of few channels, are (N, H, W, C) in shape and (H, W, N, C) in memory:
elementwise functions keep that order, and everything that runs over neighbouring pixels then runs
over long stretches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import array_api_compat

from . import _im2col, _winograd
from ._im2col import added, by_pixels, itemsize
from ._memory import lend_images
from ._ops import elementwise_block_bytes, row_blocks, rows_within
from ._place import Array, Namespace, namespace_of
from ._threads import in_threads, one_thread_products, thread_count
from .kernels import has_kernels

Pair = tuple[int, int]

METHODS = ("im2col", "winograd")
FEW_CHANNELS = 8  # below, Winograd's transforms cost more than its products save
WORTH_KERNELS = 2**14  # entries of what comes out
TILES_IN_CACHE = 9  # the tiles of a block of images, in blocks for a single pass


@dataclass(frozen=True)
class Kept:
    """What `convolve_backward` takes.

    filters : transformed, where the way was Winograd's. scratch : its transformed inputs, or the
    plain way's matrix of pixels, where all images were one block.
    """

    x: Array
    w: Array
    stride: Pair
    padding: Pair
    filters: Array | None = None
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
        y, columns = _im2col.forward(xp, x, w, stride, padding, (height, width))
        return y, Kept(x, w, stride, padding, scratch=columns)
    y = lend_images(xp, x, (x.shape[0], height, width, w.shape[3]), by_pixels=True)
    blocks = _winograd_blocks(xp, w, x.shape[0], (height, width))
    transforms = _transforms(xp, y)
    kept: Array | None = None

    def work(here: slice) -> None:
        nonlocal kept
        source, target = by_pixels(xp, x[here, ...]), by_pixels(xp, y[here, ...])
        n, n_filters = target.shape[2:]
        tiles = _winograd.empty_tiles((height, width), n, source.shape[3], x.dtype)
        transforms.into_tiles(source, padding, tiles)
        products = _winograd.empty_tiles((height, width), n, n_filters, x.dtype)
        transforms.outputs(xp.matmul(tiles, filters, out=products), target)
        if len(blocks) == 1:  # still in the cache when the gradient is asked for
            kept = tiles

    with one_thread_products(xp):
        filters = _winograd.transformed_filters(w)
        in_threads(work, blocks, thread_count(xp))
    return y, Kept(x, w, stride, padding, filters=filters, scratch=kept)


def convolve_backward(
    kept: Kept, dy: Array, wants_x: bool = True, wants_w: bool = True
) -> tuple[Array | None, Array | None]:
    """The gradients of x and of w, from that of y; None for one that is not wanted."""
    xp = namespace_of(kept.x, dy)
    filters = kept.filters
    if filters is None:
        given = (kept.x, kept.w, kept.stride, kept.padding, kept.scratch)
        return _im2col.backward(xp, *given, dy, (wants_x, wants_w))
    dx = lend_images(xp, kept.x, kept.x.shape, by_pixels=True) if wants_x else None
    size = dy.shape[1:3]
    blocks = _winograd_blocks(xp, kept.w, dy.shape[0], size)  # those of `convolve`
    transforms = _transforms(xp, dy)
    parts: list[Any] = [None] * len(blocks)

    def work(i: int) -> None:
        source, g = (by_pixels(xp, images[blocks[i], ...]) for images in (kept.x, dy))
        n, channels = source.shape[2:]
        of_products = _winograd.empty_tiles(size, n, g.shape[3], dy.dtype)
        transforms.spread(g, of_products)
        if wants_w:
            tiles = kept.scratch
            if tiles is None:
                tiles = _winograd.empty_tiles(size, n, channels, dy.dtype)
                transforms.into_tiles(source, kept.padding, tiles)
            parts[i] = _winograd.filter_gradient(tiles, of_products)
        if dx is not None:
            of_tiles = _winograd.empty_tiles(size, n, channels, dy.dtype)
            xp.matmul(of_products, filters.mT, out=of_tiles)
            transforms.add_up(of_tiles, kept.padding, by_pixels(xp, dx[blocks[i], ...]))

    with one_thread_products(xp):
        in_threads(work, range(len(blocks)), thread_count(xp))
    return dx, added(xp, kept.w, parts) if wants_w else None


def _transforms(xp: Namespace, y: Array) -> ModuleType:
    """What has `into_tiles`, `outputs`, and their transposes `spread` and `add_up`."""
    if y.dtype in (xp.float32, xp.float64) and has_kernels(xp, worth=y.size >= WORTH_KERNELS):
        from .kernels.cpu import winograd

        return winograd
    return _winograd


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


def _winograd_blocks(xp: Namespace, w: Array, n: int, size: Pair) -> list[slice]:
    per_tile = _winograd.SPAN**2 / _winograd.TILE**2
    per_image = math.ceil(per_tile * math.prod(size)) * max(w.shape[2:]) * itemsize(xp, w)
    bound = TILES_IN_CACHE * elementwise_block_bytes(xp)
    return list(row_blocks(n, rows_within(bound, per_image)))
