"""Winograd's convolution in one call: some tiles are transformed, multiplied, and put together.

Each transform is one pass: what is read into registers is written transformed.

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

from xpcls_backends._memory import lend
from xpcls_backends._ops import rows_within
from xpcls_backends._winograd import AT, BT, SPAN, TILE, apart, tile_counts

from ._compile import compiled
from ._products import FUSED, I64, VECTOR, lanes_of, multiply

HostArray = np.ndarray[Any, Any]
Pair = tuple[int, int]
Triple = tuple[int, int, int]
# An address; bytes from one row, column and run of channels to the next; how many of each; bytes
# from one run to the next among tiles; (2, length of a run): zeros, and what nobody reads.
Images = tuple[int, Triple, Triple, int, HostArray]
Grid = list[list[ir.Value]]

CHUNK = 2**19  # bytes of tiles that are worked on at a time: a part of a core's own cache


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
        lanes = VECTOR // itemsize

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
    kind: int, images: Images, start: Pair, tiles: HostArray, counts: Pair, some: Pair
) -> None:
    """One of the transforms, over some tiles, from and to, and all runs of channels.

    start : padding, or (0, 0). tiles : (36, bytes and more). counts : of all tiles.
    """
    address, (down, right, onward), (height, width, runs), across, margin = images
    length, itemsize = margin.shape[1], margin.itemsize
    zeros = margin.ctypes.data
    unread = zeros + length * itemsize
    apart, into = tiles.strides[0], tiles.ctypes.data
    for tile in range(some[0], some[1]):
        i, j = divmod(tile, counts[1])
        for run in range(runs):
            place = (margin, address + run * onward, into, down, right, apart, i, j)
            edges = (start[0], start[1], height, width, zeros, unread, length)
            if kind == _GATHER_INPUTS:
                _gather_inputs(*place, *edges)
            elif kind == _GATHER_OUTPUTS:
                _gather_outputs(*place, *edges)
            elif kind == _SCATTER_OUTPUTS:
                _scatter_outputs(*place, *edges)
            else:
                _add_inputs(*place, *edges)
            into += across


@compiled()
def _multiply(
    a: HostArray, of_a: Pair, b: HostArray, b_row: int, c: HostArray, size: Pair, adds: bool
) -> None:
    """For each of the 36 numbers a product of matrices.

    of_a : the bytes from one row of a to the next, and from one column. b_row : from one row of b
    to the next, and of c. size : rows, and columns, of a; rows in between for the others.
    """
    for k in range(a.shape[0]):
        multiply(
            a,
            a.ctypes.data + k * a.strides[0],
            (of_a[0], of_a[1], 0),
            b.ctypes.data + k * b.strides[0],
            (b_row, 0),
            c.ctypes.data + k * c.strides[0],
            b_row,
            (size[0], b_row // VECTOR, size[1], 1),
            adds,
        )


@compiled()
def _forward(
    x: Images,
    padding: Pair,
    filters: HostArray,
    y: Images,
    tiles: HostArray,
    products: HostArray,
    counts: Pair,
    at_once: int,
    n: int,
) -> None:
    """Some tiles after the other; what is made of them stays in the cache."""
    _, channels, wide = filters.shape
    itemsize = filters.itemsize
    for first in range(0, counts[0] * counts[1], at_once):
        some = first, min(first + at_once, counts[0] * counts[1])
        _walk(_GATHER_INPUTS, x, padding, tiles, counts, some)
        size = (some[1] - some[0]) * n, channels
        of_tiles = channels * itemsize, itemsize
        _multiply(tiles, of_tiles, filters, wide * itemsize, products, size, False)
        _walk(_SCATTER_OUTPUTS, y, (0, 0), products, counts, some)


@compiled()
def _backward(
    x: Images,
    padding: Pair,
    dy: Images,
    turned: HostArray,
    dx: Images,
    of_filters: HostArray,
    tiles: HostArray,
    of_products: HostArray,
    of_tiles: HostArray,
    counts: Pair,
    at_once: int,
    n: int,
) -> None:
    """Of no filters, or tiles, where their gradient is not wanted."""
    _, n_filters, wide_x = turned.shape
    _, channels, wide_y = of_filters.shape
    itemsize = turned.itemsize
    for first in range(0, counts[0] * counts[1], at_once):
        some = first, min(first + at_once, counts[0] * counts[1])
        rows = (some[1] - some[0]) * n
        _walk(_GATHER_OUTPUTS, dy, (0, 0), of_products, counts, some)
        if of_filters.shape[0]:
            _walk(_GATHER_INPUTS, x, padding, tiles, counts, some)
            across = itemsize, channels * itemsize
            size = channels, rows
            _multiply(tiles, across, of_products, wide_y * itemsize, of_filters, size, first > 0)
        if of_tiles.shape[0]:
            across = wide_y * itemsize, itemsize
            size = rows, n_filters
            _multiply(of_products, across, turned, wide_x * itemsize, of_tiles, size, False)
            _walk(_ADD_INPUTS, dx, padding, of_tiles, counts, some)


def forward(x: HostArray, filters: HostArray, padding: Pair, y: HostArray) -> None:
    """See `forward` of _winograd.py; likewise below."""
    x, filters = _by_channels(x), _whole(filters)
    n, (channels, wide) = x.shape[2], filters.shape[1:]
    counts = tile_counts(y.shape[:2])
    at_once = _tiles_at_once(n, channels, wide, y.dtype)
    _forward(
        _images(x, channels),
        padding,
        filters,
        _images(y, wide),
        _scratch(at_once * n * channels, y.dtype),
        _scratch(at_once * n * wide, y.dtype),
        counts,
        at_once,
        n,
    )


def backward(
    kept: HostArray | None,
    x: HostArray,
    turned: HostArray,
    padding: Pair,
    dy: HostArray,
    dx: HostArray | None,
    wants_w: bool,
) -> HostArray | None:
    (n, channels), n_filters = x.shape[2:], dy.shape[3]
    none = np.empty((0, 0), dy.dtype)
    x, dy, turned = _by_channels(x), _by_channels(dy), _whole(turned)
    wide_x, wide_y = turned.shape[2], _whole_length(n_filters, dy.dtype)
    at_once = _tiles_at_once(n, max(channels, wide_x), wide_y, dy.dtype)
    of_filters = lend(np, (SPAN * SPAN if wants_w else 0, channels, wide_y), dy.dtype, None)
    given = _images(x, channels)
    _backward(
        given,
        padding,
        _images(dy, wide_y),
        turned,
        given if dx is None else _images(dx, wide_x),
        of_filters,
        _scratch(at_once * n * channels, dy.dtype) if wants_w else none,
        _scratch(at_once * n * wide_y, dy.dtype),
        none if dx is None else _scratch(at_once * n * wide_x, dy.dtype),
        tile_counts(dy.shape[:2]),
        at_once,
        n,
    )
    return of_filters[:, :, :n_filters] if wants_w else None


def _by_channels(images: HostArray) -> HostArray:
    """With the channels of a pixel side by side in memory."""
    return images if images.strides[3] == images.itemsize else np.ascontiguousarray(images)


def _images(images: HostArray, wide: int) -> Images:
    """What `_walk` takes: images (H, W, n, C) whose tiles have rows of `wide` numbers each.

    It holds their address alone: whoever calls keeps them.
    """
    height, width, n, channels = images.shape
    down, right, between, _ = images.strides
    runs, length = n, channels
    if between == channels * images.itemsize and wide == channels:  # all images in one run
        runs, length, wide = 1, n * channels, n * channels
    margin = np.zeros((2, length), images.dtype)
    strides = down, right, between
    return (
        images.ctypes.data,
        strides,
        (height, width, runs),
        wide * images.itemsize,
        margin,
    )


def _tiles_at_once(n: int, channels: int, filters: int, dtype: np.dtype[Any]) -> int:
    """How many tiles of n images, so that they fill the cache, or as much as the filters do."""
    numbers = SPAN * SPAN * dtype.itemsize
    room = max(CHUNK, numbers * channels * filters)
    return rows_within(room, numbers * n * (channels + filters))


def _scratch(length: int, dtype: np.dtype[Any]) -> HostArray:
    scratch: HostArray = lend(np, (SPAN * SPAN, apart(length, dtype)), dtype, None)
    return scratch


def _whole_length(length: int, dtype: np.dtype[Any]) -> int:
    lanes = lanes_of(dtype)
    return -(-length // lanes) * lanes


def _whole(filters: HostArray) -> HostArray:
    """Filters (36, C, F) with rows of whole vectors; what is left over is 0."""
    channels, n_filters = filters.shape[1:]
    wide = _whole_length(n_filters, filters.dtype)
    if wide == n_filters:
        return filters
    whole = np.zeros((SPAN * SPAN, channels, wide), filters.dtype)
    whole[:, :, :n_filters] = filters
    return whole
