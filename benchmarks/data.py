"""Rows to search and to learn from: like images, made from a seed, alike in every process."""

from __future__ import annotations

from typing import Any

import numpy as np

HostArray = np.ndarray[Any, Any]
WAVES = 64  # directions in which rows vary, from smooth and strong to fine and weak
STANDARD_ROWS, STANDARD_SEED = 2_000, 99  # by which features are standardised


def image_rows(n: int, features: int, seed: int, *, dtype: str) -> HostArray:
    """(n, features) rows of 8 bits, as uint8, or as float32 in [0, 1] (divided by 255).

    Like photographs, neighbouring values go together and most variance lies in few directions:
    random sums of cosine waves of falling strength, with a little noise. The waves are the same
    for all seeds, so queries are drawn from where the points are.
    """
    return _eight_bits(n, features, np.random.default_rng(seed), np.float32(0.0), dtype)


def search_rows(n: int, features: int, seed: int, *, kind: str) -> HostArray:
    """(n, features) rows to search among, of one of these kinds:

    uint8, float32 : `image_rows`.
    continuous : float32 in [0, 1], like images, but not of 8 bits: on no grid.
    standardised : `image_rows` with each feature of mean 0 and variance 1, float32.
    gaussian : independent of each other and normal, float32: as unlike images as can be.
    """
    rng = np.random.default_rng(seed)
    if kind == "gaussian":
        return rng.standard_normal((n, features), dtype=np.float32)
    if kind == "continuous":
        rows = _levels(n, features, rng, np.float32(0.0))
        return np.clip(rows, 0.0, 255.0, out=rows) / np.float32(255)
    if kind == "standardised":
        sample = image_rows(STANDARD_ROWS, features, STANDARD_SEED, dtype="float32")
        rows = image_rows(n, features, seed, dtype="float32")
        rows -= np.mean(sample, axis=0)
        rows /= np.std(sample, axis=0)
        return rows
    return image_rows(n, features, seed, dtype=kind)


def labelled_rows(n: int, features: int, classes: int, seed: int) -> tuple[HostArray, HostArray]:
    """float32 rows in [0, 1], (n, features), and their classes, (n,) int64.

    Each class has a pattern of its own, faint enough that no linear classifier gets all right.
    """
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    patterns = _waves(rng, classes, features) * np.float32(0.3)
    return _eight_bits(n, features, rng, patterns[labels], "float32"), labels


def _eight_bits(
    n: int, features: int, rng: np.random.Generator, pattern: Any, dtype: str
) -> HostArray:
    rows = _levels(n, features, rng, pattern)
    bytes_ = np.clip(np.rint(rows, out=rows), 0.0, 255.0, out=rows).astype(np.uint8)
    return bytes_ if dtype == "uint8" else bytes_.astype(dtype) / np.asarray(255, dtype)


def _levels(n: int, features: int, rng: np.random.Generator, pattern: Any) -> HostArray:
    """float32, most of them from 0 to 255."""
    rows = _waves(rng, n, features)
    rows += pattern
    rows += np.float32(0.04) * rng.standard_normal((n, features), dtype=np.float32)
    rows *= np.float32(0.25 * 255.0)
    rows += np.float32(0.5 * 255.0)
    return rows


def _waves(rng: np.random.Generator, n: int, features: int) -> HostArray:
    """(n, features) float32, of variance about 1."""
    frequency = np.arange(WAVES, dtype=np.float32)
    position = (np.arange(features, dtype=np.float32) + 0.5) / features
    waves = np.cos(np.pi * frequency[:, None] * position[None, :])
    strength = 1.0 / (1.0 + frequency)
    strength /= np.sqrt(np.sum(strength**2 * np.mean(waves**2, axis=1)))
    return rng.standard_normal((n, WAVES), dtype=np.float32) @ (strength[:, None] * waves)
