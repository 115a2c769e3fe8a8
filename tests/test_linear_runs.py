"""LinearClassifier over time: its history, its ends before time, failures, and `partial_fit`."""

from __future__ import annotations

import copy
import math
import os
import signal
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from xpcls import DivergenceError, LinearClassifier
from xpcls.linear_model import LINEAR_LOSSES, LinearModel
from xpcls.optimizers import OPTIMIZERS
from xpcls.progress import listen
from xpcls.training import HISTORY
from xpcls_backends import Backend, to_host
from xpcls_backends.kernels import asking_for_kernels, why_none

RNG = np.random.default_rng(0)
CENTRES = RNG.normal(scale=2.0, size=(3, 6))
Y = np.arange(90) % 3
X = CENTRES[Y] + RNG.normal(size=(90, 6))


def linear(loss: str = "softmax", **params: Any) -> LinearClassifier:
    return LinearClassifier(loss, **{"epochs": 15, "batch_size": 32, "random_state": 0, **params})


def learnt(model: LinearClassifier) -> tuple[np.ndarray, np.ndarray]:
    return model.coef_, model.intercept_


def assert_same_weights(one: LinearClassifier, other: LinearClassifier, rtol: float = 0.0) -> None:
    for a, b in zip(learnt(one), learnt(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)


def state(model: LinearClassifier) -> dict[str, Any]:
    """Everything in a model, random numbers to come included, in values that can be compared."""
    found = copy.deepcopy(vars(model))
    if "_generator" in found:
        found["_generator"] = found["_generator"].bit_generator.state
    if found.get("_run") is not None:
        found["_run"] = vars(found["_run"])
    return found


# How the run went.


def test_history_has_an_entry_an_epoch() -> None:
    history = linear(epochs=7).fit(X, Y).history_
    assert tuple(history) == HISTORY
    lengths = {name: len(values) for name, values in history.items()}
    assert lengths == {**dict.fromkeys(HISTORY, 7), "validation_accuracy": 0}
    assert all(isinstance(v, float) for values in history.values() for v in values)
    assert history["seconds"] == sorted(history["seconds"])
    assert min(history["train_accuracy"]) >= 0.0 and max(history["train_accuracy"]) <= 1.0


def test_early_stopping_keeps_the_best_weights_it_saw() -> None:
    noisy = np.where(RNG.random(90) < 0.3, RNG.integers(0, 3, size=90), Y)
    model = linear(early_stopping=True, validation_fraction=0.3, patience=3, epochs=500)
    history = model.fit(X, noisy).history_
    accuracies = history["validation_accuracy"]
    assert len(accuracies) < 500, "it never stopped"
    best = accuracies.index(max(accuracies))
    assert len(accuracies) == best + 1 + 3
    # As many epochs on the same rows lead to the same weights.
    short = linear(early_stopping=True, validation_fraction=0.3, patience=3, epochs=best + 1)
    assert_same_weights(model, short.fit(X, noisy))


class Stop(Exception):
    pass


def stop_at(epoch: int, error: type[BaseException]) -> Any:
    def listener(task: str, done: int, total: int, facts: dict[str, object]) -> None:
        if task == "training" and done == epoch:
            raise error

    return listen(listener)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_an_interrupted_fit_is_usable_and_goes_on_as_an_interruption(early_stopping: bool) -> None:
    model = linear(epochs=50, early_stopping=early_stopping)
    with stop_at(4, KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        model.fit(X, Y)
    assert len(model.history_["loss"]) == 4
    if not early_stopping:
        assert_same_weights(model, linear(epochs=4).fit(X, Y))
    assert model.score(X, Y) > 0.6
    assert model.templates((2, 3)).shape == (3, 2, 3)
    model.partial_fit(X, Y)
    assert len(model.history_["loss"]) == 5


def test_an_interrupted_partial_fit_keeps_its_steps() -> None:
    model = linear().fit(X, Y)
    with stop_at(1, KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        model.partial_fit(X, Y)
    assert_same_weights(model, linear().fit(X, Y).partial_fit(X, Y))


INTERRUPTED = """
import os, signal, sys
import numpy as np
from xpcls import LinearClassifier
from xpcls.progress import listen
def listener(task, done, total, facts):
    if done == 3:
        os.kill(os.getpid(), signal.SIGINT)  # as Ctrl-C in a terminal does
model = LinearClassifier(epochs=100000, random_state=0)
X = np.random.default_rng(0).normal(size=(300, 5))
try:
    with listen(listener):
        model.fit(X, X[:, 0] > 0)
except KeyboardInterrupt:
    print(len(model.history_["loss"]) < 100000, model.score(X, X[:, 0] > 0) > 0.9)
    raise
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals are not sent this way there")
def test_a_real_signal_ends_a_program_whose_model_is_fitted() -> None:
    path = os.pathsep.join(folder for folder in sys.path if folder)
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.split() == ["True", "True"], done.stderr
    assert done.returncode in (-signal.SIGINT, 130)
    assert "KeyboardInterrupt" in done.stderr


# What a failure leaves behind.


@pytest.mark.parametrize("fit", ["fit", "partial_fit"])
def test_divergence_leaves_an_earlier_fit_untouched(fit: str) -> None:
    model = linear("squared_hinge", learning_rate=0.01).fit(X, Y)
    before = state(model)
    with pytest.raises(DivergenceError, match=r"step .*learning rate of .*smaller learning_rate"):
        if fit == "fit":
            model.set_params(learning_rate=1e10).fit(X, Y)
        else:
            model.partial_fit(X * 1e120, (Y + 1) % 3)
    model.set_params(learning_rate=0.01)
    np.testing.assert_equal(state(model), before)
    assert_same_weights(
        model.partial_fit(X, Y),
        linear("squared_hinge", learning_rate=0.01).fit(X, Y).partial_fit(X, Y),
    )


def test_a_last_step_out_of_bounds_is_divergence_too() -> None:
    with pytest.raises(DivergenceError, match="not finite after step 1 with"):
        linear(optimizer="gd", epochs=1, learning_rate=1e38).fit(X.astype("float32") * 1e3, Y)


@pytest.mark.parametrize("fit", ["fit", "partial_fit"])
def test_an_error_in_a_listener_leaves_an_earlier_fit_untouched(fit: str) -> None:
    model = linear().fit(X, Y)
    before = state(model)
    with stop_at(1, Stop), pytest.raises(Stop):
        getattr(model, fit)(X, Y)
    np.testing.assert_equal(state(model), before)


@pytest.mark.parametrize("size", [1e30, 1e200])
def test_rows_too_large_for_the_arithmetic_are_refused(size: float) -> None:
    dtype = "float32" if size < 1e38 else "float64"
    with pytest.raises(ValueError, match=f"squares overflow.*{dtype}"):
        linear().fit((X * size).astype(dtype), Y)
    model = linear().fit(X.astype("float32"), Y)
    with pytest.raises(ValueError, match="too large for weights of float32"):
        model.predict(X * 1e60)


def test_what_is_wrong_with_an_answer_is_told_though_it_is_read_at_once(backend: Backend) -> None:
    """NaN in X, scores that overflow, both, and neither where only sums of them all do."""
    rows = backend.asarray(X.astype(np.float32))
    model = linear().fit(rows, backend.asarray(Y))
    model.coef_ = model.coef_ * 0.0 + 1.0
    huge, nan = np.array(X, np.float32), np.array(X, np.float32)
    huge[3:5], nan[7, 1] = 3e38, np.nan
    both = np.where(np.isnan(nan), nan, huge)
    for given, message in (
        (nan, "row 7, column 1"),
        (huge, "too large"),
        (both, "row 7, column 1"),
    ):
        with pytest.raises(ValueError, match=message):
            model.predict(backend.asarray(given))
    model.coef_ = model.coef_ * 0.2 / X.shape[1]
    with np.errstate(over="ignore"):
        assert math.isinf(float(np.sum(huge)))
    assert bool(np.all(np.isfinite(to_host(model.decision_function(backend.asarray(huge))))))


# partial_fit.


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "momentum", "random_local_search"])
def test_partial_fit_is_fit_of_one_epoch(optimizer: str) -> None:
    one = linear(optimizer=optimizer, epochs=1).fit(X, Y)
    part = linear(optimizer=optimizer).partial_fit(X, Y, classes=[2, 0, 1])
    assert_same_weights(one, part)
    assert one.history_["loss"] == part.history_["loss"]
    if not optimizer.startswith("random"):
        more = linear(optimizer=optimizer).partial_fit(X, Y, classes=[0, 1, 2])
        for _ in range(14):
            more.partial_fit(X, Y)
        assert_same_weights(more, linear(optimizer=optimizer, epochs=15).fit(X, Y))
        assert len(more.history_["loss"]) == 15


def test_partial_fit_sees_classes_before_their_rows_come() -> None:
    model = linear().partial_fit(X[Y == 0], ["a"] * 30, classes=["c", "a", "b"])
    assert model.classes_.tolist() == ["a", "b", "c"] and model.coef_.shape == (3, 6)
    assert set(model.predict(X[Y == 0]).tolist()) == {"a"}
    for _ in range(10):
        model.partial_fit(X, np.asarray(["a", "b", "c"])[Y])
    assert set(model.predict(X).tolist()) == {"a", "b", "c"}


def test_partial_fit_after_fit_goes_on_and_may_change_its_mind() -> None:
    model = linear(epochs=5).fit(X, Y)
    loss = model.history_["loss"][-1]
    for _ in range(10):
        model.partial_fit(X, Y, classes=[0, 1, 2])
    assert model.history_["loss"][-1] < loss
    assert len(model.history_["loss"]) == 15
    for optimizer in OPTIMIZERS:  # each needs another kind of running state
        model.set_params(optimizer=optimizer).partial_fit(X, Y)
    assert model.score(X, Y) > 0.9
    before = state(model)
    for wrong, words in (([0, 1], "classes is .0, 1."), ([0, 1, 5], "fitted with .0, 1, 2.")):
        with pytest.raises(ValueError, match=words):
            model.partial_fit(X, Y, classes=wrong)
    with pytest.raises(ValueError, match="y holds 7, which is not among the classes"):
        model.partial_fit(X, np.where(Y == 0, 7, Y))
    np.testing.assert_equal(state(model), before)


def test_searches_by_chance_judge_new_rows_afresh() -> None:
    """The best loss so far was measured on other rows, and must not veto every guess."""
    model = linear(optimizer="random_local_search").partial_fit(X[:4], Y[:4], classes=[0, 1, 2])
    for _ in range(300):
        model.partial_fit(X[:4], Y[:4])
    settled = model.history_["loss"][-1]
    hard = (Y + 1) % 3
    for _ in range(100):
        model.partial_fit(X, hard)
    losses = model.history_["loss"][-100:]
    assert losses[0] > settled and losses[-1] < losses[0]


def test_the_schedule_plays_no_part_in_partial_fit() -> None:
    half = linear(schedule=lambda epoch, epochs: 0.5).partial_fit(X, Y, classes=[0, 1, 2])
    assert_same_weights(half, linear().partial_fit(X, Y, classes=[0, 1, 2]))
    assert half.history_["learning_rate"] == [half.learning_rate_]


# Steps by a kernel.


needs_kernels = pytest.mark.skipif(why_none() is not None, reason=f"no kernels: {why_none()}")


@needs_kernels
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "gd"])
@pytest.mark.parametrize("batch_size", [32, 1])
def test_a_kernel_changes_no_run(optimizer: str, batch_size: int) -> None:
    weight = np.linspace(0.5, 2.0, 90)
    runs = []
    for kernels in (False, True):
        with asking_for_kernels(kernels):
            model = linear(optimizer=optimizer, batch_size=batch_size, l1=1e-3)
            runs.append(model.fit(X, Y, weight).partial_fit(X[:50], Y[:50]))
    assert_same_weights(*runs, rtol=1e-9)
    losses = [run.history_["loss"] for run in runs]
    np.testing.assert_allclose(*losses, rtol=1e-9)


@needs_kernels
@pytest.mark.parametrize("loss", LINEAR_LOSSES)
def test_divergence_is_seen_through_a_kernel(loss: str) -> None:
    model = linear(loss, learning_rate=1e200, l2=1.0)
    with asking_for_kernels(True), pytest.raises(DivergenceError, match="try a smaller"):
        model.fit(X, Y)
    assert not hasattr(model, "coef_")


@needs_kernels
@pytest.mark.parametrize("loss", LINEAR_LOSSES)
def test_no_weight_that_is_not_a_number_is_lost_in_a_kernel(loss: str) -> None:
    for place in range(3):
        parameters = np.ones((6, 3)), np.zeros(3)
        parameters[0][0, place] = np.nan
        with asking_for_kernels(True):
            value, _ = LinearModel(loss, 1.0, 0.0, 0.0).objective(parameters, X, Y, None, True)
        assert np.isnan(value)
