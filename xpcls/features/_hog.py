"""Histograms of oriented gradients."""

from __future__ import annotations

import functools
from typing import Any

from xpcls.options import check_choice, check_flag, check_integer, shown
from xpcls_backends import (
    Array,
    Histograms,
    device_of,
    gradient_kernel,
    namespace_of,
    row_dots,
    tile_histograms,
    to_scalar,
    widest_float,
)

from ._base import ImageTransformer, fill_blocks
from ._color import grey
from ._gradients import Tables, byte_tables, oriented_gradients
from ._statistics import feature_dtype

BLOCK_NORMS = ("L1", "L1-sqrt", "L2", "L2-Hys")
CHANNELS = ("strongest", "grey")
EPSILON = 1e-5  # added to a norm, so that a block without any edge stays 0
CLIPPED = 0.2  # L2-Hys: no entry of a block is larger, before it is normalised again
MOST_ORIENTATIONS = 180


class HOG(ImageTransformer):
    """Histograms of oriented gradients: which way edges run, in each part of an image.

    The image is cut into cells. Each pixel of a cell votes for the bin of its gradient's
    direction, with the gradient's length; directions half a turn apart are one. The cell has the
    sum of votes divided by its number of pixels. Neighbouring cells are joined to blocks, which
    overlap, and each block is normalised, so that contrast counts for less.

    Parameters
    ----------
    orientations : number of bins from 0 to 180 degrees.
    pixels_per_cell : (height, width) of a cell. Pixels at the lower and the right edge that fill
        no cell are left out.
    cells_per_block : (height, width) of a block, in cells.
    block_norm : what the entries v of a block become, with e = 1e-5:
        "L1"       v / (sum v + e)
        "L1-sqrt"  sqrt(v / (sum v + e))
        "L2"       v / sqrt(sum v^2 + e^2)
        "L2-Hys"   L2, then no entry above 0.2, then L2 again
        None       no blocks: the cells as they are, each once
    channel : of colour images, "strongest" takes at each pixel the channel with the longest
        gradient, "grey" the gradient of 0.299 red + 0.587 green + 0.114 blue.
    transform_sqrt : take the square root of the pixels first; they must not be negative.
    image_shape : (H, W, C) of images that come as rows, as in a pipeline of scikit-learn.

    The features of an image are ordered by block row, block column, cell row, cell column, bin:
    9 orientations and (8, 8) cells without blocks make 144 of 32 x 32 pixels. Parameters and
    results are those of scikit-image's `hog`, which lacks `channel="grey"` and `block_norm=None`,
    and gives float64 for uint8 images, where this gives float32.

    Source: Dalal and Triggs, Histograms of Oriented Gradients for Human Detection, CVPR 2005;
    votes are not shared between neighbouring bins and cells.
    """

    def __init__(
        self,
        orientations: int = 9,
        pixels_per_cell: tuple[int, int] = (8, 8),
        cells_per_block: tuple[int, int] = (3, 3),
        block_norm: str | None = "L2-Hys",
        *,
        channel: str = "strongest",
        transform_sqrt: bool = False,
        image_shape: tuple[int, int, int] | None = None,
    ) -> None:
        self.orientations = orientations
        self.pixels_per_cell = pixels_per_cell
        self.cells_per_block = cells_per_block
        self.block_norm = block_norm
        self.channel = channel
        self.transform_sqrt = transform_sqrt
        self.image_shape = image_shape

    def _check(self, images: Array) -> None:
        check_integer("orientations", self.orientations, at_least=1, at_most=MOST_ORIENTATIONS)
        cell = _pair("pixels_per_cell", self.pixels_per_cell)
        block = _pair("cells_per_block", self.cells_per_block)
        if self.block_norm is None:
            block = (1, 1)
        else:
            check_choice("block_norm", self.block_norm, BLOCK_NORMS)
        check_choice("channel", self.channel, CHANNELS)
        check_flag("transform_sqrt", self.transform_sqrt)
        _, height, width, channels = images.shape
        least = cell[0] * block[0], cell[1] * block[1]
        if height < least[0] or width < least[1]:
            blocks = "" if block == (1, 1) else f" in blocks of {block[0]} x {block[1]}"
            raise ValueError(
                f"X has images of {height} x {width} pixels, but cells of {cell[0]} x {cell[1]}"
                f"{blocks} need at least {least[0]} x {least[1]}; choose a smaller "
                "pixels_per_cell or cells_per_block"
            )
        if self.channel == "grey" and channels not in (1, 3):
            raise ValueError(
                f"X has images of {channels} channels, but channel='grey' takes 1, or red, green "
                "and blue; use channel='strongest'"
            )
        if self.transform_sqrt:
            least_value = float(to_scalar(namespace_of(images).min(images)))
            if least_value < 0:
                raise ValueError(
                    f"X holds {least_value:g}, and transform_sqrt=True takes no negative pixels; "
                    "use transform_sqrt=False"
                )

    def _transform(self, images: Array) -> Array:
        down, across = self._cells(images)
        features = down * across * self.orientations
        if self.block_norm is not None:
            tall, wide = self.cells_per_block
            blocks = (down - tall + 1) * (across - wide + 1)
            features = blocks * tall * wide * self.orientations
        # Roots, and brightnesses, are no bytes any more.
        bytes_stay = not self.transform_sqrt and not self._turns_grey(images)
        tables = byte_tables(images, self.orientations) if bytes_stay else None
        kernel = None if tables is None else gradient_kernel(images)
        make = functools.partial(self._features, tables, kernel)
        return fill_blocks("HOG", images, features, feature_dtype(images), make)

    def _turns_grey(self, images: Array) -> bool:
        return self.channel == "grey" and images.shape[3] == 3

    def _cells(self, images: Array) -> tuple[int, int]:
        """How many cells an image has, down and across."""
        tall, wide = self.pixels_per_cell
        return images.shape[1] // tall, images.shape[2] // wide

    def _features(self, tables: Tables | None, kernel: Histograms | None, images: Array) -> Array:
        """(n, features) of a block of images."""
        xp = namespace_of(images)
        tall, wide = self.pixels_per_cell
        if kernel is None or tables is None:
            cells = self._votes(tables, images)
        else:
            cells = kernel(images, *tables, self.orientations, (tall, wide))
        cells = cells * (1.0 / (tall * wide))
        if self.block_norm is not None:
            cells = _normalized(_blocks(cells, self.cells_per_block), self.block_norm)
        return xp.reshape(cells, (images.shape[0], -1))

    def _votes(self, tables: Tables | None, images: Array) -> Array:
        """The sums of the votes in each cell: (n, down, across, orientations)."""
        xp = namespace_of(images)
        dtype = feature_dtype(images)
        if self._turns_grey(images):
            images = grey(images)
        if self.transform_sqrt:
            if not xp.isdtype(images.dtype, "real floating"):
                # Roots of integers give directions that are exactly on the edge of a bin.
                images = xp.astype(images, widest_float(xp, device_of(images)))
            images = xp.sqrt(images)
        elif tables is None:
            images = xp.astype(images, dtype, copy=False)
        (down, across), (tall, wide) = self._cells(images), self.pixels_per_cell
        bins, lengths = oriented_gradients(images, self.orientations, tables)
        lengths = xp.astype(lengths, dtype, copy=False)
        bins, lengths = (x[:, : down * tall, : across * wide] for x in (bins, lengths))
        return tile_histograms(bins, lengths, self.orientations, (tall, wide))


