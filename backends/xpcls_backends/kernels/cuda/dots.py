"""Dot products of rows with rows of the same place, one launch: dots.cu."""

from __future__ import annotations

import math

from xpcls_backends._place import Array, device_of, namespace_of

from ._module import i32, kernel, launch, on_its_card

THREADS = 256
LONGEST = 2**30  # features; their numbers have 32 bits
NUMBERS = {"float32": "float", "float64": "double"}


def fits(a: Array, b: Array) -> bool:
    """Whether there is a kernel for them."""
    xp = namespace_of(a, b)
    numbers = a.dtype == b.dtype and a.dtype in [getattr(xp, name) for name in NUMBERS]
    alike = a.shape == b.shape and a.ndim > 0 and a.shape[-1] <= LONGEST
    return bool(numbers and alike and math.prod(a.shape[:-1]) < 2**31)


@on_its_card
def row_dots(a: Array, b: Array) -> Array:
    """`row_dots` of xpcls_backends, where it `fits`. Summed up in one order."""
    xp, device = namespace_of(a, b), device_of(a, b)
    out = xp.empty(a.shape[:-1], dtype=a.dtype, device=device)
    if out.size == 0:
        return out
    name = next(name for name in NUMBERS if a.dtype == getattr(xp, name))
    function = kernel("dots", "row_dots", (f"-DNUMBER={NUMBERS[name]}",))
    a, b = (xp.ascontiguousarray(x) for x in (a, b))
    args = (a, b, out, i32(out.size), i32(a.shape[-1]))
    launch(function, (-(-out.size // (THREADS // 32)),), THREADS, args)
    return out
