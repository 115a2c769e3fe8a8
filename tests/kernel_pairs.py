"""Kernels and their plain versions: what tests/test_kernels.py walks.

A pair is a function of xpcls_backends, or of an algorithm above it, that takes either the kernel or
the plain version, and a strategy for its arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st


@dataclass(frozen=True)
class Pair:
    """One function with two ways to its answer.

    call : with arguments as drawn; returns an array or a tuple of arrays.
    kernel : module and name, within xpcls_backends.kernels.cpu, of what `call` must have called.
    arguments : tuples of arguments.
    tolerance : relative to the largest entry; 0.0: equal in every bit.
    """

    name: str
    call: Callable[..., Any]
    kernel: tuple[str, str]
    arguments: st.SearchStrategy[tuple[Any, ...]]
    tolerance: float = 0.0


PAIRS: list[Pair] = []
