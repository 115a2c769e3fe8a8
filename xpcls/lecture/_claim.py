"""What a claim is, and what running it gives: numbers, sentences, and what had to hold."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from xpcls.plots import Picture
from xpcls_backends import (
    Array,
    Backend,
    HostGenerator,
    get_backend,
    host_generator,
    to_host,
    widest_float,
)

Number = str | int | float


@dataclass(frozen=True)
class Assertion:
    """A number that has to lie between two limits, each of which may be infinite."""

    what: str
    value: float
    low: float = -math.inf
    high: float = math.inf

    @property
    def holds(self) -> bool:
        """Whether it does; NaN lies nowhere."""
        return self.low <= self.value <= self.high

    @property
    def limit(self) -> str:
        """The limits in words."""
        if math.isinf(self.low):
            return f"at most {self.high:.4g}"
        if math.isinf(self.high):
            return f"at least {self.low:.4g}"
        return f"{self.low:.4g} to {self.high:.4g}"

    def __str__(self) -> str:
        stated = f"{self.what} is {self.value:.4g}, expected {self.limit}"
        if self.holds or math.isnan(self.value):
            return stated
        if self.value > self.high:
            return f"{stated}: {self.value - self.high:.3g} too much"
        return f"{stated}: {self.low - self.value:.3g} too little"


def at_least(what: str, value: float, low: float) -> Assertion:
    return Assertion(what, float(value), low=low)


def at_most(what: str, value: float, high: float) -> Assertion:
    return Assertion(what, float(value), high=high)


def within(what: str, value: float, low: float, high: float) -> Assertion:
    return Assertion(what, float(value), low, high)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What running a claim gave.

    name, title : of the claim. sentences : what follows where the claim holds, in words with the
    numbers in them; print `report`, which knows whether it does. headings, rows : the same as a
    table of Python numbers. assertions : what had to hold.
    """

    name: str = ""
    title: str = ""
    sentences: tuple[str, ...]
    headings: tuple[str, ...]
    rows: tuple[tuple[Number, ...], ...]
    assertions: tuple[Assertion, ...]
    draw: Callable[[], Picture] = field(repr=False, compare=False)

    @property
    def holds(self) -> bool:
        """Whether everything that had to hold does."""
        return not self.failed

    @property
    def failed(self) -> tuple[Assertion, ...]:
        """What had to hold and does not."""
        return tuple(assertion for assertion in self.assertions if not assertion.holds)

    @property
    def report(self) -> tuple[str, ...]:
        """The sentences; where something does not hold, that instead: they would be untrue."""
        return tuple(map(str, self.failed)) or self.sentences

    def picture(self) -> Picture:
        """What was found as a picture."""
        return self.draw()

    def __str__(self) -> str:
        return f"{self.name}: {' '.join(self.report)}"


class ClaimFailed(AssertionError):
    """Something that a claim needs does not hold; says what, and by how much.

    finding : all that was found, what failed among it.
    """

    def __init__(self, finding: Finding) -> None:
        failed = finding.failed
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        super().__init__(f"{finding.name} failed: {failed[0]}{more}")
        self.finding = finding


Measure = Callable[[Backend, HostGenerator], Finding]


@dataclass(frozen=True)
class Claim:
    """A sentence of the lecture that can be run.

    name : short, for the command line. title : the sentence. measure(backend, generator) : the
    experiment. size : how many numbers it works on at a time, about, where they are not a few.
    """

    name: str
    title: str
    measure: Measure
    size: int = 0

    @property
    def explanation(self) -> str:
        """The claim at length: the formula, and what is measured."""
        return inspect.cleandoc(self.measure.__doc__ or "")

    def run(self, backend: Backend | str = "auto", random_state: Any = 0) -> Finding:
        """Run the experiment on a backend, or on the backend of that name.

        random_state : an integer, None or a numpy Generator; all random numbers are drawn from it
            on the host, so that one integer gives the same data on every device.

        Raises ClaimFailed where something does not hold.
        """
        place = get_backend(backend) if isinstance(backend, str) else backend
        found = self.measure(place, host_generator(random_state))
        finding = replace(found, name=self.name, title=self.title)
        if not finding.holds:
            raise ClaimFailed(finding)
        return finding


def claim(name: str, title: str, size: int = 0) -> Callable[[Measure], Claim]:
    """Make a claim of the function that measures it."""
    return lambda measure: Claim(name, title, measure, size)


def floats(x: Any, backend: Backend, *, wide: bool = False) -> Array:
    """Host numbers as float32 of a backend; `wide`: float64 where the device has it."""
    return backend.asarray(to_host(x).astype(wide_name(backend) if wide else "float32"))


def wide_name(backend: Backend) -> str:
    """The name of the widest floating dtype of a backend."""
    wide = widest_float(backend.xp, backend.device) == backend.xp.float64
    return "float64" if wide else "float32"
