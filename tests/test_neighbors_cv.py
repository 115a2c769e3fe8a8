"""KNeighborsClassifierCV: one search a fold, and the very scores of fitting each setting anew."""

from __future__ import annotations

import itertools
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.model_selection import KFold as TheirKFold
from sklearn.utils.estimator_checks import parametrize_with_checks

import xpcls.distances
from tests.lecture_mutations import replace_search
from xpcls import KNeighborsClassifier
from xpcls.model_selection import (
    GroupKFold,
    KFold,
    KNeighborsClassifierCV,
    StratifiedKFold,
    _neighbors_cv,
)
from xpcls.progress import listen
from xpcls_backends import Backend, in_threads, to_host

DIGITS, NAMES = load_digits(return_X_y=True)
FOLDS = TheirKFold(5, shuffle=True, random_state=0)
warned = pytest.mark.filterwarnings("ignore:.*does not inherit from")


def blobs(n: int = 90, seed: int = 0, classes: int = 3) -> tuple[Any, Any]:
    """Small integers, which tie all the time, in classes that overlap."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    return (rng.integers(0, 3, (n, 3)) + y[:, None]).astype("float32"), y


def assert_same_results(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Every key in its place, the same kind of column, and all but the times bit for bit."""
    assert list(ours) == list(theirs)
    for name, column in theirs.items():
        assert type(ours[name]) is type(column), name
        if name == "params":
            assert ours[name] == column
            continue
        assert (ours[name].dtype, ours[name].shape) == (column.dtype, column.shape), name
        if "time" in name:
            assert (ours[name] >= 0).all()
        else:
            np.testing.assert_array_equal(np.asarray(ours[name]), np.asarray(column), name)


@warned
@pytest.mark.parametrize("cv", [5, FOLDS, KFold(3)], ids=["five", "theirs", "ours"])
def test_the_table_is_that_of_scikit_learns_search_over_our_classifier(cv: Any) -> None:
    X, y = DIGITS[:400].astype("uint8"), NAMES[:400]
    ks = (5, 1, 8, 50)
    ours = KNeighborsClassifierCV(ks, ("l2", "l1"), cv).fit(X, y)
    grid = {"metric": ("l2", "l1"), "n_neighbors": ks}
    theirs = GridSearchCV(KNeighborsClassifier(), grid, cv=cv).fit(X, y)
    assert_same_results(ours.cv_results_, theirs.cv_results_)
    for name in ("best_params_", "best_score_", "best_index_", "n_splits_"):
        assert getattr(ours, name) == getattr(theirs, name)
    asked = DIGITS[400:500].astype("uint8")
    np.testing.assert_array_equal(ours.predict(asked), theirs.predict(asked))
    assert ours.score(asked, NAMES[400:500]) == theirs.score(asked, NAMES[400:500])


@warned
@pytest.mark.parametrize("weights", ["uniform", "distance"])
@pytest.mark.parametrize("ties", ["label", "nearest"])
def test_so_it_is_for_every_vote(weights: str, ties: str) -> None:
    X, y = blobs()
    ks = (4, 2, 1, 7, 2, 40)
    ours = KNeighborsClassifierCV(ks, weights=weights, ties=ties).fit(X, y)
    grid = {"metric": ("l1", "l2"), "n_neighbors": ks}
    model = KNeighborsClassifier(weights=weights, ties=ties)
    assert_same_results(ours.cv_results_, GridSearchCV(model, grid).fit(X, y).cv_results_)
    assert (ours.best_estimator_.weights, ours.best_estimator_.ties) == (weights, ties)


# --- ties, on every backend ---------------------------------------------------------------------


def by_refitting(X: Any, y: Any, ks: Any, metrics: Any, folds: Any, **options: Any) -> list[float]:
    """The mean accuracy of each setting by a loop that fits a model for every one of them."""
    means = []
    for metric, k in itertools.product(metrics, ks):
        scores = []
        for train, test in folds:
            model = KNeighborsClassifier(k, metric=metric, **options).fit(X[train], y[train])
            scores.append(np.mean(model.predict(X[test]) == y[test]))
        means.append(float(np.mean(scores)))
    return means


