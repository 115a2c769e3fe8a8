"""What trains a linear classifier, scores = X W + b: by kernels where the arrays have some."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ._ops import add_scaled, gather, row_blocks
from ._place import Array, device_of, ignore_overflow, namespace_of
from ._threads import in_threads, share_rows, thread_count
from .kernels import has_cuda_kernels, has_kernels

LARGE = 2**20  # entries; of so many rows an epoch costs more than loading the kernel
A_WHILE = 1e-5  # seconds that a thread sleeps which the others have kept waiting

OfScores = Callable[[Array], tuple[Array, Array]]
Pair = tuple[Array, Array]  # of weights (D, C), and of bias weights (C,)


@dataclass(frozen=True)
class LinearTask:
    """What is minimised: mean loss + l2 sum(W^2), with b = constant * bias weights.

    loss, delta : "hinge", "squared_hinge", "one_vs_all", "structured" or "softmax" as in
        `xpcls.losses`, and the margin of the first four.
    """

    loss: str
    delta: float
    l2: float
    constant: float


def linear_scores(X: Array, weights: Array, offsets: Array) -> Array:
    """X W + offsets, (N, C), in the dtype of the weights; X (N, D) of any real dtype."""
    xp, n = namespace_of(X), X.shape[0]
    if not _has_kernel(X, weights):
        return _as_floats(X, weights) @ weights + offsets
    # Where training has threads of ours, those of a BLAS library would stand in their way.
    shares = list(row_blocks(n, share_rows(n)))
    found: list[Any] = [None] * len(shares)

    def work(i: int) -> None:
        with ignore_overflow():
            found[i] = _as_floats(X[shares[i], :], weights) @ weights + offsets

    in_threads(work, range(len(shares)), thread_count(xp))
    return xp.concat(found, axis=0)


def linear_objective(
    task: LinearTask,
    parameters: Pair,
    X: Array,
    rows: Array | None,
    y: Array,
    sample_weight: Array | None,
    of_scores: OfScores,
    with_gradient: bool,
) -> tuple[Array, Pair | None]:
    """The objective of a mini-batch, and its gradients with respect to the parameters or None.

    X : (N, D), of which the mini-batch is `rows`, positions (n,) int64; None for all of X.
    y, sample_weight : (n,) classes, int64, and weights or None: the value is sum(w loss) / n.
    of_scores : gives that value, and its gradient with respect to the scores (n, C), of scores.

    All in the dtype of the weights. Nothing is checked.
    """
    xp = namespace_of(parameters[0])
    weights, bias = parameters
    offsets = task.constant * bias
    if with_gradient and _has_kernel(X, weights):
        given = (weights, offsets, X, rows, y, sample_weight)
        value, of_weights, of_offsets = _sums_by_kernel(task, *given)
        # Like the kernel's gradients: in the order in memory of the transpose.
        flat = xp.reshape(weights.mT, (-1,))
    else:
        x = _as_floats(X if rows is None else gather(X, rows), weights)
        value, gradient = of_scores(linear_scores(x, weights, offsets))
        if with_gradient:
            of_weights, of_offsets = x.mT @ gradient, xp.sum(gradient, axis=0)
        flat = xp.reshape(weights, (-1,))
    if task.l2:
        value = value + task.l2 * (flat @ flat)
    if not with_gradient:
        return value, None
    if task.l2:
        add_scaled(of_weights, 2.0 * task.l2, weights)
    return value, (of_weights, task.constant * of_offsets)


def _sums_by_kernel(
    task: LinearTask,
    weights: Array,
    offsets: Array,
    X: Array,
    rows: Array | None,
    y: Array,
    sample_weight: Array | None,
) -> tuple[Array, Array, Array]:
    """The mean loss, and its gradients with respect to weights and offsets.

    Shares of rows are added up in order, so the number of threads changes no bit.
    """
    from .kernels.cpu.linear import loss_and_gradient, padded

    xp, device, n = namespace_of(weights), device_of(weights), y.shape[0]
    rows = xp.arange(n, device=device) if rows is None else rows
    if sample_weight is None:
        factors = xp.full((n,), 1.0 / n, dtype=weights.dtype, device=device)
    else:
        factors = xp.astype(sample_weight, weights.dtype, copy=False) / n
    templates = padded(weights)
    shares = list(row_blocks(n, share_rows(n)))
    parts: list[Any] = [None] * len(shares)

    def work(i: int) -> None:
        some = shares[i]
        batch = (X, rows[some], y[some], factors[some])
        parts[i] = loss_and_gradient(task.loss, task.delta, *batch, templates, offsets)

    in_threads(work, range(len(shares)), thread_count(xp))
    value, of_weights, of_offsets = parts[0]
    for more, of_more_weights, of_more_offsets in parts[1:]:
        value = value + more
        of_weights += of_more_weights
        of_offsets += of_more_offsets
    return value, of_weights, of_offsets


def linear_descent(
    task: LinearTask,
    parameters: Pair,
    velocities: Pair,
    X: Array,
    y: Array,
    sample_weight: Array | None,
    order: Array,
    batch_size: int,
    rate: float,
    decay: float,
) -> tuple[Pair, Pair, Array] | None:
    """Steps v <- decay v + g, w <- w - rate v over mini-batches, in one piece; None where no
    kernel does it, and step by step is as good.

    order : (n,) positions in X, int64; a step takes the next `batch_size` of them, the last one
        what is left. y, sample_weight : of all rows of X; the latter may be None.

    Returns the parameters and velocities after the steps, and each step's objective before it.
    The number of threads changes no bit.
    """
    xp = namespace_of(X)
    if has_cuda_kernels(xp):
        from .kernels.cuda import linear

        given = (X, y, sample_weight, order, batch_size, rate, decay)
        fits = linear.fits(X, parameters[0])
        return linear.descend(task, parameters, velocities, *given) if fits else None
    if not _has_kernel(X, parameters[0]):
        return None
    from .kernels.cpu.linear_descent import Descent, pieces

    team = min(thread_count(xp), pieces(X.shape[1]))
    data = (X, y, sample_weight, order, batch_size)
    descent = Descent(task, parameters, velocities, *data, rate, decay, team)
    given_up: list[bool] = []

    def give_up() -> None:
        given_up.append(True)

    def work(thread: int) -> None:
        try:
            while not descent.go_on(thread) and not given_up:
                time.sleep(A_WHILE)
        except BaseException:
            give_up()
            raise

    in_threads(work, range(team), team, abandon=give_up)
    return descent.parameters(), descent.velocities(), descent.losses


def _has_kernel(X: Array, weights: Array) -> bool:
    xp = namespace_of(X, weights)
    fitting = weights.dtype in (xp.float32, xp.float64) and X.dtype in (weights.dtype, xp.uint8)
    return has_kernels(xp, worth=X.size >= LARGE) and fitting


def _as_floats(X: Array, weights: Array) -> Array:
    """X in the dtype of the weights."""
    return namespace_of(X).astype(X, weights.dtype, copy=False)
