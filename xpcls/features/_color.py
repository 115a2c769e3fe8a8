"""Colours: brightness, hue, saturation and value, and histograms of them."""

from __future__ import annotations

import functools
import math
from typing import Any

from xpcls.options import check_flag, check_integer, shown
from xpcls_backends import (
    Array,
    Histograms,
    color_kernel,
    namespace_of,
    tile_histograms,
    to_scalar,
)

from ._base import ImageTransformer, fill_blocks
from ._statistics import feature_dtype

# The share of each channel in the brightness: ITU-R BT.601. (The course's own file has 0.144 for
# blue, so that its shares sum to 1.03.)
RED, GREEN, BLUE = 0.299, 0.587, 0.114
MOST_BINS = 1000  # of an axis; up to there a quotient of bytes never rounds into the next bin


MOST_JOINT_BINS = 10**6


def grey(images: Array) -> Array:
    """The brightness of colour images (n, H, W, 3): (n, H, W, 1), float32 or float64."""
    xp = namespace_of(images)
    dtype = feature_dtype(images)
    red, green, blue = (xp.astype(images[..., i], dtype) for i in range(3))
    return (red * RED + green * GREEN + blue * BLUE)[..., None]


class ColorHistogram(ImageTransformer):
    """How the colours of an image are distributed over bins of hue, or of hue, saturation, value.

    With M and m the largest and the smallest of red, green and blue, and d = M - m,

        hue         (green - blue) / d, from 0 to 6 around, where M is red;
                    (blue - red) / d + 2 where it is green; (red - green) / d + 4 where it is blue
        saturation  d / M
        value       M, of 255 (uint8) or of 1 (floating)

    Grey pixels, d = 0, have hue 0, that of red; `weighted=True` gives them no say. The bins of an
    image sum to 1.

    Parameters
    ----------
    bins : number of bins of hue; or (hue, saturation, value), the numbers of bins of a joint
        histogram, whose last index runs fastest. Bins are of equal width.
    weighted : each pixel counts by d, its saturation times its value. An image without any colour
        has the same share in each bin.
    image_shape : (H, W, C) of images that come as rows, as in a pipeline of scikit-learn.

    X : images of red, green and blue, (N, H, W, 3); floating ones between 0 and 1 for a joint
    histogram. Bins of uint8 images are exact.

    Source: Smith, Color Gamut Transform Pairs, SIGGRAPH 1978 (the hexcone model); Swain and
    Ballard, Color Indexing, IJCV 1991 (histograms).
    """

    def __init__(
        self,
        bins: int | tuple[int, int, int] = 10,
        *,
        weighted: bool = False,
        image_shape: tuple[int, int, int] | None = None,
    ) -> None:
        self.bins = bins
        self.weighted = weighted
        self.image_shape = image_shape

    def _check(self, images: Array) -> None:
        check_flag("weighted", self.weighted)
        for n in self._axes():
            check_integer("a number in bins", n, at_least=1, at_most=MOST_BINS)
        total = math.prod(self._axes())
        if total > MOST_JOINT_BINS:
            raise ValueError(
                f"bins is {self.bins}, which makes {total:,} joint bins, expected at most "
                f"{MOST_JOINT_BINS:,}"
            )
        if images.shape[3] != 3:
            raise ValueError(
                f"X has images of {images.shape[3]} channel(s), expected 3: red, green and blue"
            )
        xp = namespace_of(images)
        if not xp.isdtype(images.dtype, "real floating"):
            if images.dtype != xp.uint8:
                raise TypeError(
                    f"X has dtype {images.dtype}, expected uint8, or floating between 0 and 1"
                )
        elif len(self._axes()) == 3:
            least, most = (float(to_scalar(f(images))) for f in (xp.min, xp.max))
            if least < 0 or most > 1:
                raise ValueError(
                    f"X holds values from {least:g} to {most:g}, expected 0 to 1; divide floating "
                    "images by 255, or give uint8"
                )

    def _axes(self) -> tuple[Any, ...]:
        if isinstance(self.bins, tuple | list):
            if len(self.bins) != 3:
                raise ValueError(
                    f"bins is {shown(self.bins)}, expected a number of bins of hue, or "
                    "(hue, saturation, value)"
                )
            return tuple(self.bins)
        return (self.bins,)

    def _transform(self, images: Array) -> Array:
        n_bins = math.prod(self._axes())
        make = functools.partial(self._histograms, color_kernel(images))
        return fill_blocks("colour histogram", images, n_bins, feature_dtype(images), make)

    def _histograms(self, kernel: Histograms | None, images: Array) -> Array:
        """(n, bins) of a block of images."""
        xp = namespace_of(images)
        pixels = images.shape[1] * images.shape[2]
        axes = (*self._axes(), 1, 1)[:3]
        found = self._counted(images) if kernel is None else kernel(images, axes, self.weighted)
        if not self.weighted:
            return found * (1.0 / pixels)
        total = xp.sum(found, axis=1, keepdims=True)
        colourless = xp.astype(total == 0.0, found.dtype)
        return (found + colourless / found.shape[1]) / (total + colourless)

    def _counted(self, images: Array) -> Array:
        """How many pixels, or how much chroma, each bin has: (n, bins)."""
        xp = namespace_of(images)
        n, height, width, _ = images.shape
        dtype = feature_dtype(images)
        red, green, blue = (xp.astype(images[..., i], dtype) for i in range(3))
        value = xp.maximum(xp.maximum(red, green), blue)
        chroma = value - xp.minimum(xp.minimum(red, green), blue)
        axes = self._axes()
        bins = _hue_bins(red, green, blue, value, chroma, axes[0])
        if len(axes) == 3:
            white = 255.0 if images.dtype == xp.uint8 else 1.0
            saturation = _bins_of(chroma, value, axes[1])
            bins = (bins * axes[1] + saturation) * axes[2]
            bins += _bins_of(value, xp.full_like(value, white), axes[2])
        weights = chroma if self.weighted else None
        n_bins = math.prod(axes)
        found = tile_histograms(bins, weights, n_bins, (height, width))
        return xp.astype(xp.reshape(found, (n, n_bins)), dtype, copy=False)


def _hue_bins(
    red: Array, green: Array, blue: Array, value: Array, chroma: Array, n_bins: int
) -> Array:
    """The bin of each pixel's hue: int64, 0 .. n_bins - 1.

    Hue times chroma is made first: of bytes it is an integer, and the one division at the end is
    the only rounding.
    """
    xp = namespace_of(value)
    dtype = value.dtype
    from_red = red == value
    from_green = (green == value) & ~from_red
    is_red, is_green = xp.astype(from_red, dtype), xp.astype(from_green, dtype)
    is_blue = 1.0 - is_red - is_green
    sixths = is_red * (green - blue) + is_green * (blue - red) + is_blue * (red - green)
    sixths += chroma * (2.0 * is_green + 4.0 * is_blue)
    sixths += chroma * (6.0 * xp.astype(sixths < 0.0, dtype))
    return _bins_of(sixths, 6.0 * chroma, n_bins)


def _bins_of(part: Array, whole: Array, n_bins: int) -> Array:
    """The bin of part / whole, which lies in [0, 1]; 1 belongs to the last bin, 0 / 0 to the first.

    int64. With integers below 2^11 and up to 1,000 bins it is exact in float32: the quotient lies
    at least 1 / whole below the next integer, which is more than half of its last digit.
    """
    xp = namespace_of(part)
    whole = whole + xp.astype(whole == 0.0, whole.dtype)
    return xp.minimum(xp.astype(part * float(n_bins) / whole, xp.int64), n_bins - 1)
