"""cupy._core._routines_linalg: how exactly matrices of float32 are multiplied."""

from __future__ import annotations

import types
from typing import Any

import numpy as np

from . import libraries

COMPUTE_TYPE_DEFAULT, COMPUTE_TYPE_TF32 = 1, 7
PRODUCTS = {"matmul", "dot", "inner", "tensordot", "vdot"}  # by cuBLAS

_of_float32 = COMPUTE_TYPE_DEFAULT


def set_compute_type(dtype: Any, compute_type: int) -> None:
    global _of_float32
    if dtype != np.float32 or compute_type not in (COMPUTE_TYPE_DEFAULT, COMPUTE_TYPE_TF32):
        raise NotImplementedError("fakecupy knows TF32 of float32 alone")
    _of_float32 = compute_type


def get_compute_type(dtype: Any) -> int:
    return _of_float32 if dtype == np.float32 else COMPUTE_TYPE_DEFAULT


def as_multiplied(name: str, hosts: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments as a product reads them."""
    if name not in PRODUCTS or _of_float32 != COMPUTE_TYPE_TF32:
        return hosts
    alike = all(x.dtype == np.float32 for x in hosts if isinstance(x, np.ndarray))
    return tuple(libraries.cut_off(x) if isinstance(x, np.ndarray) and alike else x for x in hosts)


def modules() -> dict[str, types.ModuleType]:
    """cupy._core and the module in it, by their names."""
    core = types.ModuleType("cupy._core")
    core.__path__ = []
    routines = types.ModuleType("cupy._core._routines_linalg")
    routines.__dict__.update(
        COMPUTE_TYPE_DEFAULT=COMPUTE_TYPE_DEFAULT,
        COMPUTE_TYPE_TF32=COMPUTE_TYPE_TF32,
        get_compute_type=get_compute_type,
        set_compute_type=set_compute_type,
    )
    core._routines_linalg = routines
    return {module.__name__: module for module in (core, routines)}
