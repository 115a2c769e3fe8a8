"""scikit-learn takes the classifiers for its own: its checks, and what its users do with them."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sklearn
from sklearn.base import clone, is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_blobs
from sklearn.ensemble import BaggingClassifier, VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.inspection import permutation_importance
from sklearn.model_selection import (
    GridSearchCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_html_repr
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import check_is_fitted

from xpcls import KNeighborsClassifier, LinearClassifier, MLPClassifier
from xpcls.optimizers import Adam, Cosine

# Both are told from others by what they have, not by what they inherit from: scikit-learn is no
# dependency of xpcls.
pytestmark = pytest.mark.filterwarnings("ignore:.*does not inherit from")

LOSSES = ("softmax", "hinge", "squared_hinge", "one_vs_all", "structured")
OPTIMIZERS = ("gd", "momentum", "nesterov", "adam", "random_local_search")
X, Y = make_blobs(n_samples=120, centers=3, n_features=5, cluster_std=2.0, random_state=0)


def knn(**params: Any) -> KNeighborsClassifier:
    return KNeighborsClassifier(**params)


def linear(**params: Any) -> LinearClassifier:
    return LinearClassifier(**{"epochs": 20, "random_state": 0, **params})


def mlp(**params: Any) -> MLPClassifier:
    return MLPClassifier(**{"epochs": 30, "batch_size": 20, "random_state": 0, **params})


EACH = pytest.mark.parametrize("make", [knn, linear, mlp])
CHECKED = [
    *(
        KNeighborsClassifier(metric=metric, weights=weights)
        for metric in ("l1", "l2")
        for weights in ("uniform", "distance")
    ),
    KNeighborsClassifier(n_neighbors=1, ties="nearest"),
    *(LinearClassifier(loss) for loss in LOSSES),
    *(LinearClassifier(optimizer=name) for name in OPTIMIZERS),
    LinearClassifier(optimizer=Adam(beta1=0.8), schedule=Cosine(), l1=1e-3),
    MLPClassifier(),
    MLPClassifier((8, 4), loss="squared_hinge", activation="tanh"),
    MLPClassifier(6, loss="squared_error", activation="sigmoid", optimizer="nesterov"),
]


def sklearn_checks(estimators: list[Any]) -> pytest.MarkDecorator:
    """`parametrize_with_checks`, whose warning about the base class would stop the collection."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not inherit from")
        mark = parametrize_with_checks(estimators)
        names, cases = mark.args
        # Older releases give a generator, which would warn when pytest runs through it.
        return pytest.mark.parametrize(names, list(cases), **mark.kwargs)


@sklearn_checks(CHECKED)
def test_passes_every_check_of_scikit_learn(
    estimator: Any, check: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")  # without it a check is skipped
    check(estimator)


@EACH
def test_clone_copies_parameters_and_nothing_learnt(make: Callable[..., Any]) -> None:
    model = make().fit(X, Y)
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    with pytest.raises(NotFittedError):
        check_is_fitted(copy)
    check_is_fitted(model)
    assert is_classifier(model)


@EACH
def test_unfitted_use_is_scikit_learns_error(make: Callable[..., Any]) -> None:
    with pytest.raises(NotFittedError, match="not fitted yet"):
        make().predict(X)
    with pytest.raises(NotFittedError):
        make().score(X, Y)


@EACH
def test_pickle_keeps_predictions(make: Callable[..., Any]) -> None:
    model = make().fit(X, Y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))


@EACH
def test_pipeline_scales_and_scores(make: Callable[..., Any]) -> None:
    pipeline = make_pipeline(StandardScaler(), make()).fit(X, Y)
    assert pipeline.score(X, Y) > 0.9
    np.testing.assert_array_equal(pipeline.classes_, [0, 1, 2])
    assert pipeline.n_features_in_ == 5
    assert cross_val_score(pipeline, X, Y, cv=4).min() > 0.8
    assert cross_val_predict(pipeline, X, Y, cv=4).shape == Y.shape


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize(
    ("model", "grid"),
    [
        (knn(), {"classifier__n_neighbors": [1, 5], "classifier__metric": ["l1", "l2"]}),
        (linear(), {"classifier__loss": ["softmax", "hinge"], "classifier__l2": [0.0, 0.1]}),
    ],
)
def test_grid_search(model: Any, grid: dict[str, list[Any]], n_jobs: int) -> None:
    pipeline = Pipeline([("scale", StandardScaler()), ("classifier", model)])
    search = GridSearchCV(pipeline, grid, cv=3, n_jobs=n_jobs, error_score="raise").fit(X, Y)
    assert len(search.cv_results_["params"]) == 4
    assert search.best_score_ > 0.85
    assert search.predict(X).shape == Y.shape


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_error_of_one_candidate_comes_through_worker_processes(n_jobs: int) -> None:
    search = GridSearchCV(knn(), {"n_neighbors": [-1]}, n_jobs=n_jobs, error_score="raise")
    with pytest.raises(ValueError, match="n_neighbors is -1"):
        search.fit(X, Y)


def test_scorers_ask_for_probabilities_and_for_scores() -> None:
    two = Y != 0
    result = cross_validate(linear(), X, two, scoring=["roc_auc", "neg_log_loss", "accuracy"])
    assert result["test_roc_auc"].min() > 0.7
    result = cross_validate(linear(loss="hinge"), X, two, scoring=["roc_auc", "f1"])
    assert result["test_roc_auc"].min() > 0.7
    assert cross_val_score(knn(), X, Y, scoring="roc_auc_ovr").min() > 0.8


