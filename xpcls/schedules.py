"""Learning-rate schedules: functions (epoch from 0, epochs) -> factor of the learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from .options import shown

Schedule = Callable[[int, int], float]


@dataclass(frozen=True)
class Constant:
    """The learning rate as it was given, all along."""

    def __call__(self, epoch: int, epochs: int) -> float:
        return 1.0


@dataclass(frozen=True)
class Step:
    """Multiplied by `factor` after every `every` epochs."""

    every: int = 10
    factor: float = 0.5

    def __call__(self, epoch: int, epochs: int) -> float:
        return self.factor ** (epoch // self.every)


@dataclass(frozen=True)
class Exponential:
    """Multiplied by `factor` after every epoch."""

    factor: float = 0.95

    def __call__(self, epoch: int, epochs: int) -> float:
        return self.factor**epoch


@dataclass(frozen=True)
class Cosine:
    """From 1 at the first epoch along half a cosine to `floor` at the end of the last.

    Loshchilov and Hutter, SGDR, 2017, without restarts.
    """

    floor: float = 0.0

    def __call__(self, epoch: int, epochs: int) -> float:
        half_wave = 0.5 * (1.0 + math.cos(math.pi * epoch / epochs))
        return self.floor + (1.0 - self.floor) * half_wave


SCHEDULES: dict[str, Callable[[], Schedule]] = {
    "constant": Constant,
    "step": Step,
    "exponential": Exponential,
    "cosine": Cosine,
}


def make_schedule(schedule: str | Schedule) -> Schedule:
    """The schedule of that name, or `schedule` itself where it can be called."""
    if isinstance(schedule, str) and schedule in SCHEDULES:
        return SCHEDULES[schedule]()
    if isinstance(schedule, type) or not callable(schedule):
        names = ", ".join(map(repr, SCHEDULES))
        raise ValueError(
            f"schedule is {shown(schedule)}, expected one of {names}, or a function "
            "(epoch, epochs) -> factor"
        )
    return schedule
