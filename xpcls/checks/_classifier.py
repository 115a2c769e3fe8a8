"""The gradient check of a classifier, in all its parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from xpcls.linear import LinearClassifier
from xpcls.trained import TrainedClassifier
from xpcls.validation import check_labels, check_rows
from xpcls_backends import Array, host_generator, like, namespace_of, to_scalar

from ._columns import FORMS, LinearChanges
from ._gradient import Evaluations, GradientCheck, compared, needs_float64


def check_gradients(
    model: TrainedClassifier,
    X: Any,
    y: Any,
    *,
    rows: int = 50,
    h: float = 1e-5,
    coordinates: int | None = 100,
    tolerance: float = 1e-7,
    random_state: Any = 0,
    raise_on_failure: bool = False,
) -> GradientCheck:
    """`gradient_check` of what a classifier minimises, in all its parameters.

    The point is random, and the objective is the whole one, with its penalties: of a linear
    classifier mean loss + l2 sum(W^2) + l1 sum(|W|), with the subgradient of the last term added
    to that of training, which leaves it to a proximal step; of a network without dropout.

    model : fitted or not; its parameters alone count. X, y : as for `fit`; `rows` of them are
    drawn, and scaled so that the largest feature is 1, which no formula depends on.
    h, coordinates, tolerance, raise_on_failure : as for `gradient_check`. Coordinates are those of
    the parameters one after the other: of a linear classifier a matrix (D + 1, C), the weights
    with the bias as last row; of a network a vector. Needs a device with float64.

    One weight of a linear classifier moves one column of the scores. The differences are then
    those of that column's part in the loss, in a form that is first compared with the objective;
    where the gradient does not agree with them, or there is a kink, the objective itself decides.
    """
    found = check_rows(X, "check_gradients")
    xp = namespace_of(found)
    needs_float64(found)
    classes, codes = check_labels(y, found, "check_gradients")
    generator = host_generator(random_state)
    some = like(generator.permutation(found.shape[0])[:rows], found)
    few = xp.astype(xp.take(found, some, axis=0), xp.float64)
    codes = xp.take(codes, some, axis=0)
    largest = xp.max(xp.abs(few))
    few = few / xp.where(largest > 0, largest, xp.ones_like(largest))
    trial, point = model._trial(X, few, codes, classes.shape[0], generator)
    shapes = [p.shape for p in point]
    linear = isinstance(model, LinearClassifier)

    def together(arrays: Sequence[Array]) -> Array:
        flat = xp.concat([xp.reshape(a, (-1,)) for a in arrays])
        return xp.reshape(flat, (-1, shapes[1][0])) if linear else flat

    def apart(x: Array) -> tuple[Array, ...]:
        flat, arrays, start = xp.reshape(x, (-1,)), [], 0
        for shape in shapes:
            stop = start + math.prod(shape)
            arrays.append(xp.reshape(flat[start:stop], shape))
            start = stop
        return tuple(arrays)

    x = together(point)
    value, gradients = trial(point, True)
    assert gradients is not None
    gradient = together(gradients)
    evaluate = Evaluations(lambda x: trial(apart(x), False)[0], x, center=to_scalar(value))
    changes = None
    if isinstance(model, LinearClassifier) and model.loss in FORMS:
        changes = LinearChanges(model._model(), x, few, codes)
    return compared(
        evaluate,
        gradient,
        h,
        coordinates,
        tolerance,
        generator,
        raise_on_failure,
        changes=changes,
    )
