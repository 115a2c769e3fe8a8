"""Choosing a backend, and each way in which CuPy can fail to be one.

A module that looks like CuPy is put in its place, so that every case is seen on every machine.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from xpcls_backends import Backend, BackendUnavailable, _select, get_backend, usable, why_not

CUDA_12_4, CUDA_13_0, CUDA_11_8 = 12040, 13000, 11080


class FakeArray(np.ndarray):
    def get(self) -> np.ndarray:
        return np.array(self)


class CUDARuntimeError(RuntimeError):
    def __init__(self, status: int, message: str = "cudaError: reason\nsecond line") -> None:
        super().__init__(message)
        self.status = status


class OutOfMemoryError(MemoryError):
    """As CuPy's is called."""


def fake_cupy(
    count: int | Exception = 1, kernel: Callable[[np.ndarray], np.ndarray] = lambda x: x
) -> types.ModuleType:
    """A module with the parts of CuPy that the probe uses.

    count : of devices, or what asking for it raises.  kernel : what becomes of a fresh array.
    """

    def get_device_count() -> int:
        if isinstance(count, Exception):
            raise count
        return count

    cupy = types.ModuleType("cupy")
    cupy.__version__ = "14.0.1"
    cupy.ndarray, cupy.float32 = FakeArray, np.float32
    cupy.arange = lambda *args, dtype: kernel(np.arange(*args, dtype=dtype).view(FakeArray))
    runtime = types.SimpleNamespace(
        getDeviceCount=get_device_count, CUDARuntimeError=CUDARuntimeError
    )
    cupy.cuda = types.SimpleNamespace(runtime=runtime, Device=lambda: "<CUDA Device 0>")
    return cupy


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """A function that makes this machine one with this CuPy, these wheels and this driver."""

    def make(
        cupy: types.ModuleType | None,
        wheels: Sequence[str] = ("cupy-cuda13x",),
        driver: int = CUDA_13_0,
    ) -> None:
        monkeypatch.setattr(_select, "installed_wheels", lambda: list(wheels))
        monkeypatch.setattr(_select, "driver_cuda", lambda: driver)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if cupy is None:
            monkeypatch.delitem(sys.modules, "cupy", raising=False)
            monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        else:
            monkeypatch.setitem(sys.modules, "cupy", cupy)
            monkeypatch.setitem(sys.modules, "array_api_compat.cupy", cupy)

    _select._cupy.cache_clear()
    yield make
    _select._cupy.cache_clear()  # a success is remembered, and this one was not real


def fails(kernel_error: Exception) -> Callable[[np.ndarray], np.ndarray]:
    def kernel(x: np.ndarray) -> np.ndarray:
        raise kernel_error

    return kernel


def problem() -> BackendUnavailable:
    found = why_not("cupy")
    assert found is not None
    assert usable() == ["numpy"]
    assert get_backend("auto").name == "numpy"
    with pytest.raises(BackendUnavailable) as caught:
        get_backend("cuda")
    assert str(caught.value) == f"{found.cause}. {found.remedy}."
    return found


def test_a_working_cupy_is_a_backend(machine: Callable[..., None]) -> None:
    cupy = fake_cupy()
    machine(cupy)
    assert why_not("cupy") is None
    assert usable() == ["numpy", "cupy"]
    for name in ("auto", "cupy", "cuda"):
        assert get_backend(name) == Backend("cupy", cupy, "<CUDA Device 0>")


def test_a_cupy_that_no_wheel_brought_is_tried_all_the_same(machine: Callable[..., None]) -> None:
    machine(fake_cupy(), wheels=())
    assert why_not("cupy") is None


@pytest.mark.parametrize(
    ("driver", "cause", "remedy"),
    [
        (CUDA_13_0, "CuPy is not installed", "Install it: pip install 'cupy-cuda13x[ctk]'"),
        (CUDA_12_4, "CuPy is not installed", "Install it: pip install 'cupy-cuda12x[ctk]'"),
        (
            CUDA_11_8,
            "CuPy is not installed",
            "Update the driver: this one stops at CUDA 11.8, and CuPy needs 12.0 or newer; "
            "or use device 'cpu'",
        ),
        (
            0,
            "CuPy is not installed, and no NVIDIA driver was found",
            "Use device 'cpu'; or, with the driver of a card, pip install 'cupy-cuda13x[ctk]' "
            "(driver 580 or newer) or 'cupy-cuda12x[ctk]'",
        ),
    ],
)
def test_no_cupy(machine: Callable[..., None], driver: int, cause: str, remedy: str) -> None:
    machine(None, wheels=(), driver=driver)
    assert (problem().cause, problem().remedy) == (cause, remedy)


