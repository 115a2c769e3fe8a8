"""The largest entries of windows of images, and where their gradients go."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import array_api_compat

from ._memory import lend_images
from ._place import Array, Namespace, namespace_of
from .kernels import has_cuda_kernels, has_kernels

Pair = tuple[int, int]

WORTH_KERNELS = 2**14  # entries of the images


def largest_of_windows(x: Array, size: Pair, stride: Pair) -> Array:
    """The largest entry of each window of images (N, H, W, C), of every channel.

    Returns (N, (H - size) // stride + 1, ..., C); windows that would stand over the edge are left
    out. NaN where a window has one.
    """
    xp = namespace_of(x)
    if _has_kernels(xp, x, size, stride):
        from .kernels.cpu import pooling

        return pooling.largest_of_windows(x, size, stride)
    if _has_cuda_kernels(xp, x):
        from .kernels.cuda import images

        return images.largest(x, size, stride, _counts(x, size, stride))
    first, *others = windows_of(x, size, stride)
    z = x[first]
    if not array_api_compat.is_numpy_namespace(xp) or not others:
        for here in others:
            z = xp.maximum(z, x[here])
        return z
    out = like_images(xp, x, z.shape)
    for here in others:
        z = xp.maximum(z, x[here], out=out)
    return z


def largest_of_windows_backward(x: Array, z: Array, g: Array, size: Pair, stride: Pair) -> Array:
    """The gradient of x, from z, the largest entries, and g, the gradient of those.

    That of a window goes to the first entry that equals z, row by row; to the last where z is NaN.
    """
    xp = namespace_of(x, z, g)
    if _has_kernels(xp, x, size, stride):
        from .kernels.cpu import pooling

        return pooling.largest_of_windows_backward(x, z, g, size, stride)
    if _has_cuda_kernels(xp, x, z, g):
        from .kernels.cuda import images

        return images.largest_backward(x, z, g, size, stride)
    dx, overlap = to_fill(xp, x, size, stride)
    *others, last = windows_of(x, size, stride)
    left = g  # what has not found its entry yet
    in_place = array_api_compat.is_numpy_namespace(xp) and not overlap
    if in_place and others:
        left = like_images(xp, x, g.shape)
        left[...] = g
    for here in others:
        if in_place:
            xp.multiply(x[here] == z, left, out=dx[here])
            left -= dx[here]
            continue
        found = xp.astype(x[here] == z, g.dtype)
        found *= left
        if overlap:
            dx[here] += found
        else:
            dx[here] = found
        left = left - found
    if overlap:
        dx[last] += left
    else:
        dx[last] = left
    return dx


def windows_of(x: Array, size: Pair, stride: Pair) -> Iterator[Any]:
    """For each place in a window, the index of that entry of every window."""
    counts = _counts(x, size, stride)
    for i in range(size[0]):
        for j in range(size[1]):
            rows = slice(i, i + (counts[0] - 1) * stride[0] + 1, stride[0])
            columns = slice(j, j + (counts[1] - 1) * stride[1] + 1, stride[1])
            yield (slice(None), rows, columns, slice(None))


def _counts(x: Array, size: Pair, stride: Pair) -> Pair:
    """How many windows there are, down and across."""
    if x.ndim != 4:
        raise ValueError("expected images (N, H, W, C)")
    down, across = ((n - k) // s + 1 for n, k, s in zip(x.shape[1:3], size, stride, strict=True))
    if min(down, across) < 1:
        raise ValueError(f"windows of {size} do not fit into images of {tuple(x.shape[1:3])}")
    return down, across


def to_fill(xp: Namespace, x: Array, size: Pair, stride: Pair) -> tuple[Array, bool]:
    """An array like x for what comes out of windows, and whether windows overlap.

    Its entries are 0, but for windows that meet each entry once: then they are not set.
    """
    overlap = stride[0] < size[0] or stride[1] < size[1]
    once = size == stride and x.shape[1] % size[0] == 0 and x.shape[2] % size[1] == 0
    dx = like_images(xp, x, x.shape)
    if not once:
        dx[...] = 0.0
    return dx, overlap


def like_images(xp: Namespace, x: Array, shape: tuple[int, ...]) -> Array:
    """(N, H, W, C) entries, not set, in memory as those of x: by images, else by pixels."""
    return lend_images(xp, x, shape, by_pixels=not is_by_images(xp, x))


def is_by_images(xp: Namespace, x: Array) -> bool:
    """Whether x lies in memory one image after the other."""
    return not array_api_compat.is_numpy_namespace(xp) or bool(x.flags.c_contiguous)


def _has_kernels(xp: Namespace, x: Array, size: Pair, stride: Pair) -> bool:
    """Windows do not overlap where they are there."""
    apart = stride[0] >= size[0] and stride[1] >= size[1]
    fits = x.ndim == 4 and apart and x.dtype in (xp.float32, xp.float64)
    return fits and has_kernels(xp, worth=x.size >= WORTH_KERNELS)


def _has_cuda_kernels(xp: Namespace, *images_and_windows: Array) -> bool:
    if not has_cuda_kernels(xp):
        return False
    from .kernels.cuda import images

    return images.fits(*images_and_windows)
