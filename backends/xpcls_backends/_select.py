"""Which backend to use: named by the user at the edges of a program, and proven by a kernel.

CuPy is imported here alone, when it is asked for. It may be missing, installed twice, made for
another CUDA, or without a driver or a device: each case has one sentence of cause and one of
remedy, since CuPy's own message is about none of them.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from ._place import Array, Device, Namespace, is_array, to_device, to_host

NAMES = {"numpy": "numpy", "cpu": "numpy", "cupy": "cupy", "cuda": "cupy"}
CUPY_WHEELS = ("cupy", "cupy-cuda11x", "cupy-cuda12x", "cupy-cuda13x")

INSUFFICIENT_DRIVER, NO_DEVICE = 35, 100  # of CUDA's cudaError_t
OLDEST_CUDA = 12000  # that a CuPy wheel of today is made for, as CUDA writes 12.0
FREE_MEMORY = "Free some of its memory (nvidia-smi shows who holds it), or use device 'cpu'"
SEE_THE_CARD = "See whether nvidia-smi shows the card, or use device 'cpu'"


class BackendUnavailable(RuntimeError):
    """A backend was asked for by name and does not work here; the message says what to type."""

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(f"{cause}. {remedy}.")
        self.cause, self.remedy = cause, remedy


@dataclass(frozen=True)
class Backend:
    """An array namespace and the device on which it makes arrays.

    name : "numpy" or "cupy".  xp : the namespace.  device : what `xp` calls the device.
    """

    name: str
    xp: Namespace
    device: Device

    def asarray(self, x: Any, dtype: Any = None) -> Array:
        """`x`, from any backend or a list, as an array here; a dtype may be given by name."""
        if isinstance(dtype, str):
            if not is_array(x):  # a list of floats is float64, which not every device has
                x = to_host(x).astype(dtype, copy=False)
            dtype = getattr(self.xp, dtype)
        placed = to_device(x, self)
        return placed if dtype is None else self.xp.astype(placed, dtype, copy=False)


def get_backend(name: str = "auto") -> Backend:
    """The backend called `name`.

    name : "numpy" or "cpu"; "cupy" or "cuda"; "auto" for CuPy where a CUDA device works, else
        NumPy.

    Raises ValueError for another name, and BackendUnavailable, with what to install or to fix,
    where CuPy is asked for and no kernel runs.
    """
    if name == "auto":
        name = usable()[-1]
    if name not in NAMES:
        raise ValueError(f"backend is {name!r}, expected 'auto' or one of {', '.join(NAMES)}")
    return _numpy() if NAMES[name] == "numpy" else _cupy()


def usable() -> list[str]:
    """Names of the backends that work here, slowest first; each has just run something."""
    names = ["numpy"]
    if why_not("cupy") is None:
        names.append("cupy")
    return names


def why_not(name: str) -> BackendUnavailable | None:
    """What stands in the way of a backend, or None where it works."""
    try:
        get_backend(name)
    except BackendUnavailable as problem:
        return problem
    return None


@cache
def _numpy() -> Backend:
    return Backend("numpy", importlib.import_module("array_api_compat.numpy"), "cpu")


@cache  # only a success is remembered
def _cupy() -> Backend:
    wheels, driver = installed_wheels(), driver_cuda()
    check_wheels(wheels, driver)
    try:
        cupy = importlib.import_module("cupy")
    except Exception as error:  # a broken installation can raise anything
        raise BackendUnavailable(
            f"CuPy is installed but cannot be imported: {first_line(error)}",
            f"Install it afresh: {_replace_line(wheels, driver)}",
        ) from error
    check_device(cupy, driver, wheels)
    device = cupy.cuda.Device()
    return Backend("cupy", importlib.import_module("array_api_compat.cupy"), device)


def installed_wheels() -> list[str]:
    """The distributions in this environment that bring a module called cupy."""
    found = []
    for wheel in CUPY_WHEELS:
        try:
            importlib.metadata.version(wheel)
        except importlib.metadata.PackageNotFoundError:
            continue
        found.append(wheel)
    return found


def check_wheels(wheels: Sequence[str], driver: int) -> None:
    """Raise unless one CuPy is installed; two overwrite each other's files."""
    if len(wheels) > 1:
        raise BackendUnavailable(
            f"several CuPy packages are installed ({', '.join(wheels)}), and they overwrite "
            "each other's files",
            f"Remove them and install one: {_replace_line(wheels, driver)}",
        )
    if wheels or "cupy" in sys.modules or importlib.util.find_spec("cupy") is not None:
        return
    if not driver:
        raise BackendUnavailable(
            "CuPy is not installed, and no NVIDIA driver was found",
            "Use device 'cpu'; or, with the driver of a card, pip install 'cupy-cuda13x[ctk]' "
            "(driver 580 or newer) or 'cupy-cuda12x[ctk]'",
        )
    if driver < OLDEST_CUDA:
        raise BackendUnavailable("CuPy is not installed", _update_line(driver))
    raise BackendUnavailable("CuPy is not installed", f"Install it: {_install_line(driver)}")


