"""CUDA sources of this folder as functions that can be launched.

CuPy makes arrays, and compiles and launches, on the current card, whatever `device=` says: what
takes arrays here is `on_its_card`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache, wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np

HOME = Path(__file__).parent
OPTIONS = ("-std=c++17",)
INCLUDE = re.compile(r'^#include "(\w+\.cuh)"$', re.MULTILINE)

# What CuPy makes a null pointer of. Of None some of its versions make another address (its issue
# 9046), so `launch` sends this in its place.
NULL = np.uint64(0)

# Of numbers given to kernels, which check nothing.
i32, i64, f32, f64 = np.int32, np.int64, np.float32, np.float64


P = ParamSpec("P")
Found = TypeVar("Found")


def on_its_card(function: Callable[P, Found]) -> Callable[P, Found]:
    """The function with the card of its first array as the current one."""

    @wraps(function)
    def there(*args: P.args, **given: P.kwargs) -> Found:
        first: Any = next(x for x in args if hasattr(x, "device"))
        with first.device:
            return function(*args, **given)

    return there


def source(name: str) -> str:
    """The text of name.cu, with common.cuh before it, and in it the files that it includes."""
    text = (HOME / "common.cuh").read_text() + (HOME / f"{name}.cu").read_text()
    return INCLUDE.sub(lambda found: (HOME / found[1]).read_text(), text)


@cache
def kernel(
    file: str, name: str, options: tuple[str, ...] = (), *, cooperative: bool = False
) -> Any:
    """The kernel `name` of file.cu, compiled with these options; by CuPy once for each card.

    cooperative : all of its blocks run at once, and can wait for each other.
    """
    import cupy

    module = cupy.RawModule(
        code=source(file), options=(*OPTIONS, *options), enable_cooperative_groups=cooperative
    )
    return module.get_function(name)


def launch(
    function: Any, grid: Sequence[int], threads: int, args: Sequence[Any], shared: int = 0
) -> None:
    """Launch on the current card. None is a null pointer. shared : bytes of dynamic memory."""
    sent = tuple(NULL if x is None else x for x in args)
    function(tuple(grid), (threads,), sent, shared_mem=shared)
