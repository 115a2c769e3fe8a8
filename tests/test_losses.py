"""Every loss and its gradient: by the lecture's numbers, by plain loops, and by differences."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests import reference
from xpcls.losses import (
    LOSSES,
    MARGIN_LOSSES,
    hinge,
    one_vs_all,
    probabilities,
    softmax,
    squared_error,
    squared_hinge,
    structured,
)
from xpcls.regularizers import l2
from xpcls_backends import Backend, device_of, to_host, widest_float
from xpcls_backends.testing import forbid_host_reads

NAMES = tuple(LOSSES)


def floats_of(backend: Backend) -> tuple[str, ...]:
    wide = widest_float(backend.xp, backend.device) == backend.xp.float64
    return ("float32", "float64") if wide else ("float32",)


def value_of(loss: Any, scores: Any, y: Any, **options: Any) -> float:
    value, _ = loss(np.asarray(scores, dtype="float64"), np.asarray(y), **options)
    return float(value)


# The numbers of the lecture and of its notes.


def test_the_three_images_of_the_slide() -> None:
    scores = [[3.2, 5.1, -1.7], [1.3, 4.9, 2.0], [2.2, 2.5, -3.1]]
    losses = [value_of(hinge, [row], [y]) for y, row in enumerate(scores)]
    np.testing.assert_allclose(losses, [2.9, 0, 12.9], atol=1e-12)
    assert round(value_of(hinge, scores, [0, 1, 2]), 4) == 5.2667


def test_the_examples_of_the_notes() -> None:
    assert value_of(hinge, [[13, -7, 11]], [0], delta=10.0) == 8
    assert round(value_of(hinge, [[-2.85, 0.86, 0.28]], [2]), 4) == 1.58
    # Natural logarithms: the slides' 0.89 and 0.452 are to the base of 10.
    assert round(value_of(softmax, [[3.2, 5.1, -1.7]], [0]), 4) == 2.0404
    assert round(value_of(softmax, [[-2.85, 0.86, 0.28]], [2]), 4) == 1.0402
    assert np.round(probabilities(np.asarray([[3.2, 5.1, -1.7]]))[0, 0], 2) == 0.13


def test_a_margin_that_is_met_costs_nothing_when_squared() -> None:
    # max(0, (s_j - s_y + 1)^2) would give 9.25.
    assert value_of(squared_hinge, [[0, -4, -0.5]], [0]) == 0.25


# The linear demo of the course as it opens, but for its gradient of the penalty: 2 lambda W.
POINTS = [[0.5, 0.4], [0.8, 0.3], [0.3, 0.8], [-0.4, 0.3], [-0.3, 0.7], [-0.7, 0.2]]
POINTS += [[0.7, -0.4], [0.5, -0.6], [-0.4, -0.5]]
CLASSES = [0, 0, 0, 1, 1, 1, 2, 2, 2]
WEIGHTS, BIAS = [[1.0, 2.0], [2.0, -4.0], [3.0, -1.0]], [0.0, 0.5, -0.5]
DEMO = {
    hinge: (
        [0.3, 1.7, 0, 3.2, 6.8, 2.4, 2.5, 3.3, 4.7],
        (2.7667, 6.2667),
        [[-0.23, 0.37], [0.81, -1.18], [0.62, 0.21]],
        [0.11, -0.11, 0],
    ),
    softmax: (
        [0.56, 1.04, 0.11, 1.96, 4.06, 1.68, 1.72, 2.40, 3.00],
        (1.8366, 5.3366),
        [[-0.01, 0.46], [0.63, -1.05], [0.58, -0.01]],
        [0.15, 0.04, -0.19],
    ),
}


@pytest.mark.parametrize("loss", DEMO, ids=lambda loss: loss.__name__)
def test_the_first_state_of_the_linear_demo(loss: Any) -> None:
    each, (data, total), of_weights, of_bias = DEMO[loss]
    X, weights = np.asarray(POINTS), np.asarray(WEIGHTS)
    scores = X @ weights.T + np.asarray(BIAS)
    np.testing.assert_allclose(
        [value_of(loss, scores[i : i + 1], CLASSES[i : i + 1]) for i in range(9)], each, atol=5e-3
    )
    value, gradient = loss(scores, np.asarray(CLASSES))
    penalty, of_penalty = l2(weights, 0.1)
    assert round(float(penalty), 9) == 3.5
    assert [round(float(value), 4), round(float(value + penalty), 4)] == [data, total]
    np.testing.assert_allclose(gradient.T @ X + of_penalty, of_weights, atol=5.1e-3)
    np.testing.assert_allclose(gradient.sum(axis=0), of_bias, atol=5.1e-3)


@pytest.mark.parametrize("name", ["one_vs_all", "structured"])
def test_the_other_formulations_of_the_linear_demo(name: str) -> None:
    scores = np.asarray(POINTS) @ np.asarray(WEIGHTS).T + np.asarray(BIAS)
    value, gradient = LOSSES[name](scores, np.asarray(CLASSES))
    expected, of_scores = reference.loss(name, scores, CLASSES)
    np.testing.assert_allclose(float(value), expected, rtol=1e-13)
    np.testing.assert_allclose(gradient, of_scores, atol=1e-15)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_losses_of_scores_of_zero(classes: int) -> None:
    scores, y = np.zeros((4, classes)), np.arange(4) % classes
    expected = {
        hinge: 2.5 * (classes - 1),
        squared_hinge: 2.5**2 * (classes - 1),
        structured: 2.5,
        one_vs_all: 2.5 * classes,
    }
    for loss, value in expected.items():
        assert value_of(loss, scores, y, delta=2.5) == value
    assert abs(value_of(softmax, scores, y) - math.log(classes)) < 1e-15
    assert value_of(squared_error, scores, y) == 1


# Against plain loops.


@st.composite
def batches(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Scores, classes and weights; some scores are whole, so that margins and classes tie."""
    shape = draw(st.integers(1, 7)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    scores = rng.normal(size=shape) * draw(st.sampled_from((0.1, 1.0, 30.0)))
    scores = np.round(scores) if draw(st.booleans()) else scores
    weight = rng.integers(0, 4, shape[0]).astype("float64") if draw(st.booleans()) else None
    if weight is not None:
        weight[draw(st.integers(0, shape[0] - 1))] = 0.5
    return scores.astype("float32"), rng.integers(0, shape[1], shape[0]), weight


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40)
@given(batch=batches(), delta=st.sampled_from((1.0, 0.25, 10.0)), labels=st.integers(0, 2))
@example(batch=(np.zeros((3, 4), "float32"), np.asarray([3, 0, 1]), None), delta=1.0, labels=0)
def test_values_and_gradients_are_those_of_loops(
    backend: Backend, name: str, batch: tuple, delta: float, labels: int
) -> None:
    scores, y, weight = batch
    options = {"delta": delta} if name in MARGIN_LOSSES else {}
    expected, of_scores = reference.loss(name, scores, y, weight, **options)
    for dtype in floats_of(backend):
        tolerance = 1e-12 if dtype == "float64" else 3e-6
        s = backend.asarray(scores.astype(dtype))
        classes = backend.asarray(y.astype(("int64", "uint8", "int32")[labels]))
        w = None if weight is None else backend.asarray(weight.astype(dtype))
        with forbid_host_reads():
            for validate in (True, False):
                value, gradient = LOSSES[name](
                    s, classes, **options, sample_weight=w, validate=validate
                )
        assert (value.shape, gradient.shape) == ((), scores.shape)
        assert value.dtype == gradient.dtype == s.dtype
        assert device_of(value, gradient) == backend.device
        largest = max(1.0, float(np.abs(scores).max()) ** 2)
        np.testing.assert_allclose(
            to_host(value), expected, rtol=tolerance, atol=tolerance * largest
        )
        scale = max(1.0, float(np.abs(of_scores).max()))
        np.testing.assert_allclose(to_host(gradient), of_scores, atol=tolerance * scale)


