"""The innermost loop of a search: a tile of queries against a panel of points, held in registers.

Rows are codes, whole numbers of one or of two bytes, laid so that 32 bits hold the next codes (four
bytes, or two words) of one row:

    queries  (tiles, K, ROWS)       int32    ROWS queries side by side
    points   (panels, K, COLUMNS)   int32    COLUMNS points side by side

with K = D / 4 or D / 2, rounded up. For each of the K steps a tile multiplies ROWS x COLUMNS pairs
of 32 bits and adds the products: the L2 overlap sum q p, or for L1 sum max(q, p). Numbers stay in
32-bit registers and wrap; whoever makes codes sees to it that the result does not.

numba's own loops reach a third of this speed, since they do not keep 24 sums in registers, and
nothing in them says `vpdpbusd`. So the loop is written in LLVM's language, once for all kinds:

    bytes, AVX-512 VNNI     4 codes an instruction and lane, 16 lanes
    words, AVX-512 VNNI     2 codes, 16 lanes
    words, AVX2             2 codes, 8 lanes
    words, anything else    2 codes, 4 lanes; LLVM finds the instructions

Without VNNI there is no exact product of bytes that is faster than one of words.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from llvmlite.binding import llvm_version_info
from numba import types
from numba.core import codegen, config
from numba.extending import intrinsic

I16, I32, I64 = ir.IntType(16), ir.IntType(32), ir.IntType(64)


def _cpu_features() -> set[str]:
    """What numba compiles for: the host's instructions, or what its settings allow of them."""
    named = config.CPU_FEATURES
    features = codegen.get_host_cpu_features() if named is None else named
    return {feature[1:] for feature in features.split(",") if feature.startswith("+")}


_HAS = _cpu_features()
VNNI = {"avx512f", "avx512bw", "avx512vnni"} <= _HAS
AVX2 = "avx2" in _HAS
NAME = "AVX-512 VNNI" if VNNI else "AVX2" if AVX2 else "128-bit vectors"
LANES = 16 if VNNI else 8 if AVX2 else 4  # of 32 bits in a register
ROWS, VECTORS = (8, 3) if VNNI else (4, 2)  # of a tile: 24 of 32 registers, 8 of 16
COLUMNS = VECTORS * LANES

_SUMS = ir.VectorType(I32, LANES)
_BYTES = ir.VectorType(ir.IntType(8), 4 * LANES)
_WORDS = ir.VectorType(I16, 2 * LANES)


def _call(builder: ir.IRBuilder, name: str, kind: ir.Type, *arguments: ir.Value) -> ir.Value:
    """Call an intrinsic of LLVM."""
    try:
        function = builder.module.get_global(name)
    except KeyError:
        function = ir.Function(
            builder.module, ir.FunctionType(kind, [a.type for a in arguments]), name
        )
    return builder.call(function, arguments)


def _constant(vector: ir.VectorType, value: int) -> ir.Constant:
    return ir.Constant(vector, [value] * vector.count)


def _accumulate(
    b: ir.IRBuilder, name: str, codes: ir.VectorType, total: ir.Value, x: ir.Value, y: ir.Value
) -> ir.Value:
    """total + the products of codes, by an instruction of VNNI.

    Since LLVM 22 it is said to take vectors of codes, before of 32-bit numbers.
    """
    given = codes if llvm_version_info[0] >= 22 else _SUMS
    x, y = b.bitcast(x, given), b.bitcast(y, given)
    return _call(b, f"llvm.x86.avx512.{name}.512", _SUMS, total, x, y)


def _add_byte_products(b: ir.IRBuilder, total: ir.Value, x: ir.Value, y: ir.Value) -> ir.Value:
    """x unsigned, y signed."""
    return _accumulate(b, "vpdpbusd", _BYTES, total, x, y)


def _add_word_products(b: ir.IRBuilder, total: ir.Value, x: ir.Value, y: ir.Value) -> ir.Value:
    if VNNI:
        return _accumulate(b, "vpdpwssd", _WORDS, total, x, y)
    x, y = b.bitcast(x, _WORDS), b.bitcast(y, _WORDS)
    if AVX2:
        return b.add(total, _call(b, "llvm.x86.avx2.pmadd.wd", _SUMS, x, y))
    wide = ir.VectorType(I32, 2 * LANES)
    product = b.mul(b.sext(x, wide), b.sext(y, wide))
    even, odd = (
        b.shuffle_vector(
            product,
            ir.Constant(wide, ir.Undefined),
            ir.Constant(_SUMS, [2 * lane + half for lane in range(LANES)]),
        )
        for half in (0, 1)
    )
    return b.add(total, b.add(even, odd))


