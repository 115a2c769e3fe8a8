"""A search that ends with a test set: what would open it for nothing is told before anything."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from xpcls import KNeighborsClassifier
from xpcls.model_selection import SealedTestSet, tune
from xpcls.progress import listen
from xpcls_backends import Backend

rng = np.random.default_rng(0)
Y = np.arange(60) % 3
X = (rng.normal(size=(60, 4)) + Y[:, None]).astype("float32")
WORDS = np.asarray(["ant", "bee", "cat"])[Y]


@pytest.mark.parametrize(
    ("test", "changes", "message"),
    [
        (
            (X[:, :3], Y),
            {},
            r"test has rows of shape \(3,\), but X has rows of shape \(4,\); expected the same",
        ),
        ((X, WORDS), {}, "test has labels of kind 'text', but y has 'integral'; expected the same"),
        ((X, Y), {"y": WORDS}, "test has labels of kind 'integral', but y has 'text'"),
        (
            (X, Y),
            {"estimator": StandardScaler(), "grid": {}, "scoring": len},
            r"estimator is StandardScaler\(\), expected an object with predict\(\)",
        ),
    ],
)
def test_what_cannot_be_tested_is_told_before_the_search(
    test: Any, changes: dict[str, Any], message: str
) -> None:
    told: list[Any] = []
    sealed = SealedTestSet(*test)
    arguments = {"estimator": KNeighborsClassifier(), "grid": {"n_neighbors": [1]}, "X": X, "y": Y}
    with (
        listen(lambda task, *rest: told.append(task)),
        pytest.raises((TypeError, ValueError), match=message),
    ):
        tune(**{**arguments, **changes}, test=sealed)
    assert not told and sealed.openings == ()


@pytest.mark.parametrize("labels", [Y.astype("float32"), Y.astype("uint8"), Y.astype(object)])
def test_numbers_may_have_another_dtype(labels: Any) -> None:
    sealed = SealedTestSet(X, labels)
    found = tune(KNeighborsClassifier(), {"n_neighbors": [1]}, X, Y, test=sealed)
    assert found.test_score == 1.0 and len(sealed.openings) == 1


def test_text_may_be_objects() -> None:
    sealed = SealedTestSet(X, WORDS.astype(object))
    found = tune(KNeighborsClassifier(), {"n_neighbors": [1]}, X, WORDS, test=sealed)
    assert found.test_score == 1.0


def test_on_a_device(backend: Backend) -> None:
    sealed = SealedTestSet(backend.asarray(X), backend.asarray(Y))
    rows = backend.asarray(X), backend.asarray(Y)
    found = tune(KNeighborsClassifier(), {"n_neighbors": [1]}, *rows, test=sealed)
    assert found.test_score == 1.0
    narrow = SealedTestSet(backend.asarray(X[:, :2]), backend.asarray(Y))
    with pytest.raises(ValueError, match=r"test has rows of shape \(2,\)"):
        tune(KNeighborsClassifier(), {"n_neighbors": [1]}, *rows, test=narrow)
