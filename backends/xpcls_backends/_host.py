"""The host's side of the door: turning what users hand in into arrays, and labels into codes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._place import Array, is_array

HostArray = np.ndarray[Any, Any]


def as_array(x: Any, name: str) -> Array:
    """`x` as an array: itself where it is one, else NumPy's, from a list, a data frame and such.

    Text and objects become float64 where they hold numbers. Raises TypeError or ValueError, with
    `name`, for sparse matrices and for what holds no numbers.
    """
    if hasattr(x, "tocsr") or hasattr(x, "tocoo"):
        raise TypeError(
            f"{name} is sparse, but dense data is required; use {name}.toarray() "
            "to convert it to a dense array"
        )
    if not is_array(x):
        x = x.to_numpy() if hasattr(x, "to_numpy") else _asarray(x, name)
    if isinstance(x, np.ndarray):
        if isinstance(x, np.ma.MaskedArray):
            raise TypeError(f"{name} is a masked array; fill its gaps with {name}.filled(value)")
        if x.dtype.kind in "OUSV":
            x = _numbers(x, name)
        elif x.dtype.kind in "mM":
            raise TypeError(f"{name} has dtype {x.dtype}, expected numbers")
        elif not x.dtype.isnative:
            x = x.astype(x.dtype.newbyteorder("="))
        elif x.dtype == np.float16:
            x = x.astype(np.float32)  # no dtype of the standard; every value is kept
        elif x.dtype == np.longdouble and np.longdouble != np.float64:
            x = x.astype(np.float64)
    return x


def _asarray(x: Any, name: str) -> HostArray:
    try:
        return np.asarray(x)
    except ValueError as error:  # rows of several lengths
        raise ValueError(f"{name} cannot be made an array: {error}") from None


def _numbers(x: HostArray, name: str) -> HostArray:
    try:
        return x.astype(np.float64)
    except TypeError as error:
        raise TypeError(f"{name}: argument must be a string or a number: {error}") from None
    except ValueError as error:
        raise ValueError(f"{name} holds something that is no number: {error}") from None


def column_names(x: Any) -> HostArray | None:
    """The names of a data frame's columns as an array of objects, or None."""
    columns = getattr(x, "columns", None)
    if columns is None:
        return None
    columns = list(columns)
    if all(isinstance(c, str) for c in columns):
        return np.asarray(columns, dtype=object)
    if any(isinstance(c, str) for c in columns):
        raise TypeError(
            "Feature names are only supported if all input features have string names, "
            "but X has column names of mixed types; convert them with X.columns.astype(str)"
        )
    return None


def object_array(values: list[Any]) -> HostArray:
    """`values` as an array (N,) of Python objects, as they are."""
    return np.asarray(values, dtype=object)


def label_codes(y: HostArray) -> tuple[HostArray, HostArray]:
    """The distinct labels, sorted, and for each entry of `y` (N,) its position among them, int64.

    Labels are few: they are compared on the host, whichever device the rows are on.
    """
    classes, codes = np.unique(y, return_inverse=True)
    return classes, codes.astype(np.int64, copy=False)