def check_device(cupy: Any, driver: int, wheels: Sequence[str] = ()) -> None:
    """Raise unless CuPy can allocate on a device and run a kernel there."""
    version = f"CuPy {cupy.__version__} is installed but"
    runtime = cupy.cuda.runtime
    try:
        count = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        if error.status == INSUFFICIENT_DRIVER and not driver:
            raise BackendUnavailable(
                f"{version} no NVIDIA driver was found",
                "Install the driver of the card, or use device 'cpu'",
            ) from error
        if error.status == INSUFFICIENT_DRIVER:
            raise BackendUnavailable(
                f"{version} needs a newer driver than this one, which stops at "
                f"CUDA {dotted(driver)}",
                _update_line(driver)
                if driver < OLDEST_CUDA
                else "Update the driver, or install the CuPy that fits it: "
                + _replace_line(wheels, driver),
            ) from error
        if error.status != NO_DEVICE:
            raise BackendUnavailable(
                f"{version} CUDA failed: {first_line(error)}",
                SEE_THE_CARD,
            ) from error
        count = 0
    if not count:
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        because = "" if hidden is None else f" (CUDA_VISIBLE_DEVICES is {hidden!r})"
        raise BackendUnavailable(
            f"{version} the driver shows no GPU{because}",
            "Make one visible, or use device 'cpu'",
        )
    try:
        run_a_kernel(cupy)
    except Exception as error:  # missing libraries and missing kernel images raise many types
        raise BackendUnavailable(
            f"{version} no kernel runs on the GPU: {first_line(error)}",
            FREE_MEMORY
            if type(error).__name__ == "OutOfMemoryError"
            else f"Install CUDA's libraries with it: {_complete_line(wheels, driver)}",
        ) from error


def run_a_kernel(cupy: Any) -> None:
    """Allocate, compile, multiply (cuBLAS) and read back: what every algorithm here needs."""
    x = cupy.arange(6, dtype=cupy.float32).reshape(2, 3) + 1
    product = to_host(x @ x.T)
    if product.tolist() != [[14.0, 32.0], [32.0, 77.0]]:
        raise RuntimeError(f"a product of two small matrices came out as {product.tolist()}")


@cache
def driver_cuda() -> int:
    """The newest CUDA that the driver can run, as CUDA writes it (13000 is 13.0); 0: no driver."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        cuda = ctypes.CDLL(name)
    except OSError:
        return 0
    version = ctypes.c_int(0)
    return version.value if cuda.cuDriverGetVersion(ctypes.byref(version)) == 0 else 0


def _install_line(driver: int) -> str:
    """What to type for the CuPy of this driver."""
    extra = "cuda12" if 0 < driver < 13000 else "cuda13"
    return f"pip install 'cupy-{extra}x[ctk]'"


def _replace_line(wheels: Sequence[str], driver: int) -> str:
    """The same where some CuPy is installed: pip would leave it, or put another one on top."""
    remove = f"pip uninstall {' '.join(wheels)} && " if wheels else ""
    return remove + _install_line(driver)


def _complete_line(wheels: Sequence[str], driver: int) -> str:
    """What to type for the libraries that the installed CuPy needs."""
    if list(wheels) == ["cupy-cuda12x"]:
        return _install_line(OLDEST_CUDA)  # a newer driver runs it too
    if list(wheels) == ["cupy-cuda13x"]:
        return _install_line(13000)
    return _replace_line(wheels, driver)  # cupy, the source package, has no such extra


def _update_line(driver: int) -> str:
    return (
        f"Update the driver: this one stops at CUDA {dotted(driver)}, and CuPy needs "
        f"{dotted(OLDEST_CUDA)} or newer; or use device 'cpu'"
    )


def dotted(version: int) -> str:
    """CUDA's way of writing a version (13000) as people do (13.0)."""
    return f"{version // 1000}.{version % 1000 // 10}"


def first_line(error: BaseException) -> str:
    """What an error says, in one line: of CuPy's and CUDA's the rest is about their own source."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
