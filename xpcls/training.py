"""The one training loop: mini-batches, schedule, history, early stopping, interruption.

A model is anything with two functions of its parameters, a tuple of arrays:

    scores(parameters, X) -> (N, C)
    objective(parameters, X, y, sample_weight, with_gradient) -> (loss, gradients or None)

A model that says `gathers` is given all rows as X, and one argument more: where in X the rows of
the mini-batch stand, if it is not all of them. One may leave L2 penalties to the optimiser's step:

    unpenalised(parameters, X, y, sample_weight, seed) -> (loss, gradients of seed times the loss)
    l2_strengths : for each parameter the factor of sum(parameter^2) that this leaves out

One that has `descend` may take several steps of an optimiser at once, `after_step` among them:

    descend(optimizer, parameters, state, (X, y, sample_weight), order, batch_size, rate)
        -> (parameters, state, losses), or None where it is to go step by step

The order of rows is drawn on the host, so that one seed gives the same mini-batches on every
device. Losses stay on the device and are read in one piece, every so often.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from xpcls_backends import (
    Array,
    HostGenerator,
    gather,
    hot_loop,
    ignore_overflow,
    like,
    namespace_of,
    row_blocks,
    to_host,
    to_scalar,
)

from .optimizers import Optimizer, Parameters, Schedule
from .progress import advance

History = dict[str, list[float]]

HISTORY = ("loss", "train_accuracy", "validation_accuracy", "learning_rate", "seconds")
READ_EVERY = 100  # steps between two looks at the losses
ADVICE = "try a smaller learning_rate, or features scaled to about 1"
ACCURACY_ROWS = (500, 2000)  # training accuracy is that of n / 8 rows, at least and at most these


class DivergenceError(ArithmeticError):
    """The loss stopped being finite; says at which step and learning rate."""


class Model(Protocol):
    """What can be trained."""

    def scores(self, parameters: Parameters, X: Array) -> Array: ...

    def objective(
        self,
        parameters: Parameters,
        X: Array,
        y: Array,
        sample_weight: Array | None,
        with_gradient: bool,
    ) -> tuple[Array, Parameters | None]: ...


@dataclass(frozen=True)
class Settings:
    """How to train. `patience`: epochs without a better validation accuracy before stopping.

    augment(batch, generator) : changes the rows of each mini-batch, at random, before they are
        learnt from; accuracies are those on the rows as they are.
    noisy : the model draws masks, as dropout does: each step draws a key, and the model's
        `objective` is given it as one more argument.
    """

    optimizer: Optimizer
    schedule: Schedule
    learning_rate: float
    epochs: int
    batch_size: int = 256
    replace: bool = False
    patience: int | None = None
    augment: Callable[[Array, HostGenerator], Array] | None = None
    noisy: bool = False


@dataclass
class Run:
    """Where a training run stands; handed back to `train`, it goes on."""

    parameters: Parameters
    state: Any
    history: History = field(default_factory=lambda: {name: [] for name in HISTORY})
    step: int = 0
    interrupted: bool = False


def start_run(parameters: Parameters, settings: Settings) -> Run:
    """A run that has not taken a step."""
    return Run(parameters, settings.optimizer.start(parameters))


@hot_loop()
def train(
    model: Model,
    run: Run,
    X: Array,
    y: Array,
    settings: Settings,
    generator: HostGenerator,
    *,
    sample_weight: Array | None = None,
    validation: tuple[Array, Array] | None = None,
    after_step: Callable[[Parameters, float], Parameters] | None = None,
) -> Run:
    """Train for `settings.epochs` epochs and return where the run stands.

    X : (N, ...) rows; y : (N,) classes, int64; sample_weight : (N,) or None.
    validation : (X, y) whose accuracy is recorded after each epoch, and by which `patience` stops;
        the best parameters by it are then kept.
    after_step(parameters, rate) : a projection or proximal step after each gradient step.

    history: one entry an epoch: the mean loss over its steps, accuracy on training rows (the
    first eighth of them, but 500 to 2,000) and on the validation rows, the learning rate, and
    seconds since the start.

    Ctrl-C ends the run with what the last finished step left, or the last of READ_EVERY steps that
    a model takes at once, `interrupted` set.
    Raises DivergenceError, naming step and learning rate, where a loss is not finite.
    """
    began = time.perf_counter()
    best = _Best(run.parameters)
    fewest, most = ACCURACY_ROWS
    looked_at = min(most, max(fewest, X.shape[0] // 8))
    try:
        for epoch in range(settings.epochs):
            rate = settings.learning_rate * settings.schedule(epoch, settings.epochs)
            loss = _epoch(model, run, (X, y, sample_weight), settings, rate, generator, after_step)
            with ignore_overflow():  # weights that diverge do so here first; see `_epoch`
                accuracies = {
                    "train_accuracy": accuracy(model, run.parameters, X, y, looked_at),
                }
                if validation is not None:
                    right = accuracy(model, run.parameters, *validation)
                    accuracies["validation_accuracy"] = right
            record = {"loss": loss, **accuracies, "learning_rate": rate}
            record["seconds"] = time.perf_counter() - began
            for name, value in record.items():
                run.history[name].append(value)
            advance("training", epoch + 1, settings.epochs, loss=loss, **accuracies)
            if settings.patience is not None and validation is not None:
                best.see(run.parameters, accuracies["validation_accuracy"])
                if best.epochs_since >= settings.patience:
                    break
    except KeyboardInterrupt:
        run.interrupted = True
    if best.accuracy is not None:
        run.parameters = best.parameters
    _check_last_step(run, settings)
    return run


def _check_last_step(run: Run, settings: Settings) -> None:
    """The losses tell of every step but the last, after which none was computed."""
    xp = namespace_of(*run.parameters)
    with ignore_overflow():
        total = to_scalar(xp.sum(xp.stack([xp.sum(p * 0.0) for p in run.parameters])))
    if not math.isfinite(total):
        raise DivergenceError(
            f"the parameters are not finite after step {run.step} with a learning rate of "
            f"{settings.learning_rate:g}; {ADVICE}"
        )


def _epoch(
    model: Model,
    run: Run,
    data: tuple[Array, Array, Array | None],
    settings: Settings,
    rate: float,
    generator: HostGenerator,
    after_step: Callable[[Parameters, float], Parameters] | None,
) -> float:
    """One pass over the rows; the mean loss of its steps."""
    first, total = run.step, 0.0
    at_once = getattr(model, "descend", None)
    if settings.augment is not None or after_step not in (None, getattr(model, "after_step", None)):
        at_once = None
    for order in _orders(data[0], settings, generator):
        found = None
        if at_once is not None and order is not None:
            given = (run.parameters, run.state, data, order, settings.batch_size, rate)
            found = at_once(settings.optimizer, *given)
        if found is None:
            losses = _steps(model, run, data, order, settings, rate, generator, after_step)
        else:
            run.parameters, run.state, losses = found
            run.step += losses.shape[0]
        total += _read_losses(losses, run.step, rate)
    return total / (run.step - first)


def _steps(
    model: Model,
    run: Run,
    data: tuple[Array, Array, Array | None],
    order: Array | None,
    settings: Settings,
    rate: float,
    generator: HostGenerator,
    after_step: Callable[[Parameters, float], Parameters] | None,
) -> Array:
    """Steps over the mini-batches of these positions, or one on all rows; the loss of each."""
    X, y, sample_weight = data
    optimizer, values = settings.optimizer, []
    squares: dict[float, list[Array]] = {}
    gathers = getattr(model, "gathers", False) and settings.augment is None
    apart = hasattr(model, "unpenalised")
    blocks = [None] if order is None else row_blocks(order.shape[0], settings.batch_size)
    for block in blocks:
        batch, classes, batch_weight = X, y, sample_weight
        more: tuple[Any, ...] = ()
        if order is not None:
            rows = order[block]
            batch, classes = X if gathers else gather(X, rows), gather(y, rows)
            if sample_weight is not None:
                batch_weight = gather(sample_weight, rows)
            more = (rows,) if gathers else ()
        if settings.augment is not None:
            batch = settings.augment(batch, generator)
        if settings.noisy:
            more = (int(generator.integers(2**63)), *more)
        given = (model, batch, classes, batch_weight, more)
        objective = _ApartObjective(*given, squares) if apart else _Objective(*given)
        with ignore_overflow():  # a loss that is not finite is caught when losses are read, by name
            parameters, state, value = optimizer.step(
                objective, run.parameters, run.state, rate, generator
            )
            if after_step is not None and optimizer.uses_gradient:
                parameters = after_step(parameters, rate)
        run.parameters, run.state, run.step = parameters, state, run.step + 1
        values.append(value)
    return _penalised(values, squares)


def _penalised(values: list[Array], squares: dict[float, list[Array]]) -> Array:
    """The losses of steps, (steps,), with penalties that were left out, of all steps at once.

    squares : of each strength sums of squares, so many a step, in order.
    """
    xp = namespace_of(*values)
    losses = xp.stack(values)
    with ignore_overflow():
        for strength, sums in squares.items():
            of_steps = xp.reshape(xp.stack(sums), (len(values), -1))
            losses = losses + strength * xp.sum(of_steps, axis=1)
    return losses


@dataclass(frozen=True)
class _Objective:
    """The model's loss on one mini-batch, as a function of the parameters alone."""

    model: Any  # a Model
    X: Array
    y: Array
    sample_weight: Array | None
    more: tuple[Any, ...]  # what not every model is given: a key for its masks, rows

    def __call__(
        self, parameters: Parameters, with_gradient: bool
    ) -> tuple[Array, Parameters | None]:
        given = (parameters, self.X, self.y, self.sample_weight, with_gradient)
        found: tuple[Array, Parameters | None] = self.model.objective(*given, *self.more)
        return found


