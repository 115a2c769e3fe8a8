"""The training loop: which rows a step sees, what is recorded, and what is read on the host."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import xpcls.training
from tests import reference
from tests.training_models import CPU, Linear, blobs, flat, numbered, settings_for, trained, zeros
from xpcls.losses import LOSSES
from xpcls.optimizers import Step
from xpcls.progress import listen
from xpcls.training import READ_EVERY, accuracy, hold_out, predicted, start_run, take_rows, train
from xpcls_backends import Backend, device_of, host_generator, to_host, widest_float
from xpcls_backends.testing import forbid_host_reads

GRADIENT = ("sgd", "gd", "momentum", "nesterov", "adam")


# Mini-batches.


def test_an_epoch_covers_each_row_once(backend: Backend) -> None:
    model, (X, y) = Linear(), numbered(backend, 11)
    weight = backend.asarray(np.arange(11).astype("float32") / 2)
    trained(backend, model, X, y, settings_for(epochs=2, batch_size=4), sample_weight=weight)
    rows = model.rows()
    assert [len(batch) for batch in rows] == [4, 4, 3] * 2
    for epoch in (rows[:3], rows[3:]):
        assert sorted(itertools.chain(*epoch)) == list(range(11))
    assert rows[:3] != rows[3:]
    for batch, seen in zip(rows, model.weights_seen, strict=True):
        assert to_host(seen).tolist() == [row / 2 for row in batch]


def test_drawing_with_replacement_takes_as_many(backend: Backend) -> None:
    model, (X, y) = Linear(), numbered(backend, 50)
    trained(backend, model, X, y, settings_for(batch_size=16, replace=True))
    rows = model.rows()
    assert [len(batch) for batch in rows] == [16, 16, 16, 2]
    assert len(set(itertools.chain(*rows))) < 50
    assert all(0 <= row < 50 for row in itertools.chain(*rows))


@pytest.mark.parametrize("with_replacement", [False, True])
def test_one_seed_is_one_order_of_rows_everywhere(backend: Backend, with_replacement: bool) -> None:
    model, (X, y) = Linear(), numbered(backend, 10)
    trained(backend, model, X, y, settings_for(epochs=2, replace=with_replacement), seed=7)
    host, expected = host_generator(7), []
    for _ in range(2):
        drawn = host.integers(0, 10, 10) if with_replacement else host.permutation(10)
        expected += [drawn[i : i + 4].tolist() for i in (0, 4, 8)]
    assert model.rows() == expected


def test_descent_on_all_rows_sees_them_as_they_are(backend: Backend) -> None:
    X, y = numbered(backend, 9)
    for optimizer in ("gd", "random_local_search"):
        model = Linear()
        run = trained(backend, model, X, y, settings_for(optimizer, epochs=3, batch_size=2))
        assert run.step == 3 and all(batch is X for batch in model.asked)


def test_mini_batches_are_an_unbiased_estimate() -> None:
    # Over all batches of B of n rows: the mean is the full gradient, and the variance falls as
    # (1 / B) (n - B) / (n - 1), which is 1 / B with the correction for drawing without repeats.
    X, y = blobs(CPU, 7, "float64")
    model, at = Linear("softmax", l2=0.1), (np.full((4, 3), 0.2), np.zeros(3))

    def gradient(rows: tuple[int, ...]) -> np.ndarray:
        _, (dw, db) = model.objective(at, X[list(rows)], y[list(rows)], None, True)
        return np.concatenate([dw.ravel(), db])

    full = gradient(tuple(range(7)))
    spread = {}
    for size in (1, 2, 3, 5):
        every = np.stack([gradient(rows) for rows in itertools.combinations(range(7), size)])
        np.testing.assert_allclose(every.mean(axis=0), full, atol=1e-15)
        spread[size] = ((every - full) ** 2).sum(axis=1).mean()
    for size in (2, 3, 5):
        np.testing.assert_allclose(spread[size], spread[1] * (7 - size) / (6 * size), rtol=1e-12)


# The same run everywhere.


@pytest.mark.parametrize("optimizer", GRADIENT)
@pytest.mark.parametrize("loss", LOSSES)
def test_two_hundred_steps_are_the_same_on_every_backend(
    backend: Backend, loss: str, optimizer: str
) -> None:
    def run_on(somewhere: Backend) -> np.ndarray:
        X, y = blobs(somewhere)
        rate = {"adam": 0.01, "momentum": 0.005, "nesterov": 0.005}.get(optimizer, 0.05)
        steps = settings_for(optimizer, epochs=200 if optimizer == "gd" else 10, batch_size=8)
        steps = replace(steps, learning_rate=rate)
        run = trained(somewhere, Linear(loss, l2=1e-3), X, y, steps)
        assert run.step == 200 and device_of(*run.parameters) == somewhere.device
        assert run.parameters[0].dtype == somewhere.xp.float32
        return flat(run)

    expected = run_on(CPU)
    assert np.linalg.norm(expected) > 0.1
    found = run_on(backend)
    assert np.linalg.norm(found - expected) <= 1e-6 * np.linalg.norm(expected)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov", "adam"])
@pytest.mark.parametrize("loss", LOSSES)
def test_an_epoch_is_that_of_plain_loops(backend: Backend, loss: str, optimizer: str) -> None:
    wide = widest_float(backend.xp, backend.device) == backend.xp.float64
    dtype = "float64" if wide else "float32"
    X, y = blobs(backend, 14, dtype)
    run = trained(backend, Linear(loss, l2=0.01), X, y, settings_for(optimizer), seed=3)
    order = host_generator(3).permutation(14).tolist()
    batches = [order[i : i + 4] for i in range(0, 14, 4)]
    weights, bias, losses = reference.linear_epoch(
        loss, optimizer, to_host(X), to_host(y), batches, 0.1, l2_strength=0.01
    )
    tolerance = 1e-12 if wide else 1e-5
    np.testing.assert_allclose(to_host(run.parameters[0]), weights, atol=tolerance)
    np.testing.assert_allclose(to_host(run.parameters[1]), bias, atol=tolerance)
    np.testing.assert_allclose(run.history["loss"], [np.mean(losses)], rtol=10 * tolerance)


# History.


def test_the_history_means_what_it_says(backend: Backend) -> None:
    X, y = blobs(backend, 30)
    validation = blobs(backend, 17)
    model, kept = Linear(), []
    settings = settings_for(epochs=3, schedule=Step(every=1, factor=0.5))
    losses: list[float] = []

    class Watched(Linear):
        def objective(self, *arguments: Any) -> Any:
            value, gradients = super().objective(*arguments)
            losses.append(float(to_host(value)))
            return value, gradients

    run = start_run(zeros(backend, X), settings)
    with listen(lambda *told: kept.append((run.parameters, told))):
        train(Watched(), run, X, y, settings, host_generator(0), validation=validation)
    history = run.history
    assert {len(values) for values in history.values()} == {3}
    assert history["learning_rate"] == [0.1, 0.05, 0.025]
    assert history["seconds"] == sorted(history["seconds"]) and history["seconds"][0] >= 0
    for epoch, (parameters, (task, done, total, facts)) in enumerate(kept):
        mean = math.fsum(losses[8 * epoch : 8 * epoch + 8]) / 8
        assert abs(history["loss"][epoch] - mean) <= 1e-12 * mean
        for name, (rows, classes) in (("train", (X, y)), ("validation", validation)):
            right = to_host(predicted(model, parameters, rows)) == to_host(classes)
            assert history[f"{name}_accuracy"][epoch] == right.mean()
            assert facts[f"{name}_accuracy"] == right.mean()
        assert (task, done, total, facts["loss"]) == ("training", epoch + 1, 3, mean)
    assert len(kept) == 3


def test_without_validation_there_is_no_validation_accuracy() -> None:
    X, y = blobs(CPU, 10)
    run = trained(CPU, Linear(), X, y, settings_for(epochs=2))
    assert run.history["validation_accuracy"] == [] and len(run.history["train_accuracy"]) == 2


def test_a_run_goes_on_where_it_stood() -> None:
    X, y = blobs(CPU, 10)
    settings, generator = settings_for("adam", epochs=2), host_generator(1)
    run = start_run(zeros(CPU, X), settings)
    for _ in range(2):
        run = train(Linear(), run, X, y, settings, generator)
    whole = trained(CPU, Linear(), X, y, replace(settings, epochs=4), seed=1)
    np.testing.assert_array_equal(flat(run), flat(whole))
    assert run.step == whole.step and run.history["loss"] == whole.history["loss"]


def test_no_epochs_change_nothing() -> None:
    X, y = blobs(CPU, 10)
    run = trained(CPU, Linear(), X, y, settings_for(epochs=0))
    assert run.step == 0 and not flat(run).any() and not any(run.history.values())


def test_steps_after_the_gradient(backend: Backend) -> None:
    X, y = blobs(backend, 8)
    for optimizer, expected in (("sgd", [0.1, 0.1, 0.05, 0.05]), ("random_search", [])):
        rates: list[float] = []

        def half(parameters: Any, rate: float, rates: list[float] = rates) -> Any:
            rates.append(rate)
            return tuple(0.5 * p for p in parameters)

        settings = settings_for(optimizer, epochs=2, schedule=Step(1, 0.5))
        trained(backend, Linear(), X, y, settings, after_step=half)
        assert rates == expected


@pytest.mark.parametrize("n", [1, 3, 1024, 1030])
def test_accuracy_counts_rows(backend: Backend, n: int) -> None:
    # Scores tie where the number is 0 modulo 2, and the first class is taken.
    X = np.stack([np.arange(n) % 2, np.zeros(n)], axis=1).astype("float32")
    y, identity = np.arange(n) % 4 == 1, np.asarray([[0, 1], [0, 0]], dtype="float32")
    parameters = backend.asarray(identity), backend.asarray(np.zeros(2, dtype="float32"))
    rows, classes = backend.asarray(X), backend.asarray(y.astype("int64"))
    with forbid_host_reads():
        assert accuracy(Linear(), parameters, rows, classes) == (X[:, 0] == y).mean()
        first = accuracy(Linear(), parameters, rows, classes, at_most=3)
    assert first == (X[:, 0] == y)[:3].mean()


@pytest.mark.parametrize(("n", "fraction", "count"), [(10, 0.2, 2), (2, 0.01, 1), (3, 0.99, 2)])
def test_rows_held_out(backend: Backend, n: int, fraction: float, count: int) -> None:
    X, y = numbered(backend, n)
    held, rest = hold_out(X, fraction, host_generator(0))
    assert sorted(to_host(held).tolist() + to_host(rest).tolist()) == list(range(n))
    assert held.shape == (count,)
    rows, classes, nothing = take_rows(held, X, y, None)
    assert to_host(rows)[:, 0].tolist() == to_host(held).tolist() and nothing is None
    assert (to_host(classes) == to_host(held) % 3).all()


# Host reads.


def test_reads_are_few_and_named(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    for name in ("to_host", "to_scalar"):
        true = getattr(xpcls.training, name)
        counted = lambda x, true=true, name=name: (reads.append(name), true(x))[1]  # noqa: E731
        monkeypatch.setattr(xpcls.training, name, counted)
    X, y = blobs(backend, 250)
    validation = blobs(backend, 5)
    trained(backend, Linear(), X, y, settings_for(epochs=2, batch_size=1), validation=validation)
    # Each epoch: 250 losses in pieces of READ_EVERY, and two accuracies.
    assert reads.count("to_host") == 2 * math.ceil(250 / READ_EVERY)
    assert reads.count("to_scalar") == 2 * 2 + 1  # and at the end whether all is finite
