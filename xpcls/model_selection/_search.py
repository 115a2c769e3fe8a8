"""Hyper-parameters chosen on validation, and one look at the test set."""

from __future__ import annotations

import copy
import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from xpcls.options import check_flag, shown
from xpcls.progress import advance
from xpcls.training import DivergenceError
from xpcls_backends import to_host

from ._folds import checked_splits
from ._results import Grid, Setting, cv_results, settings_of
from ._rows import check_joinable, joined, label_kind, rows_and_labels, taken
from ._sealed import SealedTestSet

Parts = tuple[Any, Any, Any, Any]  # X and y to train on, X and y to validate
Scoring = Callable[[Any, Any, Any], float]  # (model, X, y): more is better
DIVERGED = DivergenceError, FloatingPointError, OverflowError


@dataclass(frozen=True, eq=False)
class Trial:
    """One setting: its score on each fold, and seconds of fitting and of scoring there.

    failure : why the scores from some fold on are NaN: training diverged; else None.
    """

    setting: Setting
    scores: tuple[float, ...]
    fit_seconds: tuple[float, ...]
    score_seconds: tuple[float, ...]
    failure: str | None = None

    @property
    def mean(self) -> float:
        return float(to_host(self.scores).mean())


@dataclass(frozen=True, eq=False, repr=False)
class Tuned:
    """What a search found.

    estimator : the name of the class. trials : of every setting, in the order of the grid.
    best_index, best_params, best_score : the setting with the best mean, the first of equals.
    model : the best setting, fitted again; None where that was not asked for.
    test_score : its score on the sealed test set; None without one.
    opened_before : how often the test set had been opened before; 0 is as it should be.
    """

    estimator: str
    trials: tuple[Trial, ...]
    best_index: int
    model: Any = None
    test_score: float | None = None
    opened_before: int | None = None

    @property
    def best_params(self) -> Setting:
        return dict(self.trials[self.best_index].setting)

    @property
    def best_score(self) -> float:
        return float(self.cv_results["mean_test_score"][self.best_index])

    @property
    def cv_results(self) -> dict[str, Any]:
        """The trials with the keys of scikit-learn's `cv_results_`; "test" there is validation."""
        trials = self.trials
        return cv_results(
            [t.setting for t in trials],
            [t.scores for t in trials],
            [t.fit_seconds for t in trials],
            [t.score_seconds for t in trials],
        )

    @property
    def table(self) -> str:
        """The trials for people: best first, each with mean, deviation and every fold."""
        results = self.cv_results
        ranked = sorted(
            range(len(self.trials)), key=results["rank_test_score"].tolist().__getitem__
        )
        n_folds = len(self.trials[0].scores)
        heading = ["rank", "mean", "std", *(f"fold {i}" for i in range(n_folds)), "setting"]
        lines = [heading]
        for i in ranked:
            trial = self.trials[i]
            numbers = results["mean_test_score"][i], results["std_test_score"][i], *trial.scores
            setting = ", ".join(f"{name}={value!r}" for name, value in trial.setting.items())
            lines.append(
                [
                    str(results["rank_test_score"][i]),
                    *(f"{number:.4f}" for number in numbers),
                    setting or "as it is",
                ]
            )
        widths = [max(len(line[c]) for line in lines) for c in range(len(heading) - 1)]
        return "\n".join(
            "  ".join((*(f"{cell:>{w}}" for cell, w in zip(line, widths, strict=False)), line[-1]))
            for line in lines
        )

    def __str__(self) -> str:
        text = f"{self.table}\nbest on validation: {self.best_params}, {self.best_score:.4f}"
        if self.test_score is not None:
            text += f"\non the test set: {self.test_score:.4f}"
        if self.opened_before:
            often = "1 time" if self.opened_before == 1 else f"{self.opened_before} times"
            text += f", which had been opened {often} before: it may be too good"
        return text

    def __repr__(self) -> str:
        return (
            f"<Tuned: {self.estimator}, {len(self.trials)} settings, best {self.best_params} with "
            f"{self.best_score:.4f}>"
        )