def test_two_cupys(machine: Callable[..., None]) -> None:
    machine(fake_cupy(), wheels=("cupy", "cupy-cuda12x"))
    assert "(cupy, cupy-cuda12x), and they overwrite each other's files" in problem().cause
    assert problem().remedy == (
        "Remove them and install one: pip uninstall cupy cupy-cuda12x && "
        "pip install 'cupy-cuda13x[ctk]'"
    )


DEVICE_CASES = {
    "no driver": (
        {"cupy": fake_cupy(CUDARuntimeError(35)), "driver": 0},
        "no NVIDIA driver was found",
        "Install the driver of the card, or use device 'cpu'",
    ),
    # The remedy removes the CuPy that is there: pip would put the other one on top of it.
    "driver too old for this CuPy": (
        {"cupy": fake_cupy(CUDARuntimeError(35)), "driver": CUDA_12_4},
        "needs a newer driver than this one, which stops at CUDA 12.4",
        "Update the driver, or install the CuPy that fits it: pip uninstall cupy-cuda13x && "
        "pip install 'cupy-cuda12x[ctk]'",
    ),
    "driver too old for every CuPy": (
        {
            "cupy": fake_cupy(CUDARuntimeError(35)),
            "driver": CUDA_11_8,
            "wheels": ("cupy-cuda12x",),
        },
        "needs a newer driver than this one, which stops at CUDA 11.8",
        "Update the driver: this one stops at CUDA 11.8, and CuPy needs 12.0 or newer; "
        "or use device 'cpu'",
    ),
    "no device": (
        {"cupy": fake_cupy(CUDARuntimeError(100))},
        "the driver shows no GPU",
        "Make one visible, or use device 'cpu'",
    ),
    "no device, and no error either": (
        {"cupy": fake_cupy(0)},
        "the driver shows no GPU",
        "Make one visible, or use device 'cpu'",
    ),
    "another error of CUDA": (
        {"cupy": fake_cupy(CUDARuntimeError(999, "cudaErrorUnknown: unknown error\nmore"))},
        "CUDA failed: cudaErrorUnknown: unknown error",
        "See whether nvidia-smi shows the card, or use device 'cpu'",
    ),
    "libraries missing": (
        {"cupy": fake_cupy(kernel=fails(OSError("libnvrtc.so.13: cannot open.\nmore")))},
        "no kernel runs on the GPU: libnvrtc.so.13: cannot open",
        "Install CUDA's libraries with it: pip install 'cupy-cuda13x[ctk]'",
    ),
    # The older wheel runs on the newer driver: it is completed, not doubled.
    "libraries of the older wheel missing": (
        {"cupy": fake_cupy(kernel=fails(OSError("x"))), "wheels": ("cupy-cuda12x",)},
        "no kernel runs on the GPU: x",
        "Install CUDA's libraries with it: pip install 'cupy-cuda12x[ctk]'",
    ),
    "libraries of the source package missing": (
        {"cupy": fake_cupy(kernel=fails(OSError("x"))), "wheels": ("cupy",)},
        "no kernel runs on the GPU: x",
        "Install CUDA's libraries with it: pip uninstall cupy && pip install 'cupy-cuda13x[ctk]'",
    ),
    "memory full": (
        {"cupy": fake_cupy(kernel=fails(OutOfMemoryError("Out of memory allocating 512 bytes")))},
        "no kernel runs on the GPU: Out of memory allocating 512 bytes",
        "Free some of its memory (nvidia-smi shows who holds it), or use device 'cpu'",
    ),
    "an error without words": (
        {"cupy": fake_cupy(kernel=fails(KeyError()))},
        "no kernel runs on the GPU: KeyError",
        "Install CUDA's libraries with it: pip install 'cupy-cuda13x[ctk]'",
    ),
    "a wrong product": (
        {"cupy": fake_cupy(kernel=lambda x: 0 * x)},
        "no kernel runs on the GPU: a product of two small matrices came out as "
        "[[3.0, 3.0], [3.0, 3.0]]",
        "Install CUDA's libraries with it: pip install 'cupy-cuda13x[ctk]'",
    ),
}


