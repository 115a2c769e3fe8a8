"""Bars: the numbers of several series, side by side in groups."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from xpcls.options import check_number

from ._axes import BELOW, LEFT, RIGHT, Axis, Frame, make_axis
from ._marks import EM, INK, SMALL, broken, color, drawable, legend, numbers, words
from ._picture import Picture, heading


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

    labels : the names of the groups. series : name -> (n,) numbers, one a label; the name "" has
        no line in the legend.
    form : how the number at a bar is written, as in format(); "" for none.
    width, height : of the picture in pixels.

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
    across = width - LEFT - RIGHT
    keys, top = legend(LEFT, top, list(columns), across, signs)
    heights = [0.0, *itertools.chain.from_iterable(columns.values())]
    heights.append(1.1 * min(heights))  # room for the number below a bar that hangs down
    frame = Frame(
        Axis(0.0, float(len(labels)), ()),
        make_axis(heights, "series", label=y_label, about=5),
        LEFT,
        top + 14,
        across,
        height - top - 14 - BELOW,
    )
    parts += [*keys, *frame.rules(upright=False)]
    share = min(0.8, 0.9 - 0.3 / len(columns)) / len(columns)  # of a group's room, for one bar
    room = across / len(labels)
    for i, values in enumerate(columns.values()):
        for j, value in enumerate(values):
            if drawable(value):
                middle = j + 0.5 + (i - (len(columns) - 1) / 2) * share
                parts += _bar(frame, middle, value, share * room, color(i), form)
    parts += frame.labels(names=False)
    zero = frame.place(0.0, 0.0)[1]
    parts.append(f'<path d="M{LEFT} {zero:.1f}h{across:.1f}" stroke="{INK}" fill="none"/>')
    for j, label in enumerate(labels):
        for k, row in enumerate(broken(str(label), room, SMALL)[:2]):
            x = frame.place(j + 0.5, 0.0)[0]
            y = frame.top + frame.height + 18 + 15 * k
            parts.append(words(x, y, row, size=SMALL, anchor="middle"))
    return Picture("\n".join(parts), width, height, title or ", ".join(map(str, labels)))


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
        size = min(SMALL, int(1.3 * width / (EM * len(text))))
        y = end - 5 if value >= 0 else end + 5 + size
        parts.append(words(x, y, text, size=size, anchor="middle") if size >= 8 else "")
    return [part for part in parts if part]
