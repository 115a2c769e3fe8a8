"""Axes: round ticks that cover the data, and the frame that is drawn of two of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ._marks import INK, MUTED, RULE, SMALL, drawable, extent, words

DIGITS = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
FLAT, SMALLEST = 1e-9, 1e-290  # numbers that differ by so little, or are so small, are equal
MOST_FINE = 9  # ticks at 1, 2 and 5 times powers of ten
PLAIN = (1e-4, 1e7)  # the largest tick of a linear axis that is written without a power of ten
BELOW = 52  # room under a frame for ticks and a label
EDGE, LABEL, GAP = 12, 18, 8  # room beside a picture's edge, for a turned label, before a tick
NARROWEST = 40.0  # a frame, across and up


@dataclass(frozen=True)
class Axis:
    """From `low` to `high`, with `ticks` between, each with the text of its label."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    label: str = ""
    log: bool = False

    def share(self, value: float) -> float:
        """How far along the axis a value lies: 0 at its low end, 1 at its high end."""
        low, high = self._scaled(self.low), self._scaled(self.high)
        return (self._scaled(value) - low) / (high - low)

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self.log else value


def make_axis(
    values: Iterable[float],
    name: str,
    *,
    label: str = "",
    log: bool = False,
    snug: bool = False,
    about: int = 6,
) -> Axis:
    """An axis for numbers, called `name` in errors; those that have no place on it are left out.

    The outermost ticks enclose the numbers; `snug` : the axis ends with the numbers instead.
    about : how many ticks.
    """
    known = [value for value in values if drawable(value)]
    if not known:
        raise ValueError(f"{name} holds no finite number, so there is nothing to draw")
    low, high = min(known), max(known)
    if not log:
        largest = max(abs(low), abs(high))
        if high - low <= FLAT * largest or largest < SMALLEST:
            half = largest / 2 if largest >= SMALLEST else 0.5
            low, high = low - half, high + half
        ticks = linear_ticks(low, high, about)
        marked = list(zip(ticks, written(ticks), strict=True))
    else:
        if low <= 0:
            raise ValueError(
                f"{name} holds {low:g}, but a logarithmic axis has numbers above 0 alone; leave "
                "it out, or take a linear axis"
            )
        if high <= low * (1 + FLAT):
            low, high = low / 2, high * 2
        marked = [(tick, written_power(tick)) for tick in log_ticks(low, high, about)]
    if not snug:
        low, high = marked[0][0], marked[-1][0]
    inside = tuple(mark for mark in marked if low <= mark[0] <= high)
    return Axis(low, high, inside, label, log)


