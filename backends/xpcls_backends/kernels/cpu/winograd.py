"""Winograd's transforms, each in one pass: what is read into registers is written transformed.

    gather     of every tile of images d, S x S pixels, to M d M^T, R x R numbers
    scatter    of R x R numbers m, to M m M^T, S x S pixels of a tile of images

for all channels. numba's own loops over so many arrays stay scalar, since nothing tells it that
those do not overlap. So a tile is written in LLVM's language: its pixels are vectors of channels.

Tiles begin at every fourth row and column. Where they stand over the edge of the images, what is
outside is read as 0, and not written.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from xpcls_backends._winograd import AT, BT, TILE, tile_counts

from ._compile import compiled
from ._tiles import LANES

HostArray = np.ndarray[Any, Any]
Pair = tuple[int, int]
Grid = list[list[ir.Value]]

I64 = ir.IntType(64)
FUSED = ("contract",)  # a product and a sum may be one instruction


def _tile(matrix: HostArray, gathers: bool, overlap: int = 0) -> Any:
    """A function for numba's code: one tile, for a run of channels that lie side by side.

    overlap : so many first rows and columns of a tile are added to what the tiles above and to
    the left have written there.

    `like` is an array, for its dtype. All else are whole numbers: the addresses of the run in the
    first pixel of the images, and in the first of the numbers; the bytes from one row, column and
    number to the next; which tile, by rows and columns; where the first begins; the size of the
    images; the addresses of zeros, and of memory that nobody reads; the length of the run.
    """
    numbers = matrix.shape[0] if gathers else matrix.shape[1]
    pixels = matrix.shape[1] if gathers else matrix.shape[0]

    def tile(
        typing_context: Any,
        like: Any,
        images: Any,
        tiles: Any,
        down: Any,
        right: Any,
        apart: Any,
        above: Any,
        beside: Any,
        top: Any,
        left: Any,
        height: Any,
        width: Any,
        zeros: Any,
        unread: Any,
        length: Any,
    ) -> Any:
        number = {32: ir.FloatType(), 64: ir.DoubleType()}[like.dtype.bitwidth]
        itemsize = like.dtype.bitwidth // 8
        lanes = 4 * LANES // itemsize

        def generate(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            _, images, tiles, down, right, apart, above, beside, *rest = arguments
            top, left, height, width, zeros, unread, length = rest

            def positions(tile: ir.Value, start: ir.Value) -> list[ir.Value]:
                first = b.sub(b.mul(tile, I64(TILE)), start)
                return [b.add(first, I64(i)) for i in range(pixels)]

            rows, columns = positions(above, top), positions(beside, left)
            row_is_inside = [b.icmp_unsigned("<", i, height) for i in rows]
            column_is_inside = [b.icmp_unsigned("<", j, width) for j in columns]
            is_first = [b.icmp_signed("==", tile, I64(0)) for tile in (above, beside)]

            def pixel(i: int, j: int, outside: ir.Value) -> ir.Value:
                at = b.add(b.mul(rows[i], down), b.mul(columns[j], right))
                inside = b.and_(row_is_inside[i], column_is_inside[j])
                return b.select(inside, b.add(images, at), outside)

            def before(i: int, j: int) -> ir.Value:
                """Where to read what a pixel has so far."""
                new = b.and_(
                    is_first[0] if i < overlap else ir.Constant(ir.IntType(1), 1),
                    is_first[1] if j < overlap else ir.Constant(ir.IntType(1), 1),
                )
                return b.select(new, zeros, pixel(i, j, zeros))

            sides = range(pixels), range(numbers)
            of_pixels = [
                [pixel(i, j, zeros if gathers else unread) for j in sides[0]] for i in sides[0]
            ]
            of_numbers = [
                [b.add(tiles, b.mul(apart, I64(numbers * i + j))) for j in sides[1]]
                for i in sides[1]
            ]
            added = {
                (i, j): before(i, j) for i in sides[0] for j in sides[0] if min(i, j) < overlap
            }
            sources, targets = (of_pixels, of_numbers) if gathers else (of_numbers, of_pixels)

            def transform(start: ir.Value, stop: ir.Value, kind: ir.Type, step: int) -> None:
                with cgutils.for_range_slice(b, start, stop, I64(step), I64) as (k, _):
                    offset = b.mul(k, I64(itemsize))

                    def at(address: ir.Value) -> ir.Value:
                        return b.inttoptr(b.add(address, offset), kind.as_pointer())

                    given = [[b.load(at(a), align=itemsize) for a in line] for line in sources]
                    found = _times(b, matrix, _times(b, matrix, given))
                    for i, line in enumerate(found):
                        for j, value in enumerate(line):
                            if (i, j) in added:
                                value = b.fadd(value, b.load(at(added[i, j]), align=itemsize))
                            b.store(value, at(targets[i][j]), align=itemsize)

            whole = b.and_(length, I64(-lanes))
            transform(I64(0), whole, ir.VectorType(number, lanes), lanes)
            transform(whole, length, number, 1)
            return context.get_dummy_value()

        return types.void(like, *[types.intp] * 14), generate

    return intrinsic(tile)


def _times(b: ir.IRBuilder, matrix: HostArray, given: Grid) -> Grid:
    """(matrix given)^T."""
    return [[_sum(b, row, column) for row in matrix] for column in zip(*given, strict=True)]


def _sum(b: ir.IRBuilder, factors: HostArray, values: tuple[ir.Value, ...]) -> ir.Value:
    """The sum of factors times values, most factors being 0, 1 or -1."""
    total = None
    for factor, value in zip(factors.tolist(), values, strict=True):
        if factor == 0:
            continue
        term = value
        if abs(factor) != 1:
            size = float(abs(factor))
            kind = value.type
            many = [size] * kind.count if isinstance(kind, ir.VectorType) else size
            term = b.fmul(value, ir.Constant(kind, many), flags=FUSED)
        if total is None:
            total = term if factor > 0 else b.fneg(term)
        else:
            total = (b.fadd if factor > 0 else b.fsub)(total, term, flags=FUSED)
    return total


_GATHER_INPUTS, _GATHER_OUTPUTS, _SCATTER_OUTPUTS, _ADD_INPUTS = range(4)
_gather_inputs = _tile(BT, gathers=True)
_gather_outputs = _tile(AT.T, gathers=True)
_scatter_outputs = _tile(AT, gathers=False)
_add_inputs = _tile(BT.T, gathers=False, overlap=2)


@compiled()
def _walk(
    kind: int,
    images: int,
    strides: tuple[int, int, int],
    size: tuple[int, int, int],
    start: Pair,
    tiles: int,
    apart: int,
    counts: Pair,
    margin: HostArray,
) -> None:
    """One of the transforms, over all tiles and runs of channels.

    images, tiles : addresses. strides : in bytes, from one row, column and run to the next.
    size : how many of each. start : padding. apart : bytes from one number of a tile to the next.
    margin : (2, length of a run): zeros, and what nobody reads.
    """
    down, right, onward = strides
    height, width, runs = size
    length, itemsize = margin.shape[1], margin.itemsize
    zeros = margin.ctypes.data
    unread = zeros + length * itemsize
    for i in range(counts[0]):
        for j in range(counts[1]):
            for run in range(runs):
                place = (margin, images + run * onward, tiles, down, right, apart, i, j)
                edges = (*start, height, width, zeros, unread, length)
                if kind == _GATHER_INPUTS:
                    _gather_inputs(*place, *edges)
                elif kind == _GATHER_OUTPUTS:
                    _gather_outputs(*place, *edges)
                elif kind == _SCATTER_OUTPUTS:
                    _scatter_outputs(*place, *edges)
                else:
                    _add_inputs(*place, *edges)
                tiles += length * itemsize


def into_tiles(x: HostArray, padding: Pair, tiles: HostArray) -> None:
    """See `into_tiles` of _winograd.py; likewise below."""
    size = x.shape[0] + 2 * padding[0] - 2, x.shape[1] + 2 * padding[1] - 2
    _over(_GATHER_INPUTS, _by_channels(x), padding, tiles, size)


def outputs(tiles: HostArray, y: HostArray) -> None:
    _over(_SCATTER_OUTPUTS, y, (0, 0), tiles, y.shape[:2])


def spread(dy: HostArray, tiles: HostArray) -> None:
    _over(_GATHER_OUTPUTS, _by_channels(dy), (0, 0), tiles, dy.shape[:2])


def add_up(tiles: HostArray, padding: Pair, dx: HostArray) -> None:
    size = dx.shape[0] + 2 * padding[0] - 2, dx.shape[1] + 2 * padding[1] - 2
    _over(_ADD_INPUTS, dx, padding, tiles, size)


def _by_channels(images: HostArray) -> HostArray:
    """With the channels of a pixel side by side in memory."""
    return images if images.strides[3] == images.itemsize else np.ascontiguousarray(images)


def _over(kind: int, images: HostArray, start: Pair, tiles: HostArray, size: Pair) -> None:
    """One of the transforms, for outputs of that size."""
    height, width, n, channels = images.shape
    down, right, between, _ = images.strides
    runs, length = (1, n * channels) if between == channels * images.itemsize else (n, channels)
    _walk(
        kind,
        images.ctypes.data,
        (down, right, between),
        (height, width, runs),
        start,
        tiles.ctypes.data,
        tiles.strides[0],
        tile_counts(size),
        np.zeros((2, length), images.dtype),
    )
