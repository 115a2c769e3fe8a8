"""Histograms of the tiles of images, and kernels that make their bins on the way."""

from __future__ import annotations

from collections.abc import Callable

import array_api_compat

from ._place import Array, device_of, namespace_of
from .kernels import has_kernels

LARGE = 2**19  # numbers in all images, for which a kernel is worth its loading
LARGE_BLOCK = 2**17  # pixels of a block, since images come to `tile_histograms` in blocks

Histograms = Callable[..., Array]


def tile_histograms(
    bins: Array, weights: Array | None, n_bins: int, tile: tuple[int, int]
) -> Array:
    """Of each tile of each image a histogram: how often each bin stands in it, or its weights.

    bins : (n, H, W) integers in 0 .. n_bins - 1, which is not checked.
    weights : (n, H, W) floating, or None for 1 each.
    tile : (height, width), which divide H and W.

    Returns (n, H / height, W / width, n_bins), the dtype of `weights`, or float32. Never reads
    the host.
    """
    xp, device = namespace_of(bins), device_of(bins)
    n, height, width = bins.shape
    down, across = height // tile[0], width // tile[1]
    dtype = xp.float32 if weights is None else weights.dtype
    if has_kernels(xp, worth=bins.size >= LARGE_BLOCK):
        from .kernels.cpu.histograms import tile_sums

        return tile_sums(bins, weights, n_bins, tile)
    if array_api_compat.is_numpy_namespace(xp):
        narrow = n * down * across * n_bins < 2**31  # then half the memory will do
        kind = xp.int32 if narrow else xp.int64
        tiles = xp.arange(n * down, dtype=kind, device=device)[:, None] * across
        columns = xp.arange(width, dtype=kind, device=device) // tile[1]
        first = xp.reshape((tiles + columns) * n_bins, (n, down, 1, width))
        flat = xp.reshape(bins, (n, down, tile[0], width)) + first
        flat = xp.reshape(flat, (-1,))
        weights = None if weights is None else xp.reshape(weights, (-1,))
        found = xp.bincount(flat, weights, minlength=n * down * across * n_bins)
        return xp.astype(xp.reshape(found, (n, down, across, n_bins)), dtype)
    sums = []
    for k in range(n_bins):
        hits = xp.astype(bins == k, dtype)
        hits = hits if weights is None else hits * weights
        hits = xp.reshape(hits, (n, down, tile[0], across, tile[1]))
        sums.append(xp.sum(hits, axis=(2, 4)))
    return xp.stack(sums, axis=-1)


def gradient_kernel(images: Array) -> Histograms | None:
    """What makes histograms of oriented gradients of bytes in one pass; None where nothing does.

    images : (N, H, W, C), of which blocks are taken.

    The function takes (images, bins, lengths, n_bins, tile): images (n, H, W, C), and of each
    difference down times 511 plus right, from -255 both, its bin, uint8, and its length, float32.
    It returns the sums of lengths in each tile, (n, H // height, W // width, n_bins) float32: of
    several channels the first with the longest gradient counts, and gradients are 0 at the edges.
    """
    xp = namespace_of(images)
    if images.dtype == xp.uint8 and has_kernels(xp, worth=images.size >= LARGE):
        from .kernels.cpu.histograms import gradient_histograms

        return gradient_histograms
    return None


def color_kernel(images: Array) -> Histograms | None:
    """What makes histograms of the colours of bytes in one pass; None where nothing does.

    images : (N, H, W, 3), of which blocks are taken.

    The function takes (images, axes, weighted): images (n, H, W, 3); the numbers of bins of hue,
    saturation and value; and whether each pixel counts by its chroma. It returns the sums,
    (n, product of axes) float32.
    """
    xp = namespace_of(images)
    if images.dtype == xp.uint8 and has_kernels(xp, worth=images.size >= LARGE):
        from .kernels.cpu.histograms import color_histograms

        return color_histograms
    return None
