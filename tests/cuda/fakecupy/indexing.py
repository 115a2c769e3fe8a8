"""Reading and writing by index, with CuPy's costs and what CuPy leaves undefined as errors."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import costs, counts


def read_at(x: np.ndarray, key: Any) -> np.ndarray:
    """x[key]: a view, unless an array of positions or a mask is in `key`."""
    key, arrays = host_key(key)
    if not arrays:
        return x[_with_ellipsis(key)]
    found = np.array(x[key])  # an integer array of no axes reads a copy too
    masks = [a for a in arrays if a.dtype == bool]
    if len(arrays) == 1 and masks:
        counts.hidden_read("mask")  # _prepare_mask_indexing_single: n_true = int(mask_scanned[-1])
        counts.launch("x[mask]", _mask_launches(x, masks[0]) + 1)
    elif len(arrays) == 1:
        counts.launch("x[positions]")
    else:
        _many(masks, len(arrays))
    return found


def write_at(x: np.ndarray, key: Any, value: Any, unwrapped: Any) -> None:
    """x[key] = value; `unwrapped` is the value on the host."""
    key, arrays = host_key(key)
    on_device = unwrapped is not value  # the value came in an array of the device
    if not arrays:
        if not on_device and np.ndim(value):
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        part = x[_with_ellipsis(key)]
        if on_device and _same(part, unwrapped):
            return  # x[key] += y ends with this
        part[...] = unwrapped
        if part.size:
            counts.launch("x[...] =")
        return
    if not on_device:  # core.array(value): a kernel fills one number, more are uploaded
        (counts.upload if np.ndim(value) else counts.launch)("x[positions] = value")
    masks = [a for a in arrays if a.dtype == bool]
    if len(arrays) == 1 and masks:
        counts.hidden_read("mask")  # here too, for the shape to which the value is broadcast
        counts.launch("x[mask] =", _mask_launches(x, masks[0]) + 1)
    elif len(arrays) == 1:
        counts.launch("x[positions] =")
    else:
        _many(masks, len(arrays))
    if len(arrays) > len(masks):
        refuse_repeats(np.arange(x.size).reshape(x.shape)[key])
    x[key] = unwrapped


def refuse_out_of_bounds(positions: np.ndarray, n: int) -> None:
    """CuPy wraps them."""
    if positions.size and not (-n <= positions.min() and positions.max() < n):
        raise IndexError(f"positions outside of {n} entries, which CuPy wraps around silently")


def refuse_repeats(places: np.ndarray) -> None:
    """CuPy writes in any order."""
    if len(np.unique(places)) != places.size:
        raise RuntimeError(
            "an assignment names one place twice; on a GPU any of the values may win"
        )


def host_key(key: Any) -> tuple[Any, list[np.ndarray]]:
    """The key for NumPy, and the arrays in it. Lists and NumPy arrays in it are uploaded."""
    arrays = []
    parts = key if isinstance(key, tuple) else (key,)
    found = []
    for part in parts:
        if part is None or part is Ellipsis or isinstance(part, slice):
            found.append(part)
            continue
        host = getattr(part, "_host", part)
        if host is part and np.isscalar(part) and not isinstance(part, bool | np.bool_):
            found.append(part)
            continue
        if host is part:
            counts.upload("index")
            host = np.asarray(part)
            host = host.astype(np.int32) if host.size == 0 and host.dtype.kind == "f" else host
        arrays.append(host)
        found.append(host)
    return tuple(found), arrays


def _with_ellipsis(key: tuple[Any, ...]) -> tuple[Any, ...]:
    """NumPy gives a scalar for a full index; with an ellipsis, a view without axes."""
    return key if any(part is Ellipsis for part in key) else (*key, Ellipsis)


def _same(x: np.ndarray, y: np.ndarray) -> bool:
    """Whether y is x, entry by entry in the same place (_routines_indexing.pyx: _scatter_op)."""
    return x.ctypes.data == y.ctypes.data and (x.shape, x.strides) == (y.shape, y.strides)


def _mask_launches(x: np.ndarray, mask: np.ndarray) -> int:
    """Where a mask is narrower than the array, it is broadcast, copied and scanned anew."""
    return costs.scan(mask.size) + (0 if mask.ndim == x.ndim else 1 + costs.scan(x.size))


def _many(masks: list[np.ndarray], n: int) -> None:
    for mask in masks:
        counts.hidden_read("mask among positions")
        counts.launch("mask among positions", costs.nonzero(mask))
    counts.launch("x[positions, positions]", n + 2)  # _prepare_multiple_array_indexing, _take
