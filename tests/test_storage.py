"""Models in files: what comes back is what went in, and a save that fails has done nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

from xpcls import (
    ConvNetClassifier,
    KNeighborsClassifier,
    LinearClassifier,
    MLPClassifier,
    load,
    optimizers,
    save,
    to_host,
)
from xpcls.storage import CLASSES
from xpcls_backends import Backend, device_of, namespace_of

ROWS, FEATURES = 60, 12
RANDOM = np.random.default_rng(0)
CODES = np.arange(ROWS) % 3
IMAGES = RANDOM.integers(0, 100, (ROWS, FEATURES), dtype=np.uint8) + CODES[:, None] * 50
IMAGES = IMAGES.astype(np.uint8)
ESTIMATORS = [
    KNeighborsClassifier(3),
    KNeighborsClassifier(4, metric="l1", weights="distance", ties="nearest", memory_budget=1 << 20),
    LinearClassifier(epochs=3, random_state=0),
    LinearClassifier("hinge", delta=2.0, l1=1e-3, optimizer="adam", epochs=3, random_state=1),
    LinearClassifier(
        "squared_hinge",
        optimizer=optimizers.Nesterov(decay=0.8),
        schedule=optimizers.Step(every=2),
        early_stopping=True,
        epochs=4,
        random_state=2,
    ),
    LinearClassifier("one_vs_all", optimizer="gd", schedule="cosine", learning_rate=1e-6, epochs=2),
    LinearClassifier("structured", optimizer="random_local_search", epochs=4, replace=True),
    MLPClassifier(7, epochs=3, random_state=0),
    MLPClassifier(
        (5, 4), loss="hinge", activation="tanh", dropout=0.2, standardize=False, epochs=2
    ),
    ConvNetClassifier(
        [("conv", 3), "batch_norm", "relu", "avg_pool", ("dense", 4), "sigmoid"],
        image_shape=(2, 2, 3),
        augment=["flip"],
        epochs=2,
    ),
]
LABELS = {
    "int64": np.asarray([7, -2, 30]),
    "uint8": np.asarray([0, 200, 9], dtype=np.uint8),
    "float32": np.asarray([1.0, 0.0, 5.0], dtype=np.float32),
    "text": np.asarray(["cat", "dog", "Ünicode\u2028 \0x"]),
    "wide text": np.asarray(["a", "b", "c"], dtype="U40"),
    "objects": np.asarray(["cat", "", "dog"], dtype=object),
    "bool": np.asarray([True, False, True]),
    "numbers as objects": np.asarray([3, 10, 2], dtype=object),
}


def named(estimator: Any) -> str:
    return repr(estimator)[:60]


def fresh(estimator: Any) -> Any:
    """An unfitted copy."""
    return type(estimator)(**estimator.get_params())


def fitted(estimator: Any, backend: Backend, labels: str = "text", x: Any = IMAGES) -> Any:
    y = LABELS[labels][CODES]
    if y.dtype.kind not in "OU":
        y = backend.asarray(y)
    return fresh(estimator).fit(backend.asarray(x), y)


def assert_same(actual: Any, expected: Any, backend: Backend) -> None:
    """The same arrays, bit for bit, on `backend`, or the same plain values."""
    if isinstance(expected, tuple):
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            assert_same(one, other, backend)
        return
    if not hasattr(expected, "dtype"):
        assert actual == expected and type(actual) is type(expected)
        return
    found, wanted = to_host(actual), to_host(expected)
    assert found.dtype == wanted.dtype and found.shape == wanted.shape
    if found.dtype.kind == "O":
        assert found.tolist() == wanted.tolist()
    else:
        assert found.tobytes() == wanted.tobytes()
    if found.dtype.kind not in "OU":  # text lives on the host
        assert namespace_of(actual) is backend.xp and device_of(actual) == backend.device


def assert_same_model(actual: Any, expected: Any, backend: Backend) -> None:
    assert type(actual) is type(expected)
    assert actual.get_params() == expected.get_params()
    public = {name for name in vars(expected) if name.endswith("_") and not name.startswith("_")}
    for name in public:
        assert_same(getattr(actual, name), getattr(expected, name), backend)
    x = backend.asarray(IMAGES)
    for method in ("predict", "predict_proba", "decision_function", "kneighbors"):
        if hasattr(expected, method):
            found, wanted = getattr(actual, method)(x), getattr(expected, method)(x)
            pairs = zip(found, wanted, strict=True) if method == "kneighbors" else [(found, wanted)]
            for pair in pairs:
                assert_same(*pair, backend)


# --- round trips ------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=named)
def test_a_round_trip_changes_no_bit(backend: Backend, estimator: Any, tmp_path: Path) -> None:
    model = fitted(estimator, backend)
    save(model, tmp_path / "model")
    assert_same_model(load(tmp_path / "model", backend), model, backend)


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("estimator", [ESTIMATORS[0], ESTIMATORS[2]], ids=named)
def test_labels_come_back_as_they_were(
    backend: Backend, estimator: Any, labels: str, tmp_path: Path
) -> None:
    model = fitted(estimator, backend, labels)
    save(model, tmp_path / "model")
    assert_same_model(load(tmp_path / "model", backend), model, backend)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=named)
def test_trained_there_and_loaded_on_the_laptop(
    backend: Backend, estimator: Any, tmp_path: Path
) -> None:
    model = fitted(estimator, backend)
    save(model, str(tmp_path / "model"))
    here = load(tmp_path / "model")
    assert to_host(model.predict(backend.asarray(IMAGES))).tolist() == here.predict(IMAGES).tolist()
    save(here, tmp_path / "again")
    back = load(tmp_path / "again", backend)
    assert_same_model(back, model, backend)


def test_kneighbors_keep_their_dtype(backend: Backend, tmp_path: Path) -> None:
    for dtype in ("bool", "uint8", "int16", "float32"):
        model = fitted(ESTIMATORS[0], backend, x=IMAGES.astype(dtype))
        save(model, tmp_path / "model")
        rows = load(tmp_path / "model", backend)._learnt()[0]["rows"]
        assert_same(rows, backend.asarray(IMAGES.astype(dtype)), backend)


def test_float64_and_images_and_column_names(tmp_path: Path) -> None:
    images = IMAGES.reshape(ROWS, 2, 2, 3) / 255.0
    for estimator in (ESTIMATORS[0], ESTIMATORS[2]):
        model = fresh(estimator).fit(images, CODES)
        save(model, tmp_path / "model")
        loaded = load(tmp_path / "model")
        assert loaded.image_shape_ == (2, 2, 3)
        assert loaded.predict_proba(images).tobytes() == model.predict_proba(images).tobytes()
        frame = pandas.DataFrame(IMAGES, columns=[f"pixel {i}" for i in range(FEATURES)])
        save(fresh(estimator).fit(frame, CODES), tmp_path / "model")
        loaded = load(tmp_path / "model")
        assert loaded.feature_names_in_.tolist() == frame.columns.tolist()
        loaded.predict(frame)
        with pytest.raises(ValueError, match="feature names should match"):
            loaded.predict(frame[frame.columns[::-1]])


def test_byte_order_and_layout_do_not_matter(tmp_path: Path) -> None:
    rows = np.asfortranarray(IMAGES.astype(">i4"))
    save(KNeighborsClassifier(1).fit(rows, CODES.astype(">i2")), tmp_path / "model")
    assert load(tmp_path / "model").predict(IMAGES.astype("i4")).tolist() == CODES.tolist()


@pytest.mark.parametrize("estimator", ESTIMATORS[2:], ids=named)
def test_partial_fit_goes_on(backend: Backend, estimator: Any, tmp_path: Path) -> None:
    model = fitted(estimator, backend)
    save(model, tmp_path / "model")
    loaded = load(tmp_path / "model", backend)
    before, epochs = weights_of(loaded), len(loaded.history_["loss"])
    loaded.partial_fit(backend.asarray(IMAGES), LABELS["text"][CODES])
    assert len(loaded.history_["loss"]) == epochs + 1
    assert loaded.history_["loss"][:-1] == model.history_["loss"]
    if loaded.optimizer != "random_local_search":  # whose step may find nothing better
        assert (weights_of(loaded) != before).any()
    assert (weights_of(model) == before).all()


def weights_of(model: Any) -> np.ndarray:
    """A copy of the weights of a model that is trained."""
    return to_host(model.parameters_[0] if hasattr(model, "parameters_") else model.coef_).copy()


def test_the_same_model_makes_the_same_file(tmp_path: Path) -> None:
    model = fitted(ESTIMATORS[0], _numpy())
    save(model, tmp_path / "a")
    save(load(tmp_path / "a"), tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_file_is_loaded_without_cupy(tmp_path: Path, fresh_python: Callable[..., str]) -> None:
    save(fitted(ESTIMATORS[2], _numpy()), tmp_path / "model")
    source = "import sys; sys.modules['cupy'] = None; import xpcls; print(xpcls.load({!r}).loss)"
    assert fresh_python(source.format(str(tmp_path / "model"))) == "softmax"


def test_numbers_of_numpy_and_tuples_are_plain_data(tmp_path: Path) -> None:
    model = fitted(ESTIMATORS[2], _numpy()).set_params(
        l2=np.float32(0.5), epochs=np.int64(7), replace=np.bool_(True)
    )
    save(model, tmp_path / "model")
    params = load(tmp_path / "model").get_params()
    assert (params["l2"], params["epochs"], params["replace"]) == (0.5, 7, True)
    assert type(params["epochs"]) is int


@pytest.mark.parametrize("state", [np.random.default_rng(0), np.random.RandomState(0)])
def test_a_generator_is_stored_as_none(state: Any, tmp_path: Path) -> None:
    save(fitted(LinearClassifier(random_state=state, epochs=1), _numpy()), tmp_path / "model")
    assert load(tmp_path / "model").random_state is None


# --- what is not saved ------------------------------------------------------------------------


class Other(LinearClassifier):
    """A class of the user's own."""


