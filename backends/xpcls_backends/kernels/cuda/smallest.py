"""The k smallest entries of each row, in one pass over them: smallest.cu."""

from __future__ import annotations

from xpcls_backends._place import Array, device_of, namespace_of

from ._module import f32, i32, i64, kernel, launch

THREADS = 128
KEPT = (1, 2, 4, 8, 16)  # in each of 32 lanes: what the kernel is compiled for
MOST = 32 * KEPT[-1]
LONGEST = 2**31 - THREADS  # columns


def fits(x: Array, k: int) -> bool:
    """Whether there is a kernel for such rows."""
    xp = namespace_of(x)
    return x.dtype in (xp.float32, xp.int32) and k <= MOST and x.shape[1] <= LONGEST


def smallest(x: Array, k: int, added: Array | None = None, scale: int = 1) -> tuple[Array, Array]:
    """Values and columns (n, k) of the smallest scale * x + added of each row, smallest first.

    x (n, m) float32 or int32; added (m,) of its dtype. scale : 1 where nothing is added.
    Columns are int64, and equal values are ordered by column.
    """
    xp, device = namespace_of(x), device_of(x)
    n, m = x.shape
    if not x.flags.c_contiguous:
        x = xp.ascontiguousarray(x)
    values = xp.empty((n, k), dtype=x.dtype, device=device)
    columns = xp.empty((n, k), dtype=xp.int64, device=device)
    if n == 0:
        return values, columns
    kept = next(count for count in KEPT if 32 * count >= k)
    name, number = ("smallest_f32", f32) if x.dtype == xp.float32 else ("smallest_i32", i32)
    function = kernel("smallest", name, (f"-DKEPT={kept}",))
    args = (x, added, number(scale), i64(m), i32(m), i32(k), values, columns)
    launch(function, (n,), THREADS, args)
    return values, columns
