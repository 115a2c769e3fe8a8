"""Optimisers as pure updates; also the names of schedules.py, which go with them.

An optimiser moves a tuple of arrays downhill:

    state = optimizer.start(parameters)
    parameters, state, value = optimizer.step(objective, parameters, state, rate, generator)

`objective(parameters, with_gradient)` gives the loss, and a tuple of gradients or None, on the
mini-batch of the step. The gradients are given away: a step may write into them. Parameters and
state are never changed in place, so an interrupted run keeps its last finished step. `value`, the
loss, is an array on the device: no step reads it.

An objective may save the step passes over memory. It then has two functions more:

    value, gradients, strengths = objective.apart(parameters, seed)
    objective.penalise(strength, squares)

The first gives the loss without its penalties, strengths[i] * sum(parameters[i]^2), and the
gradients of seed times that. The step adds the penalties' gradients while it moves the parameters,
and hands their sums of squares, or parts of these, to the second: its own value is without them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from xpcls_backends import (
    Array,
    HostGenerator,
    StepRule,
    like,
    moved,
    namespace_of,
    update_blocks,
)

from .options import shown
from .regularizers import sum_of_squares
from .schedules import SCHEDULES as SCHEDULES
from .schedules import Constant as Constant
from .schedules import Cosine as Cosine
from .schedules import Exponential as Exponential
from .schedules import Schedule as Schedule
from .schedules import Step as Step
from .schedules import make_schedule as make_schedule

SMALL = 2**15  # entries; the arrays of such a parameter's step stay in a core's cache

Parameters = tuple[Array, ...]
State = tuple[int, tuple[Parameters, ...]]
Objective = Callable[[Parameters, bool], tuple[Array, Parameters | None]]


class Optimizer(Protocol):
    """What the training loop needs of an optimiser."""

    whole_batch: ClassVar[bool]  # one step an epoch, on all rows
    uses_gradient: ClassVar[bool]

    def start(self, parameters: Parameters) -> Any: ...

    def step(
        self,
        objective: Objective,
        parameters: Parameters,
        state: Any,
        rate: float,
        generator: HostGenerator,
    ) -> tuple[Parameters, Any, Array]: ...


class _GradientOptimizer:
    """A step along a direction that `direction` makes of the gradient.

    slots : how many arrays it keeps for each parameter, of its shape and 0 to begin with. The
    state is the number of steps, and those arrays.
    along_gradient : the direction is the gradient itself.
    """

    whole_batch: ClassVar[bool] = False
    uses_gradient: ClassVar[bool] = True
    slots: ClassVar[int] = 0
    along_gradient: ClassVar[bool] = False

    def start(self, parameters: Parameters) -> State:
        kept = tuple(
            tuple(namespace_of(p).zeros_like(p) for _ in range(self.slots)) for p in parameters
        )
        return 0, kept

    def direction(self, t: int, g: Array, *kept: Array) -> tuple[Array, ...]:
        """What to subtract for a rate of 1, then the arrays to keep; t is 1 at the first step.

        Works entry by entry.
        """
        raise NotImplementedError

    def step(
        self,
        objective: Any,  # an Objective, or one that has `apart`
        parameters: Parameters,
        state: State,
        rate: float,
        generator: HostGenerator,
    ) -> tuple[Parameters, State, Array]:
        if hasattr(objective, "apart"):
            seed = -rate if self.along_gradient else 1.0
            value, gradients, strengths = objective.apart(parameters, seed)
        else:
            seed, strengths = 1.0, (0.0,) * len(parameters)
            value, gradients = objective(parameters, True)
        assert gradients is not None
        t, kept = state[0] + 1, state[1]
        moved, new = [], []
        for p, g, arrays, strength in zip(parameters, gradients, kept, strengths, strict=True):
            p, arrays, squares = self._moved(t, p, g, arrays, rate, seed, strength)
            moved.append(p)
            new.append(arrays)
            for some in squares:
                objective.penalise(strength, some)
        return tuple(moved), (t, tuple(new)), value

    def _moved(
        self,
        t: int,
        p: Array,
        g: Array,
        kept: Parameters,
        rate: float,
        seed: float,
        strength: float,
    ) -> tuple[Array, Parameters, list[Array]]:
        """The next value of one parameter, what is kept for it, and its squares, in parts.

        A large one is moved block by block, and takes the place of its gradient: passes over
        memory, and pages that are new to the process, are what such a step costs.
        """
        rule = step_rule(self, t)
        found = None
        if (
            rule is not None
        ):  # a gradient of -rate times the loss is the whole step, with a rate of -1
            along = rate if seed == 1.0 else -1.0
            found = moved(rule, p, g, kept, along, 2.0 * strength * seed)
        if found is not None:
            return (*found, [sum_of_squares(p)] if strength else [])
        if p.size <= SMALL:
            return self._moved_block(t, p, g, kept, rate, seed, strength)
        new = tuple(namespace_of(p).empty_like(array) for array in kept)
        squares = []
        for rows in update_blocks(p):
            part = g[rows, ...]  # a view, of NumPy as of CuPy
            before = tuple(array[rows, ...] for array in kept)
            q, after, some = self._moved_block(t, p[rows, ...], part, before, rate, seed, strength)
            if q is not part:
                g[rows, ...] = q
            for array, found in zip(new, after, strict=True):
                array[rows, ...] = found
            squares += some
        return g, new, squares

    def _moved_block(
        self,
        t: int,
        p: Array,
        g: Array,
        kept: Parameters,
        rate: float,
        seed: float,
        strength: float,
    ) -> tuple[Array, Parameters, list[Array]]:
        """The next value of entries of a parameter, which may lie in the memory of g."""
        squares = []
        if strength:
            squares.append(sum_of_squares(p))
            g += (2.0 * strength * seed) * p
        if seed != 1.0:  # it is -rate, and g the whole step
            g += p
            return g, (), squares
        d, *new = self.direction(t, g, *kept)
        return p - rate * d, tuple(new), squares


@dataclass(frozen=True)
class SGD(_GradientOptimizer):
    """Stochastic gradient descent: w <- w - rate * g, g the gradient on a mini-batch."""

    along_gradient: ClassVar[bool] = True

    def direction(self, t: int, g: Array, *kept: Array) -> tuple[Array, ...]:
        return (g,)


@dataclass(frozen=True)
class GradientDescent(SGD):
    """The same step with the gradient on all rows, one step an epoch."""

    whole_batch: ClassVar[bool] = True


@dataclass(frozen=True)
class Momentum(_GradientOptimizer):
    """v <- decay * v + g;  w <- w - rate * v. Polyak's heavy ball, 1964."""

    slots: ClassVar[int] = 1

    decay: float = 0.9

    def direction(self, t: int, g: Array, *kept: Array) -> tuple[Array, ...]:
        velocity = self.decay * kept[0] + g
        return velocity, velocity


