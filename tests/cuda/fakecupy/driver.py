"""cupy.cuda, memory pools, and kernels from source text: one device, number 0."""

from __future__ import annotations

import types
from typing import Any

import numpy as np

from . import counts, streams

NAME = b"a stand-in for a GPU"
COUNT = 1  # of devices; tests say 2, and everything still lies on number 0
MEMORY = 2**33  # bytes, as `memGetInfo` tells them
PROCESSORS = 132


class Device:
    """cupy.cuda.Device."""

    def __init__(self, device: Any = None) -> None:
        self.id = 0 if device is None else int(device)
        if not 0 <= self.id < COUNT:
            raise CUDARuntimeError(101, "cudaErrorInvalidDevice: invalid device ordinal")

    def __int__(self) -> int:
        return self.id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and other.id == self.id

    def __hash__(self) -> int:
        return hash(("fakecupy", self.id))

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def __repr__(self) -> str:
        return f"<CUDA Device {self.id}>"

    def use(self) -> Device:
        return self

    def synchronize(self) -> None:
        counts.wait("Device.synchronize()")
        streams.synchronize()

    @property
    def compute_capability(self) -> str:
        return "90"

    @property
    def mem_info(self) -> tuple[int, int]:
        return MEMORY, MEMORY

    @property
    def attributes(self) -> dict[str, int]:
        return {"MultiProcessorCount": PROCESSORS, "MaxSharedMemoryPerBlockOptin": 232448}

    cublas_handle = 1


class CUDARuntimeError(RuntimeError):
    """cupy.cuda.runtime.CUDARuntimeError."""

    def __init__(self, status: int, message: str = "") -> None:
        super().__init__(message or f"status {status}")
        self.status = status


class MemoryPointer:
    """What `x.data` is."""

    def __init__(self, host: np.ndarray) -> None:
        self.ptr = host.ctypes.data
        self.device_id = 0

    def __int__(self) -> int:
        return self.ptr


class Flags:
    """What `x.flags` is; CuPy's arrays are always writeable, and have no such flag."""

    def __init__(self, host: np.ndarray) -> None:
        self.c_contiguous = host.flags.c_contiguous
        self.f_contiguous = host.flags.f_contiguous
        self.owndata = host.flags.owndata
        self.fnc = self.f_contiguous and not self.c_contiguous
        self.forc = self.f_contiguous or self.c_contiguous

    def __getitem__(self, name: str) -> bool:
        return bool(getattr(self, name.lower()))


class MemoryPool:
    """cupy.get_default_memory_pool(): holds nothing back."""

    def free_all_blocks(self, stream: Any = None) -> None:
        pass

    def used_bytes(self) -> int:
        return 0

    def total_bytes(self) -> int:
        return 0

    def n_free_blocks(self) -> int:
        return 0


class OutOfMemoryError(MemoryError):
    """cupy.cuda.memory.OutOfMemoryError."""


class RawModule:
    """Kernels from CUDA's source text, run on the CPU by tests/cuda/simulator.py."""

    def __init__(
        self,
        code: str | None = None,
        *,
        path: str | None = None,
        options: tuple[str, ...] = (),
        backend: str = "nvrtc",
        translate_cucomplex: bool = False,
        enable_cooperative_groups: bool = False,
        name_expressions: Any = None,
        jitify: bool = False,
    ) -> None:
        if code is None or path is not None or backend != "nvrtc" or jitify:
            raise NotImplementedError("fakecupy compiles source text only")
        if isinstance(options, str):
            raise TypeError("options must be tuple, not str")
        from tests.cuda import simulator

        self._module = simulator.Module(code, options)
        self._cooperative = enable_cooperative_groups

    def get_function(self, name: str) -> RawFunction:
        return RawFunction(name, self._module.get_function(name), self._cooperative)


class RawFunction:
    """One kernel: grid, block, arguments, as CuPy takes them."""

    def __init__(self, name: str, function: Any, cooperative: bool = False) -> None:
        self.name, self._function, self._cooperative = name, function, cooperative
        self.max_dynamic_shared_size_bytes = 48 * 1024
        self.kernel = types.SimpleNamespace(ptr=id(self))

    def __call__(self, grid: Any, block: Any, args: Any, *, shared_mem: int = 0) -> None:
        if shared_mem > self.max_dynamic_shared_size_bytes:
            raise CUDARuntimeError(
                1,
                f"{self.name}: {shared_mem} bytes of shared memory, and "
                f"max_dynamic_shared_size_bytes is {self.max_dynamic_shared_size_bytes}",
            )
        for arg in args:
            if isinstance(arg, np.ndarray):
                raise TypeError(f"Unsupported type {type(arg)}")
        counts.launch(self.name)
        hosts = tuple(getattr(arg, "_host", arg) for arg in args)
        self._function(grid, block, hosts, shared_mem=shared_mem, cooperative=self._cooperative)


class RawKernel(RawFunction):
    """One kernel of its own source text."""

    def __init__(self, code: str, name: str, options: tuple[str, ...] = (), **more: Any) -> None:
        super().__init__(
            name, RawModule(code=code, options=options, **more)._module.get_function(name)
        )


def refuse(name: str) -> Any:
    """Something of CuPy's that is not imitated."""

    def refused(*args: Any, **keywords: Any) -> Any:
        raise NotImplementedError(
            f"fakecupy has no cupy.{name}"
            + (": write the kernel as a RawModule" if name.endswith("Kernel") else "")
        )

    refused.__name__ = refused.__qualname__ = name
    return refused


def device_properties(device: int) -> dict[str, Any]:
    return {
        "name": NAME,
        "major": 9,
        "minor": 0,
        "totalGlobalMem": MEMORY,
        "multiProcessorCount": 4,
    }


def modules() -> dict[str, types.ModuleType]:
    """cupy.cuda and the modules in it, by their names."""
    runtime = types.ModuleType("cupy.cuda.runtime")
    runtime.__dict__.update(
        CUDARuntimeError=CUDARuntimeError,
        getDeviceCount=lambda: COUNT,
        getDevice=lambda: 0,
        setDevice=lambda device: None,
        getDeviceProperties=device_properties,
        deviceSynchronize=Device().synchronize,
        driverGetVersion=lambda: 13000,
        runtimeGetVersion=lambda: 13000,
        memGetInfo=lambda: (MEMORY, MEMORY),
    )
    driver = types.ModuleType("cupy.cuda.driver")
    driver.occupancyMaxActiveBlocksPerMultiprocessor = lambda function, threads, shared: 1
    device = types.ModuleType("cupy.cuda.device")
    device.Device = Device
    memory = types.ModuleType("cupy.cuda.memory")
    memory.__dict__.update(OutOfMemoryError=OutOfMemoryError, MemoryPool=MemoryPool)
    cuda = types.ModuleType("cupy.cuda")
    cuda.__path__ = []
    cuda.__dict__.update(
        Device=Device,
        Event=streams.Event,
        MemoryPool=MemoryPool,
        Stream=streams.Stream,
        alloc_pinned_memory=streams.alloc_pinned_memory,
        device=device,
        driver=driver,
        get_current_stream=streams.current,
        is_available=lambda: True,
        memory=memory,
        runtime=runtime,
    )
    return {module.__name__: module for module in (cuda, device, driver, memory, runtime)}
