"""Rows as whole numbers of one or two bytes: which numbers, and how far off they are at most."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from xpcls_backends._ops import row_blocks, rows_within
from xpcls_backends._threads import in_threads

from . import _codes, _tiles

HostArray = np.ndarray[Any, Any]
Said = TypeVar("Said")

MOST_BYTES = 16_000  # features: key and overlap of bytes stay below 2^31 (130,305 a feature)
MOST_SUM = 2**29 - 1  # of an L1 norm of codes: then keys stay below 2^31
LONGEST = 21_000  # L2 norm of a point's words: with a query's, the square stays below 2^31
LONGEST_QUERY = 2**15 * math.sqrt(2.0) - LONGEST - 1.0
SAME_SCALE = (1e-30, 1e30)  # ranges for which float32 neither overflows nor vanishes in between

SHARES = 16  # of the points, for threads
PART_BYTES = 2**18  # of rows that a thread reads at once


@dataclass(frozen=True)
class Codes:
    """How rows become whole numbers of `width` bytes; see _codes.py.

    largest : a code is at most that, and at least 0, or -largest for words under L2.
    offset, per_unit : None and 1.0 where bytes are taken as they are, but for `shift`, which is
        subtracted. error : the largest of any point, in codes.
    """

    l1: bool
    width: int
    features: int
    largest: int = 255
    shift: int = 0
    offset: HostArray | None = None
    per_unit: float = 1.0
    error: float = 0.0

    @property
    def steps(self) -> int:
        """32-bit parts of a row."""
        return -(-self.features * self.width // 4)

    def make(self, rows: HostArray, points: bool) -> tuple[HostArray, HostArray, HostArray]:
        """Codes (n, steps) int32, their sums (n, 2), and errors (n,), of C-contiguous rows."""
        n = rows.shape[0]
        codes = np.zeros((n, 4 * self.steps), np.uint8)
        numbers = codes if self.width == 1 else codes.view(np.int16)
        sums, errors = np.empty((n, 2), np.int64), np.zeros(n, np.float32)
        if self.offset is None and rows.dtype == np.uint8:
            _codes.copy_rows(rows, self.shift, numbers, sums)
        else:
            offset = self.offset
            if offset is None:
                offset = np.full(self.features, self.shift, np.float32)
            smallest = -self.largest if self.width == 2 and not self.l1 else 0
            scale = (np.float32(self.per_unit), np.float32(smallest), np.float32(self.largest))
            _codes.round_rows(rows, offset, scale, numbers, sums, errors, self.l1)
        if points and self.width == 1 and not self.l1:
            _codes.flip_top_bits(codes)
        return codes.view(np.int32), sums, errors

    def bounds(self, errors: HostArray) -> HostArray:
        """What the true errors of rounded rows are at most, float64."""
        unit = 2.0**-24
        each = 3.0 * unit * self.largest
        rounding = each * (self.features if self.l1 else math.sqrt(self.features))
        return errors.astype(np.float64) * (1.0 + (1.01 * self.features + 8) * unit) + rounding

    def point_keys(self, sums: HostArray) -> HostArray:
        """What a point adds to a key, int32; see _scans.py."""
        return (-sums[:, 0] if self.l1 else sums[:, 1]).astype(np.int32)

    def base(self, sums: HostArray) -> HostArray:
        """What a query adds, int64."""
        if self.l1:
            return -sums[:, 0]
        return sums[:, 1] - 256 * sums[:, 0] if self.width == 1 else sums[:, 1]


def exact_codes(l1: bool, features: int) -> Codes | None:
    """Bytes as they are; None where they are too many for 32 bits."""
    if l1:
        width = 1 if _tiles.VNNI else 2
        return Codes(l1, width, features) if 255 * features <= MOST_SUM else None
    if _tiles.VNNI and features <= MOST_BYTES:
        return Codes(l1, 1, features)
    if 128.0 * math.sqrt(features) <= LONGEST:
        return Codes(l1, 2, features, 128, shift=128)
    return None


class Ranges:
    """The ends of each feature of some rows, and whether all of them are finite."""

    def __init__(self, points: HostArray, threads: int) -> None:
        none = np.full(points.shape[1], np.inf, np.float32)
        Ends = tuple[HostArray, HostArray, bool]

        def look(rows: HostArray, ends: Ends) -> Ends:
            low, high = ends[0].copy(), ends[1].copy()
            return low, high, _codes.feature_ranges(rows, low, high) and ends[2]

        lows, highs, finite = zip(
            *_by_shares(points, threads, (none, -none, True), look), strict=True
        )
        self.low, self.high = np.min(lows, axis=0), np.max(highs, axis=0)
        self.finite = all(finite)
        with np.errstate(over="ignore", invalid="ignore"):
            self.widest = float(np.max(self.high - self.low))

    @property
    def suits(self) -> bool:
        """Whether float32 can scale these rows."""
        ends = float(np.max(np.abs(self.low))), float(np.max(np.abs(self.high)))
        low, high = SAME_SCALE
        return self.finite and max(ends) <= high and self.widest >= low


def rounded_codes(
    points: HostArray, ranges: Ranges, l1: bool, width: int, threads: int
) -> Codes | None:
    """Codes of so many bytes for rows of any kind; None where there are none."""
    features = points.shape[1]
    if width == 1:
        fits = 255 * features <= MOST_SUM if l1 else features <= MOST_BYTES
        if not (_tiles.VNNI and fits):
            return None
        codes = Codes(l1, 1, features, 255, 0, ranges.low, _bytes_per_unit(points, ranges))
    elif l1:
        largest = min(32767, MOST_SUM // features)
        if largest < 255:
            return None
        per_unit = largest / ranges.widest * (1.0 - 1e-6)
        codes = Codes(l1, 2, features, largest, 0, ranges.low, per_unit)
    else:
        offset = (ranges.low + ranges.high) / np.float32(2.0)
        lengths = _by_shares(
            points, threads, 0.0, lambda rows, far: max(far, _codes.longest(rows, offset))
        )
        longest = max(lengths) * (1.0 + 1.01 * features * 2.0**-24)
        room = LONGEST - 0.51 * math.sqrt(features) - 1.0  # for rounding, at most 1/2 a number
        if room < LONGEST / 2 or not 0.0 < longest < SAME_SCALE[1]:
            return None
        codes = Codes(l1, 2, features, 32767, 0, offset, room / longest * (1.0 - 1e-6))
    if not _promising(points, codes):
        return None
    errors = _by_shares(
        points, threads, 0.0, lambda rows, far: max(far, float(np.max(codes.make(rows, True)[2])))
    )
    return replace(codes, error=float(codes.bounds(np.asarray(errors)).max()))


def _bytes_per_unit(points: HostArray, ranges: Ranges) -> float:
    """Codes for the widest feature; but what 8 bits were divided by, where that is what they were.

    Pixels divided by 255, or bytes kept as floats, are then their own codes, without error.
    """
    for per_unit in (255.0, 1.0):
        if ranges.widest * per_unit > 255.001:
            continue
        for row in _a_few(points, 64):
            v = (row.astype(np.float64) - ranges.low) * per_unit
            if np.max(np.abs(v - np.rint(v))) > 0.01:
                break
        else:
            return per_unit
    return 255.0 / ranges.widest * (1.0 - 1e-6)


def _promising(points: HostArray, codes: Codes) -> bool:
    """Whether what rounding leaves in doubt is little, against how much distances differ."""
    some = _a_few(points, 12)
    errors = codes.make(np.ascontiguousarray(some), True)[2]
    distances = []
    for i, j in itertools.combinations(range(some.shape[0]), 2):
        difference = some[i].astype(np.float64) - some[j]
        distances.append(np.linalg.norm(difference, ord=1 if codes.l1 else 2))
    if len(distances) < 3:
        return True
    spread = codes.per_unit * float(np.std(distances))
    return 4.0 * float(np.mean(errors)) <= 0.5 * spread


def _a_few(points: HostArray, n: int) -> HostArray:
    """Evenly spaced rows."""
    rows: HostArray = points[:: -(-points.shape[0] // n)]
    return rows


def _by_shares(
    points: HostArray, threads: int, first: Said, look: Callable[[HostArray, Said], Said]
) -> list[Said]:
    """What `look` says of a few shares of the rows in the end.

    It is given some rows of a share at a time, C-contiguous, and what it said of those before.
    """
    shares = list(row_blocks(points.shape[0], -(-points.shape[0] // SHARES)))
    size = rows_within(PART_BYTES, points.shape[1] * points.dtype.itemsize)
    said = [first] * len(shares)

    def work(i: int) -> None:
        share = points[shares[i]]
        for some in row_blocks(share.shape[0], size):
            said[i] = look(np.ascontiguousarray(share[some]), said[i])

    in_threads(work, range(len(shares)), threads)
    return said