def _add_byte_maxima(b: ir.IRBuilder, total: ir.Value, x: ir.Value, y: ir.Value) -> ir.Value:
    """Both unsigned."""
    x, y = b.bitcast(x, _BYTES), b.bitcast(y, _BYTES)
    larger = _call(b, f"llvm.umax.v{4 * LANES}i8", _BYTES, x, y)
    return _add_byte_products(b, total, larger, _constant(_BYTES, 1))


def _add_word_maxima(b: ir.IRBuilder, total: ir.Value, x: ir.Value, y: ir.Value) -> ir.Value:
    """Both at least 0."""
    x, y = b.bitcast(x, _WORDS), b.bitcast(y, _WORDS)
    larger = _call(b, f"llvm.smax.v{2 * LANES}i16", _WORDS, x, y)
    return _add_word_products(b, total, larger, _constant(_WORDS, 1))


def _tile(step: Any, factor: int) -> Any:
    """A function for numba's code: keys of a tile of queries and a panel of points.

    It takes addresses, and K: queries, points, K, point_keys (COLUMNS,), limits (ROWS,) and keys
    (ROWS, COLUMNS), all int32, and below (ROWS,) int64. It writes keys[i, j] = point_keys[j] +
    factor * sum over K, and below[i], whose bit j is set where keys[i, j] < limits[i]; it returns
    whether any bit is.
    """

    def tile(
        typing_context: Any,
        queries: Any,
        points: Any,
        steps: Any,
        point_keys: Any,
        limits: Any,
        keys: Any,
        below: Any,
    ) -> Any:
        def generate(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
            queries, points, steps, point_keys, limits, keys, below = arguments

            def load(address: ir.Value, offset: int, kind: ir.Type) -> ir.Value:
                at = b.inttoptr(b.add(address, I64(offset)), kind.as_pointer())
                return b.load(at, align=4)

            def spread(number: ir.Value) -> ir.Value:
                none = ir.Constant(_SUMS, ir.Undefined)
                first = b.insert_element(none, number, I32(0))
                return b.shuffle_vector(first, none, _constant(_SUMS, 0))

            before = b.block
            loop, after = b.append_basic_block("steps"), b.append_basic_block("after")
            b.branch(loop)
            b.position_at_end(loop)
            done, x_at, y_at = b.phi(I64), b.phi(I64), b.phi(I64)
            sums = [[b.phi(_SUMS) for _ in range(VECTORS)] for _ in range(ROWS)]
            y = [load(y_at, 4 * LANES * j, _SUMS) for j in range(VECTORS)]
            added = []
            for i in range(ROWS):
                x = spread(load(x_at, 4 * i, I32))
                added.append([step(b, sums[i][j], x, y[j]) for j in range(VECTORS)])
            following = b.add(done, I64(1))
            for phi, start, onward in (
                (done, I64(0), following),
                (x_at, queries, b.add(x_at, I64(4 * ROWS))),
                (y_at, points, b.add(y_at, I64(4 * COLUMNS))),
                *(
                    (sums[i][j], _constant(_SUMS, 0), added[i][j])
                    for i in range(ROWS)
                    for j in range(VECTORS)
                ),
            ):
                phi.add_incoming(start, before)
                phi.add_incoming(onward, b.block)
            b.cbranch(b.icmp_signed("<", following, steps), loop, after)

            b.position_at_end(after)
            own = [load(point_keys, 4 * LANES * j, _SUMS) for j in range(VECTORS)]
            hits = I64(0)
            for i in range(ROWS):
                limit, bits = spread(load(limits, 4 * i, I32)), I64(0)
                for j in range(VECTORS):
                    key = b.add(own[j], b.mul(added[i][j], _constant(_SUMS, factor)))
                    at = b.add(keys, I64(4 * (i * COLUMNS + j * LANES)))
                    b.store(key, b.inttoptr(at, _SUMS.as_pointer()), align=4)
                    less = b.bitcast(b.icmp_signed("<", key, limit), ir.IntType(LANES))
                    bits = b.or_(bits, b.shl(b.zext(less, I64), I64(j * LANES)))
                b.store(bits, b.inttoptr(b.add(below, I64(8 * i)), I64.as_pointer()), align=8)
                hits = b.or_(hits, bits)
            return hits

        return types.int64(*[types.intp] * 7), generate

    return intrinsic(tile)


byte_products = _tile(_add_byte_products, -2)
byte_maxima = _tile(_add_byte_maxima, 2)
word_products = _tile(_add_word_products, -2)
word_maxima = _tile(_add_word_maxima, 2)


def _lowest_bit(typing_context: Any, bits: Any) -> Any:
    """Which bit of an int64, not 0, is the lowest that is set."""

    def generate(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        return b.cttz(arguments[0], ir.IntType(1)(1))

    return types.int64(types.int64), generate


lowest_bit = intrinsic(_lowest_bit)