def test_labels_of_a_dtype_that_cannot_hold_the_number_of_classes(backend: Backend) -> None:
    # Counting to 300 in uint8 begins again at 256, so that class 3 would be 259 as well.
    scores = np.random.default_rng(0).normal(size=(2, 300)).astype("float32")
    expected, of_scores = reference.loss("softmax", scores, [3, 120])
    for dtype in ("uint8", "int8"):
        y = backend.asarray(np.asarray([3, 120]).astype(dtype))
        for validate in (True, False):
            value, gradient = softmax(backend.asarray(scores), y, validate=validate)
            np.testing.assert_allclose(to_host(value), expected, rtol=1e-5)
            np.testing.assert_allclose(to_host(gradient), of_scores, atol=1e-6)


def test_squared_error_takes_a_target_as_well_as_classes(backend: Backend) -> None:
    scores = backend.asarray(np.asarray([[1.0, -2.0], [0.5, 0.0]], dtype="float32"))
    classes = backend.asarray(np.asarray([1, 0]))
    target = backend.asarray(np.asarray([[0.0, 1.0], [1.0, 0.0]], dtype="float32"))
    with forbid_host_reads():
        pairs = [squared_error(scores, y) for y in (classes, target)]
    for value, gradient in pairs:
        assert float(to_host(value)) == (1 + 9 + 0.25) / 2
        np.testing.assert_array_equal(to_host(gradient), [[1, -3], [-0.5, 0]])
    with pytest.raises(ValueError, match=r"y has shape \(2, 1\), expected that of scores"):
        squared_error(scores, target[:, :1])


