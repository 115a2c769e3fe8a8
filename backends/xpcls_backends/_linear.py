"""The step of a linear classifier as one kernel, where the arrays and the loss have one."""

from __future__ import annotations

from collections.abc import Callable

from ._place import Array, namespace_of
from .kernels import has_kernels

LARGE = 2**20  # entries; of so many rows an epoch costs more than loading the kernel

LinearKernel = Callable[..., tuple[Array, Array, Array]]


def linear_kernel(x: Array, weights: Array) -> LinearKernel | None:
    """What gives loss and gradient of a linear classifier in one pass; None where nothing does.

    x : (N, D) rows, of which mini-batches are taken. weights : (D, C).

    The function takes (loss, delta, x, rows, classes, factors, weights, offsets):

        loss, delta : "hinge", "squared_hinge", "one_vs_all", "structured" or "softmax" as in
            `xpcls.losses`, and the margin of the first four.
        rows : (n,) positions in x, int64. classes : (n,) their classes, int64.
        factors : (n,) what each loss is multiplied by. offsets : (C,) what is added to x W.

    and returns the sum of factor * loss, and its gradients with respect to weights and offsets,
    all in the dtype of `weights`. None of the arguments is checked, and none changed.
    """
    xp = namespace_of(x, weights)
    fitting = weights.dtype in (xp.float32, xp.float64) and x.dtype in (weights.dtype, xp.uint8)
    if has_kernels(xp, worth=x.size >= LARGE) and fitting:
        from .kernels.cpu.linear import loss_and_gradient

        return loss_and_gradient
    return None
