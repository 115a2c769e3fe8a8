"""Naive loops in float64 for what networks need; slow, and obvious."""

from __future__ import annotations

from typing import Any

import numpy as np


def convolution(x: Any, w: Any, stride: Any, padding: Any) -> Any:
    """Cross-correlation of images (N, H, W, C) with filters (kh, kw, C, F), zeros around them."""
    s, p = (v if isinstance(v, tuple) else (v, v) for v in (stride, padding))
    n, height, width, channels = x.shape
    kh, kw, _, filters = w.shape
    padded = np.zeros((n, height + 2 * p[0], width + 2 * p[1], channels))
    padded[:, p[0] : p[0] + height, p[1] : p[1] + width] = x
    rows, columns = (padded.shape[1] - kh) // s[0] + 1, (padded.shape[2] - kw) // s[1] + 1
    y = np.empty((n, rows, columns, filters))
    for i in range(rows):
        for j in range(columns):
            window = padded[:, i * s[0] : i * s[0] + kh, j * s[1] : j * s[1] + kw]
            for f in range(filters):
                y[:, i, j, f] = (window * w[..., f]).sum(axis=(1, 2, 3))
    return y


def splitmix64(state: int) -> int:
    """One number of SplitMix64, from the state after its step. Steele, Lea and Flood, 2014."""
    mask = 2**64 - 1
    z = state & mask
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & mask
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & mask
    return z ^ (z >> 31)


def counter_bits(key: int, index: int) -> int:
    """The 32 bits of one place in the stream of a key; each 64 bits make two places, low first."""
    golden = 0x9E3779B97F4A7C15
    word = splitmix64(splitmix64(key) + (index // 2 + 1) * golden)
    return word >> 32 * (index % 2) & (2**32 - 1)
