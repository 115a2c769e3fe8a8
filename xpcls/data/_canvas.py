"""Pictures painted many at a time: what covers which share of a pixel, and in which colour.

An image reaches from -1 to 1 in both directions, x to the right and y downwards. Numbers that
each image has for itself are (n, 1, 1), colours (n, 3, 1, 1) between 0 and 1. Channels come first
while it is painted: NumPy is faster over long last axes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._dataset import Indices

Floats = Any  # arrays of float32; NumPy's types do not say what its operators give
Shape = Callable[[Floats, Floats], Floats]  # signed distance: negative inside, 0 on the edge


@dataclass(frozen=True)
class Place:
    """Where something lies: its middle, its radius, its turn in radians, clockwise."""

    x: Floats
    y: Floats
    radius: Floats
    turn: Floats

    def of(self, rows: Indices) -> Place:
        """The places in these images."""
        return Place(self.x[rows], self.y[rows], self.radius[rows], self.turn[rows])

    def seen_from(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """The coordinates of something that is upright, about the origin, and of radius 1."""
        cosine, sine = np.cos(self.turn) / self.radius, np.sin(self.turn) / self.radius
        right, down = x - self.x, y - self.y
        return cosine * right + sine * down, cosine * down - sine * right


class Canvas:
    """Images (n, 3, size, size), float32, under the brush."""

    def __init__(self, n: int, size: int) -> None:
        self.image: Floats = np.empty((n, 3, size, size), dtype=np.float32)
        middles = ((np.arange(size) + 0.5) * (2 / size) - 1).astype(np.float32)
        self.x, self.y = middles[np.newaxis, np.newaxis, :], middles[np.newaxis, :, np.newaxis]
        self._pixel = 2 / size

    def paint(
        self, shape: Shape, place: Place, colours: Floats, rows: Indices | slice = slice(None)
    ) -> None:
        """Cover the inside of a shape in the images `rows`; edges cover a share of a pixel."""
        distance = shape(*place.seen_from(self.x, self.y)) * (place.radius / self._pixel)
        share = np.minimum(np.maximum(0.5 - distance, 0), 1)[:, np.newaxis]
        image = self.image[rows]
        image += share * (colours - image)
        if not isinstance(rows, slice):
            self.image[rows] = image


def rgb(hue: Floats, saturation: Floats, brightness: Floats) -> Floats:
    """Colours (n, 3, 1, 1) of hue (in turns, any number), saturation and brightness (HSV)."""
    channels = []
    for offset in (5, 3, 1):
        sector = np.mod(offset + 6 * hue, 6)
        away = np.minimum(np.maximum(np.minimum(sector, 4 - sector), 0), 1)
        channels.append(brightness * (1 - saturation * away))
    return np.stack(channels, axis=1)
