"""What is computed of each query and each point, so that few points are left: four scans.

uint8 rows. All keys are integers, and the k smallest are the answer: L1 by VABSDIFF4, squared L2 by
a product of int8,

    sum (q - p)^2 = sum q'^2 + sum p'^2 - 2 sum q' p',    q' = q - 128, p' = p - 128.

float32 rows. The m smallest keys are candidates, and direct.py settles which are the nearest. It is
told how far a key v can be from the direct distance, which is at least slope v + offset.

L1: sums in float32. Let u be float32's unit roundoff, g(n) = n u / (1 - n u), s the true sum of a
pair. None of its D terms is negative, so the sum in float32 is at most (s + floor) (1 + g(D))
(Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 4.2), with a floor for
numbers too small to be normal, which the card takes for 0. So s >= v (1 - g(D)) - floor.

L2: products in TF32. Let c be a centre, q' = q - c and p' = p - c, and t(q'), t(p') these rounded
to TF32, each number by at most r = 2^-11 (1 + 2^-12) of itself. Then

    | sum q' p' - sum t(q') t(p') |  <=  r (2 + r) sum |q' p'|.

Products of TF32 are exact in float32. NVIDIA does not say how tensor cores add them up, but it was
measured (Fasi, Higham, Mikaitis and Pranesh, Numerical behavior of NVIDIA tensor cores, 2021; Xie,
Wang, Yang and Yang, MMA-Sim, 2025, which gives the same bits as cards do). They take n products and
the sum so far at once, cut each off F binary digits below the largest, and cut their sum off to
float32. Of the sum of magnitudes that loses (n + 1) 2^-F + 2^-23, where n = 4 and F = 24 for Ampere
and Ada, n = 8 and F = 25 for Hopper, and F = 25 for Blackwell: for each product less than 2^-23.
Twice as much is allowed for here. With 2 |q' p'| <= q'^2 + p'^2 the sum v of float32's

    a(p) = (1 - b) sum p'^2    and    -2 sum t(q') t(p')

has  sum (q - p)^2 >= v + (1 - b) sum q'^2 - floor  where  b = r (2 + r) + D w (1 + r)^2 + 2^-21,
w = 2^-22, and D counts the zeros behind a row too. The last term is for the rounding of a, of v and
of direct distances, 2^-22 in all, and for rows whose numbers the card takes for 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from xpcls_backends._place import Array, device_of, namespace_of

from .direct import settled
from .l1 import copied_bytes, l1, whole_vectors
from .products import byte_codes, float_codes, overlaps, padded
from .smallest import smallest

LONGEST_BYTES = 2**15  # features, whose squares fit into 32 bits
# Features, of whose sums the bounds still say something.
LONGEST_FLOATS = {"l1": 2**20, "l2": 2**17}
EPS = 2.0**-24  # u
SMALLEST = 2.0**-126  # normal number
LARGEST = 2.0**126
TF32_ERROR = 2.0**-11 * (1.0 + 2.0**-12)  # r
ADDITION = 2.0**-22  # w
KEYS = 2.0**-21

# Candidates beside 2 k. In 50,000 rows like images, for k = 10, 99 queries in 100 need no more than
# 111.
CANDIDATES = {"l1": 32, "l2": 108}

Found = tuple[Array, Array]  # values and columns (n, m), smallest first, ties to the lowest column


@dataclass(frozen=True)
class Coded:
    """Rows as a scan reads them.

    rows : (n, width), or more, those behind the n-th being 0. squares : (n,) or None. n : how many.
    """

    rows: Array
    squares: Array
    n: int

    def part(self, some: slice) -> Coded:
        """Some of them; `some` starts at a whole multiple of VECTOR."""
        rows = slice(some.start, some.start + padded(some.stop - some.start))
        squares = None if self.squares is None else self.squares[some]
        return Coded(self.rows[rows, :], squares, some.stop - some.start)


class Scan(Protocol):
    """One of the four.

    code_bytes : of the codes of a row; 0 where rows are read as they are. reach : the largest
        numbers of queries and of points, added, must be below it, or sums overflow.
    """

    code_bytes: int
    reach: float

    def coded(self, rows: Array) -> Coded:
        """Of rows (n, D) in C order."""

    def candidates(self, k: int) -> int:
        """How many a query gets at first."""

    def smallest(self, queries: Coded, points: Coded, m: int) -> Found:
        """Keys and columns (n, m) of the points with the smallest keys."""

    def answer(
        self, rows: Array, queries: Coded, found: Found, k: int
    ) -> tuple[Array, Array, Array | None]:
        """Distances, but for L2's root, and points (n, k), of rows (n, D) and of what `smallest`
        found for them; and whether they are proven (n,), None where they need no proof."""


def scan_for(points: Array, kind: str) -> Scan:
    """The scan for points (N, D) in C order and "l1" or "l2". It does not look at them yet."""
    if points.dtype.name == "uint8":
        return BytesL1(points) if kind == "l1" else BytesL2(points)
    return FloatsL1(points) if kind == "l1" else FloatsL2(points)


class BytesL1:
    reach = math.inf

    def __init__(self, points: Array) -> None:
        self.code_bytes = copied_bytes(points)

    def coded(self, rows: Array) -> Coded:
        return Coded(whole_vectors(rows), None, rows.shape[0])

    def candidates(self, k: int) -> int:
        return k

    def smallest(self, queries: Coded, points: Coded, m: int) -> Found:
        return smallest(l1(queries.rows, points.rows[: points.n, :]), m)

    def answer(
        self, rows: Array, queries: Coded, found: Found, k: int
    ) -> tuple[Array, Array, Array | None]:
        return *found, None


class FloatsL1(BytesL1):
    def __init__(self, points: Array) -> None:
        super().__init__(points)
        self._points = points
        self.reach = LARGEST / max(1, points.shape[1])

    def candidates(self, k: int) -> int:
        return 2 * k + CANDIDATES["l1"]

    def answer(
        self, rows: Array, queries: Coded, found: Found, k: int
    ) -> tuple[Array, Array, Array | None]:
        xp, device, features = namespace_of(rows), device_of(rows), rows.shape[1]
        error = features * EPS / (1.0 - features * EPS)
        floor = -4.0 * features * SMALLEST
        offsets = xp.full((queries.n,), floor, dtype=xp.float64, device=device)
        return settled(rows, self._points, found, k, "l1", 1.0 - error, offsets)


class BytesL2:
    reach = math.inf

    def __init__(self, points: Array) -> None:
        self.code_bytes = padded(points.shape[1]) + 4

    def coded(self, rows: Array) -> Coded:
        return Coded(*byte_codes(rows), rows.shape[0])

    def candidates(self, k: int) -> int:
        return k

    def smallest(self, queries: Coded, points: Coded, m: int) -> Found:
        return _smallest_of_products(queries, points, points.squares, m)

    def answer(
        self, rows: Array, queries: Coded, found: Found, k: int
    ) -> tuple[Array, Array, Array | None]:
        return found[0] + queries.squares[:, None], found[1], None


class FloatsL2:
    def __init__(self, points: Array) -> None:
        features, r = points.shape[1], TF32_ERROR
        self.code_bytes = 4 * padded(features) + 8
        self.reach = math.sqrt(LARGEST / (4 * max(1, features)))
        self._points = points
        self._error = r * (2.0 + r) + padded(features) * ADDITION * (1.0 + r) ** 2 + KEYS

    @cached_property
    def _centre(self) -> Array:
        return namespace_of(self._points).mean(self._points, axis=0)

    def coded(self, rows: Array) -> Coded:
        return Coded(*float_codes(rows, self._centre), rows.shape[0])

    def candidates(self, k: int) -> int:
        return 2 * k + CANDIDATES["l2"]

    def smallest(self, queries: Coded, points: Coded, m: int) -> Found:
        xp = namespace_of(points.rows)
        sizes = xp.astype((1.0 - self._error) * points.squares, xp.float32)
        return _smallest_of_products(queries, points, sizes, m)

    def answer(
        self, rows: Array, queries: Coded, found: Found, k: int
    ) -> tuple[Array, Array, Array | None]:
        floor = 8.0 * rows.shape[1] * SMALLEST
        offsets = (1.0 - self._error) * queries.squares - floor
        return settled(rows, self._points, found, k, "l2", 1.0, offsets)


def _smallest_of_products(queries: Coded, points: Coded, added: Array, m: int) -> Found:
    """Of added - 2 q' p', `added` (n_points,) being the part of each point."""
    products = overlaps(queries.rows, points.rows)
    values, columns = smallest(products, m, added, scale=-2, columns=points.n)
    return values[: queries.n, :], columns[: queries.n, :]
