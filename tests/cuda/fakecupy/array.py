"""cupy.ndarray: a NumPy array that is reached through CuPy's names alone."""

from __future__ import annotations

import contextlib
import functools
import inspect
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from . import costs, counts, driver, indexing, precision, streams

SUPPORTED = "?bhilqBHILQefdFD"  # cupy/_core/_dtype.pyx: all_type_chars
WARNED = {"mean", "var", "std", "nanmean", "nanvar", "nanstd"}  # NumPy warns of empty slices


class ndarray:
    """An array of the stand-in; see `__init__.py`."""

    __slots__ = ("__weakref__", "_host", "_made")
    __array_ufunc__ = None  # NumPy's operators step back
    __array_priority__ = 100
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, shape: Any, dtype: Any = float, order: str = "C") -> None:
        self._host = unset(shape, dtype, order)
        self._made = streams.now()
        counts.hold(self._host)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. "
            "Please use `.get()` to construct a NumPy array explicitly."
        )

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        raise TypeError(f"numpy.{func.__name__} was called with an array of CuPy")

    # What it is

    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    dtype = property(lambda self: self._host.dtype)
    itemsize = property(lambda self: self._host.itemsize)
    nbytes = property(lambda self: self._host.nbytes)
    strides = property(lambda self: self._host.strides)
    device = property(lambda self: driver.Device(0))
    data = property(lambda self: driver.MemoryPointer(self._host))
    flags = property(lambda self: driver.Flags(self._host))
    T = property(lambda self: wrap(self._host.T))
    mT = property(lambda self: wrap(self._host.mT))
    real = property(lambda self: wrap(self._host.real))
    imag = property(lambda self: wrap(self._host.imag))

    @property
    def shape(self) -> tuple[int, ...]:
        return self._host.shape

    @shape.setter
    def shape(self, shape: Any) -> None:
        view = self._host.view()
        view.shape = shape  # refuses where it would copy
        self._host = view

    def __len__(self) -> int:
        return len(self._host)

    def __iter__(self) -> Iterator[ndarray]:
        if self.ndim == 0:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(self.shape[0]))

    # What leaves the device

    def get(
        self, stream: Any = None, order: str = "C", out: Any = None, blocking: bool = True
    ) -> Any:
        counts.read("get()")
        if out is None:
            return np.array(self._host, order=order, copy=True)
        out[...] = self._host
        return out

    def _read(self, name: str) -> Any:
        counts.hidden_read(name)
        return self._host

    def item(self) -> Any:
        return self._read("item()").item()

    def tolist(self) -> Any:
        return self._read("tolist()").tolist()

    def tobytes(self, order: str = "C") -> bytes:
        return self.get().tobytes(order)

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ValueError("the truth value of an array of more or less than one is ambiguous")
        return bool(self._read("bool()"))

    def __int__(self) -> int:
        return int(self._read("int()"))

    def __float__(self) -> float:
        return float(self._read("float()"))

    def __complex__(self) -> complex:
        return complex(self._read("complex()"))

    def __repr__(self) -> str:
        return repr(self.get())

    def __str__(self) -> str:
        return str(self.get())

    def __format__(self, spec: str) -> str:
        return format(self.get(), spec)

    def __reduce__(self) -> Any:
        return _unpickled, (self.get(order="A"),)

    # What comes to it

    def set(self, arr: Any, stream: Any = None) -> None:
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if self.dtype != arr.dtype:
            raise TypeError(f"{arr.dtype} array cannot be set to {self.dtype} array")
        if self.shape != arr.shape:
            raise ValueError(f"Shape mismatch. Old shape: {self.shape}, new shape: {arr.shape}")
        if not self._host.flags.forc:
            raise RuntimeError("Cannot set to non-contiguous array")
        streams.copy_from_host(self, arr, stream)

    # Copies and casts

    def __copy__(self) -> ndarray:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> ndarray:
        return self.copy()

    def copy(self, order: str = "C") -> ndarray:
        counts.launch("copy")
        return wrap(self._host.copy(order))

    def astype(
        self,
        dtype: Any,
        order: str = "K",
        casting: Any = None,
        subok: Any = None,
        copy: bool = True,
    ) -> ndarray:
        if casting is not None or subok is not None:
            raise TypeError("casting is not supported yet" if subok is None else "subok is not")
        dtype = supported(dtype)
        flags = self._host.flags
        as_wanted = {"K": True, "A": flags.forc, "C": flags.c_contiguous, "F": flags.f_contiguous}
        if not copy and dtype == self.dtype and as_wanted[order or "K"]:
            return self
        if self.size:
            counts.launch("astype")
        return wrap(cast(self._host, dtype, order or "K"))

    def view(self, dtype: Any = None, type: Any = None) -> ndarray:
        return wrap(self._host.view() if dtype is None else self._host.view(dtype))

    def fill(self, value: Any) -> None:
        counts.launch("fill")
        self._host.fill(unwrap(value, "fill"))

    def sort(self, axis: int = -1, kind: Any = None) -> None:
        check_kind(kind)
        if not self._host.flags.c_contiguous:
            raise NotImplementedError("Sorting non-contiguous array is not supported.")
        counts.launch("sort", costs.COSTS["sort"])
        self._host.sort(axis, kind="stable")

    def __getitem__(self, key: Any) -> ndarray:
        return wrap(indexing.read_at(self._host, key))

    def __setitem__(self, key: Any, value: Any) -> None:
        host = value._host if isinstance(value, ndarray) else value
        indexing.write_at(self._host, key, value, host)


