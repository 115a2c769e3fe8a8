"""Features of many images, against libraries that take one image at a time.

hog             histograms of oriented gradients of grey images: 9 orientations, cells of 8 x 8
                pixels, blocks of 2 x 2 cells, L2-Hys.
hue             histograms of hue, 10 bins, of colour images.

xpcls           HOG and ColorHistogram on uint8 images.
xpcls plain     the same on NumPy alone.
OpenCV          HOGDescriptor.compute in a loop; the same in a pool of threads, which it leaves
                free to run at once. Its votes are shared between neighbouring bins and cells, so
                its numbers are others. Hue: cvtColor and calcHist.
scikit-image    feature.hog in a loop, on uint8 images; hue: rgb2hsv and numpy.histogram.

Of the first images, HOG is checked against scikit-image's to 1e-6, and hue against bins by division
of integers; how many pixels the others, whose hues are rounded, have in another bin is told.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from .cases import Case, Contestant, Finding
from .data import image_rows

Subject = tuple[Callable[[], object], Callable[[], Any]]

CELL, ORIENTATIONS, BLOCK, BINS = 8, 9, 2, 10
CHECKED = 20  # images
SEED = 7
HERE = "benchmarks.features"
OURS = {"xpcls", "xpcls plain"}
SIZES = ((1_000, 32), (200, 128))  # images, pixels of a side
QUICK_SIZES = ((40, 32),)


def cases(quick: bool) -> list[Case]:
    """HOG and hue, small images and larger ones."""
    sizes = QUICK_SIZES if quick else SIZES
    return [_hog(*size) for size in sizes] + [_hue(*size) for size in sizes]


def _hog(images: int, side: int) -> Case:
    options = {"images": images, "side": side}
    loop = "HOGDescriptor, an image at a time"
    holds = {"OpenCV": 0.4, "OpenCV pool": 1.0, "scikit-image": 0.04}
    xpcls = Contestant("xpcls", f"{HERE}:build_xpcls_hog", options, "HOG.transform", holds=holds)
    contestants = (
        xpcls,
        xpcls.plain(holds),
        Contestant("OpenCV", f"{HERE}:build_cv_hog", options, loop, ("cv2",)),
        Contestant(
            "OpenCV pool",
            f"{HERE}:build_cv_hog",
            {**options, "pool": True},
            f"{loop}, in a pool of threads",
            ("cv2",),
        ),
        Contestant(
            "scikit-image",
            f"{HERE}:build_skimage_hog",
            options,
            "feature.hog, an image at a time",
            ("skimage",),
        ),
    )
    return Case("features", f"HOG {images:,} x {side} x {side}", contestants, check_hog)


def _hue(images: int, side: int) -> Case:
    options = {"images": images, "side": side}
    xpcls = Contestant("xpcls", f"{HERE}:build_xpcls_hue", options, "ColorHistogram.transform")
    contestants = (
        xpcls,
        xpcls.plain({}),
        Contestant(
            "OpenCV",
            f"{HERE}:build_cv_hue",
            options,
            "cvtColor and calcHist, an image at a time",
            ("cv2",),
        ),
        Contestant(
            "scikit-image",
            f"{HERE}:build_skimage_hue",
            options,
            "rgb2hsv and numpy.histogram, an image at a time",
            ("skimage",),
        ),
    )
    name = f"hue {images:,} x {side} x {side}"
    return Case("features", name, contestants, partial(check_hue, options))


def pictures(images: int, side: int, channels: int) -> Any:
    """uint8 images (N, H, W, C)."""
    rows = image_rows(images, side * side * channels, SEED, dtype="uint8")
    return rows.reshape(images, side, side, channels)


class _Features:
    """Makes features, and keeps those it made last."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._made: Any = None

    def run(self) -> None:
        self._made = self._make()

    def answer(self) -> list[list[float]]:
        return np.asarray(self._made)[:CHECKED].reshape(CHECKED, -1).tolist()

    def subject(self) -> Subject:
        return self.run, self.answer


