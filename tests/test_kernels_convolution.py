"""Kernels of networks on other instructions than those of this machine."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.test_kernels_neighbors import OTHERS
from xpcls_backends.kernels.cpu import _tiles

COMPARE = """
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
@pytest.mark.parametrize("name", OTHERS)
def test_other_instructions_give_the_same(name: str) -> None:
    """In a process of their own, since numba compiles for one kind of CPU: some seconds each."""
    path = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, "-c", COMPARE],
        env={**os.environ, **OTHERS[name], "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[0] == name
