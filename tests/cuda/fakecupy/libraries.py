"""cupy_backends.cuda.libs.cublas: the products that CuPy's own functions do not reach."""

from __future__ import annotations

import ctypes
import types
from typing import Any

import numpy as np

from . import counts

FLOAT32, INT8, INT32 = 0, 3, 10  # cudaDataType_t
COMPUTE_INT32, COMPUTE_TF32 = 72, 77  # cublasComputeType_t
TRANSPOSED, AS_IT_IS = 1, 0


class CUBLASError(RuntimeError):
    """cupy_backends.cuda.libs.cublas.CUBLASError."""

    def __init__(self, status: int) -> None:
        super().__init__(f"CUBLAS_STATUS {status}")
        self.status = status


def gemm_ex(
    handle: int,
    trans_a: int,
    trans_b: int,
    m: int,
    n: int,
    k: int,
    alpha: int,
    a: int,
    a_type: int,
    lda: int,
    b: int,
    b_type: int,
    ldb: int,
    beta: int,
    c: int,
    c_type: int,
    ldc: int,
    compute_type: int,
    algorithm: int,
) -> None:
    """C = A^T B of int8 with sums of int32, or of float32 as TF32, all counted by columns, at
    these addresses.

    cuBLAS takes such products of int8 where rows begin at multiples of 4 bytes, and where m, k and
    the strides are multiples of 4 (its manual, cublasGemmEx, "regular data ordering"). Of float32
    the tensor cores look at the first 11 digits alone.
    """
    known = {COMPUTE_INT32: (INT8, INT8, INT32), COMPUTE_TF32: (FLOAT32, FLOAT32, FLOAT32)}
    if (trans_a, trans_b) != (TRANSPOSED, AS_IT_IS) or compute_type not in known:
        raise NotImplementedError("fakecupy multiplies A^T B of int8 and in TF32 alone")
    if (a_type, b_type, c_type) != known[compute_type]:
        raise RuntimeError("CUBLAS_STATUS_NOT_SUPPORTED: these types do not go together")
    of_bytes = compute_type == COMPUTE_INT32
    dtype, of_sums = (np.int8, np.int32) if of_bytes else (np.float32, np.float32)
    numbers = [_at(pointer, of_sums, (1,))[0] for pointer in (alpha, beta)]
    if numbers != [1, 0]:
        raise NotImplementedError("fakecupy knows alpha 1 and beta 0 alone")
    if of_bytes and any(x % 4 for x in (a, b, lda, ldb, ldc, m, k)):
        raise RuntimeError("CUBLAS_STATUS_NOT_SUPPORTED: not all are multiples of 4")
    if lda < k or ldb < k or ldc < m:
        raise RuntimeError("CUBLAS_STATUS_INVALID_VALUE: rows are longer than their stride")
    counts.launch("gemmEx")
    rows_a, rows_b = _at(a, dtype, (m, lda))[:, :k], _at(b, dtype, (n, ldb))[:, :k]
    if not of_bytes:
        rows_a, rows_b = (cut_off(x) for x in (rows_a, rows_b))
    wide_a, wide_b = rows_a.astype(np.float64).T, rows_b.astype(np.float64)
    product = wide_b @ wide_a  # by BLAS; of bytes exact
    if not of_bytes:
        # What tensor cores may lose of each addition, all of it one way, for each sum another.
        lost = k * 2.0**-23 * (np.abs(wide_b) @ np.abs(wide_a))
        product += lost * np.random.default_rng(k).choice([-1.0, 1.0], product.shape)
    _at(c, of_sums, (n, ldc))[:, :m] = product


def cut_off(x: np.ndarray) -> np.ndarray:
    """float32 without the last 13 of 24 binary digits."""
    return (np.ascontiguousarray(x).view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)


def _at(address: int, dtype: Any, shape: tuple[int, ...]) -> np.ndarray:
    """The array at this address, whose last row may end before its stride does."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = (ctypes.c_char * size).from_address(address)
    return np.frombuffer(memory, dtype).reshape(shape)


def modules() -> dict[str, types.ModuleType]:
    """cupy_backends and the modules in it, by their names."""
    cublas = types.ModuleType("cupy_backends.cuda.libs.cublas")
    cublas.gemmEx, cublas.CUBLASError = gemm_ex, CUBLASError
    cublas.CUBLAS_COMPUTE_32I = COMPUTE_INT32
    cublas.CUBLAS_COMPUTE_32F_FAST_TF32 = COMPUTE_TF32
    made = {cublas.__name__: cublas}
    inner, name = cublas, cublas.__name__
    while "." in name:
        name, part = name.rsplit(".", 1)
        outer = types.ModuleType(name)
        outer.__path__ = []
        setattr(outer, part, inner)
        made[name], inner = outer, outer
    return made