def build_xpcls_hog(*, images: int, side: int, threads: int) -> Subject:
    from xpcls.features import HOG

    X = pictures(images, side, 1)
    hog = HOG(ORIENTATIONS, (CELL, CELL), (BLOCK, BLOCK))
    return _Features(lambda: hog.transform(X)).subject()


def build_cv_hog(*, images: int, side: int, threads: int, pool: bool = False) -> Subject:
    import cv2

    cv2.setNumThreads(threads)
    X = pictures(images, side, 1)[..., 0]

    def describe(some: Any) -> Any:
        block = (BLOCK * CELL, BLOCK * CELL)
        cell = (CELL, CELL)
        descriptor = cv2.HOGDescriptor((side, side), block, cell, cell, ORIENTATIONS)
        return np.array([descriptor.compute(image) for image in some])

    if not pool:
        return _Features(lambda: describe(X)).subject()
    workers = ThreadPoolExecutor(threads)
    parts = np.array_split(X, threads)
    return _Features(lambda: np.concatenate(list(workers.map(describe, parts)))).subject()


def build_skimage_hog(*, images: int, side: int, threads: int) -> Subject:
    from skimage.feature import hog

    X = pictures(images, side, 1)[..., 0]
    cell, block = (CELL, CELL), (BLOCK, BLOCK)
    return _Features(
        lambda: np.array([hog(image, ORIENTATIONS, cell, block) for image in X])
    ).subject()


def build_xpcls_hue(*, images: int, side: int, threads: int) -> Subject:
    from xpcls.features import ColorHistogram

    X = pictures(images, side, 3)
    histogram = ColorHistogram(BINS)
    return _Features(lambda: histogram.transform(X)).subject()


def build_cv_hue(*, images: int, side: int, threads: int) -> Subject:
    import cv2

    cv2.setNumThreads(threads)
    X = pictures(images, side, 3)

    def describe(image: Any) -> Any:
        # Hue runs from 0 to 180 there.
        hues = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
        return cv2.calcHist([hues], [0], None, [BINS], [0, 180])

    return _Features(lambda: np.array([describe(image) for image in X])).subject()


def build_skimage_hue(*, images: int, side: int, threads: int) -> Subject:
    from skimage.color import rgb2hsv

    X = pictures(images, side, 3)

    def describe(image: Any) -> Any:
        return np.histogram(rgb2hsv(image)[..., 0], BINS, (0.0, 1.0))[0]

    return _Features(lambda: np.array([describe(image) for image in X])).subject()


def check_hog(answers: dict[str, Any]) -> dict[str, Finding]:
    """xpcls against scikit-image, entry by entry."""
    if "scikit-image" not in answers:
        return {}
    findings = {}
    for name in OURS & answers.keys():
        largest = float(np.abs(np.subtract(answers[name], answers["scikit-image"])).max())
        text = f"differs from scikit-image by {largest:.1e} at most, in {CHECKED} images"
        findings[name] = Finding(text, ok=largest <= 1e-6)
    return findings


def check_hue(options: dict[str, Any], answers: dict[str, Any]) -> dict[str, Finding]:
    """Everybody against hues as quotients of integers; demanded of xpcls alone."""
    red, green, blue = np.moveaxis(pictures(**options, channels=3)[:CHECKED].astype(np.int64), 3, 0)
    most = np.maximum(np.maximum(red, green), blue)
    chroma = most - np.minimum(np.minimum(red, green), blue)
    sixths = np.select(
        (most == red, most == green),
        ((green - blue) % (6 * np.maximum(chroma, 1)), blue - red + 2 * chroma),
        red - green + 4 * chroma,
    )
    bins = sixths * BINS // (6 * np.maximum(chroma, 1))
    pixels = options["side"] ** 2
    truth = np.stack([np.bincount(image.ravel(), minlength=BINS) for image in bins]) / pixels
    findings = {}
    for name, answer in answers.items():
        found = np.asarray(answer)
        found = found / found.sum(axis=1, keepdims=True)
        share = float(np.abs(found - truth).sum(axis=1).max() / 2)
        text = f"at most {share:.2%} of an image's pixels in another bin"
        findings[name] = Finding(text, ok=share < 1e-6 if name in OURS else None)
    return findings
