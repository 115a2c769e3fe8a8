"""Unions and pipelines: alone on every backend, and with scikit-learn's parts and searches."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sklearn.pipeline
from sklearn.base import clone, is_classifier
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA as SklearnPCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import check_is_fitted

from xpcls import KNeighborsClassifier, LinearClassifier
from xpcls.data import load_mnist5k, split
from xpcls.features import (
    HOG,
    PCA,
    ColorHistogram,
    FeatureUnion,
    FisherLDA,
    FunctionTransformer,
    Pipeline,
    PolarMap,
    StandardScaler,
    make_pipeline,
    make_union,
)
from xpcls_backends import Backend, device_of, namespace_of, to_host
from xpcls_backends.testing import forbid_host_reads

# Told from others by what they have, not by what they inherit from.
pytestmark = pytest.mark.filterwarnings("ignore:.*does not inherit from")

rng = np.random.default_rng(0)
LABELS = np.arange(60) % 3
IMAGES = rng.integers(0, 60, (60, 8, 8, 3), dtype=np.uint8)
IMAGES[LABELS == 0, 2:5, :, 0] += 150  # red and lying
IMAGES[LABELS == 1, :, 2:5, 1] += 150  # green and standing
IMAGES[LABELS == 2, 2:6, 2:6, 2] += 150  # blue and square
DIGITS, DIGIT_LABELS = (x[:400] for x in load_digits(return_X_y=True))


def features() -> FeatureUnion:
    return make_union(HOG(9, (4, 4), block_norm=None), ColorHistogram(6))


def model(classifier: Any = None) -> Pipeline:
    last = LinearClassifier(epochs=20, random_state=0) if classifier is None else classifier
    return make_pipeline(features(), StandardScaler(), last)


def test_a_union_puts_features_side_by_side(backend: Backend) -> None:
    X = backend.asarray(IMAGES)
    with forbid_host_reads():
        found = features().fit_transform(X)
    assert namespace_of(found) is backend.xp and device_of(found) == backend.device
    assert found.dtype == backend.xp.float32
    hog = HOG(9, (4, 4), block_norm=None).transform(IMAGES)
    hue = ColorHistogram(6).transform(IMAGES)
    np.testing.assert_allclose(to_host(found), np.hstack([hog, hue]), rtol=1e-6)


@pytest.mark.parametrize("classifier", [LinearClassifier("hinge"), KNeighborsClassifier(3)])
def test_a_pipeline_learns_and_answers_on_every_backend(backend: Backend, classifier: Any) -> None:
    params = {"random_state": 0} if isinstance(classifier, LinearClassifier) else {}
    here = model(clone(classifier).set_params(**params)).fit(IMAGES, LABELS)
    X, y = backend.asarray(IMAGES), backend.asarray(LABELS)
    with forbid_host_reads():
        there = model(clone(classifier).set_params(**params)).fit(X, y)
        predicted = there.predict(X)
        score = there.score(X, y)
    assert device_of(predicted) == backend.device
    np.testing.assert_array_equal(to_host(predicted), here.predict(IMAGES))
    assert score == here.score(IMAGES, LABELS) > 0.9
    assert there.n_features_in_ == 192 and there.image_shape_ == (8, 8, 3)


def test_it_is_the_steps_by_hand() -> None:
    union, scaler, last = features(), StandardScaler(), LinearClassifier(random_state=0)
    pipeline = Pipeline([("features", union), ("scale", scaler), ("linear", last)])
    pipeline.fit(IMAGES, LABELS)
    rows = StandardScaler().fit_transform(features().fit_transform(IMAGES))
    by_hand = LinearClassifier(random_state=0).fit(rows, LABELS)
    np.testing.assert_array_equal(
        pipeline.decision_function(IMAGES), by_hand.decision_function(rows)
    )
    np.testing.assert_array_equal(pipeline.predict_proba(IMAGES), by_hand.predict_proba(rows))
    assert pipeline.named_steps == {"features": union, "scale": scaler, "linear": last}
    assert pipeline["scale"] is pipeline[1] is scaler and len(pipeline) == 3
    np.testing.assert_array_equal(pipeline.classes_, [0, 1, 2])
    assert pipeline.score(IMAGES, LABELS, sample_weight=LABELS) == 1.0


def test_it_has_what_its_last_step_has_and_nothing_else() -> None:
    assert not hasattr(model(LinearClassifier("hinge")), "predict_proba")
    assert hasattr(model(), "predict_proba") and not hasattr(model(), "transform")
    half = make_pipeline(features(), PCA(3)).fit(IMAGES)
    assert half.transform(IMAGES).shape == (60, 3)
    assert not hasattr(half, "decision_function") and not hasattr(half, "classes_")
    assert not hasattr(half, "predict") and not hasattr(half, "score")
    np.testing.assert_array_equal(half.fit_transform(IMAGES), half.transform(IMAGES))
    assert not hasattr(model(), "fit_transform") and not hasattr(Pipeline([]), "predict")


def test_what_is_learnt_comes_from_the_rows_of_fit_alone() -> None:
    pipeline = make_pipeline(StandardScaler(), PCA(5), KNeighborsClassifier(1))
    pipeline.fit(DIGITS[:200], DIGIT_LABELS[:200])
    mean = pipeline[0].mean_.copy()
    pipeline.predict(DIGITS[200:])
    np.testing.assert_array_equal(pipeline[0].mean_, mean)
    np.testing.assert_allclose(mean, DIGITS[:200].mean(axis=0))


def test_parameters_of_parts_are_set_by_name() -> None:
    pipeline = model()
    assert pipeline.get_params()["featureunion__hog__orientations"] == 9
    pipeline.set_params(featureunion__hog__orientations=5, linearclassifier__l2=0.5)
    assert pipeline[0].transformer_list[0][1].orientations == 5 and pipeline[2].l2 == 0.5
    pipeline.set_params(linearclassifier=KNeighborsClassifier(2), standardscaler__with_std=False)
    assert pipeline[2].n_neighbors == 2 and pipeline[1].with_std is False
    pipeline.set_params(steps=[("knn", KNeighborsClassifier())], knn__n_neighbors=7)
    assert pipeline["knn"].n_neighbors == 7
    with pytest.raises(
        ValueError, match=r"Invalid parameter 'hog__cells' .* steps, knn, and name__"
    ):
        pipeline.set_params(hog__cells=3)
    with pytest.raises(ValueError, match="Invalid parameter 'steps__cells'"):
        pipeline.set_params(steps__cells=3)
    with pytest.raises(ValueError, match="Invalid parameter 'depth' for estimator KNeighbors"):
        pipeline.set_params(knn__depth=3)


def test_a_copy_shares_nothing_that_is_learnt() -> None:
    fitted = model().fit(IMAGES, LABELS)
    copy = clone(fitted)
    assert copy[0].transformer_list[0][1] is not fitted[0].transformer_list[0][1]
    assert repr(copy) == repr(fitted)
    check_is_fitted(fitted)
    with pytest.raises(ValueError, match="Pipeline instance is not fitted yet"):
        copy.predict(IMAGES)


def test_a_failed_fit_leaves_nothing_that_seems_fitted() -> None:
    pipeline = make_pipeline(StandardScaler(), LinearClassifier(epochs=2)).fit(IMAGES, LABELS)
    with pytest.raises(ValueError, match="only one class"):
        pipeline.fit(IMAGES[:, :4], LABELS * 0)
    with pytest.raises(ValueError, match="Pipeline instance is not fitted yet"):
        pipeline.predict(IMAGES)
    union = make_union(HOG(9, (4, 4), (1, 1)), PCA(2)).fit(IMAGES)
    with pytest.raises(ValueError, match="PCA needs at least 2"):
        union.fit(IMAGES[:1, :4])
    with pytest.raises(ValueError, match="FeatureUnion instance is not fitted yet"):
        union.transform(IMAGES)


def test_columns_of_a_data_frame_keep_their_order() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(DIGITS[:, :5], columns=list("abcde"))
    # The first step makes an array, so only the pipeline itself knows the names.
    pipeline = make_pipeline(FunctionTransformer(lambda X: np.asarray(X)), KNeighborsClassifier(1))
    pipeline.fit(frame, DIGIT_LABELS)
    with pytest.raises(ValueError, match="must be in the same order"):
        pipeline.predict(frame[list("edcba")])


def test_two_of_one_class_get_numbers() -> None:
    union = make_union(PCA(2), FisherLDA(), PCA(3))
    assert [name for name, _ in union.transformer_list] == ["pca-1", "fisherlda", "pca-2"]
    assert union.fit(DIGITS, DIGIT_LABELS).transform(DIGITS).shape == (400, 2 + 9 + 3)


# --- scikit-learn -------------------------------------------------------------------------------


def test_scikit_learns_parts_work_in_ours() -> None:
    pipeline = make_pipeline(
        make_union(SklearnPCA(5), FisherLDA()), StandardScaler(), LogisticRegression()
    )
    pipeline.fit(DIGITS, DIGIT_LABELS)
    assert pipeline.score(DIGITS, DIGIT_LABELS) > 0.95
    assert pipeline.predict_proba(DIGITS).shape == (400, 10)


def test_ours_work_in_scikit_learns() -> None:
    pipeline = sklearn.pipeline.make_pipeline(
        sklearn.pipeline.make_union(
            HOG(9, (4, 4), block_norm=None, image_shape=(8, 8, 1)), PCA(10), FunctionTransformer()
        ),
        StandardScaler(),
        KNeighborsClassifier(3),
    )
    assert cross_val_score(pipeline, DIGITS, DIGIT_LABELS, cv=3).min() > 0.85
    images = sklearn.pipeline.make_pipeline(ColorHistogram(), LinearClassifier(random_state=0))
    assert images.fit(IMAGES, LABELS).score(IMAGES, LABELS) > 0.9


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_search_sets_parameters_deep_inside(n_jobs: int) -> None:
    pipeline = make_pipeline(make_union(PCA(), FisherLDA()), KNeighborsClassifier())
    assert is_classifier(pipeline)
    grid = {"featureunion__pca__n_components": [2, 12], "kneighborsclassifier__n_neighbors": [1, 3]}
    search = GridSearchCV(pipeline, grid, cv=3, n_jobs=n_jobs, error_score="raise")
    search.fit(DIGITS, DIGIT_LABELS)
    assert len(search.cv_results_["params"]) == 4 and search.best_score_ > 0.9
    best = search.best_params_
    again = clone(pipeline).set_params(**best)
    assert cross_val_score(again, DIGITS, DIGIT_LABELS, cv=3).mean() == search.best_score_


def expected_to_fail(estimator: Any) -> dict[str, str]:
    """The one check that scikit-learn's own Pipeline fails too."""
    if isinstance(estimator, Pipeline):
        return {"check_estimators_overwrite_params": "steps are fitted in place"}
    return {}


