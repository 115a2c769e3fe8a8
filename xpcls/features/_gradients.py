"""Gradients of images: how strong the brightness changes at each pixel, and in which direction.

A direction and its opposite count as one, so directions lie in [0, pi). They fall into bins
[k, k + 1) * pi / orientations, k = 0, 1, ..., measured from the horizontal, y downwards.
"""

from __future__ import annotations

import functools
import math
from typing import Any

from xpcls_backends import Array, device_of, gather, like, namespace_of, to_host, widest_float

Tables = tuple[Array, Array]  # bins (511 * 511,) uint8, and lengths, float32

STEP = 255  # the largest difference of two bytes
SPAN = 2 * STEP + 1


def oriented_gradients(
    images: Array, orientations: int, tables: Tables | None = None
) -> tuple[Array, Array]:
    """The bin of each pixel's gradient, and the gradient's length: (n, H, W) each.

    images : (n, H, W, C), uint8 or floating; tables : `byte_tables`, if they are there already.
    The gradient is the difference of the pixels after and before, along each axis, not halved, and
    0 at the edges of the image; of several channels that with the longest gradient counts, the
    first of equals.

    Lengths are float64 for float64 images, else float32.
    """
    tables = byte_tables(images, orientations) if tables is None else tables
    return _of_floats(images, orientations) if tables is None else _of_bytes(images, tables)


def byte_tables(images: Array, orientations: int) -> Tables | None:
    """Bins and lengths of all gradients that uint8 images can have, like them; None for others.

    Two differences of bytes are one of 511 x 511 pairs, and all of these are computed once, on
    the host: so the bins are those of float64, on every device.
    """
    if images.dtype != namespace_of(images).uint8:
        return None
    bins, lengths = _byte_tables(orientations)
    return like(bins, images), like(lengths, images)


def _of_bytes(images: Array, tables: Tables) -> tuple[Array, Array]:
    xp = namespace_of(images)
    place = longest = None  # of the gradient among all pairs, and its squared length
    for channel in range(images.shape[3]):
        down, right = _differences(xp.astype(images[..., channel], xp.int16))
        down = xp.astype(down, xp.int32)
        if images.shape[3] == 1:
            place = down
            place *= SPAN
            place += right
            break
        here = down * SPAN + right
        length = down * down + xp.astype(right, xp.int32) ** 2
        if place is None:
            place, longest = here, length
        else:
            place += xp.astype(length > longest, xp.int32) * (here - place)
            longest = xp.maximum(longest, length)
    assert place is not None
    place += STEP * SPAN + STEP
    flat = xp.reshape(xp.astype(place, xp.int64), (-1,))
    bins, lengths = tables
    return (
        xp.reshape(gather(bins, flat), place.shape),
        xp.reshape(gather(lengths, flat), place.shape),
    )


@functools.lru_cache(maxsize=8)
def _byte_tables(orientations: int) -> tuple[Any, Any]:
    """Of all pairs of differences, down times 511 plus right, on the host."""
    steps = to_host([float(step) for step in range(-STEP, STEP + 1)])
    host = namespace_of(steps)
    down, right = host.broadcast_arrays(steps[:, None], steps[None, :])
    bins = host.astype(_bins(down, right, orientations), host.uint8)
    lengths = host.astype(host.hypot(down, right), host.float32)
    return host.reshape(bins, (-1,)), host.reshape(lengths, (-1,))


def _of_floats(images: Array, orientations: int) -> tuple[Array, Array]:
    xp, device = namespace_of(images), device_of(images)
    down, right = _differences(images[..., 0])
    length = xp.hypot(down, right)
    for channel in range(1, images.shape[3]):
        other = _differences(images[..., channel])
        theirs = xp.hypot(*other)
        longer = theirs > length
        down, right = xp.where(longer, other[0], down), xp.where(longer, other[1], right)
        length = xp.where(longer, theirs, length)
    # A direction near the edge of a bin must not change sides by rounding.
    wide = widest_float(xp, device)
    return _bins(xp.astype(down, wide), xp.astype(right, wide), orientations), length


def _differences(x: Array) -> tuple[Array, Array]:
    """Along the second and the third axis of x (n, H, W): next minus previous; 0 at the edges."""
    xp = namespace_of(x)
    down, right = xp.zeros_like(x), xp.zeros_like(x)
    if x.shape[1] > 2:
        down[:, 1:-1, :] = x[:, 2:, :] - x[:, :-2, :]
    if x.shape[2] > 2:
        right[:, :, 1:-1] = x[:, :, 2:] - x[:, :, :-2]
    return down, right


def _bins(down: Array, right: Array, orientations: int) -> Array:
    """The bin, 0 .. orientations - 1, of the direction of each gradient."""
    xp = namespace_of(down)
    # Half a turn is `orientations` bins. Directions on the very edge of a bin, such as 45 degrees,
    # belong to the next one, also where the angle was rounded down.
    edge = 8.0 * orientations * float(xp.finfo(down.dtype).eps)
    place = xp.atan2(down, right) * (orientations / math.pi)
    place = place + orientations * xp.astype(place < 0.0, place.dtype)
    bins = xp.astype(place + edge, xp.int64)  # towards 0, and none is negative
    return bins - orientations * xp.astype(bins >= orientations, xp.int64)
