"""The modules cupy, cupy.linalg and cupy.fft: the wheel's names, with NumPy behind them."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from . import array, counts, driver, indexing
from .array import ndarray, run, supported, unwrap, wrap

# Answers about arrays and dtypes, which need no device.
ABOUT = {
    "broadcast_shapes",
    "can_cast",
    "common_type",
    "finfo",
    "iinfo",
    "isdtype",
    "isscalar",
    "issubdtype",
    "may_share_memory",
    "ndim",
    "promote_types",
    "result_type",
    "shape",
    "shares_memory",
    "size",
}
# These begin with a shape, a number or a word; all others with an array, or with arrays in a list.
NUMBERS_FIRST = {
    "arange",
    "einsum",
    "eye",
    "full",
    "hamming",
    "identity",
    "indices",
    "linspace",
    "logspace",
    "ones",
    "tri",
    "tril_indices",
    "triu_indices",
    "zeros",
}
TWO_ARRAYS = {"dot", "inner", "kron", "outer", "tensordot", "vdot"}
UFUNC_KEYWORDS = {"out", "dtype", "casting"}  # _core/_kernel.pyx: ufunc.__call__
GUFUNC_KEYWORDS = UFUNC_KEYWORDS | {"axes", "axis", "keepdims", "signature", "order"}  # _gufuncs.py
BY_ATOMICS = "iIlLqQfd"  # dtypes of cupy.add.at: _routines_indexing.pyx, _scatter_op_single


class ufunc:
    """cupy.ufunc: called on arrays of the device and on numbers."""

    def __init__(self, name: str, real: Any) -> None:
        self.__name__ = name
        self._host: np.ufunc = getattr(np, name)
        self._keywords = UFUNC_KEYWORDS if hasattr(real, "types") else GUFUNC_KEYWORDS
        self.nin, self.nout, self.nargs = self._host.nin, self._host.nout, self._host.nargs

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        unknown = set(keywords) - self._keywords
        if unknown:
            raise TypeError(f"cupy.{self.__name__}: wrong arguments {sorted(unknown)}")
        if not self.nin <= len(args) <= self.nargs:
            raise TypeError(f"cupy.{self.__name__} takes {self.nin} arrays, got {len(args)}")
        if len(args) > self.nin:
            keywords["out"] = args[self.nin] if self.nout == 1 else args[self.nin :]
        args = args[: self.nin]
        for x in args:
            if isinstance(x, list | tuple):
                raise TypeError(f"Unsupported type {type(x)}")
        return run(self.__name__, self._host, args, keywords)

    def at(self, a: ndarray, indices: Any, b: Any = None) -> None:
        """Repeated positions add up, by atomic operations; which come first is not defined."""
        if self.__name__ not in ("add", "subtract", "maximum", "minimum"):
            raise NotImplementedError(f"fakecupy has no cupy.{self.__name__}.at")
        if a.dtype.char not in BY_ATOMICS:
            raise TypeError(f"cupy.{self.__name__}.at does not support {a.dtype}")
        key, _ = indexing.host_key(indices)
        counts.launch(f"{self.__name__}.at")
        self._host.at(a._host, key, unwrap(b, f"{self.__name__}.at"))

    def __getattr__(self, name: str) -> Any:
        if name in ("reduce", "accumulate", "reduceat", "outer"):
            return driver.refuse(f"{self.__name__}.{name}")
        raise AttributeError(f"cupy.{self.__name__} has no attribute {name}")


# Functions of which CuPy's meaning is not NumPy's, by the arguments of the wheel's signature


def asarray(a: Any, dtype: Any = None, order: Any = None, *, blocking: bool = False) -> ndarray:
    return as_array(a, dtype, copy=False, order=order)


def as_array(obj: Any, dtype: Any, copy: bool, order: Any = None, ndmin: int = 0) -> ndarray:
    """core.pyx: array. Numbers are filled in by a kernel, host arrays and lists are uploaded."""
    if isinstance(obj, ndarray):
        found = obj.astype(obj.dtype if dtype is None else dtype, order or "K", copy=copy)
    elif isinstance(obj, list | tuple) and _holds_arrays(obj):
        counts.launch("array of arrays", len(obj))
        found = wrap(np.array(_hosts(obj), dtype=None if dtype is None else supported(dtype)))
    else:
        host = np.array(obj)
        host = array.cast(host, supported(host.dtype if dtype is None else dtype), "K")
        host = np.array(
            host, order=order if order in ("C", "F") else "F" if host.flags.fnc else "C"
        )
        (counts.upload if host.ndim else counts.launch)("asarray")
        found = wrap(host)
    missing = ndmin - found.ndim
    return wrap(found._host.reshape((1,) * missing + found.shape)) if missing > 0 else found


def _holds_arrays(obj: Any) -> bool:
    return any(
        isinstance(x, ndarray) or (isinstance(x, list | tuple) and _holds_arrays(x)) for x in obj
    )


def _hosts(obj: Any) -> Any:
    if isinstance(obj, ndarray):
        return obj._host
    if not isinstance(obj, list | tuple):
        raise TypeError(f"a list of arrays of CuPy holds {type(obj)} as well")
    return [_hosts(x) for x in obj]


def array_(
    obj: Any,
    dtype: Any = None,
    copy: Any = True,
    order: Any = "K",
    subok: bool = False,
    ndmin: int = 0,
    *,
    blocking: bool = False,
) -> ndarray:
    if subok:
        raise NotImplementedError
    return as_array(obj, dtype, bool(copy), order, ndmin)


def empty(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return ndarray(shape, dtype, order)


def empty_like(
    prototype: ndarray, dtype: Any = None, order: Any = "K", subok: Any = None, shape: Any = None
) -> ndarray:
    like = np.empty_like(unwrap(prototype, "empty_like"), dtype=dtype, order=order, shape=shape)
    array.poison(like)
    return wrap(like)


def asnumpy(a: Any, stream: Any = None, order: str = "C", out: Any = None, **_: Any) -> Any:
    return a.get(stream, order, out) if isinstance(a, ndarray) else np.asarray(a, order=order)


def take(a: ndarray, indices: Any, axis: Any = None, out: Any = None) -> ndarray:
    if not isinstance(indices, ndarray) and not np.isscalar(indices):
        indices = as_array(indices, int, copy=False)
    positions = indices._host if isinstance(indices, ndarray) else np.asarray(indices)
    indexing.refuse_out_of_bounds(positions, a.size if axis is None else a.shape[axis])
    if positions.dtype.kind not in "iu":
        raise TypeError(f"positions of dtype {positions.dtype}")
    keywords = {} if out is None else {"out": out}
    return run("take", np.take, (a, indices, axis), keywords)


def searchsorted(a: Any, v: Any, side: str = "left", sorter: Any = None) -> ndarray:
    if not isinstance(a, ndarray) or not isinstance(v, ndarray | int | float | complex):
        raise NotImplementedError("Only python scalars or ndarrays are supported")
    return run("searchsorted", np.searchsorted, (a, v, side, sorter), {})


def argsort(a: ndarray, axis: Any = -1, kind: Any = None) -> ndarray:
    array.check_kind(kind)
    return run("argsort", np.argsort, (a, axis), {"kind": "stable"})


def sort(a: ndarray, axis: Any = -1, kind: Any = None) -> ndarray:
    array.check_kind(kind)
    return run("sort", np.sort, (a, axis), {"kind": "stable"})


def bincount(x: ndarray, weights: Any = None, minlength: Any = None) -> ndarray:
    if x.ndim != 1:
        raise ValueError("object too deep or of too small depth for desired array")
    if x.dtype.kind == "f":
        raise TypeError("x must be int array")
    if weights is not None and not isinstance(weights, ndarray):
        raise TypeError(f"Unsupported type {type(weights)}")
    return run("bincount", np.bincount, (x, weights, minlength or 0), {})


def reshape(a: ndarray, newshape: Any, order: str = "C", *, copy: Any = None) -> ndarray:
    return run("reshape", np.reshape, (a, newshape, order), {})


def copyto(dst: ndarray, src: Any, casting: str = "same_kind", where: Any = None) -> None:
    counts.launch("copyto")
    mask = True if where is None else unwrap(where, "copyto")
    np.copyto(dst._host, unwrap(src, "copyto"), casting=casting, where=mask)


def put(a: ndarray, ind: Any, v: Any, mode: str = "wrap") -> None:
    """CuPy wraps positions around; here they have to be there, and each once."""
    counts.launch("put")
    positions = np.ravel(unwrap(ind, "put"))
    indexing.refuse_out_of_bounds(positions, a.size)
    indexing.refuse_repeats(positions % max(a.size, 1))
    np.put(a._host, positions, unwrap(v, "put"))


def get_array_module(*args: Any) -> Any:
    import sys

    return sys.modules["cupy"] if any(isinstance(x, ndarray) for x in args) else np


SPECIAL: dict[str, Callable[..., Any]] = {
    "argsort": argsort,
    "array": array_,
    "asanyarray": asarray,
    "asarray": asarray,
    "asnumpy": asnumpy,
    "bincount": bincount,
    "copyto": copyto,
    "empty": empty,
    "empty_like": empty_like,
    "get_array_module": get_array_module,
    "get_default_memory_pool": driver.MemoryPool,
    "get_default_pinned_memory_pool": driver.MemoryPool,
    "is_available": lambda: True,
    "put": put,
    "reshape": reshape,
    "searchsorted": searchsorted,
    "sort": sort,
    "take": take,
}
CLASSES = {
    "RawKernel": driver.RawKernel,
    "RawModule": driver.RawModule,
    "ndarray": ndarray,
    "ufunc": ufunc,
}


class Refused(types.ModuleType):
    """A module that is there, of which nothing may be used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise RuntimeError(
            f"{self.__name__}.{name}: its streams are not NumPy's; draw on the host and upload"
        )


