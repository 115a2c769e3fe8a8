"""`python -m benchmarks [suite ...]`: run the suites, print a table, write JSON.

Exit code 0; 1 where an answer was wrong, or, with --hold, where a figure that is to be held was
missed or could not be measured; 2 where a contestant failed.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from . import (
    checks,
    convolution,
    exact_neighbors,
    features,
    first_call,
    graph,
    growth,
    machine,
    neighbors,
    networks,
    selection,
    sgd,
)
from .cases import Case
from .report import HEADING, Measured, exit_code, summary, write_json
from .timing import ROOT, ContestantError, Worker, interleave

SUITES = {
    "exact": exact_neighbors.cases,
    "neighbors": neighbors.cases,
    "growth": growth.cases,
    "sgd": sgd.cases,
    "graph": graph.cases,
    "networks": networks.cases,
    "convolution": convolution.cases,
    "features": features.cases,
    "checks": checks.cases,
    "selection": selection.cases,
    "first": first_call.cases,
}
RESULTS = Path(__file__).with_name("results")


def measure(case: Case, rounds: int, seconds: float, threads: int) -> Measured:
    """Run a case: build the contestants, time them in turn, check the answers."""
    missing = {c.name: c.missing() for c in case.contestants if c.missing()}
    present = [c for c in case.contestants if c.name not in missing]
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(c, threads)) for c in present]
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(Worker.build, workers))
        if case.most_rounds is not None:
            rounds = min(rounds, case.most_rounds)
        times = interleave(workers, rounds, seconds=seconds) if rounds else []
        answers = {worker.name: worker.answer() for worker in workers}
    return Measured(
        case,
        dict(zip((worker.name for worker in workers), times, strict=False)),
        case.check({name: answer for name, answer in answers.items() if answer is not None}),
        {worker.name: worker.pools for worker in workers},
        missing,
    )


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="xpcls timed side by side with its peers."
    )
    parser.add_argument(
        "suites", nargs="*", metavar="suite", help=f"{', '.join(SUITES)}; all, if none is named"
    )
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run at all?")
    parser.add_argument("--only", default="", metavar="TEXT", help="cases with TEXT in their name")
    parser.add_argument("--list", action="store_true", help="name the cases, and end")
    parser.add_argument("--rounds", type=int, default=15, help="at most so many a case (15)")
    parser.add_argument(
        "--seconds",
        type=float,
        default=30.0,
        help="begin no round of a case after that long, but after 3 at the soonest (30)",
    )
    parser.add_argument("--threads", type=int, default=2, help="of every contestant (2)")
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="where the results go (benchmarks/results/DATE.json; with --quick, nowhere)",
    )
    parser.add_argument("--hold", action="store_true", help="exit with 1 where a figure is missed")
    options = parser.parse_args(arguments)
    unknown = set(options.suites) - set(SUITES)
    if unknown:
        parser.error(f"no suite {', '.join(sorted(unknown))}; there are {', '.join(SUITES)}")
    if options.rounds < 1 or options.threads < 1:
        parser.error("--rounds and --threads are 1 or more")
    return options


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = parse(arguments)
    cases = [
        case
        for name, make in SUITES.items()
        if name in options.suites or not options.suites
        for case in make(options.quick)
        if options.only.lower() in case.name.lower()
    ]
    if options.quick:
        cases = [case.unheld() for case in cases]  # such small sizes say nothing
    if options.list:
        print("\n".join(f"{case.suite}  {case.name}" for case in cases))
        return 0
    now = datetime.datetime.now(datetime.UTC)
    head = {
        "date": now.isoformat(timespec="seconds"),
        "quick": options.quick,
        "threads": options.threads,
        "machine": machine.describe(),
        "versions": machine.versions(ROOT),
    }
    print("\n".join(f"{key}: {value}" for key, value in head.items()))
    print(HEADING)
    measured: list[Measured] = []
    try:
        for case in cases:
            measured.append(measure(case, options.rounds, options.seconds, options.threads))
            print("\n".join(measured[-1].lines()), flush=True)
    except ContestantError as error:
        print(f"{case.suite} {case.name}: {error}", file=sys.stderr)
        return 2
    finally:  # what was measured before a failure, or before Ctrl-C, is kept
        path = options.json
        if path is None and not options.quick:
            path = RESULTS / f"{now:%Y-%m-%d}.json"
        if path is not None and measured:
            write_json(path, head, measured)
            print(f"results in {path}")
    print(summary(measured))
    return exit_code(measured, options.hold)


if __name__ == "__main__":
    # What is measured is this checkout, whatever is installed beside it.
    sys.path[:0] = [str(ROOT), str(ROOT / "backends")]
    sys.exit(main())
