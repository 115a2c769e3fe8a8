"""Features by naive loops in float64, one pixel at a time: what the tests compare with."""

import math
from fractions import Fraction

import numpy as np

EPSILON = 1e-5


def hog(
    image: np.ndarray,
    orientations: int,
    cell: tuple[int, int],
    block: tuple[int, int],
    norm: str | None,
) -> np.ndarray:
    """HOG of one image (H, W, C) by the formulas of its docstring."""
    height, width, channels = image.shape
    x = image.astype(np.float64)
    down, across = height // cell[0], width // cell[1]
    cells = np.zeros((down, across, orientations))
    for i in range(down * cell[0]):
        for j in range(across * cell[1]):
            best = (-1.0, 0.0, 0.0)
            for c in range(channels):
                gy = x[i + 1, j, c] - x[i - 1, j, c] if 0 < i < height - 1 else 0.0
                gx = x[i, j + 1, c] - x[i, j - 1, c] if 0 < j < width - 1 else 0.0
                length = math.hypot(gx, gy)
                if length > best[0]:
                    best = length, gy, gx
            length, gy, gx = best
            degrees = math.degrees(math.atan2(gy, gx)) % 180.0
            place = min(int(degrees * orientations / 180.0 + 1e-9), orientations)
            cells[i // cell[0], j // cell[1], place % orientations] += length
    cells /= cell[0] * cell[1]
    if norm is None:
        return cells.ravel()
    found = []
    for i in range(down - block[0] + 1):
        for j in range(across - block[1] + 1):
            v = cells[i : i + block[0], j : j + block[1]].ravel()
            if norm == "L1":
                v = v / (sum(v) + EPSILON)
            elif norm == "L1-sqrt":
                v = np.sqrt(v / (sum(v) + EPSILON))
            else:
                v = v / math.sqrt(sum(v * v) + EPSILON**2)
                if norm == "L2-Hys":
                    v = np.minimum(v, 0.2)
                    v = v / math.sqrt(sum(v * v) + EPSILON**2)
            found.append(v)
    return np.concatenate(found)


def color_histogram(
    image: np.ndarray, bins: int | tuple[int, int, int], weighted: bool
) -> np.ndarray:
    """Of one image (H, W, 3), uint8 or floating, in exact fractions."""
    shape = (bins, 1, 1) if isinstance(bins, int) else bins
    white = Fraction(255 if image.dtype == np.uint8 else 1)
    counts: dict[tuple[int, ...], Fraction] = {}
    total = Fraction(0)
    for row in image.tolist():
        for r, g, b in ([Fraction(value) for value in pixel] for pixel in row):
            most, least = max(r, g, b), min(r, g, b)
            d = most - least
            if d == 0:
                hue = Fraction(0)
            elif r == most:
                hue = (g - b) / d % 6
            elif g == most:
                hue = (b - r) / d + 2
            else:
                hue = (r - g) / d + 4
            saturation = d / most if most else Fraction(0)
            parts = (hue / 6, saturation, most / white)
            place = tuple(min(int(p * n), n - 1) for p, n in zip(parts, shape, strict=True))
            weight = d if weighted else Fraction(1)
            counts[place] = counts.get(place, Fraction(0)) + weight
            total += weight
    out = np.full(shape, 0.0 if total else 1.0 / math.prod(shape))
    for place, weight in counts.items() if total else ():
        out[place] = float(weight / total)
    return out.ravel()


def tile_histograms(
    bins: np.ndarray, weights: np.ndarray | None, n_bins: int, tile: tuple[int, int]
) -> np.ndarray:
    """Histograms of tiles, one pixel after the other."""
    n, height, width = bins.shape
    out = np.zeros((n, height // tile[0], width // tile[1], n_bins))
    for i in range(n):
        for y in range(height):
            for x in range(width):
                weight = 1.0 if weights is None else weights[i, y, x]
                out[i, y // tile[0], x // tile[1], bins[i, y, x]] += weight
    return out
