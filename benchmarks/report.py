"""What was measured, as rows of a table, as JSON, and whether it was what is to be held."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .cases import Case, Finding
from .timing import NOISY, Times


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

    def ratio(self, peer: str) -> float | None:
        """xpcls' best time / the peer's; None where one of them was not timed."""
        ours = self.times.get(self.case.contestants[0].name)
        theirs = self.times.get(peer)
        return None if ours is None or theirs is None else ours.best / theirs.best

    def verdicts(self) -> dict[str, str]:
        """Of each contestant with a ratio to hold: "held", "missed" or "not measured"."""
        said = {}
        for contestant in self.case.contestants:
            if contestant.hold is not None:
                ratio = self.ratio(contestant.name)
                if ratio is None:
                    said[contestant.name] = "not measured"
                else:
                    said[contestant.name] = "held" if ratio <= contestant.hold else "missed"
        return said

    def wrong(self) -> list[str]:
        """Contestants whose answers a check turned down."""
        return [name for name, finding in self.findings.items() if finding.ok is False]

    def lines(self) -> Iterator[str]:
        """The case's part of the table."""
        rounds = max((len(times.rounds) for times in self.times.values()), default=0)
        yield f"{self.case.suite}  {self.case.name}  (rounds: {rounds})"
        verdicts = self.verdicts()
        for contestant in self.case.contestants:
            name = contestant.name
            if name in self.missing:
                modules = ", ".join(self.missing[name])
                yield f"  {name:<22} not measured: {modules} is not installed"
                continue
            times, ratio = self.times[name], self.ratio(name)
            line = f"  {name:<22}{times.best:>12,.2f}{times.median:>12,.2f}"
            if contestant is not self.case.contestants[0]:
                line += f"{ratio:>10.2f}"
            if contestant.hold is not None:
                line += f"   <= {contestant.hold:.2f} {verdicts[name]}"
            yield line + ("   (noisy)" if times.noisy else "")
        for name, finding in self.findings.items():
            yield f"    {name}: {'WRONG: ' if finding.ok is False else ''}{finding.text}"

    def record(self) -> dict[str, Any]:
        """For JSON."""
        verdicts = self.verdicts()
        contestants = []
        for contestant in self.case.contestants:
            name, times = contestant.name, self.times.get(contestant.name)
            entry: dict[str, Any] = {"name": name, "settings": contestant.settings}
            if times is None:
                entry["missing"] = self.missing.get(name, [])
            else:
                entry["best_ms"] = round(times.best, 4)
                entry["median_ms"] = round(times.median, 4)
                entry["rounds_ms"] = [round(time, 4) for time in times.rounds]
                entry["pools"] = self.pools.get(name, [])
            if contestant is not self.case.contestants[0]:
                ratio = self.ratio(name)
                entry["ratio_of_best"] = None if ratio is None else round(ratio, 4)
            if contestant.hold is not None:
                entry["hold"], entry["verdict"] = contestant.hold, verdicts[name]
            if name in self.findings:
                entry["check"] = asdict(self.findings[name])
            contestants.append(entry)
        return {"suite": self.case.suite, "case": self.case.name, "contestants": contestants}


HEADING = f"  {'':<22}{'best ms':>12}{'median ms':>12}{'xpcls / it':>12}   to hold"


def summary(measured: list[Measured]) -> str:
    """How many ratios were held, which were not, and whether the machine was quiet."""
    verdicts = [
        (entry, peer, verdict) for entry in measured for peer, verdict in entry.verdicts().items()
    ]
    held = sum(verdict == "held" for _, _, verdict in verdicts)
    lines = [f"{held} of {len(verdicts)} ratios held."]
    for entry, peer, verdict in verdicts:
        if verdict != "held":
            ratio = entry.ratio(peer)
            figure = "" if ratio is None else f", {ratio:.2f}"
            lines.append(f"  {verdict}: {entry.case.suite} {entry.case.name} / {peer}{figure}")
    noisy = sum(any(times.noisy for times in entry.times.values()) for entry in measured)
    if noisy:
        lines.append(
            f"{noisy} of {len(measured)} cases are noisy, a median over {NOISY} times the best: "
            "measure again when nothing else runs."
        )
    for entry in measured:
        lines += [f"  WRONG: {entry.case.suite} {entry.case.name}: {n}" for n in entry.wrong()]
    return "\n".join(lines)


def write_json(path: Path, head: dict[str, Any], measured: list[Measured]) -> None:
    """`head` and one entry a case; the folder is made where it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {**head, "cases": [entry.record() for entry in measured]}
    path.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