@dataclass(frozen=True)
class Nesterov(_GradientOptimizer):
    """v <- decay * v + g;  w <- w - rate * (g + decay * v): the gradient looked up ahead.

    Nesterov, 1983, in the form of Bengio, Boulanger-Lewandowski and Pascanu, 2013, which needs
    the gradient at the present point alone.
    """

    slots: ClassVar[int] = 1

    decay: float = 0.9

    def direction(self, t: int, g: Array, *kept: Array) -> tuple[Array, ...]:
        velocity = self.decay * kept[0] + g
        return self.decay * velocity + g, velocity


@dataclass(frozen=True)
class Adam(_GradientOptimizer):
    """w <- w - rate * m / (sqrt(v) + epsilon); m and v are running means of g and g^2.

    Both means are freed of their start at 0. Kingma and Ba, Adam: A Method for Stochastic
    Optimization, 2015.
    """

    slots: ClassVar[int] = 2

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def direction(self, t: int, g: Array, *kept: Array) -> tuple[Array, ...]:
        xp = namespace_of(g)
        mean = self.beta1 * kept[0] + (1.0 - self.beta1) * g
        square = self.beta2 * kept[1] + (1.0 - self.beta2) * (g * g)
        root = xp.sqrt(square / (1.0 - self.beta2**t)) + self.epsilon
        return (mean / (1.0 - self.beta1**t)) / root, mean, square