def module(real: types.ModuleType, numbers: types.ModuleType) -> types.ModuleType:
    """A module with the public names of `real`, of which functions are those of `numbers`."""
    made = types.ModuleType(real.__name__, real.__doc__)
    for name, value in vars(real).items():
        if not name.startswith("_") and not inspect.ismodule(value):
            setattr(made, name, _imitation(name, value, numbers))
    for name in ("__all__", "__version__"):
        if hasattr(real, name):
            setattr(made, name, getattr(real, name))
    return made


def _imitation(name: str, real: Any, numbers: types.ModuleType) -> Any:
    of_numpy = getattr(numbers, name, None)
    if name in CLASSES:
        return CLASSES[name]
    if type(real).__name__ in ("ufunc", "_GUFunc"):
        return ufunc(name, real) if isinstance(of_numpy, np.ufunc) else driver.refuse(name)
    if isinstance(real, type):
        own = real.__module__.split(".")[0] == "cupy" and not issubclass(real, Exception | Warning)
        return driver.refuse(name) if own else real
    if not callable(real) or getattr(real, "__module__", "").split(".")[0] == "numpy":
        return real
    if name in SPECIAL:
        return _checked(name, real, SPECIAL[name])
    if name in ABOUT and of_numpy is not None:
        return _checked(name, real, lambda *a, **k: of_numpy(*unwrap(a, name), **k))
    if of_numpy is None:
        return driver.refuse(name)
    return _checked(name, real, functools.partial(_of_arrays, name, of_numpy))


