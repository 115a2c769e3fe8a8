"""What is measured: a case, the contestants in it, and what a check found of their answers."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Check = Callable[[dict[str, Any]], "dict[str, Finding]"]


@dataclass(frozen=True)
class Contestant:
    """Something that is timed.

    name : how it is called in the table, unique in its case.
    build : "module:function"; called in the contestant's own process with **options and
        threads=..., it prepares everything that is not to be timed and returns two functions of
        no arguments: `run`, which is timed, and `answer`, whose result, JSON, is checked.
    settings : how it is configured, in words; recorded with the times.
    needs : modules without which it is left out.
    hold : xpcls takes at most so many times this contestant's time; None: shown for information.
    """

    name: str
    build: str
    options: dict[str, Any] = field(default_factory=dict)
    settings: str = ""
    needs: tuple[str, ...] = ()
    hold: float | None = None

    def missing(self) -> list[str]:
        """Modules that it needs and that are not installed."""
        return [name for name in self.needs if importlib.util.find_spec(name) is None]


@dataclass(frozen=True)
class Finding:
    """What a check says of one contestant's answer; `ok` is None where nothing is demanded."""

    text: str
    ok: bool | None = None


@dataclass(frozen=True)
class Case:
    """Contestants at the same work on the same rows; the first of them is xpcls.

    check : from the answers by contestant's name, what there is to say of some of them.
    """

    suite: str
    name: str
    contestants: tuple[Contestant, ...]
    check: Check = lambda answers: {}
