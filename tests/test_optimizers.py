"""Optimisers, step by step against their formulas, and learning-rate schedules."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from tests import reference
from xpcls import optimizers
from xpcls.optimizers import (
    OPTIMIZERS,
    SCHEDULES,
    SGD,
    Adam,
    Constant,
    Cosine,
    Exponential,
    GradientDescent,
    Momentum,
    Nesterov,
    RandomLocalSearch,
    RandomSearch,
    Step,
    heavy_ball,
    make_optimizer,
    make_schedule,
)
from xpcls_backends import (
    Backend,
    device_of,
    host_generator,
    namespace_of,
    row_blocks,
    to_host,
    widest_float,
)
from xpcls_backends.testing import forbid_host_reads

GRADIENT = ("sgd", "gd", "momentum", "nesterov", "adam")
SEARCHES = ("random_search", "random_local_search")


def floats_of(backend: Backend) -> tuple[str, ...]:
    wide = widest_float(backend.xp, backend.device) == backend.xp.float64
    return ("float32", "float64") if wide else ("float32",)


@pytest.mark.parametrize("name", GRADIENT)
def test_each_step_is_that_of_the_formula(backend: Backend, name: str) -> None:
    rng = np.random.default_rng(0)
    start = rng.normal(size=6)
    slopes = rng.normal(size=(30, 6)) * 10.0 ** rng.uniform(-3, 3, (30, 1))
    slopes[4] = 0
    for dtype in floats_of(backend):
        expected = reference.steps(
            name, start.astype(dtype).tolist(), slopes.astype(dtype).tolist(), 0.05
        )

        def split(x: np.ndarray, dtype: str = dtype) -> tuple[Any, ...]:
            x = x.astype(dtype)
            return backend.asarray(x[:4].reshape(2, 2)), backend.asarray(x[4:])

        parameters = first = split(start)
        optimizer = make_optimizer(name)
        state = optimizer.start(parameters)
        with forbid_host_reads():
            for t, slope in enumerate(slopes):
                loss = backend.asarray(np.asarray(t, dtype=dtype))

                def objective(at: Any, with_gradient: bool, slope: Any = slope, loss: Any = loss):
                    assert with_gradient
                    return loss, split(slope)

                parameters, state, value = optimizer.step(
                    objective, parameters, state, 0.05, host_generator(0)
                )
                assert value is loss
                flat = np.concatenate([to_host(p).ravel() for p in parameters])
                scale = max(1.0, float(np.abs(expected[t]).max()))
                tolerance = 1e-13 if dtype == "float64" else 3e-6
                np.testing.assert_allclose(flat, expected[t], atol=tolerance * scale)
        for p, f in zip(parameters, first, strict=True):
            assert (p.dtype, p.shape) == (f.dtype, f.shape)
            assert device_of(p) == backend.device
        # Nothing was changed in place: what a run keeps stays what it was.
        unchanged = np.concatenate([to_host(p).ravel() for p in first])
        np.testing.assert_array_equal(unchanged, start.astype(dtype))


def test_the_first_step_of_adam_has_the_length_of_the_rate() -> None:
    # Without the correction for the start at 0 it would be a third of it.
    parameters = (np.asarray([1.0, -2.0]),)
    for scale in (1e-4, 1.0, 1e6):
        slope = (np.asarray([scale, -scale]),)
        moved, _, _ = Adam().step(
            lambda at, with_gradient, slope=slope: (np.asarray(0.0), slope),
            parameters,
            Adam().start(parameters),
            0.25,
            host_generator(0),
        )
        np.testing.assert_allclose(moved[0], [0.75, -1.75], rtol=2e-4)


@pytest.mark.parametrize(
    ("optimizer", "rate"),
    [(SGD(), 0.1), (Momentum(0.5), 0.05), (Nesterov(0.5), 0.05), (Adam(), 0.2)],
    ids=repr,
)
def test_a_bowl_is_walked_down(optimizer: Any, rate: float) -> None:
    middle = np.asarray([1.0, -3.0])
    parameters = (np.asarray([4.0, 4.0]),)
    state = optimizer.start(parameters)
    for step in range(600):
        parameters, state, _ = optimizer.step(
            lambda at, with_gradient: (((at[0] - middle) ** 2).sum(), (2 * (at[0] - middle),)),
            parameters,
            state,
            rate * 0.99**step,
            host_generator(0),
        )
    np.testing.assert_allclose(parameters[0], middle, atol=1e-3)


# Searches.


def bowl(at: tuple[Any, ...], with_gradient: bool) -> tuple[Any, None]:
    assert not with_gradient
    xp = namespace_of(*at)
    return xp.sum((at[0] - 0.5) ** 2) + xp.sum((at[1] + 1.0) ** 2), None


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_never_rises_and_keeps_what_it_reports(backend: Backend, name: str) -> None:
    zeros = np.zeros((2, 2), dtype="float32"), np.zeros(2, dtype="float32")
    parameters = tuple(backend.asarray(x) for x in zeros)
    optimizer = make_optimizer(name)
    assert optimizer.whole_batch and not optimizer.uses_gradient
    state, generator, losses = optimizer.start(parameters), host_generator(3), []
    at_first = float(to_host(bowl(parameters, False)[0]))
    with forbid_host_reads():
        for _ in range(60):
            parameters, state, value = optimizer.step(bowl, parameters, state, 0.5, generator)
            losses.append(float(to_host(value)))
            assert losses[-1] == float(to_host(bowl(parameters, False)[0]))
    assert all(b <= a for a, b in zip([at_first, *losses], losses, strict=False))
    assert losses[-1] < at_first
    assert parameters[0].dtype == backend.xp.float32 and device_of(*parameters) == backend.device


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_draws_the_same_on_every_backend(backend: Backend, name: str) -> None:
    guesses = []

    def watched(at: Any, with_gradient: bool) -> tuple[Any, None]:
        guesses.append(np.concatenate([to_host(p).ravel() for p in at]))
        return bowl(at, with_gradient)

    parameters = tuple(
        backend.asarray(np.asarray(x, dtype="float32")) for x in ([[1, 2], [3, 4]], [5, 6])
    )
    optimizer, generator = make_optimizer(name), host_generator(11)
    state = optimizer.start(parameters)
    for _ in range(2):
        parameters, state, _ = optimizer.step(watched, parameters, state, 0.25, generator)
    start = np.asarray([1, 2, 3, 4, 5, 6], dtype="float32")
    draw = host_generator(11).standard_normal(6, dtype="float32") * np.float32(0.25)
    np.testing.assert_array_equal(guesses[0], start)  # the loss of the start, asked once
    np.testing.assert_array_equal(guesses[1], draw if name == "random_search" else start + draw)
    assert len(guesses) == 3


def test_a_search_from_nowhere_stays_there() -> None:
    # A loss of NaN is no improvement, and none is found on it.
    for optimizer in (RandomSearch(), RandomLocalSearch()):
        parameters = (np.asarray([1.0, 2.0]), np.asarray([0.0]))
        kept, _, value = optimizer.step(
            lambda at, with_gradient: (np.asarray(math.nan), None),
            parameters,
            np.asarray(3.0),
            1.0,
            host_generator(0),
        )
        assert float(value) == 3 and kept[0].tolist() == [1, 2]


# Names.


def test_names_and_objects(backend: Backend) -> None:
    for name, kind in OPTIMIZERS.items():
        assert type(make_optimizer(name)) is kind
    own = Momentum(0.5)
    assert make_optimizer(own) is own
    for name, kind in SCHEDULES.items():
        assert type(make_schedule(name)) is kind
    assert make_schedule(max) is max


@pytest.mark.parametrize("wrong", ["SGD", "", None, 3, SGD, ["sgd"]], ids=repr)
def test_an_optimizer_that_is_none(wrong: object) -> None:
    # A class is refused as well: its step would take the objective for itself.
    with pytest.raises(ValueError, match=r"optimizer is .*, expected one of 'random_search'") as e:
        make_optimizer(wrong)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("wrong", ["linear", "", None, 0.5, Step, ["step"]], ids=repr)
def test_a_schedule_that_is_none(wrong: object) -> None:
    # A class would be called, and give an object where a factor is wanted.
    with pytest.raises(ValueError, match=r"schedule is .*, expected one of 'constant', 'step'"):
        make_schedule(wrong)


# Schedules.


def test_factors_of_the_learning_rate() -> None:
    def factors(schedule: Any, epochs: int) -> list[float]:
        return [schedule(epoch, epochs) for epoch in range(epochs)]

    assert factors(Constant(), 3) == [1, 1, 1]
    assert factors(Step(every=2, factor=0.1), 5) == [1, 1, 0.1, 0.1, 0.1**2]
    assert factors(Step(), 21)[9:12] == [1, 0.5, 0.5] and Step()(20, 21) == 0.25
    assert factors(Exponential(0.5), 4) == [1, 0.5, 0.25, 0.125]
    np.testing.assert_allclose(factors(Cosine(), 4), [1, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5])
    np.testing.assert_allclose(factors(Cosine(floor=0.2), 2), [1, 0.6])
    assert factors(Cosine(), 1) == [1]
    for kind in SCHEDULES.values():
        values = factors(kind(), 30)
        assert values[0] == 1 and values == sorted(values, reverse=True) and values[-1] > 0


@pytest.mark.parametrize("name", ["sgd", "gd", "momentum", "nesterov", "adam"])
def test_a_large_parameter_is_moved_in_blocks_to_the_same_bits(
    backend: Backend, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws = np.random.default_rng(0)
    p = backend.asarray(draws.normal(size=(7, 3)).astype("f4"))
    steps = [draws.normal(size=(7, 3)).astype("f4") for _ in range(3)]

    def walked() -> list[Any]:
        optimizer, parameters, found = make_optimizer(name), (p,), []
        state = optimizer.start(parameters)
        for step in steps:
            before = to_host(parameters[0]).copy()
            gradient = backend.asarray(step.copy())  # given away
            old = parameters
            with forbid_host_reads():
                parameters, state, _ = optimizer.step(
                    lambda at, g, gradient=gradient: (backend.xp.sum(at[0]), (gradient,)),
                    parameters,
                    state,
                    0.25,
                    host_generator(0),
                )
            assert np.array_equal(to_host(old[0]), before)  # whoever kept it has it still
            found.append(to_host(parameters[0]).copy())
        return found

    whole = walked()
    monkeypatch.setattr(optimizers, "SMALL", 0)
    monkeypatch.setattr(optimizers, "update_blocks", lambda x: row_blocks(x.shape[0], 2))
    for one, other in zip(walked(), whole, strict=True):
        assert one.tobytes() == other.tobytes()


def test_only_plain_steps_and_momentum_itself_are_a_heavy_ball() -> None:
    class Other(SGD):
        """Whose direction may be any."""

    assert heavy_ball(SGD()) == 0.0 and heavy_ball(Momentum(0.7)) == 0.7
    for optimizer in (Other(), GradientDescent(), Nesterov(), Adam(), RandomSearch()):
        assert heavy_ball(optimizer) is None


class _Bowl:
    """c * p for each parameter p, and 0.3 |p|^2 for the first: the loss, or its parts."""

    strengths = (0.3, 0.0)

    def __init__(self, slopes: tuple[Any, ...]) -> None:
        self.slopes = slopes

    def __call__(self, at: Any, with_gradient: bool) -> Any:
        value, gradients, _ = self.parts(at, 1.0)
        return value + 0.3 * (at[0] ** 2).sum(), (gradients[0] + 0.6 * at[0], gradients[1])

    def parts(self, at: Any, seed: float) -> Any:
        value = sum((c * p).sum() for c, p in zip(self.slopes, at, strict=True))
        return value, tuple(seed * c for c in self.slopes), self.strengths


class _BowlApart(_Bowl):
    penalty = 0.0

    def apart(self, at: Any, seed: float) -> Any:
        return self.parts(at, seed)

    def penalise(self, strength: float, squares: Any) -> None:
        self.penalty += strength * float(squares)


@pytest.mark.parametrize("name", [n for n in GRADIENT if n != "gd"])
@pytest.mark.parametrize("rows", [3, 3000])  # moved in one piece, or block by block
def test_penalties_that_are_left_to_the_step(name: str, rows: int) -> None:
    rng = np.random.default_rng(0)
    start = (rng.normal(size=(rows, 40)), rng.normal(size=5))
    slopes = (rng.normal(size=(rows, 40)), rng.normal(size=5))
    found = []
    for kind in (_Bowl, _BowlApart):
        optimizer, parameters, values = make_optimizer(name), start, []
        state = optimizer.start(parameters)
        for _ in range(4):
            bowl = kind(slopes)
            parameters, state, value = optimizer.step(
                bowl, parameters, state, 0.1, host_generator(0)
            )
            values.append(float(value) + getattr(bowl, "penalty", 0.0))
        found.append((values, *parameters))
    for whole, apart in zip(*found, strict=True):
        np.testing.assert_allclose(apart, whole, rtol=1e-11, atol=1e-12)
    assert not np.allclose(found[0][1], start[0], atol=0.01)
