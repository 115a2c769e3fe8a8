"""What users hand in by mistake: each ends in an error that names it, and changes nothing.

Each kind of bad input goes to every estimator. The error must be a ValueError or a TypeError, of
one line, with the words given beside the kind; and a model that was fitted before is, to the last
array, as it was.
"""

import copy
from collections.abc import Callable
from typing import Any

import array_api_strict as strict
import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from xpcls import KNeighborsClassifier, LinearClassifier
from xpcls.base import Classifier
from xpcls_backends import is_array, to_host

rng = np.random.default_rng(0)
X = rng.normal(size=(20, 4))
Y = np.arange(20) % 3
FAKE = strict.Device("device1")

ESTIMATORS: dict[str, Callable[..., Classifier]] = {
    "knn": KNeighborsClassifier,
    "linear": lambda **options: LinearClassifier(**{"epochs": 2, "random_state": 0, **options}),
}


def changed(value: float) -> np.ndarray:
    """X with one entry replaced."""
    rows = X.copy()
    rows[3, 1] = value
    return rows


ROWS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "scalar": (np.asarray(1.0), ("X has shape ()", "2D array")),
    "number": (5, ("X has shape ()",)),
    "one row": (X[0], ("X has shape (4,)", "reshape(1, -1)")),
    "grey images": (X.reshape(20, 2, 2), ("X has shape (20, 2, 2)", "X[..., None]")),
    "five dimensions": (X.reshape(20, 1, 1, 2, 2), ("X has shape (20, 1, 1, 2, 2)",)),
    "no rows": (X[:0], ("0 sample(s)", "(0, 4)")),
    "no features": (X[:, :0], ("0 feature(s)", "(20, 0)")),
    "empty list": ([], ("X has shape (0,)",)),
    "NaN": (changed(np.nan), ("Input X contains NaN", "row 3, column 1")),
    "infinity": (changed(np.inf), ("Input X contains infinity", "row 3, column 1")),
    "minus infinity": (changed(-np.inf), ("Input X contains infinity",)),
    "complex": (X + 1j, ("X has dtype complex128", "Complex data not supported")),
    "objects": (np.full((20, 4), object()), ("X", "number")),
    "words": (np.full((20, 4), "dog"), ("X", "number")),
    "a dict": ({"a": 1}, ("X",)),
    "None": (None, ("X",)),
    "times": (np.full((20, 4), np.datetime64("2026-01-01")), ("X", "datetime64")),
    "sparse": (scipy.sparse.csr_matrix(X), ("X is sparse", "toarray()")),
    "masked": (np.ma.masked_array(X, X > 1), ("X is a masked array", "filled")),
    "ragged": ([[1.0, 2.0], [3.0]], ("X",)),
}
LABELS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "none": (None, ("y",)),
    "too few": (Y[:19], ("[20, 19]", "y has 19 entries")),
    "too many": (np.append(Y, 0), ("[20, 21]",)),
    "a table": (np.zeros((20, 2), dtype=int), ("y", "(20, 2)")),
    "a number": (1, ("y", "()")),
    "fractions": (Y + 0.5, ("y holds 0.5", "classes")),
    "NaN": (np.where(Y == 0, np.nan, Y), ("Input y contains NaN",)),
    "infinity": (np.where(Y == 0, np.inf, Y), ("Input y contains infinity",)),
    "complex": (Y + 0j, ("y has dtype complex128",)),
    "one class": (np.full(20, 7), ("y has only one class", "7")),
    "missing words": (np.asarray(["a", None] * 10, dtype=object), ("y",)),
}
WEIGHTS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "too few": (np.ones(19), ("sample_weight", "(19,)")),
    "a table": (np.ones((20, 2)), ("sample_weight", "(20, 2)")),
    "negative": (-np.ones(20), ("sample_weight", "-1")),
    "NaN": (np.full(20, np.nan), ("sample_weight",)),
    "infinity": (np.full(20, np.inf), ("sample_weight",)),
    "all zero": (np.zeros(20), ("sample_weight", "zero")),
    "words": (["heavy"] * 20, ("sample_weight",)),
}
OPTIONS: dict[str, dict[str, tuple[Any, ...]]] = {
    "knn": {
        "n_neighbors": (0, -1, 21, 2.5, True, "3", None, np.nan),
        "metric": ("cosine", None, 2),
        "weights": ("votes", None),
        "ties": ("random", None),
        "memory_budget": (0, -5, 100, 1.5, "1GB", np.nan),
    },
    "linear": {
        "loss": ("squared_error", "log", None, 1),
        "delta": (0, -1.0, np.nan, np.inf, "1", None, True),
        "l2": (-1e-9, np.nan, np.inf, "0.1", None, True),
        "l1": (-1, np.nan, "0", None),
        "optimizer": ("rmsprop", None, 3),
        "learning_rate": (0, -0.1, np.nan, np.inf, "fast", None, True),
        "schedule": ("linear", None, 0.5),
        "batch_size": (0, -1, 2.5, None, "all", True),
        "epochs": (0, -1, 1.5, None, True),
        "random_state": (-1, "seed", 1.5, True),
    },
}


