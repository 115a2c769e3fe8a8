"""SealedTestSet: the first opening is recorded, later ones warn; what is no model opens nothing."""

from __future__ import annotations

import copy
import pickle
import re
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier as Theirs
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from xpcls import KNeighborsClassifier
from xpcls.model_selection import SealedTestSet
from xpcls.model_selection._fingerprint import fingerprint
from xpcls_backends import Backend

rng = np.random.default_rng(0)
Y = np.arange(40) % 3
X = (rng.normal(size=(40, 4)) + Y[:, None]).astype("float32")
ONE = KNeighborsClassifier(1).fit(X, Y)
FIVE = KNeighborsClassifier(5).fit(X, Y)


def test_the_first_opening_is_recorded_and_later_ones_warn() -> None:
    sealed = SealedTestSet(X, Y)
    assert sealed.openings == () and str(sealed) == "the test set of 40 rows has not been opened"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows, labels = sealed.open(ONE)
    assert rows is X and labels is Y
    (first,) = sealed.openings
    assert first.models == (("KNeighborsClassifier", fingerprint(ONE)),)
    age = datetime.now(UTC) - datetime.fromisoformat(first.time)
    assert timedelta(0) <= age < timedelta(minutes=1)
    assert sealed.report == f"the test set of 40 rows was opened once, {first}"
    for i in (2, 3):
        with pytest.warns(
            UserWarning, match=f"first opened {re.escape(first.time)} by KN.*opening {i}: "
        ):
            sealed.open(FIVE)
    assert len(sealed.openings) == 3 and sealed.openings[0] == first
    assert sealed.report.startswith(f"the test set of 40 rows was opened 3 times, first {first}; ")


def test_the_warning_points_at_the_caller() -> None:
    sealed = SealedTestSet(X, Y)
    sealed.open(ONE)
    with pytest.warns(UserWarning, match="choose on validation") as caught:
        sealed.open(ONE)
        sealed.score(ONE)
    assert [Path(w.filename).name for w in caught] == ["test_sealed.py"] * 2


def test_scores_are_those_of_the_models_and_several_are_one_opening(backend: Backend) -> None:
    sealed = SealedTestSet(backend.asarray(X), backend.asarray(Y))
    models = [KNeighborsClassifier(k).fit(backend.asarray(X), backend.asarray(Y)) for k in (1, 9)]
    scores = sealed.score(*models)
    assert scores == [KNeighborsClassifier(k).fit(X, Y).score(X, Y) for k in (1, 9)]
    (opening,) = sealed.openings
    assert [name for name, _ in opening.models] == ["KNeighborsClassifier"] * 2
    with pytest.warns(UserWarning, match="this is opening 2"):
        alone = sealed.score(models[1])
    assert alone == scores[1] and type(alone) is float


def test_nothing_shows_the_labels_but_opening() -> None:
    secret = np.asarray([f"label {i % 2}" for i in range(40)])
    sealed = SealedTestSet(X, secret)
    assert repr(sealed) == "<SealedTestSet: 40 rows of shape (4,)>" and len(sealed) == 40
    public = [name for name in dir(sealed) if not name.startswith("_")]
    assert public == ["open", "openings", "other_openings", "report", "score"]
    assert "label 0" not in repr(vars(sealed)) + str(sealed)
    for taken in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot be copied or pickled"):
            taken(sealed)


@pytest.mark.parametrize(
    "model",
    [KNeighborsClassifier(), LogisticRegression(), make_pipeline(StandardScaler(), Theirs())],
)
def test_a_model_that_is_not_fitted_opens_nothing(model: Any) -> None:
    sealed = SealedTestSet(X, Y)
    with pytest.raises(NotFittedError):
        sealed.score(ONE, model)
    with pytest.raises(TypeError, match=r"no model is given: open\(model, ...\)"):
        sealed.open()
    assert sealed.openings == ()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X, Y[:3]), r"y has shape \(3,\), expected \(40,\), one label a row of X"),
        ((X, Y[:, None] + [[0, 1]]), r"y has shape \(40, 2\)"),
        ((X[:0], Y[:0]), r"X has shape \(0, 4\), expected at least one row"),
        (("images", Y), "X holds something that is no number"),
        ((None, Y), r"X has shape \(\), expected at least one row"),
    ],
)
def test_what_is_no_test_set_is_named(arguments: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        SealedTestSet(*arguments)


class Judge:
    """It predicts, and cannot score."""

    def predict(self, X: Any) -> Any:
        return X


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ([ONE, FIVE], r"a model is \[KNeighborsClassifier.*; give several as open\(a, b\)$"),
        ((ONE, FIVE), r"a model is \(.*; give several as open\(a, b\)$"),
        (None, r"a model is None, expected a fitted object with predict\(\)"),
        (KNeighborsClassifier, r"a model is <class .*, expected a fitted object with predict"),
        (StandardScaler().fit(X), r"a model is StandardScaler\(\), expected .* with predict\(\)"),
    ],
)
def test_what_is_no_model_opens_nothing(model: Any, message: str) -> None:
    sealed = SealedTestSet(X, Y)
    for attempt in (sealed.open, sealed.score):
        with pytest.raises(TypeError, match=message):
            attempt(ONE, model)
    with pytest.raises(TypeError, match=r"expected a fitted object with score\(\)"):
        sealed.score(ONE, Judge())
    assert sealed.openings == ()
    assert sealed.open(Judge())[0] is X


@pytest.mark.parametrize(
    ("ledger", "kind", "message"),
    [
        ("", ValueError, "ledger is '', expected the name of a file"),
        (5, TypeError, "ledger is 5, expected the name of a file"),
        (b"x", TypeError, "ledger is b'x', expected the name of a file"),
    ],
)
def test_what_is_no_name_of_a_ledger_is_named(ledger: Any, kind: Any, message: str) -> None:
    with pytest.raises(kind, match=message):
        SealedTestSet(X, Y, ledger=ledger)