def step_rule(optimizer: Any, t: int) -> StepRule | None:
    """How step t goes, for a kernel; None of optimisers that are not of this module."""
    kind = type(optimizer)
    if kind in (SGD, GradientDescent):
        return StepRule(of_gradient=1.0)
    if kind is Momentum:
        return StepRule(of_mean=1.0, decay=optimizer.decay, own=1.0)
    if kind is Nesterov:
        decay = optimizer.decay
        return StepRule(of_gradient=1.0, of_mean=decay, decay=decay, own=1.0)
    if kind is not Adam:
        return None
    beta1, beta2 = optimizer.beta1, optimizer.beta2
    return StepRule(
        of_mean=1.0 / (1.0 - beta1**t),
        decay=beta1,
        own=1.0 - beta1,
        decay2=beta2,
        own2=1.0 - beta2,
        correction=1.0 / (1.0 - beta2**t),
        epsilon=optimizer.epsilon,
    )


class _SearchOptimizer:
    """A guess without a gradient, kept where the loss on all rows falls; the loss never rises."""

    whole_batch: ClassVar[bool] = True
    uses_gradient: ClassVar[bool] = False

    def start(self, parameters: Parameters) -> Array | None:
        return None  # the loss of what is kept, once it is known

    def guess(self, parameters: Parameters, noise: Parameters) -> Parameters:
        raise NotImplementedError

    def step(
        self,
        objective: Objective,
        parameters: Parameters,
        state: Array | None,
        rate: float,
        generator: HostGenerator,
    ) -> tuple[Parameters, Array, Array]:
        xp = namespace_of(*parameters)
        best = objective(parameters, False)[0] if state is None else state
        noise = tuple(rate * _normal(p, generator) for p in parameters)
        guess = self.guess(parameters, noise)
        value, _ = objective(guess, False)
        better = value < best
        kept = tuple(xp.where(better, g, p) for g, p in zip(guess, parameters, strict=True))
        best = xp.where(better, value, best)
        return kept, best, best


@dataclass(frozen=True)
class RandomSearch(_SearchOptimizer):
    """Fresh normal weights of scale `rate` at every step; the lecture's first, very bad idea."""

    def guess(self, parameters: Parameters, noise: Parameters) -> Parameters:
        return noise


@dataclass(frozen=True)
class RandomLocalSearch(_SearchOptimizer):
    """A normal step of scale `rate` from the best weights so far; the lecture's second idea."""

    def guess(self, parameters: Parameters, noise: Parameters) -> Parameters:
        return tuple(p + n for p, n in zip(parameters, noise, strict=True))


OPTIMIZERS: dict[str, Callable[[], Optimizer]] = {
    "random_search": RandomSearch,
    "random_local_search": RandomLocalSearch,
    "gd": GradientDescent,
    "sgd": SGD,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "adam": Adam,
}


def make_optimizer(optimizer: str | Optimizer) -> Optimizer:
    """The optimiser of that name, or `optimizer` itself where it is one."""
    if isinstance(optimizer, str) and optimizer in OPTIMIZERS:
        return OPTIMIZERS[optimizer]()
    parts = [getattr(optimizer, name, None) for name in ("start", "step")]
    if isinstance(optimizer, str | type) or not all(map(callable, parts)):
        names = ", ".join(map(repr, OPTIMIZERS))
        raise ValueError(
            f"optimizer is {shown(optimizer)}, expected one of {names}, or an object of "
            "xpcls.optimizers"
        )
    return optimizer


def heavy_ball(optimizer: Optimizer) -> float | None:
    """The decay, where a step is v <- decay * v + g; w <- w - rate * v on a mini-batch; else None.

    0 is plain SGD, which keeps no v.
    """
    if type(optimizer) is SGD:
        return 0.0
    return optimizer.decay if type(optimizer) is Momentum else None


def float_dtype(X: Array) -> Any:
    """float64 for float64, else float32: what weights learnt from X are made of."""
    xp = namespace_of(X)
    return X.dtype if xp.isdtype(X.dtype, "real floating") else xp.float32


def _normal(parameter: Array, generator: HostGenerator) -> Array:
    """Standard normal numbers of the parameter's shape, drawn on the host."""
    drawn = like(generator.standard_normal(parameter.shape, dtype="float32"), parameter)
    return namespace_of(parameter).astype(drawn, parameter.dtype, copy=False)
