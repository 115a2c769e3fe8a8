"""A step of one parameter in one launch: updates.cu."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpcls_backends._place import Array, device_of, namespace_of

from ._module import kernel, launch, on_its_card

THREADS = 256
MOST = 2**31 - THREADS  # entries
NUMBERS = {"float32": ("float", np.float32), "float64": ("double", np.float64)}


def fits(p: Array, g: Array, kept: tuple[Array, ...]) -> bool:
    """Whether there is a kernel for them."""
    xp = namespace_of(p, g)
    same = all(x.dtype == p.dtype for x in (g, *kept))
    return same and p.dtype in [getattr(xp, name) for name in NUMBERS] and 0 < p.size <= MOST


@on_its_card
def moved(
    rule: Any, p: Array, g: Array, kept: tuple[Array, ...], rate: float, pull: float
) -> tuple[Array, tuple[Array, ...]]:
    """The next value of p, and of what is kept for it, as `xpcls_backends.moved` says it."""
    xp, device = namespace_of(p, g), device_of(p, g)
    shape = p.shape
    p, g, *kept_ = (xp.ascontiguousarray(x) for x in (p, g, *kept))
    new = [xp.empty(p.shape, dtype=p.dtype, device=device) for _ in kept_]
    dtype = next(name for name in NUMBERS if p.dtype == getattr(xp, name))
    word, number = NUMBERS[dtype]
    absent = [None] * (2 - len(kept_))
    args = (p, g, *kept_, *absent, g, *new, *absent, np.uint32(p.size))
    numbers = (
        *(rate, pull, rule.decay, rule.own, rule.of_gradient, rule.of_mean),
        *(rule.decay2, rule.own2, rule.correction, rule.epsilon),
    )
    function = kernel("updates", "moved", (f"-DNUMBER={word}",))
    grid = (-(-p.size // THREADS),)
    launch(function, grid, THREADS, (*args, *(number(x) for x in numbers)))
    return xp.reshape(g, shape), tuple(xp.reshape(x, shape) for x in new)  # CuPy made (1,) of ()
