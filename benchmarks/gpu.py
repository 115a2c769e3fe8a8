"""`python -m benchmarks.gpu`: time xpcls on a CUDA card beside torch and the card's own limits.

All contestants of a case are in this one process and share the card's memory; they run in turn,
and a round lasts until the card has done all of it. One that fails is told, and the others go on.

Exit code 0; 1 where an answer was wrong, or, with --hold, where a figure that is to be held was
missed or not measured; 2 where there is no card to run on.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import gc
import importlib
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from xpcls_backends import why_not

from . import gpu_neighbors, gpu_stream, gpu_training, machine
from .cases import Case, Contestant
from .report import HEADING, Measured, exit_code, summary, write_json
from .timing import ROOT, interleave

RESULTS = Path(__file__).with_name("results")
Subject = tuple[Callable[[], object], Callable[[], Any]]


class Player:
    """A contestant, built; its rounds last until the card has nothing left to do, and its
    environment is there while it is at work."""

    def __init__(self, contestant: Contestant) -> None:
        import cupy

        module, _, function = contestant.build.partition(":")
        self.name = contestant.name
        self._environment = contestant.environment
        with surrounded(self._environment):
            self._run, self._answer = getattr(importlib.import_module(module), function)(
                **contestant.options
            )
        self._wait = cupy.cuda.Device().synchronize

    def run(self) -> None:
        with surrounded(self._environment):
            self._run()

    def answer(self) -> Any:
        with surrounded(self._environment):
            return self._answer()

    def warm_up(self) -> None:
        self.run()
        self.run()  # the first one compiled kernels and chose products
        self._wait()

    def round(self) -> float:
        """Milliseconds."""
        self._wait()
        began = time.perf_counter()
        self.run()
        self._wait()
        return (time.perf_counter() - began) * 1e3


@contextlib.contextmanager
def surrounded(environment: dict[str, str]) -> Iterator[None]:
    """Within the block these environment variables are set."""
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def measure(case: Case, rounds: int, seconds: float) -> Measured:
    """Build those that can be built, time them in turn, check the answers."""
    missing = {c.name: c.missing() for c in case.contestants if c.missing()}
    players: list[Player] = []
    for contestant in case.contestants:
        if contestant.name in missing:
            continue
        try:
            player = Player(contestant)
            player.warm_up()
        except Exception as error:  # out of memory, a call that this card lacks: tell, and go on
            traceback.print_exc()
            said = (str(error) or repr(error)).splitlines()[0]
            missing[contestant.name] = [f"(failed: {said[:100]})"]
            continue
        players.append(player)
    times = interleave(players, rounds, seconds=seconds, settle=0.0)
    answers = {player.name: player.answer() for player in players}
    found = case.check({name: answer for name, answer in answers.items() if answer is not None})
    names = [player.name for player in players]
    del players
    give_back()
    return Measured(case, dict(zip(names, times, strict=True)), found, {}, missing)


def give_back() -> None:
    """What the libraries hold of the card's memory and do not use, so that each case has all."""
    import cupy

    gc.collect()
    cupy.get_default_memory_pool().free_all_blocks()
    if "torch" in sys.modules:
        sys.modules["torch"].cuda.empty_cache()


def card() -> dict[str, Any]:
    """The card, its driver and the versions that count."""
    import cupy

    properties = cupy.cuda.runtime.getDeviceProperties(0)
    return {
        "name": properties["name"].decode(),
        "processors": properties["multiProcessorCount"],
        "memory_gib": round(properties["totalGlobalMem"] / 2**30, 1),
        "driver": cupy.cuda.runtime.driverGetVersion(),
        "cuda": cupy.cuda.runtime.runtimeGetVersion(),
        "cupy": cupy.__version__,
    }


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description="xpcls timed on a CUDA card, beside torch."
    )
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run at all?")
    parser.add_argument("--only", default="", metavar="TEXT", help="cases with TEXT in their name")
    parser.add_argument("--list", action="store_true", help="name the cases, and end")
    parser.add_argument("--rounds", type=int, default=20, help="at most so many a case (20)")
    parser.add_argument(
        "--seconds",
        type=float,
        default=20.0,
        help="begin no round of a case after that long, but after 3 at the soonest (20)",
    )
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="where the results go (benchmarks/results/DATE-gpu.json; with --quick, nowhere)",
    )
    parser.add_argument("--hold", action="store_true", help="exit with 1 where a figure is missed")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = parse(arguments)
    cases = [
        case
        for suite in (gpu_neighbors, gpu_training, gpu_stream)
        for case in suite.cases(options.quick)
        if options.only.lower() in case.name.lower()
    ]
    if options.quick:
        cases = [case.unheld() for case in cases]
    if options.list:
        print("\n".join(f"{case.suite}  {case.name}" for case in cases))
        return 0
    problem = why_not("cupy")
    if problem is not None:
        print(f"no card to run on: {problem}", file=sys.stderr)
        return 2
    now = datetime.datetime.now(datetime.UTC)
    head = {
        "date": now.isoformat(timespec="seconds"),
        "quick": options.quick,
        "card": card(),
        "machine": machine.describe(),
        "versions": machine.versions(ROOT),
    }
    print("\n".join(f"{key}: {value}" for key, value in head.items()))
    print(HEADING)
    measured: list[Measured] = []
    try:
        for case in cases:
            measured.append(measure(case, options.rounds, options.seconds))
            print("\n".join(measured[-1].lines()), flush=True)
    finally:  # what was measured before Ctrl-C is kept
        path = options.json
        if path is None and not options.quick:
            path = RESULTS / f"{now:%Y-%m-%d}-gpu.json"
        if path is not None and measured:
            write_json(path, head, measured)
            print(f"results in {path}")
    print(summary(measured))
    return exit_code(measured, options.hold)


if __name__ == "__main__":
    sys.exit(main())
