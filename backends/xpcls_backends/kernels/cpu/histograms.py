"""Histograms of the tiles of images: bins are made row by row, and counted where they are.

Sums are taken in float64, in the order of the pixels of a tile, as `numpy.bincount` takes them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._compile import compiled

STEP = 255  # the largest difference of two bytes
SPAN = 2 * STEP + 1
MIDDLE = STEP * SPAN + STEP  # the place of no gradient
PIXELS = 2**12  # whose colours are separated at once, in the first cache


def tile_sums(bins: Any, weights: Any, n_bins: int, tile: tuple[int, int]) -> Any:
    """See `xpcls_backends.tile_histograms`."""
    n, height, width = bins.shape
    tall, wide = tile
    out = np.empty(
        (n, height // tall, width // wide, n_bins),
        dtype=np.float32 if weights is None else weights.dtype,
    )
    bins = np.ascontiguousarray(bins)  # one kind of array, compiled once
    if weights is None:
        _count(bins, tall, wide, out)
    else:
        _add(bins, np.ascontiguousarray(weights), tall, wide, out)
    return out


@compiled()
def _count(bins: Any, tall: Any, wide: Any, out: Any) -> None:
    n, down, across, n_bins = out.shape
    counts = np.empty((across, n_bins), dtype=np.int64)
    for image in range(n):
        for row in range(down):
            counts[:] = 0
            for y in range(row * tall, (row + 1) * tall):
                for column in range(across):
                    for x in range(column * wide, (column + 1) * wide):
                        counts[column, bins[image, y, x]] += 1
            out[image, row] = counts


@compiled()
def _add(bins: Any, weights: Any, tall: Any, wide: Any, out: Any) -> None:
    n, down, across, n_bins = out.shape
    sums = np.empty((across, n_bins), dtype=np.float64)
    for image in range(n):
        for row in range(down):
            sums[:] = 0.0
            for y in range(row * tall, (row + 1) * tall):
                for column in range(across):
                    for x in range(column * wide, (column + 1) * wide):
                        sums[column, bins[image, y, x]] += weights[image, y, x]
            out[image, row] = sums


def gradient_histograms(
    images: Any, bins: Any, lengths: Any, n_bins: int, tile: tuple[int, int]
) -> Any:
    """See `xpcls_backends.gradient_kernel`."""
    n, height, width, _ = images.shape
    out = np.empty((n, height // tile[0], width // tile[1], n_bins), dtype=np.float32)
    _vote(np.ascontiguousarray(images), bins, lengths, tile[0], tile[1], out)
    return out


@compiled()
def _vote(images: Any, bins: Any, lengths: Any, tall: Any, wide: Any, out: Any) -> None:
    n, down, across, n_bins = out.shape
    height, width, channels = images.shape[1:]
    sums = np.empty((across, n_bins), dtype=np.float64)
    places = np.empty(width, dtype=np.int32)
    longest = np.empty(width, dtype=np.int32)
    for image in range(n):
        pixels = images[image]
        for row in range(down):
            sums[:] = 0.0
            for y in range(row * tall, (row + 1) * tall):
                # At the edges the pixel before and the pixel after are one, and cancel.
                inside = 0 < y < height - 1
                above, below = (y - 1, y + 1) if inside else (y, y)
                if channels == 1:
                    _place_grey(pixels[above, :, 0], pixels[y, :, 0], pixels[below, :, 0], places)
                else:
                    _place(pixels[above], pixels[y], pixels[below], places, longest)
                for column in range(across):
                    for x in range(column * wide, (column + 1) * wide):
                        place = places[x]
                        sums[column, bins[place]] += lengths[place]
            out[image, row] = sums


@compiled()
def _place_grey(above: Any, here: Any, below: Any, places: Any) -> None:
    """Of each pixel of a row (W,) the place of its gradient among all that there can be."""
    last = here.shape[0] - 1
    for x in (0, last):
        places[x] = (np.int32(below[x]) - np.int32(above[x])) * SPAN + MIDDLE
    # Apart from the ends it is a loop without a branch, which is made of vectors.
    for x in range(1, last):
        down = np.int32(below[x]) - np.int32(above[x])
        right = np.int32(here[x + 1]) - np.int32(here[x - 1])
        places[x] = np.int32(down * np.int32(SPAN) + right + np.int32(MIDDLE))


@compiled()
def _place(above: Any, here: Any, below: Any, places: Any, longest: Any) -> None:
    """The same of pixels (W, C), of which the channel with the longest gradient counts."""
    width, channels = here.shape
    longest[:] = -1
    for x in range(width):
        inside = 0 < x < width - 1
        before, after = (x - 1, x + 1) if inside else (x, x)
        for c in range(channels):
            down = np.int32(below[x, c]) - np.int32(above[x, c])
            right = np.int32(here[after, c]) - np.int32(here[before, c])
            length = down * down + right * right
            if length > longest[x]:
                longest[x] = length
                places[x] = down * SPAN + right + MIDDLE


def color_histograms(images: Any, axes: tuple[int, int, int], weighted: bool) -> Any:
    """See `xpcls_backends.color_kernel`."""
    n = images.shape[0]
    out = np.empty((n, axes[0] * axes[1] * axes[2]), dtype=np.float32)
    pixels = np.ascontiguousarray(images).reshape(n, -1)
    hues, saturations, values = map(np.float32, axes)
    _count_colors(pixels, hues, saturations, values, weighted, out)
    return out


@compiled()
def _count_colors(
    pixels: Any, hues: Any, saturations: Any, values: Any, weighted: Any, out: Any
) -> None:
    n, size = pixels.shape[0], pixels.shape[1] // 3
    planes = np.empty((3, PIXELS), dtype=np.uint8)
    bins = np.empty(PIXELS, dtype=np.int32)
    # Two counts, since one pixel's must not wait for that of the pixel before.
    even = np.empty(out.shape[1], dtype=np.int64)
    odd = np.empty(out.shape[1], dtype=np.int64)
    for image in range(n):
        even[:] = 0
        odd[:] = 0
        for first in range(0, size, PIXELS):
            few = min(PIXELS, size - first)
            red, green, blue = planes[0, :few], planes[1, :few], planes[2, :few]
            _separate(pixels[image, 3 * first :], red, green, blue)
            _bin_hues(red, green, blue, hues, bins)
            if saturations > 1.0 or values > 1.0:
                _join_bins(red, green, blue, saturations, values, bins)
            if weighted:
                for x in range(few):
                    even[bins[x]] += _chroma(red[x], green[x], blue[x])
                continue
            for x in range(0, few - 1, 2):
                even[bins[x]] += 1
                odd[bins[x + 1]] += 1
            if few % 2:
                even[bins[few - 1]] += 1
        for i in range(out.shape[1]):
            out[image, i] = even[i] + odd[i]


@compiled()
def _separate(pixels: Any, red: Any, green: Any, blue: Any) -> None:
    for x in range(red.shape[0]):
        red[x], green[x], blue[x] = pixels[3 * x], pixels[3 * x + 1], pixels[3 * x + 2]


@compiled()
def _bin_hues(reds: Any, greens: Any, blues: Any, n_bins: Any, bins: Any) -> None:
    """The bin of each pixel's hue, which times chroma is an integer, as is n_bins."""
    for x in range(reds.shape[0]):
        red, green, blue = np.int32(reds[x]), np.int32(greens[x]), np.int32(blues[x])
        value = max(max(red, green), blue)
        chroma = np.int32(value - min(min(red, green), blue))
        from_red = np.int32(green - blue)
        from_red = np.int32(from_red + np.int32(6) * chroma) if from_red < 0 else from_red
        sixths = np.int32(red - green + np.int32(4) * chroma)
        sixths = np.int32(blue - red + np.int32(2) * chroma) if green == value else sixths
        sixths = from_red if red == value else sixths
        bins[x] = _bin(sixths, np.int32(6) * chroma, n_bins)


