"""The network that is trained: its loss in blocks, its penalty, and what batch norm remembers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from xpcls import graph, network_model
from xpcls.graph import Variable
from xpcls.layers import parse_layers
from xpcls.losses import LOSSES
from xpcls.network_model import NetworkModel, standardization
from xpcls_backends import Backend, host_generator, to_host
from xpcls_backends.testing import forbid_host_reads

LAYERS = [("conv", 3), "relu", "max_pool", ("dense", 4), "tanh"]
X = np.random.default_rng(0).normal(size=(11, 32))
Y = np.arange(11) % 3
WEIGHT = np.random.default_rng(1).random(11) * 2


def model_of(layers: Any = LAYERS, loss: str = "softmax", l2: float = 0.0) -> NetworkModel:
    return NetworkModel(parse_layers(layers), (4, 4, 2), 3, loss, 1.0, l2)


def point_of(model: NetworkModel, dtype: str = "f8") -> tuple[Any, ...]:
    """Parameters that are nowhere 0."""
    draws = np.random.default_rng(2)
    return tuple((draws.normal(size=s) / 3 + 0.1).astype(dtype) for s in model.array_shapes())


def by_hand(parameters: Any) -> Any:
    """The scores of LAYERS, from graph functions on plain arrays, in the order as written."""
    filters, b, w1, b1, w2, b2 = parameters
    z = graph.relu(graph.conv2d(X.reshape(-1, 4, 4, 2), filters, b, padding="same"))
    h = np.tanh(graph.max_pool(z).reshape(11, -1) @ w1 + b1)
    return h @ w2 + b2


def test_scores_and_loss_are_those_of_the_layers() -> None:
    model = model_of(l2=0.01)
    parameters = point_of(model)
    np.testing.assert_allclose(model.scores(parameters, X), by_hand(parameters), rtol=1e-12)
    value, none = model.objective(parameters, X, Y, None, False)
    penalty = 0.01 * sum(float((parameters[i] ** 2).sum()) for i in (0, 2, 4))
    expected = float(LOSSES["softmax"](by_hand(parameters), Y)[0]) + penalty
    assert none is None and float(value) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize("loss", list(LOSSES))
def test_gradients_are_those_of_differences(loss: str, weight: Any) -> None:
    model = model_of(loss=loss, l2=0.02)
    parameters = point_of(model)
    _, gradients = model.objective(parameters, X, Y, weight, True)
    assert gradients is not None
    for k, gradient in enumerate(gradients):
        direction = np.random.default_rng(k).normal(size=gradient.shape)

        def at(t: float, k: int = k, direction: Any = direction) -> float:
            moved = list(parameters)
            moved[k] = moved[k] + t * direction
            return float(model.objective(tuple(moved), X, Y, weight, False)[0])

        slope = (at(1e-5) - at(-1e-5)) / 2e-5
        assert float((gradient * direction).sum()) == pytest.approx(slope, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("layers", [LAYERS, [*LAYERS, ("dropout", 0.4)]])
def test_blocks_of_rows_add_up(
    backend: Backend, layers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of(layers, l2=0.01)
    dtype = "float32" if backend.name == "strict-no_float64" else "float64"
    parameters = tuple(backend.asarray(p.astype(dtype)) for p in point_of(model))
    rows, weight = (backend.asarray(a.astype(dtype)) for a in (X, WEIGHT))
    y = backend.asarray(Y)
    found = []
    for size in (11, 4, 1):
        monkeypatch.setattr(NetworkModel, "_block_rows", lambda *_, size=size: size)
        with forbid_host_reads():
            value, gradients = model.objective(parameters, rows, y, weight, True, 17)
            scores = model.scores(parameters, rows)
        assert gradients is not None
        found.append([to_host(a) for a in (value, scores, *gradients)])
    rtol = 1e-4 if dtype == "float32" else 1e-11
    for parts in zip(*found, strict=True):
        for part in parts[1:]:
            np.testing.assert_allclose(part, parts[0], rtol=rtol, atol=rtol)


def test_convolutions_work_in_blocks_that_fit_the_cache() -> None:
    images = NetworkModel(parse_layers(LAYERS), (32, 32, 3), 10, "softmax", 1.0, 0.0)
    parameters = images.start(np.zeros((1, 3072), "f4"), np.float32, host_generator(0))
    rows = images._block_rows(np.zeros((1000, 3072), "f4"), parameters)
    assert 2 <= rows <= 512
    largest = 4 * rows * 32 * 32 * 3
    assert largest <= network_model.BLOCK_ACTIVATIONS * 2**18


def test_batch_norm_needs_all_rows_at_once_and_remembers_them() -> None:
    model = model_of([("conv", 3), "batch_norm", "relu"])
    parameters = point_of(model)
    _, gradients = model.objective(parameters, X, Y, None, True)
    assert gradients is not None
    assert not gradients[4].any() and not gradients[5].any()  # the running means have none
    filters, bias, factor, offset, mean, variance, *_ = parameters
    z = graph.conv2d(X.reshape(-1, 4, 4, 2), filters, bias, padding="same").reshape(-1, 3)
    moved = model.after_step(parameters, 0.1)
    np.testing.assert_allclose(moved[4], 0.9 * mean + 0.1 * z.mean(axis=0))
    np.testing.assert_allclose(moved[5], 0.9 * variance + 0.1 * z.var(axis=0))
    assert moved[2] is factor and moved[3] is offset
    assert model.after_step(parameters, 0.1)[4] is mean  # once is enough


def test_a_key_names_the_masks_of_a_step() -> None:
    model = model_of([("dense", 50), "relu", ("dropout", 0.5)])
    parameters = point_of(model)
    values = [float(model.objective(parameters, X, Y, None, True, key)[0]) for key in (1, 1, 2)]
    assert values[0] == values[1] != values[2] and model.noisy
    without = float(model.objective(parameters, X, Y, None, False)[0])
    assert without not in values and not model_of().noisy


def test_the_graph_of_a_step_is_released() -> None:
    model = model_of()
    parameters = point_of(model)
    learnt = [Variable(p) for p in parameters]
    x = X.reshape(-1, 4, 4, 2)
    scores = model._forward(learnt, x, network_model.Pass(training=True))
    graph.softmax_cross_entropy(scores, Y).backward()
    _, gradients = model.objective(parameters, X, Y, None, True)
    assert gradients is not None
    for variable, gradient in zip(learnt, gradients, strict=True):
        np.testing.assert_allclose(variable.grad, gradient, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_rows_are_centred_and_scaled_by_one_number(backend: Backend, dtype: str) -> None:
    rows = (np.random.default_rng(3).random((3000, 5)) * 200 + 20).astype(dtype)
    weight = np.random.default_rng(4).random(3000).astype("f4")
    center, scale = standardization(backend.asarray(rows), None)
    np.testing.assert_allclose(to_host(center), rows.mean(axis=0, dtype=float), rtol=1e-5)
    centred = rows - rows.mean(axis=0, dtype=float)
    assert scale == pytest.approx(1 / np.sqrt((centred**2).mean()), rel=1e-5)
    center, scale = standardization(backend.asarray(rows), backend.asarray(weight))
    mean = np.average(rows.astype(float), axis=0, weights=weight)
    np.testing.assert_allclose(to_host(center), mean, rtol=1e-5)
    spread = np.average((rows - mean) ** 2, axis=0, weights=weight).mean()
    assert scale == pytest.approx(1 / np.sqrt(spread), rel=1e-5)


def test_rows_that_do_not_vary_are_not_scaled() -> None:
    center, scale = standardization(np.full((5, 2), 7.0), None)
    assert center.tolist() == pytest.approx([7, 7]) and scale == 1.0
    with pytest.raises(ValueError, match="X holds values whose squares overflow"):
        standardization(np.asarray([[1e200], [-1e200]]), None)
