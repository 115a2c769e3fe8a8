"""Losses of scores and their gradients, one launch for what plain operations take seventeen for."""

from __future__ import annotations

from xpcls_backends._place import Array, device_of, namespace_of

from ._module import f32, i32, kernel, launch, on_its_card

KINDS = ("softmax", "one_vs_all", "structured", "hinge", "squared_hinge", "squared_error")
MOST_CLASSES = 16  # scores of a row are kept in registers
THREADS = 128


def fits(scores: Array) -> bool:
    """Whether there is a kernel for such scores (N, C)."""
    xp = namespace_of(scores)
    return bool(scores.dtype == xp.float32 and scores.shape[1] <= MOST_CLASSES)


@on_its_card
def rows_losses(
    kind: str, scores: Array, y: Array, delta: float, factors: Array | None
) -> tuple[Array, Array]:
    """Of each row its factor times its loss, (N,), and the gradient of that, (N, C); float32.

    scores (N, C), y (N,) int64, factors (N,) or None for 1 / N.
    """
    xp, device = namespace_of(scores, y), device_of(scores, y)
    n, n_classes = scores.shape
    losses = xp.empty((n,), dtype=xp.float32, device=device)
    gradient = xp.empty((n, n_classes), dtype=xp.float32, device=device)
    function = kernel("losses", "rows_losses", (f"-DCLASSES={n_classes}",))
    factors = None if factors is None else xp.ascontiguousarray(factors)
    given = (xp.ascontiguousarray(scores), xp.ascontiguousarray(y), factors)
    args = (*given, losses, gradient)
    numbers = (i32(n), i32(KINDS.index(kind)), f32(delta))
    launch(function, (-(-n // THREADS),), THREADS, (*args, *numbers))
    return losses, gradient
