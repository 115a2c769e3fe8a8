"""Checks before training: right losses and data pass, and each mistake gets its own diagnosis."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from xpcls import KNeighborsClassifier, LinearClassifier, losses
from xpcls.checks import CheckError, InitialLoss, initial_loss, loss_at_zero, overfit
from xpcls.linear_model import LINEAR_LOSSES
from xpcls.optimizers import Constant
from xpcls_backends import Backend, to_host

C, N, D = 7, 42, 12
CODES = np.arange(N) % C
ROWS = np.random.default_rng(0).standard_normal((N, D)).astype("f4") + CODES[:, None] / 10
ROWS = ROWS.astype("f4")
IMAGES = np.random.default_rng(1).integers(0, 256, (200, 8, 8, 3), dtype=np.uint8)
LABELS = np.random.default_rng(2).integers(0, 5, 200)

# --- the loss at zero weights -------------------------------------------------------------------


def test_the_theory_is_that_of_the_lectures() -> None:
    assert loss_at_zero("softmax", 10) == math.log(10)
    assert loss_at_zero("hinge", 10) == 9 and loss_at_zero("hinge", 10, 3.0) == 27
    assert loss_at_zero("squared_hinge", 10, 3.0) == 81
    assert loss_at_zero("structured", 10, 3.0) == 3
    assert loss_at_zero("one_vs_all", 10, 3.0) == 30
    assert loss_at_zero("squared_error", 10) == 1
    with pytest.raises(ValueError, match="loss is 'absolute', expected one of 'hinge'"):
        loss_at_zero("absolute", 10)


@pytest.mark.parametrize("scale", [0.0, 1e-6])
@pytest.mark.parametrize("loss", LINEAR_LOSSES)
def test_classifiers_start_where_they_should(backend: Backend, loss: str, scale: float) -> None:
    x, y = backend.asarray(IMAGES), backend.asarray(LABELS)
    model = LinearClassifier(loss, delta=1.5, l2=0.25, l1=0.125)
    result = initial_loss(model, x, y, scale=scale)
    assert result.passed and result.n_classes == 5 and result.loss == loss
    assert result.data == loss_at_zero(loss, 5, 1.5)
    assert (result.penalty > 0) == (scale > 0)
    assert result.value == pytest.approx(result.expected, abs=result.tolerance)


def test_the_penalty_is_of_the_weights_that_are_used(backend: Backend) -> None:
    seen = []

    def loss(weights: Any, x: Any, y: Any) -> Any:
        seen.append(to_host(weights))
        return losses.softmax(x @ weights, y)[0] + 2.0 * backend.xp.sum(weights * weights)

    x, y = backend.asarray(ROWS * 1e-4), backend.asarray(CODES)
    result = initial_loss(loss, x, y, loss="softmax", l2=2.0, scale=0.1)
    assert result.passed
    assert result.penalty == pytest.approx(2.0 * (seen[0].astype("f8") ** 2).sum(), rel=1e-5)


Wrong = Callable[[Any, Any, Any], Any]  # of weights, X and y; it may use NumPy


def scored(loss: Callable[[Any, Any], Any]) -> Wrong:
    return lambda w, x, y: loss(x @ w, y)


def margins(scores: Any, y: Any, delta: float, own: bool = False) -> Any:
    found = np.maximum(scores - scores[np.arange(len(y)), y][:, None] + delta, 0.0)
    if not own:
        found[np.arange(len(y)), y] = 0.0
    return found


def logs(scores: Any, y: Any, log: Any = np.log) -> Any:
    powers = np.exp(scores)
    return -log(powers[np.arange(len(y)), y] / powers.sum(axis=1))


DELTA = 3.0
WRONG = [
    ("softmax", lambda s, y: logs(s, y, np.log10).mean(), "log10 was taken"),
    ("softmax", lambda s, y: logs(s, y, np.log2).mean(), "log2 was taken"),
    ("softmax", lambda s, y: logs(s, y).sum(), "42 times too large: the sum over the 42 rows"),
    ("softmax", lambda s, y: logs(s, y).mean() / len(y), "42 times too small"),
    ("softmax", lambda s, y: -logs(s, y).mean(), "sign is wrong"),
    ("softmax", lambda s, y: np.exp(-logs(s, y)).mean(), "a probability: take minus its ln"),
    ("softmax", lambda s, y: np.log(np.exp(s).sum(1) + 1).mean(), "a class too many"),
    ("softmax", lambda s, y: np.log(np.exp(s[:, 1:]).sum(1)).mean(), "the true class is left out"),
    ("softmax", lambda s, y: np.float32("nan"), "not finite: subtract the largest score"),
    ("softmax", lambda s, y: 0.77, "0.3957 times what it should be"),
    ("hinge", lambda s, y: margins(s, y, DELTA, own=True).sum(1).mean(), "for the true class too"),
    ("hinge", lambda s, y: margins(s, y, DELTA).sum(), "the sum over the 42 rows"),
    ("hinge", lambda s, y: margins(s, y, 1.0).sum(1).mean(), "delta counts as 1, and is 3"),
    ("hinge", lambda s, y: margins(s, y, 0.0).sum(1).mean(), "delta is missing"),
    ("hinge", lambda s, y: margins(s, y, -DELTA).sum(1).mean(), "the margin has the wrong sign"),
    ("hinge", lambda s, y: margins(s, y, DELTA).max(1).mean(), "do not take the largest"),
    ("hinge", lambda s, y: margins(s, y, DELTA).mean(), "the mean over classes was taken as well"),
    ("squared_hinge", lambda s, y: margins(s, y, DELTA).sum(1).mean(), "are not squared"),
    ("squared_hinge", lambda s, y: (margins(s, y, DELTA) ** 2).sum(1).mean() / 2, "no 1/2 before"),
    ("squared_hinge", lambda s, y: (margins(s, y, DELTA).sum(1) ** 2).mean(), "sum is squared"),
    ("squared_hinge", lambda s, y: (margins(s, y, DELTA, True) ** 2).sum(1).mean(), "true class"),
    ("structured", lambda s, y: margins(s, y, DELTA).sum(1).mean(), "not the sum"),
    ("one_vs_all", lambda s, y: margins(s, y, DELTA).sum(1).mean(), "each class has a hinge"),
    ("one_vs_all", lambda s, y: margins(s, y, DELTA, True).mean(), "add up all"),
]


@pytest.mark.parametrize(("loss", "wrong", "diagnosis"), WRONG)
def test_a_wrong_loss_is_recognised(loss: str, wrong: Callable[..., Any], diagnosis: str) -> None:
    result = initial_loss(scored(wrong), ROWS, CODES, loss=loss, delta=DELTA)
    assert not result.passed
    assert diagnosis in result.diagnosis
    # With weights that are not quite 0 the same mistake is found.
    near = initial_loss(scored(wrong), ROWS, CODES, loss=loss, delta=DELTA, scale=1e-7)
    assert near.diagnosis == result.diagnosis or "0.395" in near.diagnosis


@pytest.mark.parametrize(
    ("wrong", "diagnosis"),
    [
        (lambda data, penalty: data, "the penalty is missing"),
        (lambda data, penalty: data + penalty / 2, "the penalty is half"),
        (lambda data, penalty: data + penalty * 2, "added twice"),
        (lambda data, penalty: data + penalty / N, "add it after the mean"),
        (lambda data, penalty: penalty, "penalty alone"),
        (lambda data, penalty: (data + penalty) * N, "the sum over the 42 rows"),
        (lambda data, penalty: data * N + penalty, "the sum over the 42 rows"),
        (lambda data, penalty: data / math.log(10) + penalty, "log10"),
    ],
)
def test_a_wrong_penalty_is_recognised(wrong: Callable[..., Any], diagnosis: str) -> None:
    def loss(weights: Any, x: Any, y: Any) -> Any:
        return wrong(logs(x @ weights, y).mean(), 0.5 * (weights**2).sum() + abs(weights).sum())

    result = initial_loss(loss, ROWS * 1e-6, CODES, loss="softmax", l2=0.5, l1=1.0, scale=0.1)
    assert not result.passed and diagnosis in result.diagnosis


def test_two_classes_do_not_confuse_the_diagnosis() -> None:
    y = CODES % 2
    sums = scored(lambda s, y: margins(s, y, 1.0).sum())
    result = initial_loss(sums, ROWS, y, loss="hinge")
    assert "sum over the 42 rows" in result.diagnosis
    result = initial_loss(scored(lambda s, y: logs(s, y, np.log10).mean()), ROWS, y, loss="softmax")
    assert "log10" in result.diagnosis


def test_text_labels_tuples_and_device_numbers_are_taken(backend: Backend) -> None:
    y = np.asarray(list("abcdefg"))[CODES]
    x = backend.asarray(ROWS)
    for loss in LINEAR_LOSSES:

        def objective(weights: Any, x: Any, y: Any, loss: str = loss) -> Any:
            return losses.LOSSES[loss](x @ weights, y)

        assert initial_loss(objective, x, y, loss=loss).passed


def test_what_cannot_be_checked_says_so() -> None:
    with pytest.raises(ValueError, match="loss is None, expected one of"):
        initial_loss(lambda w, x, y: 0.0, ROWS, CODES)
    with pytest.raises(ValueError, match="the classifier has its own"):
        initial_loss(LinearClassifier(), ROWS, CODES, loss="hinge")
    with pytest.raises(ValueError, match=r"scale is 10, at which scores reach .* smaller"):
        initial_loss(LinearClassifier(), ROWS, CODES, scale=10)
    with pytest.raises(ValueError, match="expected one number"):
        initial_loss(lambda w, x, y: x, ROWS, CODES, loss="softmax")


def test_results_read_well_and_raise_on_request() -> None:
    good = initial_loss(LinearClassifier(), ROWS, CODES, raise_on_failure=True)
    assert isinstance(good, InitialLoss)
    assert str(good).startswith("initial loss passed: softmax of 7 classes is 1.94591, expected")
    wrong = scored(lambda s, y: logs(s, y).sum())
    assert str(initial_loss(wrong, ROWS, CODES, loss="softmax")).startswith("initial loss FAILED")
    with pytest.raises(CheckError, match="the sum over the 42 rows") as caught:
        initial_loss(wrong, ROWS, CODES, loss="softmax", raise_on_failure=True)
    assert isinstance(caught.value, AssertionError)
    with pytest.raises(AttributeError):
        good.passed = False  # type: ignore[misc]


# --- a few examples by heart ----------------------------------------------------------------------


@pytest.mark.parametrize("loss", LINEAR_LOSSES)
def test_all_losses_learn_a_few_examples(backend: Backend, loss: str) -> None:
    model = LinearClassifier(loss, delta=2.0, l2=10.0, l1=1.0, early_stopping=True, random_state=0)
    before = model.get_params()
    x, y = backend.asarray(IMAGES), backend.asarray(LABELS)
    result = overfit(model, x, y, epochs=400, remaining=0.05)
    assert result.passed, str(result)
    assert result.accuracy == 1.0 and result.loss <= result.threshold < result.initial
    assert result.initial == loss_at_zero(loss, 5, 2.0)
    assert (result.n_examples, result.epochs) == (20, 400)
    assert model.get_params() == before and not hasattr(model, "classes_")


@pytest.mark.parametrize("optimizer", ["gd", "momentum", "nesterov", "adam"])
def test_optimizers_learn_a_few_examples(optimizer: str) -> None:
    model = LinearClassifier(optimizer=optimizer, schedule=Constant(), batch_size=7, random_state=0)
    assert overfit(model, IMAGES, LABELS).passed


def test_the_examples_are_spread_over_the_classes() -> None:
    seen = []

    class Spy(LinearClassifier):
        def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
            seen.append(np.bincount(y).tolist())
            return super().fit(X, y)

    rare = np.asarray([0] * 180 + [1] * 17 + [2] * 3)
    overfit(Spy("softmax"), IMAGES, rare, epochs=1)  # type: ignore[call-arg]
    overfit(Spy("softmax"), IMAGES, rare, n=3, epochs=1)  # type: ignore[call-arg]
    assert seen[1] == [1, 1, 1]
    assert sum(seen[0]) == 20 and seen[0][2] == 3 and seen[0][0] - seen[0][1] in (-1, 0, 1)


FEW = np.random.default_rng(3).standard_normal((200, 2))  # two features: 20 rows are too many
FAILURES = [
    ("shuffled", LinearClassifier(), FEW, "settled: 2 features do not tell 20 examples apart"),
    ("shuffled hinge", LinearClassifier("hinge"), FEW, "settled"),
    ("constant", LinearClassifier(), IMAGES * 0 + 7, "all examples have the same features"),
    ("contradicting", LinearClassifier(), FEW * 0 + [[1, 2], [3, 4]] * 100, "different labels"),
    ("slow", LinearClassifier(learning_rate=1e-9), IMAGES, "still falling: learning_rate 1e-09"),
    ("slower", LinearClassifier(learning_rate=1e-15), IMAGES, "hardly moved: learning_rate 1e-15"),
    ("fast", LinearClassifier("squared_hinge", learning_rate=9.0), FEW, "diverged, the loss"),
    ("jumping", LinearClassifier("hinge", learning_rate=50.0, batch_size=5), FEW, "up and down"),
    ("guessing", LinearClassifier(optimizer="random_search"), IMAGES, "only guesses weights"),
]


@pytest.mark.parametrize(
    ("model", "x", "diagnosis"), [f[1:] for f in FAILURES], ids=[f[0] for f in FAILURES]
)
def test_what_cannot_be_learnt_is_explained(model: Any, x: Any, diagnosis: str) -> None:
    model = model.set_params(random_state=0)
    result = overfit(model, x, LABELS, epochs=400)
    assert not result.passed
    assert diagnosis in result.diagnosis
    with pytest.raises(CheckError, match="overfit FAILED: loss"):
        overfit(model, x, LABELS, epochs=400, raise_on_failure=True)


def test_overfit_says_what_it_cannot_do() -> None:
    with pytest.raises(TypeError, match="KNeighborsClassifier, which is not trained by steps"):
        overfit(KNeighborsClassifier(), IMAGES, LABELS)
    with pytest.raises(ValueError, match="n is 201, expected an integer of at least 2 and at most"):
        overfit(LinearClassifier(), IMAGES, LABELS, n=201)
    with pytest.raises(ValueError, match="remaining is 0"):
        overfit(LinearClassifier(), IMAGES, LABELS, remaining=0)
