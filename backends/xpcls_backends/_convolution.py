"""Convolution of images with filters, and its gradients.

Three ways give the same. The plain one, of _im2col.py, is written against the array namespace and
takes any filters; it is the fallback and the reference of both others. On NumPy, 3 x 3 filters of
stride 1 go the way of Winograd (_winograd.py). On a CUDA card float32 goes to NVIDIA's cuDNN, where
that is installed (kernels/cuda/cudnn.py).

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
from ._im2col import KEPT_BLOCKS, added, by_pixels, has_kernels_for, itemsize
from ._memory import lend_images
from ._ops import elementwise_block_bytes, row_blocks, rows_within
from ._place import Array, Namespace, namespace_of
from ._threads import in_threads, one_thread_products, thread_count
from .kernels import SWITCH, has_cuda_kernels

Pair = tuple[int, int]

METHODS = ("im2col", "winograd", "cudnn")
FEW_CHANNELS = 8  # below, Winograd's transforms cost more than its products save
TILES_IN_CACHE = 9  # the tiles of a block of images, in blocks for a single pass


@dataclass(frozen=True)
class Kept:
    """What `convolve_backward` takes.

    scratch : of each block of images, what `_im2col` or Winograd's way made of it, or None; of
        cuDNN's way the filters in its order.
    """

    x: Array
    w: Array
    stride: Pair
    padding: Pair
    method: str
    scratch: list[Any]


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
    method : "im2col", "winograd", "cudnn", or None for the fastest of those that can be used.
    Returns y (N, (H + 2 p - kh) // s + 1, ..., F), and what `convolve_backward` needs.

    Raises ValueError for filters that do not fit into the images, and for a method that is named
    and can not be used.
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
    why_not = _why_not_cudnn(xp, x, w, stride, padding) if method in (None, "cudnn") else None
    if method == "cudnn" and why_not is not None:
        raise ValueError(f"method is 'cudnn', but {why_not}")
    if method is None and why_not is None:
        method = "cudnn"
    elif method is None:
        method = "winograd" if fits and min(w.shape[2:]) >= FEW_CHANNELS else "im2col"
    if method == "cudnn":
        from .kernels.cuda import cudnn

        y, turned = cudnn.forward(x, w, stride, padding)
        return y, Kept(x, w, stride, padding, method, [turned])
    if method == "im2col":
        y, columns = _im2col.forward(xp, x, w, stride, padding, (height, width))
        return y, Kept(x, w, stride, padding, method, columns)
    y = lend_images(xp, x, (x.shape[0], height, width, w.shape[3]), by_pixels=True)
    blocks = _winograd_blocks(xp, w, x.shape[0], (height, width))
    way = _way(xp, y, w)
    kept: list[Any] = [None] * len(blocks)

    def work(i: int) -> None:
        source, target = (by_pixels(xp, images[blocks[i], ...]) for images in (x, y))
        tiles = way.forward(source, filters, padding, target)
        if len(blocks) <= KEPT_BLOCKS:
            kept[i] = tiles

    with one_thread_products(xp):
        filters = _winograd.transformed_filters(w)
        in_threads(work, range(len(blocks)), thread_count(xp))
    return y, Kept(x, w, stride, padding, method, kept)


def convolve_backward(
    kept: Kept, dy: Array, wants_x: bool = True, wants_w: bool = True
) -> tuple[Array | None, Array | None]:
    """The gradients of x and of w, from that of y; None for one that is not wanted."""
    xp = namespace_of(kept.x, dy)
    if kept.method == "im2col":
        given = (kept.x, kept.w, kept.stride, kept.padding, kept.scratch)
        return _im2col.backward(xp, *given, dy, (wants_x, wants_w))
    if kept.method == "cudnn":
        from .kernels.cuda import cudnn

        turned, wanted = kept.scratch[0], (wants_x, wants_w)
        return cudnn.backward(kept.x, turned, kept.stride, kept.padding, dy, wanted)
    dx = lend_images(xp, kept.x, kept.x.shape, by_pixels=True) if wants_x else None
    blocks = _winograd_blocks(xp, kept.w, dy.shape[0], dy.shape[1:3])  # those of `convolve`
    way = _way(xp, dy, kept.x, kept.w)
    parts: list[Any] = [None] * len(blocks)

    def work(i: int) -> None:
        source, g = (by_pixels(xp, images[blocks[i], ...]) for images in (kept.x, dy))
        target = None if dx is None else by_pixels(xp, dx[blocks[i], ...])
        found = way.backward(kept.scratch[i], source, turned, kept.padding, g, target, wants_w)
        if found is not None:
            parts[i] = _winograd.filter_gradient(found)

    with one_thread_products(xp):
        turned = _winograd.transformed_filters(xp.permute_dims(kept.w, (0, 1, 3, 2)))
        in_threads(work, range(len(blocks)), thread_count(xp))
    return dx, added(xp, kept.w, parts) if wants_w else None


def _why_not_cudnn(xp: Namespace, x: Array, w: Array, stride: Pair, padding: Pair) -> str | None:
    if not array_api_compat.is_cupy_namespace(xp):
        return "it takes arrays on a CUDA card"
    if not has_cuda_kernels(xp):
        return f"kernels are off: unset {SWITCH}"
    from .kernels.cuda import cudnn

    return cudnn.why_not(x, w, stride, padding)


def _way(xp: Namespace, y: Array, *others: Array) -> ModuleType:
    """What has `forward` and `backward` of Winograd's way."""
    if has_kernels_for(xp, y, *others):
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
