"""Linear classifiers by a kernel, step after step: threads, interruptions, memory in any order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import xpcls_backends._linear as linear
from xpcls import LinearClassifier
from xpcls.training import DivergenceError
from xpcls_backends import LinearTask, hot_loop, linear_descent
from xpcls_backends.kernels import asking_for_kernels, why_none

needs_kernels = pytest.mark.skipif(why_none() is not None, reason=f"no kernels: {why_none()}")
N, D, C = 90, 300, 7


def descend(X: Any) -> Any:
    """Weights, bias weights and losses after some steps."""
    rng = np.random.default_rng(0)
    start = rng.normal(size=(D, C)).astype("float32"), rng.normal(size=C).astype("float32")
    task = LinearTask("softmax", 1.0, 0.01, 2.0)
    y, order = rng.integers(0, C, N), rng.permutation(N)
    with asking_for_kernels(True):
        found = linear_descent(task, start, start, X, y, None, order, 32, 0.01, 0.9)
    assert found is not None
    (weights, bias), _, losses = found
    return np.concatenate([np.ravel(weights), bias, losses])


def rows() -> Any:
    return np.random.default_rng(1).normal(size=(N, D)).astype("float32")


@needs_kernels
def test_the_number_of_threads_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for threads in (1, 2, 3):
        monkeypatch.setattr(linear, "thread_count", lambda xp, threads=threads: threads)
        found.append(descend(rows()))
        with hot_loop():
            found.append(descend(rows()))
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


@needs_kernels
@pytest.mark.parametrize("order", ["reversed", "by features", "every other"])
def test_rows_may_lie_in_memory_in_any_order(order: str) -> None:
    X = rows()
    if order == "reversed":
        given = np.ascontiguousarray(X[::-1])[::-1]
    elif order == "by features":
        given = np.asfortranarray(X)
    else:
        given = np.repeat(X, 2, axis=1)[:, ::2]
    np.testing.assert_allclose(descend(given), descend(X), rtol=0.0, atol=1e-5)


@needs_kernels
def test_steps_at_once_that_diverge_say_at_which_step() -> None:
    y = np.random.default_rng(2).integers(0, C, N)
    model = LinearClassifier("squared_hinge", learning_rate=1e30, batch_size=30, epochs=1)
    with asking_for_kernels(True), pytest.raises(DivergenceError, match=r"at step [12] with"):
        model.fit(rows(), y)


@needs_kernels
@pytest.mark.parametrize("threads", [1, 2])
def test_a_failure_in_one_thread_ends_the_others(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xpcls_backends.kernels.cpu.linear_descent import Descent

    go_on = Descent.go_on

    def interrupted(self: Any, thread: int) -> bool:
        if thread == 0:
            raise KeyboardInterrupt
        return go_on(self, thread)

    monkeypatch.setattr(linear, "thread_count", lambda xp: threads)
    monkeypatch.setattr(Descent, "go_on", interrupted)
    with hot_loop(), pytest.raises(KeyboardInterrupt):
        descend(rows())
    monkeypatch.undo()
    assert np.isfinite(descend(rows())).all()  # no thread of before is in the way
