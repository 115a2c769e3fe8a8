"""What trains on a CUDA card, by kernels, is what trains plainly; see test_rows.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cuda.simulator import SCHEDULES, scheduled
from xpcls.linear_model import LINEAR_LOSSES, LinearModel
from xpcls.losses import LOSSES, MARGIN_LOSSES
from xpcls.optimizers import SGD, Adam, Constant, GradientDescent, Momentum, Nesterov
from xpcls.training import Settings, start_run, train
from xpcls_backends import Backend, to_host
from xpcls_backends.kernels import asking_for_kernels
from xpcls_backends.kernels.cuda import linear, losses, updates

few = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**20)


def _run(
    backend: Backend,
    loss: str,
    sizes: tuple[int, int, int],
    batch: int,
    decay: float,
    pixels: str,
    weighted: bool,
    seed: int,
) -> Any:
    """Weights, bias, velocities and losses of two epochs."""
    rng = np.random.default_rng(seed)
    n, features, n_classes = sizes
    X = rng.integers(0, 9, (n, features)).astype(pixels)
    rate = float(0.1 / (n_classes * (1.0 + np.mean(np.sum(X.astype("float64") ** 2, axis=1)))))
    weights = rng.normal(size=(n_classes, features)).astype("float32").T
    bias = rng.normal(size=n_classes).astype("float32")
    y = rng.integers(0, n_classes, n)
    weight = backend.asarray(rng.uniform(0.1, 2.0, n).astype("float32")) if weighted else None
    given = Settings(Momentum(decay) if decay else SGD(), Constant(), rate, 2, batch)
    model = LinearModel(loss, delta=1.3, l2=0.01, l1=0.0, constant=2.0)
    start = start_run(tuple(map(backend.asarray, (weights, bias))), given)
    data = backend.asarray(X), backend.asarray(y), given, np.random.default_rng(seed)
    run = train(model, start, *data, sample_weight=weight)
    moved = [to_host(v) for kept in run.state[1] for v in kept]
    return [*map(to_host, run.parameters), np.asarray(run.history["loss"]), *moved]


@pytest.mark.parametrize("loss", LINEAR_LOSSES)
@pytest.mark.parametrize("decay", [0.0, 0.9])
@settings(max_examples=6, deadline=None)
@given(
    sizes=st.tuples(st.integers(3, 40), st.integers(1, 70), st.integers(2, 12)),
    batch=st.integers(1, 33),
    pixels=st.sampled_from(["float32", "uint8"]),
    weighted=st.booleans(),
    seed=seeds,
)
def test_linear_descent_is_that_of_plain_steps(
    card: Backend,
    loss: str,
    decay: float,
    sizes: Any,
    batch: int,
    pixels: str,
    weighted: bool,
    seed: int,
) -> None:
    given = (loss, sizes, batch, decay, pixels, weighted, seed)
    calls, descend = [], linear.descend

    def counted(*args: Any) -> Any:
        found = descend(*args)
        calls.append(found is not None)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear, "descend", counted)
        found = _run(card, *given)
        assert calls == [True, True]
        with asking_for_kernels(False):
            expected = _run(card, *given)
    for a, b in zip(found, expected, strict=True):
        scale = float(np.max(np.abs(b), initial=1.0))
        np.testing.assert_allclose(a, b, rtol=0.0, atol=3e-5 * scale)


@pytest.mark.parametrize("features", linear.FEATURES)
@pytest.mark.parametrize("n_classes", [2, 5, 10, losses.MOST_CLASSES])
def test_linear_descent_however_features_are_cut(
    card: Backend, monkeypatch: pytest.MonkeyPatch, features: int, n_classes: int
) -> None:
    """Rows that end before, at and after the last feature of a block; full and small batches."""
    monkeypatch.setattr(linear, "FEATURES", (features,))
    calls, descend = [], linear.descend

    def counted(*args: Any) -> Any:
        found = descend(*args)
        calls.append(found is not None)
        return found

    monkeypatch.setattr(linear, "descend", counted)
    for length, n, batch, pixels in (
        (2 * features - 2, 40, 17, "uint8"),
        (2 * features - 1, 257, 256, "float32"),
        (features, 5, 2, "float32"),
    ):
        fitting = linear.shared_bytes(features, n_classes, batch) <= linear.SHARED
        given = ("softmax", (n, length, n_classes), batch, 0.9, pixels, True, n)
        found = _run(card, *given)
        assert calls == [fitting] * 2
        calls.clear()
        with asking_for_kernels(False):
            expected = _run(card, *given)
        for a, b in zip(found, expected, strict=True):
            scale = float(np.max(np.abs(b), initial=1.0))
            np.testing.assert_allclose(a, b, rtol=0.0, atol=3e-5 * scale)


def test_linear_descent_has_the_same_bits_whatever_thread_is_first(card: Backend) -> None:
    found = []
    for schedule in SCHEDULES:
        with scheduled(*schedule):
            found.append(_run(card, "softmax", (50, 60, 10), 16, 0.9, "float32", True, 7))
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_linear_descent_stays_away_where_not_all_blocks_fit(
    card: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ("hinge", (30, 70, 3), 10, 0.0, "float32", False, 3)
    with asking_for_kernels(False):
        expected = _run(card, *given)
    monkeypatch.setattr(linear, "_at_once", lambda function, shared: 2)
    assert linear._cut(70, 3, 10, "float") is None
    for a, b in zip(_run(card, *given), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_shared_memory_of_linear_descent_is_what_its_source_lays_out(card: Backend) -> None:
    # A byte less would be written over by the last block, or by nobody: the simulator would tell.
    assert linear.shared_bytes(24, 10, 256) == 4 * (256 * 24 + 24 * 12 + 256 * 12)
    assert linear.shared_bytes(24, 10, 8) == 4 * (14 * 24 * 12 + 24 * 12 + 256)


@pytest.mark.parametrize("name", list(LOSSES))
@few
@given(n=st.integers(1, 200), n_classes=st.integers(2, 16), weighted=st.booleans(), seed=seeds)
def test_losses_are_those_of_the_plain_version(
    card: Backend, name: str, n: int, n_classes: int, weighted: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    scores = card.asarray(np.round(rng.normal(size=(n, n_classes)), 1).astype("float32"))
    y = card.asarray(rng.integers(0, n_classes, n))
    weight = card.asarray(rng.uniform(0.0, 2.0, n).astype("float32")) if weighted else None
    given = {"sample_weight": weight, "validate": False}
    given |= {"delta": 0.7} if name in MARGIN_LOSSES else {}
    calls, rows_losses = [], losses.rows_losses
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(losses, "rows_losses", lambda *a: calls.append(1) or rows_losses(*a))
        found = LOSSES[name](scores, y, **given)
        assert calls == [1]
        with asking_for_kernels(False):
            expected = LOSSES[name](scores, y, **given)
        LOSSES[name](scores, y, **given | {"validate": True})
        assert calls == [1]
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_allclose(to_host(a), to_host(b), rtol=2e-5, atol=1e-6)


def test_a_loss_of_nan_is_nan(card: Backend) -> None:
    scores = np.zeros((3, 4), "float32")
    scores[1, 2] = np.nan
    for name in LOSSES:
        y = card.asarray(np.array([0, 1, 2]))
        value, _ = LOSSES[name](card.asarray(scores), y, validate=False)
        assert np.isnan(to_host(value)), name


def test_more_classes_than_registers_hold_are_left_to_the_plain_version(card: Backend) -> None:
    scores = card.asarray(np.zeros((3, losses.MOST_CLASSES + 1), "float32"))
    value, _ = LOSSES["softmax"](scores, card.asarray(np.array([0, 1, 16])), validate=False)
    np.testing.assert_allclose(to_host(value), np.log(losses.MOST_CLASSES + 1), rtol=1e-6)


@pytest.mark.parametrize("kind", [SGD, GradientDescent, Momentum, Nesterov, Adam])
@pytest.mark.parametrize("dtype", list(updates.NUMBERS))
@pytest.mark.parametrize("apart", [False, True])
def test_steps_are_those_of_the_plain_version(
    card: Backend, launched: list[str], kind: Any, dtype: str, apart: bool
) -> None:
    rng = np.random.default_rng(8)
    start = [rng.normal(size=shape).astype(dtype) for shape in ((40, 7), (7,), (1, 1))]
    targets = [card.asarray(rng.normal(size=p.shape).astype(dtype)) for p in start]
    strengths = (0.01, 0.0, 0.0)

    class Objective:
        """The mean square distance to the targets, with a penalty on the first parameter."""

        penalty: Any = 0.0

        def __call__(self, parameters: Any, with_gradient: bool) -> Any:
            value, gradients, _ = self._unpenalised(parameters, 1.0)
            value = value + strengths[0] * card.xp.sum(parameters[0] ** 2)
            return value, (gradients[0] + 2.0 * strengths[0] * parameters[0], *gradients[1:])

        def _unpenalised(self, parameters: Any, seed: float) -> Any:
            differences = [p - t for p, t in zip(parameters, targets, strict=True)]
            value = sum(card.xp.sum(d * d) for d in differences)
            return value, tuple(2.0 * seed * d for d in differences), strengths

        def penalise(self, strength: float, squares: Any) -> None:
            self.penalty = self.penalty + strength * squares

    if apart:
        Objective.apart = Objective._unpenalised  # type: ignore[attr-defined]

    def run() -> list[Any]:
        optimizer, generator = kind(), np.random.default_rng(0)
        # The first one lies in memory as its transpose does, as of a linear classifier.
        first = card.asarray(np.ascontiguousarray(start[0].T)).mT
        parameters: Any = (first, *map(card.asarray, start[1:]))
        state, values = optimizer.start(parameters), []
        for _ in range(4):
            objective = Objective()
            parameters, state, value = optimizer.step(objective, parameters, state, 0.01, generator)
            values.append(value + objective.penalty)
        return [to_host(x) for x in (*parameters, *values, *(k for kept in state[1] for k in kept))]

    found = run()
    assert launched.count("moved") == 4 * 3
    with asking_for_kernels(False):
        expected = run()
    assert launched.count("moved") == 4 * 3
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-5 if dtype == "float32" else 1e-12)


def test_a_rule_of_somebody_else_is_asked_itself(card: Backend, launched: list[str]) -> None:
    class Signs(SGD):
        along_gradient = False

        def direction(self, t: int, g: Any, *kept: Any) -> tuple[Any, ...]:
            return (card.xp.sign(g),)

    parameters = (card.asarray(np.zeros(3, "float32")),)
    gradient = card.asarray(np.array([5.0, -0.1, 0.0], "float32"))
    one = card.asarray(np.zeros((), "float32"))
    optimizer = Signs()
    stepped, *_ = optimizer.step(
        lambda p, with_gradient: (one, (gradient,)),
        *(parameters, optimizer.start(parameters), 0.5, np.random.default_rng(0)),
    )
    np.testing.assert_array_equal(to_host(stepped[0]), np.array([-0.5, 0.5, 0.0], "float32"))
    assert launched == []
