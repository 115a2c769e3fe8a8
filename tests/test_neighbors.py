"""KNeighborsClassifier against a vote in plain Python, and in every way a user can feed it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import reference
from xpcls import Backend, KNeighborsClassifier, to_host
from xpcls_backends import device_of, namespace_of
from xpcls_backends.testing import forbid_host_reads

METRICS = ("l1", "l2", "sqeuclidean")
VOTES = [(weights, ties) for weights in ("uniform", "distance") for ties in ("label", "nearest")]
LABEL_DTYPES = ("int8", "int16", "int32", "int64", "uint8", "bool", "float32")


def rows(n: int, features: int, seed: int = 0, top: int = 4) -> np.ndarray:
    """Small integers, whose distances tie all the time and are exact in every dtype."""
    return np.random.default_rng(seed).integers(0, top, size=(n, features)).astype("float32")


def by_hand(
    points: np.ndarray, y: np.ndarray, queries: np.ndarray, k: int, **options: str
) -> tuple[np.ndarray, np.ndarray]:
    """(labels, shares of the votes) by loops."""
    metric = options.pop("metric", "l2")
    classes = sorted(set(y.tolist()))
    distances, indices = reference.nearest(queries, points, k, metric)
    labels, shares = [], []
    for of_query, its in zip(distances.tolist(), indices.tolist(), strict=True):
        codes = [classes.index(y.tolist()[i]) for i in its]
        winner, votes = reference.vote(codes, of_query, len(classes), **options)
        labels.append(classes[winner])
        shares.append([vote / sum(votes) for vote in votes])
    return np.asarray(labels), np.asarray(shares)


def state(model: Any) -> dict[str, Any]:
    attributes = copy.deepcopy(vars(model))
    if "_index" in attributes:
        attributes["_index"] = attributes["_index"].points
    return attributes


def assert_same_state(before: dict[str, Any], model: Any) -> None:
    np.testing.assert_equal(state(model), before)


@pytest.mark.parametrize(("weights", "ties"), VOTES)
@pytest.mark.parametrize("metric", METRICS)
def test_votes_as_loops_do(backend: Backend, metric: str, weights: str, ties: str) -> None:
    points, queries = rows(23, 3, seed=1), rows(12, 3, seed=2)
    y = np.random.default_rng(3).integers(0, 4, size=23)
    for k in (1, 2, 3, 4, 6, 10, 22, 23):
        model = KNeighborsClassifier(k, metric=metric, weights=weights, ties=ties)
        model.fit(backend.asarray(points), backend.asarray(y))
        with forbid_host_reads():
            labels = model.predict(backend.asarray(queries))
            shares = model.predict_proba(backend.asarray(queries))
        wanted, parts = by_hand(points, y, queries, k, metric=metric, weights=weights, ties=ties)
        np.testing.assert_allclose(to_host(shares), parts, rtol=1e-6, atol=1e-7)
        # Where two sums of 1 / distance are equal but for their last digits, either is right.
        top = np.sort(parts, axis=1)
        clear = (top[:, -1] - top[:, -2] > 1e-6) | (weights == "uniform")
        assert clear.sum() > 6
        np.testing.assert_array_equal(to_host(labels)[clear], wanted[clear])


@given(data=st.data())
def test_any_small_set_votes_as_loops_do(data: st.DataObject) -> None:
    n, features = data.draw(st.integers(2, 12)), data.draw(st.integers(1, 3))
    seed, k = data.draw(st.integers(0, 2**16)), data.draw(st.integers(1, n))
    metric, ties = data.draw(st.sampled_from(METRICS)), data.draw(st.sampled_from(VOTES))[1]
    points, queries = rows(n, features, seed, top=3), rows(5, features, seed + 1, top=3)
    y = np.r_[[0, 1], np.random.default_rng(seed).integers(0, 3, size=n - 2)]
    model = KNeighborsClassifier(k, metric=metric, ties=ties).fit(points, y)
    wanted, _ = by_hand(points, y, queries, k, metric=metric, weights="uniform", ties=ties)
    np.testing.assert_array_equal(model.predict(queries), wanted)


def test_rules_for_equal_votes(backend: Backend) -> None:
    points = backend.asarray(np.asarray([[3.0], [1.0], [-2.0], [9.0]], dtype="float32"))
    y = backend.asarray(np.asarray([4, 7, 4, 2]))
    query = backend.asarray(np.zeros((1, 1), dtype="float32"))
    # By distance the classes are 7, 4, 4, 2.
    for k, label, nearest in ((1, 7, 7), (2, 4, 7), (3, 4, 4), (4, 4, 4)):
        smallest = KNeighborsClassifier(k).fit(points, y)
        assert to_host(smallest.predict(query)).tolist() == [label], k
        first = KNeighborsClassifier(k, ties="nearest").fit(points, y)
        assert to_host(first.predict(query)).tolist() == [nearest], k


def test_equal_distances_go_by_row(backend: Backend) -> None:
    points = backend.asarray(np.asarray([[2.0], [-1.0], [1.0], [1.0], [-1.0]], dtype="float32"))
    y = backend.asarray(np.asarray([0, 1, 2, 3, 4]))
    model = KNeighborsClassifier(3).fit(points, y)
    query = backend.asarray(np.zeros((1, 1), dtype="float32"))
    distances, indices = model.kneighbors(query)
    assert to_host(indices).tolist() == [[1, 2, 3]]
    assert to_host(distances).tolist() == [[1.0, 1.0, 1.0]]
    indices = model.kneighbors(query, n_neighbors=5, return_distance=False)
    assert to_host(indices).tolist() == [[1, 2, 3, 4, 0]]
    assert model.n_neighbors == 3


@pytest.mark.parametrize("metric", METRICS)
def test_bytes_never_wrap(backend: Backend, metric: str) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, size=(40, 4, 4, 3)).astype("uint8")
    images[0], images[1] = 0, 255
    y = rng.integers(0, 3, size=40)
    model = KNeighborsClassifier(3, metric=metric).fit(backend.asarray(images), backend.asarray(y))
    asked = backend.asarray(images[::2])
    distances, indices = model.kneighbors(asked)
    flat = images.reshape(40, -1)
    wanted, order = reference.nearest(flat[::2], flat, 3, metric)
    np.testing.assert_array_equal(to_host(indices), order)
    np.testing.assert_allclose(to_host(distances), wanted, rtol=1e-6)
    flattened = KNeighborsClassifier(3, metric=metric).fit(
        backend.asarray(flat), backend.asarray(y)
    )
    np.testing.assert_array_equal(
        to_host(flattened.predict(backend.asarray(flat[::2]))), to_host(model.predict(asked))
    )
    assert str(model._index.points.dtype).endswith("uint8"), "the training set was copied to floats"


@pytest.mark.parametrize("dtype", LABEL_DTYPES)
def test_labels_come_back_as_they_were_given(backend: Backend, dtype: str) -> None:
    y = np.asarray([0, 1, 1, 0, 1, 0]).astype(dtype)
    X = backend.asarray(rows(6, 2, top=50))
    labels = backend.asarray(y)
    found = KNeighborsClassifier(1).fit(X, labels).predict(X)
    assert namespace_of(found) is namespace_of(X) and device_of(found) == device_of(X)
    assert found.dtype == labels.dtype
    np.testing.assert_array_equal(to_host(found), y)


@pytest.mark.parametrize(
    "y",
    [
        np.asarray(["cat", "horse", "cat", "ape"]),
        np.asarray(["cat", "horse", "cat", "ape"], dtype=object),
        np.asarray([b"cat", b"horse", b"cat", b"ape"]),
        np.asarray([10**30, 5, 10**30, 7], dtype=object),
        np.asarray(["cat", "horse", "cat", "ape"], dtype=np.dtypes.StringDType()),
    ],
    ids=["str", "object", "bytes", "large", "StringDType"],
)
def test_text_and_objects_come_back_as_numpy(backend: Backend, y: np.ndarray) -> None:
    X = backend.asarray(rows(4, 2, top=50))
    model = KNeighborsClassifier(1).fit(X, y)
    assert type(model.classes_) is np.ndarray and model.classes_.dtype == y.dtype
    found = model.predict(X)
    assert type(found) is np.ndarray and found.dtype == y.dtype
    assert found.tolist() == y.tolist()
    assert model.score(X, y) == 1.0


def test_lists_of_labels(backend: Backend) -> None:
    X = backend.asarray(rows(4, 2, top=50))
    for y in ([2, 1, 2, 0], [2.0, 1.0, 2.0, 0.0], [True, False, True, False], list("bcab")):
        model = KNeighborsClassifier(1).fit(X, y)
        assert to_host(model.predict(X)).tolist() == y
        assert model.score(X, y) == 1.0


def test_neighbours_at_distance_0_outvote_all_others(backend: Backend) -> None:
    points = np.asarray([[0, 0], [1e-3, 0], [0, 1e-3], [0, 0], [5, 5]], dtype="float32")
    y = np.asarray([0, 1, 1, 2, 3])
    model = KNeighborsClassifier(4, weights="distance")
    model.fit(backend.asarray(points), backend.asarray(y))
    shares = model.predict_proba(backend.asarray(points[:1]))
    assert to_host(shares).tolist() == [[0.5, 0.0, 0.5, 0.0]]


@pytest.mark.parametrize("tiny", [1e-40, 1e-44, 1e-30])
def test_inverse_of_subnormal_distances_does_not_overflow(tiny: float) -> None:
    points = np.asarray([[tiny], [-3 * tiny], [1.0]], dtype="float32")
    model = KNeighborsClassifier(3, metric="l1", weights="distance").fit(points, [0, 1, 2])
    shares = model.predict_proba(np.zeros((1, 1), dtype="float32"))
    exact = 1.0 / np.abs(points[:, 0].astype("float64"))
    np.testing.assert_allclose(shares[0], exact / exact.sum(), rtol=1e-5, atol=1e-44)


@pytest.mark.parametrize("metric", ["l1", "l2"])
def test_prediction_does_not_depend_on_the_budget(backend: Backend, metric: str) -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(300, 20)).astype("float32")
    y = backend.asarray(rng.integers(0, 4, size=300))
    model = KNeighborsClassifier(5, metric=metric, weights="distance")
    model.fit(backend.asarray(points), y)
    asked = backend.asarray(points[:50] + 0.1)
    wanted = model.kneighbors(asked), model.predict_proba(asked)
    for budget in (2**26, 2**20, 2**17):
        model.set_params(memory_budget=budget)
        distances, indices = model.kneighbors(asked)
        np.testing.assert_array_equal(to_host(indices), to_host(wanted[0][1]))
        np.testing.assert_array_equal(to_host(distances), to_host(wanted[0][0]))
        np.testing.assert_array_equal(to_host(model.predict_proba(asked)), to_host(wanted[1]))


def layouts(x: np.ndarray, folder: Path) -> dict[str, np.ndarray]:
    """The same numbers, held in every way that NumPy can hold them."""
    frozen = x.copy()
    frozen.setflags(write=False)
    wide = np.zeros((2 * x.shape[0], 3 * x.shape[1]), dtype=x.dtype)
    wide[::2, ::3] = x
    np.save(folder / "x.npy", x)
    return {
        "read-only": frozen,
        "Fortran": np.asfortranarray(x),
        "strided": wide[::2, ::3],
        "reversed": np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1],
        "memmap": np.load(folder / "x.npy", mmap_mode="r"),
        "byte-swapped": x.astype(x.dtype.newbyteorder()),
        "matrix": np.asmatrix(x),
        "list": x.tolist(),
    }


@pytest.mark.filterwarnings("ignore:the matrix subclass")
@pytest.mark.parametrize("metric", ["l1", "l2"])
def test_layouts_of_memory_do_not_matter(metric: str, tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(200, 6))
    y = np.arange(200) % 3
    wanted = KNeighborsClassifier(7, metric=metric).fit(x, y).predict_proba(x)
    for name, held in layouts(x, tmp_path).items():
        model = KNeighborsClassifier(7, metric=metric).fit(held, y)
        found = model.predict_proba(held)
        assert type(found) is np.ndarray, name
        np.testing.assert_array_equal(found, wanted, err_msg=name)
        assert type(model.predict(held)) is np.ndarray, name


def test_fit_keeps_the_array_and_copies_nothing() -> None:
    x = np.ones((4, 3), dtype="uint8")
    model = KNeighborsClassifier(1).fit(x, [0, 1, 0, 1])
    assert np.shares_memory(model._index.points, x)


@pytest.mark.parametrize(
    ("X", "y", "params"),
    [
        (np.full((6, 2), np.nan), [0, 1] * 3, {}),
        (np.ones((6, 2)), [0] * 6, {}),
        (np.ones((6, 2)), [0, 1] * 2, {}),
        (np.ones((6, 5)), [0, 1] * 3, {"n_neighbors": 7}),
        (np.ones((6, 5)), [0, 1] * 3, {"ties": "coin"}),
    ],
)
def test_a_failed_fit_leaves_the_model_as_it_was(X: Any, y: Any, params: dict[str, Any]) -> None:
    model = KNeighborsClassifier(3).fit(rows(9, 4), np.arange(9) % 3)
    model.set_params(**params)
    before = state(model)
    with pytest.raises(ValueError):
        model.fit(X, y)
    assert_same_state(before, model)
    model.set_params(n_neighbors=3, ties="label").predict(rows(5, 4))


def test_a_frame_with_mixed_column_names_leaves_the_model_as_it_was() -> None:
    pandas = pytest.importorskip("pandas")
    model = KNeighborsClassifier(3).fit(rows(9, 4), np.arange(9) % 3)
    before = state(model)
    with pytest.raises(TypeError, match="Feature names are only supported if all"):
        model.fit(pandas.DataFrame(rows(9, 2), columns=["a", 1]), np.arange(9) % 3)
    assert_same_state(before, model)


def test_predict_changes_nothing() -> None:
    model = KNeighborsClassifier(3).fit(rows(9, 4), np.arange(9) % 3)
    before = state(model)
    model.predict(rows(5, 4)), model.predict_proba(rows(5, 4)), model.score(rows(9, 4), [0] * 9)
    assert_same_state(before, model)
