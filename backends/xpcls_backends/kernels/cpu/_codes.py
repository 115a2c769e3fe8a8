"""Rows as small whole numbers, and how far the numbers are off.

A code q of a number x is the nearest whole number to v = (x - offset) * per_unit, cut off at the
ends of its range. Distances between codes, divided by per_unit, are distances between rows up to
what was rounded: with e the vector of v - q,

    L2:  | |x - y| per_unit - |q_x - q_y| |  <=  |e_x| + |e_y|
    L1:  the same with sums of magnitudes,

by the triangle inequality. `offset`, one number a feature, cancels in every difference.

v itself is computed in float32, with two roundings: it is off by at most 2.01 u |v|, u = 2^-24.
Hence the errors given here: the computed norm of v - q (whose sum of D terms is off by at most
1.01 D u of itself), and 3 u per number as large as the largest code.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._compile import compiled

HostArray = np.ndarray[Any, Any]


@compiled(fastmath={"reassoc", "contract", "nsz"})
def feature_ranges(rows: HostArray, low: HostArray, high: HostArray) -> bool:
    """Lower `low` and raise `high`, (D,) float32, to what is in `rows`; whether all is finite."""
    nothing = np.float32(0.0)
    for i in range(rows.shape[0]):
        row = rows[i]
        for d in range(rows.shape[1]):
            v = np.float32(row[d])
            low[d] = v if v < low[d] else low[d]
            high[d] = v if v > high[d] else high[d]
            nothing += v * np.float32(0.0)
    return bool(nothing == np.float32(0.0))


@compiled(fastmath={"reassoc", "contract", "nsz"})
def longest(rows: HostArray, offset: HostArray) -> float:
    """The largest |row - offset|, L2."""
    largest = np.float32(0.0)
    for i in range(rows.shape[0]):
        row, total = rows[i], np.float32(0.0)
        for d in range(rows.shape[1]):
            v = np.float32(row[d]) - offset[d]
            total += v * v
        largest = total if total > largest else largest
    return float(np.sqrt(largest))


@compiled(fastmath={"reassoc", "contract", "nsz"})
def round_rows(
    rows: HostArray,
    offset: HostArray,
    scale: tuple[np.float32, np.float32, np.float32],
    codes: HostArray,
    sums: HostArray,
    errors: HostArray,
    l1: bool,
) -> None:
    """Fill codes (n, D or more) with rows (n, D), sums (n, 2) and errors (n,).

    scale : codes per unit, the smallest and the largest code.
    sums : of the codes and of their squares, int64. errors : |e| in codes, L2, or L1 where `l1`
        is set; infinite or NaN where a row is too far away or not finite.
    """
    per_unit, smallest, largest = scale
    n, features = rows.shape
    for i in range(n):
        row, code = rows[i], codes[i]
        total, squares, error = np.int64(0), np.int64(0), np.float32(0.0)
        for d in range(features):
            v = (np.float32(row[d]) - offset[d]) * per_unit
            inside = v if v > smallest else smallest
            inside = inside if inside < largest else largest
            rounded = np.rint(inside)
            q = np.int32(rounded)
            code[d] = q
            total += q
            squares += q * q
            off = v - rounded
            error += abs(off) if l1 else off * off
        sums[i, 0], sums[i, 1] = total, squares
        errors[i] = error if l1 else np.sqrt(error)


@compiled(fastmath={"reassoc", "contract", "nsz"})
def copy_rows(rows: HostArray, shift: int, codes: HostArray, sums: HostArray) -> None:
    """The same for rows (n, D) of bytes, which are codes as they are; `shift` is subtracted."""
    n, features = rows.shape
    for i in range(n):
        row, code = rows[i], codes[i]
        total, squares = np.int64(0), np.int64(0)
        for d in range(features):
            q = np.int32(row[d]) - np.int32(shift)
            code[d] = q
            total += q
            squares += q * q
        sums[i, 0], sums[i, 1] = total, squares


@compiled()
def flip_top_bits(codes: HostArray) -> None:
    """q to q - 128, as bytes: what was 0 to 255 is now signed."""
    for i in range(codes.shape[0]):
        row = codes[i]
        for d in range(codes.shape[1]):
            row[d] ^= np.uint8(128)


@compiled()
def pack(rows: HostArray, packed: HostArray) -> None:
    """Lay rows (n, K) side by side: packed (parts, K, rows of a part), both int32.

    Where the last part is not full, its other rows are 0.
    """
    parts, steps, width = packed.shape
    n = rows.shape[0]
    for part in range(parts):
        here = min(width, n - part * width)
        for start in range(0, steps, 16):  # 16 steps of a row are a line of the cache
            stop = min(steps, start + 16)
            for j in range(here):
                row = rows[part * width + j]
                for step in range(start, stop):
                    packed[part, step, j] = row[step]
            for j in range(here, width):
                for step in range(start, stop):
                    packed[part, step, j] = 0
