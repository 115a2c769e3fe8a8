"""Images changed a little and at random, so that a network sees no image twice.

What is done is plain data, a sequence of

    ("shift", pixels)   moved by up to so many pixels along each axis; 0 comes in at the edge
    "flip"              mirrored left to right, half of the time
    ("crop", share)     a window of at least that share of height and width, stretched to full size

All random numbers are drawn on the host, so that one seed changes images alike on every device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xpcls_backends import Array, HostGenerator, like, namespace_of, to_host

from .options import check_integer, check_number, shown

KINDS = ("shift", "flip", "crop")


def check_augmentation(augment: Any) -> tuple[tuple[str, float], ...]:
    """(name, number) of each change; raises TypeError or ValueError for what cannot be."""
    if isinstance(augment, str) or not isinstance(augment, Sequence):
        raise TypeError(
            f"augment is {shown(augment)}, expected a sequence such as (('shift', 2), 'flip')"
        )
    return tuple(_parsed(given, f"augment[{i}]") for i, given in enumerate(augment))


def _parsed(given: Any, where: str) -> tuple[str, float]:
    parts: Any = (given,) if isinstance(given, str) else given
    name = parts[0] if isinstance(parts, tuple | list) and parts else None
    if name not in KINDS or len(parts) != (1 if name == "flip" else 2):
        raise ValueError(
            f"{where} is {shown(given)}, expected ('shift', pixels), 'flip' or ('crop', share)"
        )
    if name == "flip":
        return name, 0.0
    if name == "shift":
        return name, check_integer(f"the pixels in {where}", parts[1], at_least=1)
    return name, check_number(f"the share in {where}", parts[1], above=0, at_most=1)


def augmented(
    rows: Array,
    image_shape: tuple[int, int, int],
    changes: Sequence[tuple[str, float]],
    generator: HostGenerator,
) -> Array:
    """Each image changed in its own way: (n, D) or (n, H, W, C) of any dtype to the same.

    A pixel of the result is one of the image, the nearest to where it comes from, or 0.
    """
    n = rows.shape[0]
    height, width, _ = image_shape
    top = left = to_host([0.0] * n)  # where the first pixel begins, and the way to the next
    down = right = top + 1.0
    for name, number in changes:
        if name == "shift":
            reach = int(number)
            moved = generator.integers(-reach, reach + 1, (2, n))
            top, left = top + moved[0], left + moved[1]
        elif name == "crop":
            share = generator.uniform(number, 1.0, n)
            place = generator.uniform(0.0, 1.0, (2, n)) * (1.0 - share)
            top, left = top + place[0] * height, left + place[1] * width
            down, right = down * share, right * share
        else:
            mirrored = generator.integers(0, 2, n)
            left = left + mirrored * (width * right)
            right = right * (1 - 2 * mirrored)
    return windows(rows, image_shape, (top, down), (left, right))


def windows(
    rows: Array,
    image_shape: tuple[int, int, int],
    vertical: tuple[Any, Any],
    horizontal: tuple[Any, Any],
) -> Array:
    """A window of each image, with as many pixels: (n, D) or (n, H, W, C) to the same.

    vertical, horizontal : (start, step) along each axis, (n,) on the host. The middle of pixel i
    of the result lies at start + step * (i + 1/2) in the image; what lies outside is 0.
    """
    height, width, channels = image_shape
    n = rows.shape[0]
    y, y_inside = _places(*vertical, height, rows)
    x, x_inside = _places(*horizontal, width, rows)
    xp = namespace_of(rows)
    images = xp.reshape(rows, (n * height * width, channels))
    first = like([i * height * width for i in range(n)], rows)
    places = first[:, None, None] + y[:, :, None] * width + x[:, None, :]
    found = xp.take(images, xp.reshape(places, (-1,)), axis=0)
    inside = xp.reshape(y_inside[:, :, None] & x_inside[:, None, :], (-1, 1))
    found = found * xp.astype(inside, rows.dtype)
    return xp.reshape(found, rows.shape)


def _places(start: Any, step: Any, length: int, rows: Array) -> tuple[Array, Array]:
    """Along one axis: (n, length) from which pixel each comes, and whether there is such a one."""
    host = namespace_of(start)
    middles = host.arange(length, device="cpu") + 0.5
    places = host.floor(start[:, None] + step[:, None] * middles[None, :])
    inside = (places >= 0) & (places < length)
    places = host.minimum(host.maximum(places, 0.0), length - 1.0)
    return like(host.astype(places, host.int64), rows), like(inside, rows)