def _pair(name: str, value: Any) -> tuple[int, int]:
    """(height, width), two integers of 1 or more."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise ValueError(f"{name} is {shown(value)}, expected (height, width)")
    height, width = (check_integer(f"a length in {name}", n, at_least=1) for n in value)
    return height, width


def _blocks(cells: Array, block: tuple[int, int]) -> Array:
    """All blocks of cells (n, down, across, bins): (n, rows, columns, entries of a block)."""
    xp = namespace_of(cells)
    n, down, across, bins = cells.shape
    rows, columns = down - block[0] + 1, across - block[1] + 1
    members = [
        cells[:, i : i + rows, j : j + columns, :] for i in range(block[0]) for j in range(block[1])
    ]
    return xp.reshape(xp.stack(members, axis=3), (n, rows, columns, len(members) * bins))


def _normalized(blocks: Array, norm: str) -> Array:
    """Each block, along the last axis, by the rule of that name; entries are not negative."""
    xp = namespace_of(blocks)
    if norm in ("L1", "L1-sqrt"):
        blocks = blocks / (xp.sum(blocks, axis=-1, keepdims=True) + EPSILON)
        return blocks if norm == "L1" else xp.sqrt(blocks)
    blocks = _unit(blocks)
    return blocks if norm == "L2" else _unit(xp.minimum(blocks, CLIPPED))


def _unit(blocks: Array) -> Array:
    xp = namespace_of(blocks)
    return blocks / xp.sqrt(row_dots(blocks, blocks) + EPSILON**2)[..., None]
