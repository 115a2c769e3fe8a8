"""Products of rows with rows of the same place, and how exactly a library multiplies matrices."""

from __future__ import annotations

import importlib
import os

import array_api_compat
import numpy as np

from ._place import Array, Namespace, namespace_of
from .kernels import has_cuda_kernels


def row_dots(a: Array, b: Array) -> Array:
    """sum_k a[..., k] b[..., k] of arrays (..., D) of one shape and real floating dtype.

    (...), of that dtype. The `vecdot` of the standard; on CuPy, where array-api-compat copies all
    of `a` for its conjugate and multiplies n pairs of small matrices, one launch.
    """
    xp = namespace_of(a, b)
    if not array_api_compat.is_cupy_namespace(xp):
        return xp.vecdot(a, b)
    if has_cuda_kernels(xp):
        from .kernels.cuda import dots

        if dots.fits(a, b):
            return dots.row_dots(a, b)
    return xp.matmul(a[..., None, :], b[..., None])[..., 0, 0]


def multiplies_in_tf32(xp: Namespace) -> bool:
    """Whether `@` rounds the numbers of float32 matrices to 11 binary digits.

    CuPy does with CUPY_TF32=1 in the environment, or after a call of its set_compute_type, on cards
    that can; there is no public function that tells.
    """
    if not array_api_compat.is_cupy_namespace(xp):
        return False
    try:
        routines = importlib.import_module("cupy._core._routines_linalg")
        return bool(routines.get_compute_type(np.float32) == routines.COMPUTE_TYPE_TF32)
    except (ImportError, AttributeError):
        return os.environ.get("CUPY_TF32", "0") not in ("", "0")
