"""Means and scatter of rows, a block at a time: no floating copy of a whole data set is made."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from xpcls.progress import advance
from xpcls_backends import (
    Array,
    device_of,
    ignore_overflow,
    is_small_integer,
    namespace_of,
    row_blocks,
    rows_within,
    scratch_bytes,
    to_scalar,
    widest_float,
)

FEW = 1024  # rows at a time: enough for products at full speed
COLUMNS = 1024  # features at a time, for the same reason


def feature_dtype(X: Array) -> Any:
    """What features of X are made of: float32 for float32 and small integers, else float64.

    On a device without float64 always float32.
    """
    xp = namespace_of(X)
    narrow = X.dtype == xp.float32 or is_small_integer(X)
    return xp.float32 if narrow else widest_float(xp, device_of(X))


def blocks_of(rows: Array) -> list[slice]:
    """Blocks of rows (N, D) for which a wide copy, twice, is small."""
    size = rows_within(scratch_bytes(namespace_of(rows)), 32 * rows.shape[1])
    return list(row_blocks(rows.shape[0], min(size, FEW)))


def mean_row(rows: Array) -> Array:
    """The mean of the rows: (D,), in the widest float of the device.

    Differences from the first row are added, so that a feature that never varies has its own
    value as its mean, to the last bit.
    """
    xp, device = namespace_of(rows), device_of(rows)
    first = xp.astype(rows[0, :], widest_float(xp, device))
    total = xp.zeros_like(first)
    with ignore_overflow():
        for some in blocks_of(rows):
            total = total + xp.sum(xp.astype(rows[some, :], first.dtype) - first, axis=0)
    check_finite(total, "sum overflows")
    return first + total / rows.shape[0]


def variances(rows: Array, center: Array) -> Array:
    """The mean square of each feature around `center`: (D,), in the widest float."""
    xp = namespace_of(rows)
    total = xp.zeros_like(center)
    with ignore_overflow():
        for some in blocks_of(rows):
            block = xp.astype(rows[some, :], center.dtype) - center
            total = total + xp.sum(block * block, axis=0)
    check_finite(total, "squares overflow")
    return total / rows.shape[0]


def scatter(task: str, rows: Array, centered: Callable[[slice], Array]) -> Array:
    """Sum over all rows of the outer product of a centred row with itself: (D, D), wide.

    centered : gives the centred rows of a block, in the widest float.
    """
    xp, device = namespace_of(rows), device_of(rows)
    features = rows.shape[1]
    total = xp.zeros((features, features), dtype=widest_float(xp, device), device=device)
    for some in blocks_of(rows):
        block = centered(some)
        with ignore_overflow():
            total += block.mT @ block
        advance(task, some.stop, rows.shape[0])
    check_finite(total, "squares overflow")
    return total


def check_finite(total: Array, what: str) -> None:
    """Raise where a sum over X is not finite. Reads one number on the host."""
    with ignore_overflow():
        zero = to_scalar(namespace_of(total).sum(total * 0.0))
    if not math.isfinite(zero):
        raise ValueError(f"X holds values whose {what} {total.dtype}; scale it to about 1")


def with_fixed_signs(vectors: Array) -> Array:
    """Rows (k, D), each multiplied by 1 or -1, so that its entry of largest magnitude is positive.

    An eigenvector has no sign of its own, and each library gives another one. Of entries that are
    as large but for a thousandth the first counts, or rounding would choose among equal ones.
    """
    xp = namespace_of(vectors)
    sizes = xp.abs(vectors)
    close = sizes >= 0.999 * xp.max(sizes, axis=1, keepdims=True)
    place = xp.argmax(xp.astype(close, xp.int8), axis=1)
    largest = xp.take_along_axis(vectors, place[:, None], axis=1)
    return vectors * xp.where(largest < 0.0, -xp.ones_like(largest), xp.ones_like(largest))


def projected(task: str, rows: Array, center: Array, matrix: Array) -> Array:
    """(rows - center) @ matrix: (N, k), a block at a time, in the `feature_dtype` of the rows."""
    xp, device = namespace_of(rows, matrix), device_of(rows, matrix)
    dtype = feature_dtype(rows)
    center, matrix = (xp.astype(x, dtype, copy=False) for x in (center, matrix))
    out = xp.empty((rows.shape[0], matrix.shape[1]), dtype=dtype, device=device)
    for some in blocks_of(rows):
        out[some, :] = (xp.astype(rows[some, :], dtype) - center) @ matrix
        advance(task, some.stop, rows.shape[0])
    return out
