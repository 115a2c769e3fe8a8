"""What threads need that go through a kernel side by side, and what fetches memory early.

Numbers that one thread writes for others to read need care: the processor, and the compiler, may
move what stands around them. `publish` and `published` do not let it.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ._compile import compiled

APART = 16  # int64 between the numbers of two threads, so that each has its lines of the cache
PATIENCE = 2**20  # looks at the others, less than a millisecond, before a thread gives way
LINE = 64  # bytes


def _place(context: Any, b: ir.IRBuilder, kind: Any, array: Any, index: Any) -> ir.Value:
    fields = context.make_array(kind)(context, b, array)
    return cgutils.get_item_pointer(context, b, kind, fields, [index])


def _publish(typing_context: Any, places: Any, index: Any, value: Any) -> Any:
    """places[index] = value, int64; whoever reads it sees all that was written before."""

    def generate(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        at = _place(context, b, signature.args[0], *arguments[:2])
        b.store_atomic(arguments[2], at, "release", 8)
        return context.get_dummy_value()

    return types.void(places, types.intp, types.int64), generate


def _published(typing_context: Any, places: Any, index: Any) -> Any:
    """places[index], int64; what is read after it is at least as new."""

    def generate(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        return b.load_atomic(_place(context, b, signature.args[0], *arguments), "acquire", 8)

    return types.int64(places, types.intp), generate


def _fetch(typing_context: Any, array: Any, index: Any) -> Any:
    """Ask for the line of array[index], one-dimensional, without waiting for it."""

    def generate(context: Any, b: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        at = b.bitcast(_place(context, b, signature.args[0], *arguments), byte)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        function = cgutils.get_or_insert_function(b.module, kind, "llvm.prefetch.p0i8")
        b.call(function, [at, number(0), number(2), number(1)])  # to read; into the second cache
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


publish = intrinsic(_publish)
published = intrinsic(_published)
fetch = intrinsic(_fetch)


@compiled()
def all_have_reached(stage: Any, reached: Any, team: Any) -> bool:
    """Whether all threads of the team have published `stage` or more; waits for them a while."""
    for thread in range(team):
        for _ in range(PATIENCE):
            if published(reached, thread * APART) >= stage:
                break
        else:
            return False
    return True
