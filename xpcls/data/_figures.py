"""The ten figures of `make_shapes`: their outlines, their patterns and their hues.

Outlines are signed distances: negative inside, 0 on the edge, positive outside. They take
coordinates (n, H, W) in which the figure stands upright about the origin and reaches about 1 far,
and the whims of each image: (n, 1, 1) numbers from -1 to 1, all 0 where nothing varies.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ._canvas import Floats

WHIMS = ("hue", "saturation", "brightness", "stretch", "thickness", "period", "phase", "contrast")
RED, YELLOW, GREEN, BLUE, VIOLET = 0.02, 0.14, 0.36, 0.6, 0.82  # hues, in turns

Whims = Mapping[str, Floats]
Outline = Callable[[Floats, Floats, Whims], Floats]


@dataclass(frozen=True)
class Figure:
    """A class.

    hue : the typical one. pattern : the outline of the darker parts of the surface, if there are.
    any_hue : whether intra-class variation leads to all hues. reach : its size among the figures.
    """

    name: str
    hue: float
    outline: Outline
    pattern: Outline | None = None
    any_hue: bool = False
    reach: float = 1.0


def disc(x: Floats, y: Floats, whims: Whims) -> Floats:
    return np.hypot(x, y) - 1


def ring(x: Floats, y: Floats, whims: Whims) -> Floats:
    half = 0.2 + 0.07 * whims["thickness"]
    return np.abs(np.hypot(x, y) - (1 - half)) - half


def square(x: Floats, y: Floats, whims: Whims) -> Floats:
    return np.maximum(np.abs(x), np.abs(y)) - 0.88


def triangle(x: Floats, y: Floats, whims: Whims) -> Floats:
    sides = 0.5 * math.sqrt(3) * np.abs(x) - 0.5 * y
    return np.maximum(sides, y) - 0.55


def star(x: Floats, y: Floats, whims: Whims) -> Floats:
    """Five tips, one of them up. Folded about its axes, the outline is one straight line."""
    fifth, tip = 2 * math.pi / 5, 1.15
    angle = np.abs(np.mod(np.arctan2(x, -y) + fifth / 2, fifth) - fifth / 2)
    radius, inner = np.hypot(x, y), 0.5 + 0.1 * whims["thickness"]
    run, rise = inner * math.cos(fifth / 2) - tip, inner * math.sin(fifth / 2)
    along, across = radius * np.cos(angle) - tip, radius * np.sin(angle)
    return (rise * along - run * across) / np.hypot(run, rise)


def cross(x: Floats, y: Floats, whims: Whims) -> Floats:
    far, near = np.maximum(np.abs(x), np.abs(y)), np.minimum(np.abs(x), np.abs(y))
    return np.maximum(far - 1, near - (0.3 + 0.08 * whims["thickness"]))


def patch(x: Floats, y: Floats, whims: Whims) -> Floats:
    """A square with round corners."""
    corner = 0.3
    across, down = (np.maximum(np.abs(axis) - (1 - corner), 0) for axis in (x, y))
    return np.hypot(across, down) - corner


def _stripes(across: Floats, whims: Whims) -> Floats:
    """Stripes at right angles to the axis `across`, as wide as the gaps between them."""
    period = 0.5 * (1 + 0.3 * whims["period"])
    place = np.mod(across / period + 0.5 * whims["phase"], 1)
    return (np.abs(place - 0.5) - 0.25) * period


def _horizontal(x: Floats, y: Floats, whims: Whims) -> Floats:
    return _stripes(y, whims)


def _vertical(x: Floats, y: Floats, whims: Whims) -> Floats:
    return _stripes(x, whims)


def _diagonal(x: Floats, y: Floats, whims: Whims) -> Floats:
    return _stripes((x + y) * math.sqrt(0.5), whims)


def _checks(x: Floats, y: Floats, whims: Whims) -> Floats:
    """Dark where stripes of both directions are, and where none is."""
    a, b = _stripes(x / 1.4, whims) * 1.4, _stripes(y / 1.4, whims) * 1.4
    return np.where((a < 0) == (b < 0), -1, 1) * np.minimum(np.abs(a), np.abs(b))


FIGURES = (
    Figure("disc", RED, disc),
    Figure("ring", BLUE, ring),
    Figure("square", RED, square),
    Figure("triangle", YELLOW, triangle),
    Figure("star", YELLOW, star),
    Figure("cross", BLUE, cross),
    Figure("horizontal stripes", GREEN, patch, _horizontal, any_hue=True, reach=1.2),
    Figure("vertical stripes", GREEN, patch, _vertical, any_hue=True, reach=1.2),
    Figure("diagonal stripes", VIOLET, patch, _diagonal, any_hue=True, reach=1.2),
    Figure("checkerboard", VIOLET, patch, _checks, any_hue=True, reach=1.2),
)
