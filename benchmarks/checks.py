"""Checking gradients: stacks of perturbed points, against the loop over one entry at a time.

tiny            softmax of 5 rows, 20 features and 3 classes: all 60 entries.
linear          the objective of a softmax classifier: 50 rows, 100 features, 10 classes; one entry
                of W moves one column of the scores. All 1,010 entries.

xpcls           `checks.gradient_check(f, W, gradient, batched=True, coordinates=None)`; of `linear`
                `checks.check_gradients(model, X, y, coordinates=None)`. It also looks for kinks.
loop            the lecture's: add h, evaluate, subtract h, evaluate, for one entry after the other,
                and the largest relative error. The objective is NumPy without waste.

Each checks the same problem several times in a row: one check alone is over before a processor that
has slept is awake.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .cases import Case, Contestant, Finding

Subject = tuple[Callable[[], object], Callable[[], Any]]

TINY, LINEAR = (5, 20, 3), (50, 100, 10)  # rows, features, classes
L2 = 1e-4
STEP = 1e-5
AGREE = 1e-6
HERE = "benchmarks.checks"


def cases(quick: bool) -> list[Case]:
    """The tiny problem and the linear classifier."""
    if quick:
        return [_case("tiny", TINY, 2, 0.07), _case("linear", (10, 12, 3), 2, 0.03)]
    return [_case("tiny", TINY, 100, 0.07), _case("linear", LINEAR, 10, 0.03)]


def _case(kind: str, sizes: tuple[int, int, int], times: int, hold: float) -> Case:
    n, features, classes = sizes
    options = {"n": n, "features": features, "classes": classes, "times": times}
    settings = {
        "tiny": "gradient_check, batched=True, all entries",
        "linear": "check_gradients of a LinearClassifier, all entries",
    }[kind]
    ours = Contestant("xpcls", f"{HERE}:build_{kind}", options, settings, holds={"loop": hold})
    bias = kind == "linear"
    loop = Contestant(
        "loop",
        f"{HERE}:build_loop",
        {**options, "bias": bias},
        "central differences, an entry at a time, NumPy",
    )
    name = f"{times} gradient checks, {kind}, {n} x {features} x {classes}"
    return Case("checks", name, (ours, ours.plain({"loop": hold}), loop), check)


def _problem(n: int, features: int, classes: int) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, features))
    y = np.arange(n) % classes
    return X, y, 0.1 * rng.standard_normal((features, classes))


def _gradient(X: Any, W: Any, y: Any) -> Any:
    scores = X @ W
    scores -= scores.max(axis=1, keepdims=True)
    shares = np.exp(scores)
    shares /= shares.sum(axis=1, keepdims=True)
    shares[np.arange(X.shape[0]), y] -= 1.0
    return X.T @ shares / X.shape[0]


def _answer(run: Callable[[], Any]) -> dict[str, Any]:
    found = run()
    return {
        "passed": found.passed,
        "error": found.max_relative_error,
        "entries": found.coordinates + found.kinks,
    }


def _repeated(check: Callable[[], Any], times: int) -> Callable[[], Any]:
    def run() -> Any:
        for _ in range(times):
            answer = check()
        return answer

    return run


def build_tiny(*, n: int, features: int, classes: int, times: int = 1, threads: int) -> Subject:
    from xpcls.checks import gradient_check

    X, y, W = _problem(n, features, classes)
    gradient = _gradient(X, W, y)
    rows = np.arange(n)

    def stacked(stack: Any) -> Any:
        scores = np.tensordot(stack, X, axes=(1, 1)).transpose(1, 0, 2)  # class, copy of W, row
        scores = scores - scores.max(axis=0)
        true = scores[y, :, rows].mean(axis=0)
        return np.log(np.exp(scores).sum(axis=0)).mean(axis=-1) - true

    def once() -> Any:
        return gradient_check(stacked, W, gradient, coordinates=None, batched=True)

    return _repeated(once, times), lambda: _answer(once)


def build_linear(*, n: int, features: int, classes: int, times: int = 1, threads: int) -> Subject:
    from xpcls import LinearClassifier
    from xpcls.checks import check_gradients

    X, y, _ = _problem(n, features, classes)
    model = LinearClassifier("softmax", l2=L2)

    def once() -> Any:
        return check_gradients(model, X, y, rows=n, coordinates=None)

    return _repeated(once, times), lambda: _answer(once)


def build_loop(
    *, n: int, features: int, classes: int, bias: bool, times: int = 1, threads: int
) -> Subject:
    """The loop; with `bias` a column of ones, and the penalty of all other weights."""
    X, y, W = _problem(n, features, classes)
    if bias:
        X = np.append(X, np.ones((n, 1)), axis=1)
        W = np.append(W, np.zeros((1, classes)), axis=0)
    rows = np.arange(n)
    gradient = _gradient(X, W, y)
    if bias:
        gradient[:-1] += 2.0 * L2 * W[:-1]

    def value() -> float:
        scores = X @ W
        scores -= scores.max(axis=1, keepdims=True)
        mean = np.log(np.exp(scores).sum(axis=1)).mean() - scores[rows, y].mean()
        return float(mean + L2 * np.vdot(W[:-1], W[:-1])) if bias else float(mean)

    def once() -> dict[str, Any]:
        numerical = np.empty_like(W)
        for at in np.ndindex(*W.shape):
            before = W[at]
            W[at] = before + STEP
            above = value()
            W[at] = before - STEP
            below = value()
            W[at] = before
            numerical[at] = (above - below) / (2.0 * STEP)
        error = np.abs(numerical - gradient) / np.abs(gradient).max()
        largest = float(error.max())
        return {"passed": largest <= AGREE, "error": largest, "entries": W.size}

    return _repeated(once, times), once


def check(answers: dict[str, Any]) -> dict[str, Finding]:
    """Whether each found the gradient right, and looked at as many entries."""
    entries = max(answer["entries"] for answer in answers.values())
    return {
        name: Finding(
            f"{answer['entries']} entries, largest error {answer['error']:.1e}",
            ok=bool(answer["passed"] and answer["entries"] == entries),
        )
        for name, answer in answers.items()
    }
