"""Products of bytes with sums of 32 bits, by the card's tensor cores."""

from __future__ import annotations

import numpy as np

from xpcls_backends._place import Array, device_of, namespace_of

from ._module import i32, kernel, launch, on_its_card

THREADS = 256
# The tensor cores read so many codes at once, and cuBLAS wants numbers of rows, too, that are whole
# multiples of 4.
VECTOR = 16

# CUDA's cudaDataType_t, cublasOperation_t and cublasGemmAlgo_t.
INT8, INT32 = 3, 10
AS_IT_IS, TRANSPOSED = 0, 1
ANY_ALGORITHM = -1


@on_its_card
def byte_codes(x: Array) -> tuple[Array, Array]:
    """x - 128 for the rows x (n, D) uint8, and the sums of their squares.

    Returns int8 (n, D), with rows and columns of 0 up to whole multiples of VECTOR, and (n,) int32.
    """
    xp, device = namespace_of(x), device_of(x)
    n, length = x.shape
    rows, width = padded(n), padded(length)
    codes = xp.empty((rows, width), dtype=xp.int8, device=device)
    squares = xp.empty((n,), dtype=xp.int32, device=device)
    if n:
        sizes = (i32(n), i32(rows), i32(length), i32(width))
        args = (xp.ascontiguousarray(x), codes, squares, *sizes)
        launch(kernel("codes", "byte_codes"), (-(-rows // (THREADS // 32)),), THREADS, args)
    return codes, squares


def padded(n: int) -> int:
    """The next whole multiple of VECTOR."""
    return -(-n // VECTOR) * VECTOR


@on_its_card
def overlaps(a: Array, b: Array) -> Array:
    """a b^T, (n_a, n_b) int32, of codes a (n_a, width) and b (n_b, width), as `byte_codes` gives
    them. Exact for widths below 2^17.

    CuPy's `@` of integers is a plain loop, so cuBLAS is asked directly. Where NumPy counts rows it
    counts columns: it is asked for b a^T, which lies in memory as what is wanted.
    """
    import cupy
    from cupy_backends.cuda.libs import cublas

    xp, device = namespace_of(a, b), device_of(a, b)
    n_a, n_b, width = a.shape[0], b.shape[0], a.shape[1]
    out = xp.empty((n_a, n_b), dtype=xp.int32, device=device)
    if out.size == 0:
        return out
    one, zero = np.array(1, np.int32), np.array(0, np.int32)
    with device:
        cublas.gemmEx(
            cupy.cuda.Device().cublas_handle,
            *(TRANSPOSED, AS_IT_IS, n_b, n_a, width),
            one.ctypes.data,
            *(b.data.ptr, INT8, width),
            *(a.data.ptr, INT8, width),
            zero.ctypes.data,
            *(out.data.ptr, INT32, n_b),
            cublas.CUBLAS_COMPUTE_32I,
            ANY_ALGORITHM,
        )
    return out