@dataclass(frozen=True)
class _ApartObjective(_Objective):
    """One whose model can leave the penalties on the parameters to the step.

    squares : of each penalty's strength, the sums of squares that steps have told so far.
    """

    squares: dict[float, list[Array]]

    def apart(
        self, parameters: Parameters, seed: float
    ) -> tuple[Array, Parameters | None, Sequence[float]]:
        """See `xpcls.optimizers`."""
        given = (parameters, self.X, self.y, self.sample_weight)
        value, gradients = self.model.unpenalised(*given, seed, *self.more)
        return value, gradients, self.model.l2_strengths

    def penalise(self, strength: float, squares: Array) -> None:
        self.squares.setdefault(strength, []).append(squares)


def _orders(X: Array, settings: Settings, generator: HostGenerator) -> Iterator[Array | None]:
    """Rows of the mini-batches of an epoch, READ_EVERY of them at a time, on the device of X.

    None for one step on all rows as they are. Without replacement every row stands in exactly one
    batch; with it as many rows are drawn. The last batch is short where batch_size does not divide
    the number of rows.
    """
    n = X.shape[0]
    if settings.optimizer.whole_batch:
        yield None
        return
    drawn = generator.integers(0, n, n) if settings.replace else generator.permutation(n)
    order = like(drawn, X)
    for rows in row_blocks(n, READ_EVERY * settings.batch_size):
        yield order[rows]


