"""A step of one parameter by a kernel, where the arrays have one."""

from __future__ import annotations

from dataclasses import dataclass

from ._place import Array, namespace_of
from .kernels import has_cuda_kernels


@dataclass(frozen=True)
class StepRule:
    """How an optimiser moves each entry of a parameter p, whose gradient is g:

        v <- decay v + own g,   s <- decay2 s + own2 g^2
        p <- p - rate (of_gradient g + of_mean v) / (sqrt(s correction) + epsilon)

    v and s are what it keeps: neither of them (nothing is added, and nothing divides), v, or both.
    """

    of_gradient: float = 0.0
    of_mean: float = 0.0
    decay: float = 0.0
    own: float = 0.0
    decay2: float = 0.0
    own2: float = 0.0
    correction: float = 1.0
    epsilon: float = 0.0


def moved(
    rule: StepRule, p: Array, g: Array, kept: tuple[Array, ...], rate: float, pull: float
) -> tuple[Array, tuple[Array, ...]] | None:
    """The next value of a parameter and of what is kept for it, by gradients g + pull p; None
    where no kernel does it. g is given away: the new value may lie in its memory."""
    if not has_cuda_kernels(namespace_of(p, g)):
        return None
    from .kernels.cuda import updates

    return updates.moved(rule, p, g, kept, rate, pull) if updates.fits(p, g, kept) else None
