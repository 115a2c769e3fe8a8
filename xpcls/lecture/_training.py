"""Claims about how classifiers are trained."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import linear_regression
from typing import Any, ClassVar

from xpcls.distances import pairwise
from xpcls.linear_model import LinearModel
from xpcls.optimizers import Constant, Objective, Parameters
from xpcls.plots import lines
from xpcls.training import Settings, start_run, train
from xpcls_backends import (
    Array,
    Backend,
    HostGenerator,
    namespace_of,
    row_blocks,
    to_host,
    to_scalar,
)

from ._claim import Finding, at_least, at_most, claim, floats, within

SIZES = (1, 4, 16, 64, 128)  # rows of a mini-batch; each divides the number of rows
N, CLASSES, FEATURES = 256, 3, 12
STEPS = 200  # at least, of which a variance is taken


@claim("mini-batches", "The gradient of a mini-batch is an unbiased guess, of variance 1 / B")
def mini_batches(backend: Backend, generator: HostGenerator) -> Finding:
    """Stochastic gradient descent is a Monte-Carlo estimate of the gradient.

    With g_i the gradient of row i, g their mean, s^2 the mean of |g_i - g|^2, a mini-batch of B
    of N rows has a gradient of mean g and of

        variance  s^2 / B                      drawn with replacement
        variance  s^2 / B (N - B) / (N - 1)    without

    Measured: the gradients that the training loop computes, by an optimiser that records them
    and stays where it is: their mean against the full gradient, in standard errors; and the slope
    of ln variance against ln B, which should be -1 once the last factor is divided out. An epoch
    without replacement sees every row once, so the mean of its gradients is g to rounding; and
    each epoch has an order of its own: of 64 rows of 256, no two epochs begin with the same.
    """
    X = generator.standard_normal((N, FEATURES))
    scores = X @ generator.standard_normal((FEATURES, CLASSES))
    labels = (scores + generator.standard_normal(scores.shape)).argmax(axis=1)
    start = generator.standard_normal((FEATURES, CLASSES)) / FEATURES
    parameters = floats(start, backend), floats([0.0] * CLASSES, backend)
    data = floats(X, backend), backend.asarray(labels)

    model = LinearModel("softmax", 1.0, 0.01, 0.0)

    def gradient(some: slice) -> Array:
        rows, y = (array[some, ...] for array in data)
        return _flat(model.objective(parameters, rows, y, None, True)[1])

    def recorded(size: int, replace: bool) -> Array:
        recorder = Recorder()
        epochs = math.ceil(STEPS * size / N)
        settings = Settings(recorder, Constant(), 1.0, epochs, size, replace=replace)
        train(model, start_run(parameters, settings), *data, settings, generator)
        return backend.xp.stack(recorder.seen)

    full = gradient(slice(None))
    spread = _variance(backend.xp.stack([gradient(row) for row in row_blocks(N, 1)]), full)  # s^2
    rows, assertions, slopes, apart = [], [], [], math.inf
    for how, replace in (("with", True), ("without", False)):
        scaled, away = [], []
        for size in SIZES:
            found = recorded(size, replace)
            variance = _variance(found, full)
            if (size, replace) == (64, False):
                apart = _least_apart(found[:: N // size, :]) / math.sqrt(variance)
            finite = 1.0 if replace else (N - size) / (N - 1)
            distance = _length(backend.xp.mean(found, axis=0) - full)
            unit = math.sqrt(variance / found.shape[0]) if replace else _length(full)
            away.append(distance / unit)
            scaled.append(variance / finite)
            rows.append((how, size, variance, spread / size * finite, away[-1]))
        slopes.append(linear_regression([*map(math.log, SIZES)], [*map(math.log, scaled)]).slope)
        ratios = [v * size / spread for v, size in zip(scaled, SIZES, strict=True)]
        unit_name = "its standard error" if replace else "|full gradient|"
        assertions += [
            at_most(
                f"{how} replacement: |mean gradient - full gradient| / {unit_name}",
                max(away),
                2.0 if replace else 1e-4,
            ),
            within(f"{how} replacement: the least variance / theory", min(ratios), 0.75, 1.25),
            within(f"{how} replacement: the largest variance / theory", max(ratios), 0.75, 1.25),
            within(f"{how} replacement: slope of ln variance", slopes[-1], -1.1, -0.9),
        ]
    assertions.append(
        at_least("first gradients of two epochs: least distance / deviation", apart, 0.1)
    )
    k = len(SIZES)
    return Finding(
        sentences=(
            "Drawn with replacement, mini-batches have gradients whose mean lies within "
            f"{max(r[4] for r in rows[:k]):.2f} standard errors of the full gradient; over epochs "
            f"without replacement it is the full gradient, to {max(r[4] for r in rows[k:]):.1g}.",
            "The logarithm of their variance changes with ln B at a slope of "
            f"{slopes[0]:.3f} with replacement, and without, once (N - B) / (N - 1) is "
            f"divided out, of {slopes[1]:.3f}.",
        ),
        headings=("replacement", "B", "variance", "theory", "distance of the mean"),
        rows=tuple(rows),
        assertions=tuple(assertions),
        draw=lambda: lines(
            {
                "with replacement": (SIZES, [row[2] for row in rows[:k]]),
                "without replacement": (SIZES, [row[2] for row in rows[k:]]),
                "s² / B": (SIZES, [row[3] for row in rows[:k]]),
            },
            dashed=("s² / B",),
            log_x=True,
            log_y=True,
            title="How much the gradient of a mini-batch varies",
            x_label="B, rows in the mini-batch",
            y_label="mean |gradient − full gradient|²",
        ),
    )


@dataclass
class Recorder:
    """An optimiser that keeps every gradient it is given, as one row, and takes no step."""

    whole_batch: ClassVar[bool] = False
    uses_gradient: ClassVar[bool] = True

    seen: list[Array] = field(default_factory=list)

    def start(self, parameters: Parameters) -> None:
        return None

    def step(
        self,
        objective: Objective,
        parameters: Parameters,
        state: Any,
        rate: float,
        generator: HostGenerator,
    ) -> tuple[Parameters, Any, Array]:
        value, found = objective(parameters, True)
        self.seen.append(_flat(found))
        return parameters, state, value


def _flat(gradients: Parameters | None) -> Array:
    """The gradients of all parameters in one row."""
    assert gradients is not None
    xp = namespace_of(*gradients)
    return xp.concat([xp.reshape(gradient, (-1,)) for gradient in gradients])


def _variance(gradients: Array, full: Array) -> float:
    """The mean of |g - full|^2 over rows g."""
    away = gradients - full[None, :]
    xp = namespace_of(away)
    return float(to_scalar(xp.mean(xp.vecdot(away, away))))


def _least_apart(gradients: Array) -> float:
    """The least distance between two rows."""
    distances = to_host(pairwise(gradients, gradients)).tolist()
    least: float = min(min(row[:i]) for i, row in enumerate(distances) if i)
    return least


def _length(x: Array) -> float:
    xp = namespace_of(x)
    return math.sqrt(float(to_scalar(xp.vecdot(x, x))))
