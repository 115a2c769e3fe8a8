"""The simulator finds what is wrong with a kernel: one mistake of each kind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cuda import simulator
from tests.cuda.simulator import SCHEDULES, KernelError, Module
from xpcls_backends.kernels.cuda._module import HOME

pytestmark = pytest.mark.skipif(simulator.why_none is not None, reason=str(simulator.why_none))

f32, i32 = np.float32, np.int32
KERNEL = 'extern "C" __global__ void k'


def run(code: str, args: Any, grid: int = 1, block: int = 32, **how: Any) -> None:
    Module(code).get_function("k")((grid,), (block,), args, **how)


def test_threads_of_all_blocks_run() -> None:
    x = np.zeros(70, f32)
    code = KERNEL + "(float* x, int n, float a) { int i = blockIdx.x * blockDim.x + threadIdx.x;"
    run(code + " if (i < n) x[i] += a * i; }", (x, i32(70), f32(2)), grid=3)
    np.testing.assert_array_equal(x, 2.0 * np.arange(70))


def test_a_write_out_of_bounds_is_found() -> None:
    code = KERNEL + "(float* x, int n) { int i = threadIdx.x; if (i <= n) x[i] = 1; }"
    with pytest.raises(KernelError, match="argument 0: written out of bounds"):
        run(code, (np.zeros(20, f32), i32(20)))
    with pytest.raises(KernelError, match="argument 0: written out of bounds"):
        run(KERNEL + "(float* x) { x[-1] = 0; }", (np.zeros(20, f32),))


def test_a_read_out_of_bounds_gives_nan() -> None:
    x, y = np.zeros(8, f32), np.zeros(8, f32)
    code = (
        KERNEL + "(const float* x, float* y) { int i = threadIdx.x; if (i < 8) y[i] = x[i + 1]; }"
    )
    run(code, (x, y))
    assert np.isnan(y[7]) and not np.isnan(y[:7]).any()


def test_a_write_to_const_is_found() -> None:
    with pytest.raises(KernelError, match="argument 0: written, though const"):
        run(KERNEL + "(const float* x) { ((float*)x)[0] = 1; }", (np.zeros(4, f32),))


def test_shared_memory_that_nobody_wrote_is_nan() -> None:
    y = np.zeros(32, f32)
    code = "__shared__ float s[33]; s[threadIdx.x] = 1; __syncthreads(); "
    run(KERNEL + "(float* y) {" + code + "y[threadIdx.x] = s[threadIdx.x + 1]; }", (y,))
    assert np.isnan(y[31]) and (y[:31] == 1.0).all()
    dynamic = "DYNAMIC_SHARED(float, s); y[threadIdx.x] = s[threadIdx.x];"
    run(KERNEL + "(float* y) {" + dynamic + "}", (y,), shared_mem=128)
    assert np.isnan(y).all()


def test_a_missing_barrier_changes_what_comes_out() -> None:
    code = "__shared__ int s[64]; int i = threadIdx.x; s[i] = i; %s y[i] = s[63 - i];"
    kernel = KERNEL + "(int* y) {" + code + "}"
    for barrier, right in (("__syncthreads();", True), ("", False)):
        found = []
        for order, seed in SCHEDULES:
            y = np.zeros(64, i32)
            run(kernel % barrier, (y,), block=64, order=order, seed=seed)
            found.append(np.array_equal(y, 63 - np.arange(64)))
        assert all(found) == right


def test_a_barrier_that_not_all_threads_reach_is_found() -> None:
    two = (
        KERNEL + "(int* y) {\n if (threadIdx.x < 16)\n __syncthreads();\n else\n __syncthreads(); }"
    )
    with pytest.raises(KernelError, match="divergent __syncthreads"):
        run(two, (np.zeros(1, i32),))
    with pytest.raises(KernelError, match="not reached by all threads of the block"):
        run(KERNEL + "(int* y) { if (threadIdx.x < 16) __syncthreads(); }", (np.zeros(1, i32),))


def test_a_collective_that_not_the_whole_warp_reaches_is_found() -> None:
    half = KERNEL + "(int* y) { if (threadIdx.x < 16) y[0] = __ballot_sync(0xffffffffu, 1); }"
    with pytest.raises(KernelError, match="deadlock"):
        run(half, (np.zeros(1, i32),))
    with pytest.raises(KernelError, match="without the full warp"):
        run(KERNEL + "(int* y) { y[0] = __ballot_sync(0xffffu, 1); }", (np.zeros(1, i32),))


def test_collectives_and_the_grids_barrier() -> None:
    code = """
