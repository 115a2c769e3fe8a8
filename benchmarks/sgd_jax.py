"""jax in the suite `sgd`: one compiled step in a loop, or a whole epoch as one compiled scan.

Weights are donated, so that they are updated where they lie; rows are gathered inside the compiled
step; the loss is summed up on the device and read once an epoch. The permutation is drawn by NumPy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .data import labelled_rows
from .sgd import BATCH, CLASSES, EPOCHS, L2, ORDER_SEED, ROWS_SEED, learning_rate

Subject = tuple[Callable[[], object], Callable[[], Any]]


def build(*, loss: str, rows: int, features: int, scan: bool, threads: int) -> Subject:
    """`rows` is a multiple of the batch: a last batch of another size would be compiled anew."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_platforms", "cpu")
    arrays = labelled_rows(rows, features, CLASSES, ROWS_SEED)
    rate = learning_rate(arrays[0])
    X, y = jnp.asarray(arrays[0]), jnp.asarray(arrays[1].astype(np.int32))
    rng = np.random.default_rng(0)

    def mean_loss(parameters: Any, some: Any, labels: Any) -> Any:
        W, b = parameters
        scores = some @ W + b
        true = jnp.take_along_axis(scores, labels[:, None], axis=1)
        if loss == "hinge":
            return jnp.sum(jnp.maximum(0.0, scores - true + 1.0)) / BATCH - 1.0
        return jnp.mean(jax.nn.logsumexp(scores, axis=1) - true[:, 0])

    def step(state: Any, some: Any, X: Any, y: Any) -> Any:
        W, b, total = state
        value, (dW, db) = jax.value_and_grad(mean_loss)((W, b), X[some], y[some])
        total += value + L2 * jnp.sum(W * W)
        return W - rate * (dW + 2.0 * L2 * W), b - rate * db, total

    def scanned(state: Any, batches: Any, X: Any, y: Any) -> Any:
        return jax.lax.scan(lambda s, some: (step(s, some, X, y), None), state, batches)[0]

    compiled = jax.jit(scanned if scan else step, donate_argnums=0)

    def epoch(state: Any, order: Any) -> tuple[Any, float]:
        """Trains on, and gives the mean loss."""
        batches = order.astype(np.int32).reshape(-1, BATCH)
        state = (*state[:2], jnp.zeros(()))
        if scan:
            state = compiled(state, batches, X, y)
        else:
            for some in batches:
                state = compiled(state, some, X, y)
        return state, float(state[2]) / batches.shape[0]

    def start() -> Any:
        return jnp.zeros((features, CLASSES)), jnp.zeros(CLASSES), jnp.zeros(())

    def fit() -> None:
        state = start()
        for _ in range(EPOCHS):
            state, _ = epoch(state, rng.permutation(rows))

    def answer() -> dict[str, Any]:
        order = np.random.default_rng(ORDER_SEED).permutation(rows)
        (W, _, _), mean = epoch(start(), order)
        return {"loss": mean, "weights": np.asarray(W).T.tolist()}

    return fit, answer
