"""Loss and gradient of a linear classifier in one pass over the rows of a mini-batch.

Rows are taken where they lie, four at a time: their scores, their losses, and what they add to the
gradient, while they are in the first cache. Nothing of the size of a mini-batch is written.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._compile import compiled
from ._team import LINE, fetch

HINGE, SQUARED_HINGE, ONE_VS_ALL, STRUCTURED, SOFTMAX = range(5)
KINDS = {
    "hinge": HINGE,
    "squared_hinge": SQUARED_HINGE,
    "one_vs_all": ONE_VS_ALL,
    "structured": STRUCTURED,
    "softmax": SOFTMAX,
}
# Sums in any order, so that they are vectors; NaN and infinity are to come through, or training
# could not tell that it diverges.
ORDER_IS_FREE = {"reassoc", "contract", "nsz"}
CLASSES = 5  # at a time, by four rows


def loss_and_gradient(
    loss: str,
    delta: float,
    x: Any,
    rows: Any,
    classes: Any,
    factors: Any,
    templates: Any,
    offsets: Any,
) -> tuple[Any, Any, Any]:
    """The sum of factor * loss of some rows of x, and its gradients.

    rows : (n,) positions in x. classes, factors : (n,). templates : `padded` weights.
    The gradients are with respect to the weights (D, C) and to offsets (C,).
    """
    dtype = templates.dtype
    of_templates, of_offsets = np.empty_like(templates), np.empty_like(offsets)
    value = _add_rows(
        KINDS[loss],
        dtype.type(delta),
        x,
        rows,
        classes,
        factors,
        templates,
        offsets,
        of_templates,
        of_offsets,
    )
    return dtype.type(value), of_templates[:, : x.shape[1]].T, of_offsets


def padded(weights: Any) -> Any:
    """Templates (C, D or some more) of weights (D, C), filled up with 0."""
    length, n_classes = weights.shape
    templates = np.zeros((n_classes, stride(length, weights.itemsize)), weights.dtype)
    templates[:, :length] = weights.T
    return templates


def stride(length: int, itemsize: int) -> int:
    """How far apart the templates of two classes are to be: an odd number of lines of the cache.

    They then do not claim the same places in it, as they do where D is a multiple of 1,024.
    """
    lines = -(-length * itemsize // LINE)
    return (lines + (7 - lines) % 16) * LINE // itemsize


@compiled(fastmath=ORDER_IS_FREE)
def _add_rows(
    kind: Any,
    delta: Any,
    x: Any,
    rows: Any,
    classes: Any,
    factors: Any,
    templates: Any,
    offsets: Any,
    of_templates: Any,
    of_offsets: Any,
) -> float:
    """The sum of factor * loss over the rows; its gradients are written into the last two."""
    n, n_classes = rows.shape[0], templates.shape[0]
    of_templates[:, :] = 0.0
    of_offsets[:] = 0.0
    spare = np.zeros((CLASSES, templates.shape[1]), templates.dtype)
    scores = np.empty((4, -(-n_classes // CLASSES) * CLASSES), templates.dtype)
    total = 0.0
    for first in range(0, n, 4):
        count = min(4, n - first)
        # Where fewer than four are left, the last stands in for the others, and adds nothing.
        x0 = x[rows[first]]
        x1 = x[rows[min(first + 1, n - 1)]]
        x2 = x[rows[min(first + 2, n - 1)]]
        x3 = x[rows[min(first + 3, n - 1)]]
        for c in range(0, n_classes, CLASSES):
            score_four(x0, x1, x2, x3, templates, c, scores)
        for r in range(count):
            i = first + r
            for c in range(n_classes):
                scores[r, c] += offsets[c]
            total += loss_of_row(kind, delta, scores[r, :n_classes], classes[i], factors[i])
            for c in range(n_classes):
                of_offsets[c] += scores[r, c]
        scores[count:, :] = 0.0
        scores[:, n_classes:] = 0.0
        for c in range(0, n_classes, CLASSES):
            for i in range(first + 4, min(first + 8, n)):
                fetch_share(x[rows[i]], c, n_classes)
            add_four(x0, x1, x2, x3, scores, c, of_templates, spare)
    return total


@compiled()
def fetch_share(row: Any, c: Any, n_classes: Any) -> None:
    """Ask for the share of a row that falls to these classes, so that not all comes at once."""
    length = row.shape[0]
    begin, end = length * c // n_classes, length * min(c + CLASSES, n_classes) // n_classes
    for d in range(begin, end, LINE // row.itemsize):
        fetch(row, d)


@compiled(fastmath=ORDER_IS_FREE)
def score_four(x0: Any, x1: Any, x2: Any, x3: Any, templates: Any, c: Any, scores: Any) -> None:
    """Scores of four rows and five classes: twenty sums are as many as registers hold.

    Where fewer classes are left, the last stands in for the others.
    """
    kind, last = templates.dtype.type, templates.shape[0] - 1
    w0, w1, w2 = templates[c], templates[min(c + 1, last)], templates[min(c + 2, last)]
    w3, w4 = templates[min(c + 3, last)], templates[min(c + 4, last)]
    s00 = s01 = s02 = s03 = s04 = kind(0.0)
    s10 = s11 = s12 = s13 = s14 = kind(0.0)
    s20 = s21 = s22 = s23 = s24 = kind(0.0)
    s30 = s31 = s32 = s33 = s34 = kind(0.0)
    for d in range(x0.shape[0]):
        a, b, e, f = kind(x0[d]), kind(x1[d]), kind(x2[d]), kind(x3[d])
        s00 += a * w0[d]
        s01 += a * w1[d]
        s02 += a * w2[d]
        s03 += a * w3[d]
        s04 += a * w4[d]
        s10 += b * w0[d]
        s11 += b * w1[d]
        s12 += b * w2[d]
        s13 += b * w3[d]
        s14 += b * w4[d]
        s20 += e * w0[d]
        s21 += e * w1[d]
        s22 += e * w2[d]
        s23 += e * w3[d]
        s24 += e * w4[d]
        s30 += f * w0[d]
        s31 += f * w1[d]
        s32 += f * w2[d]
        s33 += f * w3[d]
        s34 += f * w4[d]
    _put(scores[0], c, s00, s01, s02, s03, s04)
    _put(scores[1], c, s10, s11, s12, s13, s14)
    _put(scores[2], c, s20, s21, s22, s23, s24)
    _put(scores[3], c, s30, s31, s32, s33, s34)


@compiled()
def _put(scores: Any, c: Any, s0: Any, s1: Any, s2: Any, s3: Any, s4: Any) -> None:
    """Five scores of one row."""
    scores[c] = s0
    scores[c + 1] = s1
    scores[c + 2] = s2
    scores[c + 3] = s3
    scores[c + 4] = s4


@compiled(fastmath=ORDER_IS_FREE)
def add_four(
    x0: Any, x1: Any, x2: Any, x3: Any, g: Any, c: Any, of_templates: Any, spare: Any
) -> None:
    """Add g[r, c] x_r, of four rows, to the gradients of five classes.

    spare : (5, ...) takes in those of classes beyond the last, whose g is 0.
    """
    kind, n_classes = g.dtype.type, of_templates.shape[0]
    t0 = of_templates[c]
    t1 = of_templates[c + 1] if c + 1 < n_classes else spare[1]
    t2 = of_templates[c + 2] if c + 2 < n_classes else spare[2]
    t3 = of_templates[c + 3] if c + 3 < n_classes else spare[3]
    t4 = of_templates[c + 4] if c + 4 < n_classes else spare[4]
    a0, a1, a2, a3, a4 = g[0, c], g[0, c + 1], g[0, c + 2], g[0, c + 3], g[0, c + 4]
    b0, b1, b2, b3, b4 = g[1, c], g[1, c + 1], g[1, c + 2], g[1, c + 3], g[1, c + 4]
    e0, e1, e2, e3, e4 = g[2, c], g[2, c + 1], g[2, c + 2], g[2, c + 3], g[2, c + 4]
    f0, f1, f2, f3, f4 = g[3, c], g[3, c + 1], g[3, c + 2], g[3, c + 3], g[3, c + 4]
    for d in range(x0.shape[0]):
        p, q, r, s = kind(x0[d]), kind(x1[d]), kind(x2[d]), kind(x3[d])
        t0[d] = t0[d] + a0 * p + b0 * q + e0 * r + f0 * s
        t1[d] = t1[d] + a1 * p + b1 * q + e1 * r + f1 * s
        t2[d] = t2[d] + a2 * p + b2 * q + e2 * r + f2 * s
        t3[d] = t3[d] + a3 * p + b3 * q + e3 * r + f3 * s
        t4[d] = t4[d] + a4 * p + b4 * q + e4 * r + f4 * s


@compiled(fastmath=ORDER_IS_FREE)
def loss_of_row(kind: Any, delta: Any, s: Any, y: Any, factor: Any) -> Any:
    """factor * loss of the scores of one row, which become its gradient; see `xpcls.losses`.

    Comparisons are put so that NaN goes on into the loss.
    """
    zero = s.dtype.type(0.0)
    loss, pull = zero, zero
    if kind == SOFTMAX:
        top = s[0]
        for c in range(s.shape[0]):
            top = max(top, s[c])
        own = s[y] - top
        for c in range(s.shape[0]):
            s[c] = np.exp(s[c] - top)
            pull += s[c]
        for c in range(s.shape[0]):
            s[c] *= factor / pull
        s[y] -= factor
        return factor * (np.log(pull) - own)
    if kind == ONE_VS_ALL:
        for c in range(s.shape[0]):
            sign = factor if c == y else -factor
            margin = delta - s[c] if c == y else delta + s[c]
            s[c] = zero if margin <= zero else -sign
            loss += zero if margin <= zero else margin
        return factor * loss
    own = s[y] - delta
    if kind == STRUCTURED:
        worst = y
        for c in range(s.shape[0]):
            margin = s[c] - own
            if c != y and (margin > loss or margin != margin):
                loss, worst = margin, c
        s[:] = zero
        s[worst] += factor
        s[y] -= factor
        return factor * loss
    for c in range(s.shape[0]):
        margin = s[c] - own
        if c == y or margin <= zero:
            s[c] = zero
        elif kind == HINGE:
            loss += margin
            s[c] = factor
        else:
            loss += margin * margin
            s[c] = (margin + margin) * factor
        pull += s[c]
    s[y] = -pull
    return factor * loss
