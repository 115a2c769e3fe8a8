"""What all charts are made of: colours, text, lines of a legend."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Sequence
from html import escape
from typing import Any

from xpcls_backends import to_host

# Okabe and Ito, Color Universal Design, 2008: told apart by readers of every colour vision. Their
# yellow is too pale for lines on white; it is darker here, and comes last.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#b8a900")
DASHES = ("", "7 4", "2 3")  # a second and third time through the colours
INK, MUTED, RULE, PAPER = "#1f2328", "#59636e", "#d8dee4", "#ffffff"
FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', Arial, sans-serif"
SMALL, NORMAL, LARGE = 12, 13, 16  # font sizes, in pixels as all lengths are
EM = 0.6  # about how wide a letter is for its size, in the widest of these fonts
NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
LARGEST = 1e300  # numbers from here on are as good as infinite


def color(i: int) -> str:
    """The colour of the i-th series."""
    return COLORS[i % len(COLORS)]


def tint(i: int) -> tuple[int, int, int]:
    """The i-th colour, as it is laid under points: red, green, blue of 0 to 255."""
    channels = (int(color(i)[start : start + 2], 16) for start in (1, 3, 5))
    red, green, blue = (round(255 - 0.3 * (255 - channel)) for channel in channels)
    return red, green, blue


def dash(i: int) -> str:
    """The attribute that tells the i-th series apart where colours repeat."""
    pattern = DASHES[i // len(COLORS) % len(DASHES)]
    return f' stroke-dasharray="{pattern}"' if pattern else ""


def clean(text: object) -> str:
    """Any text as it can stand in XML."""
    return escape(NOT_XML.sub("\ufffd", str(text)))


def words(
    x: float,
    y: float,
    text: object,
    *,
    size: int = NORMAL,
    anchor: str = "start",
    fill: str = INK,
    bold: bool = False,
    turned: bool = False,
) -> str:
    """Text whose base line begins, ends or has its middle at (x, y); or nothing for no text."""
    if not str(text):
        return ""
    weight = ' font-weight="600"' if bold else ""
    turn = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turned else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
        f'fill="{fill}"{weight}{turn}>{clean(text)}</text>'
    )


def paragraph(
    x: float, y: float, text: str, width: float, *, size: int = NORMAL, **options: Any
) -> tuple[list[str], float]:
    """Text broken into lines of about `width`, and the y below it; y is that of its upper edge."""
    rows = broken(text, width, size)
    step = round(1.35 * size)
    parts = [words(x, y + size + i * step, row, size=size, **options) for i, row in enumerate(rows)]
    return parts, y + len(rows) * step


def extent(text: str, size: int) -> float:
    """About how long a text is, in pixels."""
    return EM * size * len(text)


def broken(text: str, width: float, size: int) -> list[str]:
    """The lines of a text that may be about `width` wide."""
    letters = max(8, int(width / (EM * size)))
    return [row for line in text.splitlines() for row in textwrap.wrap(line, letters)]


def legend(
    x: float, y: float, names: Sequence[str], width: float, signs: Sequence[str]
) -> tuple[list[str], float]:
    """Names in rows, each behind its sign, and the y below them.

    signs : what is drawn for each name around (0, 0), at most 22 wide.
    """
    if not any(names):
        return [], y
    parts, across, down = [], 0.0, y
    for name, sign in zip(names, signs, strict=True):
        if not name:
            continue
        long = 30 + extent(name, SMALL) + 16
        if across > 0 and across + long > width:
            across, down = 0.0, down + 19
        parts.append(f'<g transform="translate({x + across + 11:.1f} {down + 8:.1f})">{sign}</g>')
        parts.append(words(x + across + 28, down + 12, name, size=SMALL))
        across += long
    return parts, down + 22


def numbers(values: Any, name: str, ndim: int = 1) -> list[Any]:
    """Numbers of any backend, or a list, as Python floats on the host, nested `ndim` deep."""
    host = to_host(values)
    if host.ndim != ndim:
        raise ValueError(
            f"{name} has shape {host.shape}, expected {ndim} dimension{'s' if ndim > 1 else ''}"
        )
    if host.dtype.kind not in "biuf":
        raise TypeError(f"{name} has dtype {host.dtype}, expected real numbers")
    found: list[Any] = host.astype("float64").tolist()
    return found


def drawable(value: float) -> bool:
    """Whether a number has a place on an axis: NaN and infinity leave a gap."""
    return math.isfinite(value) and abs(value) < LARGEST
