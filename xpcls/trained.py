"""Classifiers that are trained by steps: what linear ones and networks share."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

from xpcls_backends import (
    Array,
    HostGenerator,
    flatnonzero,
    host_generator,
    ignore_overflow,
    like,
    namespace_of,
    row_blocks,
    rows_within,
    scratch_bytes,
    to_host,
    to_scalar,
)

from ._sklearn import WeightedFit
from .base import Classifier
from .losses import probabilities
from .optimizers import (
    Constant,
    Objective,
    Optimizer,
    Parameters,
    Schedule,
    make_optimizer,
    make_schedule,
)
from .options import check_flag, check_integer, check_number, shown
from .training import Run, Settings, hold_out, start_run, take_rows, train
from .validation import (
    check_classes,
    check_codes,
    check_labels,
    check_weights,
    finite_where_rows_are,
    refuse_not_finite,
)


@dataclass(frozen=True)
class Plan:
    """What is trained and how fast: a `training.Model`, and the learning rate."""

    model: Any
    rate: float


class TrainedClassifier(WeightedFit, Classifier):
    """Base of the classifiers that mini-batches train.

    A subclass has the parameters that are named below, and says by `_plan_for` what it trains
    on given rows, by `_start` where from, and by `_learn` what becomes of the parameters found.
    """

    loss: str
    optimizer: str | Optimizer
    learning_rate: float | str
    schedule: str | Schedule
    batch_size: int
    replace: bool
    epochs: int
    early_stopping: bool
    validation_fraction: float
    patience: int
    random_state: Any

    history_: dict[str, list[float]]
    learning_rate_: float
    _run: Run | None  # where training stands; None where the parameters were changed since
    _plan: Plan
    _generator: HostGenerator
    _optimizer: Optimizer  # of the run, whatever is set since

    def _plan_for(self, X: Any, rows: Array, n_classes: int, weight: Array | None) -> Plan:
        """The model for these rows, and the rate at which it is to learn from them.

        X : what the rows were made of. Where there is a model already, it goes on.
        """
        raise NotImplementedError

    def _start(
        self, plan: Plan, rows: Array, n_classes: int, generator: HostGenerator
    ) -> Parameters:
        """Parameters to begin with."""
        raise NotImplementedError

    def _parameters_now(self, plan: Plan) -> Parameters:
        """The parameters of a fitted classifier, as `plan.model` takes them."""
        raise NotImplementedError

    def _learn(self, plan: Plan, parameters: Parameters) -> None:
        """Set the attributes that hold what was learnt."""
        raise NotImplementedError

    def _fitted(self) -> tuple[Any, Parameters]:
        """The model and the parameters that predict."""
        raise NotImplementedError

    def _any_learnt(self) -> Array:
        return self._fitted()[1][0]

    def _trial(
        self, X: Any, rows: Array, codes: Array, n_classes: int, generator: HostGenerator
    ) -> tuple[Objective, Parameters]:
        """What is minimised on these rows, nothing of it random, and a random point for a check.

        X : what the rows were made of. Only the parameters of the classifier count, not what it
        has learnt.
        """
        fresh: TrainedClassifier = type(self)(**self.get_params())
        plan = fresh._plan_for(X, rows, n_classes, None)
        point = []
        for array in fresh._start(plan, rows, n_classes, generator):
            noise = like(generator.standard_normal(array.shape), array)
            inputs = math.prod(array.shape) // array.shape[-1]
            noise = namespace_of(array).astype(noise, array.dtype, copy=False)
            point.append(array + noise / math.sqrt(inputs))

        def objective(at: Parameters, with_gradient: bool) -> tuple[Array, Parameters | None]:
            found: tuple[Array, Parameters | None] = plan.model.objective(
                at, rows, codes, None, with_gradient
            )
            return found

        return objective, tuple(point)

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Learn from rows.

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
        plan = self._plan_for(X, rows, classes.shape[0], weight)
        settings = self._settings(plan, self.epochs, make_schedule(self.schedule))
        run = start_run(self._start(plan, rows, classes.shape[0], generator), settings)
        self._train(run, settings, plan, rows, codes, weight, generator, validation)
        self._learn_columns(X, rows)
        self._adopt(run, classes, plan, generator)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """One more epoch, on these rows, from the parameters as they are.

        classes : all labels that will ever come; needed at the first call. The learning rate is
        that of the first call; the schedule and early stopping play no part. A call that raises
        leaves the classifier as it was.
        """
        fitted = hasattr(self, "classes_")
        rows = self._check_query(X) if fitted else self._check_training_rows(X)
        self._check_options()
        weight = check_weights(sample_weight, rows)
        known = self._known_classes(classes, rows)
        codes = check_codes(y, known, rows, type(self).__name__)
        if weight is not None:
            rows, codes, weight = take_rows(flatnonzero(weight > 0), rows, codes, weight)
        generator = self._generator if fitted else host_generator(self.random_state)
        before = generator.bit_generator.state
        try:
            plan, run = self._go_on(X, rows, known.shape[0], weight, generator)
            settings = self._settings(plan, 1, Constant())
            self._train(run, settings, plan, rows, codes, weight, generator, None)
        except Exception:
            generator.bit_generator.state = before
            raise
        if not fitted:
            self._learn_columns(X, rows)
        self._adopt(run, known, plan, generator)
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

    def _go_on(
        self, X: Any, rows: Array, n_classes: int, weight: Array | None, generator: HostGenerator
    ) -> tuple[Plan, Run]:
        """The plan, and a copy of the run so far, from which partial_fit takes its steps.

        Steps start afresh from the parameters as they are where there is no run of these very
        parameters, and where the optimiser is another one.
        """
        old: Run | None = getattr(self, "_run", None)
        optimizer = make_optimizer(self.optimizer)
        if old is not None and optimizer == self._optimizer:
            history = {name: list(values) for name, values in old.history.items()}
            run = replace(old, history=history)
            if not optimizer.uses_gradient:  # the best loss so far is a loss on other rows
                run.state = optimizer.start(run.parameters)
            return self._plan, run
        plan = self._plan_for(X, rows, n_classes, weight)
        settings = self._settings(plan, 1, Constant())
        if not hasattr(self, "classes_"):
            return plan, start_run(self._start(plan, rows, n_classes, generator), settings)
        run = start_run(self._parameters_now(plan), settings)
        run.history = {name: list(values) for name, values in self.history_.items()}
        return plan, run

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

    def _class_positions(self, X: Any) -> Array:
        scores = self._scores(X)
        return namespace_of(scores).argmax(scores, axis=1)

    def _scores(self, X: Any) -> Array:
        self._check_fitted()
        rows = self._check_query(X, look=False)
        model, parameters = self._fitted()
        xp = namespace_of(rows)
        size = rows_within(scratch_bytes(xp), 16 * rows.shape[1])
        blocks = row_blocks(rows.shape[0], size)
        with ignore_overflow():
            found = [model.scores(parameters, rows[block, :]) for block in blocks]
            scores = found[0] if len(found) == 1 else xp.concat(found, axis=0)
            # Whether the rows are finite and whether the scores are: read at once.
            total, of_rows = xp.sum(scores, dtype=scores.dtype), finite_where_rows_are(rows)
            finite = math.isfinite(to_scalar(total if of_rows is None else total + of_rows))
        if finite:
            return scores
        refuse_not_finite(rows, "X")
        if not to_scalar(xp.all(xp.isfinite(scores))):
            raise ValueError(
                f"X holds values too large for weights of {parameters[0].dtype}: a score "
                "overflows; scale X as the rows of fit were"
            )
        return scores

    def _train(
        self,
        run: Run,
        settings: Settings,
        plan: Plan,
        rows: Array,
        codes: Array,
        weight: Array | None,
        generator: HostGenerator,
        validation: tuple[Array, Array] | None,
    ) -> None:
        xp = namespace_of(rows)
        if weight is not None:
            weight = weight / xp.mean(weight)
        train(
            plan.model,
            run,
            rows,
            codes,
            settings,
            generator,
            sample_weight=weight,
            validation=validation,
            after_step=plan.model.after_step,
        )

    def _adopt(self, run: Run, classes: Any, plan: Plan, generator: HostGenerator) -> None:
        """Make what a run has learnt this classifier's own; then let an interruption go on."""
        self._learn(plan, run.parameters)
        self.history_, self.learning_rate_ = run.history, plan.rate
        self._run, self._generator, self._plan = run, generator, plan
        self._optimizer = make_optimizer(self.optimizer)
        self.classes_ = classes
        if run.interrupted:
            run.interrupted = False
            raise KeyboardInterrupt

    def _resume(
        self, classes: Any, plan: Plan, parameters: Parameters, history: dict[str, list[float]]
    ) -> None:
        """Be fitted with parameters from a file.

        The optimiser's running means, and the stream of random numbers, start afresh.
        """
        run = start_run(parameters, self._settings(plan, 1, Constant()))
        for name, values in run.history.items():
            values.extend(check_number(name, value) for value in history.get(name, ()))
        self._adopt(run, classes, plan, host_generator(self.random_state))

    def _settings(self, plan: Plan, epochs: int, schedule: Schedule) -> Settings:
        return Settings(
            optimizer=make_optimizer(self.optimizer),
            schedule=schedule,
            learning_rate=plan.rate,
            epochs=epochs,
            batch_size=self.batch_size,
            replace=self.replace,
            patience=self.patience if self.early_stopping else None,
        )

    def _check_options(self) -> None:
        """Raise for a hyper-parameter that cannot be, before anything is learnt."""
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
