"""The gradient check of linear classifiers: one weight moves one column of the scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from xpcls import LinearClassifier, get_backend
from xpcls.checks import _classifier as classifier
from xpcls.checks import _columns as columns
from xpcls.checks import check_gradients
from xpcls.checks._columns import LinearChanges
from xpcls.linear import LINEAR_LOSSES, LinearModel
from xpcls_backends import Backend, to_host, to_scalar, widest_float
from xpcls_backends.testing import forbid_host_reads

N, D, C = 20, 6, 4
RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((N, D))
Y = np.arange(N) % C


def linear_problem(backend: Backend, loss: str) -> tuple[LinearModel, Any, Any, Any]:
    """A model, parameters (D + 1, C) with scores of about 1, rows and classes."""
    x = RANDOM.standard_normal((D + 1, C)) / 2
    model = LinearModel(loss, 1.2, 0.1, 0.05)
    return model, *(backend.asarray(a) for a in (x, X, Y))


@pytest.mark.parametrize("loss", LINEAR_LOSSES)
@pytest.mark.parametrize("step", [1e-5, 0.3, 4.0])
def test_a_column_changes_the_loss_as_the_objective_does(
    backend: Backend, loss: str, step: float
) -> None:
    if widest_float(backend.xp, backend.device) != backend.xp.float64:
        pytest.skip("no float64")
    model, x, rows, y = linear_problem(backend, loss)
    with forbid_host_reads():
        changes = LinearChanges(model, x, rows, y)

    def value(weights: Any) -> float:
        at = tuple(backend.asarray(a) for a in (weights[:-1], weights[-1]))
        return float(to_scalar(model.objective(at, rows, y, None, False)[0]))

    places = np.arange((D + 1) * C)
    steps = step * RANDOM.uniform(0.5, 1.0, places.shape)
    start = to_host(x)
    found = changes(places, steps)
    for sign, change in zip((1.0, -1.0), found, strict=True):
        expected = []
        for place, by in zip(places, sign * steps, strict=True):
            moved = start.copy()
            moved.reshape(-1)[place] += by
            expected.append(value(moved) - value(start))
        np.testing.assert_allclose(change, expected, rtol=1e-12, atol=1e-13)


def test_columns_come_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, rows, y = linear_problem(get_backend("numpy"), "softmax")
    changes = LinearChanges(model, x, rows, y)
    places, steps = np.asarray([0, 5, 27, 13, 13]), np.full(5, 0.1)
    whole = changes(places, steps)
    monkeypatch.setattr(columns, "elementwise_block_bytes", lambda xp: 1)
    assert np.array_equal(whole, changes(places, steps))


@pytest.mark.parametrize("loss", LINEAR_LOSSES)
def test_columns_and_the_objective_find_the_same(
    loss: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = LinearClassifier(loss, l2=0.1, l1=0.01)
    calls = []
    right = LinearModel.objective

    def counted(*args: Any) -> Any:
        calls.append(1)
        return right(*args)

    monkeypatch.setattr(LinearModel, "objective", counted)
    fast = check_gradients(model, X, Y, coordinates=None)
    few = len(calls)
    monkeypatch.setattr(classifier, "FORMS", {})
    slow = check_gradients(model, X, Y, coordinates=None)
    assert fast.passed and slow.passed and fast.kinks == slow.kinks
    assert fast.coordinates == slow.coordinates == (D + 1) * C - fast.kinks
    assert few <= 2 + 5 * fast.kinks and len(calls) - few > 2 * (D + 1) * C


def test_a_loss_that_is_another_one_decides_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the objective is not what the form of its columns says, the form is not used."""
    right = LinearModel.objective

    def wrong(*args: Any) -> Any:
        value, gradients = right(*args)
        return 1.01 * value, gradients

    monkeypatch.setattr(LinearModel, "objective", wrong)
    result = check_gradients(LinearClassifier(), X, Y, coordinates=None)
    assert not result.passed and "0.9901 times the right one" in result.diagnosis
