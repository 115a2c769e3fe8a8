"""The gradient check: right gradients pass, kinks are known, wrong ones are told apart by cause."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpcls import LinearClassifier, get_backend, losses
from xpcls.checks import CheckError, check_gradients, gradient_check
from xpcls.checks import _gradient as module
from xpcls.linear import LINEAR_LOSSES, LinearModel
from xpcls_backends import Backend, to_host, widest_float

N, D, C = 20, 6, 4
RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((N, D))
Y = np.arange(N) % C
W = RANDOM.standard_normal((D, C))
L2 = 0.3


def has_float64(backend: Backend) -> bool:
    return bool(widest_float(backend.xp, backend.device) == backend.xp.float64)


def softmax(weights: Any, x: Any = X, y: Any = Y) -> tuple[Any, Any]:
    """Mean cross-entropy plus L2 sum(W^2), and its gradient."""
    value, of_scores = losses.softmax(x @ weights, y)
    return value + L2 * (weights * weights).sum(), x.mT @ of_scores + 2 * L2 * weights


# --- right gradients ------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LINEAR_LOSSES)
def test_every_loss_has_its_gradient(backend: Backend, loss: str) -> None:
    model = LinearClassifier(loss, delta=1.5, l2=0.1, l1=0.05)
    y = backend.asarray(Y)
    for x in (X.astype("f4"), np.abs(X * 50).astype("u1")):
        if not has_float64(backend):
            with pytest.raises(TypeError, match=r"needs float64, which .*no_float64.*to_host"):
                check_gradients(model, backend.asarray(x), y)
            continue
        result = check_gradients(model, backend.asarray(x), y, coordinates=None)
        assert result.passed, str(result)
        assert result.coordinates + result.kinks == (D + 1) * C
        assert result.max_relative_error <= 1e-7 and result.kinks <= 2


def test_images_of_any_scale_are_checked_alike() -> None:
    images = RANDOM.integers(0, 256, (30, 8, 8, 3), dtype=np.uint8)
    for x in (images, images * 1e6, images * 1e-6, images * 0):
        result = check_gradients(LinearClassifier(), x, np.arange(30) % 3, random_state=1)
        assert result.passed and result.coordinates == 100


@pytest.mark.parametrize(
    ("break_it", "diagnosis"),
    [
        (lambda w, b: (w * 1.01, b), "wrong"),
        (lambda w, b: (w, b * 0), "wrong at"),
        (lambda w, b: (-w, -b), "the wrong sign"),
        (lambda w, b: (w * 25, b * 25), "25 times the right one"),
    ],
)
def test_a_classifier_with_a_wrong_gradient_is_caught(
    break_it: Callable[..., Any], diagnosis: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = LinearModel.objective

    def wrong(*args: Any) -> Any:
        value, gradients = right(*args)
        return value, None if gradients is None else break_it(*gradients)

    monkeypatch.setattr(LinearModel, "objective", wrong)
    result = check_gradients(LinearClassifier(), X, Y, coordinates=None)
    assert not result.passed and diagnosis in result.diagnosis


def test_a_gradient_comes_in_four_ways(backend: Backend) -> None:
    if not has_float64(backend):
        pytest.skip("no float64")
    x, y, w = (backend.asarray(a) for a in (X, Y, W))
    xp = backend.xp

    def f(weights: Any) -> tuple[Any, Any]:
        value, of_scores = losses.softmax(x @ weights, y)
        penalty = L2 * xp.sum(weights * weights)
        return value + penalty, x.mT @ of_scores + 2 * L2 * weights

    def stacked(stack: Any) -> tuple[Any, Any]:
        both = [f(stack[i, ...]) for i in range(stack.shape[0])]
        return xp.stack([b[0] for b in both]), xp.stack([b[1] for b in both])

    results = [
        gradient_check(f, w, coordinates=None),
        gradient_check(lambda v: f(v)[0], w, f(w)[1], coordinates=None),
        gradient_check(lambda v: f(v)[0], w, lambda v: f(v)[1], coordinates=None),
        gradient_check(stacked, w, batched=True, coordinates=None),
        gradient_check(lambda v: stacked(v)[0], w, f(w)[1], batched=True, coordinates=None),
    ]
    assert all(result.passed and result.coordinates == D * C for result in results)
    assert results[0] == results[1] == results[2] and results[3] == results[4]
    assert results[0].max_relative_error < 1e-8


def test_batched_is_one_call_with_a_stack() -> None:
    shapes = []

    def f(stack: Any) -> Any:
        shapes.append(stack.shape)
        return (stack**3).sum(axis=(1, 2))

    assert gradient_check(f, W, 3 * W**2, batched=True, coordinates=10).passed
    assert shapes == [(21, D, C)]  # x itself, and two points a coordinate


def test_large_stacks_come_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "scratch_bytes", lambda xp: 32 * D * C * 7)
    shapes = []

    def f(stack: Any) -> Any:
        shapes.append(len(stack))
        return (stack**3).sum(axis=(1, 2))

    assert gradient_check(f, W, 3 * W**2, batched=True, coordinates=None).passed
    assert max(shapes) == 7 and sum(shapes) == 2 * D * C + 1


def test_half_steps_are_looked_at_where_there_is_doubt() -> None:
    shapes = []

    def f(stack: Any) -> Any:
        shapes.append(len(stack))
        return (stack**3).sum(axis=(1, 2))

    gradient = 3 * W**2
    gradient[2, 1] *= 1.5
    result = gradient_check(f, W, gradient, batched=True, coordinates=None)
    assert not result.passed and result.worst == (2, 1)
    assert shapes == [2 * D * C + 1, 2]


@given(
    scale=st.floats(-6, 6).map(lambda e: 10.0**e),
    offset=st.floats(-3, 3),
    seed=st.integers(0, 2**31),
)
def test_right_gradients_pass_at_any_scale(scale: float, offset: float, seed: int) -> None:
    x = np.random.default_rng(seed).standard_normal((3, 4)) + offset

    def f(v: Any) -> tuple[Any, Any]:
        return scale * (np.sin(v).sum() + (v**2).sum()), scale * (np.cos(v) + 2 * v)

    assert gradient_check(f, x).passed
    _, gradient = f(x)
    assert not gradient_check(lambda v: f(v)[0], x, gradient * 1.001 + scale * 1e-3).passed


def test_any_shape_and_zero_gradients_are_taken() -> None:
    assert gradient_check(lambda v: v**2, np.asarray(3.0), np.asarray(6.0)).worst == ()
    assert gradient_check(lambda v: (v**2).sum(), np.ones((2, 1, 3)), 2 * np.ones((2, 1, 3))).passed
    flat = gradient_check(lambda v: 5.0, np.ones(3), np.zeros(3))
    assert flat.passed and flat.max_relative_error == 0.0  # 0/0 is 0
    assert gradient_check(lambda v: 0.0 * v.sum(), np.ones(3), np.zeros(3)).passed
    assert gradient_check(lambda v: sum(v.tolist()), [1.0, 2.0], np.ones(2)).passed


def test_x_is_not_changed_and_coordinates_are_drawn_from_the_seed() -> None:
    w = W.copy()
    results = [gradient_check(softmax, w, coordinates=5, random_state=i) for i in (0, 0, 1)]
    assert (w == W).all()
    assert results[0] == results[1] != results[2]


# --- kinks ----------------------------------------------------------------------------------------


def test_a_hinge_exactly_at_its_margin_is_a_kink(backend: Backend) -> None:
    if not has_float64(backend):
        pytest.skip("no float64")
    # Of the second row the margin is met exactly: s_0 - s_1 + delta = 0.
    scores, y = backend.asarray([[0.5, 0.2], [1.0, 2.0], [3.0, 0.0]]), backend.asarray([0, 1, 1])
    result = gradient_check(lambda s: losses.hinge(s, y), scores, coordinates=None)
    assert result.passed
    assert result.kinks == 2 and result.kink_positions == ((1, 0), (1, 1))
    assert result.coordinates == 4
    assert "at 2 kinks it lies between the slopes" in result.diagnosis


@pytest.mark.parametrize("place", [0, 1e-7, -0.3e-5, 1e-5 / 3, 0.5e-5, -0.74e-5, 0.9e-5, 0.999e-5])
def test_kinks_are_found_wherever_they_are_within_a_step(place: float) -> None:
    x = np.asarray([0.0, 0.7])
    right = np.asarray([1.0 if place < 0 else 0.0, 1.4])

    def f(v: Any) -> Any:
        return max(v[0] - place, 0.0) + v[1] ** 2

    result = gradient_check(f, x, right)
    assert result.passed and result.kink_positions == ((0,),) and result.coordinates == 1
    # Beside the kink nothing is excused, nor at the kink what lies outside of both slopes.
    assert not gradient_check(f, x, right + np.asarray([0, 1e-3])).passed
    for wrong in (-2.5, 3.5):
        result = gradient_check(f, x, right * [0, 1] + [wrong, 0])
        assert not result.passed and result.worst == (0,)


def test_a_kink_outside_of_the_step_is_none() -> None:
    for place in (1.01e-5, -1.01e-5):
        result = gradient_check(
            lambda v, p=place: abs(v - p).sum(), np.zeros(2), np.full(2, -np.sign(place))
        )
        assert result.passed and result.kinks == 0


def test_a_smooth_function_has_no_kinks() -> None:
    x = RANDOM.standard_normal((5, 5)) * 3
    for f in (np.sin, np.exp, np.square, lambda v: v**5, lambda v: 1 / (1 + np.exp(-3 * v))):
        assert gradient_check(lambda v, f=f: f(v).sum(), x, np.zeros_like(x)).kinks == 0


def test_the_kink_of_a_squared_hinge_is_in_its_slope_alone() -> None:
    scores, y = np.asarray([[1.0, 2.0], [0.1, 0.4]]), np.asarray([1, 0])
    result = gradient_check(lambda s: losses.squared_hinge(s, y), scores)
    assert result.passed


def test_where_all_is_kinks_nothing_was_checked() -> None:
    result = gradient_check(lambda v: abs(v).sum(), np.zeros(3), np.zeros(3))
    assert not result.passed and result.kinks == 3 and result.coordinates == 0
    assert "kink at every coordinate: move x a little" in result.diagnosis


# --- wrong gradients ------------------------------------------------------------------------------


def value_of(w: Any) -> Any:
    return softmax(w)[0]


SQUARE = RANDOM.standard_normal((4, 4))
TARGET = RANDOM.standard_normal((4, 4))
WRONG: dict[str, tuple[Any, Any, Any, str]] = {
    "sign": (value_of, W, -softmax(W)[1], "wrong sign"),
    "sum": (value_of, W, N * softmax(W)[1], "20 times the right one: a factor"),
    "mean twice": (value_of, W, softmax(W)[1] / N, "0.05 times the right one"),
    "half": (lambda v: (v**2).sum(), W, W, "0.5 times the right one"),
    "factor 2 of L2": (value_of, W, softmax(W)[1] - L2 * W, "off by -0.3 x: that of a penalty"),
    "no L2": (value_of, W, softmax(W)[1] - 2 * L2 * W, "off by -0.6 x"),
    "no L1": (
        lambda v: value_of(v) + 0.2 * abs(v).sum(),
        W,
        softmax(W)[1],
        "off by -0.2 sign(x)",
    ),
    "constant": (value_of, W, softmax(W)[1] + 0.125, "off by 0.125 everywhere"),
    "transposed": (
        lambda v: (np.sin(v) * TARGET).sum(),
        SQUARE,
        (np.cos(SQUARE) * TARGET).T,
        "two indices are swapped",
    ),
    "transposed shape": (value_of, W, softmax(W)[1].T, "the shape of its transpose"),
    "never filled": (value_of, W, 0 * W, "0 everywhere"),
    "NaN": (value_of, W, softmax(W)[1] * np.where(W.max() - 1e-9 < W, np.nan, 1), "NaN"),
    "one entry": (value_of, W, softmax(W)[1] + (np.arange(C * D).reshape(D, C) == 5), "at 1 of 24"),
    "a little": (value_of, W, softmax(W)[1] * (1 + 1e-3 * np.sin(9 * W)), "probably wrong"),
    "very little": (value_of, W, softmax(W)[1] * (1 + 1e-5 * np.sin(9 * W)), "all right where f"),
    "noise": (value_of, W, softmax(W)[1] + RANDOM.standard_normal(W.shape), "at 24 of 24"),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_each_mistake_has_its_diagnosis(case: str) -> None:
    f, x, gradient, diagnosis = WRONG[case]
    result = gradient_check(f, x, gradient, coordinates=None)
    assert not result.passed
    assert diagnosis in result.diagnosis
    with pytest.raises(CheckError, match="gradient check FAILED: largest relative error"):
        gradient_check(f, x, gradient, coordinates=None, raise_on_failure=True)


def test_the_forgotten_mean_of_softmax_is_found_through_the_penalty() -> None:
    """Only the part of the loss is N times too large: no one factor explains it."""
    gradient = N * (softmax(W)[1] - 2 * L2 * W) + 2 * L2 * W
    result = gradient_check(value_of, W, gradient, coordinates=None)
    assert not result.passed and "is wrong at" in result.diagnosis


def test_the_numbers_are_those_of_the_worst_coordinate() -> None:
    gradient = softmax(W)[1]
    gradient[3, 2] *= 1.5
    result = gradient_check(value_of, W, gradient, coordinates=None)
    assert result.worst == (3, 2) and result.analytic == gradient[3, 2]
    assert result.numerical == pytest.approx(gradient[3, 2] / 1.5, rel=1e-7)
    assert result.max_relative_error == pytest.approx(0.5 / 2.5, rel=1e-6)
    assert "at (3, 2), analytic" in str(result) and "24 coordinates compared, 0 kinks" in str(
        result
    )


def test_a_larger_tolerance_passes_what_the_notes_let_pass() -> None:
    gradient = softmax(W)[1] * (1 + 5e-5)
    assert not gradient_check(value_of, W, gradient).passed
    assert gradient_check(value_of, W, gradient, tolerance=1e-4).passed


# --- what cannot be checked -----------------------------------------------------------------------


def test_float32_is_refused_wherever_it_hides() -> None:
    w = W.astype("f4")
    with pytest.raises(TypeError, match=r"x is float32, expected float64: .*rounding"):
        gradient_check(softmax, w)
    with pytest.raises(TypeError, match="gradient is float32"):
        gradient_check(value_of, W, softmax(W)[1].astype("f4"))
    with pytest.raises(TypeError, match="what f gives is float32"):
        gradient_check(lambda v: np.float32(v.sum()), W, W)
    with pytest.raises(TypeError, match="x is int64"):
        gradient_check(softmax, [1, 2])


def test_a_device_without_float64_is_named(backend: Backend) -> None:
    if has_float64(backend):
        pytest.skip("has float64")
    with pytest.raises(TypeError, match=r"needs float64, which .*no_float64"):
        gradient_check(softmax, backend.asarray(W.astype("f4")))


def test_calls_that_do_not_fit_say_how() -> None:
    with pytest.raises(TypeError, match="gradient is None and f gives a value alone"):
        gradient_check(value_of, W)
    with pytest.raises(
        ValueError, match=r"gradient has shape \(3,\), expected that of x, \(6, 4\)"
    ):
        gradient_check(value_of, W, np.zeros(3))
    with pytest.raises(ValueError, match="expected one number"):
        gradient_check(lambda v: v, W, W)
    with pytest.raises(ValueError, match=r"f gives an array of shape \(\) for a stack"):
        gradient_check(lambda v: v.sum(), W, W, batched=True)
    with pytest.raises(ValueError, match=r"h is 0, expected a .*number above 0"):
        gradient_check(softmax, W, h=0)
    with pytest.raises(ValueError, match="coordinates is 0"):
        gradient_check(softmax, W, coordinates=0)
    with pytest.raises(ValueError, match="tolerance is -1"):
        gradient_check(softmax, W, tolerance=-1)


def test_the_arrays_stay_where_they_are(backend: Backend) -> None:
    if not has_float64(backend):
        pytest.skip("no float64")
    places = set()

    def f(v: Any) -> tuple[Any, Any]:
        places.add((backend.xp.__name__, str(v.device)))
        return backend.xp.sum(v * v), 2.0 * v

    assert gradient_check(f, backend.asarray(W)).passed
    assert places == {(backend.xp.__name__, str(backend.device))}
    assert to_host(get_backend("numpy").asarray(W)) is W