def test_soft_vote_of_two() -> None:
    members = [("weak", linear(l2=1.0)), ("strong", linear(l2=0.0)), ("near", knn())]
    vote = VotingClassifier(members, voting="soft").fit(X, Y)
    mean = np.mean([member.predict_proba(X) for member in vote.estimators_], axis=0)
    np.testing.assert_allclose(vote.predict_proba(X), mean)
    np.testing.assert_array_equal(vote.predict(X), mean.argmax(axis=1))


@EACH
def test_bagging(make: Callable[..., Any]) -> None:
    bag = BaggingClassifier(make(), n_estimators=4, random_state=0).fit(X, Y)
    assert bag.score(X, Y) > 0.85
    if make is linear:
        seeds = {member.random_state for member in bag.estimators_}
        assert len(seeds) == 4, "bagging could not give its members seeds of their own"


@pytest.mark.parametrize("model", [linear(loss="hinge"), linear(loss="structured"), knn()])
def test_calibration(model: Any) -> None:
    calibrated = CalibratedClassifierCV(model, cv=3).fit(X, Y)
    np.testing.assert_allclose(calibrated.predict_proba(X).sum(axis=1), 1.0, rtol=1e-6)
    assert calibrated.score(X, Y) > 0.85


@pytest.mark.parametrize("model", [linear(), linear(loss="squared_hinge"), knn()])
def test_one_vs_rest_of_two_class_models(model: Any) -> None:
    rest = OneVsRestClassifier(model).fit(X, Y)
    assert len(rest.estimators_) == 3
    assert rest.score(X, Y) > 0.85


@EACH
def test_permutation_importance_finds_the_feature_that_decides(make: Callable[..., Any]) -> None:
    rng = np.random.default_rng(0)
    noisy = rng.normal(size=(200, 3))
    model = make().fit(noisy, noisy[:, 1] > 0)
    importance = permutation_importance(model, noisy, noisy[:, 1] > 0, random_state=0, n_repeats=3)
    assert importance["importances_mean"].argmax() == 1


def test_learning_curve_grows_by_partial_fit() -> None:
    sizes, _, scores = learning_curve(
        linear(), X, Y, train_sizes=[20, 60], cv=3, exploit_incremental_learning=True
    )
    assert sizes.tolist() == [20, 60] and scores.shape == (2, 3)


@EACH
def test_html_repr(make: Callable[..., Any]) -> None:
    name = type(make()).__name__
    page = estimator_html_repr(make_pipeline(StandardScaler(), make()))
    assert name in page
    assert name in estimator_html_repr(make().fit(X, Y))


def test_sample_weight_is_routed_through_a_pipeline() -> None:
    weight = np.where(Y == 0, 0.0, 1.0)
    with sklearn.config_context(enable_metadata_routing=True):
        model = linear().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipeline = make_pipeline(scaler, model).fit(X, Y, sample_weight=weight)
        assert pipeline[-1].classes_.tolist() == [1, 2], "weights of 0 did not reach fit"
        assert pipeline.score(X, Y, sample_weight=weight) > 0.9
        search = GridSearchCV(pipeline, {"linearclassifier__l2": [0.0, 0.1]}, cv=2)
        search.fit(X, Y, sample_weight=weight)
        assert search.best_score_ > 0.9
        refusing = make_pipeline(scaler, linear())
        with pytest.raises(sklearn.exceptions.UnsetMetadataPassedError, match="sample_weight"):
            refusing.fit(X, Y, sample_weight=weight)
    assert clone(model)._requests().fit.requests == {"sample_weight": True}
    assert knn()._requests().score.requests == {"sample_weight": None}
    assert not hasattr(knn(), "set_fit_request"), "kNN's fit takes no weights"


def test_set_output_says_nothing_to_a_classifier() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcde"))
    pipeline = make_pipeline(StandardScaler(), linear()).set_output(transform="pandas")
    pipeline.fit(frame, Y)
    assert pipeline[-1].feature_names_in_.tolist() == list("abcde")
    assert type(pipeline.predict(frame)) is np.ndarray
    assert type(pipeline.predict_proba(frame)) is np.ndarray


def test_set_params_sets_all_or_nothing() -> None:
    model = linear()
    with pytest.raises(ValueError, match="Invalid parameter 'depth'"):
        model.set_params(l2=3.0, depth=4)
    assert model.l2 == 1e-4
    assert model.set_params(l2=3.0) is model and model.get_params()["l2"] == 3.0


def test_xpcls_runs_where_scikit_learn_is_not_imported(fresh_python: Callable[..., str]) -> None:
    printed = fresh_python("""
import sys
import numpy as np
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("sklearn", "scipy", "pandas"):
            raise ImportError(name + " was imported")
sys.meta_path.insert(0, Refuse())
from xpcls import KNeighborsClassifier, LinearClassifier, MLPClassifier
X = np.arange(40.0).reshape(20, 2)
y = np.arange(20) // 10
for model in (KNeighborsClassifier(3), LinearClassifier(epochs=2), LinearClassifier("hinge")):
    try:
        model.predict(X)
    except ValueError as error:
        assert "not fitted yet" in str(error)
        assert isinstance(error, AttributeError)
    model.fit(X, y).predict(X)
    model.score(X, y)
    repr(model), model.get_params()
assert "sklearn" not in sys.modules
print("fine")
""")
    assert printed == "fine"