@pytest.mark.filterwarnings("ignore:the smallest class has")
@settings(max_examples=15)
@given(data=st.data())
def test_any_small_set_scores_as_refitting_does(backend: Backend, data: st.DataObject) -> None:
    n, features = data.draw(st.integers(9, 24)), data.draw(st.integers(1, 3))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**16)))
    X = rng.integers(0, 3, (n, features)).astype("float32")
    y = np.r_[[0, 1] * 3, rng.integers(0, 3, n - 6)]
    folds = list(StratifiedKFold(3, random_state=0).split(X, y))
    ks = data.draw(st.lists(st.integers(1, n - -(-n // 3)), min_size=1, max_size=4))
    options = {
        "weights": data.draw(st.sampled_from(["uniform", "distance"])),
        "ties": data.draw(st.sampled_from(["label", "nearest"])),
    }
    metrics = ("l2", "l1")
    search = KNeighborsClassifierCV(ks, metrics, folds, **options)
    search.fit(backend.asarray(X), backend.asarray(y))
    found = search.cv_results_["mean_test_score"].tolist()
    assert found == by_refitting(X, y, ks, metrics, folds, **options)
    assert search.best_index_ == found.index(max(found))
    assert search.best_score_ == max(found)


def test_everything_stays_on_the_device(backend: Backend) -> None:
    X, y = blobs()
    on_device = backend.asarray(X), backend.asarray(y)
    here = KNeighborsClassifierCV((1, 3, 20)).fit(X, y)
    there = KNeighborsClassifierCV((1, 3, 20)).fit(*on_device)
    for name, column in here.cv_results_.items():
        assert type(there.cv_results_[name]) is type(column)
        if "time" not in name:
            assert list(there.cv_results_[name]) == list(column)
    for method in ("predict", "predict_proba"):
        found = getattr(there, method)(on_device[0])
        assert type(found) is type(on_device[0])
        np.testing.assert_array_equal(to_host(found), getattr(here, method)(X))
    indices = there.kneighbors(on_device[0], 2)[1]
    np.testing.assert_array_equal(to_host(indices), here.kneighbors(X, 2, return_distance=False))
    assert there.score(*on_device) == here.score(X, y)
    assert type(there.classes_) is type(on_device[1]) and there.n_features_in_ == 3


def test_one_search_for_each_fold_and_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def counted(queries: Any, points: Any, k: int, metric: str, budget: Any) -> Any:
        asked.append((queries.shape[0], k, metric))
        return xpcls.distances.nearest(queries, points, k, metric, budget)

    replace_search(monkeypatch, counted)
    X, y = blobs()
    KNeighborsClassifierCV((1, 9, 5, 2, 20, 7), cv=KFold(3)).fit(X, y)
    assert sorted(asked) == [(30, 20, "l1")] * 3 + [(30, 20, "l2")] * 3


def test_accuracy_is_a_share_of_the_folds_own_rows() -> None:
    X, y = blobs(50)
    folds = [(np.arange(10, 50), np.arange(10)), (np.arange(20), np.arange(20, 50))]
    search = KNeighborsClassifierCV((1,), ("l1",), folds).fit(X, y)
    for i, (train, test) in enumerate(folds):
        right = KNeighborsClassifier(1, metric="l1").fit(X[train], y[train]).predict(X[test])
        assert search.cv_results_[f"split{i}_test_score"][0] == (right == y[test]).sum() / len(test)


def test_the_times_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count()
    monkeypatch.setattr(_neighbors_cv.time, "perf_counter", lambda: next(ticks))
    X, y = blobs()
    search = KNeighborsClassifierCV((1, 2, 5, 7), cv=3, memory_budget=2**20)  # one after the other
    results = search.fit(X, y).cv_results_
    # Each of the 6 searches takes one tick for fitting and one for all the rest, shared by 4.
    assert results["mean_fit_time"].tolist() == results["mean_score_time"].tolist() == [0.25] * 8
    assert results["std_fit_time"].tolist() == results["std_score_time"].tolist() == [0.0] * 8


def test_text_labels_groups_and_images() -> None:
    X, y = blobs(60)
    words = np.asarray(["ant", "bee", "cat"])[y]
    groups = np.arange(60) % 7
    images = X.reshape(60, 1, 1, 3)
    search = KNeighborsClassifierCV((1, 3), cv=GroupKFold(3)).fit(images, words, groups)
    numbers = KNeighborsClassifierCV((1, 3), cv=GroupKFold(3)).fit(X, y, groups=groups)
    np.testing.assert_array_equal(
        search.cv_results_["mean_test_score"], numbers.cv_results_["mean_test_score"]
    )
    assert set(search.predict(images)) <= {"ant", "bee", "cat"}
    assert search.image_shape_ == (1, 1, 3)


def test_searches_side_by_side_give_what_one_after_the_other_gives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    X, y = blobs()
    threads = []

    def noted(work: Any, parts: Any, n: int, tell: Any) -> None:
        threads.append(n)
        in_threads(work, parts, n, tell)

    monkeypatch.setattr(_neighbors_cv, "in_threads", noted)
    monkeypatch.setattr(_neighbors_cv, "thread_count", lambda xp: 4)
    side = KNeighborsClassifierCV((1, 5, 20)).fit(X, y).cv_results_
    one = KNeighborsClassifierCV((1, 5, 20), memory_budget=2**20).fit(X, y).cv_results_
    monkeypatch.setattr(_neighbors_cv, "SMALL", 72 * 18 * 3 - 1)
    large = KNeighborsClassifierCV((1, 5, 20)).fit(X, y).cv_results_
    assert threads == [4, 1, 1]
    for name in side:
        if "time" not in name:
            assert list(side[name]) == list(one[name]) == list(large[name])


@pytest.mark.parametrize("budget", [None, 2**20])
def test_progress_is_told_and_ends(budget: int | None) -> None:
    told: list[Any] = []
    with listen(lambda task, done, total, facts: told.append((task, done, total))):
        KNeighborsClassifierCV((1,), cv=3, memory_budget=budget).fit(*blobs())
    folds = [done for task, done, total in told if task == "folds"]
    assert folds == [0, 1, 1, 2, 2, 3]


def test_without_refit_there_is_a_choice_and_no_model() -> None:
    X, y = blobs()
    search = KNeighborsClassifierCV((1, 3)).fit(X, y)
    again = search.set_params(refit=False).fit(X, y)
    assert again.best_params_ in again.cv_results_["params"]
    for method in (again.predict, again.predict_proba, again.kneighbors):
        with pytest.raises(AttributeError, match="refit is False, so there is no model to predict"):
            method(X)


def test_without_refit_k_may_exceed_the_rows_where_folds_repeat_them() -> None:
    X, y = blobs()
    cv = [(list(range(80)) * 2, range(80, 90))]
    search = KNeighborsClassifierCV((91,), ("l1",), cv, refit=False).fit(X, y)
    assert search.best_params_ == {"metric": "l1", "n_neighbors": 91}


def test_values_of_k_may_be_a_range_or_an_array() -> None:
    X, y = blobs()
    tried = [KNeighborsClassifierCV(ks).fit(X, y) for ks in (range(1, 4), np.arange(1, 4))]
    assert tried[0].best_params_ == tried[1].best_params_


def test_ctrl_c_keeps_the_folds_that_are_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = blobs()
    whole = KNeighborsClassifierCV((1, 3), cv=5).fit(X, y).cv_results_
    scored = KNeighborsClassifierCV._scored
    for calls in (0, 1, 5):
        left = iter([True] * calls)

        def interrupted(self: Any, *arguments: Any, left: Any = left) -> Any:
            if next(left, False):
                return scored(self, *arguments)
            raise KeyboardInterrupt

        monkeypatch.setattr(KNeighborsClassifierCV, "_scored", interrupted)
        search = KNeighborsClassifierCV((1, 3), cv=5, memory_budget=2**20)
        with pytest.raises(KeyboardInterrupt):
            search.fit(X, y)
        if calls < 2:
            assert not hasattr(search, "classes_")
            continue
        assert search.n_splits_ == 2
        for i in range(2):
            name = f"split{i}_test_score"
            assert search.cv_results_[name].tolist() == whole[name].tolist()
        assert f"split{2}_test_score" not in search.cv_results_


# --- scikit-learn's customs, and bad input ------------------------------------------------------


def sklearn_checks(estimator: Any) -> pytest.MarkDecorator:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not inherit from")
        mark = parametrize_with_checks([estimator])
        return pytest.mark.parametrize(mark.args[0], list(mark.args[1]), **mark.kwargs)


@warned
@pytest.mark.filterwarnings("ignore:the smallest class has")
@sklearn_checks(KNeighborsClassifierCV((1, 3), cv=2))
def test_passes_every_check_of_scikit_learn(
    estimator: Any, check: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    check(estimator)


@warned
def test_clone_pickle_and_nesting() -> None:
    X, y = blobs()
    search = KNeighborsClassifierCV((1, 3), cv=KFold(3)).fit(X, y)
    copy = clone(search)
    assert repr(copy) == repr(search) and not hasattr(copy, "classes_")
    with pytest.raises(NotFittedError):
        copy.predict(X)
    again = pickle.loads(pickle.dumps(search))
    np.testing.assert_array_equal(again.predict(X), search.predict(X))
    outer = cross_val_score(search, X, y, cv=3)
    assert outer.shape == (3,) and (outer > 0.5).all()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_neighbors": 5}, r"n_neighbors is 5, expected several, such as \(1, 3, 5\)"),
        ({"n_neighbors": iter([1, 3])}, "n_neighbors is <list_iterator .*, expected several"),
        ({"metrics": iter(["l1"])}, "metrics is <list_iterator .*, expected several"),
        (
            {"n_neighbors": (1, 91), "cv": [(list(range(80)) * 2, range(80, 90))]},
            "n_neighbors holds 91, but X has only 90 rows to fit the best on; leave out",
        ),
        ({"n_neighbors": "15"}, "n_neighbors is '15', expected several"),
        ({"n_neighbors": ()}, "n_neighbors is empty, expected at least one"),
        ({"n_neighbors": (1, 0)}, "n_neighbors is 0, expected an integer of at least 1"),
        ({"n_neighbors": (1, 2.0)}, "n_neighbors is 2.0, expected an integer"),
        ({"metrics": "l1"}, "metrics is 'l1', expected several, such as"),
        ({"metrics": ()}, "metrics is empty"),
        ({"metrics": ("l1", "l3")}, "metrics is 'l3', expected one of 'l1'"),
        ({"weights": "none"}, "weights is 'none', expected one of"),
        ({"ties": "coin"}, "ties is 'coin', expected one of"),
        ({"memory_budget": 0}, "memory_budget is 0, expected an integer of at least 1"),
        ({"refit": "yes"}, "refit is 'yes', expected True or False"),
        ({"cv": 1}, "cv is 1, expected an integer of at least 2"),
        (
            {"n_neighbors": (1, 71, 72), "cv": [(range(80), [80]), (range(70), [80])]},
            "n_neighbors holds 72, but the training rows of fold 1 are only 70; leave out",
        ),
        (
            {"cv": [(np.flatnonzero(blobs()[1] == 0), np.flatnonzero(blobs()[1] == 1))]},
            r"the training rows of fold 0 are all of one class; shuffle or stratify",
        ),
    ],
)
def test_bad_parameters_are_named_and_change_nothing(params: Any, message: str) -> None:
    X, y = blobs()
    search = KNeighborsClassifierCV((1, 3)).fit(X, y)
    before = search.cv_results_, search.best_estimator_
    with pytest.raises((TypeError, ValueError), match=message):
        search.set_params(**params).fit(X, y)
    assert (search.cv_results_, search.best_estimator_) == before


def test_bad_rows_are_named(fake: Backend) -> None:
    X, y = blobs()
    with pytest.raises(ValueError, match="contains NaN"):
        KNeighborsClassifierCV().fit(np.full_like(X, np.nan), y)
    with pytest.raises(ValueError, match="X has 90 rows and y has 5 entries"):
        KNeighborsClassifierCV().fit(X, y[:5])
    search = KNeighborsClassifierCV((1, 3)).fit(X, y)
    with pytest.raises(ValueError, match="X has 2 features, but KNeighborsClassifier"):
        search.predict(X[:, :2])
    with pytest.raises((TypeError, ValueError), match="move one of them"):
        search.predict(fake.asarray(X))