def _of_arrays(name: str, of_numpy: Callable[..., Any], *args: Any, **keywords: Any) -> Any:
    """CuPy calls methods of its arguments, and numbers and lists of numbers have none."""
    for x in args[: 2 if name in TWO_ARRAYS else name not in NUMBERS_FIRST]:
        if not isinstance(x, ndarray) and not (isinstance(x, list | tuple) and _only_arrays(x)):
            raise TypeError(f"cupy.{name}: expected an array of CuPy, got {type(x)}")
    return run(name, of_numpy, args, keywords)


def _only_arrays(x: Any) -> bool:
    return all(
        isinstance(item, ndarray) or (isinstance(item, list | tuple) and _only_arrays(item))
        for item in x
    )


def _checked(name: str, real: Any, call: Callable[..., Any]) -> Callable[..., Any]:
    """A function with the signature of the real one, which refuses other arguments."""
    try:
        signature = inspect.signature(real)
    except ValueError:  # compiled, without one
        return functools.wraps(real)(lambda *args, **keywords: call(*args, **keywords))

    @functools.wraps(real)
    def checked(*args: Any, **keywords: Any) -> Any:
        try:
            signature.bind(*args, **keywords)
        except TypeError as error:
            raise TypeError(f"cupy.{name}{signature}: {error}") from None
        return call(*args, **keywords)

    return checked
