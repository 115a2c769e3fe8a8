"""The k smallest entries of each row, in one pass over them: smallest.cu."""

from __future__ import annotations

from xpcls_backends._place import Array, device_of, namespace_of

from ._module import f32, f64, i32, i64, kernel, launch, on_its_card

THREADS = 128
# The kernel for each dtype, and the type of its numbers.
KINDS = {
    "float32": ("smallest_f32", f32),
    "float64": ("smallest_f64", f64),
    "int32": ("smallest_i32", i32),
}
KEPT = (1, 2, 4, 8, 16)  # in each of 32 lanes: what the kernel is compiled for
MOST = 32 * KEPT[-1]
LONGEST = 2**31 - 4 * THREADS  # columns: a block looks AT_ONCE * THREADS ahead, in 32 bits


def fits(x: Array, k: int) -> bool:
    """Whether there is a kernel for such rows."""
    return x.dtype.name in KINDS and k <= MOST and x.shape[1] <= LONGEST


@on_its_card
def smallest(
    x: Array,
    k: int,
    added: Array | None = None,
    scale: int = 1,
    columns: int | None = None,
    names: Array | None = None,
) -> tuple[Array, Array]:
    """Values and columns (n, k) of the smallest scale * x + added of each row, smallest first.

    x (n, m) float32, float64 or int32; added (m,) of its dtype. scale : 1 where nothing is added.
    columns : of x the first so many count, if not all. names (n, m) int64 in 0 .. 2^32 - 1 : what
    is returned, and looked at among equal values, in place of columns.
    Columns are int64, and equal values are ordered by column.
    """
    xp, device = namespace_of(x), device_of(x)
    n, m = x.shape
    if not x.flags.c_contiguous:
        x = xp.ascontiguousarray(x)
    if names is not None:
        names = xp.ascontiguousarray(names)
    values = xp.empty((n, k), dtype=x.dtype, device=device)
    places = xp.empty((n, k), dtype=xp.int64, device=device)
    if n * k == 0:
        return values, places
    kept = next(count for count in KEPT if 32 * count >= k)
    name, number = KINDS[x.dtype.name]
    options = (f"-DKEPT={kept}",) if names is None else (f"-DKEPT={kept}", "-DNAMED=1")
    function = kernel("smallest", name, options)
    counts = (i64(m), i32(m if columns is None else columns), i32(k))
    launch(function, (n,), THREADS, (x, added, number(scale), names, *counts, values, places))
    return values, places
