"""Linear classifiers: scores = X W^T + b, under any loss, with any optimiser."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from xpcls_backends import (
    Array,
    HostGenerator,
    device_of,
    flatnonzero,
    host_generator,
    namespace_of,
    row_blocks,
    rows_within,
    scratch_bytes,
)

from ._sklearn import UNCHANGED
from .base import Classifier, TensorKind
from .losses import LOSSES, MARGIN_LOSSES, probabilities
from .optimizers import (
    Optimizer,
    Parameters,
    Schedule,
    automatic_learning_rate,
    float_dtype,
    make_optimizer,
    make_schedule,
)
from .regularizers import elastic_net, shrink
from .training import Run, Settings, hold_out, start_run, take_rows, train
from .validation import (
    check_choice,
    check_classes,
    check_codes,
    check_integer,
    check_labels,
    check_number,
    check_rows,
    check_weights,
)

LINEAR_LOSSES = (*MARGIN_LOSSES, "softmax")


@dataclass(frozen=True)
class LinearModel:
    """The function that is trained: parameters are weights (D, C) and bias (C,)."""

    loss: str
    delta: float
    l2: float
    l1: float

    def scores(self, parameters: Parameters, X: Array) -> Array:
        """X W + b, (N, C); X (N, D) of any real dtype."""
        weights, bias = parameters
        return _float_rows(X, weights) @ weights + bias

    def objective(
        self,
        parameters: Parameters,
        X: Array,
        y: Array,
        sample_weight: Array | None,
        with_gradient: bool,
    ) -> tuple[Array, Parameters | None]:
        """Mean loss plus l2 sum(W^2) plus l1 sum(|W|), and the gradient without its l1 part.

        L1 is left to `after_step`, which can make weights exactly 0.
        """
        weights, bias = parameters
        xp = namespace_of(weights)
        rows = _float_rows(X, weights)
        options = {"delta": self.delta} if self.loss in MARGIN_LOSSES else {}
        value, of_scores = LOSSES[self.loss](
            rows @ weights + bias, y, sample_weight=sample_weight, validate=False, **options
        )
        penalty, _ = elastic_net(weights, self.l2, self.l1)
        if not with_gradient:
            return value + penalty, None
        of_weights = rows.mT @ of_scores
        if self.l2:
            of_weights = of_weights + (2.0 * self.l2) * weights
        return value + penalty, (of_weights, xp.sum(of_scores, axis=0))

    def after_step(self, parameters: Parameters, rate: float) -> Parameters:
        """The proximal step of L1."""
        weights, bias = parameters
        return (shrink(weights, rate * self.l1) if self.l1 else weights), bias


class LinearClassifier(Classifier):
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
    learning_rate : above 0, or "auto": see `automatic_learning_rate`.
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

    _takes_sample_weight = True
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

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Learn weights from rows.

        X : rows (N, D) or images (N, H, W, C) of any backend, a list, or a data frame; finite.
        y : (N,) integers, whole floats or text, of at least two classes.
        sample_weight : (N,) weights of 0 or more, or None; a weight of 0 leaves the row out.

        Raises DivergenceError where the loss stops being finite.
        """
        owner = type(self).__name__
        rows = check_rows(X, owner)
        self._check_options()
        weight = check_weights(sample_weight, rows)
        classes, codes = check_labels(y, rows, owner, weight)
        if weight is not None:
            rows, weight = take_rows(flatnonzero(weight > 0), rows, weight)
        generator = host_generator(self.random_state)
        validation = None
        if self.early_stopping:
            held_out, rest = hold_out(rows, self.validation_fraction, generator)
            validation = take_rows(held_out, rows, codes)
            rows, codes, weight = take_rows(rest, rows, codes, weight)
        rate = self._rate(rows, classes.shape[0], weight)
        settings = self._settings(rate, self.epochs)
        run = start_run(_zero_parameters(rows, classes.shape[0]), settings)
        self._train(run, settings, rows, codes, weight, generator, validation)
        self._learn_columns(X, rows)
        self._adopt(run, classes, rate, generator)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """One more epoch, on these rows, from the weights as they are.

        classes : all labels that will ever come; needed at the first call. The learning rate is
        that of the first call; the schedule and early stopping play no part.
        """
        fitted = hasattr(self, "classes_")
        rows = self._check_query(X, self.coef_) if fitted else check_rows(X, type(self).__name__)
        self._check_options()
        weight = check_weights(sample_weight, rows)
        known = self.classes_ if fitted else check_classes(classes, rows)
        codes = check_codes(y, known, rows)
        rate = self.learning_rate_ if fitted else self._rate(rows, known.shape[0], weight)
        generator = self._generator if fitted else host_generator(self.random_state)
        settings = self._settings(rate, epochs=1)
        run = self._run if fitted else start_run(_zero_parameters(rows, known.shape[0]), settings)
        self._train(run, settings, rows, codes, weight, generator, None)
        if not fitted:
            self._learn_columns(X, rows)
        self._adopt(run, known, rate, generator)
        return self

    def decision_function(self, X: Any) -> Array:
        """Scores of each class: (N, C), or of two classes (N,), the second's minus the first's."""
        scores = self._scores(X)
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores

    @property
    def predict_proba(self) -> Callable[[Any], Array]:
        """Probabilities of each class, (N, C): softmax of the scores. For the softmax loss only."""
        if self.loss != "softmax":
            raise AttributeError(
                f"predict_proba needs loss='softmax', and this one has loss={self.loss!r}, whose "
                "scores are no log probabilities; use decision_function"
            )
        return self._probabilities

    def _probabilities(self, X: Any) -> Array:
        return probabilities(self._scores(X))

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
        self._run = None
        return self

    def templates(self, image_shape: tuple[int, ...] | None = None) -> Array:
        """Each class's weights as an image: (C, *image_shape) uint8.

        image_shape : (H, W) or (H, W, channels), whose product is the number of features; None
        for that of the images given to `fit`. Each image is stretched by itself, its smallest
        weight to 0 and its largest to 255.
        """
        self._check_fitted()
        image_shape = image_shape or self.image_shape_ or (self.n_features_in_,)
        if math.prod(image_shape) != self.n_features_in_:
            raise ValueError(
                f"image_shape is {image_shape}, which holds {math.prod(image_shape)} values, but "
                f"each class has {self.n_features_in_} weights"
            )
        xp = namespace_of(self.coef_)
        low = xp.min(self.coef_, axis=1, keepdims=True)
        span = xp.max(self.coef_, axis=1, keepdims=True) - low
        span = xp.where(span > 0, span, xp.ones_like(span))
        stretched = xp.round((self.coef_ - low) / span * 255.0)
        return xp.reshape(xp.astype(stretched, xp.uint8), (-1, *image_shape))

    def set_fit_request(self, *, sample_weight: Any = UNCHANGED) -> Any:
        """Whether scikit-learn's pipelines and searches hand `sample_weight` to `fit`."""
        return self._request("fit", sample_weight)

    def set_partial_fit_request(self, *, sample_weight: Any = UNCHANGED) -> Any:
        """Whether scikit-learn's pipelines and searches hand `sample_weight` to `partial_fit`."""
        return self._request("partial_fit", sample_weight)

    def _class_positions(self, X: Any) -> Array:
        scores = self._scores(X)
        return namespace_of(scores).argmax(scores, axis=1)

    def _scores(self, X: Any) -> Array:
        self._check_fitted()
        rows = self._check_query(X, self.coef_)
        xp = namespace_of(rows)
        parameters = (self.coef_.mT, self.intercept_)
        size = rows_within(scratch_bytes(xp), 16 * rows.shape[1])
        blocks = row_blocks(rows.shape[0], size)
        scores = [self._model().scores(parameters, rows[block, :]) for block in blocks]
        return xp.concat(scores, axis=0)

    def _train(
        self,
        run: Run,
        settings: Settings,
        rows: Array,
        codes: Array,
        weight: Array | None,
        generator: HostGenerator,
        validation: tuple[Array, Array] | None,
    ) -> None:
        model = self._model()
        train(
            model,
            run,
            rows,
            codes,
            settings,
            generator,
            sample_weight=weight,
            validation=validation,
            after_step=model.after_step,
        )

    def _adopt(self, run: Run, classes: Any, rate: float, generator: HostGenerator) -> None:
        """Make what a run has learnt this classifier's own; then let an interruption go on."""
        weights, bias = run.parameters
        self.coef_, self.intercept_ = weights.mT, bias
        self.history_, self.learning_rate_ = run.history, rate
        self._run, self._generator = run, generator
        self.classes_ = classes
        if run.interrupted:
            run.interrupted = False
            raise KeyboardInterrupt

    def _learnt(self) -> tuple[dict[str, Array], dict[str, Any]]:
        tensors = {"weights": self.coef_.mT, "bias": self.intercept_}  # (D, C) as they are used
        return tensors, {"history": self.history_, "learning_rate": self.learning_rate_}

    def _tensor_kinds(self, n_classes: int) -> dict[str, TensorKind]:
        floating = ("float32", "float64")
        return {
            "weights": (floating, (self.n_features_in_, n_classes)),
            "bias": (floating, (n_classes,)),
        }

    def _restore(self, classes: Any, tensors: dict[str, Array], plain: dict[str, Any]) -> None:
        """The optimiser's running means, and the stream of random numbers, start afresh."""
        self._check_options()
        rate = check_number("learning_rate", plain["learning_rate"], above=0)
        run = start_run((tensors["weights"], tensors["bias"]), self._settings(rate, self.epochs))
        for name, values in run.history.items():
            values.extend(check_number(name, value) for value in plain["history"].get(name, ()))
        self._adopt(run, classes, rate, host_generator(self.random_state))

    def _model(self) -> LinearModel:
        return LinearModel(self.loss, float(self.delta), float(self.l2), float(self.l1))

    def _rate(self, rows: Array, n_classes: int, weight: Array | None) -> float:
        if self.learning_rate == "auto":
            # Softmax's is at most 1/2, and the kinked losses do well with it. The square of a
            # margin has 2, and n_classes - 1 of them pull at the true class together.
            curvature = float(n_classes) if self.loss == "squared_hinge" else 0.5
            optimizer = make_optimizer(self.optimizer)
            return automatic_learning_rate(rows, optimizer, curvature, weight)
        return float(self.learning_rate)

    def _settings(self, rate: float, epochs: int) -> Settings:
        return Settings(
            optimizer=make_optimizer(self.optimizer),
            schedule=make_schedule(self.schedule),
            learning_rate=rate,
            epochs=epochs,
            batch_size=self.batch_size,
            replace=self.replace,
            patience=self.patience if self.early_stopping else None,
        )

    def _check_options(self) -> None:
        """Raise for a hyper-parameter that cannot be, before anything is learnt."""
        check_choice("loss", self.loss, LINEAR_LOSSES)
        check_number("delta", self.delta, above=0)
        check_number("l2", self.l2, at_least=0)
        check_number("l1", self.l1, at_least=0)
        make_optimizer(self.optimizer)
        make_schedule(self.schedule)
        if self.learning_rate != "auto":
            check_number("learning_rate", self.learning_rate, above=0)
        check_integer("batch_size", self.batch_size, at_least=1)
        check_integer("epochs", self.epochs, at_least=1)
        if self.early_stopping:
            check_number("validation_fraction", self.validation_fraction, above=0, below=1)
            check_integer("patience", self.patience, at_least=1)


def _float_rows(X: Array, weights: Array) -> Array:
    """X in the dtype of the weights."""
    return namespace_of(X).astype(X, weights.dtype, copy=False)


def _zero_parameters(X: Array, n_classes: int) -> Parameters:
    """Zero weights are as good a start as any for a linear model, and its loss there is known."""
    xp, device = namespace_of(X), device_of(X)
    dtype = float_dtype(X)
    return (
        xp.zeros((X.shape[1], n_classes), dtype=dtype, device=device),
        xp.zeros((n_classes,), dtype=dtype, device=device),
    )
