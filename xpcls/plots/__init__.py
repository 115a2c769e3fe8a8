"""Charts as SVG text, drawn without a plotting package.

    lines     curves over linear or logarithmic axes
    plane     points, outlines and coloured regions in the plane, both axes alike
    bars      numbers of several series side by side
    images    a row or a grid of images with captions
    grid      pictures side by side

Each gives a `Picture`: notebooks show it, `picture.save("loss.svg")` writes it. Numbers are taken
as lists or as arrays of any backend, and are read on the host. The same numbers give the same text.
"""

from ._bars import bars
from ._images import images
from ._lines import lines
from ._picture import Picture, check_path, grid
from ._plane import plane

__all__ = ["Picture", "bars", "check_path", "grid", "images", "lines", "plane"]
