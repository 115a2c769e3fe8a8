"""cupy_backends.cuda.libs.cublas: the one product that CuPy's own functions do not reach."""

from __future__ import annotations

import ctypes
import types
from typing import Any

import numpy as np

from . import counts

INT8, INT32, COMPUTE_INT32 = 3, 10, 72  # cudaDataType_t, cublasComputeType_t
TRANSPOSED, AS_IT_IS = 1, 0


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
    """C = A^T B of int8 with sums of int32, all counted by columns, at these addresses.

    cuBLAS takes such products where rows begin at multiples of 4 bytes, and where m, k and the
    strides are multiples of 4 (its manual, cublasGemmEx, "regular data ordering").
    """
    if (trans_a, trans_b, a_type, b_type, c_type) != (TRANSPOSED, AS_IT_IS, INT8, INT8, INT32):
        raise NotImplementedError("fakecupy multiplies A^T B of int8 alone")
    numbers = [_at(pointer, np.int32, (1,))[0] for pointer in (alpha, beta)]
    if compute_type != COMPUTE_INT32 or numbers != [1, 0]:
        raise NotImplementedError("fakecupy knows alpha 1, beta 0 and sums of int32 alone")
    if any(x % 4 for x in (a, b, lda, ldb, ldc, m, k)) or lda < k or ldb < k or ldc < m:
        raise RuntimeError("CUBLAS_STATUS_NOT_SUPPORTED: not all are multiples of 4")
    counts.launch("gemmEx")
    rows_a, rows_b = _at(a, np.int8, (m, lda))[:, :k], _at(b, np.int8, (n, ldb))[:, :k]
    product = rows_b.astype(np.float64) @ rows_a.astype(np.float64).T  # exact, and by BLAS
    _at(c, np.int32, (n, ldc))[:, :m] = product


def _at(address: int, dtype: Any, shape: tuple[int, ...]) -> np.ndarray:
    """The array at this address, whose last row may end before its stride does."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = (ctypes.c_char * size).from_address(address)
    return np.frombuffer(memory, dtype).reshape(shape)


def modules() -> dict[str, types.ModuleType]:
    """cupy_backends and the modules in it, by their names."""
    cublas = types.ModuleType("cupy_backends.cuda.libs.cublas")
    cublas.gemmEx = gemm_ex
    cublas.CUBLAS_COMPUTE_32I = COMPUTE_INT32
    made = {cublas.__name__: cublas}
    inner, name = cublas, cublas.__name__
    while "." in name:
        name, part = name.rsplit(".", 1)
        outer = types.ModuleType(name)
        outer.__path__ = []
        setattr(outer, part, inner)
        made[name], inner = outer, outer
    return made