def state(model: Classifier) -> dict[str, Any]:
    """Everything in a model, arrays as host arrays of their own."""
    found = {}
    for name, value in copy.copy(vars(model)).items():
        if name in ("_generator",):
            value = value.bit_generator.state
        elif name in ("_run",):
            value = {k: copy.copy(v) for k, v in vars(value).items()}
        found[name] = to_host(value).copy() if is_array(value) else copy.copy(value)
    return found


def assert_unchanged(model: Classifier, before: dict[str, Any]) -> None:
    np.testing.assert_equal(state(model), before)


def assert_refused(call: Callable[[], object], words: tuple[str, ...]) -> None:
    with pytest.raises((ValueError, TypeError)) as error:
        call()
    message = str(error.value)
    assert len(message.splitlines()) == 1, message
    for word in words:
        assert word in message, f"{word!r} is not in {message!r}"


@pytest.fixture(params=ESTIMATORS)
def make(request: pytest.FixtureRequest) -> Callable[..., Classifier]:
    return ESTIMATORS[request.param]


@pytest.mark.parametrize("kind", ROWS)
def test_rows(make: Callable[..., Classifier], kind: str) -> None:
    rows, words = ROWS[kind]
    assert_refused(lambda: make().fit(rows, Y), words)
    model = make().fit(X, Y)
    before = state(model)
    assert_refused(lambda: model.fit(rows, Y), words)
    assert_refused(lambda: model.predict(rows), words)
    if hasattr(model, "partial_fit"):
        assert_refused(lambda: model.partial_fit(rows, Y), words)
    assert_unchanged(model, before)


@pytest.mark.parametrize("kind", LABELS)
def test_labels(make: Callable[..., Classifier], kind: str) -> None:
    labels, words = LABELS[kind]
    assert_refused(lambda: make().fit(X, labels), words)
    model = make().fit(X, Y)
    before = state(model)
    assert_refused(lambda: model.fit(X, labels), words)
    if hasattr(model, "partial_fit"):
        assert_refused(lambda: model.partial_fit(X, labels), ())
    assert_unchanged(model, before)


@pytest.mark.parametrize("kind", WEIGHTS)
def test_weights(kind: str) -> None:
    weights, words = WEIGHTS[kind]
    model = LinearClassifier(epochs=2, random_state=0).fit(X, Y)
    before = state(model)
    assert_refused(lambda: model.fit(X, Y, weights), words)
    assert_refused(lambda: model.partial_fit(X, Y, sample_weight=weights), words)
    assert_unchanged(model, before)


@pytest.mark.parametrize(
    ("estimator", "option", "value"),
    [
        (estimator, option, value)
        for estimator, options in OPTIONS.items()
        for option, values in options.items()
        for value in values
    ],
)
def test_hyper_parameters(estimator: str, option: str, value: Any) -> None:
    def call() -> object:
        # A budget that is a number can be too small for some rows only, so it shows when used.
        return ESTIMATORS[estimator](**{option: value}).fit(X, Y).predict(X)

    assert_refused(call, (option, repr(value) if isinstance(value, str) else str(value)))
    model = ESTIMATORS[estimator]().fit(X, Y)
    before = state(model)
    model.set_params(**{option: value})
    with pytest.raises((ValueError, TypeError)):
        model.fit(X, Y).predict(X)
    assert_unchanged(model.set_params(**{option: before[option]}), before)


