"""Products of rows by the card's tensor cores: bytes with sums of 32 bits, and TF32.

TF32 is float32 with 11 binary digits in place of 24. The product of two such numbers is exact in
float32, and sums are float32, though rounded as the card likes.
"""

from __future__ import annotations

import numpy as np

from xpcls_backends._place import Array, device_of, namespace_of

from ._module import i32, kernel, launch, on_its_card

THREADS = 256
# The tensor cores read so many codes at once, and cuBLAS wants numbers of rows, too, that are whole
# multiples of 4.
VECTOR = 16

# CUDA's cudaDataType_t, cublasOperation_t, cublasGemmAlgo_t and cublasStatus_t.
FLOAT32, INT8, INT32 = 0, 3, 10
AS_IT_IS, TRANSPOSED = 0, 1
ANY_ALGORITHM = -1
NOT_INITIALIZED, ALLOC_FAILED = 1, 3


@on_its_card
def byte_codes(x: Array) -> tuple[Array, Array]:
    """x - 128 for the rows x (n, D) uint8, and the sums of their squares.

    Returns int8 (n, D), with rows and columns of 0 up to whole multiples of VECTOR, and (n,) int32.
    """
    xp = namespace_of(x)
    x = xp.ascontiguousarray(x)
    words = i32(x.shape[1] % 4 == 0 and x.data.ptr % 4 == 0)
    return _codes("byte_codes", x, (), (words,), xp.int8, xp.int32)


@on_its_card
def float_codes(x: Array, centre: Array) -> tuple[Array, Array]:
    """x - centre for the rows x (n, D) float32, in TF32, and the sums of their squares.

    centre (D,) float32. Each code is off by at most 2^-11 (1 + 2^-12) of itself, or by 2^-126.
    Returns float32 (n, D), with rows and columns of 0 up to whole multiples of VECTOR, and float64
    (n,), sums of the squares of x - centre as it is.
    """
    xp = namespace_of(x)
    x, centre = xp.ascontiguousarray(x), xp.ascontiguousarray(centre)
    return _codes("float_codes", x, (centre,), (), xp.float32, xp.float64)


def _codes(
    name: str,
    x: Array,
    arrays: tuple[Array, ...],
    numbers: tuple[object, ...],
    dtype: object,
    of_squares: object,
) -> tuple[Array, Array]:
    xp, device = namespace_of(x), device_of(x)
    n, length = x.shape
    rows, width = padded(n), padded(length)
    codes = xp.empty((rows, width), dtype=dtype, device=device)
    squares = xp.empty((n,), dtype=of_squares, device=device)
    if n:
        sizes = (i32(n), i32(rows), i32(length), i32(width))
        args = (x, *arrays, codes, squares, *sizes, *numbers)
        launch(kernel("codes", name), (-(-rows // (THREADS // 32)),), THREADS, args)
    return codes, squares


def padded(n: int) -> int:
    """The next whole multiple of VECTOR."""
    return -(-n // VECTOR) * VECTOR


@on_its_card
def overlaps(a: Array, b: Array) -> Array:
    """a b^T, (n_a, n_b), of codes a (n_a, width) and b (n_b, width) as the functions above give
    them. int32 of bytes, exact for widths below 2^17; float32 of floats.

    CuPy's `@` of integers is a plain loop, and of floats knows TF32 for all or none, so cuBLAS is
    asked directly. Where NumPy counts rows it counts columns: it is asked for b a^T, which lies in
    memory as what is wanted. Raises MemoryError where it has none for itself.
    """
    import cupy
    from cupy_backends.cuda.libs import cublas

    xp, device = namespace_of(a, b), device_of(a, b)
    n_a, n_b, width = a.shape[0], b.shape[0], a.shape[1]
    of_bytes = a.dtype == xp.int8
    dtype = np.dtype("int32" if of_bytes else "float32")
    out = xp.empty((n_a, n_b), dtype=dtype, device=device)
    if out.size == 0:
        return out
    one, zero = np.array(1, dtype), np.array(0, dtype)
    kind, of_sums = (INT8, INT32) if of_bytes else (FLOAT32, FLOAT32)
    try:
        cublas.gemmEx(
            cupy.cuda.Device().cublas_handle,
            *(TRANSPOSED, AS_IT_IS, n_b, n_a, width),
            one.ctypes.data,
            *(b.data.ptr, kind, width),
            *(a.data.ptr, kind, width),
            zero.ctypes.data,
            *(out.data.ptr, of_sums, n_b),
            cublas.CUBLAS_COMPUTE_32I if of_bytes else cublas.CUBLAS_COMPUTE_32F_FAST_TF32,
            ANY_ALGORITHM,
        )
    except cublas.CUBLASError as error:
        # Its memory is not from CuPy's pool, which may hold all that there is. Where none is left
        # for a handle, it says either of the two.
        if error.status not in (NOT_INITIALIZED, ALLOC_FAILED):
            raise
        raise MemoryError("cuBLAS found no memory for itself") from error
    return out