def sklearn_checks(estimators: list[Any]) -> pytest.MarkDecorator:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not inherit from")
        mark = parametrize_with_checks(estimators, expected_failed_checks=expected_to_fail)
        names, cases = mark.args
        return pytest.mark.parametrize(names, list(cases), **mark.kwargs)


@sklearn_checks(
    [
        PCA(),
        PCA(1, whiten=True),
        FisherLDA(),
        StandardScaler(),
        StandardScaler(with_std=False),
        FunctionTransformer(),
        make_pipeline(StandardScaler(), LinearClassifier()),
    ]
)
def test_passes_every_check_of_scikit_learn(
    estimator: Any, check: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")  # without it a check is skipped
    check(estimator)


# --- what is wrong ------------------------------------------------------------------------------

WRONG: list[tuple[Any, str]] = [
    (Pipeline([]), r"steps is \[\], expected \[\(name, estimator\), \.\.\.\]"),
    (Pipeline(HOG()), r"steps is HOG\(\), expected"),
    (Pipeline([PCA()]), r"steps\[0\] is PCA\(\), expected \(name, estimator\)"),
    (Pipeline([("a", PCA()), ("a", HOG())]), "steps names 'a' twice"),
    (Pipeline([("a__b", PCA())]), r"steps\[0\] is named 'a__b', which cannot be"),
    (Pipeline([("steps", PCA())]), r"steps\[0\] is named 'steps', which cannot be"),
    (
        Pipeline([("a", KNeighborsClassifier()), ("b", PCA())]),
        r"steps\[0\] is KNeighborsClassifier\(\), which has no transform\(\)",
    ),
    (Pipeline([("a", PCA()), ("b", "passthrough")]), r"steps\[1\] is 'passthrough', .* no fit\(\)"),
    (FeatureUnion([("a", LinearClassifier())]), "which has no transform"),
    (make_pipeline(PCA, LinearClassifier()), r"steps\[0\] is the class PCA, expected .*: PCA\(\)"),
]


@pytest.mark.parametrize(("composed", "sentence"), WRONG, ids=[w[1] for w in WRONG])
def test_what_is_wrong_is_said_in_one_line(composed: Any, sentence: str) -> None:
    with pytest.raises((TypeError, ValueError), match=sentence) as raised:
        composed.fit(DIGITS, DIGIT_LABELS)
    assert "\n" not in str(raised.value)


def test_a_part_that_makes_no_array_is_named() -> None:
    union = make_union(SparseEncoder(), FunctionTransformer()).fit(DIGITS)
    with pytest.raises(TypeError, match="sparseencoder made a csr_array, expected a dense array"):
        union.transform(DIGITS)
    with pytest.raises(ValueError, match="a__n cannot be set: a is 'passthrough', which has no"):
        Pipeline([("a", "passthrough")]).set_params(a__n=1)


class SparseEncoder:
    """As one of scikit-learn's that gives sparse matrices."""

    def fit(self, X: Any, y: Any = None) -> SparseEncoder:
        self.fitted_ = True
        return self

    def transform(self, X: Any) -> Any:
        import scipy.sparse

        return scipy.sparse.csr_array(X)


def test_what_was_learnt_is_kept_when_the_last_step_is_interrupted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from xpcls import training

    epoch, seen = training._epoch, []

    def interrupted(*arguments: Any) -> Any:
        seen.append(1)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return epoch(*arguments)

    monkeypatch.setattr(training, "_epoch", interrupted)
    pipeline = model()
    with pytest.raises(KeyboardInterrupt):
        pipeline.fit(IMAGES, LABELS)
    assert pipeline.score(IMAGES, LABELS) > 0.5
    assert len(pipeline[-1].history_["loss"]) == 2


def test_hog_tells_digits_apart_better_than_their_pixels() -> None:
    digits = load_mnist5k()
    train, test, _ = split(digits, validation=1000, test=2500, random_state=0)
    hog = make_pipeline(HOG(9, (7, 7), (2, 2)), LinearClassifier(random_state=0))
    raw = make_pipeline(StandardScaler(with_std=False), LinearClassifier(random_state=0))
    scores = [
        m.fit(digits.images[train], digits.labels[train]).score(
            digits.images[test], digits.labels[test]
        )
        for m in (hog, raw)
    ]
    assert scores[0] > scores[1] + 0.03
    assert PolarMap().fit_transform([[1.0, 0.0], [0.0, 2.0]]).tolist() == [
        [1.0, 0.0],
        [2.0, np.pi / 2],
    ]
