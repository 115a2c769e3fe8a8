"""What is measured: a case, the contestants in it, and what a check found of their answers."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

Check = Callable[[dict[str, Any]], "dict[str, Finding]"]

PLAIN = {"XPCLS_KERNELS": "off"}  # the environment in which xpcls runs on NumPy alone


@dataclass(frozen=True)
class Contestant:
    """Something that is timed.

    name : how it is called in the table, unique in its case.
    build : "module:function"; called in the contestant's own process with **options and
        threads=..., it prepares everything that is not to be timed and returns two functions of
        no arguments: `run`, which is timed, and `answer`, whose result, JSON, is checked.
    settings : how it is configured, in words; recorded with the times.
    needs : modules without which it is left out.
    holds : peer's name -> how many times that peer's time it takes at most.
    limit_ms : how many milliseconds it takes at most, whatever the peers take; None: no limit.
    environment : variables of its process beside those that all have.
    threads : of this contestant, where it is not the number that all have.
    curve, x : the curve of a picture that its time belongs to, and where on the axis it stands.
    """

    name: str
    build: str
    options: dict[str, Any] = field(default_factory=dict)
    settings: str = ""
    needs: tuple[str, ...] = ()
    holds: dict[str, float] = field(default_factory=dict)
    limit_ms: float | None = None
    environment: dict[str, str] = field(default_factory=dict)
    threads: int | None = None
    curve: str = ""
    x: float = 0.0

    def missing(self) -> list[str]:
        """Modules that it needs and that are not installed."""
        return [name for name in self.needs if importlib.util.find_spec(name) is None]

    def unheld(self) -> Contestant:
        """The same with nothing to hold."""
        return replace(self, holds={}, limit_ms=None)

    def plain(self, holds: dict[str, float], name: str = "xpcls plain") -> Contestant:
        """The same without kernels, held to what NumPy alone has to reach."""
        settings = f"{self.settings}; XPCLS_KERNELS=off"
        return replace(self, name=name, settings=settings, holds=holds, environment=PLAIN)


@dataclass(frozen=True)
class Finding:
    """What a check says of one contestant's answer; `ok` is None where nothing is demanded."""

    text: str
    ok: bool | None = None


@dataclass(frozen=True)
class Case:
    """Contestants at the same work on the same rows; the first of them is xpcls.

    check : from the answers by contestant's name, what there is to say of some of them.
    most_rounds : how many rounds are enough; 0: the answers count alone. None: as many as asked.
    axis : what x of the contestants' curves counts; empty: this is no growth.
    linear : name of a curve -> the largest relative distance of its times from a line.
    """

    suite: str
    name: str
    contestants: tuple[Contestant, ...]
    check: Check = lambda answers: {}
    most_rounds: int | None = None
    axis: str = ""
    linear: dict[str, float] = field(default_factory=dict)

    def unheld(self) -> Case:
        """The same with nothing to hold."""
        contestants = tuple(contestant.unheld() for contestant in self.contestants)
        return replace(self, contestants=contestants, linear={})
