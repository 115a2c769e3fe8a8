"""Many steps of a linear classifier in one call: plain or with momentum, threads side by side.

Each thread has pieces of the features, and the weights that belong to them stay in its processor's
cache from step to step. A step goes

    scores of all rows, by each piece       by whoever has the piece
    losses, and gradients of the scores     each thread some of the rows
    gradients of the weights, and the step  by whoever has the piece

and only after the first two parts a thread waits for all others.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ._compile import compiled
from ._team import APART, all_have_reached, publish
from .linear import (
    CLASSES,
    KINDS,
    ORDER_IS_FREE,
    add_four,
    fetch_share,
    loss_of_row,
    score_four,
    stride,
)

SHORT = 256  # features; fewer are one piece
LONG = 1536  # at most so many are a piece, as long as there are few pieces
MOST_PIECES = 16


def pieces(length: int) -> int:
    """How many pieces of so many features there are; for any number of threads, so that these
    change no bit."""
    return 1 if length < SHORT else min(MOST_PIECES, 2 * -(-length // (2 * LONG)))


class Descent:
    """A number of steps, on copies of what it is given; see `xpcls_backends.linear_descent`."""

    def __init__(
        self,
        task: Any,
        parameters: Any,
        velocities: Any,
        x: Any,
        classes: Any,
        sample_weight: Any,
        order: Any,
        batch: int,
        rate: float,
        decay: float,
        team: int,
    ) -> None:
        weights, bias = parameters
        dtype, n_classes = weights.dtype, bias.shape[0]
        batch = min(batch, order.shape[0])
        rows, columns = -(-batch // 4) * 4, -(-n_classes // CLASSES) * CLASSES
        self.losses = np.zeros(-(-order.shape[0] // batch), dtype)
        self._length = x.shape[1]
        self._templates, self._bias = _in_pieces(weights), np.array(bias)
        self._velocity, self._bias_velocity = _in_pieces(velocities[0]), np.array(velocities[1])
        squares = np.zeros((2, self._templates.shape[0]), dtype)
        squares[0, 0] = np.vdot(self._templates, self._templates)
        weight = np.ones(0) if sample_weight is None else sample_weight
        self._given = (
            np.zeros(team * APART, np.int64),
            KINDS[task.loss],
            np.array([batch, team, _piece_length(self._length)], np.int64),
            np.array([task.delta, task.constant, task.l2, rate, decay], dtype),
            x,
            order,
            classes,
            np.ascontiguousarray(weight, dtype),
            self._templates,
            self._bias,
            self._velocity,
            self._bias_velocity,
            np.empty_like(self._templates),
            np.empty((self._templates.shape[0], rows, columns), dtype),
            np.zeros((rows, columns), dtype),
            np.empty(batch, dtype),
            squares,
            self.losses,
        )

    def go_on(self, thread: int) -> bool:
        """Take this thread's part in all steps; False where the others keep it waiting."""
        return bool(_descend(thread, *self._given))

    def parameters(self) -> tuple[Any, Any]:
        """Weights (D, C) and bias weights (C,)."""
        return _from_pieces(self._templates, self._length), self._bias

    def velocities(self) -> tuple[Any, Any]:
        """What a step subtracts for a rate of 1, likewise."""
        return _from_pieces(self._velocity, self._length), self._bias_velocity