def tune(
    estimator: Any,
    grid: Grid,
    X: Any,
    y: Any,
    *,
    cv: Any = None,
    validation: tuple[Any, Any] | None = None,
    groups: Any = None,
    test: SealedTestSet | None = None,
    scoring: Scoring | None = None,
    refit: bool = True,
) -> Tuned:
    """Try every setting of a grid, choose on validation, fit the best again, and test it once.

    Parameters
    ----------
    estimator : anything with get_params, set_params, fit and score, ours or scikit-learn's, also a
        pipeline, whose parameters are called `step__parameter`. It is left as it is.
    grid : a dict of name: values, for every combination; or a list of such dicts.
    X : an array (N, ...) of any backend, or a data frame; rows are taken where they are.
    y : (N,) labels.
    cv : a number of folds, a splitter, or an iterable of (training rows, validation rows), see
        `check_cv`. A number means stratified folds that are not shuffled, as in scikit-learn's
        search; None is 5.
    validation : instead of folds, (X, y) to score on.
    groups : (N,), for a splitter that keeps groups together.
    test : scored by the best model alone, after everything is chosen; the estimator has `predict`.
    scoring : a function (model, X, y) -> number, more is better, such as scikit-learn's scorers;
        None for `model.score`, the accuracy of classifiers.
    refit : fit the best setting again on ALL of X and, where given, the rows of `validation` too:
        everything but the test set.

    Returns
    -------
    Tuned: all settings with their scores, the best, the first of equals, its model and test score.

    Each fit is of a new object, made as scikit-learn's `clone` makes it: the class is called with
    the parameters, those that are estimators made anew as well, and others copied. A copy of
    the whole object would carry along what it has learnt, which may be a training set. A
    random_state that is a generator is copied too, so every fit draws the same numbers.

    A setting whose training diverges (DivergenceError, FloatingPointError, OverflowError) has the
    score NaN and the last rank, with a warning. Any other exception ends the search, and so does
    Ctrl-C. What was found until then is not lost: it is in the attribute `found` of the exception,
    a Tuned, and in its message (in an interactive session, `sys.last_exc.found`, before Python 3.12
    `sys.last_value.found`).
    """
    settings = settings_of(grid)
    _check_arguments(estimator, test, scoring, refit)
    X, y = rows_and_labels(X, y)
    if test is not None:
        _check_test(test, X, y)
    if validation is not None:
        if cv is not None or groups is not None:
            raise ValueError("cv or groups is given beside validation; choose by one of them")
        validation = _checked_validation(X, y, validation)
    for setting in settings:  # a wrong name is found before hours of work
        _made(estimator, setting)
    parts_of, n_folds = _folds(X, y, cv, validation, groups)
    name = type(estimator).__name__
    trials: list[Trial] = []
    model = None
    try:
        for i, setting in enumerate(settings):
            advance("settings", i, len(settings), **_standing(trials))
            trials.append(_tried(estimator, setting, parts_of, n_folds, scoring))
        advance("settings", len(settings), len(settings))
        found = Tuned(name, tuple(trials), _best(trials))
        if math.isnan(trials[found.best_index].mean):
            raise ValueError(_why_all_nan(trials))
        if refit:
            model = _made(estimator, found.best_params)
            all_rows = (X, y) if validation is None else map(joined, (X, y), validation)
            model.fit(*all_rows)
            found = replace(found, model=model)
        if test is None:
            return found
        before = len(test.openings)
        score = _score(scoring, model, *test.open(model))
        return replace(found, test_score=score, opened_before=before)
    except BaseException as error:
        if trials:
            kept = Tuned(name, tuple(trials), _best(trials), model)
            error.found = kept  # type: ignore[attr-defined]
            error.add_note(f"{len(trials)} of {len(settings)} settings were scored:\n{kept.table}")
        raise


def _check_arguments(
    estimator: Any, test: SealedTestSet | None, scoring: Scoring | None, refit: bool
) -> None:
    check_flag("refit", refit)
    methods = ["get_params", "set_params", "fit"]
    methods += ["score"] * (scoring is None) + ["predict"] * (test is not None)
    for needed in methods:
        if not callable(getattr(estimator, needed, None)) or isinstance(estimator, type):
            raise TypeError(f"estimator is {shown(estimator)}, expected an object with {needed}()")
    if scoring is not None and not callable(scoring):
        raise TypeError(
            f"scoring is {shown(scoring)}, expected a function (model, X, y) -> number, such as "
            "sklearn.metrics.get_scorer(name) gives"
        )
    if test is not None and not isinstance(test, SealedTestSet):
        raise TypeError(f"test is {shown(test)}, expected a SealedTestSet(X_test, y_test)")
    if test is not None and not refit:
        raise ValueError(
            "test is given, but refit is False, so there is no model to test; drop one"
        )