# Between the two worlds


def wrap(x: Any) -> Any:
    """What NumPy returned, as CuPy would: no scalar, no plain number of an array's entries."""
    if isinstance(x, np.ndarray | np.generic):
        supported(x.dtype)
        found = object.__new__(ndarray)
        found._host = np.asarray(x)
        counts.hold(found._host)
        return found
    if isinstance(x, tuple):
        return tuple(map(wrap, x))
    if isinstance(x, list):
        return list(map(wrap, x))
    return x


def unwrap(x: Any, name: str) -> Any:
    """An argument for NumPy. CuPy takes its own arrays and numbers, and never NumPy's arrays."""
    if isinstance(x, ndarray):
        return x._host
    if isinstance(x, np.ndarray):
        raise TypeError(f"Unsupported type {type(x)}: {name} takes no arrays of NumPy")
    if isinstance(x, list | tuple):
        return type(x)(unwrap(item, name) for item in x)
    return x


def supported(dtype: Any) -> np.dtype:
    """The dtype, where CuPy has it."""
    found = np.dtype(dtype)
    if found.char not in SUPPORTED:
        raise ValueError(f"Unsupported dtype {found}")
    return found.newbyteorder("=")


def unset(shape: Any, dtype: Any, order: str = "C") -> np.ndarray:
    """Memory as it is found: NaN, or the largest integer, so that a test sees it."""
    found = np.empty(shape, supported(float if dtype is None else dtype), order or "C")
    poison(found)
    return found


def poison(x: np.ndarray) -> None:
    """NaN everywhere, or the largest number for integers."""
    x.fill(np.nan if x.dtype.kind in "fc" else 1 if x.dtype.kind == "b" else np.iinfo(x.dtype).max)


def cast(x: np.ndarray, dtype: np.dtype, order: str = "K") -> np.ndarray:
    """x in another dtype; an error where numbers do not fit, as devices then differ."""
    with np.errstate(all="ignore", invalid="raise"):
        return x.astype(dtype, order=order)


def check_kind(kind: Any) -> None:
    """CuPy sorts in one way (core.pyx: _check_kind_sort)."""
    if kind is not None and kind != "stable":
        raise ValueError("kind can only be None or 'stable'")


def on_host(name: str, function: Callable[..., Any], args: tuple, keywords: dict) -> Any:
    """The call as NumPy does it, without the warnings that no GPU gives."""
    with contextlib.ExitStack() as quiet:
        quiet.enter_context(np.errstate(all="ignore"))
        if name in WARNED:
            quiet.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore", RuntimeWarning)
        try:
            return function(*args, **keywords)
        except np.linalg.LinAlgError as error:
            raise RuntimeError(f"CuPy does not raise {error!r}, and returns anything") from error


def run(name: str, function: Callable[..., Any], args: tuple, keywords: dict) -> Any:
    """One operation: arguments unwrapped, counted unless the result is a view, wrapped."""
    hosts = tuple(unwrap(x, name) for x in args)
    options = {key: unwrap(x, name) for key, x in keywords.items()}
    for _ in range(costs.WAITS.get(name, 0)):
        counts.read(name)
    found = on_host(name, function, precision.as_multiplied(name, hosts), options)
    out = keywords.get("out")
    first = found[0] if isinstance(found, tuple | list) and found else found
    if out is not None or (np.size(first) and not _is_view(first, hosts)):
        counts.launch(name, costs.launches(name, hosts, options))
    if isinstance(found, bool | int | float):
        found = np.asarray(found)
    return out if isinstance(out, ndarray) else wrap(found)


