"""Linear classifiers: scores = X W^T + b, under any loss, with any optimiser."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self

from xpcls_backends import (
    Array,
    HostGenerator,
    flatnonzero,
    host_generator,
    ignore_overflow,
    namespace_of,
    row_blocks,
    rows_within,
    scratch_bytes,
    to_host,
    to_scalar,
)

from ._sklearn import WeightedFit
from .base import Classifier, TensorKind
from .linear_model import (
    LINEAR_LOSSES,
    LinearModel,
    Pace,
    automatic_pace,
    curvature,
    stretched,
    zero_parameters,
)
from .losses import probabilities
from .optimizers import Constant, Optimizer, Schedule, make_optimizer, make_schedule
from .training import Run, Settings, hold_out, start_run, take_rows, train
from .validation import (
    check_choice,
    check_classes,
    check_codes,
    check_flag,
    check_integer,
    check_labels,
    check_number,
    check_weights,
    shown,
)


class LinearClassifier(WeightedFit, Classifier):
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
    _run: Run | None  # where training stands; None where the weights were changed since

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
        rows = self._check_training_rows(X)
        self._check_options()
        weight = check_weights(sample_weight, rows)
        classes, codes = check_labels(y, rows, type(self).__name__, weight)
        if weight is not None:
            rows, weight = take_rows(flatnonzero(weight > 0), rows, weight)
        generator = host_generator(self.random_state)
        validation = None
        if self.early_stopping:
            held_out, rest = hold_out(rows, self.validation_fraction, generator)
            validation = take_rows(held_out, rows, codes)
            rows, codes, weight = take_rows(rest, rows, codes, weight)
        pace = self._find_pace(rows, classes.shape[0], weight)
        settings = self._settings(pace.rate, self.epochs, make_schedule(self.schedule))
        run = start_run(zero_parameters(rows, classes.shape[0]), settings)
        self._train(run, settings, pace, rows, codes, weight, generator, validation)
        self._learn_columns(X, rows)
        self._adopt(run, classes, pace, generator)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """One more epoch, on these rows, from the weights as they are.

        classes : all labels that will ever come; needed at the first call. The learning rate is
        that of the first call; the schedule and early stopping play no part. A call that raises
        leaves the classifier as it was.
        """
        fitted = hasattr(self, "classes_")
        rows = self._check_query(X, self.coef_) if fitted else self._check_training_rows(X)
        self._check_options()
        weight = check_weights(sample_weight, rows)
        known = self._known_classes(classes, rows)
        codes = check_codes(y, known, rows, type(self).__name__)
        if weight is not None:
            rows, codes, weight = take_rows(flatnonzero(weight > 0), rows, codes, weight)
        generator = self._generator if fitted else host_generator(self.random_state)
        pace, run = self._go_on(rows, known, weight)
        settings = self._settings(pace.rate, 1, Constant())
        before = generator.bit_generator.state
        try:
            self._train(run, settings, pace, rows, codes, weight, generator, None)
        except Exception:
            generator.bit_generator.state = before
            raise
        if not fitted:
            self._learn_columns(X, rows)
        self._adopt(run, known, pace, generator)
        return self

    def _known_classes(self, classes: Any, rows: Array) -> Any:
        """The classes of fit, or at the first call of partial_fit those that it was given."""
        if not hasattr(self, "classes_"):
            return check_classes(classes, rows)
        if classes is not None:
            given = to_host(check_classes(classes, rows)).tolist()
            if given != to_host(self.classes_).tolist():
                raise ValueError(
                    f"classes is {shown(given)}, but this classifier was fitted with "
                    f"{shown(to_host(self.classes_).tolist())}"
                )
        return self.classes_

    def _go_on(self, rows: Array, classes: Any, weight: Array | None) -> tuple[Pace, Run]:
        """The pace, and a copy of the run so far, from which partial_fit takes its steps.

        Steps start afresh from the weights as they are where there is no run of these very
        weights, since a file or `absorb` brought them, and where the optimiser is another one.
        """
        old: Run | None = getattr(self, "_run", None)
        optimizer = make_optimizer(self.optimizer)
        if old is not None and optimizer == self._optimizer:
            history = {name: list(values) for name, values in old.history.items()}
            run = replace(old, history=history)
            if not optimizer.uses_gradient:  # the best loss so far is a loss on other rows
                run.state = optimizer.start(run.parameters)
            return self._pace, run
        pace = self._find_pace(rows, classes.shape[0], weight)
        settings = self._settings(pace.rate, 1, Constant())
        if not hasattr(self, "classes_"):
            return pace, start_run(zero_parameters(rows, classes.shape[0]), settings)
        run = start_run((self.coef_.mT, self.intercept_ / pace.constant), settings)
        run.history = {name: list(values) for name, values in self.history_.items()}
        return pace, run

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
        with ignore_overflow():
            found = [self._model().scores(parameters, rows[block, :]) for block in blocks]
            scores = xp.concat(found, axis=0)
            finite = math.isfinite(to_scalar(xp.sum(scores * 0.0)))
        if not finite:
            raise ValueError(
                f"X holds values too large for weights of {self.coef_.dtype}: a score overflows; "
                "scale X as the rows of fit were"
            )
        return scores

    def _train(
        self,
        run: Run,
        settings: Settings,
        pace: Pace,
        rows: Array,
        codes: Array,
        weight: Array | None,
        generator: HostGenerator,
        validation: tuple[Array, Array] | None,
    ) -> None:
        model = self._model(pace.constant)
        xp = namespace_of(rows)
        if weight is not None:
            weight = weight / xp.mean(weight)
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

    def _adopt(self, run: Run, classes: Any, pace: Pace, generator: HostGenerator) -> None:
        """Make what a run has learnt this classifier's own; then let an interruption go on."""
        weights, bias = run.parameters
        self.coef_, self.intercept_ = weights.mT, pace.constant * bias
        self.history_, self.learning_rate_ = run.history, pace.rate
        self._run, self._generator, self._pace = run, generator, pace
        self._optimizer = make_optimizer(self.optimizer)
        self.classes_ = classes
        if run.interrupted:
            run.interrupted = False
            raise KeyboardInterrupt

    def _learnt(self) -> tuple[dict[str, Array], dict[str, Any]]:
        tensors = {"weights": self.coef_.mT, "bias": self.intercept_}  # (D, C) as they are used
        return tensors, {"history": self.history_, "learning_rate": self.learning_rate_}

    def _tensor_kinds(self, n_classes: int) -> dict[str, TensorKind]:
        shapes = {"weights": (self.n_features_in_, n_classes), "bias": (n_classes,)}
        return {name: (("float32", "float64"), shape) for name, shape in shapes.items()}

    def _restore(self, classes: Any, tensors: dict[str, Array], plain: dict[str, Any]) -> None:
        """The optimiser's running means, and the stream of random numbers, start afresh."""
        rate = check_number("learning_rate", plain["learning_rate"], above=0)
        run = start_run((tensors["weights"], tensors["bias"]), self._settings(rate, 1, Constant()))
        for name, values in run.history.items():
            values.extend(check_number(name, value) for value in plain["history"].get(name, ()))
        self._adopt(run, classes, Pace(rate), host_generator(self.random_state))
        self._run = None  # the pace is found again, on the rows that come next

    def _model(self, constant: float = 1.0) -> LinearModel:
        numbers = (float(number) for number in (self.delta, self.l2, self.l1, constant))
        return LinearModel(self.loss, *numbers)

    def _find_pace(self, rows: Array, n_classes: int, weight: Array | None) -> Pace:
        if self.learning_rate != "auto":
            return Pace(float(self.learning_rate))
        optimizer, l2 = make_optimizer(self.optimizer), float(self.l2)
        return automatic_pace(rows, optimizer, curvature(self.loss, n_classes), l2, weight)

    def _settings(self, rate: float, epochs: int, schedule: Schedule) -> Settings:
        return Settings(
            optimizer=make_optimizer(self.optimizer),
            schedule=schedule,
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
        if not isinstance(self.learning_rate, str):
            check_number("learning_rate", self.learning_rate, above=0)
        elif self.learning_rate != "auto":
            raise ValueError(
                f"learning_rate is {shown(self.learning_rate)}, expected 'auto' or a number above 0"
            )
        check_integer("batch_size", self.batch_size, at_least=1)
        check_integer("epochs", self.epochs, at_least=1)
        check_flag("replace", self.replace)
        check_flag("early_stopping", self.early_stopping)
        check_number("validation_fraction", self.validation_fraction, above=0, below=1)
        check_integer("patience", self.patience, at_least=1)
