"""Linear classifiers: scores = X W^T + b, under any loss, with any optimiser."""

from __future__ import annotations

import math
from typing import Any, Self

from xpcls_backends import Array, HostGenerator, like, namespace_of, row_dots

from .base import TensorKind
from .linear_model import (
    LINEAR_LOSSES,
    LinearModel,
    automatic_pace,
    curvature,
    stretched,
    zero_parameters,
)
from .optimizers import Objective, Optimizer, Parameters, Schedule, make_optimizer
from .options import check_choice, check_integer, check_number, shown
from .regularizers import l1
from .trained import Plan, TrainedClassifier


class LinearClassifier(TrainedClassifier):
    """Scores linear in the features, trained by mini-batches; the lecture's SVM and softmax.

    It minimises mean loss + l2 * sum(W^2) + l1 * sum(|W|), without a half; the bias is free.

    Parameters
    ----------
    loss : "softmax"; "hinge" (Weston and Watkins), "squared_hinge", "one_vs_all", "structured"
        (Crammer and Singer).
    delta : the margin of the hinge losses, above 0. It and l2 turn the same dial.
    l2, l1 : strengths of the penalties, 0 or more. L1 is taken as a proximal step, so that
        weights become exactly 0.
    optimizer : "sgd", "momentum", "nesterov", "adam"; "gd" with one step an epoch on all rows;
        "random_search", "random_local_search", which show why gradients are worth having; or an
        object of `xpcls.optimizers`.
    learning_rate : above 0, or "auto", which fits it to the scale of the rows and to l2, and
        gives the bias a rate of its own, so that features may be of any size.
    schedule : "constant", "step", "exponential", "cosine", an object of `xpcls.optimizers`, or a
        function (epoch, epochs) -> factor.
    batch_size : rows a step. replace : draw the rows of a batch with replacement.
    epochs : passes over the rows.
    early_stopping : hold out `validation_fraction` of the rows, stop after `patience` epochs
        without better accuracy on them, and keep the best weights.
    random_state : None, an integer, or a numpy Generator. One integer gives the same mini-batches
        on every device.

    Attributes
    ----------
    coef_ : (C, D) weights, a template a class. intercept_ : (C,). classes_ : (C,).
    history_ : lists with one entry an epoch: loss, train_accuracy, validation_accuracy,
        learning_rate, seconds.
    learning_rate_ : the rate that was used. n_features_in_ : D.

    Weights start at 0 and are float64 for float64 X, else float32. uint8 images are converted a
    mini-batch at a time. Interrupted by Ctrl-C, the classifier is left fitted with what it had
    learnt, and KeyboardInterrupt goes on.
    """

    coef_: Array
    intercept_: Array

    def __init__(
        self,
        loss: str = "softmax",
        *,
        delta: float = 1.0,
        l2: float = 1e-4,
        l1: float = 0.0,
        optimizer: str | Optimizer = "sgd",
        learning_rate: float | str = "auto",
        schedule: str | Schedule = "constant",
        batch_size: int = 256,
        replace: bool = False,
        epochs: int = 50,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        patience: int = 5,
        random_state: Any = None,
    ) -> None:
        self.loss = loss
        self.delta = delta
        self.l2 = l2
        self.l1 = l1
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.batch_size = batch_size
        self.replace = replace
        self.epochs = epochs
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.random_state = random_state

    def absorb(self, scale: float, shift: Array) -> Self:
        """Turn a classifier of x * scale + shift into one of x, with the same scores.

        shift : as many numbers as there are features.

            w . (x * scale + shift) + b  =  (w * scale) . x + (b + w . shift)

        Trained on standardised or centred features, it then takes raw ones; nothing but the
        weights has to be kept. `partial_fit` would go on in the raw features.
        """
        self._check_fitted()
        xp = namespace_of(self.coef_, shift)
        flat = xp.astype(xp.reshape(shift, (-1,)), self.coef_.dtype, copy=False)
        weights, bias = self.coef_.mT * scale, self.intercept_ + self.coef_ @ flat
        self.coef_, self.intercept_ = weights.mT, bias
        self._run = None  # its steps were taken in other features
        return self

    def templates(self, image_shape: tuple[int, ...] | None = None) -> Array:
        """Each class's weights as an image: (C, *image_shape) uint8.

        image_shape : (H, W) or (H, W, channels), whose product is the number of features; None
        for that of the images given to `fit`. Each image is stretched by itself, its smallest
        weight to 0 and its largest to 255.
        """
        self._check_fitted()
        if image_shape is None:
            image_shape = self.image_shape_ or (self.n_features_in_,)
        if not isinstance(image_shape, tuple | list):
            raise TypeError(f"image_shape is {shown(image_shape)}, expected (H, W) or (H, W, C)")
        for length in image_shape:
            check_integer("a length in image_shape", length, at_least=1)
        if math.prod(image_shape) != self.n_features_in_:
            raise ValueError(
                f"image_shape is {image_shape}, which holds {math.prod(image_shape)} values, but "
                f"each class has {self.n_features_in_} weights"
            )
        return stretched(self.coef_, tuple(image_shape))

    def _learnt(self) -> tuple[dict[str, Array], dict[str, Any]]:
        tensors = {"weights": self.coef_.mT, "bias": self.intercept_}  # (D, C) as they are used
        return tensors, {"history": self.history_, "learning_rate": self.learning_rate_}

    def _tensor_kinds(self, n_classes: int) -> dict[str, TensorKind]:
        shapes = {"weights": (self.n_features_in_, n_classes), "bias": (n_classes,)}
        return {name: (("float32", "float64"), shape) for name, shape in shapes.items()}

    def _restore(self, classes: Any, tensors: dict[str, Array], plain: dict[str, Any]) -> None:
        plan = Plan(self._model(), check_number("learning_rate", plain["learning_rate"], above=0))
        self._resume(classes, plan, (tensors["weights"], tensors["bias"]), plain["history"])
        self._run = None  # the pace is found again, on the rows that come next

    def _plan_for(self, X: Any, rows: Array, n_classes: int, weight: Array | None) -> Plan:
        if self.learning_rate != "auto":
            return Plan(self._model(), float(self.learning_rate))
        optimizer, l2 = make_optimizer(self.optimizer), float(self.l2)
        pace = automatic_pace(rows, optimizer, curvature(self.loss, n_classes), l2, weight)
        return Plan(self._model(pace.constant), pace.rate)

    def _start(
        self, plan: Plan, rows: Array, n_classes: int, generator: HostGenerator
    ) -> Parameters:
        return zero_parameters(rows, n_classes)

    def _trial(
        self, X: Any, rows: Array, codes: Array, n_classes: int, generator: HostGenerator
    ) -> tuple[Objective, Parameters]:
        """With the subgradient of L1, which training leaves to a proximal step; the bias is b."""
        model, xp = self._model(), namespace_of(rows)
        length = xp.sqrt(xp.mean(row_dots(rows, rows)) + 1.0)
        drawn = like(generator.standard_normal((rows.shape[1] + 1, n_classes)), rows)
        point = xp.astype(drawn, rows.dtype, copy=False) / length

        def objective(at: Parameters, with_gradient: bool) -> tuple[Array, Parameters | None]:
            value, gradients = model.objective(at, rows, codes, None, with_gradient)
            if gradients is None:
                return value, None
            return value, (gradients[0] + l1(at[0], model.l1)[1], gradients[1])

        return objective, (point[:-1, :], point[-1, :])

    def _parameters_now(self, plan: Plan) -> Parameters:
        return self.coef_.mT, self.intercept_ / plan.model.constant

    def _learn(self, plan: Plan, parameters: Parameters) -> None:
        weights, bias = parameters
        self.coef_, self.intercept_ = weights.mT, plan.model.constant * bias

    def _fitted(self) -> tuple[LinearModel, Parameters]:
        return self._model(), (self.coef_.mT, self.intercept_)

    def _model(self, constant: float = 1.0) -> LinearModel:
        numbers = (float(number) for number in (self.delta, self.l2, self.l1, constant))
        return LinearModel(self.loss, *numbers)

    def _check_options(self) -> None:
        check_choice("loss", self.loss, LINEAR_LOSSES)
        check_number("delta", self.delta, above=0)
        check_number("l2", self.l2, at_least=0)
        check_number("l1", self.l1, at_least=0)
        super()._check_options()
