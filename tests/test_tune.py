"""tune: every setting, chosen on validation, fitted again, tested once; nothing lost on Ctrl-C."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import get_scorer
from sklearn.model_selection import GridSearchCV, ParameterGrid
from sklearn.model_selection._search import _yield_masked_array_for_each_param
from sklearn.neighbors import KNeighborsClassifier as Theirs
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from xpcls import KNeighborsClassifier, LinearClassifier
from xpcls.model_selection import GroupKFold, KFold, SealedTestSet, Tuned, tune
from xpcls.model_selection._fingerprint import fingerprint
from xpcls.model_selection._results import ranks, settings_of
from xpcls.model_selection._search import Trial, cloned
from xpcls.progress import listen
from xpcls.training import DivergenceError
from xpcls_backends import Backend, namespace_of, to_host
from xpcls_backends._tables import MISSING, masked_column

rng = np.random.default_rng(0)
Y = rng.integers(0, 3, 90)
X = (rng.normal(size=(90, 4)) + Y[:, None]).astype("float32")
X_TEST, Y_TEST = X[:30] + np.float32(0.1), Y[:30]


class Echo:
    """An estimator whose score is its parameter, and that writes down what it is given."""

    log: ClassVar[list[Any]] = []

    def __init__(self, value: Any = 0.5, other: Any = None) -> None:
        self.value, self.other = value, other

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        return {"value": self.value, "other": self.other}

    def set_params(self, **params: Any) -> Echo:
        for name, value in params.items():
            if name not in ("value", "other"):
                raise ValueError(f"Invalid parameter {name!r}")
            setattr(self, name, value)
        return self

    def fit(self, X: Any, y: Any) -> Echo:
        if isinstance(self.value, type):
            raise self.value("stopped")
        self.fitted_on = len(y)
        Echo.log.append(("fit", self.value, len(y)))
        return self

    def predict(self, X: Any) -> Any:
        return [0] * len(X)

    def score(self, X: Any, y: Any) -> float:
        Echo.log.append(("score", self.value, len(y)))
        return float(self.value)


@pytest.fixture(autouse=True)
def empty_log() -> None:
    Echo.log = []


def test_the_table_is_that_of_scikit_learns_search() -> None:
    grid = {"n_neighbors": [5, 1, 20], "weights": ["uniform", "distance"]}
    ours = tune(Theirs(), grid, X, Y, cv=4)
    theirs = GridSearchCV(Theirs(), grid, cv=4).fit(X, Y)
    results = ours.cv_results
    assert list(results) == list(theirs.cv_results_)
    for name, column in theirs.cv_results_.items():
        assert type(results[name]) is type(column)
        if "time" not in name:
            assert list(results[name]) == list(column), name
    assert ours.best_index == theirs.best_index_ and ours.best_params == theirs.best_params_
    assert ours.best_score == theirs.best_score_
    np.testing.assert_array_equal(ours.model.predict(X_TEST), theirs.predict(X_TEST))


GRIDS: list[Any] = [
    {},
    {"b": [1, 2], "a": ("x", "y", "z")},
    [{"a": [1]}, {"b": np.asarray([2.0, 3.0]), "a": range(2)}, {}],
]


@pytest.mark.parametrize("grid", GRIDS)
def test_settings_come_in_the_order_of_scikit_learn(grid: Any) -> None:
    assert settings_of(grid) == list(ParameterGrid(grid))


def test_settings_without_a_parameter_are_masked_as_in_scikit_learn() -> None:
    grid = [{"n_neighbors": [1, 2]}, {"weights": ["distance"], "p": [1]}]
    ours = tune(Theirs(), grid, X, Y).cv_results
    theirs = GridSearchCV(Theirs(), grid).fit(X, Y).cv_results_
    assert list(ours) == list(theirs)
    for name in ("param_n_neighbors", "param_weights", "param_p"):
        assert ours[name].dtype == theirs[name].dtype
        assert ours[name].mask.tolist() == theirs[name].mask.tolist()
        assert ours[name].tolist() == theirs[name].tolist()


@pytest.mark.parametrize(
    "values", [[1, 2], [0.5, 1], ["a", None], [(5,), (6,)], [(5,), (5, 3)], [True, False], [None]]
)
def test_columns_of_parameters_are_scikit_learns(values: list[Any]) -> None:
    candidates = [{"a": value} for value in values] + [{"b": 1}]
    (theirs, _) = dict(_yield_masked_array_for_each_param(candidates)).values()
    ours = masked_column([*values, MISSING])
    assert (ours.dtype, ours.mask.tolist()) == (theirs.dtype, theirs.mask.tolist())
    assert ours.tolist() == theirs.tolist()


@given(st.lists(st.sampled_from([0.1, 0.25, 0.5, float("nan")]), min_size=1, max_size=8))
def test_equal_means_share_the_better_rank_and_nan_is_last(means: list[float]) -> None:
    order = [-1.0 if np.isnan(mean) else mean for mean in means]
    assert ranks(means) == [1 + sum(other > mean for other in order) for mean in order]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_a_trials_mean_is_that_of_the_table(scores: list[float]) -> None:
    found = Tuned("x", (Trial({}, tuple(scores), tuple(scores), tuple(scores)),), 0)
    assert found.trials[0].mean == found.best_score == found.cv_results["mean_test_score"][0]


def test_the_first_of_equal_settings_is_taken() -> None:
    found = tune(Echo(), {"value": [0.2, 0.7, 0.7, 0.1]}, X, Y, cv=3)
    assert found.best_index == 1 and found.best_params == {"value": 0.7}
    assert found.cv_results["rank_test_score"].tolist() == [3, 1, 1, 4]


@pytest.mark.parametrize("with_validation", [False, True])
def test_the_best_is_fitted_on_everything_but_the_test_set_and_tested_once(
    with_validation: bool,
) -> None:
    test = SealedTestSet(X_TEST, Y_TEST)
    options: dict[str, Any] = {"validation": (X[:20], Y[:20])} if with_validation else {"cv": 3}
    rows = X[20:], Y[20:]
    estimator = Echo()
    found = tune(estimator, {"value": [0.25, 0.75]}, *rows, test=test, **options)
    n = 90 if with_validation else 70
    assert found.model.fitted_on == n and found.model is not estimator
    assert Echo.log[-2:] == [("fit", 0.75, n), ("score", 0.75, 30)]
    assert [entry for entry in Echo.log if entry[2] == 30] == [("score", 0.75, 30)]
    assert found.test_score == 0.75 and found.opened_before == 0 and len(test.openings) == 1
    assert len(found.trials[0].scores) == (1 if with_validation else 3)
    assert not hasattr(estimator, "fitted_on")
    with pytest.warns(UserWarning, match="this is opening 2"):
        again = tune(estimator, {}, *rows, test=test, **options)
    assert again.opened_before == 1
    assert "which had been opened 1 time before" in str(again)


def test_the_rows_of_validation_are_joined_for_the_last_fit(backend: Backend) -> None:
    part = backend.asarray(X[:60]), backend.asarray(Y[:60])
    validation = backend.asarray(X[60:]), backend.asarray(Y[60:])
    grid = {"n_neighbors": [1, 5]}
    found = tune(KNeighborsClassifier(), grid, *part, validation=validation)
    for trial in found.trials:
        model = KNeighborsClassifier(**trial.setting).fit(X[:60], Y[:60])
        assert trial.scores == (model.score(X[60:], Y[60:]),)
    model = KNeighborsClassifier(**found.best_params).fit(X, Y)
    predicted = found.model.predict(backend.asarray(X_TEST))
    assert namespace_of(predicted) is backend.xp
    np.testing.assert_array_equal(to_host(predicted), model.predict(X_TEST))


def test_folds_are_taken_on_the_device(backend: Backend) -> None:
    on_device = backend.asarray(X), backend.asarray(Y)
    grid = {"n_neighbors": [1, 5], "metric": ["l1", "l2"]}
    cv = KFold(3)
    here, there = (tune(KNeighborsClassifier(), grid, *d, cv=cv) for d in ((X, Y), on_device))
    assert [t.scores for t in here.trials] == [t.scores for t in there.trials]
    sealed = SealedTestSet(backend.asarray(X_TEST), backend.asarray(Y_TEST))
    assert sealed.score(there.model) == here.model.score(X_TEST, Y_TEST)


def test_text_labels_groups_frames_and_lists() -> None:
    pandas = pytest.importorskip("pandas")
    words = np.asarray(["ant", "bee", "cat"])[Y]
    groups = np.arange(90) % 8
    plain = tune(Theirs(), {"n_neighbors": [1, 3]}, X, Y, cv=GroupKFold(3), groups=groups)
    frame = pandas.DataFrame(X, columns=list("abcd"))
    for rows, y in ((frame, pandas.Series(words)), (X.tolist(), words.tolist()), (X, words)):
        found = tune(
            Theirs(), {"n_neighbors": [1, 3]}, rows, y, cv=GroupKFold(3), groups=groups.tolist()
        )
        assert [t.scores for t in found.trials] == [t.scores for t in plain.trials]
    framed = tune(Theirs(), {}, frame, words)
    assert framed.model.feature_names_in_.tolist() == list("abcd")
    with pytest.raises(TypeError, match="X and the X of validation are data frames, which only"):
        tune(Theirs(), {}, frame, words, validation=(frame, words))


def test_parameters_of_pipelines_and_steps_as_values() -> None:
    pipeline = Pipeline([("scale", StandardScaler()), ("model", KNeighborsClassifier())])
    grid = {
        "model": [KNeighborsClassifier(), LinearClassifier(epochs=3, random_state=0)],
        "scale": [StandardScaler(), MinMaxScaler()],
    }
    found = tune(pipeline, [grid, {"model__n_neighbors": [1, 9]}], X, Y, cv=3)
    assert len(found.trials) == 6
    for trial in found.trials[-2:]:
        pipe = Pipeline(
            [
                ("scale", StandardScaler()),
                ("model", KNeighborsClassifier(trial.setting["model__n_neighbors"])),
            ]
        )
        theirs = GridSearchCV(pipe, {}, cv=3).fit(X, Y)
        assert trial.mean == theirs.best_score_
    # Nothing of the caller's was fitted: each fit is of a new object, steps and values too.
    assert not hasattr(pipeline.named_steps["model"], "classes_")
    assert not any(hasattr(model, "classes_") for model in grid["model"])
    assert not any(hasattr(scaler, "n_features_in_") for scaler in grid["scale"])


def test_pipelines_of_both_houses_are_tuned_alike() -> None:
    from xpcls.features import Pipeline as OurPipeline
    from xpcls.features import StandardScaler as OurScaler

    grid = {"model__n_neighbors": [1, 9], "model__metric": ["l1", "l2"]}
    ours = OurPipeline([("scale", OurScaler()), ("model", KNeighborsClassifier())])
    theirs = Pipeline([("scale", OurScaler()), ("model", KNeighborsClassifier())])
    test = SealedTestSet(X_TEST, Y_TEST)
    found = tune(ours, grid, X, Y, cv=3, test=test)
    assert [t.scores for t in found.trials] == [
        t.scores for t in tune(theirs, grid, X, Y, cv=3).trials
    ]
    assert test.openings[0].models == (("Pipeline", fingerprint(found.model)),)


def test_a_clone_has_the_parameters_and_nothing_learnt() -> None:
    fitted = KNeighborsClassifier(3, metric="l1").fit(X, Y)
    copy = cloned(fitted)
    assert copy.get_params() == fitted.get_params() and not hasattr(copy, "classes_")
    generator = np.random.default_rng(5)
    first, second = (cloned(LinearClassifier(random_state=generator)) for _ in range(2))
    assert first.random_state is not generator
    assert first.random_state.integers(1000) == second.random_state.integers(1000)
    nested = cloned(Echo(value=[("a", fitted)], other=(Echo, {"b": 1})))
    assert nested.value[0][1] is not fitted and not hasattr(nested.value[0][1], "classes_")
    assert nested.other == (Echo, {"b": 1})


def test_other_scores() -> None:
    scorer = get_scorer("f1_macro")
    found = tune(LogisticRegression(), {"C": [0.01, 1.0]}, X, Y, cv=3, scoring=scorer)
    theirs = GridSearchCV(LogisticRegression(), {"C": [0.01, 1.0]}, cv=3, scoring="f1_macro")
    assert found.best_score == theirs.fit(X, Y).best_score_
    test = SealedTestSet(X_TEST, Y_TEST)
    tested = tune(LogisticRegression(), {"C": [0.01]}, X, Y, scoring=scorer, test=test)
    assert tested.test_score == scorer(tested.model, X_TEST, Y_TEST)
    assert tested.test_score != tested.model.score(X_TEST, Y_TEST)


def test_a_setting_that_diverges_is_last_and_told() -> None:
    grid = {"value": [0.25, DivergenceError, 0.5]}
    with pytest.warns(UserWarning, match="training diverged, so the score is NaN, in fold 0 of"):
        found = tune(Echo(), grid, X, Y, cv=3)
    assert found.best_params == {"value": 0.5}
    assert np.isnan(found.trials[1].scores).all() and "stopped" in str(found.trials[1].failure)
    assert found.cv_results["rank_test_score"].tolist() == [2, 3, 1]
    assert found.table.splitlines()[-1].startswith("   3     nan")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match="training diverged in every setting: fold 0 of"):
            tune(Echo(), {"value": [DivergenceError]}, X, Y)


@pytest.mark.parametrize("kind", [DivergenceError, FloatingPointError, OverflowError])
def test_what_counts_as_divergence(kind: Any) -> None:
    with pytest.warns(UserWarning, match="training diverged"):
        assert tune(Echo(), {"value": [kind, 0.5]}, X, Y, cv=3).best_params == {"value": 0.5}


def test_a_mistake_is_no_divergence() -> None:
    with pytest.raises(ZeroDivisionError):
        tune(Echo(), {"value": [0.5, ZeroDivisionError]}, X, Y)


def test_scores_that_are_all_nan_are_told_as_such() -> None:
    with pytest.raises(ValueError, match="scoring gave NaN for every setting; expected a finite"):
        tune(Echo(), {"value": [float("nan")]}, X, Y)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, MemoryError])
def test_what_was_found_before_an_exception_is_not_lost(kind: Any) -> None:
    with pytest.raises(kind) as caught:
        tune(Echo(), {"value": [0.25, 0.75, kind, 1.0]}, X, Y, cv=3)
    found = caught.value.found  # type: ignore[attr-defined]
    assert [trial.mean for trial in found.trials] == [0.25, 0.75]
    assert found.best_params == {"value": 0.75} and found.model is None
    (note,) = caught.value.__notes__
    assert note.startswith("2 of 4 settings were scored:") and "0.7500" in note
    with pytest.raises(kind) as caught:
        tune(Echo(), {"value": [kind]}, X, Y)
    assert not hasattr(caught.value, "found")


def test_ctrl_c_in_the_last_fit_keeps_the_table_and_the_model() -> None:
    class Interrupted(Echo):
        def fit(self, X: Any, y: Any) -> Echo:
            super().fit(X, y)
            if len(y) == 90:
                raise KeyboardInterrupt
            return self

    with pytest.raises(KeyboardInterrupt) as caught:
        tune(Interrupted(), {"value": [0.25, 0.75]}, X, Y)
    found = caught.value.found  # type: ignore[attr-defined]
    assert len(found.trials) == 2 and found.model.fitted_on == 90


def test_progress_is_told_and_ends() -> None:
    told: list[Any] = []
    with listen(lambda task, done, total, facts: told.append((task, done, total))):
        tune(Echo(), {"value": [0.25, 0.75]}, X, Y, cv=3, refit=False)
    assert [t for t in told if t[0] == "settings"] == [("settings", i, 2) for i in range(3)]
    assert told.count(("folds", 3, 3)) == 2


def test_the_table_for_people() -> None:
    found = tune(Echo(), {"value": [0.25, 0.75]}, X, Y, cv=2)
    assert found.table.splitlines() == [
        "rank    mean     std  fold 0  fold 1  setting",
        "   1  0.7500  0.0000  0.7500  0.7500  value=0.75",
        "   2  0.2500  0.0000  0.2500  0.2500  value=0.25",
    ]
    assert str(found).endswith("best on validation: {'value': 0.75}, 0.7500")
    assert repr(found) == "<Tuned: Echo, 2 settings, best {'value': 0.75} with 0.7500>"
    assert tune(Echo(), {}, X, Y).table.endswith("as it is")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"estimator": Echo}, "estimator is <class .*>, expected an object with get_params"),
        ({"estimator": 3}, "estimator is 3, expected an object with get_params"),
        ({"grid": "value"}, "grid is 'value', expected a dict of name: values, or a list"),
        ({"grid": []}, r"grid is \[\], expected a dict"),
        ({"grid": [3]}, "grid holds 3, expected a dict"),
        ({"grid": {"value": 3}}, r"grid\['value'\] is 3, .*; for one value give \[3\]"),
        ({"grid": {"value": "ab"}}, r"grid\['value'\] is 'ab', expected a sequence"),
        ({"grid": {"value": []}}, r"grid\['value'\] is empty"),
        ({"grid": [{"value": [1]}, {"valeu": [1]}]}, "Invalid parameter 'valeu'"),
        ({"X": X[0, 0]}, "X has shape"),
        ({"X": X[:0], "y": Y[:0]}, r"X has shape \(0, 4\), expected at least one row"),
        ({"y": Y[:3]}, r"y has shape \(3,\), expected \(90,\), one label a row of X"),
        ({"cv": 1}, "cv is 1, expected"),
        ({"validation": (X, Y), "cv": 5}, "cv or groups is given beside validation"),
        ({"validation": (X, Y[:4])}, r"the y of validation has shape \(4,\)"),
        ({"validation": 3}, "validation is 3, expected"),
        (
            {"validation": (X[:, :2], Y)},
            r"the X of validation holds .*float32.* of shape \(90, 2\)",
        ),
        (
            {"validation": (X.astype("float64"), Y)},
            r"the X of validation holds .*float64 of shape .* but X holds .*float32.*convert one",
        ),
        ({"validation": (X, Y + 0.0)}, "the y of validation holds float64"),
        ({"validation": (X, Y > 0)}, "the y of validation holds bool"),
        ({"validation": (X, Y.astype(str))}, "the y of validation holds <U"),
        ({"test": (X, Y)}, r"test is .*, expected a SealedTestSet\(X_test, y_test\)"),
        (
            {"test": SealedTestSet(X, Y), "refit": False},
            "test is given, but refit is False, so there is no model to test",
        ),
        ({"refit": 1}, "refit is 1, expected True or False"),
        ({"scoring": "f1"}, "scoring is 'f1', expected a function"),
    ],
)
def test_bad_arguments_are_named_before_anything_is_fitted(
    changes: dict[str, Any], message: str
) -> None:
    arguments = {"estimator": Echo(), "grid": {"value": [0.5]}, "X": X, "y": Y, **changes}
    first = [arguments.pop(name) for name in ("estimator", "grid", "X", "y")]
    with pytest.raises((TypeError, ValueError), match=message):
        tune(*first, **arguments)
    assert not Echo.log
