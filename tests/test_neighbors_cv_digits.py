"""The cross-validation of scikit-learn's digits: its own accuracies, to the last digit.

Both metrics, every k of the list, KFold(5, shuffle=True, random_state=0): 50 accuracies a metric.

Distances between digits are sums of integers, which tie. Where the k-th neighbour and the next
are equally far, scikit-learn keeps the one that its heap happens to hold, and xpcls the lower row.
For most such digits the vote is the same whichever of the equals is kept. Where it is not, the
digit is open: nothing but the rule for ties decides it. All accuracies without open digits must
agree, and the others within their number. Of L2 all 50 agree (one digit is open, at k = 100); of
L1 31 have open digits, and 9 differ from scikit-learn 1.9.1, by one or two digits each.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import KFold
from sklearn.neighbors import KNeighborsClassifier as Theirs

from xpcls.model_selection import KNeighborsClassifierCV

DIGITS, NAMES = load_digits(return_X_y=True)
K = (1, 3, 5, 8, 10, 12, 15, 20, 50, 100)
FOLDS = KFold(5, shuffle=True, random_state=0)
METRICS = {"l1": ("manhattan", 1), "l2": ("euclidean", 2)}  # scikit-learn's name, the power


@dataclass(frozen=True)
class Cell:
    """One k on one fold. by_rule : the predictions of a loop over exact distances.

    open : of each digit, whether the choice among equal distances decides its class.
    theirs : scikit-learn's predictions, whose share of hits is what its search calls a score.
    """

    by_rule: Any
    open: Any
    theirs: Any


def vote(labels: Any) -> int:
    return int(np.bincount(labels, minlength=10).argmax())


def is_open(labels: Any, distances: Any, k: int) -> bool:
    """Whether some other choice among those at the k-th distance elects another class.

    labels, distances : of all training rows, nearest first.
    """
    if distances[k - 1] != distances[k]:
        return False
    nearer, equal = distances < distances[k - 1], distances == distances[k - 1]
    choices = itertools.combinations(labels[equal], k - int(nearer.sum()))
    return len({vote(np.r_[labels[nearer], chosen]) for chosen in choices}) > 1


@cache
def cells(metric: str) -> dict[tuple[int, int], Cell]:
    """By (k, fold)."""
    found = {}
    for fold, (train, test) in enumerate(FOLDS.split(DIGITS)):
        power = METRICS[metric][1]
        exact = np.stack([(abs(DIGITS[train] - row) ** power).sum(axis=1) for row in DIGITS[test]])
        order = np.argsort(exact, axis=1, kind="stable")
        labels, ranked = NAMES[train][order], np.take_along_axis(exact, order, axis=1)
        for k in K:
            by_rule = np.asarray([vote(row[:k]) for row in labels])
            undecided = [is_open(*row, k) for row in zip(labels, ranked, strict=True)]
            model = Theirs(k, metric=METRICS[metric][0]).fit(DIGITS[train], NAMES[train])
            found[k, fold] = Cell(by_rule, np.asarray(undecided), model.predict(DIGITS[test]))
    return found


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("scale", [1, 1 / 16])
def test_accuracies_are_scikit_learns_to_the_last_digit_but_for_open_digits(
    scale: float, metric: str
) -> None:
    ours = KNeighborsClassifierCV(K, (metric,), FOLDS).fit(scale * DIGITS, NAMES).cv_results_
    found = cells(metric)
    truths = [NAMES[test] for _, test in FOLDS.split(DIGITS)]
    for i, k in enumerate(K):
        undecided = [found[k, fold].open for fold in range(5)]
        theirs = [(found[k, fold].theirs == truth).mean() for fold, truth in enumerate(truths)]
        for fold, truth in enumerate(truths):
            score = ours[f"split{fold}_test_score"][i]
            assert score == (found[k, fold].by_rule == truth).mean()
            if metric == "l2" or not undecided[fold].any():
                assert score == theirs[fold]
            assert round(abs(score - theirs[fold]) * len(truth)) <= undecided[fold].sum()
        if metric == "l2" or not any(map(np.any, undecided)):
            assert ours["mean_test_score"][i] == np.mean(theirs)
            assert ours["std_test_score"][i] == np.std(theirs)
    n_open = sum(cell.open.any() for cell in found.values())
    assert n_open == {"l1": 31, "l2": 1}[metric]


@pytest.mark.parametrize("metric", METRICS)
def test_every_prediction_is_scikit_learns_but_for_open_digits(metric: str) -> None:
    assert len(cells(metric)) == 50
    for cell in cells(metric).values():
        assert not ((cell.theirs != cell.by_rule) & ~cell.open).any()
