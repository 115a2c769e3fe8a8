"""Bars: the numbers of several series, side by side in groups."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from xpcls.options import check_number

from ._axes import BELOW, EDGE, NARROWEST, Axis, Frame, make_axis, margins
from ._marks import EM, INK, SMALL, color, drawable, extent, legend, numbers, words
from ._picture import Picture, heading

ROW = 15  # from one row of a label to the next
TURNED_HEIGHT = 0.4  # of the picture, at most, for labels that are turned


def bars(
    labels: Sequence[str],
    series: Mapping[str, Any],
    *,
    title: str = "",
    y_label: str = "",
    form: str = ".3g",
    width: float = 560,
    height: float = 360,
) -> Picture:
    """A group of bars for each label, in it one bar for each series, from 0 up or down.

    labels : the names of the groups; all are turned where one has no room, and cut where they
        would take more than 0.4 of the height.
    series : name -> (n,) numbers, one a label; the name "" has no line in the legend.
    form : how the number at a bar is written, as in format(); "" for none.
    width, height : of the picture in pixels; it is higher where title, legend and labels leave too
        little for the bars.

    Raises ValueError for no bars, and for lengths that differ.
    """
    if not labels or not series:
        raise ValueError(
            f"labels has {len(labels)} entries and series {len(series)}, expected some"
        )
    check_number("width", width, at_least=200)
    check_number("height", height, at_least=150)
    columns = {str(name): numbers(values, f"series {name!r}") for name, values in series.items()}
    for name, values in columns.items():
        if len(values) != len(labels):
            raise ValueError(
                f"series {name!r} has {len(values)} numbers for {len(labels)} labels; give one each"
            )
    parts, top = heading(title, width)
    signs = [
        f'<rect x="-8" y="-6" width="16" height="12" fill="{color(i)}"/>'
        for i in range(len(columns))
    ]
    heights = [0.0, *itertools.chain.from_iterable(columns.values())]
    heights.append(1.1 * min(heights))  # room for the number below a bar that hangs down
    x_axis = Axis(0.0, float(len(labels)), ())
    y_axis = make_axis(heights, "series", label=y_label, about=5)
    left, right = margins(x_axis, y_axis)
    across = max(width - left - right, NARROWEST)
    keys, top = legend(left, top, list(columns), across, signs)
    room = across / len(labels)
    names = [str(label) for label in labels]
    rows = _in_rows(names, int((room - 4) / (EM * SMALL)))
    turned, below = rows is None, float(BELOW)
    if rows is None:
        rows = _turned(names, room, TURNED_HEIGHT * height)
        below = 2 * EDGE + max(extent(row, SMALL) for some in rows for row in some)
    high = max(height - top - 14 - below, NARROWEST)
    frame = Frame(x_axis, y_axis, left, top + 14, across, high)
    parts += [*keys, *frame.rules(upright=False)]
    share = min(0.8, 0.9 - 0.3 / len(columns)) / len(columns)  # of a group's room, for one bar
    for i, values in enumerate(columns.values()):
        for j, value in enumerate(values):
            if drawable(value):
                middle = j + 0.5 + (i - (len(columns) - 1) / 2) * share
                parts += _bar(frame, middle, value, share * room, color(i), form)
    parts += frame.labels(names=False)
    zero = frame.place(0.0, 0.0)[1]
    parts.append(f'<path d="M{left:.1f} {zero:.1f}h{across:.1f}" stroke="{INK}" fill="none"/>')
    bottom = frame.top + frame.height
    for j, some in enumerate(rows):
        x = frame.place(j + 0.5, 0.0)[0]
        for k, row in enumerate(some):
            if turned:
                beside = ROW * (k - (len(some) - 1) / 2)
                size = min(SMALL, max(6, int(room)))
                at, how = (x + 4 + beside, bottom + EDGE), "end"
            else:
                at, size, how = (x, bottom + 18 + ROW * k), SMALL, "middle"
            parts.append(words(*at, row, size=size, anchor=how, turned=turned))
    height = max(height, bottom + below)
    return Picture("\n".join(parts), width, height, title or ", ".join(map(str, labels)))


def _in_rows(names: Sequence[str], letters: int) -> list[list[str]] | None:
    """Names in one or two rows of so many letters, broken between words; None where one is more."""
    if letters < 1:
        return None
    rows = [textwrap.wrap(name, letters, break_long_words=False) for name in names]
    fit = all(len(some) <= 2 and all(len(row) <= letters for row in some) for some in rows)
    return rows if fit else None


def _turned(names: Sequence[str], room: float, longest: float) -> list[list[str]]:
    """Names as they are turned: in two rows where both have room, else in one that may be cut."""
    letters = int(longest / (EM * SMALL))
    word = max((len(word) for name in names for word in name.split()), default=1)
    rows = _in_rows(names, min(word, letters)) if room >= 2 * ROW else None
    return rows or [[name if len(name) <= letters else f"{name[: letters - 1]}…"] for name in names]


def _bar(
    frame: Frame, middle: float, value: float, width: float, fill: str, form: str
) -> list[str]:
    x, end = frame.place(middle, value)
    zero = frame.place(middle, 0.0)[1]
    high = max(abs(zero - end), 0.5)
    parts = [
        f'<rect x="{x - 0.46 * width:.1f}" y="{min(zero, end):.1f}" width="{0.92 * width:.1f}" '
        f'height="{high:.1f}" fill="{fill}"/>'
    ]
    if form:
        text = format(value, form).replace("-", "−")
        size = min(SMALL, int(1.1 * width / (EM * len(text))))
        y = end - 5 if value >= 0 else end + 5 + size
        parts.append(words(x, y, text, size=size, anchor="middle") if size >= 8 else "")
    return [part for part in parts if part]