@pytest.mark.parametrize("option", [{"validation_fraction": v} for v in (0, 1, 2, -0.5, np.nan)])
def test_early_stopping(option: dict[str, float]) -> None:
    ((name, value),) = option.items()
    model = LinearClassifier(early_stopping=True, **option)
    assert_refused(lambda: model.fit(X, Y), (name, str(value)))


def test_a_width_that_is_not_that_of_fit(make: Callable[..., Classifier]) -> None:
    model = make().fit(X, Y)
    before = state(model)
    assert_refused(lambda: model.predict(X[:, :3]), ("X has 3 features", "expecting 4"))
    assert_unchanged(model, before)


def test_columns_of_other_names(make: Callable[..., Classifier]) -> None:
    frame = pd.DataFrame(X, columns=list("abcd"))
    model = make().fit(frame, Y)
    for wrong in (frame[list("badc")], frame.rename(columns={"a": "z"})):
        with pytest.raises(ValueError, match="feature names should match"):
            model.predict(wrong)
    with pytest.raises(TypeError, match="mixed types"):
        model.fit(frame.rename(columns={"a": 1}), Y)


def test_arrays_of_two_places(make: Callable[..., Classifier]) -> None:
    there, labels_there = strict.asarray(X, device=FAKE), strict.asarray(Y, device=FAKE)
    elsewhere = strict.asarray(X, device=strict.Device("CPU_DEVICE"))
    for rows, labels in ((there, Y), (X, labels_there), (elsewhere, labels_there)):
        assert_refused(lambda rows=rows, labels=labels: make().fit(rows, labels), ("y and X",))
    model = make().fit(X, Y)
    before = state(model)
    assert_refused(lambda: model.predict(there), ("X and the data of fit", "numpy", "strict"))
    assert_unchanged(model, before)
    model = make().fit(there, labels_there)
    assert_refused(lambda: model.predict(elsewhere), ("device1", "CPU_DEVICE"))
    assert_refused(lambda: model.predict(X), ("numpy", "strict"))


def test_a_model_that_was_not_fitted(make: Callable[..., Classifier]) -> None:
    model = make()
    for method in ("predict", "decision_function", "predict_proba", "kneighbors"):
        if hasattr(model, method):
            assert_refused(lambda m=method: getattr(model, m)(X), ("not fitted yet", "Call 'fit'"))


def test_labels_that_partial_fit_does_not_know() -> None:
    model = LinearClassifier(random_state=0)
    assert_refused(lambda: model.partial_fit(X, Y), ("classes is None",))
    model.partial_fit(X, Y, classes=[0, 1, 2])
    before = state(model)
    assert_refused(lambda: model.partial_fit(X, Y + 1), ("y holds 3",))
    assert_unchanged(model, before)


def test_parameters_that_do_not_exist(make: Callable[..., Classifier]) -> None:
    assert_refused(lambda: make().set_params(gamma=1), ("'gamma'", "valid parameters"))


@pytest.mark.parametrize("shape", [(3, 3), (5,), 4, "2x2", (2.0, 2.0), (-2, -2)])
def test_shapes_of_templates(shape: Any) -> None:
    model = LinearClassifier(epochs=1).fit(X, Y)
    assert_refused(lambda: model.templates(shape), ("image_shape",))


def test_what_only_looks_bad_is_taken(make: Callable[..., Classifier]) -> None:
    """Read-only, strided, Fortran-ordered, byte-swapped, float16 and lists."""
    expected = make().fit(X, Y).predict(X)
    frozen = X.copy()
    frozen.flags.writeable = False
    wide = np.repeat(X, 2, axis=1)
    for rows in (frozen, wide[:, ::2], np.asfortranarray(X), X.astype(">f8"), X.tolist()):
        np.testing.assert_array_equal(make().fit(rows, Y).predict(rows), expected)
        np.testing.assert_array_equal(make().fit(X, Y).predict(rows), expected)
    assert frozen.tolist() == X.tolist()
    assert make().fit(X.astype(np.float16), Y).predict(X.astype(np.float16)).shape == (20,)
