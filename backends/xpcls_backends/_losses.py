"""Losses of scores with their gradients by a kernel, where the arrays have one."""

from __future__ import annotations

from ._place import Array, namespace_of
from .kernels import has_cuda_kernels


def mean_loss(
    name: str, scores: Array, y: Array, delta: float, sample_weight: Array | None
) -> tuple[Array, Array] | None:
    """A loss of `xpcls.losses`, by its name, and its gradient; None where no kernel does it.

    scores (N, C); y (N,) classes, of which nothing is checked; sample_weight (N,) or None.
    """
    xp = namespace_of(scores, y)
    if y.ndim != 1 or not has_cuda_kernels(xp):
        return None
    from .kernels.cuda import losses

    if not losses.fits(scores):
        return None
    factors = None
    if sample_weight is not None:
        weight = xp.astype(sample_weight, scores.dtype, copy=False)
        total = xp.sum(weight)
        factors = weight / xp.where(total > 0, total, xp.ones_like(total))
    y = xp.astype(y, xp.int64, copy=False)
    of_rows, gradient = losses.rows_losses(name, scores, y, delta, factors)
    return xp.sum(of_rows), gradient
