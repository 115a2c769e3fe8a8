"""What cuDNN makes of our graphs for cards that are not here: `python -m tests.cuda.cudnn_plans`.

cuDNN plans for a card from a description of it. It needs a driver's library to load, though not to
plan: where there is none, one takes its place that is compiled here and fails at whatever it is
asked. That has to be in a process of its own, of which this is the program.

Prints one line of JSON: {"why_none": a line} where cuDNN can not be loaded, else what `told` gives.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.cuda.simulator import COMPILER
from xpcls_backends.kernels.cuda import cudnn as ours

DRIVER = "libcuda.so.1"
ASKED_BY_CUDNN = (  # nm -D --undefined-only libcudnn_engines_runtime_compiled.so.9
    "cuGetErrorString",
    "cuModuleGetFunction",
    "cuModuleLoadData",
    "cuModuleUnload",
    "cuTensorMapEncodeIm2col",
    "cuTensorMapEncodeTiled",
)
NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE

# As cuDNN 9.28 writes and reads them: create_device_properties(0).serialize().
H100 = {
    "deviceVer": 900,
    "deviceName": "NVIDIA H100 80GB HBM3",
    "driverVer": 13000,
    "cudaDeviceId": 0,
    "pciDeviceId": 0,
    "multiProcessorCount": 132,
    "smCountOrigin": 0,
    "maxGridSize": [2**31 - 1, 65535, 65535],
    "maxBlockSize": [1024, 1024, 64],
    "warpSize": 32,
    "regsPerBlock": 65536,
    "maxRegistersPerSM": 65536,
    "maxCtasPerSM": 32,
    "maxThreadsPerBlock": 1024,
    "maxThreadsPerSM": 2048,
    "maxSharedMemoryPerBlock": 49152,
    "maxSharedMemoryPerBlockOptin": 232448,
    "oversizedSharedMemoryPerBlock": 0,
    "reservedSharedMemoryPerBlock": 1024,
    "smClockRateKHz": 1980000,
    "memClockRateKHz": 2619000,
    "memoryBusWidth": 5120,
    "l2CacheSize": 50 * 2**20,
    "totalGlobalMem": 80 * 2**30,
    "isTccDriver": 0,
    "supportCoopLaunch": 1,
}
SMALL = {"maxSharedMemoryPerBlockOptin": 101376, "maxThreadsPerSM": 1536}
CARDS: dict[str, dict[str, Any]] = {
    "75": {
        "deviceName": "Tesla T4",
        "multiProcessorCount": 40,
        "maxSharedMemoryPerBlockOptin": 65536,
        "maxThreadsPerSM": 1024,
        "maxCtasPerSM": 16,
        "l2CacheSize": 4 * 2**20,
    },
    "80": {
        "deviceName": "NVIDIA A100-SXM4-80GB",
        "multiProcessorCount": 108,
        "maxSharedMemoryPerBlockOptin": 166912,
        "l2CacheSize": 40 * 2**20,
    },
    "86": {"deviceName": "NVIDIA GeForce RTX 3090", "multiProcessorCount": 82, **SMALL},
    "89": {"deviceName": "NVIDIA GeForce RTX 4090", "multiProcessorCount": 128, **SMALL},
    "90": {},
    "100": {"deviceName": "NVIDIA B200", "multiProcessorCount": 148},
    "120": {"deviceName": "NVIDIA GeForce RTX 5090", "multiProcessorCount": 170, **SMALL},
}
SHAPES: tuple[Any, ...] = (  # images, filters, stride, padding
    ((128, 32, 32, 3), (3, 3, 3, 32), (1, 1), (1, 1)),
    ((128, 16, 16, 32), (3, 3, 32, 64), (1, 1), (1, 1)),
    ((128, 32, 32, 3), (5, 5, 3, 16), (2, 2), (2, 2)),
    ((64, 28, 28, 64), (1, 1, 64, 128), (1, 1), (0, 0)),
    ((7, 9, 11, 5), (3, 2, 5, 6), (2, 1), (1, 0)),
    ((1, 1, 1, 1), (1, 1, 1, 1), (1, 1), (0, 0)),
    ((2, 8, 7, 3), (3, 3, 3, 5), (3, 4), (4, 3)),  # filters that lie outside
)


def load_a_driver() -> None:
    """The machine's, or what takes its place."""
    try:
        ctypes.CDLL(DRIVER, mode=ctypes.RTLD_GLOBAL)
    except OSError:
        with tempfile.TemporaryDirectory() as folder:
            library, source = Path(folder, DRIVER), Path(folder, "driver.cpp")
            functions = (f"int {name}() {{ return {NO_DEVICE}; }}" for name in ASKED_BY_CUDNN)
            source.write_text('extern "C" {\n' + "\n".join(functions) + "\n}\n", "ascii")
            options = ("-shared", "-fPIC", f"-Wl,-soname,{DRIVER}", "-o")
            subprocess.run([COMPILER, *options, library, source], check=True)
            ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)


def told(cudnn: Any, card: str, operation: str, sizes: Any) -> dict[str, Any]:
    """Of one operation on one card: what cuDNN's plan takes, how it understood the tensors, whether
    the plan that it would take first is refused, and what it lacks to run."""
    described = json.dumps({**H100, **CARDS[card], "deviceVer": 10 * int(card)})
    where = {
        "device_property": cudnn.create_device_properties(described),
        "sm_version": int(card),
    }
    found = ours.plan(operation, *sizes, **where)
    tensors = (found.graph.query_tensor_attributes_of_uid(uid) for uid in (ours.X, ours.W, ours.Y))
    try:
        found.graph.build_plan_at_index(0)
    except cudnn.cudnnGraphNotSupportedError:
        first_is_refused = True
    else:
        first_is_refused = False
    try:  # without a handle, which only a card has
        found.graph.execute({ours.X: 2**12, ours.W: 2**13, ours.Y: 2**14}, 2**15, handle=None)
    except RuntimeError as error:
        lacking = str(error)
    else:
        lacking = ""
    return {
        "card": card,
        "operation": operation,
        "sizes": sizes,
        "workspace": found.workspace,
        "tensors": [[t.get_dim(), t.get_stride(), t.get_data_type().name] for t in tensors],
        "first_is_refused": first_is_refused,
        "lacking": lacking,
    }


def main() -> dict[str, Any]:
    try:
        load_a_driver()
        import cudnn

        cudnn.backend_version()
    except (ImportError, OSError, RuntimeError, subprocess.CalledProcessError) as error:
        return {"why_none": f"no cuDNN: {error}. pip install --group cudnn-checks"}
    return {
        "version": cudnn.backend_version_string(),
        "plans": [
            told(cudnn, card, operation, sizes)
            for card in CARDS
            for operation in ours.OPERATIONS
            for sizes in SHAPES
        ],
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main()) + "\n")