def _piece_length(length: int) -> int:
    """Whole vectors, but for the last piece."""
    return -(-length // (16 * pieces(length))) * 16


def _in_pieces(weights: Any) -> Any:
    """(pieces, C, features and some more) of weights (D, C), filled up with 0."""
    length, n_classes = weights.shape
    piece = _piece_length(length)
    found = np.zeros((pieces(length), n_classes, stride(piece, weights.itemsize)), weights.dtype)
    for p in range(found.shape[0]):
        part = weights[p * piece : (p + 1) * piece]
        found[p, :, : part.shape[0]] = part.T
    return found


def _from_pieces(templates: Any, length: int) -> Any:
    """(D, C), whose transpose is contiguous."""
    piece = _piece_length(length)
    parts = [part[:, : min(piece, length - p * piece)] for p, part in enumerate(templates)]
    return np.concatenate(parts, axis=1).T


@compiled(fastmath=ORDER_IS_FREE)
def _descend(
    me: Any,
    reached: Any,
    kind: Any,
    counts: Any,
    numbers: Any,
    x: Any,
    order: Any,
    classes: Any,
    factors: Any,
    templates: Any,
    bias: Any,
    velocity: Any,
    bias_velocity: Any,
    of_templates: Any,
    partial: Any,
    of_scores: Any,
    values: Any,
    squares: Any,
    losses: Any,
) -> bool:
    batch, team, piece = counts
    delta, constant, l2, rate, decay = numbers
    n, steps, n_pieces = order.shape[0], losses.shape[0], templates.shape[0]
    stage = reached[me * APART]
    while stage <= 2 * steps:
        if not all_have_reached(stage, reached, team):
            return False
        step = stage // 2
        rows = order[step * batch : min((step + 1) * batch, n)]
        before = order[max(step - 1, 0) * batch : step * batch]
        if stage % 2 == 1:
            share = -(-rows.shape[0] // team)
            for i in range(me * share, min((me + 1) * share, rows.shape[0])):
                factor = factors[rows[i]] if factors.shape[0] > 0 else factors.dtype.type(1.0)
                factor /= factors.dtype.type(rows.shape[0])
                own = of_scores[i, : bias.shape[0]]
                for c in range(bias.shape[0]):
                    own[c] = constant * bias[c]
                    for p in range(n_pieces):
                        own[c] += partial[p, i, c]
                values[i] = loss_of_row(kind, delta, own, classes[rows[i]], factor)
            if me == 0:
                of_scores[rows.shape[0] :, :] = 0.0
        else:
            for p in range(me, n_pieces, team):
                some = slice(p * piece, min((p + 1) * piece, x.shape[1]))
                if step > 0:
                    _add_up(x, before, some, of_scores, of_templates[p])
                    squares[step % 2, p] = _move(
                        templates[p], velocity[p], of_templates[p], l2, rate, decay
                    )
                if step < steps:
                    _score(x, rows, some, templates[p], partial[p])
            if me == 0 and step > 0:
                losses[step - 1] = l2 * np.sum(squares[(step - 1) % 2])
                losses[step - 1] += np.sum(values[: before.shape[0]])
                for c in range(bias.shape[0]):
                    pull = constant * np.sum(of_scores[: before.shape[0], c])
                    bias_velocity[c] = decay * bias_velocity[c] + pull
                    bias[c] -= rate * bias_velocity[c]
        stage += 1
        publish(reached, me * APART, stage)
    return True


@compiled(fastmath=ORDER_IS_FREE)
def _score(x: Any, rows: Any, some: Any, templates: Any, scores: Any) -> None:
    """Scores of rows by a piece of the features, four rows at a time; the last stands in for
    those that lack."""
    n, n_classes = rows.shape[0], templates.shape[0]
    for first in range(0, n, 4):
        x0, x1 = x[rows[first]][some], x[rows[min(first + 1, n - 1)]][some]
        x2, x3 = x[rows[min(first + 2, n - 1)]][some], x[rows[min(first + 3, n - 1)]][some]
        for c in range(0, n_classes, CLASSES):
            for i in range(first + 4, min(first + 8, n)):
                fetch_share(x[rows[i]][some], c, n_classes)
            score_four(x0, x1, x2, x3, templates, c, scores[first : first + 4])


@compiled(fastmath=ORDER_IS_FREE)
def _add_up(x: Any, rows: Any, some: Any, of_scores: Any, of_templates: Any) -> None:
    """The gradient of a piece of the weights; the last rows first, which are still in the cache."""
    n, n_classes = rows.shape[0], of_templates.shape[0]
    spare = np.zeros((CLASSES, of_templates.shape[1]), of_templates.dtype)
    of_templates[:, :] = 0.0
    for first in range((n - 1) // 4 * 4, -1, -4):
        x0, x1 = x[rows[first]][some], x[rows[min(first + 1, n - 1)]][some]
        x2, x3 = x[rows[min(first + 2, n - 1)]][some], x[rows[min(first + 3, n - 1)]][some]
        for c in range(0, n_classes, CLASSES):
            add_four(x0, x1, x2, x3, of_scores[first : first + 4], c, of_templates, spare)


@compiled(fastmath=ORDER_IS_FREE)
def _move(templates: Any, velocity: Any, of_templates: Any, l2: Any, rate: Any, decay: Any) -> Any:
    """A step of a piece of the weights; the sum of their squares afterwards."""
    total = templates.dtype.type(0.0)
    for c in range(templates.shape[0]):
        w, v, g = templates[c], velocity[c], of_templates[c]
        for d in range(w.shape[0]):
            v[d] = decay * v[d] + (g[d] + (l2 + l2) * w[d])
            w[d] -= rate * v[d]
            total += w[d] * w[d]
    return total
