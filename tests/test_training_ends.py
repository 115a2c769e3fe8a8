"""How a training run ends before its time: by diverging, by stopping early, by Ctrl-C."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from tests.training_models import CPU, Linear, blobs, flat, settings_for, trained
from xpcls.optimizers import Step
from xpcls.training import READ_EVERY, DivergenceError, Run, start_run, train
from xpcls_backends import Backend, host_generator, namespace_of, to_host


@dataclass
class Growing:
    """One weight, multiplied by -1000 at each step; its loss is its square."""

    def scores(self, parameters: Any, X: Any) -> Any:
        return X * parameters[0]

    def objective(self, parameters: Any, X: Any, y: Any, weight: Any, with_gradient: bool) -> Any:
        (w,) = parameters
        return namespace_of(w).sum(w * w), (w,)


@pytest.mark.parametrize(("batch_size", "epochs"), [(1, 1), (4, 9), (20, 9)])
def test_divergence_names_its_step_and_rate(backend: Backend, batch_size: int, epochs: int) -> None:
    # 1, 10^6, 10^12, ...: the eighth loss, 10^42, is past the end of float32. Where an epoch has
    # one step, accuracy is measured on weights that overflow, and must not be what complains.
    X = backend.asarray(np.full((20, 3), 1e20, dtype="float32"))
    settings = settings_for(learning_rate=1001.0, batch_size=batch_size, epochs=epochs)
    weights = (backend.asarray(np.ones(1, dtype="float32")),)
    with pytest.raises(DivergenceError, match=r"inf at step 8 with a learning rate of 1001;") as e:
        train(
            Growing(),
            start_run(weights, settings),
            X,
            backend.asarray(np.zeros(20, dtype="int64")),
            settings,
            host_generator(0),
        )
    assert "\n" not in str(e.value) and isinstance(e.value, ArithmeticError)


@pytest.mark.parametrize("step", [1, READ_EVERY, READ_EVERY + 1, 137, 250, 251, 463])
@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_divergence_is_found_at_any_step(step: int, loss: float) -> None:
    X, y = blobs(CPU, 250)

    class Falling(Linear):
        def objective(self, *arguments: Any) -> Any:
            value, gradients = super().objective(*arguments)
            return (value + loss if len(self.asked) == step else value), gradients

    settings = settings_for(epochs=2, batch_size=1, schedule=Step(1, 0.5))
    rate = "0.1" if step <= 250 else "0.05"
    with pytest.raises(DivergenceError, match=rf"is {loss} at step {step} with .* of {rate};"):
        trained(CPU, Falling(), X, y, settings)


def test_a_run_that_goes_on_counts_its_steps_on() -> None:
    X, y = blobs(CPU, 10)
    settings = settings_for(batch_size=1)
    run = trained(CPU, Linear(), X, y, settings)
    run.parameters = (run.parameters[0] * np.float32(math.nan), run.parameters[1])
    with pytest.raises(DivergenceError, match="nan at step 11 "):
        train(Linear(), run, X, y, settings, host_generator(0))


@dataclass
class Scripted:
    """Its weight counts epochs; its validation accuracy at each is a line of a script."""

    script: list[float]
    stop_at: int | None = None

    def scores(self, parameters: Any, X: Any) -> Any:
        epoch = int(to_host(parameters[0])[0])
        if epoch == self.stop_at:
            raise KeyboardInterrupt
        xp = namespace_of(X)
        right = X[:, :1] < 10 * self.script[epoch - 1]
        return xp.concat([xp.full_like(X[:, :1], 0.5), xp.astype(right, X.dtype)], axis=1)

    def objective(self, parameters: Any, X: Any, y: Any, weight: Any, with_gradient: bool) -> Any:
        (w,) = parameters
        return namespace_of(w).sum(w) * 0.0, (namespace_of(w).full_like(w, -1.0),)


def scripted(
    backend: Backend, script: list[float], patience: int | None, stop_at: int | None = None
) -> Run:
    X = backend.asarray(np.arange(10, dtype="float32")[:, None])
    y = backend.asarray(np.ones(10, dtype="int64"))
    settings = settings_for("gd", learning_rate=1.0, epochs=len(script), patience=patience)
    start = (backend.asarray(np.zeros(1, dtype="float32")),)
    return train(
        Scripted(script, stop_at),
        start_run(start, settings),
        X,
        y,
        settings,
        host_generator(0),
        validation=(X, y),
    )


@pytest.mark.parametrize(
    ("patience", "epochs", "best"),
    [(1, 3, 2), (2, 4, 2), (3, 5, 2), (4, 8, 6), (None, 8, 8)],
)
def test_early_stopping_waits_and_keeps_the_best(
    backend: Backend, patience: int | None, epochs: int, best: int
) -> None:
    # `patience` epochs that are no better, equal ones among them, end the run.
    script = [0.5, 0.7, 0.6, 0.7, 0.6, 0.9, 0.8, 0.1]
    run = scripted(backend, script, patience)
    assert run.history["validation_accuracy"] == script[:epochs]
    assert run.step == epochs and not run.interrupted
    assert to_host(run.parameters[0]).tolist() == [best]


def test_an_interrupted_run_keeps_its_best_where_it_may_stop_early(backend: Backend) -> None:
    run = scripted(backend, [0.5, 0.7, 0.6, 0.7], patience=3, stop_at=4)
    assert run.interrupted and to_host(run.parameters[0]).tolist() == [2]
    assert {len(v) for v in run.history.values()} == {3}


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("step", [1, 2, 7, 9])
def test_ctrl_c_leaves_the_last_finished_step(backend: Backend, optimizer: str, step: int) -> None:
    X, y = blobs(backend, 10)
    settings = settings_for(optimizer, epochs=3)

    def press(at: int) -> None:
        if at == step:
            raise KeyboardInterrupt

    run = trained(backend, Linear(before=press), X, y, settings)
    assert run.interrupted and run.step == step - 1
    finished: list[np.ndarray] = [np.zeros(15, dtype="float32")]

    def keep(parameters: Any, rate: float) -> Any:
        finished.append(np.concatenate([to_host(p).ravel() for p in parameters]))
        return parameters

    trained(backend, Linear(), X, y, settings, after_step=keep)
    np.testing.assert_array_equal(flat(run), finished[step - 1])
    assert {len(run.history[name]) for name in ("loss", "train_accuracy", "seconds")} == {
        (step - 1) // 3
    }
    # It can go on, and what the interrupted step had begun is forgotten.
    run.interrupted = False
    assert train(Linear(), run, X, y, settings, host_generator(0)).step == step - 1 + 9
