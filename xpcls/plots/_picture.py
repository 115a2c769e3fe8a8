"""A picture is a value: its text, its size, and ways to show it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xpcls.options import check_integer

from ._marks import FONT, LARGE, PAPER, clean, paragraph

GAP = 12  # between pictures of a grid


@dataclass(frozen=True)
class Picture:
    """A chart. `str(picture)` and `picture.svg` are the text of an SVG file; notebooks show it.

    body : what lies inside the outermost element. width, height : in pixels.
    title : what the picture shows, for readers who do not see it.
    """

    body: str
    width: float
    height: float
    title: str = ""

    @property
    def svg(self) -> str:
        """The text of an SVG file that needs nothing beside it."""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width:.0f}" '
            f'height="{self.height:.0f}" viewBox="0 0 {self.width:.0f} {self.height:.0f}" '
            f'role="img" font-family="{FONT}">\n'
            f"<title>{clean(self.title)}</title>\n"
            f'<rect width="100%" height="100%" fill="{PAPER}"/>\n{self.body}\n</svg>\n'
        )

    def __str__(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return f"<Picture {self.title!r}, {self.width:.0f} x {self.height:.0f}>"

    def _repr_svg_(self) -> str:
        return self.svg

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the picture to a file whose name ends in .svg."""
        check_path(path)
        Path(path).write_text(self.svg, encoding="utf-8")


def check_path(path: str | os.PathLike[str], name: str = "path") -> None:
    """Raise for a file name, the argument called `name`, that does not end in .svg."""
    if Path(path).suffix.lower() != ".svg":
        raise ValueError(
            f"{name} is {os.fspath(path)!r}, but pictures are SVG: give a name that ends in .svg; "
            "a browser, or `rsvg-convert picture.svg -o picture.png`, makes other formats of it"
        )


def grid(pictures: Sequence[Picture], *, columns: int | None = None, title: str = "") -> Picture:
    """Pictures side by side, in rows of `columns`; all in one row for None.

    Raises ValueError for no pictures.
    """
    if not pictures:
        raise ValueError("pictures is empty, expected at least one")
    across = len(pictures) if columns is None else columns
    across = min(check_integer("columns", across, at_least=1), len(pictures))
    rows = [pictures[start : start + across] for start in range(0, len(pictures), across)]
    widths = [max(row[i].width for row in rows if i < len(row)) for i in range(across)]
    width = sum(widths) + GAP * (across - 1)
    parts, top = heading(title, width)
    for row in rows:
        left = 0.0
        for picture, room in zip(row, widths, strict=False):
            parts.append(
                f'<svg x="{left:.1f}" y="{top:.1f}" width="{picture.width:.0f}" '
                f'height="{picture.height:.0f}">\n{picture.body}\n</svg>'
            )
            left += room + GAP
        top += max(picture.height for picture in row) + GAP
    described = "; ".join(filter(None, [title, *(picture.title for picture in pictures)]))
    return Picture("\n".join(parts), width, top - GAP, described)


def heading(title: str, width: float) -> tuple[list[str], float]:
    """The title of a picture, and the y below it."""
    if not title:
        return [], 10.0
    parts, below = paragraph(14, 12, title, width - 28, size=LARGE, bold=True)
    return parts, below + 8