def _is_view(found: Any, hosts: Any) -> bool:
    return isinstance(found, np.ndarray) and any(
        np.may_share_memory(found, x)
        for host in hosts
        for x in (host if isinstance(host, list | tuple) else (host,))
        if isinstance(x, np.ndarray)
    )


def _unpickled(host: np.ndarray) -> ndarray:
    counts.upload("unpickled")
    return wrap(host)


# Operators and the methods that are functions as well


def _operator(name: str, ufunc: np.ufunc, how: str) -> Callable[..., Any]:
    def operator(self: ndarray, other: Any) -> Any:
        if isinstance(other, np.ndarray):
            raise TypeError(f"Unsupported type {type(other)}")
        if not isinstance(other, ndarray | bool | int | float | complex | np.generic):
            return NotImplemented
        if how == "in place":
            return run(name, ufunc, (self, other), {"out": self})
        return run(name, ufunc, (other, self) if how == "reflected" else (self, other), {})

    return operator


_BINARY = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "matmul": "matmul",
    "truediv": "true_divide",
    "floordiv": "floor_divide",
    "mod": "remainder",
    "divmod": "divmod",
    "pow": "power",
    "and": "bitwise_and",
    "or": "bitwise_or",
    "xor": "bitwise_xor",
    "lshift": "left_shift",
    "rshift": "right_shift",
}
_COMPARED = {
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
    "eq": "equal",
    "ne": "not_equal",
}
_UNARY = {"neg": "negative", "pos": "positive", "abs": "absolute", "invert": "invert"}
for _name, _ufunc in (_BINARY | _COMPARED).items():
    setattr(ndarray, f"__{_name}__", _operator(_ufunc, getattr(np, _ufunc), "as it stands"))
    if _name in _BINARY:
        setattr(ndarray, f"__r{_name}__", _operator(_ufunc, getattr(np, _ufunc), "reflected"))
        if _name not in ("divmod", "matmul"):
            setattr(ndarray, f"__i{_name}__", _operator(_ufunc, getattr(np, _ufunc), "in place"))
for _name, _ufunc in _UNARY.items():
    setattr(
        ndarray,
        f"__{_name}__",
        lambda self, name=_ufunc: run(name, getattr(np, name), (self,), {}),
    )


def add_methods(real: type) -> None:
    """The methods of the real cupy.ndarray that are not above, with the keywords it has."""
    for name in dir(real):
        if name.startswith("_") or hasattr(ndarray, name) or not hasattr(np.ndarray, name):
            continue
        parameters = _parameters(getattr(real, name), name)
        setattr(ndarray, name, _method(name, parameters))
    ndarray.__module__ = "cupy"


def _method(name: str, parameters: inspect.Signature | None) -> Callable[..., Any]:
    @functools.wraps(getattr(np.ndarray, name))
    def method(self: ndarray, *args: Any, **keywords: Any) -> Any:
        if parameters is not None:
            parameters.bind(self, *args, **keywords)
        if name in ("argsort", "argpartition"):
            check_kind(keywords.pop("kind", None))
            keywords |= {"kind": "stable"} if name == "argsort" else {}
        if name == "put":
            raise NotImplementedError("fakecupy has no ndarray.put: assign by index")
        if name == "dot" and not isinstance(args[0], ndarray):
            raise TypeError(f"Argument 'b' has incorrect type (got {type(args[0])})")
        return run(name, getattr(np.ndarray, name), (self, *args), keywords)

    return method


def _parameters(method: Any, name: str) -> inspect.Signature | None:
    """From the first line of its text, where Cython writes it; None where that has a star."""
    line = (method.__doc__ or "").split("\n")[0]
    found = re.match(rf"\w+\.{name}\((.*)\)", line)
    if found is None or "*" in found[1]:
        return None
    parts = [re.sub(r"^\w+ (?=\w+$|\w+=)", "", part.strip()) for part in found[1].split(",")]
    parameter = inspect.Parameter
    return inspect.Signature(
        [
            parameter(
                part.split("=")[0],
                parameter.POSITIONAL_OR_KEYWORD,
                default=None if "=" in part else parameter.empty,
            )
            for part in parts
        ]
    )
