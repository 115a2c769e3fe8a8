"""What algorithms need and the array API standard lacks.

Each function takes arrays of any supported namespace and returns arrays of the same namespace on
the same device. The only forks by library in the project are here, behind a function.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import array_api_compat
import array_api_extra

from ._memory import lend
from ._place import Array, Device, Namespace, device_of, namespace_of, to_scalar
from .kernels import has_cuda_kernels

LARGE = 2**14  # entries, from which on to lend memory takes less time than to have it cleared
SMALL_INTEGERS = ("bool", "uint8", "int8", "uint16", "int16")  # exact in float32


def smallest_k(x: Array, k: int) -> tuple[Array, Array]:
    """The k smallest entries of each row.

    Parameters
    ----------
    x : array (n_rows, n), real, without NaN
    k : int, 1 <= k <= n

    Returns
    -------
    values : (n_rows, k), ascending; the dtype of `x`
    indices : (n_rows, k), the columns they stand in; equal values are ordered by column, and
        where several columns tie for the last place the lowest is taken.

    Reads the host once, to see whether any row has such a tie, but for a kernel.
    """
    xp = namespace_of(x)
    if x.ndim != 2 or not 1 <= k <= x.shape[1]:
        raise ValueError(f"smallest_k: k is {k}, expected 1 to n for x of shape {x.shape}")
    found = _smallest_by_kernel(x, k)
    if found is not None:
        return found
    # One more than asked for shows whether equal values straddle the cut.
    values, indices = sort_rows_by(*smallest_k_unordered(x, min(k + 1, x.shape[1])))
    straddled = values[:, k - 1] == values[:, values.shape[1] - 1]
    values, indices = values[:, :k], indices[:, :k]
    tied = flatnonzero(straddled) if k < x.shape[1] else indices[:0, 0]
    if tied.shape[0] == 0:
        return values, indices
    rows = xp.take(x, tied, axis=0)  # only these pay for a full, stable sort
    order = xp.argsort(rows, axis=1, stable=True)[:, :k]
    ordered = xp.take_along_axis(rows, order, axis=1)
    return (
        replace_rows(values, tied, ordered),
        replace_rows(indices, tied, xp.astype(order, indices.dtype)),
    )


def replace_rows(x: Array, where: Array, rows: Array) -> Array:
    """A copy of `x` in which row where[i] is rows[i]; `where` ascends, without repeats."""
    xp, device = namespace_of(x, where, rows), device_of(x, where, rows)
    if hasattr(xp, "put"):  # NumPy and CuPy assign by index; the standard does not
        out = xp.asarray(x, copy=True, device=device)
        out[where, ...] = rows
        return out
    if where.shape[0] == 0:
        return xp.asarray(x, copy=True, device=device)
    n = x.shape[0]
    positions = xp.arange(n, dtype=where.dtype, device=device)
    after = xp.searchsorted(where, positions, side="right")  # how many of `where` are <= a row
    last = xp.maximum(after - 1, 0)
    replaced = (after > 0) & (xp.take(where, last, axis=0) == positions)
    source = xp.where(replaced, n + xp.astype(last, where.dtype), positions)
    return xp.take(xp.concat((x, rows), axis=0), source, axis=0)


def smallest_k_unordered(x: Array, k: int, added: Array | None = None) -> tuple[Array, Array]:
    """Some k smallest entries of each row, in any order: `smallest_k` without its tie rule.

    added : (n,) of the dtype of `x`; if it is given, of x + added, which may be written over x.
    Every entry left out is at least as large as every entry returned. Never reads the host.

    A wide row is first cut into groups. The k smallest entries lie in the k groups with the
    smallest minima, so one pass of minima, which is cheap, replaces a selection over the row.
    """
    xp, device = namespace_of(x), device_of(x)
    n = x.shape[1]
    found = _smallest_by_kernel(x, k, added)
    if found is not None:
        return found
    if added is not None:
        x += added
    length = math.isqrt(n // k)  # of a group; about as many groups are kept as entries in each
    if length < 4:
        chosen = _argpartition(x, k)
        return xp.take_along_axis(x, chosen, axis=1), chosen
    n_groups = n // length
    # A group is a column of this view: its entries stand n_groups apart in the row.
    grouped = xp.reshape(x[:, : length * n_groups], (x.shape[0], length, n_groups))
    groups = _argpartition(xp.min(grouped, axis=1), k)
    offsets = xp.arange(0, length * n_groups, n_groups, device=device)
    members = xp.reshape(groups[:, None, :] + offsets[None, :, None], (x.shape[0], length * k))
    if length * n_groups < n:
        rest = xp.arange(length * n_groups, n, device=device)
        rest = xp.broadcast_to(rest[None, :], (x.shape[0], rest.shape[0]))
        members = xp.concat((members, rest), axis=1)
    values = xp.take_along_axis(x, members, axis=1)
    chosen = _argpartition(values, k)
    return (
        xp.take_along_axis(values, chosen, axis=1),
        xp.take_along_axis(members, chosen, axis=1),
    )


def _smallest_by_kernel(
    x: Array, k: int, added: Array | None = None, names: Array | None = None
) -> tuple[Array, Array] | None:
    """What `smallest_k` gives for x, or for x + added, where a kernel does it.

    names : of the shape of x, int64 in 0 .. 2^32 - 1; they take the place of columns.
    """
    if not has_cuda_kernels(namespace_of(x)):
        return None
    from .kernels.cuda.smallest import fits, smallest

    return smallest(x, k, added, names=names) if fits(x, k) else None


def _argpartition(x: Array, k: int) -> Array:
    """Columns of some k smallest entries of each row, in any order."""
    xp = namespace_of(x)
    if k == 1:
        return xp.argmin(x, axis=1, keepdims=True)
    if array_api_compat.is_numpy_namespace(xp) and k < x.shape[1]:
        return xp.argpartition(x, k - 1, axis=1)[:, :k]
    # CuPy's argpartition relies on warps running in lockstep; a sort does not.
    return xp.argsort(x, axis=1, stable=True)[:, :k]


def sort_rows_by(values: Array, indices: Array) -> tuple[Array, Array]:
    """Each row sorted by `values`, and by `indices` among equal values; both (n_rows, k).

    indices : positions, none negative.
    """
    xp = namespace_of(values, indices)
    if indices.dtype == xp.int64:
        found = _smallest_by_kernel(values, values.shape[1], names=indices)
        if found is not None:
            return found
    by_index = xp.argsort(indices, axis=1, stable=True)
    indices = xp.take_along_axis(indices, by_index, axis=1)
    values = xp.take_along_axis(values, by_index, axis=1)
    by_value = xp.argsort(values, axis=1, stable=True)
    return (
        xp.take_along_axis(values, by_value, axis=1),
        xp.take_along_axis(indices, by_value, axis=1),
    )


def flatnonzero(x: Array) -> Array:
    """Positions, in the flattened array, of the entries that are not zero. Waits for the device."""
    xp = namespace_of(x)
    return xp.nonzero(xp.reshape(x, (-1,)))[0]


def bincount(x: Array, weights: Array | None = None, minlength: int = 0) -> Array:
    """How often each of 0, 1, 2, ... stands in `x`, or the sum of its `weights`.

    x : (n,) integers, none negative. weights : (n,) or None.
    Returns (max(minlength, max(x) + 1),): int64, or the dtype of `weights`.
    Reads the largest entry on the host.
    """
    xp, device = namespace_of(x), device_of(x)
    length = minlength
    if x.shape[0]:
        if to_scalar(xp.min(x)) < 0:
            raise ValueError(f"bincount: x holds {to_scalar(xp.min(x))}, expected 0 or more")
        length = max(minlength, int(to_scalar(xp.max(x))) + 1)
    if hasattr(xp, "bincount"):
        counts = xp.bincount(x, weights=weights, minlength=length)
        return counts if weights is None else xp.astype(counts, weights.dtype)
    summed = xp.int64 if weights is None else weights.dtype
    hits = xp.astype(x[:, None] == xp.arange(length, device=device)[None, :], summed)
    # The dtype by name: a sum of small integers would come back as int64.
    return xp.sum(hits if weights is None else hits * weights[:, None], axis=0, dtype=summed)


def gather(x: Array, rows: Array) -> Array:
    """The rows of `x` at these positions (n,), none negative, along its first axis."""
    xp = namespace_of(x, rows)
    if not array_api_compat.is_numpy_namespace(xp):
        return xp.take(x, rows, axis=0)
    shape = (*rows.shape, *x.shape[1:])
    if math.prod(shape) < LARGE:
        return x[rows]  # copies whole rows at once, in half the time of numpy.take
    # "clip", though the rows are there: by default it would fill memory of its own first.
    return xp.take(x, rows, axis=0, out=lend(xp, shape, x.dtype, "cpu"), mode="clip")


def product(x: Array, y: Array) -> Array:
    """x @ y; a large one of two matrices of one dtype, on NumPy, in memory that is used again."""
    if x.ndim == y.ndim == 2 and x.shape[0] * y.shape[1] >= LARGE and x.dtype == y.dtype:
        xp = namespace_of(x, y)
        if array_api_compat.is_numpy_namespace(xp):
            shape = (x.shape[0], y.shape[1])
            return xp.matmul(x, y, out=lend(xp, shape, x.dtype, device_of(x)))
    return x @ y


def sign(x: Array) -> Array:
    """-1, 0 or 1 for each entry; NaN where it is NaN. Never reads the host.

    For CuPy array-api-compat puts NaN in by a mask, for which the host waits; and CuPy before 14.2
    gives 0 for NaN.
    """
    xp = namespace_of(x)
    if not array_api_compat.is_cupy_namespace(xp):
        return xp.sign(x)
    import cupy

    return xp.where(x == x, cupy.sign(x), x)


def add_scaled(target: Array, factor: float, x: Array) -> None:
    """target += factor * x in place, both of one shape and dtype; needs no array of that size."""
    for rows in update_blocks(x):
        part = target[rows, ...]  # a view; `target[rows] += ...` would copy it onto itself as well
        part += factor * x[rows, ...]


def update_blocks(x: Array) -> Iterator[slice]:
    """Blocks of rows for an update entry by entry of something of the shape of x, (n, ...)."""
    bound = 2 * elementwise_block_bytes(namespace_of(x))  # for what is read and what is made
    return row_blocks(x.shape[0], rows_within(bound, 8 * math.prod(x.shape[1:])))


def one_hot(labels: Array, n_classes: int, *, dtype: object) -> Array:
    """Rows of the identity matrix: (n,) integers in 0 .. n_classes-1 to (n, n_classes)."""
    xp = namespace_of(labels)
    return array_api_extra.one_hot(labels, n_classes, dtype=dtype, xp=xp)


def widest_float(xp: Namespace, device: Device) -> object:
    """float64 where the device has it, else float32: for the few places that ask for it."""
    kinds = xp.__array_namespace_info__().dtypes(device=device, kind="real floating")
    return kinds.get("float64", xp.float32)


def is_small_integer(x: Array) -> bool:
    """Whether every value that the dtype of `x` can hold is exact in float32."""
    xp = namespace_of(x)
    return any(x.dtype == getattr(xp, name) for name in SMALL_INTEGERS)


def elementwise_block_bytes(xp: Namespace) -> int:
    """How many bytes a temporary should have that is written once and read once.

    On the host it should stay in a core's own cache; on a GPU it should fill the card, since
    every block is a launch.
    """
    return 2**18 if array_api_compat.is_numpy_namespace(xp) else 2**27


def scratch_bytes(xp: Namespace) -> int:
    """How many bytes an algorithm may take for itself where the caller names no budget."""
    return 2**26 if array_api_compat.is_numpy_namespace(xp) else 2**30


def row_blocks(n_rows: int, size: int) -> Iterator[slice]:
    """Slices that cover range(n_rows), each of at most `size` rows, none past the end."""
    size = max(1, size)
    return (slice(start, min(start + size, n_rows)) for start in range(0, n_rows, size))


def rows_within(n_bytes: int, bytes_per_row: int) -> int:
    """How many rows fit into `n_bytes`; at least one."""
    return max(1, n_bytes // max(1, bytes_per_row))
