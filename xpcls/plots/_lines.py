"""Curves: several series over one pair of axes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from xpcls.options import check_choice, check_number

from ._axes import BELOW, NARROWEST, Frame, make_axis, margins
from ._marks import PAPER, color, dash, drawable, legend, numbers
from ._picture import Picture, heading

MARKERS_UP_TO = 40  # points of a series; more would run together


def lines(
    series: Mapping[str, tuple[Any, Any]],
    *,
    title: str = "",
    x_label: str = "",
    y_label: str = "",
    log_x: bool = False,
    log_y: bool = False,
    dashed: Collection[str] = (),
    width: float = 560,
    height: float = 380,
) -> Picture:
    """Curves of several series with a legend.

    series : name -> (x, y), each (n,); None for x counts from 1, as epochs are counted. NaN and
        infinity leave a gap. Series of up to 40 points have a marker at each.
    log_x, log_y : logarithmic axes, for numbers above 0.
    dashed : names of series drawn dashed and without markers: what theory says, or a limit.
    width, height : of the picture in pixels; it is higher where title and legend leave too little
        for the curves.

    Raises ValueError for no series, lengths that differ, no finite number, and numbers of 0 or
    less on a logarithmic axis.
    """
    if not series:
        raise ValueError("series is empty, expected at least one")
    for name in dashed:
        check_choice("a name in dashed", name, list(series))
    check_number("width", width, at_least=200)
    check_number("height", height, at_least=150)
    curves = {str(name): _points(name, *pair) for name, pair in series.items()}
    parts, top = heading(title, width)
    styles = [f'stroke="{color(i)}"{dash(i)}' for i in range(len(curves))]
    for i, name in enumerate(curves):
        if name in dashed:
            styles[i] = f'stroke="{color(i)}" stroke-dasharray="6 5"'
    signs = [f'<path d="M-11 0H11" stroke-width="2.2" {style}/>' for style in styles]
    xs, ys = ([point[i] for points in curves.values() for point in points] for i in (0, 1))
    x_axis = make_axis(xs, "x of the series", label=x_label, log=log_x, about=7)
    y_axis = make_axis(ys, "y of the series", label=y_label, log=log_y, about=5)
    left, right = margins(x_axis, y_axis)
    across = max(width - left - right, NARROWEST)
    keys, top = legend(left, top, list(curves), across, signs)
    high = max(height - top - 6 - BELOW, NARROWEST)
    frame = Frame(x_axis, y_axis, left, top + 6, across, high)
    parts += [*keys, *frame.rules(), *frame.labels()]
    for (name, points), style, i in zip(curves.items(), styles, range(len(curves)), strict=True):
        parts.append(
            f'<path d="{frame.path(points)}" fill="none" stroke-width="2.2" '
            f'stroke-linejoin="round" {style}/>'
        )
        if name not in dashed and len(points) <= MARKERS_UP_TO:
            parts += [
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.6" fill="{color(i)}" stroke="{PAPER}"/>'
                for x, y in (frame.place(*point) for point in points if all(map(drawable, point)))
            ]
    height = max(height, top + 6 + high + BELOW)
    return Picture("\n".join(parts), width, height, title or ", ".join(curves))


def _points(name: str, x: Any, y: Any) -> list[tuple[float, float]]:
    ys = numbers(y, f"y of {name!r}")
    xs = [float(i + 1) for i in range(len(ys))] if x is None else numbers(x, f"x of {name!r}")
    if len(xs) != len(ys):
        raise ValueError(f"series {name!r} has {len(xs)} x and {len(ys)} y, expected as many")
    return list(zip(xs, ys, strict=True))
