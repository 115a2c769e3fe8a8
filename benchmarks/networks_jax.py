"""jax in the suite `networks`: the two-layer net, as sgd_jax.py has the linear classifier."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .networks import L2, RATE, first_parameters, rows_of

Subject = tuple[Callable[[], object], Callable[[], Any]]


def build(*, units: int, rows: int, batch: int, scan: bool, threads: int) -> Subject:
    """Steps on `rows` rows, a multiple of `batch`, which are gathered on the device."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_platforms", "cpu")
    host_X, host_y = rows_of("mlp", rows)
    X, y = jnp.asarray(host_X), jnp.asarray(host_y.astype(np.int32))
    rng = np.random.default_rng(0)

    def objective(parameters: Any, some: Any, labels: Any) -> Any:
        W1, b1, W2, b2 = parameters
        scores = jnp.maximum(some @ W1 + b1, 0.0) @ W2 + b2
        true = jnp.take_along_axis(scores, labels[:, None], axis=1)[:, 0]
        mean = jnp.mean(jax.nn.logsumexp(scores, axis=1) - true)
        return mean + L2 * (jnp.sum(W1 * W1) + jnp.sum(W2 * W2))

    def step(state: Any, some: Any, X: Any, y: Any) -> Any:
        parameters, total = state
        value, slopes = jax.value_and_grad(objective)(parameters, X[some], y[some])
        moved = tuple(p - RATE * slope for p, slope in zip(parameters, slopes, strict=True))
        return moved, total + value

    def scanned(state: Any, batches: Any, X: Any, y: Any) -> Any:
        return jax.lax.scan(lambda s, some: (step(s, some, X, y), None), state, batches)[0]

    compiled = jax.jit(scanned if scan else step, donate_argnums=0)

    def on(parameters: Any, batches: Any) -> tuple[Any, float]:
        """The parameters after the batches, and the sum of the losses."""
        state = parameters, jnp.zeros(())
        if scan:
            state = compiled(state, batches, X, y)
        else:
            for some in batches:
                state = compiled(state, some, X, y)
        return state[0], float(state[1])

    def start() -> Any:
        return tuple(jnp.array(p) for p in first_parameters("mlp", batch, units))

    kept = [start()]

    def epoch() -> None:
        batches = rng.permutation(rows).astype(np.int32).reshape(-1, batch)
        kept[0], _ = on(kept[0], batches)

    def answer() -> dict[str, Any]:
        parameters, losses = start(), []
        for _ in range(3):
            parameters, loss = on(parameters, np.arange(batch, dtype=np.int32)[None, :])
            losses.append(loss)
        return {"losses": losses, "memory": None}  # compiling would be in it

    return epoch, answer
