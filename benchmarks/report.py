"""What was measured, as rows of a table, as JSON, and whether it was what is to be held."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .cases import Case, Finding
from .timing import NOISY, Times

MILLISECONDS, LINE = UNITS = ("ms", "from a line")  # what no peer is needed for


@dataclass(frozen=True)
class Verdict:
    """One figure that is to be held.

    of : whose figure. against : the peer that it is a ratio to, or one of `UNITS`.
    figure : a ratio of best times, milliseconds, or a relative distance; None: not measured.
    more : what else is to be known of it.
    """

    of: str
    against: str
    at_most: float
    figure: float | None
    more: str = ""

    @property
    def said(self) -> str:
        if self.figure is None:
            return "not measured"
        return "held" if self.figure <= self.at_most else "missed"

    def text(self) -> str:
        """The figure and what it is to be; of ratios to peers also as so many times as fast."""
        figure = "" if self.figure is None else f"{self.figure:.3g}"
        if self.against in UNITS:
            figure = f"{self.of}: {figure} {self.against}"
            return f"{figure} (at most {self.at_most:.3g}) {self.said}{self.more}"
        told = f"{self.of} / {self.against}: {figure} (at most {self.at_most:.3g}) {self.said}"
        if self.figure and self.at_most < 1.0:
            told += f", {1 / self.figure:.2f} times as fast (at least {1 / self.at_most:.2f})"
        return told


def nearest_line(xs: list[float], times: list[float]) -> tuple[float, float, float]:
    """a, b and the least d, so that of times t at x |t - (a + b x)| <= d (a + b x), a and b not
    negative.

    The a' + b' x that is at least t and at most r t, with the smallest r, is found by a linear
    program; with d = (r - 1) / (r + 1) the line is that one divided by 1 + d.
    """
    from scipy.optimize import linprog

    upper = [[1.0 / t, x / t, -1.0] for x, t in zip(xs, times, strict=True)]  # (a + b x) / t <= r
    lower = [[-1.0 / t, -x / t, 0.0] for x, t in zip(xs, times, strict=True)]  # (a + b x) / t >= 1
    limits = [0.0] * len(xs) + [-1.0] * len(xs)
    constant, slope, ratio = linprog([0.0, 0.0, 1.0], A_ub=upper + lower, b_ub=limits).x
    distance = (ratio - 1.0) / (ratio + 1.0)
    return float(constant / (1.0 + distance)), float(slope / (1.0 + distance)), float(distance)


@dataclass
class Measured:
    """A case after its rounds. Each dictionary goes by contestant's name.

    missing : the modules for want of which a contestant was left out.
    """

    case: Case
    times: dict[str, Times]
    findings: dict[str, Finding] = field(default_factory=dict)
    pools: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    missing: dict[str, list[str]] = field(default_factory=dict)

    def ratio(self, of: str, peer: str) -> float | None:
        """Best time of one contestant / the peer's; None where one of them was not timed."""
        ours, theirs = self.times.get(of), self.times.get(peer)
        return None if ours is None or theirs is None else ours.best / theirs.best

    def curve(self, name: str) -> tuple[list[float], list[float]] | None:
        """Its x and its best times; None where one of them was not measured."""
        points = [c for c in self.case.contestants if c.curve == name]
        if any(c.name not in self.times for c in points):
            return None
        return [float(c.x) for c in points], [self.times[c.name].best for c in points]

    def verdicts(self) -> list[Verdict]:
        """Of each figure that is to be held."""
        found = []
        for contestant in self.case.contestants:
            name = contestant.name
            for peer, at_most in contestant.holds.items():
                found.append(Verdict(name, peer, at_most, self.ratio(name, peer)))
            if contestant.limit_ms is not None:
                best = self.times[name].best if name in self.times else None
                found.append(Verdict(name, MILLISECONDS, contestant.limit_ms, best))
        for curve, at_most in self.case.linear.items():
            line = nearest_line(*grown) if (grown := self.curve(curve)) else None
            if line is None:
                found.append(Verdict(curve, LINE, at_most, None))
                continue
            constant, slope, distance = line
            more = f", {constant:.3g} ms + {slope:.3g} ms for each"
            found.append(Verdict(curve, LINE, at_most, distance, more))
        return found

    def wrong(self) -> list[str]:
        """Contestants whose answers a check turned down."""
        return [name for name, finding in self.findings.items() if finding.ok is False]

    def lines(self) -> Iterator[str]:
        """The case's part of the table."""
        rounds = max((len(times.rounds) for times in self.times.values()), default=0)
        yield f"{self.case.suite}  {self.case.name}  (rounds: {rounds})"
        first = self.case.contestants[0].name
        for contestant in self.case.contestants:
            name = contestant.name
            if name in self.missing:
                modules = ", ".join(self.missing[name])
                yield f"  {name:<22} not measured: {modules} is not installed"
            elif name in self.times:
                times, ratio = self.times[name], self.ratio(first, name)
                line = f"  {name:<22}{times.best:>12,.2f}{times.median:>12,.2f}"
                if name != first and not self.case.axis and ratio is not None:
                    line += f"{ratio:>12.2f}"
                yield line + ("   (noisy)" if times.noisy else "")
        for verdict in self.verdicts():
            yield f"    {verdict.text()}"
        for name, finding in self.findings.items():
            yield f"    {name}: {'WRONG: ' if finding.ok is False else ''}{finding.text}"

    def record(self) -> dict[str, Any]:
        """For JSON."""
        contestants = []
        first = self.case.contestants[0].name
        for contestant in self.case.contestants:
            name, times = contestant.name, self.times.get(contestant.name)
            entry: dict[str, Any] = {"name": name, "settings": contestant.settings}
            if contestant.threads is not None:
                entry["threads"] = contestant.threads
            if self.case.axis:
                entry["curve"], entry["x"] = contestant.curve, contestant.x
            if times is not None:
                entry["best_ms"] = round(times.best, 4)
                entry["median_ms"] = round(times.median, 4)
                entry["rounds_ms"] = [round(time, 4) for time in times.rounds]
                entry["pools"] = self.pools.get(name, [])
            if name in self.missing:
                entry["missing"] = self.missing[name]
            ratio = self.ratio(first, name)
            if name != first and not self.case.axis and ratio is not None:
                entry["ratio_of_best"] = round(ratio, 4)
            if name in self.findings:
                entry["check"] = asdict(self.findings[name])
            contestants.append(entry)
        found: dict[str, Any] = {"suite": self.case.suite, "case": self.case.name}
        if self.case.axis:
            found["axis"] = self.case.axis
        found["contestants"] = contestants
        found["holds"] = [
            {
                **asdict(verdict),
                "figure": None if verdict.figure is None else round(verdict.figure, 4),
                "verdict": verdict.said,
                "text": verdict.text(),
            }
            for verdict in self.verdicts()
        ]
        return found