def _check_test(test: SealedTestSet, X: Any, y: Any) -> None:
    """Raise now for what would open the test set for nothing after the search."""
    shape, kind = test._shape[1:], test._label_kind
    if shape != tuple(X.shape[1:]):
        raise ValueError(
            f"test has rows of shape {shape}, but X has rows of shape {tuple(X.shape[1:])}; "
            "expected the same"
        )
    if (kind == "text") != (label_kind(y) == "text"):
        raise ValueError(
            f"test has labels of kind {kind!r}, but y has {label_kind(y)!r}; expected the same"
        )


def _checked_validation(X: Any, y: Any, validation: Any) -> tuple[Any, Any]:
    if not isinstance(validation, tuple | list) or len(validation) != 2:
        raise TypeError(f"validation is {shown(validation)}, expected (X, y)")
    names = "the X of validation", "the y of validation"
    X_val, y_val = validation
    checked = rows_and_labels(X_val, y_val, names)
    # They are joined for the last fit; what cannot be is found now.
    for part, other, name, its in zip((X, y), checked, ("X", "y"), names, strict=True):
        check_joinable(part, other, (name, its))
    return checked


def cloned(value: Any) -> Any:
    """A new estimator with the same parameters, nothing learnt; scikit-learn's `clone`."""
    if isinstance(value, type):
        return value
    if hasattr(value, "__sklearn_clone__"):
        return value.__sklearn_clone__()
    if hasattr(value, "get_params"):
        params = value.get_params(deep=False)
        return type(value)(**{name: cloned(param) for name, param in params.items()})
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(cloned(item) for item in value)
    return copy.deepcopy(value)


def _made(estimator: Any, setting: Setting) -> Any:
    model = cloned(estimator)
    model.set_params(**{name: cloned(value) for name, value in setting.items()})
    return model


def _folds(
    X: Any, y: Any, cv: Any, validation: tuple[Any, Any] | None, groups: Any
) -> tuple[Callable[[int], Parts], int]:
    """A function that gives the parts of fold i, taken when they are needed, and how many."""
    if validation is not None:
        return lambda i: (X, y, *validation), 1
    folds = checked_splits(cv, to_host(y), groups)

    def parts(i: int) -> Parts:
        train, test = folds[i]
        return taken(X, train), taken(y, train), taken(X, test), taken(y, test)

    return parts, len(folds)


def _tried(
    estimator: Any,
    setting: Setting,
    parts_of: Callable[[int], Parts],
    n_folds: int,
    scoring: Scoring | None,
) -> Trial:
    scores, fitting, judging = [], [], []
    failure = None
    for i in range(n_folds):
        advance("folds", i, n_folds)
        X, y, X_val, y_val = parts_of(i)
        model = _made(estimator, setting)
        began = time.perf_counter()
        try:
            model.fit(X, y)
        except DIVERGED as error:
            failure = f"fold {i} of {setting}: {error}"
            warnings.warn(f"training diverged, so the score is NaN, in {failure}", stacklevel=3)
            break
        fitted = time.perf_counter()
        scores.append(_score(scoring, model, X_val, y_val))
        fitting.append(fitted - began)
        judging.append(time.perf_counter() - fitted)
    advance("folds", n_folds, n_folds)
    rest = [math.nan] * (n_folds - len(scores))
    return Trial(setting, (*scores, *rest), (*fitting, *rest), (*judging, *rest), failure)


def _score(scoring: Scoring | None, model: Any, X: Any, y: Any) -> float:
    return float(model.score(X, y) if scoring is None else scoring(model, X, y))


def _best(trials: Sequence[Trial]) -> int:
    means = [-math.inf if math.isnan(trial.mean) else trial.mean for trial in trials]
    return means.index(max(means))


def _why_all_nan(trials: Sequence[Trial]) -> str:
    if all(trial.failure for trial in trials):
        return f"training diverged in every setting: {trials[0].failure}"
    return "scoring gave NaN for every setting; expected a finite score for one of them at least"


def _standing(trials: Sequence[Trial]) -> dict[str, object]:
    return {"best": trials[_best(trials)].mean} if trials else {}
