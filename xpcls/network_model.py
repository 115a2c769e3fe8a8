"""The network that is trained: layers, whose gradients come from the graph, and a loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from xpcls_backends import (
    Array,
    HostGenerator,
    add_scaled,
    device_of,
    elementwise_block_bytes,
    ignore_overflow,
    in_threads,
    like,
    namespace_of,
    row_blocks,
    row_dots,
    rows_within,
    thread_count,
    to_host,
)

from .graph import Variable, value_of
from .layers import (
    BatchNorm,
    Bias,
    Conv,
    Dense,
    Dropout,
    Layer,
    Pass,
    Shape,
    arranged,
    fused,
    spread_before,
)
from .losses import LOSSES, MARGIN_LOSSES
from .optimizers import Parameters, float_dtype
from .regularizers import l2_value

MEMORY = 0.9  # of the running means of batch normalisation, a step
BLOCK_ACTIVATIONS = 16  # the largest array between two layers, in blocks for one pass over them


class NetworkModel:
    """The function that is trained, for rows of one shape.

    Parameters are the arrays of the layers in turn. The running means of batch normalisation are
    among them, so that a run holds all it needs; they have no gradient, and `after_step` moves
    them.

    layers : without the last, which gives the scores. shape : of an example, (H, W, C) or (D,).
    center : (D,) is subtracted from the rows, which are then multiplied by `scale`; or None.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        shape: Shape,
        n_classes: int,
        loss: str,
        delta: float,
        l2: float,
        center: Array | None = None,
        scale: float = 1.0,
    ) -> None:
        self.layers = fused(arranged((*layers, Dense(n_classes), Bias())))
        self.loss, self.delta, self.l2 = loss, delta, l2
        self.center, self.scale = center, scale
        self.shapes = [shape]  # of what goes into each layer, and of the scores
        self.places: list[int] = []  # where the arrays of each layer begin
        place = 0
        for layer in self.layers:
            self.shapes.append(layer.output_shape(self.shapes[-1]))
            self.places.append(place)
            place += layer.n_parameters + layer.n_statistics
        self.l2_strengths = tuple(
            l2 if isinstance(layer, Conv | Dense) else 0.0
            for layer in self.layers
            for _ in range(layer.n_parameters + layer.n_statistics)
        )
        self._noted: list[tuple[int, Array]] = []  # what `after_step` is to take in

    def array_shapes(self) -> list[Shape]:
        """The shape of each parameter."""
        return [
            shape
            for layer, before in zip(self.layers, self.shapes, strict=False)
            for shape in layer.shapes(before)
        ]

    @property
    def noisy(self) -> bool:
        """Whether training draws masks."""
        return self._has(Dropout)

    def start(self, rows: Array, dtype: Any, generator: HostGenerator) -> Parameters:
        """Parameters to begin with, drawn on the host; those of the last layer are 0.

        All scores are then equal, so the loss is the one that theory gives, and every class is
        as far away. Weights of other layers are normal, of variance 2 / inputs before relu and
        1 / inputs before others, which keeps the size of what passes.
        """
        arrays = []
        last = max(i for i, layer in enumerate(self.layers) if isinstance(layer, Dense))
        for place, layer in enumerate(self.layers):
            spread = 0.0 if place == last else spread_before(self.layers, place)
            arrays += layer.start(self.shapes[place], spread, generator)
        xp = namespace_of(rows)
        return tuple(xp.astype(like(a, rows), dtype, copy=False) for a in arrays)

    def scores(self, parameters: Parameters, X: Array) -> Array:
        """(N, C) scores of rows (N, D) of any real dtype; nothing is random."""
        xp = namespace_of(X)
        blocks = list(row_blocks(X.shape[0], self._block_rows(X, parameters)))
        found: list[Any] = [None] * len(blocks)

        def work(i: int) -> None:
            with ignore_overflow():
                x = self._prepared(X[blocks[i], ...], parameters)
                found[i] = self._forward(parameters, x, Pass())

        in_threads(work, range(len(blocks)), thread_count(xp))
        return found[0] if len(found) == 1 else xp.concat(found, axis=0)

    def objective(
        self,
        parameters: Parameters,
        X: Array,
        y: Array,
        sample_weight: Array | None,
        with_gradient: bool,
        key: int | None = None,
    ) -> tuple[Array, Parameters | None]:
        """Mean loss plus l2 sum(W^2) over the weights of conv and dense layers, and the gradient.

        sample_weight has mean 1 over all rows, as for `LinearModel.objective`. key : names the
        masks of dropout; None for none. With a gradient, batch normalisation goes by the batch,
        and its running means follow in `after_step`.
        """
        seed = 1.0 if with_gradient else None
        value, gradients = self.unpenalised(parameters, X, y, sample_weight, seed, key)
        if self.l2:
            value = value + self.penalty(parameters)
        if self.l2 and gradients is not None:
            for g, p, strength in zip(gradients, parameters, self.l2_strengths, strict=True):
                if strength:
                    add_scaled(g, 2.0 * strength, p)
        return value, gradients

    def unpenalised(
        self,
        parameters: Parameters,
        X: Array,
        y: Array,
        sample_weight: Array | None,
        seed: float | None,
        key: int | None = None,
    ) -> tuple[Array, Parameters | None]:
        """`objective` without the penalty, and the gradient of seed times that; None for none.

        A network with images to pass on is worked off in blocks of rows that fit into a core's
        cache, on several threads; the blocks are added up in order, so the number of threads
        changes no bit.
        """
        xp = namespace_of(*parameters)
        n, with_gradient = X.shape[0], seed is not None
        whole = with_gradient and self._has(BatchNorm)  # its statistics are those of all rows
        blocks = list(row_blocks(n, n if whole else self._block_rows(X, parameters)))
        parts: list[Any] = [None] * len(blocks)

        def work(i: int) -> None:
            with ignore_overflow():
                here = blocks[i]
                weight = None if sample_weight is None else sample_weight[here]
                now = Pass(with_gradient, key, here.start)
                share = (here.stop - here.start) / n
                x = self._prepared(X[here, ...], parameters)
                parts[i] = self._part(parameters, x, y[here], weight, seed, now, share)

        in_threads(work, range(len(blocks)), thread_count(xp))
        value, gradients = parts[0]
        for other, more in parts[1:]:
            value = value + other
            if with_gradient:
                gradients = [g + h for g, h in zip(gradients, more, strict=True)]
        return value, tuple(gradients) if with_gradient else None

    def after_step(self, parameters: Parameters, rate: float) -> Parameters:
        """The running means of batch normalisation follow those of the step's batch."""
        moved = list(parameters)
        for place, new in self._noted:
            moved[place] = MEMORY * moved[place] + (1.0 - MEMORY) * new
        self._noted.clear()
        return tuple(moved)

    def _part(
        self,
        parameters: Parameters,
        x: Array,
        y: Array,
        weight: Array | None,
        seed: float | None,
        now: Pass,
        share: float,
    ) -> tuple[Array, list[Array]]:
        """What some rows of a batch add to the loss and its gradient."""
        xp = namespace_of(x)
        learnt = [Variable(p) for p in parameters] if now.training else parameters
        scores = self._forward(learnt, x, now)
        options = {"delta": self.delta} if self.loss in MARGIN_LOSSES else {}
        loss = LOSSES[self.loss]
        value, gradient = loss(value_of(scores), y, sample_weight=weight, validate=False, **options)
        factor = share if weight is None else share * xp.mean(weight)
        value = _times(value, factor)
        if seed is None:
            return value, []
        scores.backward(_times(gradient, seed * factor), release=True)
        if now.statistics:
            self._note(now.statistics)
        return value, [xp.zeros_like(v.value) if v.grad is None else v.grad for v in learnt]

    def _forward(self, arrays: Sequence[Any], x: Any, now: Pass) -> Any:
        """Scores; of variables where the arrays are such."""
        for layer, begin in zip(self.layers, self.places, strict=True):
            given = list(arrays[begin : begin + layer.n_parameters + layer.n_statistics])
            given[layer.n_parameters :] = map(value_of, given[layer.n_parameters :])
            x = layer.forward(x, given, now)
        return x

    def _prepared(self, X: Array, parameters: Parameters) -> Array:
        """Rows in the dtype of the parameters, centred and scaled, in the network's shape."""
        xp, dtype = namespace_of(X), parameters[0].dtype
        x = xp.astype(X, dtype, copy=False)
        if self.center is not None:
            x = xp.reshape(x, (x.shape[0], -1)) - self.center
            x *= self.scale
        return xp.reshape(x, (x.shape[0], *self.shapes[0]))

    def _note(self, statistics: Sequence[tuple[Array, Array]]) -> None:
        """Keep the means and variances of a batch, with the places of those that follow them."""
        self._noted.clear()
        waiting = iter(statistics)
        for layer, place in zip(self.layers, self.places, strict=True):
            if isinstance(layer, BatchNorm):
                for offset, new in enumerate(next(waiting)):
                    self._noted.append((place + layer.n_parameters + offset, new))

    def penalty(self, parameters: Parameters) -> Array:
        """l2 sum(W^2) over the weights of conv and dense layers."""
        xp = namespace_of(*parameters)
        pairs = zip(parameters, self.l2_strengths, strict=True)
        return xp.sum(xp.stack([l2_value(p, strength) for p, strength in pairs if strength]))

    def _has(self, kind: type[Layer]) -> bool:
        return any(isinstance(layer, kind) for layer in self.layers)

    def _block_rows(self, X: Array, parameters: Parameters) -> int:
        """How many rows are worked on at a time.

        Products of dense layers are best left whole; what lies between convolutions should not
        leave the cache.
        """
        rows: int = X.shape[0]
        if not self._has(Conv):
            return max(1, rows)
        largest = max(map(math.prod, self.shapes))
        xp = namespace_of(X)
        size = 8 if parameters[0].dtype == xp.float64 else 4
        bound = BLOCK_ACTIVATIONS * elementwise_block_bytes(xp)
        rows = rows_within(bound, size * largest)
        return rows


