"""From the start of a new process to its first answer: what compiling kernels costs, and once only.

The answer is small, 2,000 queries among 2,000 rows, or an epoch over 2,000 rows, so that starting
Python, importing and compiling are nearly all of it. Timed is the whole process.

xpcls           kernels are read from where an earlier process has kept them.
xpcls compiles  nothing is kept yet: the first call of all.
xpcls plain     no kernels.

One round, after one that is not counted, whose files the system then has in memory.
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

from .cases import PLAIN, Case, Contestant

Subject = tuple[Callable[[], object], Callable[[], Any]]

HERE = "benchmarks.first_call"
START = "import numpy as np; rng = np.random.default_rng(0); y = np.arange({n}) % 10; "
ROWS = {
    "float32": "X = rng.random(({n}, 784), dtype=np.float32); ",
    "uint8": "X = rng.integers(0, 256, ({n}, 784), dtype=np.uint8); ",
}
NEIGHBORS = (
    "from xpcls import KNeighborsClassifier as K; K(10, metric='{m}').fit(X, y).kneighbors(X)"
)
PROGRAMS = {
    **{
        f"{metric.upper()} neighbours, {kind}": START + rows + NEIGHBORS.replace("{m}", metric)
        for metric in ("l2", "l1")
        for kind, rows in ROWS.items()
    },
    "linear classifier": START
    + ROWS["float32"]
    + "from xpcls import LinearClassifier as L; L(epochs=1, random_state=0).fit(X, y)",
    "convnet": START
    + "X = rng.random(({n}, 16, 16, 32), dtype=np.float32); "
    + "from xpcls import ConvNetClassifier as C; C(epochs=1, random_state=0).fit(X, y)",
}
ROWS_OF = {"convnet": 256}
N, QUICK_N = 2_000, 200


def cases(quick: bool) -> list[Case]:
    """Whatever has kernels."""
    return [
        _case(name, program.replace("{n}", str(QUICK_N if quick else ROWS_OF.get(name, N))))
        for name, program in PROGRAMS.items()
        if not quick or name == "linear classifier"
    ]


def _case(name: str, program: str) -> Case:
    options = {"program": program}
    build = f"{HERE}:build"
    needs = ("numba",)
    kept = Contestant("xpcls", build, options, "a new process, kernels kept on disk", needs)
    anew = {**options, "anew": True}
    contestants = (
        kept,
        Contestant("xpcls compiles", build, anew, "a new process, nothing kept", needs),
        Contestant("xpcls plain", build, options, "a new process", environment=PLAIN),
    )
    return Case("first", f"{name}: process start to first answer", contestants, most_rounds=1)


def build(*, program: str, threads: int, anew: bool = False) -> Subject:
    """A run is a process; with `anew` each has an empty folder for compiled kernels."""
    kept = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, kept, ignore_errors=True)

    def run() -> None:
        with tempfile.TemporaryDirectory() as empty:
            environment = {**os.environ, "NUMBA_CACHE_DIR": empty if anew else kept}
            subprocess.run([sys.executable, "-P", "-c", program], env=environment, check=True)

    return run, lambda: None
