"""What users hand in by mistake: each ends in an error that names it, and changes nothing.

Each kind of bad input goes to every estimator. The error must be a ValueError or a TypeError, of
one line, with the words given beside the kind; and a model that was fitted before is, to the last
array, as it was.
"""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

import xpcls.optimizers
from xpcls import ConvNetClassifier, KNeighborsClassifier, LinearClassifier, MLPClassifier
from xpcls.base import Classifier
from xpcls_backends import Backend, is_array, to_host

rng = np.random.default_rng(0)
X = rng.normal(size=(20, 4))
Y = np.arange(20) % 3

ESTIMATORS: dict[str, Callable[..., Classifier]] = {
    "knn": KNeighborsClassifier,
    "linear": lambda **options: LinearClassifier(**{"epochs": 2, "random_state": 0, **options}),
    "mlp": lambda **options: MLPClassifier(
        **{"hidden_layer_sizes": 3, "epochs": 2, "random_state": 0, **options}
    ),
    "convnet": lambda **options: ConvNetClassifier(
        **{
            "layers": (("conv", 2), "relu"),
            "image_shape": (2, 2, 1),
            "epochs": 2,
            "random_state": 0,
            **options,
        }
    ),
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
    "a table of records": (np.zeros((20, 4), dtype=[("a", "i4")]), ("X has dtype",)),
    "the class of arrays": (np.ndarray, ("X is <class 'numpy.ndarray'>",)),
    "huge integers": ([[10**400] * 4] * 20, ("X holds an integer too large",)),
    "bytes": (b"abc", ("X",)),
    "missing": (np.full((20, 4), None), ("X contains NaN",)),
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
    "missing words": (np.asarray(["a", None] * 10, dtype=object), ("y contains NaN", "None")),
    "pandas' NA": (np.asarray(["a", pd.NA] * 10, dtype=object), ("y contains NaN", "<NA>")),
    "objects of several types": (np.asarray(["a", 1] * 10, dtype=object), ("y", "'a'", "1")),
    "fractions as objects": (np.asarray([0.5, 1] * 10, dtype=object), ("y holds 0.5",)),
    "lists as objects": (np.asarray([[1], [2, 3]] * 10, dtype=object), ("y holds [1]",)),
    "times": (np.full(20, np.datetime64("2026-01-01")), ("y has dtype datetime64",)),
    "records": (np.zeros(20, dtype=[("a", "i4")]), ("y has dtype",)),
    "masked": (np.ma.masked_array(Y, Y == 1), ("y is a masked array",)),
    "sparse": (scipy.sparse.csr_matrix(Y[:, None]), ("y is sparse",)),
    "ragged": ([[1], [2, 3]] * 10, ("y cannot be made an array",)),
    "a dict": ({"a": 1}, ("y should be a 1d array", "{'a': 1}")),
    "a word": ("cat", ("y should be a 1d array", "'cat'")),
}
# `classes` of partial_fit: the same, but for how many there are.
CLASSES = {
    kind: (labels, [word for word in words if "y" not in word])
    for kind, (labels, words) in LABELS.items()
    if kind not in ("none", "too few", "too many", "one class")
}
WEIGHTS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "too few": (np.ones(19), ("sample_weight", "(19,)")),
    "a table": (np.ones((20, 2)), ("sample_weight", "(20, 2)")),
    "negative": (-np.ones(20), ("sample_weight", "-1")),
    "NaN": (np.full(20, np.nan), ("sample_weight",)),
    "infinity": (np.full(20, np.inf), ("sample_weight",)),
    "all zero": (np.zeros(20), ("sample_weight", "zero")),
    "words": (["heavy"] * 20, ("sample_weight",)),
    "complex": (np.ones(20) + 0j, ("sample_weight has dtype complex128",)),
    "masked": (np.ma.ones(20), ("sample_weight is a masked array",)),
    "sparse": (scipy.sparse.csr_matrix(np.ones((20, 1))), ("sample_weight is sparse",)),
    "ragged": ([[1.0], [2.0, 3.0]] * 10, ("sample_weight",)),
    "a negative number": (-1, ("sample_weight", "-1")),
    "times": (np.zeros(20, dtype="m8[s]"), ("sample_weight", "timedelta64")),
    "a dict": ({}, ("sample_weight",)),
}
OPTIONS: dict[str, dict[str, tuple[Any, ...]]] = {
    "knn": {
        "n_neighbors": (0, -1, 21, 2.5, True, np.True_, "3", None, np.nan),
        "metric": ("cosine", None, 2),
        "weights": ("votes", None),
        "ties": ("random", None),
        "memory_budget": (0, -5, 100, 1.5, "1GB", np.nan),
    },
    "linear": {
        "loss": ("squared_error", "log", None, 1),
        "delta": (0, -1.0, np.nan, np.inf, "1", None, True, 1j),
        "l2": (-1e-9, np.nan, np.inf, "0.1", None, True, np.True_),
        "l1": (-1, np.nan, "0", None),
        "optimizer": ("rmsprop", None, 3, slice(3), xpcls.optimizers.Adam),
        "learning_rate": (0, -0.1, np.nan, np.inf, "fast", None, True),
        "schedule": ("linear", None, 0.5, xpcls.optimizers.Cosine),
        "replace": ("yes", None, 1, np.nan),
        "early_stopping": ("no", None, 2),
        "validation_fraction": (0, 1, 2, -0.5, np.nan, "0.1", None),
        "patience": (0, -1, 1.5, None, True),
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
        elif name in ("_index",):
            value = value.points
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


@pytest.mark.parametrize("kind", CLASSES)
def test_classes(kind: str) -> None:
    classes, words = CLASSES[kind]
    model = LinearClassifier(epochs=2, random_state=0)
    assert_refused(lambda: model.partial_fit(X, Y, classes), ("classes", *words))
    assert_refused(lambda: model.partial_fit(X, Y, [1, 1]), ("classes is [1, 1]",))
    assert set(vars(model)) == set(model.get_params()), "a failed first call left something"
    model.fit(X, Y)
    before = state(model)
    assert_refused(lambda: model.partial_fit(X, Y, classes), ("classes", *words))
    assert_refused(lambda: model.partial_fit(X, Y, [0, 1]), ("classes is [0, 1]", "[0, 1, 2]"))
    assert_unchanged(model, before)


@pytest.mark.parametrize("kind", [kind for kind in LABELS if kind != "one class"])
def test_true_labels_of_a_score(make: Callable[..., Classifier], kind: str) -> None:
    labels, words = LABELS[kind]
    assert_refused(lambda: make().fit(X, Y).score(X, labels), words)


@pytest.mark.parametrize("kind", WEIGHTS)
def test_weights_of_a_score(make: Callable[..., Classifier], kind: str) -> None:
    weights, words = WEIGHTS[kind]
    assert_refused(lambda: make().fit(X, Y).score(X, Y, weights), words)


def test_scores_do_not_compare_text_with_numbers(make: Callable[..., Classifier]) -> None:
    """All would be wrong, silently."""
    words = np.asarray(["a", "b", "c"])[Y]
    assert_refused(lambda: make().fit(X, Y).score(X, words), ("y holds text like 'a'", "numbers"))
    assert_refused(lambda: make().fit(X, words).score(X, Y), ("y holds numbers like 0", "text"))


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


@pytest.mark.parametrize("value", [np.ones((9, 9)), 10**400, ["a\nb"] * 50, np.ones(1)])
@pytest.mark.parametrize("option", ["l2", "batch_size", "loss", "optimizer", "learning_rate"])
def test_values_too_long_for_a_message_are_cut(option: str, value: Any) -> None:
    if option == "batch_size" and isinstance(value, int):
        value = -value
    with pytest.raises((ValueError, TypeError)) as error:
        LinearClassifier(**{option: value}).fit(X, Y)
    message = str(error.value)
    assert message.startswith(f"{option} is ")
    assert len(message.splitlines()) == 1 and len(message) < 400


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


def test_arrays_of_two_places(make: Callable[..., Classifier], fake: Backend) -> None:
    there, labels_there = fake.asarray(X), fake.asarray(Y)
    elsewhere = fake.xp.asarray(X, device=fake.xp.Device("CPU_DEVICE"))
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
