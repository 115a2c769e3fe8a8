"""Data as users hand it in: arrays of any backend, lists, data frames; rows taken in place."""

from __future__ import annotations

from numbers import Real
from typing import Any

from xpcls.options import shown
from xpcls.validation import HOST_KINDS, check_same_place
from xpcls_backends import Array, as_array, gather, is_array, like, namespace_of, to_host


def rows_and_labels(X: Any, y: Any, names: tuple[str, str] = ("X", "y")) -> tuple[Any, Any]:
    """(X, y): X an array (N, ...) or a data frame, y an array (N,), NumPy's where it is text.

    Nothing moves to another device. What each of them holds is left to the estimators to check.
    """
    X = X if hasattr(X, "iloc") else as_array(X, names[0])
    y = y if is_array(y) and getattr(y.dtype, "kind", "-") not in HOST_KINDS else to_host(y)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if X.ndim < 1 or not X.shape[0]:
        raise ValueError(f"{names[0]} has shape {tuple(X.shape)}, expected at least one row")
    if y.ndim != 1 or y.shape[0] != X.shape[0]:
        raise ValueError(
            f"{names[1]} has shape {tuple(y.shape)}, expected ({X.shape[0]},), one label a row of "
            f"{names[0]}"
        )
    return X, y


def taken(x: Any, rows: Array) -> Any:
    """The rows of an array or a data frame at these positions, an array on the host."""
    return x.iloc[rows] if hasattr(x, "iloc") else gather(x, like(rows, x))


def check_joinable(a: Any, b: Any, names: tuple[str, str]) -> None:
    """Raise, by their names, unless the rows of `a` and of `b` can stand in one array."""
    if hasattr(a, "iloc") or hasattr(b, "iloc"):
        raise TypeError(
            f"{names[0]} and {names[1]} are data frames, which only their library can join; join "
            "them there and pass cv=[(training rows, validation rows)]"
        )
    same_kind = label_kind(a) == label_kind(b) if a.ndim == 1 else a.dtype == b.dtype
    if a.shape[1:] != b.shape[1:] or not same_kind:
        raise ValueError(
            f"{names[1]} holds {b.dtype} of shape {tuple(b.shape)}, but {names[0]} holds "
            f"{a.dtype} of shape {tuple(a.shape)}; expected rows that go together: convert one"
        )
    check_same_place(b, a, names[1], names[0])


def check_none_missing(name: str, host: Any) -> None:
    """Raise for None, NaN and their like in a column (n,): they are equal to nothing."""
    if host.dtype.kind == "O":
        missing = [shown(value) for value in host.tolist() if _is_missing(value)]
    else:
        missing = ["NaN"] * (host.dtype.kind in "fcmM" and bool((host != host).any()))
    if missing:
        otherwise = "give each a group of its own" if name == "groups" else "fill them"
        raise ValueError(f"{name} holds {missing[0]}; leave those rows out, or {otherwise}")


def _is_missing(value: Any) -> bool:
    kind = type(value).__name__  # pandas' NA is neither equal nor unequal to itself
    nan = isinstance(value, Real) and value != value
    return value is None or kind in ("NAType", "NaTType") or nan


def joined(a: Any, b: Any) -> Any:
    """One array with the rows of `a` and then those of `b`."""
    return namespace_of(a, b).concat((a, b), axis=0)


def label_kind(y: Any) -> str:
    """What labels (n,) are: "text", "objects", "bool", "integral" or "real floating"."""
    if getattr(y.dtype, "kind", "-") in HOST_KINDS:
        text = y.dtype.kind != "O" or isinstance(y.tolist()[0], str | bytes)
        return "text" if text else "objects"
    xp = namespace_of(y)
    kinds = ("bool", "integral", "real floating")
    return next((kind for kind in kinds if xp.isdtype(y.dtype, kind)), str(y.dtype))
