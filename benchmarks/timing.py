"""Interleaved rounds: every contestant runs once, then every one again, and so on.

Why each contestant has a process of its own
--------------------------------------------
NumPy, SciPy, scikit-learn and torch each bring a pool of threads (OpenBLAS two, OpenMP two).
In one process they share two cores and disturb each other: the threads of one pool still spin,
waiting for more work, while another's begin, and a product alternated between two pools has been
seen to take 11 times as long. In one process one would time the mixture, and which contestant
suffers depends on the order of imports. So:

- A worker process (worker.py) holds one contestant: it imports that contestant's libraries alone,
  builds its data from a seed, and stays alive for the whole case.
- The parent tells one worker at a time to run a round; all others wait for a line of input,
  without using the processor. Thus rounds interleave, A B C A B C, and a machine that slows down
  for a while slows all of them, while pools never meet.
- After each round the parent waits `SETTLE` seconds, so that the last contestant's threads have
  gone to sleep when the next one starts.
- Before its first round each contestant does one that is not counted: it touches the memory,
  starts the threads and compiles what is compiled.
- The number of threads is set the same for all, before any library is loaded: by environment
  variables, and because jax reads none of them, by allowing the process as many processors as it
  may have threads. The worker refuses to go on if a pool has more.
- Variables that pin old vector instructions (OPENBLAS_CORETYPE and such) are removed.

A round is timed inside the worker, with garbage collected before and not during it. Ratios are of
best times: what disturbs a measurement only ever makes it longer. The median stands beside it, to
show how noisy the machine was.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from .cases import Contestant

ROOT = Path(__file__).resolve().parents[1]
# OpenBLAS's threads spin after a product. After 0.05 s scikit-learn's process still slowed xpcls'
# two-layer net from 52 to 75 ms, after 0.1 s no more.
SETTLE = 0.15
FEWEST_ROUNDS = 3
NOISY = 1.25

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
PINS = (
    "OPENBLAS_CORETYPE",
    "OPENBLAS_L2_SIZE",
    "MKL_DEBUG_CPU_TYPE",
    "ATEN_CPU_CAPABILITY",
    "FAISS_OPT_LEVEL",
    "XLA_FLAGS",
    "NUMBA_CPU_NAME",
    "NUMBA_CPU_FEATURES",
    "XPCLS_KERNELS",
)
POLICIES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_PROC_BIND", "OMP_DYNAMIC", "KMP_BLOCKTIME")


class Player(Protocol):
    """Whoever takes part in `interleave`."""

    def warm_up(self) -> None: ...

    def round(self) -> float:
        """Run once; how long it took, in milliseconds."""


@dataclass(frozen=True)
class Times:
    """The rounds of one contestant, in milliseconds, in the order they were run."""

    rounds: tuple[float, ...]

    @property
    def best(self) -> float:
        return min(self.rounds)

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    @property
    def noisy(self) -> bool:
        """Whether the median is so far above the best that something else was running."""
        return self.median > NOISY * self.best


def interleave(
    players: Sequence[Player],
    rounds: int,
    *,
    seconds: float = float("inf"),
    settle: float = SETTLE,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Times]:
    """Warm up each player, then let them run in turn, `rounds` times; the times of each.

    A slow case ends once it has taken `seconds`, but after three rounds at the soonest. All
    players have then had the same number of rounds.
    """
    for player in players:
        player.warm_up()
        time.sleep(settle)
    began = clock()
    taken: list[list[float]] = [[] for _ in players]
    for done in range(rounds):
        if done >= FEWEST_ROUNDS and clock() - began > seconds:
            break
        for player, times in zip(players, taken, strict=True):
            times.append(player.round())
            time.sleep(settle)
    return [Times(tuple(times)) for times in taken]


class ContestantError(RuntimeError):
    """A contestant failed in its process; says which one and what it said."""


class Worker:
    """A contestant in its own process. Used in a `with`, at whose end the process ends.

    pools : after `warm_up`, the thread pools in the process, as threadpoolctl describes them.
    """

    def __init__(self, contestant: Contestant, threads: int) -> None:
        self.name = contestant.name
        self.pools: list[dict[str, Any]] = []
        self._process = subprocess.Popen(
            # -P: the working directory is not searched for modules, only what is given below.
            [sys.executable, "-P", "-m", "benchmarks.worker"],
            env={**environment(contestant.threads or threads), **contestant.environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,  # what goes wrong goes to stderr, which is the parent's
            encoding="utf-8",
        )
        self._build = {"build": contestant.build, "options": contestant.options}
        self._build["threads"] = contestant.threads or threads

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.close()  # the worker reads the end of its input, and ends
            self._process.wait(timeout=30)
        except (subprocess.TimeoutExpired, OSError):
            self._process.kill()
            self._process.wait()
        finally:
            self._process.stdout.close()

    def build(self) -> None:
        self._ask(do="build", **self._build)

    def warm_up(self) -> None:
        self.pools = self._ask(do="warm up")

    def round(self) -> float:
        return float(self._ask(do="run"))

    def answer(self) -> Any:
        return self._ask(do="answer")

    def _ask(self, **request: Any) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except OSError:
            line = ""
        if not line:
            code = self._process.wait()
            raise ContestantError(f"{self.name}: its process ended, with code {code}")
        reply = json.loads(line)
        if "error" in reply:
            raise ContestantError(f"{self.name} failed at {request['do']!r}:\n{reply['error']}")
        return reply["result"]


def environment(threads: int) -> dict[str, str]:
    """The environment of a worker: the parent's modules, `threads` threads, and nothing pinned."""
    kept = {k: v for k, v in os.environ.items() if k not in (*PINS, *POLICIES)}
    paths = [path or os.getcwd() for path in sys.path]
    if str(ROOT) not in paths:  # tests of an installed xpcls do not have the checkout on the path
        paths.append(str(ROOT))
    return {
        **kept,
        **dict.fromkeys(THREAD_VARIABLES, str(threads)),
        "PYTHONPATH": os.pathsep.join(paths),
    }
