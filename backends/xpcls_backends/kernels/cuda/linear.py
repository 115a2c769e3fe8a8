"""Many steps of a linear classifier in one launch: linear.cu."""

from __future__ import annotations

from typing import Any

from xpcls_backends._place import Array, device_of, namespace_of

from ._module import f32, i32, kernel, launch, on_its_card
from .losses import KINDS, MOST_CLASSES

THREADS = 256  # and the most rows of a mini-batch
SHARED = 48 * 2**10  # bytes that every card gives to a block
FEATURES = (8, 16, 24, 32)  # of a block
PIXELS = {"float32": "float", "uint8": "unsigned char"}

Pair = tuple[Array, Array]


def fits(X: Array, weights: Array) -> bool:
    """Whether there is a kernel for such rows and weights (D, C)."""
    xp = namespace_of(X, weights)
    rows = X.dtype in (xp.float32, xp.uint8) and X.shape[0] < 2**31
    return bool(rows and weights.dtype == xp.float32 and weights.shape[1] <= MOST_CLASSES)


@on_its_card
def descend(
    task: Any,
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
    """`linear_descent` of xpcls_backends, where it `fits`; None where the card is too small, or
    the mini-batches are too large."""
    xp, device = namespace_of(X), device_of(X)
    n, batch = order.shape[0], min(batch_size, order.shape[0])
    length, n_classes = parameters[0].shape
    if batch > THREADS:
        return None
    pixel = next(name for name in PIXELS if X.dtype == getattr(xp, name))
    found = _cut(length, n_classes, batch, PIXELS[pixel])
    if found is None:
        return None
    function, blocks, shared = found

    def own(x: Array) -> Array:
        return xp.asarray(x, order="C", copy=True, device=device)

    weights, bias = own(parameters[0]), own(parameters[1])
    velocity, bias_velocity = own(velocities[0]), own(velocities[1])

    def scratch(*shape: int) -> Array:
        return xp.empty(shape, dtype=xp.float32, device=device)

    steps = -(-n // batch)
    objective = scratch(steps, blocks * (THREADS // 32) + batch)
    counter = xp.zeros((1,), dtype=xp.uint32, device=device)
    X, y, order = (xp.ascontiguousarray(x) for x in (X, y, order))
    numbers = (task.delta, task.constant, task.l2, rate, decay)
    factors = None
    if sample_weight is not None:
        factors = xp.ascontiguousarray(xp.astype(sample_weight, xp.float32, copy=False))
    args = (
        *(X, y, factors, order),
        *(i32(x) for x in (n, length, batch, KINDS.index(task.loss))),
        *(f32(x) for x in numbers),
        *(weights, velocity, bias, bias_velocity),
        *(scratch(blocks, n_classes, batch), scratch(n_classes, batch)),
        *(objective, counter),
    )
    launch(function, (blocks,), THREADS, args, shared)
    return (weights, bias), (velocity, bias_velocity), xp.sum(objective, axis=1)


def shared_bytes(features: int, n_classes: int, batch: int) -> int:
    """Of a block, as linear.cu lays it out."""
    stride = (n_classes + 3) // 8 * 8 + 4
    splits = min(16, THREADS // (features // 4 * -(-n_classes // 4)))
    rows = max(batch * features, splits * features * stride)
    return 4 * (rows + features * stride + max(batch * stride, THREADS))


def _cut(length: int, n_classes: int, batch: int, pixel: str) -> tuple[Any, int, int] | None:
    """The kernel, how many blocks share the features, and the bytes of each.

    All blocks must run at once, since they wait for each other. (CuPy would quietly start fewer.)
    Best there is one for each of the card's processors, which then has the least to do; half as
    many take up to twice the time. So two kinds of cards may add up in two orders, and round
    differently.
    """
    length += 1  # the bias
    for features in sorted(FEATURES, key=lambda f: (-(-length // f) > processors(), f)):
        shared = shared_bytes(features, n_classes, batch)
        if shared > SHARED:
            continue
        options = (f"-DCLASSES={n_classes}", f"-DFEATURES={features}", f"-DPIXEL={pixel}")
        function = kernel("linear", "descend", options, cooperative=True)
        blocks = -(-length // features)
        if blocks <= _at_once(function, shared):
            return function, blocks, shared
    return None


def _at_once(function: Any, shared: int) -> int:
    """How many blocks of this kernel the current card runs at the same time."""
    import cupy

    in_each = cupy.cuda.driver.occupancyMaxActiveBlocksPerMultiprocessor(
        function.kernel.ptr, THREADS, shared
    )
    return int(in_each) * processors()


def processors() -> int:
    """How many multiprocessors the current card has."""
    import cupy

    return int(cupy.cuda.Device().attributes["MultiProcessorCount"])
