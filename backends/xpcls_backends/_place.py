"""Where an array lives, and the named ways to move it.

Nothing here moves data behind the caller's back: `to_device`, `to_host` and `to_scalar` are the
only transfers in the project, so a search for their names finds every one.
"""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

import array_api_compat
import array_api_compat.numpy
import numpy as np

if TYPE_CHECKING:
    from ._select import Backend

Array = Any  # of whichever namespace: NumPy, CuPy, or array-api-strict in the tests
Namespace = Any  # a module that speaks the array API standard
Device = Any  # what that module calls a device

NUMPY_ALONE = {np.ndarray}  # the types of arrays that are all NumPy's


def namespace_of(*arrays: Array) -> Namespace:
    """The array namespace of `arrays`, through array-api-compat.

    Raises TypeError, naming the libraries, where they differ or where something is no array.
    """
    kinds = {type(a) for a in arrays}
    if kinds == NUMPY_ALONE:  # the general way takes as long as a small operation
        return array_api_compat.numpy
    try:
        return array_api_compat.array_namespace(*arrays)
    except TypeError:
        libraries = {type(a).__module__.split(".")[0] for a in arrays if is_array(a)}
        if len(libraries) < 2:
            others = sorted({type(a).__name__ for a in arrays if not is_array(a)})
            raise TypeError(f"expected arrays, got {', '.join(others) or 'none'}") from None
        raise TypeError(
            f"expected arrays of one library, got {', '.join(sorted(libraries))}; "
            "move one of them with xpcls.to_device(x, backend) or xpcls.to_host(x)"
        ) from None


def device_of(*arrays: Array) -> Device:
    """The one device on which all `arrays` live.

    Raises ValueError, naming the devices, where they differ.
    """
    if {type(a) for a in arrays} == NUMPY_ALONE:
        return "cpu"
    device, *others = (array_api_compat.device(a) for a in arrays)
    for other in others:
        if other != device:
            raise ValueError(
                f"arrays live on two devices, {device} and {other}; "
                "move one of them with xpcls.to_device(x, backend)"
            )
    return device


def is_array(x: object) -> bool:
    """Whether `x` is an array of a namespace that speaks the standard."""
    return bool(array_api_compat.is_array_api_obj(x))


def to_host(x: Any) -> np.ndarray[Any, Any]:
    """`x` as a NumPy array: a copy from a GPU, the array itself where it is NumPy's already.

    Lists, tuples and data frames are taken too, as `numpy.asarray` takes them.
    """
    if type(x) is np.ndarray:  # the questions below take as long as a small operation
        return x
    if array_api_compat.is_cupy_array(x):
        host: np.ndarray[Any, Any] = x.get()
        return host
    xp = _namespace_or_none(x)
    if xp is not None and array_api_compat.is_array_api_strict_namespace(xp):
        strict = sys.modules["array_api_strict"]
        return np.asarray(array_api_compat.to_device(x, strict.Device("CPU_DEVICE")))
    return np.asarray(x)


def to_device(x: Any, backend: Backend | str) -> Array:
    """`x` as an array of `backend` (a `Backend` or its name), dtype unchanged.

    An array that is there already is returned as it is, not copied.
    """
    from ._select import get_backend

    target = get_backend(backend) if isinstance(backend, str) else backend
    if _namespace_or_none(x) is target.xp:
        if array_api_compat.device(x) == target.device:
            return x
        return array_api_compat.to_device(x, target.device)
    return target.xp.asarray(to_host(x), device=target.device)


def like(x: Any, reference: Array) -> Array:
    """`x` (host data) as an array of the namespace and device of `reference`."""
    return namespace_of(reference).asarray(to_host(x), device=device_of(reference))


def to_scalar(x: Array) -> Any:
    """The Python number in an array of one element: one transfer, and on a GPU one wait."""
    host = to_host(x)
    if host.size != 1:
        raise ValueError(f"x has shape {host.shape}, expected one element")
    return host.item()


def device_name(x: Array) -> str:
    """Where `x` lives, in words for a person: "cpu", or a GPU with its number and name."""
    if not array_api_compat.is_cupy_array(x):
        return str(array_api_compat.device(x))
    properties = sys.modules["cupy"].cuda.runtime.getDeviceProperties(x.device.id)
    return f"cuda:{x.device.id} {properties['name'].decode()}"


def ignore_overflow() -> contextlib.AbstractContextManager[Any]:
    """No warning from NumPy for overflow and NaN in the block: for code that checks its results.

    CuPy never warns.
    """
    return np.errstate(over="ignore", invalid="ignore")


def to_itemsize(x: Array) -> int:
    """Bytes of one element of `x`."""
    xp = namespace_of(x)
    if xp.isdtype(x.dtype, "bool"):
        return 1
    info = xp.iinfo if xp.isdtype(x.dtype, "integral") else xp.finfo
    return int(info(x.dtype).bits) // 8


def _namespace_or_none(x: Any) -> Namespace | None:
    return array_api_compat.array_namespace(x) if is_array(x) else None
