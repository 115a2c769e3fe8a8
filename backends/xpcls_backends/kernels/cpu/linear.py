"""Loss and gradient of a linear classifier in one pass over the rows of a mini-batch.

Rows are taken where they lie, four at a time: their scores, their losses, and what they add to the
gradient, while they are in the first cache. Nothing of the size of a mini-batch is written.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._compile import compiled

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


def loss_and_gradient(
    loss: str,
    delta: float,
    x: Any,
    rows: Any,
    classes: Any,
    factors: Any,
    weights: Any,
    offsets: Any,
) -> tuple[Any, Any, Any]:
    """See `xpcls_backends.linear_kernel`."""
    dtype = weights.dtype
    templates = np.ascontiguousarray(weights.T)
    of_templates = np.empty_like(templates)
    of_offsets = np.empty_like(offsets)
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
    return dtype.type(value), of_templates.T, of_offsets


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
    spare = np.zeros_like(templates[0])  # what a last class without a partner is paired with
    scores = np.empty((4, n_classes + 1), templates.dtype)
    total = 0.0
    for first in range(0, n, 4):
        count = min(4, n - first)
        # Where fewer than four are left, the last stands in for the others, and adds nothing.
        x0 = x[rows[first]]
        x1 = x[rows[min(first + 1, n - 1)]]
        x2 = x[rows[min(first + 2, n - 1)]]
        x3 = x[rows[min(first + 3, n - 1)]]
        _score_four(x0, x1, x2, x3, templates, offsets, scores)
        scores[count:, :] = 0.0
        for r in range(count):
            i = first + r
            total += _loss_of_row(kind, delta, scores[r, :n_classes], classes[i], factors[i])
            for c in range(n_classes):
                of_offsets[c] += scores[r, c]
        scores[:, n_classes] = 0.0
        for c in range(0, n_classes, 2):
            other = of_templates[c + 1] if c + 1 < n_classes else spare
            _add_four(x0, x1, x2, x3, scores, c, of_templates[c], other)
    return total


@compiled(fastmath=ORDER_IS_FREE)
def _score_four(
    x0: Any, x1: Any, x2: Any, x3: Any, templates: Any, offsets: Any, scores: Any
) -> None:
    """Scores of four rows, five classes at a time: twenty sums are as many as registers hold."""
    n_classes, length = templates.shape
    kind = templates.dtype.type
    for c in range(0, n_classes, 5):
        k0, k1, k2 = c, min(c + 1, n_classes - 1), min(c + 2, n_classes - 1)
        k3, k4 = min(c + 3, n_classes - 1), min(c + 4, n_classes - 1)
        w0, w1, w2 = templates[k0], templates[k1], templates[k2]
        w3, w4 = templates[k3], templates[k4]
        s00 = s01 = s02 = s03 = s04 = kind(0.0)
        s10 = s11 = s12 = s13 = s14 = kind(0.0)
        s20 = s21 = s22 = s23 = s24 = kind(0.0)
        s30 = s31 = s32 = s33 = s34 = kind(0.0)
        for d in range(length):
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
        _put(scores, k0, offsets[k0], s00, s10, s20, s30)
        _put(scores, k1, offsets[k1], s01, s11, s21, s31)
        _put(scores, k2, offsets[k2], s02, s12, s22, s32)
        _put(scores, k3, offsets[k3], s03, s13, s23, s33)
        _put(scores, k4, offsets[k4], s04, s14, s24, s34)


@compiled()
def _put(scores: Any, k: Any, offset: Any, s0: Any, s1: Any, s2: Any, s3: Any) -> None:
    """The scores of one class."""
    scores[0, k] = s0 + offset
    scores[1, k] = s1 + offset
    scores[2, k] = s2 + offset
    scores[3, k] = s3 + offset


@compiled(fastmath=ORDER_IS_FREE)
def _add_four(
    x0: Any, x1: Any, x2: Any, x3: Any, factors: Any, c: Any, first: Any, second: Any
) -> None:
    """first += sum of factors[r, c] x_r, and second with c + 1."""
    kind = factors.dtype.type
    a0, a1, a2, a3 = factors[0, c], factors[1, c], factors[2, c], factors[3, c]
    b0, b1, b2, b3 = factors[0, c + 1], factors[1, c + 1], factors[2, c + 1], factors[3, c + 1]
    for d in range(first.shape[0]):
        p, q, r, s = kind(x0[d]), kind(x1[d]), kind(x2[d]), kind(x3[d])
        first[d] += a0 * p + a1 * q + a2 * r + a3 * s
        second[d] += b0 * p + b1 * q + b2 * r + b3 * s


@compiled(fastmath=ORDER_IS_FREE)
def _loss_of_row(kind: Any, delta: Any, s: Any, y: Any, factor: Any) -> Any:
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
