"""Rows among which neighbours are hard to get right; from a seed, alike in every process.

Each kind is a function of a generator and a shape. Queries and points are drawn by the same one,
and every fourth query is one of the points.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .data import search_rows

HostArray = np.ndarray[Any, Any]
Draw = Callable[[np.random.Generator, int, int], HostArray]
WHITE = 255  # the largest byte


def rows_of(kind: str, queries: int, points: int, features: int) -> tuple[HostArray, HostArray]:
    """(queries, points) of a kind in `KINDS`, float32 or uint8."""
    seed = list(KINDS).index(kind)
    drawn = KINDS[kind](np.random.default_rng(seed), queries + points, features)
    sought, found = drawn[:queries], drawn[queries:]
    sought[::4] = found[np.arange(0, queries, 4) % points]
    return sought, found


def _normal(rng: np.random.Generator, n: int, features: int) -> HostArray:
    return rng.standard_normal((n, features), dtype=np.float32)


def _integers(rng: np.random.Generator, n: int, features: int, below: int) -> HostArray:
    return rng.integers(0, below, (n, features))


def _like_images(kind: str) -> Draw:
    return lambda rng, n, features: search_rows(n, features, int(rng.integers(2**31)), kind=kind)


def _times(scale: float) -> Draw:
    return lambda rng, n, features: _normal(rng, n, features) * np.float32(scale)


def _duplicates(rng: np.random.Generator, n: int, features: int) -> HostArray:
    """Forty different rows, each many times."""
    return _normal(rng, 40, features)[rng.integers(0, 40, n)]


def _constant_columns(rng: np.random.Generator, n: int, features: int) -> HostArray:
    """Nine features of ten are the same in all rows, and large."""
    rows = _normal(rng, n, features)
    columns = rng.random(features) < 0.9
    columns[0] = False
    rows[:, columns] = np.float32(1e4) * _normal(rng, 1, features)[:, columns]
    return rows


def _huge_offset(rng: np.random.Generator, n: int, features: int) -> HostArray:
    return _normal(rng, n, features) + np.float32(1e6)


def _tiny_differences(rng: np.random.Generator, n: int, features: int) -> HostArray:
    """1 and the three numbers of float32 above it."""
    steps = _integers(rng, n, features, 4).astype(np.float32)
    return np.float32(1.0) + steps * np.float32(2.0**-23)


def _denormals(rng: np.random.Generator, n: int, features: int) -> HostArray:
    """Up to a thousand times the smallest number that float32 has."""
    return np.ldexp(_integers(rng, n, features, 1000).astype(np.float64), -149).astype(np.float32)


def _zero_rows(rng: np.random.Generator, n: int, features: int) -> HostArray:
    """Two rows of three are nothing but zeros, of both signs."""
    rows = _normal(rng, n, features)
    empty = rng.random(n) < 2 / 3
    rows[empty] *= np.float32(0.0)
    return rows


def _mixed_scales(rng: np.random.Generator, n: int, features: int) -> HostArray:
    """Features from 1e-15 to 1e15."""
    scales = 10.0 ** rng.uniform(-15, 15, features)
    return _normal(rng, n, features) * scales.astype(np.float32)


def _heavy_tails(rng: np.random.Generator, n: int, features: int) -> HostArray:
    return rng.standard_cauchy((n, features)).astype(np.float32)


def _few_values(rng: np.random.Generator, n: int, features: int) -> HostArray:
    """Whole numbers from -1 to 1: ties in every query."""
    return (_integers(rng, n, features, 3) - 1).astype(np.float32)


def _bytes(rng: np.random.Generator, n: int, features: int) -> HostArray:
    return _integers(rng, n, features, WHITE + 1).astype(np.uint8)


def _extremes(rng: np.random.Generator, n: int, features: int) -> HostArray:
    """Black or white, each row with a share of its own."""
    return np.where(rng.random((n, features)) < rng.random((n, 1)), WHITE, 0).astype(np.uint8)


def _black_and_white_rows(rng: np.random.Generator, n: int, features: int) -> HostArray:
    """A third of the rows all 0, a third all 255."""
    rows = _bytes(rng, n, features)
    part = rng.integers(0, 3, n)
    rows[part == 0], rows[part == 1] = 0, WHITE
    return rows


def _duplicate_bytes(rng: np.random.Generator, n: int, features: int) -> HostArray:
    return _bytes(rng, 40, features)[rng.integers(0, 40, n)]


def _few_bits(rng: np.random.Generator, n: int, features: int) -> HostArray:
    """0 and 1 alone: ties in every query."""
    return _integers(rng, n, features, 2).astype(np.uint8)


KINDS: dict[str, Draw] = {
    "images": _like_images("float32"),
    "continuous": _like_images("continuous"),
    "standardised": _like_images("standardised"),
    "gaussian": _normal,
    "duplicates": _duplicates,
    "constant columns": _constant_columns,
    "huge offset": _huge_offset,
    "tiny differences": _tiny_differences,
    "denormals": _denormals,
    "scale 1e-30": _times(1e-30),
    "scale 1e30": _times(1e30),
    "zero rows": _zero_rows,
    "mixed scales": _mixed_scales,
    "heavy tails": _heavy_tails,
    "few values": _few_values,
    "uint8 images": _like_images("uint8"),
    "uint8 noise": _bytes,
    "uint8 extremes": _extremes,
    "uint8 black and white rows": _black_and_white_rows,
    "uint8 duplicates": _duplicate_bytes,
    "uint8 few bits": _few_bits,
}
