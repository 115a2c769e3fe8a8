"""k and the metric of nearest neighbours, chosen by cross-validation at the cost of one search."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, Self

from xpcls.base import Classifier
from xpcls.distances import METRICS
from xpcls.neighbors import KNeighborsClassifier
from xpcls.options import check_choice, check_flag, check_integer, shown
from xpcls.progress import advance
from xpcls.validation import check_labels
from xpcls_backends import (
    Array,
    gather,
    in_threads,
    like,
    namespace_of,
    thread_count,
    to_host,
)

from ._folds import Fold, checked_splits
from ._results import Setting, cv_results

SMALL = 2**32  # entries that a search compares; it takes about a second
Scored = tuple[float, float, float]  # accuracy, seconds of fitting, seconds of scoring


class KNeighborsClassifierCV(Classifier):
    """Nearest neighbours whose k and metric are chosen by cross-validation.

    For each fold and metric the neighbours are searched once, for the largest k: the nearest k of
    them are the first k. So twelve values of k take about the time of one.

    Parameters
    ----------
    n_neighbors : the values of k to try, each from 1 to the rows of the smallest training fold.
    metrics : those to try, of "l1", "l2" and "sqeuclidean".
    cv : a number of folds, a splitter, ours or scikit-learn's, or an iterable of (training rows,
        validation rows). A number means stratified folds that are not shuffled, as in
        scikit-learn's search; `cv=StratifiedKFold(5)` of xpcls.model_selection shuffles.
    weights, ties, memory_budget : as for KNeighborsClassifier, the same in all settings.
    refit : fit the best setting on all rows, so that this object can predict.

    Attributes
    ----------
    best_params_, best_index_, best_score_ : the setting with the best mean accuracy, the first of
        equals: metrics in the order given, and within each the values of k in the order given.
    cv_results_ : the table of all settings, with the keys of scikit-learn's GridSearchCV.
    best_estimator_ : the KNeighborsClassifier that was fitted again; not where refit is False.
    n_splits_ : the number of folds. classes_, n_features_in_ : as for any classifier.

    The scores are exactly those that scikit-learn's
    `GridSearchCV(KNeighborsClassifier(), {"metric": metrics, "n_neighbors": n_neighbors}, cv=cv)`
    gives: for each fold the share of its own rows that are classified right, and the mean over
    folds. The score is that of a choice made by it, so it is a little too good: tell the
    accuracy of the result from rows that had no part in it (SealedTestSet).

    Times in `cv_results_` are those of a search and its votes, shared evenly by the values of k
    that it served. Small searches run side by side on the threads of a CPU, unless memory_budget
    is given; their times then overlap.

    CS231n, lecture 2: cross-validation; its figure is `mean_test_score` and `std_test_score`.
    """

    def __init__(
        self,
        n_neighbors: Sequence[int] = (1, 3, 5, 7, 9, 11),
        metrics: Sequence[str] = ("l1", "l2"),
        cv: Any = 5,
        *,
        weights: str = "uniform",
        ties: str = "label",
        memory_budget: int | None = None,
        refit: bool = True,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.metrics = metrics
        self.cv = cv
        self.weights = weights
        self.ties = ties
        self.memory_budget = memory_budget
        self.refit = refit

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:
        """Try every setting on every fold, and fit the best one on all rows.

        X : rows (N, D) or images (N, H, W, C) of any backend, a list, or a data frame; finite.
        y : (N,) integers, whole floats or text, of at least two classes in every training fold.
        groups : (N,), for a splitter that keeps groups together.

        Ctrl-C after the first fold leaves the object fitted, with the folds that were finished,
        and KeyboardInterrupt goes on.
        """
        rows = self._check_training_rows(X)
        classes, codes = check_labels(y, rows, type(self).__name__)
        self._check_options()
        ks, metrics = self._ks(), list(self.metrics)
        host_codes, host_classes = to_host(codes), to_host(classes)
        folds = checked_splits(self.cv, host_classes[host_codes], groups)
        _check_folds(folds, host_codes, max(ks))
        if self.refit and max(ks) > rows.shape[0]:  # folds may train on a row several times
            raise ValueError(
                f"n_neighbors holds {max(ks)}, but X has only {rows.shape[0]} rows to fit the best "
                "on; leave out values above that, or set refit=False"
            )
        settings = [{"metric": metric, "n_neighbors": k} for metric in metrics for k in ks]
        searches = [(i, j) for i in range(len(folds)) for j in range(len(metrics))]
        found: dict[tuple[int, int], list[Scored]] = {}

        def work(search: tuple[int, int]) -> None:
            i, j = search
            found[search] = self._scored(metrics[j], ks, rows, codes, folds[i])

        def tell(done: int) -> None:
            advance("folds", done // len(metrics), len(folds))

        try:
            in_threads(work, searches, self._threads(rows, folds), tell)
        except KeyboardInterrupt:
            finished = _finished(found, len(folds), len(metrics))
            if finished:
                self._conclude(X, y, rows, classes, settings, finished)
            raise
        finished = _finished(found, len(folds), len(metrics))
        self._conclude(X, y, rows, classes, settings, finished)
        return self

    def _threads(self, rows: Array, folds: list[Fold]) -> int:
        """How many searches run at a time: large ones have threads of their own, and progress."""
        most = max(train.shape[0] * test.shape[0] for train, test in folds) * rows.shape[1]
        alone = most > SMALL or self.memory_budget is not None  # which is for all of them
        return 1 if alone else thread_count(namespace_of(rows))

    def _scored(
        self, metric: str, ks: list[int], rows: Array, codes: Array, fold: Fold
    ) -> list[Scored]:
        """What one search gives for each k."""
        train, test = (like(part, rows) for part in fold)
        began = time.perf_counter()
        model = self._model(max(ks), metric).fit(gather(rows, train), gather(codes, train))
        fitted = time.perf_counter()
        truth = gather(codes, test)
        xp = namespace_of(truth)
        distances, indices = model.kneighbors(gather(rows, test))
        right = [
            xp.sum(xp.astype(model._labels_at(positions) == truth, xp.int64))
            for positions in _winners(model, distances, indices, sorted(set(ks)))
        ]
        counts = dict(zip(sorted(set(ks)), to_host(xp.stack(right)).tolist(), strict=True))
        share = (time.perf_counter() - fitted) / len(ks)
        # The fold's own size: no other number of rows makes these counts accuracies.
        return [(counts[k] / truth.shape[0], (fitted - began) / len(ks), share) for k in ks]

    def _conclude(
        self,
        X: Any,
        y: Any,
        rows: Array,
        classes: Any,
        settings: list[Setting],
        columns: list[list[Scored]],
    ) -> None:
        """Set what is learnt, from the folds that are finished."""
        scores, fitting, scoring = (
            [[column[i][what] for column in columns] for i in range(len(settings))]
            for what in range(3)
        )
        results = cv_results(settings, scores, fitting, scoring)
        best = results["rank_test_score"].tolist().index(1)
        if self.refit:
            setting = settings[best]
            self.best_estimator_ = self._model(setting["n_neighbors"], setting["metric"]).fit(X, y)
        elif hasattr(self, "best_estimator_"):
            del self.best_estimator_
        self._learn_columns(X, rows)
        self.n_splits_ = len(columns)
        self.cv_results_ = results
        self.best_index_ = best
        self.best_params_ = results["params"][best]
        self.best_score_ = float(results["mean_test_score"][best])
        self.classes_ = classes

    def kneighbors(
        self, X: Any, n_neighbors: int | None = None, return_distance: bool = True
    ) -> Any:
        """The nearest training rows of each row of `X`, by the metric that was chosen."""
        return self._refitted().kneighbors(X, n_neighbors, return_distance)

    def predict_proba(self, X: Any) -> Array:
        """The share of the votes that each class has: (N, n_classes), each row summing to 1."""
        return self._refitted().predict_proba(X)

    def _class_positions(self, X: Any) -> Array:
        return self._refitted()._class_positions(X)

    def _any_learnt(self) -> Array:
        return self._refitted()._any_learnt()

    def _learnt(self) -> tuple[dict[str, Array], dict[str, Any]]:
        tensors, plain = self._refitted()._learnt()
        return tensors, {**plain, "best_params": self.best_params_}  # as much a part of the model

    def _refitted(self) -> KNeighborsClassifier:
        self._check_fitted()
        if not hasattr(self, "best_estimator_"):
            raise AttributeError(
                "refit is False, so there is no model to predict with; set refit=True and fit "
                "again, or fit a KNeighborsClassifier(**best_params_)"
            )
        return self.best_estimator_

    def _model(self, k: int, metric: str) -> KNeighborsClassifier:
        return KNeighborsClassifier(
            k, metric=metric, weights=self.weights, ties=self.ties, memory_budget=self.memory_budget
        )

    def _ks(self) -> list[int]:
        return [check_integer("n_neighbors", k, at_least=1) for k in self.n_neighbors]

    def _check_options(self) -> None:
        for name, example in (("n_neighbors", "(1, 3, 5)"), ("metrics", '("l1", "l2")')):
            values = getattr(self, name)
            if isinstance(values, str) or not hasattr(values, "__getitem__"):
                raise TypeError(f"{name} is {shown(values)}, expected several, such as {example}")
            if not list(values):
                raise ValueError(f"{name} is empty, expected at least one, such as {example}")
        for metric in self.metrics:
            check_choice("metrics", metric, METRICS)
        check_flag("refit", self.refit)
        self._model(min(self._ks()), "l2")._check_options()


def _winners(
    model: KNeighborsClassifier, distances: Array, indices: Array, ks: list[int]
) -> Iterator[Array]:
    """Whom the nearest k elect, for each of `ks`, ascending: positions in classes_, (n,) each."""
    seen = 0
    votes = codes = None
    for k in ks:
        # Equal votes are counts, so those of the neighbours that come anew are added. Votes of
        # 1 / distance are added from the first on: another order of sums has other last digits.
        start = seen if model.weights == "uniform" else 0
        new_votes, new_codes = model._votes(distances[:, start:k], indices[:, start:k])
        xp = namespace_of(new_votes)
        votes = new_votes if votes is None or start == 0 else votes + new_votes
        codes = new_codes if codes is None or start == 0 else xp.concat((codes, new_codes), axis=1)
        yield model._winners(votes, codes)
        seen = k


def _finished(
    found: dict[tuple[int, int], list[Scored]], n_folds: int, n_metrics: int
) -> list[list[Scored]]:
    """Of each fold that was searched with every metric, what was found, a row a setting."""
    return [
        [entry for j in range(n_metrics) for entry in found[i, j]]
        for i in range(n_folds)
        if all((i, j) in found for j in range(n_metrics))
    ]


def _check_folds(folds: list[Fold], codes: Any, k: int) -> None:
    sizes = [train.shape[0] for train, _ in folds]
    smallest = sizes.index(min(sizes))
    if k > sizes[smallest]:
        raise ValueError(
            f"n_neighbors holds {k}, but the training rows of fold {smallest} are only "
            f"{sizes[smallest]}; leave out values above that, or take more folds"
        )
    for i, (train, _) in enumerate(folds):
        if len(set(codes[train].tolist())) < 2:
            raise ValueError(
                f"the training rows of fold {i} are all of one class; shuffle or stratify: "
                "cv=StratifiedKFold(5) of xpcls.model_selection"
            )