HEADING = f"  {'':<22}{'best ms':>12}{'median ms':>12}{'xpcls / it':>12}"


def summary(measured: list[Measured]) -> str:
    """How many figures were held, which were not, and whether the machine was quiet."""
    verdicts = [(entry, verdict) for entry in measured for verdict in entry.verdicts()]
    held = sum(verdict.said == "held" for _, verdict in verdicts)
    lines = [f"{held} of {len(verdicts)} figures held."]
    for entry, verdict in verdicts:
        if verdict.said != "held":
            lines.append(f"  {entry.case.suite} {entry.case.name}: {verdict.text()}")
    noisy = sum(any(times.noisy for times in entry.times.values()) for entry in measured)
    if noisy:
        lines.append(
            f"{noisy} of {len(measured)} cases are noisy, a median over {NOISY} times the best: "
            "measure again when nothing else runs."
        )
    for entry in measured:
        lines += [f"  WRONG: {entry.case.suite} {entry.case.name}: {n}" for n in entry.wrong()]
    return "\n".join(lines)


def exit_code(measured: list[Measured], hold: bool) -> int:
    """1 where an answer is wrong, or, with hold, a figure was missed or not measured; else 0."""
    wrong = any(entry.wrong() for entry in measured)
    missed = any(v.said != "held" for entry in measured for v in entry.verdicts())
    return 1 if wrong or (hold and missed) else 0


def write_json(path: Path, head: dict[str, Any], measured: list[Measured]) -> None:
    """`head` and one entry a case; the folder is made where it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {**head, "cases": [entry.record() for entry in measured]}
    path.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
