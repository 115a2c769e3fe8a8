"""Points, outlines and regions in the plane, drawn so that a circle is round."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xpcls.options import check_number
from xpcls_backends import to_host

from ._axes import BELOW, NARROWEST, Frame, make_axis, margins
from ._images import png_address
from ._marks import INK, PAPER, color, drawable, legend, numbers, tint
from ._picture import Picture, heading

Limits = tuple[float, float, float, float]
LONGEST = 10.0  # times the other side of the plane; what is longer is no picture


def plane(
    points: Mapping[str, Any] | None = None,
    *,
    outlines: Mapping[str, Any] | None = None,
    cells: Any = None,
    limits: Limits | None = None,
    title: str = "",
    x_label: str = "",
    y_label: str = "",
    width: float = 400,
    radius: float = 3.4,
) -> Picture:
    """Points and closed outlines, over regions of colour; one unit is as long up as across.

    points : name -> (n, 2), a colour each, in their order. outlines : name -> (m, 2), the corners
        of a closed line; an outline has the colour of the points of its name, or the next one.
    cells : (rows, columns) integers of 0 or more, the region of each cell, whose colour is that
        of the points in that place of `points`. Cells fill `limits` evenly; the first row lies at
        the bottom.
    limits : (left, right, bottom, top) of the plane; None for a little more than what is drawn.
    width : of the picture in pixels. radius : of a point.

    Raises ValueError for nothing to draw, other shapes, cells without limits, and a plane over 10
    times as long as it is wide.
    """
    groups = {str(name): _pairs(name, rows) for name, rows in (points or {}).items()}
    shapes = {str(name): _pairs(name, rows) for name, rows in (outlines or {}).items()}
    check_number("width", width, at_least=160)
    if cells is not None and limits is None:
        raise ValueError("limits is None, but cells need limits: (left, right, bottom, top)")
    left, right, bottom, top = _limits([*groups.values(), *shapes.values()], limits)
    if not 1 / LONGEST <= (top - bottom) / (right - left) <= LONGEST:
        raise ValueError(
            f"the plane reaches over {right - left:g} across and {top - bottom:g} up, but one side "
            f"may be {LONGEST:g} times the other at most: give limits, or draw it with lines"
        )
    x_axis = make_axis((left, right), "limits", label=x_label, snug=True, about=5)
    y_axis = make_axis((bottom, top), "limits", label=y_label, snug=True, about=5)
    beside, beyond = margins(x_axis, y_axis)
    across = max(width - beside - beyond, NARROWEST)
    high = across * (top - bottom) / (right - left)
    names = list(dict.fromkeys([*groups, *shapes]))
    parts, y = heading(title, width)
    signs = [_sign(i, name in groups, radius) for i, name in enumerate(names)]
    keys, y = legend(beside, y, names, across, signs)
    frame = Frame(x_axis, y_axis, beside, y + 6, across, high)
    inside = [] if cells is None else [_raster(cells, frame)]
    inside += frame.rules() if cells is None else []
    inside += [
        f'<path d="{frame.path(shapes[name])}Z" fill="none" stroke="{color(names.index(name))}" '
        'stroke-width="2.4" stroke-linejoin="round"/>'
        for name in shapes
    ]
    inside += [
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{color(i)}" stroke="{PAPER}" '
        'stroke-width="0.7"/>'
        for i, name in enumerate(groups)
        for x, y in (frame.place(*point) for point in groups[name] if all(map(drawable, point)))
    ]
    parts += [*keys, *frame.clipped(inside), *frame.labels()]
    return Picture("\n".join(parts), width, frame.top + high + BELOW, title or ", ".join(names))


def _pairs(name: str, rows: Any) -> list[tuple[float, float]]:
    host = to_host(rows)
    if host.ndim != 2 or host.shape[1] != 2:
        raise ValueError(f"{name!r} has shape {host.shape}, expected points (n, 2)")
    return [(x, y) for x, y in numbers(host, repr(name), ndim=2)]


def _limits(drawn: list[list[tuple[float, float]]], limits: Limits | None) -> Limits:
    if limits is not None:
        left, right, bottom, top = (check_number("a number in limits", edge) for edge in limits)
        if left >= right or bottom >= top:
            raise ValueError(f"limits is {limits}, expected (left, right, bottom, top) that rise")
        return left, right, bottom, top
    known = [point for points in drawn for point in points if all(map(drawable, point))]
    if not known:
        raise ValueError("there is nothing to draw: give points, outlines, or cells with limits")
    xs, ys = zip(*known, strict=True)
    room = 0.06 * (max(max(xs) - min(xs), max(ys) - min(ys)) or 1.0)
    return min(xs) - room, max(xs) + room, min(ys) - room, max(ys) + room


def _raster(cells: Any, frame: Frame) -> str:
    """The regions as an image of one pixel a cell, stretched over the frame."""
    host = to_host(cells)
    if host.ndim != 2 or host.dtype.kind not in "biu" or 0 in host.shape:
        raise ValueError(
            f"cells has shape {host.shape} and dtype {host.dtype}, expected integers "
            "(rows, columns)"
        )
    colors = [[tint(int(code)) for code in row] for row in reversed(host.tolist())]
    address = png_address(to_host(colors).astype("uint8"), frame.width)
    return (
        f'<image x="{frame.left:.1f}" y="{frame.top:.1f}" width="{frame.width:.1f}" '
        f'height="{frame.height:.1f}" preserveAspectRatio="none" '
        f'style="image-rendering: pixelated" href="{address}"/>'
    )


def _sign(i: int, dots: bool, radius: float) -> str:
    if dots:
        return f'<circle r="{max(radius, 4)}" fill="{color(i)}" stroke="{INK}" stroke-width="0.3"/>'
    return f'<path d="M-11 0H11" stroke-width="2.4" stroke="{color(i)}"/>'
