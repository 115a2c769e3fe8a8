"""Operations on batches of images (N, H, W, C): convolution, its bias with ReLU, pooling."""

from __future__ import annotations

from typing import Any

from xpcls_backends import (
    Array,
    Namespace,
    convolve,
    convolve_backward,
    largest_of_windows,
    largest_of_windows_backward,
    rectified,
    rectified_backward,
    to_fill,
    windows_of,
)

from ._variable import OPERATIONS, Pulls, operation, value_of

Pair = tuple[int, int]
Result = tuple[Array, Pulls]


def conv2d(
    x: Any,
    w: Any,
    b: Any = None,
    *,
    stride: int | Pair = 1,
    padding: int | Pair | str = 0,
) -> Any:
    """Cross-correlation, which networks call convolution, of images with filters.

    x : (N, H, W, C). w : (kh, kw, C, F) filters, each (kh, kw, C). b : (F,), or None.
    stride : of rows and columns. padding : zeros on every side; "same" for (k - 1) / 2 of an odd
    filter, which with stride 1 keeps the size.

        z[n, i, j, f] = sum_{u, v, c} x[n, i s + u - p, j s + v - p, c] w[u, v, c, f] + b[f]

    Returns (N, (H + 2 p - kh) // s + 1, (W + 2 p - kw) // s + 1, F).
    """
    if padding == "same":
        size = value_of(w).shape[:2]
        if size[0] % 2 == 0 or size[1] % 2 == 0:
            raise ValueError(f"padding is 'same', and the filters are {size}; give odd ones")
        padding = (size[0] // 2, size[1] // 2)
    elif isinstance(padding, str):
        raise ValueError(f"padding is {padding!r}, expected 'same' or numbers")
    z = OPERATIONS["_convolution"](x, w, stride=_pair(stride), padding=_pair(padding))
    return z if b is None else OPERATIONS["add"](z, b)


@operation
def _convolution(xp: Namespace, x: Array, w: Array, /, stride: Pair, padding: Pair) -> Result:
    """See `conv2d`. Both gradients are convolutions too, and share what is made of g."""
    if x.ndim != 4 or w.ndim != 4 or x.shape[3] != w.shape[2]:
        raise ValueError("expected images (N, H, W, C) and filters (kh, kw, C, F) of one C")
    z, kept = convolve(x, w, stride, padding)
    return z, lambda g, wanted: convolve_backward(kept, g, *wanted)


@operation
def biased_relu(xp: Namespace, x: Array, b: Array, /) -> Result:
    """max(x + b, 0) for x (..., C) and b (C,): `add` and `relu` in fewer passes."""
    if b.ndim != 1 or x.ndim < 1 or x.shape[-1] != b.shape[0]:
        raise ValueError("expected x of shape (..., C) and b of shape (C,)")
    z = rectified(x, b)
    return z, lambda g, wanted: rectified_backward(z, g)


def max_pool(x: Any, size: int | Pair = 2, stride: int | Pair | None = None) -> Any:
    """The largest entry of each window of images (N, H, W, C); stride None is the size.

    A router: the gradient goes to the first of the largest entries, row by row. Windows that
    would stand over the edge are left out: (H - size) // stride + 1 of them fit.
    """
    return OPERATIONS["_max_pool"](x, size=_pair(size), stride=_pair(stride or size))


@operation
def _max_pool(xp: Namespace, x: Array, /, size: Pair, stride: Pair) -> Result:
    """See `max_pool`."""
    z = largest_of_windows(x, size, stride)
    return z, (lambda g: largest_of_windows_backward(x, z, g, size, stride),)


def avg_pool(x: Any, size: int | Pair = 2, stride: int | Pair | None = None) -> Any:
    """The mean of each window of images (N, H, W, C), windows as in `max_pool`."""
    return OPERATIONS["_avg_pool"](x, size=_pair(size), stride=_pair(stride or size))


@operation
def _avg_pool(xp: Namespace, x: Array, /, size: Pair, stride: Pair) -> Result:
    """See `avg_pool`. Every entry of a window gets its share of the gradient."""
    windows = list(windows_of(x, size, stride))
    share = 1.0 / len(windows)
    z = x[windows[0]]
    for here in windows[1:]:
        z = z + x[here]

    def pull(g: Array) -> Array:
        dx, overlap = to_fill(xp, x, size, stride)
        part = g * share
        for here in windows:
            if overlap:
                dx[here] += part
            else:
                dx[here] = part
        return dx

    return z * share, (pull,)


def _pair(number: int | Pair) -> Pair:
    return (number, number) if isinstance(number, int) else (int(number[0]), int(number[1]))
