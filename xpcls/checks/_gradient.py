"""The gradient by its definition, against the one that was derived."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from xpcls.options import check_integer, check_number
from xpcls.trained import TrainedClassifier
from xpcls.validation import check_labels, check_rows
from xpcls_backends import (
    Array,
    as_array,
    device_of,
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

Position = tuple[int, ...]

OFFSETS = (-1.0, -0.5, 0.0, 0.5, 1.0)  # where f is evaluated, in steps
EPSILON = 2.0**-52
# Rounding: a slope over one step is wrong by at most so many EPSILON * |f| / step. A generous
# guess, since nobody knows how f is computed; it matters for entries close to 0 alone.
ROUNDING = 32.0


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
        coordinates are then one call, which matters on a GPU.

    A relative error of 0/0 is 0, and differences that rounding explains count as none. Kinks are
    found by the slopes of f over four half steps: where f is smooth they change evenly.

    Returns a `GradientCheck`. CS231n, notes on neural networks 3, "gradient checks".
    """
    h = check_number("h", h, above=0)
    tolerance = check_number("tolerance", tolerance, above=0)
    x = _float64("x", as_array(x, "x"))
    analytic, transposed = _analytic(f, x, gradient, batched)
    size = int(to_host(analytic).size)
    count = size
    if coordinates is not None:
        count = min(size, check_integer("coordinates", coordinates, at_least=1))
    chosen = sorted(host_generator(random_state).permutation(size)[:count].tolist())
    points, values = _slices_of(f, x, chosen, h, batched)
    measured = _Slopes(points, values, to_host(_flat(analytic))[chosen], h, tolerance)
    positions = [_position(i, tuple(x.shape)) for i in chosen]
    order = measured.errors.argsort(kind="stable")
    worst = int(order[-1])
    compared = int((~measured.kinked).sum())
    largest = float(measured.errors[worst])
    kinks = tuple(
        p for p, kinked in zip(positions, measured.kinked.tolist(), strict=True) if kinked
    )
    square = analytic.ndim == 2 and analytic.shape[0] == analytic.shape[1]
    return concluded(
        GradientCheck(
            passed=largest <= tolerance and compared > 0 and not transposed,
            diagnosis=diagnosis_of(
                measured.analytic,
                measured.numerical,
                points[:, 2],
                measured.errors,
                measured.kinked,
                tolerance,
                transposed=transposed,
                of_transpose=to_host(_flat(analytic.mT))[chosen] if square else None,
            ),
            max_relative_error=largest,
            worst=positions[worst],
            analytic=float(measured.analytic[worst]),
            numerical=float(measured.numerical[worst]),
            coordinates=compared,
            kinks=len(kinks),
            kink_positions=kinks,
            tolerance=tolerance,
        ),
        raise_on_failure,
    )


def check_gradients(
    model: TrainedClassifier,
    X: Any,
    y: Any,
    *,
    rows: int = 50,
    random_state: Any = 0,
    **options: Any,
) -> GradientCheck:
    """`gradient_check` of what a classifier minimises, in all its parameters.

    The point is random, and the objective is the whole one, with its penalties: of a linear
    classifier mean loss + l2 sum(W^2) + l1 sum(|W|), with the subgradient of the last term added
    to that of training, which leaves it to a proximal step; of a network without dropout.

    model : fitted or not; its parameters alone count. X, y : as for `fit`; `rows` of them are
    drawn, and scaled so that the largest feature is 1, which no formula depends on.
    options : those of `gradient_check`. Coordinates are those of the parameters one after the
    other: of a linear classifier a matrix (D + 1, C), the weights with the bias as last row; of a
    network a vector. Needs a device with float64.
    """
    found = check_rows(X, "check_gradients")
    xp = namespace_of(found)
    _needs_float64(found)
    classes, codes = check_labels(y, found, "check_gradients")
    generator = host_generator(random_state)
    some = like(generator.permutation(found.shape[0])[:rows], found)
    few = xp.astype(xp.take(found, some, axis=0), xp.float64)
    codes = xp.take(codes, some, axis=0)
    largest = xp.max(xp.abs(few))
    few = few / xp.where(largest > 0, largest, xp.ones_like(largest))
    trial, point = model._trial(X, few, codes, classes.shape[0], generator)
    shapes = [p.shape for p in point]
    linear = len(point) == 2 and point[0].shape[1:] == point[1].shape

    def together(arrays: Sequence[Array]) -> Array:
        flat = xp.concat([xp.reshape(a, (-1,)) for a in arrays])
        return xp.reshape(flat, (-1, shapes[1][0])) if linear else flat

    def objective(x: Array) -> tuple[Array, Array]:
        flat, arrays, start = xp.reshape(x, (-1,)), [], 0
        for shape in shapes:
            stop = start + math.prod(shape)
            arrays.append(xp.reshape(flat[start:stop], shape))
            start = stop
        value, gradients = trial(tuple(arrays), True)
        assert gradients is not None
        return value, together(gradients)

    return gradient_check(objective, together(point), random_state=generator, **options)


