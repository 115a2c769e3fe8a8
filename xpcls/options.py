"""Checks of hyper-parameters, and of other arguments that are one value."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any


def check_number(
    name: str,
    value: object,
    *,
    above: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
) -> float:
    """A finite number within the limits given, or an error with its name and value."""
    limits = {"above": above, "of at least": at_least, "below": below, "of at most": at_most}
    given = [f"{word} {limit:g}" for word, limit in limits.items() if limit is not None]
    wanted = " ".join(("a finite number", " and ".join(given))).rstrip()
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} is {shown(value)}, expected {wanted}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if (
        not math.isfinite(number)
        or (above is not None and number <= above)
        or (at_least is not None and number < at_least)
        or (below is not None and number >= below)
        or (at_most is not None and number > at_most)
    ):
        raise ValueError(f"{name} is {shown(value)}, expected {wanted}")
    return number


def check_integer(name: str, value: object, *, at_least: int, at_most: int | None = None) -> int:
    """An integer within the limits given, or an error with its name and value."""
    upto = "" if at_most is None else f" and at most {at_most}"
    wanted = f"an integer of at least {at_least}{upto}"
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} is {shown(value)}, expected {wanted}")
    number = int(value)
    if number < at_least or (at_most is not None and number > at_most):
        raise ValueError(f"{name} is {shown(value)}, expected {wanted}")
    return number


def check_choice(name: str, value: object, choices: Any) -> Any:
    """One of `choices`, or an error that lists them."""
    if not isinstance(value, str) or value not in choices:
        listed = ", ".join(map(repr, choices))
        raise ValueError(f"{name} is {shown(value)}, expected one of {listed}")
    return value


def check_flag(name: str, value: object) -> None:
    """True or False, NumPy's too, and nothing that is merely true or false in a condition."""
    if not isinstance(value, bool) and type(value).__name__ != "bool":
        raise TypeError(f"{name} is {shown(value)}, expected True or False")


def shown(value: object, limit: int = 80) -> str:
    """`repr(value)` for a message: on one line, and not too long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= limit else f"{text[:limit]}..."