extern "C" __global__ void k(const int* x, int* y, unsigned* counter) {
  int i = blockIdx.x * blockDim.x + threadIdx.x, sum = x[i];
  for (int bit = 16; bit > 0; bit /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, bit);
  if (threadIdx.x == 0) y[blockIdx.x] = sum;
  GRID_ARRIVE(counter);
  GRID_WAIT(counter, gridDim.x);
  if (i == 0) for (int b = 1; b < gridDim.x; b++) y[0] += y[b];
}"""
    x = np.arange(96, dtype=i32)
    for order, seed in SCHEDULES:
        y, counter = np.zeros(3, i32), np.zeros(1, np.uint32)
        run(code, (x, y, counter), grid=3, cooperative=True, order=order, seed=seed)
        assert y[0] == x.sum()
    with pytest.raises(KernelError, match="not cooperative"):
        run(code, (x, y, counter), grid=3)
    some = code.replace("GRID_WAIT", "if (i < 5) GRID_WAIT")
    with pytest.raises(KernelError, match="deadlock"):
        run(some, (x, y, counter), grid=3, cooperative=True)
    for all_there in ("2 * gridDim.x", "0"):  # which would wait for ever, or for nobody
        other = code.replace("(counter, gridDim.x)", f"(counter, {all_there})")
        with pytest.raises(KernelError, match="another count"):
            run(other, (x, y, np.zeros(1, np.uint32)), grid=3, cooperative=True)


@pytest.mark.parametrize("moved", ["after", "before"])
def test_what_is_on_the_wrong_side_of_the_grids_barrier_shows(moved: str) -> None:
    """A write between the two parts of the barrier, and a read there."""
    code = """
extern "C" __global__ void k(int* x, int* y, unsigned* counter) {
  WRITE GRID_ARRIVE(counter); BETWEEN GRID_WAIT(counter, gridDim.x); READ
}"""
    write, read = "x[blockIdx.x] = 1;", "y[blockIdx.x] = x[0] + x[gridDim.x - 1];"
    parts = {"WRITE": write, "BETWEEN": "", "READ": read}
    early = parts | ({"WRITE": "", "BETWEEN": write} if moved == "after" else {})
    early |= {"BETWEEN": read, "READ": ""} if moved == "before" else {}
    for given, right in ((parts, True), (early, False)):
        text, found = code, []
        for name, part in given.items():
            text = text.replace(name, part)
        for order, seed in SCHEDULES:
            x, y, counter = np.zeros(3, i32), np.zeros(3, i32), np.zeros(1, np.uint32)
            run(text, (x, y, counter), grid=3, cooperative=True, order=order, seed=seed)
            found.append((y == 2).all())
        assert all(found) == right


def test_arguments_of_another_type_are_refused() -> None:
    code = KERNEL + "(float* x, int n, float a) { if (n > 0) x[0] = a; }"
    x = np.zeros(4, f32)
    wrong = (
        (x, 4, f32(1)),  # CuPy sends an int of 64 bits
        (x, i32(4), 1.0),  # and a double
        (x.astype(np.float64), i32(4), f32(1)),
        (np.zeros((4, 4), f32)[:, 0], i32(4), f32(1)),  # not one stretch of memory
        (x, i32(4)),
        (None, i32(0), f32(1)),  # no null pointer to CuPy 13
    )
    for args in wrong:
        with pytest.raises(TypeError):
            run(code, args)


def test_a_grid_that_no_card_takes_is_refused() -> None:
    kernel = Module(KERNEL + "(float* x) { }").get_function("k")
    for grid in ((1, 2**16), (1, 1, 2**16), (0, 1)):
        with pytest.raises(KernelError, match="a grid of"):
            kernel(grid, (32,), (np.zeros(1, f32),))


def test_what_does_not_compile_is_told() -> None:
    with pytest.raises(KernelError, match="nonsense"):
        run(KERNEL + "(float* x) { nonsense; }", (np.zeros(1, f32),))
    with pytest.raises(KernelError, match="no kernel other"):
        Module(KERNEL + "(float* x) { }").get_function("other")


RACES = """
import numpy as np
from tests.cuda.simulator import Module
from xpcls_backends.kernels.cuda._module import source
code = source("l1")
if {broken}:
    code = "".join(code.rsplit("__syncthreads();", 1))
i32 = np.int32
a = np.arange(64 * 48, dtype=np.uint8).reshape(64, 48)
out = np.empty((64, 64), i32)
module = Module(code, sanitize="thread")
module.get_function("l1_u8")((1, 1), (256,), (a, a, out, i32(64), i32(64), i32(3)))
print("done")
"""


@pytest.mark.parametrize("broken", [False, True])
def test_thread_sanitizer_sees_races(broken: bool) -> None:
    find = [simulator.COMPILER, "-print-file-name=libtsan.so"]
    library = subprocess.run(find, capture_output=True, text=True).stdout.strip()
    if not Path(library).is_absolute():
        pytest.skip("no ThreadSanitizer with this compiler")
    assert "__syncthreads();" in (HOME / "l1.cu").read_text()
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "LD_PRELOAD": os.path.realpath(library),
        "TSAN_OPTIONS": "report_bugs=1 exitcode=66 halt_on_error=0",
    }
    command = ["setarch", "-R", sys.executable, "-c", RACES.format(broken=broken)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    race = "WARNING: ThreadSanitizer: data race" in done.stderr
    if not race and "done" not in done.stdout:
        pytest.skip(f"ThreadSanitizer cannot run here: {done.stderr[-200:]}")
    assert race == broken, done.stderr[-3000:]
