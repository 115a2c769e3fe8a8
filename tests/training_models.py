"""A small linear model for tests of the training loop, and rows to train it on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from xpcls.losses import LOSSES
from xpcls.optimizers import Constant, make_optimizer
from xpcls.training import Run, Settings, start_run, train
from xpcls_backends import Backend, get_backend, host_generator, namespace_of, to_host
from xpcls_backends.testing import forbid_host_reads

CPU = get_backend("numpy")


def settings_for(optimizer: str = "sgd", **changes: Any) -> Settings:
    plain = Settings(make_optimizer(optimizer), Constant(), 0.1, epochs=1, batch_size=4)
    return replace(plain, **changes)


@dataclass
class Linear:
    """scores = X W + b, and what it was asked."""

    loss: str = "softmax"
    l2: float = 0.0
    asked: list[Any] = field(default_factory=list)
    weights_seen: list[Any] = field(default_factory=list)
    before: Callable[[int], None] | None = None  # called at each step, with its number from 1

    def scores(self, parameters: Any, X: Any) -> Any:
        return X @ parameters[0] + parameters[1]

    def objective(self, parameters: Any, X: Any, y: Any, weight: Any, with_gradient: bool) -> Any:
        self.asked.append(X)
        self.weights_seen.append(weight)
        if self.before is not None:
            self.before(len(self.asked))
        xp = namespace_of(X)
        value, of_scores = LOSSES[self.loss](
            self.scores(parameters, X), y, sample_weight=weight, validate=False
        )
        value = value + self.l2 * xp.sum(parameters[0] * parameters[0])
        if not with_gradient:
            return value, None
        of_weights = X.mT @ of_scores + 2.0 * self.l2 * parameters[0]
        return value, (of_weights, xp.sum(of_scores, axis=0))

    def rows(self) -> list[list[int]]:
        """The rows of each step, where their first feature says which they are."""
        return [to_host(X)[:, 0].astype(int).tolist() for X in self.asked]


def numbered(backend: Backend, n: int) -> tuple[Any, Any]:
    """Rows that carry their own number, and classes 0, 1, 2, 0, ..."""
    X = np.stack([np.arange(n), np.ones(n)], axis=1).astype("float32")
    return backend.asarray(X), backend.asarray(np.arange(n) % 3)


def blobs(backend: Backend, n: int = 160, dtype: str = "float32") -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, n)
    X = rng.normal(size=(n, 4)) + 1.5 * np.eye(4)[y]
    return backend.asarray(X.astype(dtype)), backend.asarray(y)


def zeros(backend: Backend, X: Any, n_classes: int = 3) -> tuple[Any, Any]:
    shapes = (X.shape[1], n_classes), (n_classes,)
    return tuple(backend.xp.zeros(s, dtype=X.dtype, device=backend.device) for s in shapes)


def trained(
    backend: Backend, model: Any, X: Any, y: Any, settings: Settings, seed: int = 0, **options: Any
) -> Run:
    run = start_run(zeros(backend, X), settings)
    with forbid_host_reads():
        return train(model, run, X, y, settings, host_generator(seed), **options)


def flat(run: Run) -> np.ndarray:
    return np.concatenate([to_host(p).ravel() for p in run.parameters])