class _Slopes:
    """What the values of f on five points a coordinate say; all attributes (P,) on the host."""

    def __init__(self, points: Any, values: Any, analytic: Any, h: float, tolerance: float) -> None:
        xp = namespace_of(points)
        slopes = (values[:, 1:] - values[:, :-1]) / (points[:, 1:] - points[:, :-1])
        central = (values[:, 4] - values[:, 0]) / (points[:, 4] - points[:, 0])
        rounding = (
            ROUNDING * EPSILON * xp.max(xp.abs(values), axis=1) / (points[:, 4] - points[:, 2])
        )
        # Where f is smooth the slopes of neighbouring half steps differ evenly, by h/2 f''. A kink
        # adds its jump at one or two of the three places where they meet, never equally at all
        # three, and what it adds to the differences bounds what it adds to the central one.
        bends = slopes[:, 1:] - slopes[:, :-1]
        unevenness = xp.max(bends, axis=1) - xp.min(bends, axis=1)
        size = xp.abs(analytic) + xp.abs(central)
        self.kinked = unevenness > xp.maximum(rounding, tolerance * size)
        low = xp.min(slopes, axis=1) - unevenness
        high = xp.max(slopes, axis=1) + unevenness
        between = xp.minimum(xp.maximum(analytic, low), high)
        self.analytic = analytic
        self.numerical = xp.where(self.kinked, between, central)
        size = xp.abs(analytic) + xp.abs(self.numerical)
        floor = xp.maximum(rounding / tolerance, xp.full_like(size, 1e-300))
        self.errors = xp.abs(analytic - self.numerical) / xp.maximum(size, floor)
        # Not a number is as wrong as can be.
        self.errors = xp.where(xp.isnan(self.errors), xp.full_like(size, float("inf")), self.errors)


def _slices_of(
    f: Callable[[Array], Any], x: Array, chosen: list[int], h: float, batched: bool
) -> tuple[Any, Any]:
    """Coordinates (P, 5) along each chosen one, the others as in x, and f there; on the host."""
    xp, device = namespace_of(x), device_of(x)
    flat = _flat(x)
    host = to_host(flat)[chosen]
    on_host = namespace_of(host)
    steps = h * on_host.maximum(abs(host), on_host.ones_like(host))
    points = on_host.stack([host + offset * steps for offset in OFFSETS], axis=1)
    columns = [i for i in chosen for _ in OFFSETS]
    replaced = like(points.reshape(-1), x)
    places = like(columns, x)
    every = xp.arange(flat.shape[0], dtype=places.dtype, device=device)
    values: list[float] = []
    for part in row_blocks(len(columns), rows_within(scratch_bytes(xp), 32 * flat.shape[0])):
        here = every[None, :] == places[part][:, None]
        stack = xp.where(here, replaced[part][:, None], flat[None, :])
        stack = xp.reshape(stack, (stack.shape[0], *x.shape))
        values.extend(_evaluated(f, stack, batched))
    return points, to_host(values).reshape(points.shape)


def _evaluated(f: Callable[[Array], Any], stack: Array, batched: bool) -> list[float]:
    """f of each array of a stack."""
    if not batched:
        return numbers_of([_value(f(stack[i, ...])) for i in range(stack.shape[0])])
    answer = _value(f(stack))
    if answer.shape != stack.shape[:1]:
        raise ValueError(
            f"f gives an array of shape {answer.shape} for a stack of shape {stack.shape}, "
            f"expected {stack.shape[:1]}; without batched=True f is called for one x at a time"
        )
    values: list[float] = to_host(answer).tolist()
    return values


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
        _needs_float64(x)
        raise TypeError(
            f"{name} is {x.dtype}, expected float64: in fewer digits differences over a small step "
            "are mostly rounding; use xp.astype(x, xp.float64), also inside f"
        )
    return x


def _needs_float64(x: Array) -> None:
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
