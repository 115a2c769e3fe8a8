"""Products of small matrices in registers, wherever their entries stand in memory.

    c[i, f] = sum_{o, k} a[i, o, k] b[o, k, f]

The numbers of b and c along f lie side by side; of all else addresses and strides say where it is.
So a convolution is a product whose a is the images themselves: nothing is laid out for it.

A tile of ROWS x VECTORS sums stays in registers over all o and k. As in _tiles.py, the loop is
written in LLVM's language, because numba's own would not keep it there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ._compile import compiled
from ._tiles import LANES

HostArray = np.ndarray[Any, Any]

I32, I64 = ir.IntType(32), ir.IntType(64)
FUSED = ("contract",)  # a product and a sum may be one instruction
ROWS = (6, 4, 2, 1)  # of a tile
VECTORS = (4, 2, 1) if LANES == 16 else (2, 1)  # six rows are 24 sums of 32 registers, or 12 of 16
MOST = VECTORS[0]
VECTOR = 4 * LANES  # its bytes


def lanes_of(dtype: np.dtype[Any]) -> int:
    """How many numbers of a dtype, float32 or float64, are in a vector."""
    return VECTOR // dtype.itemsize


def _tile_of(
    typing_context: Any,
    like: Any,
    rows: Any,
    vectors: Any,
    a: Any,
    a_row: Any,
    a_step: Any,
    a_round: Any,
    b: Any,
    b_step: Any,
    b_round: Any,
    c: Any,
    c_row: Any,
    steps: Any,
    rounds: Any,
    adds: Any,
) -> Any:
    """One tile of c, for numba's code; see `multiply`. rows, vectors : of ROWS and VECTORS."""
    number = {32: ir.FloatType(), 64: ir.DoubleType()}[like.dtype.bitwidth]
    itemsize = like.dtype.bitwidth // 8
    vector = ir.VectorType(number, VECTOR // itemsize)

    def generate(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        _, rows, vectors, *rest = arguments
        after = b.append_basic_block("after")
        which = b.add(b.mul(rows, I64(MOST + 1)), vectors)
        choice = b.switch(which, after)
        for i in ROWS:
            for j in VECTORS:
                block = b.append_basic_block(f"tile_{i}_{j}")
                choice.add_case(I64(i * (MOST + 1) + j), block)
                b.position_at_end(block)
                _generate(b, (i, j), vector, itemsize, rest)
                b.branch(after)
        b.position_at_end(after)
        return context.get_dummy_value()

    return types.void(like, *[types.intp] * 14), generate


def _generate(
    b: ir.IRBuilder,
    shape: tuple[int, int],
    vector: ir.VectorType,
    itemsize: int,
    arguments: Any,
) -> None:
    """The code of a tile of `shape`; arguments as those of `_tile` from a on."""
    x, x_row, x_step, x_round, y, y_step, y_round, z, z_row, steps, rounds, adds = arguments
    places = [(i, j) for i in range(shape[0]) for j in range(shape[1])]
    apart = [b.mul(x_row, I64(i)) for i in range(shape[0])]

    def at(address: ir.Value, offset: ir.Value, kind: ir.Type) -> ir.Value:
        return b.inttoptr(b.add(address, offset), kind.as_pointer())

    def of_vector(j: int) -> ir.Value:
        return I64(j * vector.count * itemsize)

    def spread(value: ir.Value) -> ir.Value:
        none = ir.Constant(vector, ir.Undefined)
        first = b.insert_element(none, value, I32(0))
        zeros = ir.Constant(ir.VectorType(I32, vector.count), [0] * vector.count)
        return b.shuffle_vector(first, none, zeros)

    before = b.block
    a_round, a_step, onward, end = (
        b.append_basic_block(name) for name in ("round", "step", "onward", "end")
    )
    b.branch(a_round)
    b.position_at_end(a_round)
    x_first, y_first, round_ = b.phi(I64), b.phi(I64), b.phi(I64)
    so_far = {place: b.phi(vector) for place in places}
    b.branch(a_step)

    b.position_at_end(a_step)
    x_at, y_at, step = b.phi(I64), b.phi(I64), b.phi(I64)
    sums = {place: b.phi(vector) for place in places}
    right = [b.load(at(y_at, of_vector(j), vector), align=itemsize) for j in range(shape[1])]
    added = {}
    for i in range(shape[0]):
        left = spread(b.load(at(x_at, apart[i], vector.element), align=itemsize))
        for j in range(shape[1]):
            product = b.fmul(left, right[j], flags=FUSED)
            added[i, j] = b.fadd(sums[i, j], product, flags=FUSED)
    next_step = b.add(step, I64(1))
    next_x, next_y = b.add(x_at, x_step), b.add(y_at, y_step)
    b.cbranch(b.icmp_signed("<", next_step, steps), a_step, onward)

    b.position_at_end(onward)
    next_round = b.add(round_, I64(1))
    round_x, round_y = b.add(x_first, x_round), b.add(y_first, y_round)
    b.cbranch(b.icmp_signed("<", next_round, rounds), a_round, end)

    nothing = ir.Constant(vector, [0.0] * vector.count)
    for phi, start, then in (
        (x_first, x, round_x),
        (y_first, y, round_y),
        (round_, I64(0), next_round),
        *((so_far[place], nothing, added[place]) for place in places),
    ):
        phi.add_incoming(start, before)
        phi.add_incoming(then, onward)
    for phi, start, then in (
        (x_at, x_first, next_x),
        (y_at, y_first, next_y),
        (step, I64(0), next_step),
        *((sums[place], so_far[place], added[place]) for place in places),
    ):
        phi.add_incoming(start, a_round)
        phi.add_incoming(then, a_step)

    b.position_at_end(end)
    with b.if_else(b.icmp_signed("!=", adds, I64(0))) as branches:
        for branch, adding in zip(branches, (True, False), strict=True):
            with branch:
                for i, j in places:
                    into = at(z, b.add(b.mul(z_row, I64(i)), of_vector(j)), vector)
                    total = added[i, j]
                    if adding:
                        total = b.fadd(total, b.load(into, align=itemsize))
                    b.store(total, into, align=itemsize)


_tile = intrinsic(_tile_of)


@compiled()
def multiply(
    like: HostArray,
    a: int,
    of_a: tuple[int, int, int],
    b: int,
    of_b: tuple[int, int],
    c: int,
    c_row: int,
    size: tuple[int, int, int, int],
    adds: bool,
) -> None:
    """c = a b, or c += a b.

    like : an array, for its dtype. a, b, c : addresses. of_a : the bytes from one row, step k and
    round o to the next; of_b : from one step and round to the next; c_row : from one row to the
    next. size : rows, vectors of a row, steps, rounds; there is at least one step and round.
    """
    rows, vectors, steps, rounds = size
    while vectors > 0:
        width = MOST if vectors >= MOST else 2 if vectors >= 2 else 1
        done = 0
        while done < rows:
            left = rows - done
            height = 6 if left >= 6 else 4 if left >= 4 else 2 if left >= 2 else 1
            x, z = a + done * of_a[0], c + done * c_row
            _tile(like, height, width, x, *of_a, b, *of_b, z, c_row, steps, rounds, adds)
            done += height
        vectors -= width
        b += width * VECTOR
        c += width * VECTOR
