"""Classifiers on images of any size: centred pixels for linear models, and a HOG that fits.

Linear models get pixels between 0 and 1, less the mean image.
"""

from __future__ import annotations

from typing import Any

from xpcls_backends import Array, namespace_of, row_blocks

from .base import Classifier
from .features import HOG
from .linear import LinearClassifier

CELLS = 4  # of HOG along the shorter side of an image: of 32 pixels, cells of 8


def fit_images(model: Classifier, images: Array, labels: Any) -> Classifier:
    """`model`, fitted on uint8 images (N, H, W, C), and ready to take uint8 images.

    Neighbours compare raw pixels. A linear model is trained on centred ones, and its weights are
    then changed so that it gives raw pixels the same scores. Also where Ctrl-C ends the training.
    """
    if not isinstance(model, LinearClassifier):
        return model.fit(images, labels)
    mean = mean_image(images)
    try:
        model.fit(centered(images, mean), labels)
    except KeyboardInterrupt:
        if hasattr(model, "coef_"):
            model.absorb(1.0 / 255.0, -mean)
        raise
    return model.absorb(1.0 / 255.0, -mean)


def mean_image(images: Array) -> Array:
    """The mean of uint8 images (N, H, W, C), as float32 (H, W, C) between 0 and 1.

    Of the training part alone: the mean of all images would tell of the test part.
    """
    xp = namespace_of(images)
    total = xp.zeros_like(images[0, ...], dtype=xp.float32)
    for rows in row_blocks(images.shape[0], 1024):
        total = total + xp.sum(xp.astype(images[rows, ...], xp.float32), axis=0)
    return total / (255.0 * images.shape[0])


def centered(images: Array, mean: Array) -> Array:
    """images / 255 - mean: float32 (N, H, W, C), from uint8."""
    xp = namespace_of(images, mean)
    return xp.astype(images, xp.float32) / 255.0 - mean


def hog_for(image_shape: tuple[int, ...]) -> HOG:
    """HOG for images (H, W, C), with cells that leave next to none of their pixels out."""
    cell = max(1, min(image_shape[:2]) // CELLS)
    return HOG(9, (cell, cell), (min(2, image_shape[0] // cell), min(2, image_shape[1] // cell)))