def linear_ticks(low: float, high: float, about: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten that enclose `low` to `high`."""
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1.0, 2.0, 5.0, 10.0) if m * power >= raw * (1 - 1e-9))
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    if last <= first:
        last = first + 1
    places = decimals(step)
    return [round(i * step, places) for i in range(first, last + 1)]


def log_ticks(low: float, high: float, about: int) -> list[float]:
    """Powers of ten that enclose `low` to `high`; with 2 and 5 times them where those are few."""
    first = math.floor(math.log10(low) + 1e-9)
    last = math.ceil(math.log10(high) - 1e-9)
    fine = [m * 10.0**i for i in range(first, last + 1) for m in (1, 2, 5)]
    start = max(i for i, tick in enumerate(fine) if tick <= low * (1 + 1e-9))
    stop = min(i for i, tick in enumerate(fine) if tick >= high * (1 - 1e-9))
    if stop - start < max(about, MOST_FINE):
        return fine[start : stop + 1]
    every = -(-(last - first) // about)
    last = first + -(-(last - first) // every) * every
    return [10.0**i for i in range(first, last + 1, every)]


def decimals(step: float) -> int:
    """Digits after the point that multiples of `step` need."""
    return max(0, -math.floor(math.log10(step) + 1e-9))


def written(ticks: Sequence[float]) -> list[str]:
    """The ticks of a linear axis: 0.5, 2,000; or 1.2·10⁷, all of them by one power of ten."""
    step, largest = ticks[1] - ticks[0], max(map(abs, ticks))
    fewest, most = PLAIN
    if fewest <= largest < most:
        texts = [f"{tick:,.{decimals(step)}f}" for tick in ticks]
    else:
        exponent = math.floor(math.log10(largest) + 1e-9)
        unit = 10.0**exponent
        power = f"·10{str(exponent).translate(DIGITS)}"
        places = decimals(step / unit)
        texts = [f"{tick / unit:.{places}f}{power}" if tick else "0" for tick in ticks]
    return [text.replace("-", "−") for text in texts]


def written_power(value: float) -> str:
    """A tick of a logarithmic axis: 0.01, 20, 5,000; or 10⁷ and 2·10⁷."""
    exponent = math.floor(math.log10(value) + 1e-9)
    if -3 <= exponent <= 4:
        return f"{value:,.{max(0, -exponent)}f}"
    factor = round(value / 10.0**exponent)
    power = f"10{str(exponent).translate(DIGITS)}"
    return power if factor == 1 else f"{factor}·{power}"


def margins(x: Axis, y: Axis) -> tuple[float, float]:
    """The room that two axes need to the left and to the right of their frame."""
    halves = [extent(text, SMALL) / 2 for _, text in x.ticks] or [0.0]
    widest = max((extent(text, SMALL) for _, text in y.ticks), default=0.0)
    left = EDGE + (LABEL if y.label else 0) + widest + GAP
    return max(left, halves[0] + EDGE / 2), max(EDGE, halves[-1] + EDGE / 2)


def spread(places: Sequence[float], lengths: Sequence[float]) -> int:
    """The least k for which every k-th of some texts, so long and centred so, stands clear."""
    for k in range(1, len(places)):
        kept = list(zip(places, lengths, strict=True))[::k]
        if all(abs(b - a) > (n + m) / 2 for (a, n), (b, m) in itertools.pairwise(kept)):
            return k
    return max(1, len(places))


@dataclass(frozen=True)
class Frame:
    """The rectangle that two axes span, `left` and `top` of it, and how wide and high it is."""

    x: Axis
    y: Axis
    left: float
    top: float
    width: float
    height: float

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where the point (x, y) lies in the picture."""
        return (
            self.left + self.width * self.x.share(x),
            self.top + self.height * (1.0 - self.y.share(y)),
        )

    def path(self, points: Sequence[tuple[float, float]]) -> str:
        """The path through points; a point without a place interrupts it."""
        parts, joined = [], False
        for x, y in points:
            if not (drawable(x) and drawable(y)):
                joined = False
                continue
            across, down = self.place(x, y)
            parts.append(f"{'L' if joined else 'M'}{across:.1f} {down:.1f}")
            joined = True
        return "".join(parts)

    def clipped(self, parts: Sequence[str]) -> list[str]:
        """Parts of which only what lies inside the frame is shown."""
        box = f"{self.left:.1f} {self.top:.1f} {self.width:.1f} {self.height:.1f}"
        x, y, width, height = box.split()
        return [
            f'<svg x="{x}" y="{y}" width="{width}" height="{height}" viewBox="{box}">',
            *parts,
            "</svg>",
        ]

    def rules(self, *, upright: bool = True) -> list[str]:
        """Lines across at the ticks; without `upright` those of the y axis alone."""
        right, bottom = self.left + self.width, self.top + self.height
        path = "".join(
            f"M{self.left:.1f} {self._down(tick):.1f}H{right:.1f}" for tick, _ in self.y.ticks
        )
        if upright:
            path += "".join(
                f"M{self._across(tick):.1f} {self.top:.1f}V{bottom:.1f}" for tick, _ in self.x.ticks
            )
        return [f'<path d="{path}" stroke="{RULE}" fill="none"/>']

    def labels(self, *, names: bool = True) -> list[str]:
        """Ticks and labels of both axes; without `names` no ticks along the x axis."""
        bottom, middle = self.top + self.height, self.left + self.width / 2
        parts = [
            f'<path d="M{self.left:.1f} {self.top:.1f}V{bottom:.1f}H{self.left + self.width:.1f}" '
            f'stroke="{INK}" fill="none"/>'
        ]
        heights = [self._down(tick) for tick, _ in self.y.ticks]
        every = spread(heights, [float(SMALL)] * len(heights))
        parts += [
            words(self.left - GAP, down + 4, text, size=SMALL, anchor="end", fill=MUTED)
            for down, (_, text) in list(zip(heights, self.y.ticks, strict=True))[::every]
        ]
        if names:
            places = [self._across(tick) for tick, _ in self.x.ticks]
            every = spread(places, [extent(text, SMALL) + GAP for _, text in self.x.ticks])
            parts += [
                words(across, bottom + 18, text, size=SMALL, anchor="middle", fill=MUTED)
                for across, (_, text) in list(zip(places, self.x.ticks, strict=True))[::every]
            ]
        parts.append(words(middle, bottom + 40, self.x.label, anchor="middle"))
        upright = self.top + self.height / 2
        parts.append(words(EDGE + GAP, upright, self.y.label, anchor="middle", turned=True))
        return [part for part in parts if part]

    def _across(self, x: float) -> float:
        return self.left + self.width * self.x.share(x)

    def _down(self, y: float) -> float:
        return self.top + self.height * (1.0 - self.y.share(y))