@compiled()
def _join_bins(
    reds: Any, greens: Any, blues: Any, saturations: Any, values: Any, bins: Any
) -> None:
    """Bins of hue become joint bins with those of saturation and value."""
    for x in range(reds.shape[0]):
        value = np.int32(max(max(reds[x], greens[x]), blues[x]))
        saturation = _bin(_chroma(reds[x], greens[x], blues[x]), value, saturations)
        bins[x] = (bins[x] * np.int32(saturations) + saturation) * np.int32(values)
        bins[x] += _bin(value, np.int32(255), values)


@compiled(inline="always")
def _chroma(red: Any, green: Any, blue: Any) -> Any:
    return np.int32(max(max(red, green), blue)) - np.int32(min(min(red, green), blue))


@compiled(inline="always")
def _bin(part: Any, whole: Any, n_bins: Any) -> Any:
    """The bin of part / whole; 1 belongs to the last, 0 / 0 to the first.

    All but the quotient are integers below 2^24, and it lies at least 1 / whole below the next
    integer, which is more than half of its last digit: none is rounded to.
    """
    whole = np.int32(1) if whole == 0 else whole
    quotient = np.int32(np.float32(part) * n_bins / np.float32(whole))
    return min(quotient, np.int32(n_bins) - np.int32(1))
