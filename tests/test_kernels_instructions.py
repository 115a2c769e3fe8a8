"""Kernels on other instructions than those of this machine: the answers of the plain versions."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from xpcls_backends.kernels import why_none

if why_none() is not None:
    pytest.skip(f"no kernels: {why_none()}", allow_module_level=True)

from xpcls_backends.kernels.cpu import _tiles

# What numba compiles for is set by these: the newest CPU with AVX2 but not AVX-512, and none.
AVX2 = {
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "+64bit,+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+avx,+avx2,+fma",
}
OTHERS = {"AVX2": AVX2, "128-bit vectors": {"NUMBA_ENABLE_AVX": "0"}}

NEIGHBORS = """
import numpy as np
from xpcls.distances import nearest
from xpcls_backends.kernels import asking_for_kernels
from xpcls_backends.kernels.cpu import _tiles
rng = np.random.default_rng(0)
smooth = np.cumsum(rng.normal(size=(400, 61)), axis=1).astype("float32")
pixels = rng.integers(0, 256, (400, 61), dtype="uint8")
pixels[200:] = pixels[:200]
for rows in (smooth, pixels):
    for metric in ("l1", "l2"):
        answers = []
        for kernels in (True, False):
            with asking_for_kernels(kernels):
                answers.append(nearest(rows[::9], rows, 7, metric)[1])
        assert (answers[0] == answers[1]).all(), (rows.dtype, metric)
print(_tiles.NAME)
"""

NETWORKS = """
import numpy as np
from tests import kernel_pairs
from xpcls_backends.kernels import asking_for_kernels
from xpcls_backends.kernels.cpu import _tiles
for call, *arguments in (
    (kernel_pairs._winograd, "float32", (3, 9, 10, 19, 33), (1, 1), "by pixels", 1),
    (kernel_pairs._direct, "float32", (3, 9, 10, 5, 3), (3, 3), (1, 1), (1, 1), "by images", 2),
    (kernel_pairs._direct, "float64", (7, 9, 10, 3, 2), (3, 2), (1, 2), (1, 0), "by images", 3),
    (kernel_pairs._rectified, "float32", (3, 4, 5, 37), "by pixels", 4),
    (kernel_pairs._largest, "float32", (3, 6, 7, 19), (2, 2), (0, 0), "by pixels", 5),
):
    answers = []
    for kernels in (True, False):
        with asking_for_kernels(kernels):
            answers.append(call(*arguments))
    for a, b in zip(*answers, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=3e-5 * np.nanmax(np.abs(b)))
print(_tiles.NAME)
"""


@pytest.mark.skipif(not _tiles.AVX2, reason="this CPU has no AVX2 to compile for")
@pytest.mark.parametrize("compare", [NEIGHBORS, NETWORKS], ids=["neighbors", "networks"])
@pytest.mark.parametrize("name", OTHERS)
def test_other_instructions_give_the_same(name: str, compare: str) -> None:
    """In a process of their own, since numba compiles for one kind of CPU: some seconds each."""
    path = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, "-c", compare],
        env={**os.environ, **OTHERS[name], "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[0] == name