# Gradients by differences.


def away_from_kinks(name: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores on a grid of 0.3 plus 0.07 a column: no margin is 0, and no two classes tie."""
    rng = np.random.default_rng(seed)
    scores = 0.3 * rng.integers(-9, 10, (6, 5)) + 0.07 * np.arange(1, 6)
    return scores + 0.01, rng.integers(0, 5, 6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(3))
def test_gradients_are_central_differences(name: str, seed: int) -> None:
    scores, y = away_from_kinks(name, seed)
    weight = np.asarray([1.0, 2, 0, 1, 0.5, 3])
    value, gradient = LOSSES[name](scores, y, sample_weight=weight)
    h = 1e-5
    for i, j in np.ndindex(*scores.shape):
        ends = []
        for step in (h, -h):
            moved = scores.copy()
            moved[i, j] += step
            ends.append(float(LOSSES[name](moved, y, sample_weight=weight)[0]))
        assert abs((ends[0] - ends[1]) / (2 * h) - gradient[i, j]) < 1e-8 * max(1, float(value))


@pytest.mark.parametrize("name", NAMES)
def test_gradients_along_random_directions(backend: Backend, name: str) -> None:
    dtype = floats_of(backend)[-1]
    h, tolerance = (1e-5, 1e-8) if dtype == "float64" else (2e-3, 2e-2)
    rng = np.random.default_rng(1)
    for seed in range(4):
        scores, y = away_from_kinks(name, seed)
        direction = rng.normal(size=scores.shape)
        direction *= 1 / np.abs(direction).max()
        classes = backend.asarray(y)
        _, gradient = LOSSES[name](backend.asarray(scores.astype(dtype)), classes)
        ends = [
            to_host(
                LOSSES[name](backend.asarray((scores + t * direction).astype(dtype)), classes)[0]
            )
            for t in (h, -h)
        ]
        slope = float(ends[0] - ends[1]) / (2 * h)
        assert abs(slope - float((to_host(gradient) * direction).sum())) < tolerance * 10


# What the lecture says of them.


def test_hinge_stops_caring_and_softmax_does_not(backend: Backend) -> None:
    y = backend.asarray(np.asarray([0]))
    losses = []
    for top in (10.0, 100.0, 15.0, 20.0):
        scores = backend.asarray(np.asarray([[top, 9.0 if top == 10 else 2, 1]], dtype="float32"))
        value, gradient = hinge(scores, y)
        assert float(to_host(value)) == 0 and not to_host(gradient).any()
    for top in (5.0, 6.0, 8.0):
        scores = backend.asarray(np.asarray([[top, 2.0, 1.0]], dtype="float32"))
        value, gradient = softmax(scores, y)
        assert to_host(gradient)[0, 0] < 0 < to_host(gradient)[0, 1:].min()
        losses.append(float(to_host(value)))
    assert losses[0] > losses[1] > losses[2] > 0


@pytest.mark.parametrize(("delta", "l2_strength"), [(2.0, 0.5), (0.25, 0.01), (10.0, 3.0)])
def test_margin_and_penalty_turn_the_same_dial(delta: float, l2_strength: float) -> None:
    # J(delta V; delta, lambda) = delta J(V; 1, lambda delta).
    rng = np.random.default_rng(0)
    X, y, V = rng.normal(size=(20, 4)), rng.integers(0, 3, 20), rng.normal(size=(4, 3))

    def objective(weights: np.ndarray, margin: float, strength: float) -> float:
        return value_of(hinge, X @ weights, y, delta=margin) + float(l2(weights, strength)[0])

    scaled = objective(delta * V, delta, l2_strength)
    np.testing.assert_allclose(scaled, delta * objective(V, 1.0, l2_strength * delta), rtol=1e-13)


@pytest.mark.parametrize("name", NAMES)
def test_large_scores_give_numbers(backend: Backend, name: str) -> None:
    scores = np.asarray([[1e4, -1e4, 0], [-1e4, 1e4, 1e4], [1e4, 1e4, 1e4]], dtype="float32")
    for classes in ([0, 0, 0], [1, 2, 2]):
        value, gradient = LOSSES[name](backend.asarray(scores), backend.asarray(classes))
        expected, of_scores = reference.loss(name, scores, classes)
        np.testing.assert_allclose(to_host(value), expected, rtol=1e-5)
        np.testing.assert_allclose(to_host(gradient), of_scores, rtol=1e-5, atol=1e-6)
    shares = to_host(probabilities(backend.asarray(scores)))
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-6)


# Weights.


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_shares(backend: Backend, name: str) -> None:
    scores, y = away_from_kinks(name, 0)
    weight = np.asarray([1.0, 0, 2, 0, 1, 0])

    def run(rows: list[int], w: list[float] | np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        w = None if w is None else backend.asarray(np.asarray(w, dtype="float32"))
        s = backend.asarray(scores[rows].astype("float32"))
        value, gradient = LOSSES[name](s, backend.asarray(y[rows]), sample_weight=w)
        return to_host(value), to_host(gradient)

    every = list(range(6))
    value, gradient = run(every, weight)
    # A weight of 0 is a row that is not there; a weight of 2 is a row that is there twice.
    kept, of_kept = run([0, 2, 4], weight[[0, 2, 4]])
    twice, of_twice = run([0, 2, 2, 4], None)
    np.testing.assert_allclose([kept, twice], [value, value], rtol=1e-6)
    np.testing.assert_allclose(gradient[[0, 2, 4]], of_kept, rtol=1e-6)
    assert not gradient[[1, 3, 5]].any()
    np.testing.assert_allclose(of_twice[1] + of_twice[2], gradient[2], rtol=1e-5, atol=1e-7)
    # Only shares count.
    for scale in (4.0, 2.0**-60):
        scaled, of_scaled = run(every, weight * scale)
        np.testing.assert_array_equal(scaled, value)
        np.testing.assert_array_equal(of_scaled, gradient)
    np.testing.assert_allclose(run(every, np.ones(6))[0], run(every, None)[0], rtol=1e-6)


def test_a_mini_batch_without_weight_asks_for_nothing(backend: Backend) -> None:
    # Training does not validate: 0 / 0 would end the run with a loss of NaN.
    scores = backend.asarray(np.ones((2, 3), dtype="float32"))
    weight, y = backend.asarray(np.zeros(2, dtype="float32")), backend.asarray([0, 1])
    for loss in LOSSES.values():
        value, gradient = loss(scores, y, sample_weight=weight, validate=False)
        assert float(to_host(value)) == 0 and not to_host(gradient).any()


# Errors.


def case(message: str, kind: type[Exception], **changes: Any) -> Any:
    return pytest.param(kind, message, changes, id=message[:40])


@pytest.mark.parametrize(
    ("kind", "message", "changes"),
    [
        case("y holds 3, expected classes from 0 to 2", ValueError, y=[0, 3]),
        case("y holds -1, expected classes from 0 to 2", ValueError, y=[-1, 0]),
        case("y has dtype .*float.*, expected integers", TypeError, y=[0.0, 1.0]),
        case(r"y has shape \(3,\), expected \(2,\)", ValueError, y=[0, 1, 2]),
        case(r"y has shape \(\), expected \(2,\)", ValueError, y=1),
        case(r"scores has shape \(2,\), expected \(N, C\)", ValueError, scores=[1.0, 2]),
        case(r"scores has shape \(0, 3\), expected", ValueError, scores=np.ones((0, 3)), y=[]),
        case("scores has dtype .*int.*, expected float32", TypeError, scores=[[1, 2], [3, 4]]),
        case("sample_weight has minimum -1", ValueError, sample_weight=[-1.0, 2]),
        case("sample_weight has minimum nan", ValueError, sample_weight=[math.nan, 2]),
        case("sum inf, expected finite weights", ValueError, sample_weight=[1.0, math.inf]),
        case("not all 0", ValueError, sample_weight=[0.0, 0.0]),
        case(r"sample_weight has shape \(1,\), expected \(2,\)", ValueError, sample_weight=[1.0]),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_errors_name_the_argument(
    backend: Backend, name: str, kind: type[Exception], message: str, changes: dict[str, Any]
) -> None:
    arguments = {"scores": np.ones((2, 3)), "y": [0, 1], "sample_weight": None, **changes}

    def placed(x: Any) -> Any:
        x = np.asarray(x)
        return backend.asarray(x.astype("float32") if x.dtype.kind == "f" else x)

    scores, y, weight = arguments["scores"], arguments["y"], arguments["sample_weight"]
    with pytest.raises(kind, match=message) as error:
        LOSSES[name](
            placed(scores), placed(y), sample_weight=None if weight is None else placed(weight)
        )
    assert "\n" not in str(error.value)


def test_arrays_in_two_places(backend: Backend) -> None:
    if backend.name == "numpy":
        return  # the other place
    scores, y = np.ones((2, 3), dtype="float32"), np.asarray([0, 1])
    weight = np.ones(2, dtype="float32")
    with pytest.raises(TypeError, match="one library"):
        hinge(backend.asarray(scores), y)
    with pytest.raises(TypeError, match="one library"):
        hinge(backend.asarray(scores), backend.asarray(y), sample_weight=weight)
