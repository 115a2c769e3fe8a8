"""What every check returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from xpcls_backends import is_array, namespace_of, to_host


class CheckError(AssertionError):
    """A check failed and was asked to raise; the message is the result in words."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """The result of a check. `diagnosis` : one sentence on what the numbers mean."""

    title: ClassVar[str]

    passed: bool
    diagnosis: str

    def __str__(self) -> str:
        verdict = "passed" if self.passed else "FAILED"
        return f"{self.title} {verdict}: {self.numbers()}; {self.diagnosis}"

    def numbers(self) -> str:
        """The numbers that decide, in a few words."""
        raise NotImplementedError


AnyCheck = TypeVar("AnyCheck", bound=Check)


def concluded(result: AnyCheck, raise_on_failure: bool) -> AnyCheck:
    """The result, or a CheckError."""
    if raise_on_failure and not result.passed:
        raise CheckError(str(result))
    return result


def numbers_of(values: list[Any]) -> list[float]:
    """Values of a function, arrays of one element or Python numbers, in one transfer."""
    if not values or not is_array(values[0]):
        return [float(value) for value in values]
    xp = namespace_of(*values)
    flat: list[float] = to_host(xp.concat([xp.reshape(v, (-1,)) for v in values])).tolist()
    if len(flat) != len(values):
        raise ValueError(
            f"the function gives an array of shape {values[0].shape}, expected one number"
        )
    return flat
