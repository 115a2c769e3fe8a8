"""Images made harder on purpose, to see what a model makes of them.

`mask_patch` stands for occlusion, `brightness` for illumination, `shift`, `rotate` and `flip` for
pose, `noise` for a poor camera (CS231n's lecture on image classification lists the difficulties).
Each takes images (N, H, W, C) of any backend, uint8 or floats, and gives new ones of the same
shape, dtype and device. The full scale is 255 for uint8, which is rounded and never wraps, and 1
for floats: they must lie from 0 to 1, and stay there. Other images are a TypeError or a ValueError,
and so is a strength that cannot be.

What is drawn at random is drawn on the host, for each image in its turn: one seed changes image i
alike on every device, whatever follows it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from xpcls_backends import (
    Array,
    Seed,
    device_of,
    host_generator,
    is_array,
    like,
    namespace_of,
    row_blocks,
    rows_within,
    scratch_bytes,
    to_host,
    to_scalar,
)

from .augment import windows
from .options import check_integer, check_number, shown
from .progress import advance

Perturbation = Callable[[Array, Seed], Array]  # of images and a seed

FARTHEST = 2**20  # pixels: larger than any image
LOUDEST = 1000  # times the full scale: by then every pixel is black or white


def mask_patch(images: Array, share: float, *, random_state: Seed = 0) -> Array:
    """Black out a patch of each image at a random place.

    share : of the height and of the width that the patch takes, from 0 to 1.
    """
    share = check_number("share", share, at_least=0, at_most=1)
    images = _checked(images)
    xp, device = namespace_of(images), device_of(images)
    n, *lengths, _ = images.shape
    sides = [round(share * length) for length in lengths]
    draws = host_generator(random_state).random((n, 2))
    ways = [length - side + 1 for length, side in zip(lengths, sides, strict=True)]
    starts = like(to_host(draws * to_host(ways)).astype("int64"), images)  # rounds down

    def masked(part: Array, rows: slice) -> Array:
        inside = []
        for axis in range(2):
            place = xp.arange(lengths[axis], device=device)[None, :] - starts[rows, axis, None]
            inside.append((place >= 0) & (place < sides[axis]))
        kept = ~(inside[0][:, :, None] & inside[1][:, None, :])
        return part * xp.astype(kept, part.dtype)[..., None]

    return _in_blocks("masking", images, masked)


def brightness(images: Array, change: float) -> Array:
    """Add `change` times the full scale to every pixel, and end at black and white.

    change : from -1, all black, to 1, all white.
    """
    change = check_number("change", change, at_least=-1, at_most=1)
    images = _checked(images)
    xp = namespace_of(images)
    whole = images.dtype == xp.uint8
    kind, step = (xp.int16, round(255 * change)) if whole else (images.dtype, change)

    def brighter(part: Array, rows: slice) -> Array:
        return _limited(xp.astype(part, kind) + step, images)

    return _in_blocks("brightening", images, brighter)


def shift(images: Array, pixels: int, *, random_state: Seed = 0) -> Array:
    """Move each image by a random number of pixels along each axis; black comes in at the edges.

    pixels : the most, each way; all whole numbers up to it are equally likely.
    """
    pixels = check_integer("pixels", pixels, at_least=0, at_most=FARTHEST)
    images = _checked(images)
    n, *shape = images.shape
    moved = host_generator(random_state).integers(-pixels, pixels + 1, (n, 2)).astype("float64")
    ones = to_host([1.0] * n)

    def shifted(part: Array, rows: slice) -> Array:
        vertical, horizontal = ((moved[rows, axis], ones[rows]) for axis in range(2))
        return windows(part, (shape[0], shape[1], shape[2]), vertical, horizontal)

    return _in_blocks("shifting", images, shifted)


def rotate(images: Array, degrees: float) -> Array:
    """Turn every image anticlockwise about its middle; black comes in at the corners.

    degrees : of any size and sign. A pixel is interpolated between the four that lie around the
    place it comes from (bilinear); what lies outside the image counts as black.
    """
    degrees = check_number("degrees", degrees)
    images = _checked(images)
    xp, kind = namespace_of(images), _working_dtype(images)
    _, height, width, channels = images.shape
    corners = _corners(math.radians(degrees), height, width, images)

    def rotated(part: Array, rows: slice) -> Array:
        pixels = xp.reshape(part, (part.shape[0], height * width, channels))
        total = 0.0
        for places, weights in corners:
            found = xp.astype(xp.take(pixels, places, axis=1), kind)
            total = total + found * weights[None, :, None]
        return xp.reshape(_limited(total, images), part.shape)

    return _in_blocks("rotating", images, rotated)


def _corners(angle: float, height: int, width: int, images: Array) -> list[tuple[Array, Array]]:
    """The four pixels that each one of the turned image is made of: places, weights (H * W,)."""
    host = namespace_of(to_host([0.0]))
    narrow = _working_dtype(images) != namespace_of(images).float64
    down = (host.arange(height, device="cpu") - (height - 1) / 2)[:, None]
    right = (host.arange(width, device="cpu") - (width - 1) / 2)[None, :]
    y = math.cos(angle) * down + math.sin(angle) * right + (height - 1) / 2
    x = math.cos(angle) * right - math.sin(angle) * down + (width - 1) / 2
    above, left = host.floor(y), host.floor(x)
    corners = []
    for row, y_weight in ((above, above + 1 - y), (above + 1, y - above)):
        for column, x_weight in ((left, left + 1 - x), (left + 1, x - left)):
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            places = host.where(inside, row * width + column, 0.0).astype("int64")
            weights = (y_weight * x_weight * inside).astype("float32" if narrow else "float64")
            corners.append((like(places.reshape(-1), images), like(weights.reshape(-1), images)))
    return corners


def flip(images: Array) -> Array:
    """Mirror every image left to right."""
    images = _checked(images)
    xp, device = namespace_of(images), device_of(images)
    return xp.asarray(xp.flip(images, axis=2), copy=True, device=device)


def noise(images: Array, deviation: float, *, random_state: Seed = 0) -> Array:
    """Add normal noise to every pixel.

    deviation : the standard deviation, as a part of the full scale; 0 to 1,000.
    """
    deviation = check_number("deviation", deviation, at_least=0, at_most=LOUDEST)
    images = _checked(images)
    xp, kind = namespace_of(images), _working_dtype(images)
    generator = host_generator(random_state)
    scale = deviation * (255 if images.dtype == xp.uint8 else 1)

    def noisy(part: Array, rows: slice) -> Array:
        grain = like(generator.standard_normal(part.shape, dtype="float32"), images)
        return _limited(xp.astype(part, kind) + xp.astype(grain, kind) * scale, images)

    return _in_blocks("adding noise", images, noisy)


def _checked(images: Any) -> Array:
    """`images`, or an error that says what is wrong with them. Floats cost a read on the host."""
    wanted = "expected images (N, H, W, C), uint8 or floats from 0 to 1"
    if not is_array(images):
        raise TypeError(f"images is {shown(images)}, {wanted}, as an array of a backend")
    xp = namespace_of(images)
    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(f"images has shape {images.shape}, {wanted}")
    if images.dtype == xp.uint8:
        return images
    if not xp.isdtype(images.dtype, "real floating"):
        raise TypeError(f"images has dtype {images.dtype}, {wanted}; convert them with xp.astype")
    least, most = to_scalar(xp.min(images)), to_scalar(xp.max(images))
    if not (least >= 0 and most <= 1):  # NaN is refused too
        raise ValueError(
            f"images holds values from {least:g} to {most:g}, {wanted}: divide those that end at "
            "255 by 255, and do so before a mean is subtracted"
        )
    return images


def _working_dtype(images: Array) -> Any:
    """What is computed in: float64 for float64, else float32."""
    xp = namespace_of(images)
    return xp.float64 if images.dtype == xp.float64 else xp.float32


def _limited(values: Array, images: Array) -> Array:
    """Values on the scale of `images`, in their dtype, kept between black and white."""
    xp = namespace_of(values)
    whole = images.dtype == xp.uint8
    if whole:
        values = xp.round(values)
    return xp.astype(xp.minimum(xp.maximum(values, 0), 255 if whole else 1), images.dtype)


def _in_blocks(task: str, images: Array, change: Callable[[Array, slice], Array]) -> Array:
    """`change` of a block of images and its rows, block after block, put together."""
    xp = namespace_of(images)
    n, height, width, channels = images.shape
    size = rows_within(scratch_bytes(xp), 32 * height * width * channels)
    parts = []
    for rows in row_blocks(n, size):
        parts.append(change(images[rows, ...], rows))
        advance(task, rows.stop, n)
    return xp.concat(parts, axis=0)


def _at(change: Callable[..., Array], *strength: float) -> Perturbation:
    """A perturbation that draws nothing."""
    return lambda images, random_state: change(images, *strength)


def _drawn(change: Callable[..., Array], strength: float) -> Perturbation:
    return lambda images, random_state: change(images, strength, random_state=random_state)


# A function and its strength by name, mild ones before strong ones.
PERTURBATIONS: dict[str, Perturbation] = {
    "mask 0.25": _drawn(mask_patch, 0.25),
    "mask 0.5": _drawn(mask_patch, 0.5),
    "brightness -0.25": _at(brightness, -0.25),
    "brightness +0.25": _at(brightness, 0.25),
    "shift 2": _drawn(shift, 2),
    "shift 4": _drawn(shift, 4),
    "rotate 15": _at(rotate, 15),
    "rotate 30": _at(rotate, 30),
    "flip": _at(flip),
    "noise 0.1": _drawn(noise, 0.1),
    "noise 0.3": _drawn(noise, 0.3),
}
