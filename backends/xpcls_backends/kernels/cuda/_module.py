"""CUDA sources of this folder as functions that can be launched."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from xpcls_backends._place import Array

HOME = Path(__file__).parent
OPTIONS = ("-std=c++17",)
INCLUDE = re.compile(r'^#include "(\w+\.cuh)"$', re.MULTILINE)

i32, i64, f32 = np.int32, np.int64, np.float32  # of numbers given to kernels, which check nothing


def source(name: str) -> str:
    """The text of name.cu, with common.cuh before it, and in it the files that it includes."""
    text = (HOME / "common.cuh").read_text() + (HOME / f"{name}.cu").read_text()
    return INCLUDE.sub(lambda found: (HOME / found[1]).read_text(), text)


@cache
def kernel(
    file: str, name: str, options: tuple[str, ...] = (), *, cooperative: bool = False
) -> Any:
    """The kernel `name` of file.cu, compiled with these options when it is first launched.

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
    """Launch on the card of the first argument, an array. shared : bytes of dynamic memory."""
    first: Array = args[0]
    with first.device:
        function(tuple(grid), (threads,), tuple(args), shared_mem=shared)
