"""One test for all estimators on all backends: what NumPy learns and says, the others do too.

Each estimator is fitted with NumPy arrays and again with those of the backend. Then every array
among its attributes, and what every public method returns, is compared: value, dtype, namespace
and device.
"""

import numpy as np
import pytest

from xpcls import ConvNetClassifier, KNeighborsClassifier, LinearClassifier, MLPClassifier
from xpcls.base import Classifier
from xpcls.linear_model import LINEAR_LOSSES
from xpcls_backends import Backend, device_of, is_array, namespace_of, to_host
from xpcls_backends.testing import forbid_host_reads

ESTIMATORS: dict[str, Classifier] = {
    "knn l2": KNeighborsClassifier(4),
    "knn l1, distance": KNeighborsClassifier(4, metric="l1", weights="distance", ties="nearest"),
    **{
        loss: LinearClassifier(loss, epochs=10, batch_size=16, random_state=0)
        for loss in LINEAR_LOSSES
    },
    "adam, l1, early stopping": LinearClassifier(
        optimizer="adam", l1=1e-3, epochs=10, batch_size=16, early_stopping=True, random_state=0
    ),
    "random local search": LinearClassifier(
        optimizer="random_local_search", epochs=10, random_state=0
    ),
    "with replacement, cosine": LinearClassifier(
        "hinge", optimizer="nesterov", schedule="cosine", replace=True, epochs=10, random_state=0
    ),
    **{
        f"mlp {loss}, {activation}": MLPClassifier(
            (5, 4), loss=loss, activation=activation, epochs=5, batch_size=16, random_state=0
        )
        for loss, activation in (
            ("softmax", "relu"),
            ("hinge", "tanh"),
            ("squared_hinge", "sigmoid"),
            ("squared_error", "relu"),
        )
    },
    "mlp, dropout, sgd": MLPClassifier(
        dropout=0.3, optimizer="sgd", standardize=False, epochs=5, batch_size=16, random_state=0
    ),
    "mlp, random search": MLPClassifier(3, optimizer="random_search", epochs=5, random_state=0),
    "convnet": ConvNetClassifier(
        (("conv", 4), "relu", "max_pool", "batch_norm", ("dense", 5), "tanh", ("dropout", 0.2)),
        epochs=3,
        batch_size=16,
        augment=(("shift", 1), "flip", ("crop", 0.8)),
        image_shape=(2, 2, 3),
        early_stopping=True,
        random_state=0,
    ),
}
METHODS = ("predict", "predict_proba", "decision_function", "kneighbors")
TIMES = "seconds"  # the one thing that no two runs share

rng = np.random.default_rng(0)
MEANS = rng.integers(40, 216, (3, 12))
LABELS = rng.integers(0, 3, 60)
PIXELS = (MEANS[LABELS] + rng.integers(-40, 40, (60, 12))).astype(np.uint8)
ROWS = {
    "uint8": PIXELS,
    # Of 256, not 255: sums are then exact in float32 too, and ties the same without float64.
    "float32": PIXELS.astype(np.float32) / 256,
    "float64": PIXELS.astype(np.float64) / 256,
    "images": PIXELS.reshape(60, 2, 2, 3),
}


def clone(estimator: Classifier) -> Classifier:
    return type(estimator)(**estimator.get_params())


def assert_same(found: object, expected: object, backend: Backend, path: str) -> None:
    """`found` on the backend is what `expected` is on NumPy, to the last array within."""
    if is_array(expected) and expected.dtype.kind in "biuf":  # type: ignore[attr-defined]
        assert is_array(found), f"{path} is a {type(found).__name__}"
        assert namespace_of(found) is backend.xp, f"{path} is of {namespace_of(found)}"
        assert device_of(found) == backend.device, f"{path} is on {device_of(found)}"
        host = to_host(found)
        assert host.dtype == expected.dtype, f"{path} is {host.dtype}, not {expected.dtype}"  # type: ignore[attr-defined]
        if host.dtype.kind == "f":
            rtol = 1e-4 if host.dtype == np.float32 else 1e-10
            np.testing.assert_allclose(host, expected, rtol=rtol, atol=rtol, err_msg=path)
        else:
            np.testing.assert_array_equal(host, expected, err_msg=path)
    elif isinstance(expected, dict):
        assert isinstance(found, dict) and found.keys() == expected.keys(), path
        for key in expected.keys() - {TIMES}:
            assert_same(found[key], expected[key], backend, f"{path}[{key!r}]")
    elif isinstance(expected, tuple | list) and not isinstance(expected, str):
        assert type(found) is type(expected) and len(found) == len(expected), path  # type: ignore[arg-type]
        for i, (one, other) in enumerate(zip(found, expected, strict=True)):  # type: ignore[call-overload]
            assert_same(one, other, backend, f"{path}[{i}]")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-4), path
    elif isinstance(expected, int | str | None):
        assert found == expected, path
    else:
        assert type(found) is type(expected), path
        if hasattr(expected, "__dict__"):
            assert_same(vars(found), vars(expected), backend, path)


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_backend_learns_and_answers_what_numpy_does(
    backend: Backend, name: str, kind: str
) -> None:
    X = ROWS[kind]
    if backend.name == "strict-no_float64" and kind == "float64":
        pytest.skip("this device has no float64 to compute in")
    expected = clone(ESTIMATORS[name]).fit(X, LABELS)
    X_there, y_there = backend.asarray(X), backend.asarray(LABELS)
    with forbid_host_reads():
        found = clone(ESTIMATORS[name]).fit(X_there, y_there)
    assert_same(vars(found), vars(expected), backend, name)  # now: a search keeps what it finds out
    with forbid_host_reads():
        answers = {m: getattr(found, m)(X_there) for m in METHODS if hasattr(found, m)}
        score = found.score(X_there, y_there)
    assert answers.keys() == {m for m in METHODS if hasattr(expected, m)}
    for method, answer in answers.items():
        assert_same(answer, getattr(expected, method)(X), backend, f"{name}.{method}")
    assert score == pytest.approx(expected.score(X, LABELS))
    if hasattr(found, "templates") and kind != "float64":
        difference = to_host(found.templates()).astype(int) - expected.templates().astype(int)
        assert abs(difference).max() <= 1  # rounding to uint8 can tip
        assert_same(found.templates() * 0, expected.templates() * 0, backend, f"{name}.templates")


@pytest.mark.parametrize("name", ESTIMATORS)
def test_text_labels_stay_on_the_host(backend: Backend, name: str) -> None:
    words = np.asarray(["cat", "dog", "frog"])[LABELS]
    X = backend.asarray(ROWS["float32"])
    model = clone(ESTIMATORS[name]).fit(X, words)
    assert isinstance(model.predict(X), np.ndarray)
    assert model.predict(X).dtype.kind == "U"
    assert model.score(X, words) == clone(ESTIMATORS[name]).fit(X, words.tolist()).score(X, words)


def test_every_classifier_stands_in_the_list() -> None:
    import xpcls.linear
    import xpcls.neighbors
    import xpcls.networks

    bases = {xpcls.networks.NetworkClassifier}
    found = {
        value
        for module in (xpcls.linear, xpcls.neighbors, xpcls.networks)
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Classifier)
        and value.__module__ == module.__name__
    }
    assert found - bases == {type(estimator) for estimator in ESTIMATORS.values()}