class Foreign:
    """No plain data."""

    def start(self, parameters: Any) -> Any:
        return None

    step = start


def halved(epoch: int, epochs: int) -> float:
    return 0.5


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        ({"schedule": halved}, TypeError, r"schedule is <function halved.*set_params\(schedule="),
        ({"optimizer": Foreign()}, TypeError, r"optimizer is .*Foreign.*set_params\(optimizer="),
        ({"l2": -1.0}, ValueError, "l2 is -1"),
        ({"loss": "hunge"}, ValueError, "loss is 'hunge'"),
    ],
)
def test_a_parameter_that_cannot_be_saved_is_named(
    change: dict[str, Any], error: type[Exception], sentence: str, tmp_path: Path
) -> None:
    model = fitted(ESTIMATORS[2], _numpy()).set_params(**change)
    with pytest.raises(error, match=sentence):
        save(model, tmp_path / "model")
    assert os.listdir(tmp_path) == []


def test_what_is_no_fitted_classifier_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model"
    with pytest.raises(ValueError, match="not fitted yet"):
        save(LinearClassifier(), path)
    for other in (fitted(Other(epochs=1), _numpy()), None, "text"):
        with pytest.raises(TypeError, match="expected one of KNeighborsClassifier, Linear"):
            save(other, path)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="label b'a' cannot be saved; use labels of int or str"):
        save(KNeighborsClassifier(1).fit([[1], [2]], np.asarray([b"a", b"b"])), path)
    too_many = fitted(ESTIMATORS[0], _numpy()).set_params(n_neighbors=ROWS + 1)
    with pytest.raises(ValueError, match=r"n_neighbors is 61, expected .* at most 60"):
        save(too_many, path)
    broken = fitted(ESTIMATORS[2], _numpy())
    broken.coef_ = broken.coef_ * np.inf
    with pytest.raises(ValueError, match="cannot be saved: its weights hold NaN or infinity"):
        save(broken, path)
    assert os.listdir(tmp_path) == []


def test_paths_that_cannot_be_are_named(tmp_path: Path) -> None:
    model = fitted(ESTIMATORS[0], _numpy())
    for call in (lambda p: save(model, p), load):
        with pytest.raises(IsADirectoryError, match="is a folder"):
            call(tmp_path)
        with pytest.raises(FileNotFoundError, match="missing"):
            call(tmp_path / "missing" / "model")
    with pytest.raises(FileNotFoundError, match="model does not exist"):
        load(tmp_path / "model")
    with pytest.raises(ValueError, match="backend is 'gpu'"):
        load(tmp_path / "model", "gpu")


def test_every_class_of_the_table_exists_and_is_tested() -> None:
    assert {type(estimator).__name__ for estimator in ESTIMATORS} == set(CLASSES)


def _numpy() -> Backend:
    from xpcls import get_backend

    return get_backend("numpy")
