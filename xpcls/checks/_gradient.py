"""The gradient by its definition, against the one that was derived."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from xpcls.options import check_integer, check_number
from xpcls_backends import (
    Array,
    as_array,
    device_of,
    flatnonzero,
    host_generator,
    like,
    namespace_of,
    row_blocks,
    rows_within,
    scratch_bytes,
    to_host,
    widest_float,
)

from ._diagnose import diagnosis_of
from ._result import Check, concluded, numbers_of
from ._slopes import HALVES, Slopes, at_a_step, at_half_steps

Position = tuple[int, ...]
ALIKE = 1e-10  # how well what is known of the changes of f has to agree with f, relative
# Coordinates and steps (P,) -> what f changes by a step up, and by a step down; on the host.
Changes = Callable[[Any, Any], tuple[Any, Any]]


@dataclass(frozen=True, kw_only=True)
class GradientCheck(Check):
    """max_relative_error : over the coordinates compared, |a - n| / (|a| + |n|).

    worst : the coordinate with that error, None where none was compared. analytic, numerical :
    the two numbers there. coordinates : how many were compared. kinks, kink_positions : where f
    has a kink within a step. A kink is not compared: there a gradient has to lie between the
    slopes on both sides, and counts as wrong, with the nearer slope as n, only where it does not.
    """

    title: ClassVar[str] = "gradient check"

    max_relative_error: float
    worst: Position | None
    analytic: float
    numerical: float
    coordinates: int
    kinks: int
    kink_positions: tuple[Position, ...]
    tolerance: float

    def numbers(self) -> str:
        where = (
            ""
            if self.worst is None
            else (f" at {self.worst}, analytic {self.analytic:.6g}, numerical {self.numerical:.6g}")
        )
        return (
            f"largest relative error {self.max_relative_error:.2g} (at most {self.tolerance:g})"
            f"{where}; {self.coordinates} coordinates compared, {self.kinks} kinks"
        )


def gradient_check(
    f: Callable[[Array], Any],
    x: Any,
    gradient: Any = None,
    *,
    h: float = 1e-5,
    coordinates: int | None = 100,
    tolerance: float = 1e-7,
    random_state: Any = 0,
    batched: bool = False,
    raise_on_failure: bool = False,
) -> GradientCheck:
    """Compare a gradient with central differences, coordinate by coordinate.

    n_i = (f(x + h e_i) - f(x - h e_i)) / (2 h), whose error falls with h^2; a one-sided
    difference has an error that falls with h alone, and is 1e5 times worse.

    f : function of an array like `x` that gives a number, or (number, gradient).
    x : where, an array of any shape, float64: in float32 the differences drown in rounding.
    gradient : the gradient to be checked: an array like x, or a function of x; None where f
        gives it.
    h : the step, relative to a coordinate that is above 1.
    coordinates : how many are drawn at random; None for all.
    tolerance : the largest relative error that passes. By the course's notes 1e-7 is good, 1e-4
        is all right where f has kinks, and 1e-2 is certainly wrong.
    batched : f takes a stack (P, *x.shape) and gives (P,), or ((P,), (P, *x.shape)); many
        coordinates are then one call, which is several times as fast.

    A relative error of 0/0 is 0, and differences that rounding explains count as none. Where the
    gradient is not the central difference, or the slopes to both sides are not alike, f is
    evaluated at half steps too. Kinks are found by its slopes over four of them: where f is smooth
    they change evenly.

    Returns a `GradientCheck`. CS231n, notes on neural networks 3, "gradient checks".
    """
    h = check_number("h", h, above=0)
    tolerance = check_number("tolerance", tolerance, above=0)
    x = _float64("x", as_array(x, "x"))
    analytic, transposed = _analytic(f, x, gradient, batched)
    return compared(
        Evaluations(f, x, batched),
        analytic,
        h,
        coordinates,
        tolerance,
        random_state,
        raise_on_failure,
        transposed=transposed,
    )


class Evaluations:
    """f where single coordinates of x are changed. center : f(x), where it is known."""

    def __init__(
        self, f: Callable[[Array], Any], x: Array, batched: bool = False, center: float = math.nan
    ) -> None:
        self.x, self.center = x, center
        self._f, self._batched = f, batched

    def __call__(self, places: Any, entries: Any) -> Any:
        """f where x[places[i]] is entries[i], for each i; (m,) on the host."""
        x = self.x
        xp, device = namespace_of(x), device_of(x)
        flat = _flat(x)
        columns, replaced = like(places, x), like(entries, x)
        every = xp.arange(flat.shape[0], dtype=columns.dtype, device=device)
        values = []
        for part in row_blocks(places.shape[0], rows_within(scratch_bytes(xp), 32 * flat.shape[0])):
            here = every[None, :] == columns[part][:, None]
            stack = xp.where(here, replaced[part][:, None], flat[None, :])
            values.append(self._of_stack(xp.reshape(stack, (-1, *x.shape))))
        return namespace_of(*values).concat(values)

    def _of_stack(self, stack: Array) -> Any:
        if not self._batched:
            every = [_value(self._f(stack[i, ...])) for i in range(stack.shape[0])]
            return to_host(numbers_of(every))
        answer = _value(self._f(stack))
        if answer.shape != stack.shape[:1]:
            raise ValueError(
                f"f gives an array of shape {answer.shape} for a stack of shape {stack.shape}, "
                f"expected {stack.shape[:1]}; without batched=True f is called for one x at a time"
            )
        return to_host(answer)


def compared(
    evaluate: Evaluations,
    gradient: Array,
    h: float,
    coordinates: int | None,
    tolerance: float,
    random_state: Any,
    raise_on_failure: bool,
    *,
    transposed: bool = False,
    changes: Changes | None = None,
) -> GradientCheck:
    """See `gradient_check`. changes : a faster way to what f changes by, where there is one."""
    found, x = to_host(_flat(gradient)), to_host(_flat(evaluate.x))
    chosen = namespace_of(x).arange(x.shape[0], device=device_of(x))
    if coordinates is not None:
        count = check_integer("coordinates", coordinates, at_least=1)
        chosen = host_generator(random_state).permutation(chosen)[:count]
        chosen = namespace_of(x).sort(chosen, stable=True)
    x, analytic = x[chosen], found[chosen]
    slopes = _slopes(evaluate, chosen, x, analytic, h, tolerance, changes)
    worst = int(slopes.errors.argmax())
    largest = float(slopes.errors[worst])
    shape = tuple(gradient.shape)
    kinks = tuple(_position(i, shape) for i in chosen[slopes.unclear].tolist())
    smooth = chosen.shape[0] - len(kinks)
    square = gradient.ndim == 2 and gradient.shape[0] == gradient.shape[1]
    return concluded(
        GradientCheck(
            passed=largest <= tolerance and smooth > 0 and not transposed,
            diagnosis=diagnosis_of(
                analytic,
                slopes.numerical,
                x,
                slopes.errors,
                slopes.unclear,
                tolerance,
                transposed=transposed,
                of_transpose=to_host(_flat(gradient.mT))[chosen] if square else None,
            ),
            max_relative_error=largest,
            worst=_position(int(chosen[worst]), shape),
            analytic=float(analytic[worst]),
            numerical=float(slopes.numerical[worst]),
            coordinates=smooth,
            kinks=len(kinks),
            kink_positions=kinks,
            tolerance=tolerance,
        ),
        raise_on_failure,
    )


def _slopes(
    evaluate: Evaluations,
    chosen: Any,
    x: Any,
    analytic: Any,
    h: float,
    tolerance: float,
    changes: Changes | None,
) -> Slopes:
    """The slopes of f along the chosen coordinates, and how far the gradient is from them.

    Two points a coordinate are enough, but where these leave a doubt. Where they came from
    `changes`, f itself is asked again; and for all, if a step of 1 along the steepest coordinate
    changes f by something else. All arrays (P,) on the host.
    """
    xp, count = namespace_of(x), chosen.shape[0]
    steps = h * xp.maximum(xp.abs(x), 1.0)
    if changes is not None:
        steepest = int(xp.abs(analytic).argmax())
        tried = slice(steepest, steepest + 1)
        places = xp.concat((chosen, chosen[tried]))
        above, below = changes(places, xp.concat((steps, xp.ones_like(x[tried]))))
        center, width = evaluate.center, 2.0 * steps
        value = evaluate(chosen[tried], x[tried] + 1.0)[0]
        if not abs(value - center - above[count]) <= ALIKE * (abs(value) + abs(center)):
            return _slopes(evaluate, chosen, x, analytic, h, tolerance, None)
        above, below = above[:count], below[:count]
    else:
        up, down = x + steps, x - steps
        # f(x) itself is one more, with an entry put in the place of its like.
        places = xp.concat((chosen, chosen, chosen[:1]))
        values = evaluate(places, xp.concat((up, down, x[:1])))
        center, width = values[-1], up - down
        above, below = values[:count] - center, values[count:-1] - center
    slopes = at_a_step(analytic, steps, above, below, width, abs(center), tolerance)
    again = flatnonzero(slopes.unclear)
    count = again.shape[0]
    if count == 0:
        return slopes
    x, analytic = x[again], analytic[again]
    if changes is not None:
        closer = _slopes(evaluate, chosen[again], x, analytic, h, tolerance, None)
    else:
        points = xp.stack([x + part * steps[again] for part in HALVES], axis=1)
        places = xp.concat((chosen[again], chosen[again]))
        halves = evaluate(places, xp.concat((points[:, 1], points[:, 3]))) - center
        line = (below[again], halves[:count], xp.zeros_like(x), halves[count:], above[again])
        closer = at_half_steps(analytic, points, xp.stack(line, axis=1), abs(center), tolerance)
    slopes.numerical[again] = closer.numerical
    slopes.errors[again] = closer.errors
    slopes.unclear[again] = closer.unclear
    return slopes


def _value(answer: Any) -> Any:
    value = answer[0] if isinstance(answer, tuple) else answer
    return _float64("what f gives", value) if hasattr(value, "dtype") else value


def _analytic(
    f: Callable[[Array], Any], x: Array, gradient: Any, batched: bool
) -> tuple[Array, bool]:
    """The gradient to be checked, shaped as x, and whether it came as its transpose."""
    if callable(gradient):
        gradient = gradient(x)
    elif gradient is None:
        answer = f(x[None, ...] if batched else x)
        if not isinstance(answer, tuple):
            raise TypeError(
                "gradient is None and f gives a value alone; give gradient=, or let f give "
                "(value, gradient)"
            )
        gradient = answer[1][0, ...] if batched else answer[1]
    gradient = _float64("gradient", as_array(gradient, "gradient"))
    if gradient.shape == x.shape:
        return gradient, False
    if gradient.ndim == 2 and gradient.mT.shape == x.shape:
        return gradient.mT, True
    raise ValueError(f"gradient has shape {gradient.shape}, expected that of x, {x.shape}")


def _float64(name: str, x: Array) -> Array:
    """`x` itself; raise unless it is float64."""
    xp = namespace_of(x)
    if x.dtype != xp.float64:
        needs_float64(x)
        raise TypeError(
            f"{name} is {x.dtype}, expected float64: in fewer digits differences over a small step "
            "are mostly rounding; use xp.astype(x, xp.float64), also inside f"
        )
    return x


def needs_float64(x: Array) -> None:
    xp, device = namespace_of(x), device_of(x)
    if widest_float(xp, device) != xp.float64:
        raise TypeError(
            f"a gradient check needs float64, which {device} does not have; move the arrays to "
            "the CPU with xpcls.to_host(x)"
        )


def _flat(x: Array) -> Array:
    return namespace_of(x).reshape(x, (-1,))


def _position(i: int, shape: Position) -> Position:
    """Where the i-th entry of an array stands, rows first."""
    position: list[int] = []
    for n in reversed(shape):
        i, here = divmod(i, n)
        position.insert(0, here)
    return tuple(position)
