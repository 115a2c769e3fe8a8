"""What the objective of a linear classifier changes by where one weight does.

W[d, c] + t moves column c of the scores X W by t X[:, d], and no other: one column of every row's
loss is computed anew, in N operations where the whole objective takes N D C. The change itself is
computed, not a difference of two sums, so that it has all digits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpcls.linear_model import LinearModel
from xpcls_backends import (
    Array,
    Namespace,
    device_of,
    elementwise_block_bytes,
    like,
    namespace_of,
    row_blocks,
    rows_within,
    to_host,
)

TEMPORARIES = 3  # of the size of the moves, beside each other

# Columns (P,) and moves (P, N) -> what is added to the sum of all losses, each (P,), where the
# moves are added to the columns, and where they are taken from them.
Form = Callable[[Array, Array], tuple[Array, Array]]


class LinearChanges:
    """What mean loss + l2 sum(W^2) + l1 sum(|W|) changes by where one entry of x does.

    model : its loss must be one of FORMS. x (D + 1, C) : weights, and the bias as last row.
    rows (N, D), y (N,) : features and classes.
    """

    def __init__(self, model: LinearModel, x: Array, rows: Array, y: Array) -> None:
        xp, device = namespace_of(x), device_of(x)
        n_features, n_classes = rows.shape[1], x.shape[1]
        ones = xp.ones((1, rows.shape[0]), dtype=rows.dtype, device=device)
        self._features = xp.concat((rows.mT, ones), axis=0)
        classes = xp.arange(n_classes, dtype=y.dtype, device=device)
        own = classes[:, None] == y[None, :]
        self._form = FORMS[model.loss](xp, x.mT @ self._features, own, model.delta)
        self._x = to_host(xp.reshape(x, (-1,)))
        self._penalised, self._classes = n_features * n_classes, n_classes
        self._l2, self._l1 = model.l2, model.l1

    def __call__(self, places: Any, steps: Any) -> tuple[Any, Any]:
        """The changes by x[places[i]] + steps[i] and - steps[i], rows first; (P,) on the host."""
        features, columns = places // self._classes, places % self._classes
        moved, which, where = (like(a, self._features) for a in (steps, features, columns))
        xp, n = namespace_of(moved), self._features.shape[1]
        parts = []
        size = rows_within(elementwise_block_bytes(xp), TEMPORARIES * 8 * n)
        for block in row_blocks(places.shape[0], size):
            moves = xp.take(self._features, which[block], axis=0) * moved[block][:, None]
            parts.append(xp.stack(self._form(where[block], moves)))
        above, below = to_host(xp.concat(parts, axis=1)) / n
        x, penalised = self._x[places], places < self._penalised
        for change, step in ((above, steps), (below, -steps)):
            penalty = self._l2 * step * (2.0 * x + step)
            if self._l1:
                penalty += self._l1 * (abs(x + step) - abs(x))
            change += penalty * penalised
        return above, below


def _softmax(xp: Namespace, scores: Array, own: Array, delta: float) -> Form:
    """ln sum_j e^(s_j) - s_y: the sum grows by the share of e^(s_c) in it, times e^m - 1."""
    powers = xp.exp(scores - xp.max(scores, axis=0, keepdims=True))
    shares = powers / xp.sum(powers, axis=0, keepdims=True)
    truth = xp.astype(own, scores.dtype)

    def form(columns: Array, moves: Array) -> tuple[Array, Array]:
        share = xp.take(shares, columns, axis=0)
        of_own = xp.vecdot(xp.take(truth, columns, axis=0), moves)
        up = xp.expm1(moves)
        down = -up / (up + 1.0)  # e^-m - 1
        up *= share
        down *= share
        return xp.sum(xp.log1p(up), axis=1) - of_own, xp.sum(xp.log1p(down), axis=1) + of_own

    return form


def _one_vs_all(xp: Namespace, scores: Array, own: Array, delta: float) -> Form:
    """sum_j max(0, delta - t_j s_j)."""
    sign = 2.0 * xp.astype(own, scores.dtype) - 1.0
    margins = delta - sign * scores

    def by(columns: Array, moves: Array) -> Array:
        before = xp.take(margins, columns, axis=0)
        after = before - xp.take(sign, columns, axis=0) * moves
        return xp.maximum(after, 0.0) - xp.maximum(before, 0.0)

    return _both_ways(xp, by)


def _sum_of_margins(penalty: Callable[[Namespace, Array], Array]) -> Callable[..., Form]:
    """sum_{j != y} penalty(s_j - s_y + delta): where c is y itself, all of the margins move."""

    def of_scores(xp: Namespace, scores: Array, own: Array, delta: float) -> Form:
        margins = _margins(xp, scores, own, delta)

        def by(columns: Array, moves: Array) -> Array:
            before = xp.take(margins, columns, axis=0)
            of_other = penalty(xp, before + moves) - penalty(xp, before)
            of_own = xp.zeros_like(moves)
            for j in range(margins.shape[0]):
                each = margins[j : j + 1, :]
                of_own += penalty(xp, each - moves) - penalty(xp, each)
            return xp.where(xp.take(own, columns, axis=0), of_own, of_other)

        return _both_ways(xp, by)

    return of_scores


def _structured(xp: Namespace, scores: Array, own: Array, delta: float) -> Form:
    """max(0, max_{j != y} s_j - s_y + delta): c against the worst of the other classes."""
    margins = _margins(xp, scores, own, delta)
    worst = xp.max(margins, axis=0, keepdims=True)
    place = xp.argmax(margins, axis=0, keepdims=True)
    classes = xp.arange(margins.shape[0], dtype=place.dtype, device=device_of(margins))
    is_worst = classes[:, None] == place
    without = xp.where(is_worst, xp.full_like(margins, -float("inf")), margins)
    others = xp.where(is_worst, xp.max(without, axis=0, keepdims=True), worst)
    before = xp.maximum(worst, 0.0)

    def by(columns: Array, moves: Array) -> Array:
        here = xp.take(margins, columns, axis=0) + moves
        after = xp.maximum(xp.take(others, columns, axis=0), here)
        after = xp.where(xp.take(own, columns, axis=0), worst - moves, after)
        return xp.maximum(after, 0.0) - before

    return _both_ways(xp, by)


def _both_ways(xp: Namespace, by: Callable[[Array, Array], Array]) -> Form:
    def form(columns: Array, moves: Array) -> tuple[Array, Array]:
        return xp.sum(by(columns, moves), axis=1), xp.sum(by(columns, -moves), axis=1)

    return form


def _margins(xp: Namespace, scores: Array, own: Array, delta: float) -> Array:
    """s_j - s_y + delta, (C, N); of the true class -inf."""
    truth = xp.sum(scores * xp.astype(own, scores.dtype), axis=0, keepdims=True)
    return xp.where(own, xp.full_like(scores, -float("inf")), scores - truth + delta)


def _positive(xp: Namespace, margins: Array) -> Array:
    return xp.maximum(margins, 0.0)


def _squared(xp: Namespace, margins: Array) -> Array:
    return xp.maximum(margins, 0.0) ** 2


FORMS: dict[str, Callable[[Namespace, Array, Array, float], Form]] = {
    "hinge": _sum_of_margins(_positive),
    "squared_hinge": _sum_of_margins(_squared),
    "one_vs_all": _one_vs_all,
    "structured": _structured,
    "softmax": _softmax,
}
