"""A few examples learnt by heart: where that fails, no larger training can succeed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Any, ClassVar

from xpcls.base import Classifier
from xpcls.optimizers import make_optimizer
from xpcls.options import check_integer, check_number
from xpcls.training import DivergenceError
from xpcls.validation import check_labels, check_rows
from xpcls_backends import Array, host_generator, like, namespace_of, to_host

from ._initial import loss_at_zero
from ._result import Check, concluded

# What a trial changes: no penalty holds the weights back, and there is time.
WITHOUT_LIMITS = {
    "l2": 0.0,
    "l1": 0.0,
    "dropout": 0.0,
    "augment": (),
    "early_stopping": False,
}


@dataclass(frozen=True, kw_only=True)
class Overfit(Check):
    """loss : at the end, on the examples. initial : at zero weights, by theory.

    threshold : what it had to reach. accuracy : on the examples; 1 is asked for.
    """

    title: ClassVar[str] = "overfit"

    loss: float
    initial: float
    threshold: float
    accuracy: float
    n_examples: int
    epochs: int

    def numbers(self) -> str:
        return (
            f"loss {self.initial:.4g} -> {self.loss:.4g} (at most {self.threshold:.4g}), accuracy "
            f"{self.accuracy:.4g} on {self.n_examples} examples after {self.epochs} epochs"
        )


def overfit(
    estimator: Classifier,
    X: Any,
    y: Any,
    n: int = 20,
    *,
    epochs: int = 1000,
    remaining: float = 0.02,
    random_state: Any = 0,
    raise_on_failure: bool = False,
) -> Overfit:
    """Train on `n` examples until they are known by heart.

    estimator : a classifier that is trained by steps: a LinearClassifier or a network. It is left
        as it is: a new one with its parameters, but without penalties, dropout, augmentation and
        early stopping, is trained.
    X, y : as for `fit`. The examples are drawn at random, as evenly over the classes as can be.
    epochs : passes over the examples.
    remaining : the share of the loss at zero weights that may be left; for the softmax of 10
        classes 0.02 * ln 10 = 0.046.

    Returns an `Overfit`; it passes where so little loss is left and every example is classified
    right. CS231n, lecture 6: "sanity checks".
    """
    params = estimator.get_params(deep=False)
    if "epochs" not in params or "learning_rate" not in params:
        raise TypeError(
            f"estimator is a {type(estimator).__name__}, which is not trained by steps; expected "
            "a classifier such as LinearClassifier"
        )
    check_number("remaining", remaining, above=0, below=1)
    rows = check_rows(X, "overfit")
    _, codes = check_labels(y, rows, "overfit")
    n = check_integer("n", n, at_least=2, at_most=rows.shape[0])
    host_codes: list[int] = to_host(codes).tolist()
    chosen = _spread(host_codes, n, random_state)
    some = like(to_host(chosen), rows)
    few, few_codes = (namespace_of(a).take(a, some, axis=0) for a in (rows, codes))
    changes: dict[str, Any] = {n: v for n, v in WITHOUT_LIMITS.items() if n in params}
    if "layers" in params:
        changes["layers"] = [layer for layer in params["layers"] if "dropout" not in layer]
    if "image_shape" in params and getattr(X, "ndim", 2) == 4:
        changes["image_shape"] = tuple(X.shape[1:])  # the examples are rows by now
    trial: Any = type(estimator)(**{**params, **changes, "epochs": epochs})
    losses: list[float] = []
    accuracy = 0.0
    try:
        trial.fit(few, few_codes)
        losses, accuracy = trial.history_["loss"], trial.score(few, few_codes)
    except DivergenceError as error:
        diagnosis = f"training diverged, {error}"
    labels = [host_codes[i] for i in chosen]
    initial = loss_at_zero(params["loss"], len(set(labels)), params.get("delta", 1.0))
    end = losses[-1] if losses else float("inf")
    passed = end <= remaining * initial and accuracy == 1.0
    if passed:
        diagnosis = "the examples are known by heart: data, loss and gradient belong together"
    elif losses:
        diagnosis = _diagnosis(trial, few, labels, losses, accuracy)
    return concluded(
        Overfit(
            passed=passed,
            diagnosis=diagnosis,
            loss=end,
            initial=initial,
            threshold=remaining * initial,
            accuracy=accuracy,
            n_examples=n,
            epochs=len(losses),
        ),
        raise_on_failure,
    )


def _spread(codes: Sequence[int], n: int, random_state: Any) -> list[int]:
    """n positions, drawn at random, with equal numbers of each class as far as there are."""
    seen: dict[int, int] = {}
    ranked = []
    for i in host_generator(random_state).permutation(len(codes)).tolist():
        rank = seen.get(codes[i], 0)
        seen[codes[i]] = rank + 1
        ranked.append((rank, i))
    ranked.sort(key=lambda pair: pair[0])  # stable: at random among equals
    return [i for _, i in ranked[:n]]


def _diagnosis(
    trial: Any, rows: Array, labels: Sequence[int], losses: Sequence[float], accuracy: float
) -> str:
    """Why the loss did not come down, from the data and from its course."""
    content = [row.tobytes() for row in to_host(rows)]
    if len(set(content)) == 1:
        return "all examples have the same features: look at how X was loaded and scaled"
    if len(set(zip(content, labels, strict=True))) > len(set(content)):
        return "examples with the same features have different labels: look at how y was made"
    rate = f"learning_rate {trial.learning_rate_:g}"
    if not make_optimizer(trial.optimizer).uses_gradient:
        return f"{trial.optimizer!r} only guesses weights: take an optimizer that uses gradients"
    tail = losses[-max(2, len(losses) // 4) :]
    ups = sum(after > 1.001 * before for before, after in pairwise(tail))
    if ups > len(tail) / 4 and max(tail) > 1.5 * min(tail):
        return f"the loss jumps up and down: {rate} is too high, try a tenth of it"
    if len(losses) > 3 and losses[-1] > 0.999 * losses[0] and ups <= len(tail) / 4:
        return f"the loss has hardly moved: {rate} is far too low, or X is scaled down too much"
    if accuracy == 1.0 or losses[-1] < 0.98 * tail[0] or _falls_steadily(losses):
        return f"the loss is still falling: {rate} is too low, or {len(losses)} epochs are too few"
    return (
        f"the loss has settled: {rows.shape[1]} features do not tell {len(labels)} examples apart; "
        "look at whether the labels belong to the rows (shuffled?) and the features vary"
    )


def _falls_steadily(losses: Sequence[float]) -> bool:
    """Whether the last quarter of the epochs gained almost as much as the one before."""
    n = len(losses) // 4
    if n == 0:
        return True  # too few to tell
    second, third, last = (fmean(losses[len(losses) - i * n :][:n]) for i in (3, 2, 1))
    return third - last > 0.7 * (second - third) > 1e-4 * last