def _read_losses(losses: Array, step: int, rate: float) -> float:
    """The sum of losses (steps,), the last of them that of `step`. One transfer, and one check."""
    read = to_host(losses).tolist()
    for i, loss in enumerate(read):
        if not math.isfinite(loss):
            raise DivergenceError(
                f"the loss is {loss} at step {step - len(read) + i + 1} with a learning rate of "
                f"{rate:g}; {ADVICE}"
            )
    return math.fsum(read)


def hold_out(rows: Array, fraction: float, generator: HostGenerator) -> tuple[Array, Array]:
    """Random positions of a share of the rows, and of the rest; at least one row in each."""
    n = rows.shape[0]
    count = min(n - 1, max(1, round(fraction * n)))
    order = like(generator.permutation(n), rows)
    return order[:count], order[count:]


def take_rows(positions: Array, *arrays: Array | None) -> Any:
    """Those rows of each array; None stays None."""
    xp = namespace_of(positions)
    return tuple(None if a is None else xp.take(a, positions, axis=0) for a in arrays)


def accuracy(
    model: Model, parameters: Parameters, X: Array, y: Array, at_most: int | None = None
) -> float:
    """The share of rows whose highest score is that of their class; of the first `at_most` rows."""
    xp = namespace_of(X)
    n: int = X.shape[0] if at_most is None else min(at_most, X.shape[0])
    right = [
        xp.sum(xp.astype(predicted(model, parameters, X[rows, ...]) == y[rows], xp.int64))
        for rows in row_blocks(n, 1024)
    ]
    correct = int(to_scalar(xp.sum(xp.stack(right))))
    return correct / n


def predicted(model: Model, parameters: Parameters, X: Array) -> Array:
    """The class with the highest score, the first where several are highest: (N,) int64."""
    scores = model.scores(parameters, X)
    return namespace_of(scores).argmax(scores, axis=1)


@dataclass
class _Best:
    """The parameters with the best validation accuracy, and how long ago they were seen."""

    parameters: Parameters
    accuracy: float | None = None
    epochs_since: int = 0

    def see(self, parameters: Parameters, accuracy: float) -> None:
        if self.accuracy is None or accuracy > self.accuracy:
            self.parameters, self.accuracy, self.epochs_since = parameters, accuracy, 0
        else:
            self.epochs_since += 1