def _times(x: Array, factor: Any) -> Array:
    """factor x, and x itself where that is the number 1: on a card one launch less."""
    return x if isinstance(factor, float) and factor == 1.0 else x * factor


def standardization(rows: Array, weight: Array | None) -> tuple[Array, float]:
    """The mean row, and 1 / the standard deviation of all features around it; 1 where that is 0.

    Of uint8 rows without a floating copy of them all. Reads one number on the host.
    """
    xp, device = namespace_of(rows), device_of(rows)
    dtype = float_dtype(rows)
    n, features = rows.shape
    share = 1.0 / n if weight is None else weight / xp.sum(weight)
    with ignore_overflow():
        center = xp.zeros((features,), dtype=dtype, device=device)
        for some in row_blocks(n, 1024):
            block = xp.astype(rows[some, :], dtype, copy=False)
            center = center + xp.sum(block * _column(share, some), axis=0)
        total = xp.asarray(0.0, dtype=dtype, device=device)
        for some in row_blocks(n, 1024):
            block = xp.astype(rows[some, :], dtype, copy=False) - center
            total = total + xp.sum(row_dots(block, block) * _entry(share, some))
        largest = xp.max(xp.abs(center))
        squares, largest = to_host(xp.stack((total, largest))).tolist()
    variance = squares / features
    if not math.isfinite(variance):
        raise ValueError(f"X holds values whose squares overflow {dtype}; scale it to about 1")
    rounding = 8.0 * float(xp.finfo(dtype).eps) * largest  # rows that are all the same
    return center, 1.0 / math.sqrt(variance) if variance > rounding**2 else 1.0


def _entry(share: Any, some: slice) -> Any:
    return share if isinstance(share, float) else share[some]


def _column(share: Any, some: slice) -> Any:
    return share if isinstance(share, float) else share[some, None]
