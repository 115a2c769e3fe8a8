"""The loss before training against what theory says: the first thing to look at."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from xpcls.linear import LinearClassifier
from xpcls.linear_model import LINEAR_LOSSES, LinearModel
from xpcls.losses import LOSSES, MARGIN_LOSSES
from xpcls.networks import NetworkClassifier
from xpcls.optimizers import float_dtype
from xpcls.options import check_choice, check_number
from xpcls.regularizers import elastic_net
from xpcls.trained import TrainedClassifier
from xpcls.validation import check_labels, check_rows
from xpcls_backends import Array, device_of, host_generator, like, namespace_of, to_scalar

from ._result import Check, concluded, numbers_of

ROWS = 1000  # at most so many are looked at: at zero weights they all have the same loss
ROUNDING = 1e-4  # relative; a mean over ROWS in float32 is far more exact

LossOfWeights = Callable[[Array, Array, Array], Any]


@dataclass(frozen=True, kw_only=True)
class InitialLoss(Check):
    """loss : its name. value : what was found. expected : what theory says, with the penalty.

    data : the part of `expected` that comes from the scores. penalty : l2 sum(W^2) + l1 sum(|W|).
    tolerance : how far the value may be away, for rounding and for scores that are not quite 0.
    """

    title: ClassVar[str] = "initial loss"

    loss: str
    value: float
    expected: float
    data: float
    penalty: float
    tolerance: float
    n_classes: int

    def numbers(self) -> str:
        what = f"{self.loss} of {self.n_classes} classes"
        return f"{what} is {self.value:.6g}, expected {self.expected:.6g}"


def loss_at_zero(loss: str, n_classes: int, delta: float = 1.0) -> float:
    """A loss where all scores are equal, as they are at zero weights, without the penalty.

    softmax ln C; hinge delta (C - 1); squared_hinge delta^2 (C - 1); structured delta;
    one_vs_all delta C. CS231n, lectures 2 and 3; it is the same for every example. squared_error
    1, where all scores are 0, since its target is 1 for one class.
    """
    check_choice("loss", loss, LOSSES)
    return {
        "softmax": math.log(n_classes),
        "hinge": delta * (n_classes - 1),
        "squared_hinge": delta**2 * (n_classes - 1),
        "structured": delta,
        "one_vs_all": delta * n_classes,
        "squared_error": 1.0,
    }[loss]


def initial_loss(
    model: TrainedClassifier | LossOfWeights,
    X: Any,
    y: Any,
    *,
    loss: str | None = None,
    delta: float = 1.0,
    l2: float = 0.0,
    l1: float = 0.0,
    scale: float = 0.0,
    random_state: Any = 0,
    raise_on_failure: bool = False,
) -> InitialLoss:
    """Compare the loss at zero, or tiny random, weights with theory.

    model : a LinearClassifier or a network, fitted or not, whose parameters say which loss it is;
        a network is looked at where training starts, since its last layer is 0 there. Or a
        function (weights (D, C), X (n, D), y (n,)) -> value, or (value, gradient), such as
        `lambda W, X, y: my_loss(X @ W, y)`. Then `loss`, `delta`, `l2` and `l1` say what it
        should be. It is given floating X, and y as classes 0 .. C-1, on the device of X.
    X, y : as for `fit`; the classes are those of all rows, the loss is that of the first 1,000.
    scale : standard deviation of the weights of a linear model. 0 is exact; above it the penalty
        is checked too, and the value may differ as much as the largest score allows.

    Returns an `InitialLoss`. expected = `loss_at_zero` + l2 sum(W^2) + l1 sum(|W|).
    """
    if isinstance(model, TrainedClassifier) and loss is not None:
        raise ValueError(f"loss is {loss!r}, but the classifier has its own; leave it out")
    if isinstance(model, NetworkClassifier):
        return _of_network(model, X, y, random_state, raise_on_failure)
    if isinstance(model, LinearClassifier):
        loss, delta, l2, l1 = model.loss, model.delta, model.l2, model.l1
    check_choice("loss", loss, LINEAR_LOSSES)
    assert loss is not None
    delta = check_number("delta", delta, above=0)
    linear = LinearModel(
        loss, delta, check_number("l2", l2, at_least=0), check_number("l1", l1, at_least=0)
    )
    rows = check_rows(X, "initial_loss")
    classes, codes = check_labels(y, rows, "initial_loss")
    n_classes = classes.shape[0]
    xp, device = namespace_of(rows), device_of(rows)
    n = min(ROWS, rows.shape[0])
    rows, codes = xp.astype(rows[:n, :], float_dtype(rows), copy=False), codes[:n]
    drawn = host_generator(random_state).standard_normal((rows.shape[1], n_classes), "float32")
    weights = xp.astype(like(drawn, rows), rows.dtype, copy=False)
    weights = weights * check_number("scale", scale, at_least=0)
    if isinstance(model, LinearClassifier):
        bias = xp.zeros((n_classes,), dtype=rows.dtype, device=device)
        found, _ = linear.objective((weights, bias), rows, codes, None, False)
    else:
        assert not isinstance(model, TrainedClassifier)
        answer = model(weights, rows, codes)
        found = answer[0] if isinstance(answer, tuple) else answer
    (value,) = numbers_of([found])
    penalty = float(to_scalar(elastic_net(weights, linear.l2, linear.l1)[0]))
    largest = float(to_scalar(xp.max(xp.abs(rows @ weights))))
    data = loss_at_zero(loss, n_classes, delta)
    slack = _slack(loss, n_classes, delta, largest)
    if slack > data / 2:
        raise ValueError(
            f"scale is {scale!r}, at which scores reach {largest:.3g} and any loss could be right; "
            "take a smaller one"
        )
    result = _compared(loss, value, data, penalty, slack, n_classes, n, delta)
    return concluded(result, raise_on_failure)


def _of_network(
    model: NetworkClassifier, X: Any, y: Any, random_state: Any, raise_on_failure: bool
) -> InitialLoss:
    """The loss of a network before its first step, with the penalty on its first weights."""
    rows = check_rows(X, "initial_loss")
    classes, codes = check_labels(y, rows, "initial_loss")
    n, n_classes = min(ROWS, rows.shape[0]), classes.shape[0]
    fresh = type(model)(**model.get_params())
    fresh._check_options()
    plan = fresh._plan_for(X, rows, n_classes, None)
    start = fresh._start(plan, rows, n_classes, host_generator(random_state))
    found, _ = plan.model.objective(start, rows[:n, :], codes[:n], None, False)
    (value,) = numbers_of([found])
    penalty = float(to_scalar(plan.model.penalty(start)))
    delta = float(fresh.delta)
    data = loss_at_zero(fresh.loss, n_classes, delta)
    result = _compared(fresh.loss, value, data, penalty, 0.0, n_classes, n, delta)
    return concluded(result, raise_on_failure)


def _compared(
    loss: str,
    value: float,
    data: float,
    penalty: float,
    slack: float,
    n_classes: int,
    n: int,
    delta: float,
) -> InitialLoss:
    """What was found against what theory says: `data` of the scores and the penalty."""
    tolerance = ROUNDING * (data + penalty) + slack
    passed = abs(value - data - penalty) <= tolerance
    diagnosis = (
        "as theory says for scores that are all equal"
        if passed
        else _diagnosis(loss, value, data, penalty, tolerance, n_classes, n, delta)
    )
    return InitialLoss(
        passed=passed,
        diagnosis=diagnosis,
        loss=loss,
        value=value,
        expected=data + penalty,
        data=data,
        penalty=penalty,
        tolerance=tolerance,
        n_classes=n_classes,
    )


def _slack(loss: str, n_classes: int, delta: float, largest: float) -> float:
    """How far the loss can be from that of equal scores, where none is above `largest`."""
    gap = 2.0 * largest  # between two scores
    return {
        "softmax": gap,
        "hinge": (n_classes - 1) * gap,
        "squared_hinge": (n_classes - 1) * (2.0 * delta * gap + gap**2),
        "structured": gap,
        "one_vs_all": n_classes * largest,
    }[loss]


def _diagnosis(
    loss: str,
    value: float,
    data: float,
    penalty: float,
    tolerance: float,
    n_classes: int,
    n: int,
    delta: float,
) -> str:
    """The mistake that gives this value; the first that fits."""
    if not math.isfinite(value):
        return (
            "it is not finite: subtract the largest score before exp, never take log(0), and look "
            "for NaN in X"
        )
    for wrong, sentence in _mistakes(loss, data, penalty, n_classes, n, delta):
        # A mistake scales the slack too; one that theory cannot tell from the truth is none.
        allowed = tolerance * max(1.0, abs(wrong) / (data + penalty))
        if abs(value - wrong) <= allowed and abs(wrong - data - penalty) > tolerance:
            return sentence
    return (
        f"it is {value / (data + penalty):.4g} times what it should be: look at the formula, at "
        "the mean over rows, and at whether the scores are equal at zero weights"
    )


def _mistakes(
    loss: str, data: float, penalty: float, n_classes: int, n: int, delta: float
) -> Iterator[tuple[float, str]]:
    """(value, what gives it): common mistakes, those of one loss first."""
    others = n_classes - 1
    if loss == "softmax":
        yield data * math.log10(math.e) + penalty, "it is ln C * 0.434: log10 was taken, not ln"
        yield data / math.log(2.0) + penalty, "it is ln C * 1.443: log2 was taken, not ln"
        yield -data + penalty, "its sign is wrong: the loss is minus the log of a probability"
        yield 1.0 / n_classes + penalty, "it is 1 / C, a probability: take minus its ln"
        yield math.log(n_classes + 1) + penalty, "it is ln(C + 1): there is a class too many"
        yield math.log(others) + penalty, "it is ln(C - 1): the true class is left out of the sum"
    if loss in ("hinge", "squared_hinge"):
        counted = data + data / others
        yield counted + penalty, "delta was added for the true class too: leave j = y out"
    if loss == "hinge":
        yield delta + penalty, "only one class counts: sum over j != y, do not take the largest"
    if loss == "squared_hinge":
        yield delta * others + penalty, "the margins are not squared"
        yield data / 2 + penalty, "it is half of what it should be: there is no 1/2 before a square"
        yield (delta * others) ** 2 + penalty, "the sum is squared: square each margin, then add"
    if loss == "structured":
        yield delta * others + penalty, "all classes count: take the largest of j != y, not the sum"
    if loss == "one_vs_all":
        yield delta * others + penalty, "the true class is left out: each class has a hinge"
        yield delta + penalty, "only one class counts, or a mean over classes was taken: add up all"
    if loss in MARGIN_LOSSES:
        yield penalty, "it is 0: delta is missing, or the margin has the wrong sign"
        if delta != 1.0:
            yield loss_at_zero(loss, n_classes) + penalty, f"delta counts as 1, and is {delta:g}"
    both = f"it is {n} times too large: the sum over the {n} rows was taken, not their mean"
    yield data * n + penalty, both
    yield (data + penalty) * n, both
    yield (
        data / n + penalty,
        f"it is {n} times too small: it was divided by the number of rows twice",
    )
    yield data / n_classes + penalty, "the mean over classes was taken as well as that over rows"
    yield data, "the penalty is missing: add l2 sum(W^2) + l1 sum(|W|)"
    yield data + penalty / 2, "the penalty is half of what it should be: there is no 1/2 before l2"
    yield data + 2 * penalty, "the penalty is twice what it should be: was it added twice?"
    yield data + penalty / n, "the penalty was divided by the number of rows: add it after the mean"
    yield penalty, "it holds the penalty alone: the loss of the scores is missing"