@pytest.mark.parametrize(("here", "cause", "remedy"), DEVICE_CASES.values(), ids=DEVICE_CASES)
def test_a_cupy_without_a_device(
    machine: Callable[..., None], here: dict[str, object], cause: str, remedy: str
) -> None:
    machine(**here)
    assert problem().cause == f"CuPy 14.0.1 is installed but {cause}"
    assert problem().remedy == remedy


@pytest.mark.parametrize("value", ["", "-1"])
def test_a_hidden_device_says_what_hides_it(
    machine: Callable[..., None], monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    machine(fake_cupy(CUDARuntimeError(100)))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert problem().cause.endswith(f"shows no GPU (CUDA_VISIBLE_DEVICES is {value!r})")


def test_a_broken_installation(
    machine: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cupy").mkdir()
    (tmp_path / "cupy" / "__init__.py").write_text("raise ImportError('libcudart is gone\\nmore')")
    machine(fake_cupy(), wheels=("cupy",), driver=CUDA_12_4)
    monkeypatch.delitem(sys.modules, "cupy")
    monkeypatch.syspath_prepend(tmp_path)
    assert problem().cause == "CuPy is installed but cannot be imported: libcudart is gone"
    assert problem().remedy == (
        "Install it afresh: pip uninstall cupy && pip install 'cupy-cuda12x[ctk]'"
    )


def test_a_repair_is_seen_without_a_restart(machine: Callable[..., None]) -> None:
    machine(fake_cupy(0))
    assert why_not("cupy") is not None
    machine(fake_cupy())
    assert why_not("cupy") is None


def test_numpy_always_works() -> None:
    assert why_not("numpy") is None
    assert get_backend("cpu") is get_backend("numpy")
    assert (get_backend("cpu").name, get_backend("cpu").device) == ("numpy", "cpu")


@pytest.mark.parametrize("name", ["tpu", "NumPy", ""])
def test_an_unknown_name_lists_the_known_ones(name: str) -> None:
    with pytest.raises(ValueError) as caught:
        get_backend(name)
    assert str(caught.value) == (
        f"backend is {name!r}, expected 'auto' or one of numpy, cpu, cupy, cuda"
    )


def test_wheels_are_found_by_their_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "cupy-cuda12x":
            return "14.0.1"
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert _select.installed_wheels() == ["cupy-cuda12x"]


@pytest.mark.parametrize(("status", "expected"), [(0, CUDA_12_4), (3, 0)])
def test_the_driver_is_asked_without_cupy(
    monkeypatch: pytest.MonkeyPatch, status: int, expected: int
) -> None:
    def get_version(pointer: object) -> int:
        pointer._obj.value = CUDA_12_4
        return status

    library = types.SimpleNamespace(cuDriverGetVersion=get_version)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    assert _select.driver_cuda.__wrapped__() == expected


def test_no_driver_library_is_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_such_file(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", no_such_file)
    assert _select.driver_cuda.__wrapped__() == 0


HEAVY = "{'cupy', 'sklearn', 'torch', 'scipy', 'pandas', 'matplotlib'}"


def test_xpcls_alone_imports_no_array_library(fresh_python: Callable[..., str]) -> None:
    source = f"import sys, xpcls; print(sorted(({HEAVY} | {{'numpy'}}) & set(sys.modules)))"
    assert fresh_python(source) == "[]"


def test_the_backends_import_nothing_but_numpy(fresh_python: Callable[..., str]) -> None:
    source = (
        "import sys, xpcls_backends as b; b.to_host(b.smallest_k(b.as_array([[2, 1]], 'x'), 1)[0]);"
        f"b.get_backend('numpy'); print(sorted({HEAVY} & set(sys.modules)))"
    )
    assert fresh_python(source) == "[]"


def test_auto_is_numpy_where_every_device_is_hidden(fresh_python: Callable[..., str]) -> None:
    source = "import xpcls; print(xpcls.get_backend('auto').name, xpcls.usable_backends())"
    assert fresh_python(source, CUDA_VISIBLE_DEVICES="") == "numpy ['numpy']"


@pytest.mark.gpu
def test_auto_is_cupy_where_a_device_works(fresh_python: Callable[..., str]) -> None:
    source = "import xpcls; print(xpcls.get_backend('auto').name, xpcls.usable_backends())"
    assert fresh_python(source) == "cupy ['numpy', 'cupy']"
