"""The rectified sum of images, or rows, and a bias: what most layers end with, in few passes."""

from __future__ import annotations

import array_api_compat

from ._memory import lend
from ._place import Array, Namespace, device_of, namespace_of
from .kernels import has_cuda_kernels, has_kernels

WORTH_KERNELS = 2**14  # entries


def rectified(x: Array, b: Array) -> Array:
    """max(x + b, 0) for x (..., C) and b (C,), both of one dtype; NaN where x + b is."""
    xp = namespace_of(x, b)
    if _has_kernels(xp, x, b):
        from .kernels.cpu import rectified

        return rectified.rectified(x, b)
    if _has_cuda_kernels(xp, x, b):
        from .kernels.cuda import images

        return images.rectified(x, b)
    if not array_api_compat.is_numpy_namespace(xp) or x.dtype != b.dtype:
        return xp.maximum(x + b, 0.0)
    z = xp.add(x, b, out=like_memory(xp, x))
    return xp.maximum(z, 0.0, out=z)


def rectified_backward(z: Array, g: Array) -> tuple[Array, Array]:
    """The gradients of x and b, from z, the rectified sum, and g, the gradient of that.

    Nothing passes where z is 0.
    """
    xp = namespace_of(z, g)
    if _has_kernels(xp, z, g):
        from .kernels.cpu import rectified

        return rectified.rectified_backward(z, g)
    if array_api_compat.is_numpy_namespace(xp):
        dx = xp.sign(z, out=like_memory(xp, z))
        dx *= g
    elif _has_cuda_kernels(xp, z, g):
        from .kernels.cuda import images

        dx = images.rectified_backward(z, g)
    else:  # two launches
        dx = xp.where(z > 0.0, g, 0.0)
    return dx, channel_sums(xp, dx)


def channel_sums(xp: Namespace, x: Array) -> Array:
    """(..., C) to (C,). Of images first over two axes, whose sums run along memory."""
    if x.ndim == 4 and x.size:
        if array_api_compat.is_numpy_namespace(xp):
            x = in_memory_order(xp, x)
        runs = xp.reshape(x, (x.shape[0] * x.shape[1], -1))
        x = xp.reshape(xp.sum(runs, axis=0), (-1, x.shape[3]))
    return xp.sum(x, axis=tuple(range(x.ndim - 1)))


def in_memory_order(xp: Namespace, x: Array) -> Array:
    """The same entries in standard order; a view of images (N, H, W, C) that lie by pixels."""
    if x.ndim == 4:
        by_pixels = xp.permute_dims(x, (1, 2, 0, 3))
        if by_pixels.flags.c_contiguous:
            return by_pixels
    return x


def like_memory(xp: Namespace, x: Array) -> Array:
    """An array of the shape of x, not set, whose entries lie in memory as those of x do."""
    ordered = in_memory_order(xp, x)
    found = lend(xp, ordered.shape, x.dtype, device_of(x))
    return found if ordered is x else xp.permute_dims(found, (2, 0, 1, 3))


def _has_kernels(xp: Namespace, x: Array, other: Array) -> bool:
    fits = x.dtype == other.dtype and x.dtype in (xp.float32, xp.float64) and x.ndim > 0
    return fits and has_kernels(xp, worth=x.size >= WORTH_KERNELS)


def _has_cuda_kernels(xp: Namespace, x: Array, other: Array) -> bool:
    if not has_cuda_kernels(xp):
        return False
    from .kernels.cuda import images

    return images.fits(x, other)
