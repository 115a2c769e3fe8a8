"""Folds: disjoint, covering, even; as scikit-learn's where both have them, and in its searches."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import sklearn.model_selection as theirs
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier as TheirNeighbors

from xpcls.model_selection import GroupKFold, KFold, StratifiedKFold, check_cv
from xpcls.model_selection._folds import checked_splits
from xpcls_backends import Backend

KINDS = (KFold, StratifiedKFold, GroupKFold)


def labels(n: int, n_classes: int, seed: int) -> Any:
    return np.random.default_rng(seed).integers(0, n_classes, n)


def all_folds(cv: Any, n: int, y: Any = None, groups: Any = None) -> list[Any]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="the smallest class has")
        return list(cv.split(np.zeros(n), y, groups))


@given(
    st.sampled_from(KINDS), st.integers(2, 7), st.integers(0, 60), st.booleans(), st.integers(0, 99)
)
def test_folds_are_disjoint_and_cover_every_row_once(
    kind: Any, n_splits: int, more: int, shuffle: bool, seed: int
) -> None:
    n = 2 * n_splits + more
    y = np.r_[np.zeros(n_splits, int), labels(n - n_splits, 3, seed)]
    groups = np.r_[np.arange(n_splits), labels(n - n_splits, 9, seed)]
    cv = kind(n_splits, shuffle=shuffle, random_state=seed)
    folds = all_folds(cv, n, y, groups)
    assert len(folds) == n_splits == cv.get_n_splits()
    assert sorted(row for _, test in folds for row in test) == list(range(n))
    for train, test in folds:
        assert sorted([*train, *test]) == list(range(n))
        assert train.dtype == test.dtype == np.int64
        assert (np.diff(train) > 0).all() and (np.diff(test) > 0).all()


@given(st.integers(2, 8), st.integers(8, 80), st.booleans(), st.integers(0, 99))
def test_sizes_differ_by_at_most_one(n_splits: int, n: int, shuffle: bool, seed: int) -> None:
    y = np.r_[np.zeros(8, int), labels(n - 8, 4, seed)]
    for kind in (KFold, StratifiedKFold):
        folds = all_folds(kind(n_splits, shuffle=shuffle, random_state=seed), n, y)
        sizes = [len(test) for _, test in folds]
        assert max(sizes) - min(sizes) <= 1
    for label in range(4):  # of the stratified ones
        of_class = [int((y[test] == label).sum()) for _, test in folds]
        assert max(of_class) - min(of_class) <= 1


@given(st.integers(2, 6), st.lists(st.integers(1, 20), min_size=6, max_size=20), st.integers(0, 99))
def test_groups_are_whole_and_sizes_within_the_largest_group(
    n_splits: int, sizes: list[int], seed: int
) -> None:
    groups = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    for shuffle in (True, False):
        cv = GroupKFold(n_splits, shuffle=shuffle, random_state=seed)
        folds = all_folds(cv, len(groups), groups=[f"photographer {g}" for g in groups])
        for train, test in folds:
            assert not set(groups[train]) & set(groups[test])
        rows = [len(test) for _, test in folds]
        assert max(rows) - min(rows) <= max(sizes)


def test_the_bound_for_groups_is_reached_and_greedy_beats_the_order_given() -> None:
    groups = np.repeat([0, 1, 2, 3], [5, 1, 1, 1])
    assert sorted(len(test) for _, test in all_folds(GroupKFold(2), 8, groups=groups)) == [3, 5]
    two = np.repeat([0, 1, 2], [4, 4, 4])
    assert sorted(len(test) for _, test in all_folds(GroupKFold(2), 12, groups=two)) == [4, 8]


def same(ours: list[Any], others: list[Any]) -> bool:
    return all(
        np.array_equal(a, b)
        for fold, other in zip(ours, others, strict=True)
        for a, b in zip(fold, other, strict=True)
    )


@given(st.integers(2, 8), st.integers(2, 60), st.integers(1, 6), st.integers(0, 999))
def test_unshuffled_folds_and_numbers_are_those_of_scikit_learn(
    n_splits: int, n: int, n_classes: int, seed: int
) -> None:
    y = labels(n, n_classes, seed)
    x = np.zeros(n)
    pairs = (
        (KFold(n_splits, shuffle=False), theirs.KFold(n_splits)),
        (StratifiedKFold(n_splits, shuffle=False), theirs.StratifiedKFold(n_splits)),
        (check_cv(n_splits, y), theirs.check_cv(n_splits, y, classifier=True)),
        (check_cv(n_splits), theirs.check_cv(n_splits)),
    )
    for ours, other in pairs:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                expected = list(other.split(x, y))
            except ValueError:
                with pytest.raises(ValueError, match=f"n_splits is {n_splits}, but"):
                    ours.split(x, y)
                continue
        assert same(all_folds(ours, n, y), expected)


@pytest.mark.parametrize("kind", [str, float, bool])
def test_labels_of_every_kind_are_stratified_as_scikit_learn_does(kind: Any) -> None:
    y = np.asarray([3, 1, 1, 0, 3, 0, 1, 3, 0, 1, 1, 3]).astype(kind)
    expected = list(theirs.check_cv(3, y, classifier=True).split(y, y))
    assert same(list(check_cv(3, y).split(y, y)), expected)


def test_shuffling_is_the_default_and_its_numbers_decide() -> None:
    n = 200
    y = np.sort(labels(n, 4, 0))
    groups = np.arange(n) // 4
    for kind in KINDS:
        first = [test for _, test in all_folds(kind(5), n, y, groups)]
        assert same([first], [[test for _, test in all_folds(kind(5), n, y, groups)]])
        other = [test for _, test in all_folds(kind(5, random_state=1), n, y, groups)]
        plain = [test for _, test in all_folds(kind(5, shuffle=False), n, y, groups)]
        assert not same([first], [other]) and not same([first], [plain])
    # Every row has the same chance of every fold.
    counts = np.zeros((20, 4))
    generator = np.random.default_rng(0)
    for _ in range(1000):
        for i, (_, test) in enumerate(KFold(4, random_state=generator).split(counts)):
            counts[test, i] += 1
    assert abs(counts - 250).max() < 6 * np.sqrt(1000 * 0.25 * 0.75)


@pytest.mark.parametrize("make", [KFold, StratifiedKFold, theirs.KFold, theirs.StratifiedKFold])
def test_splitters_of_either_house_work_in_the_other(make: Any) -> None:
    rng = np.random.default_rng(0)
    y = labels(60, 3, 0)
    X = rng.normal(size=(60, 2)) + y[:, None]
    cv = make(4, shuffle=True, random_state=0)
    search = theirs.GridSearchCV(TheirNeighbors(), {"n_neighbors": [1, 3]}, cv=cv).fit(X, y)
    assert search.n_splits_ == 4
    for (train, test), i in zip(checked_splits(cv, y), range(4), strict=True):
        model = TheirNeighbors(3).fit(X[train], y[train])
        assert search.cv_results_[f"split{i}_test_score"][1] == model.score(X[test], y[test])


def test_groups_reach_splitters_of_either_house() -> None:
    groups = np.arange(30) % 6
    X, y = np.random.default_rng(0).normal(size=(30, 2)), labels(30, 2, 1)
    grid = {"n_neighbors": [1]}
    search = theirs.GridSearchCV(TheirNeighbors(), grid, cv=GroupKFold(3)).fit(X, y, groups=groups)
    assert search.n_splits_ == 3
    for train, test in checked_splits(theirs.GroupKFold(3), y, groups):
        assert not set(groups[train]) & set(groups[test])


def test_labels_may_live_on_a_device(backend: Backend) -> None:
    y = labels(40, 3, 0)
    on_device = backend.asarray(y)
    for kind in (StratifiedKFold, GroupKFold):
        arguments = (on_device, on_device) if kind is GroupKFold else (on_device,)
        ours = list(kind(3).split(on_device, *arguments))
        assert same(ours, list(kind(3).split(y, *([y] * len(arguments)))))
    assert same(checked_splits(4, y), list(theirs.StratifiedKFold(4).split(y, y)))


@pytest.mark.parametrize(
    "y",
    [
        np.asarray([0.5, 1, 0.5, 1], object),
        np.asarray([0, 1, 0, 1], object),
        np.asarray(["a", "b", "a", "b"], object),
        np.asarray([0.5, 1, 0.5, 1]),
    ],
)
def test_what_is_stratified_is_what_scikit_learn_stratifies(y: Any) -> None:
    assert type(check_cv(2, y)).__name__ == type(theirs.check_cv(2, y, classifier=True)).__name__


def test_a_column_of_labels_or_groups_is_taken() -> None:
    y = labels(30, 3, 0)
    for kind in (StratifiedKFold, GroupKFold):
        flat, column = (all_folds(kind(3), 30, v, v) for v in (y, y[:, None]))
        assert same(flat, column)
    with pytest.raises(ValueError, match=r"groups has shape \(30, 2\), expected \(30,\)"):
        GroupKFold(3).split(y, y, np.stack([y, y], axis=1))


def test_groups_on_a_device_reach_scikit_learns_splitter(backend: Backend) -> None:
    groups = np.arange(30) % 6
    found = checked_splits(theirs.GroupKFold(3), labels(30, 2, 1), backend.asarray(groups))
    assert same(found, list(theirs.GroupKFold(3).split(groups, groups=groups)))


def test_what_cv_may_be() -> None:
    y = labels(30, 2, 0)
    listed = [(np.arange(20), np.arange(20, 30)), ([5, 6], [7])]
    cv = check_cv(iter(listed), y)
    assert cv.get_n_splits() == 2
    assert same(checked_splits(cv, y), [tuple(map(np.asarray, fold)) for fold in listed])
    assert isinstance(check_cv(None, y), StratifiedKFold) and check_cv(None, y).get_n_splits() == 5
    assert isinstance(check_cv(3, y + 0.5), KFold)
    splitter = theirs.LeaveOneOut()
    assert check_cv(splitter, y) is splitter
    assert repr(KFold(3)) == "KFold(n_splits=3, shuffle=True, random_state=0)"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: KFold(1), "n_splits is 1, expected an integer of at least 2"),
        (lambda: KFold(2.5), "n_splits is 2.5, expected an integer"),
        (lambda: KFold(3, shuffle=1), "shuffle is 1, expected True or False"),
        (lambda: KFold(3, random_state="x").split([1, 2, 3]), "random_state is 'x', expected None"),
        (lambda: KFold(4).split([1, 2, 3]), "n_splits is 4, but there are 3 rows; take fewer"),
        (lambda: StratifiedKFold(2).split([1, 2, 3]), "y is None, but these folds are made by y"),
        (lambda: StratifiedKFold(2).split([1, 2], [1]), r"y has shape \(1,\), expected \(2,\)"),
        (
            lambda: StratifiedKFold(3).split([1] * 4, [0, 0, 1, 1]),
            "n_splits is 3, but the largest class has 2 rows; take fewer folds, or KFold",
        ),
        (lambda: GroupKFold(2).split([1, 2, 3]), "groups is None"),
        (
            lambda: GroupKFold(3).split([1] * 4, None, [0, 0, 1, 1]),
            "n_splits is 3, but groups holds 2 different ones",
        ),
        (
            lambda: GroupKFold(2).split([1] * 3, None, np.asarray(["a", None, "b"], object)),
            "groups holds None; leave those rows out, or give each a group of its own",
        ),
        (lambda: GroupKFold(2).split([1] * 3, None, [0.0, np.nan, 1.0]), "groups holds NaN; leave"),
        (
            lambda: GroupKFold(2).split([1] * 2, None, np.asarray([1, np.float32("nan")], object)),
            "groups holds np.float32.nan.",
        ),
        (
            lambda: StratifiedKFold(2).split([1] * 3, np.asarray([0, None, 1], object)),
            "y holds None; leave those rows out, or fill them",
        ),
        (lambda: check_cv("five"), "cv is 'five', expected a number of folds, a splitter"),
        (lambda: check_cv(True), "cv is True, expected a number of folds"),
        (lambda: check_cv({"a": 1}), r"cv is \{'a': 1\}, expected a number of folds"),
        (lambda: check_cv(KFold), "cv is <class .*KFold'>, expected a number of folds"),
        (lambda: check_cv(theirs.KFold), "cv is <class .*KFold'>, expected a number of folds"),
        (lambda: check_cv(2.5), "cv is 2.5, expected a number of folds"),
        (lambda: check_cv(1, [0, 1]), "cv is 1, expected an integer of at least 2"),
    ],
)
def test_what_cannot_be_is_named(make: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make()


@pytest.mark.parametrize(
    ("cv", "message"),
    [
        ([], r"cv is \[\], which gives no folds"),
        ([1, 2], r"fold 0 of cv is 1, expected \(training rows, validation rows\)"),
        ([([0], [1], [2])], r"fold 0 of cv is \(\[0\], \[1\], \[2\]\), expected \(training"),
        ([([0], [1]), ([0],)], r"fold 1 of cv is \(\[0\],\), expected \(training rows"),
        ([([[0], [1, 2]], [3])], r"the training rows of fold 0 of cv is \[\[0\], \[1, 2\]\], exp"),
        ([([0, 1], [1, 2])], "fold 0 of cv trains on row 1 and validates on it"),
        ([([0, 1], [9])], "fold 0 of cv names rows 9 to 9, but there are 4"),
        ([([0, 1], [-1])], "fold 0 of cv names rows -1 to -1"),
        ([([0], [1]), ([0.5], [1])], "the training rows of fold 1 of cv is float64"),
        ([([], [1])], "the training rows of fold 0 of cv is float64 of shape"),
        ([([0], [[1]])], r"fold 0 of cv is int64 of shape \(1, 1\)"),
        ([([True, False, True, True], [1])], "the training rows of fold 0 of cv is bool"),
    ],
)
def test_unsound_folds_are_named(cv: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        checked_splits(cv, np.asarray([0, 1, 0, 1]))


def test_a_class_with_few_rows_warns() -> None:
    with pytest.warns(UserWarning, match="the smallest class has 1 rows, fewer than n_splits=2"):
        StratifiedKFold(2).split([1] * 5, [0, 0, 0, 0, 1])
