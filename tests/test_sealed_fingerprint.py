"""The SHA-256 of a model: equal for equal models in every process, and other for others."""

from __future__ import annotations

import copy
import os
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier as Theirs
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from xpcls import KNeighborsClassifier, LinearClassifier, MLPClassifier
from xpcls.model_selection import KNeighborsClassifierCV
from xpcls.model_selection._fingerprint import fingerprint
from xpcls_backends import Backend, to_host

rng = np.random.default_rng(0)
Y = np.arange(40) % 3
X = (rng.normal(size=(40, 4)) + Y[:, None]).astype("float32")


def forest() -> Any:
    return RandomForestClassifier(3, random_state=0).fit(X, Y)


MODELS: dict[str, Callable[[], Any]] = {
    "knn": lambda: KNeighborsClassifier(3).fit(X, Y),
    "linear": lambda: LinearClassifier(epochs=2, random_state=0).fit(X, Y),
    "mlp": lambda: MLPClassifier((4,), epochs=2, random_state=0).fit(X, Y),
    "cv": lambda: KNeighborsClassifierCV((1, 3)).fit(X, Y),
    "text": lambda: KNeighborsClassifier(3).fit(X, np.asarray(["a", "b", "c"])[Y]),
    "forest": forest,
    "pipeline": lambda: make_pipeline(StandardScaler(), LogisticRegression(C=0.5)).fit(X, Y),
    "their knn": lambda: Theirs(3, algorithm="brute").fit(X, Y),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_same_model_has_the_same_hash(name: str) -> None:
    model = MODELS[name]()
    found = fingerprint(model)
    assert len(found) == 64 and found == fingerprint(MODELS[name]())
    assert found == fingerprint(pickle.loads(pickle.dumps(model)))
    model.predict(X)
    assert fingerprint(model) == found


def test_other_models_have_other_hashes() -> None:
    models = [make() for make in MODELS.values()]
    models += [
        KNeighborsClassifier(3, metric="l1").fit(X, Y),
        KNeighborsClassifier(3).fit(X[::-1], Y[::-1]),
        KNeighborsClassifier(3).fit(X.astype("float64"), Y),
        KNeighborsClassifier(3).fit(X, Y + 1),
        LinearClassifier(epochs=2, random_state=1).fit(X, Y),
        RandomForestClassifier(3, random_state=1).fit(X, Y),
        make_pipeline(StandardScaler(), LogisticRegression(C=0.25)).fit(X, Y),
    ]
    assert len({fingerprint(model) for model in models}) == len(models)


def test_the_hash_does_not_depend_on_the_device(backend: Backend) -> None:
    model = KNeighborsClassifier(3).fit(backend.asarray(X), backend.asarray(Y))
    assert fingerprint(model) == fingerprint(KNeighborsClassifier(3).fit(X, Y))


def test_the_hash_is_the_same_in_another_process(fresh_python: Callable[..., str]) -> None:
    """Whatever the seed of Python's own hashes is, by which sets and dicts may be ordered."""
    source = """
import numpy as np
from sklearn.ensemble import RandomForestClassifier
from xpcls.model_selection._fingerprint import fingerprint
class Odd:
    def __init__(self):
        self.names = {"a", "b", "c", 1, 2.5}
        self.table = {("x", 1): np.arange(3), "y": len, None: [Odd, b"z", 1j]}
        self.code = lambda x, y=2: (x in {"a", "b", "c"}, self, [z + y for z in x])
        self.me = self
y = np.arange(40) % 3
x = np.arange(160.0).reshape(40, 4) % 7
print(fingerprint(RandomForestClassifier(3, random_state=0).fit(x, y)), fingerprint(Odd()))
"""
    assert fresh_python(source, PYTHONHASHSEED="1") == fresh_python(source, PYTHONHASHSEED="2")


class Odd:
    def __init__(self, number: int = 1) -> None:
        self.number = number

    def value(self) -> int:
        return self.number


def scaled(factor: float) -> Callable[[float], float]:
    return lambda x: factor * x


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([1, [2]], [[1], 2]),
        ([1], (1,)),
        ([1], [True]),
        (["ab", "c"], ["a", "bc"]),
        ({"a": 1, "b": 2}, {"a": 2, "b": 1}),
        ({1, 2}, {1, 3}),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        (np.zeros(2, "float32"), np.zeros(1, "float64")),
        (np.asarray(["a"]), np.asarray(["b"])),
        (np.asarray([1, None], object), np.asarray([None, 1], object)),
        (np.zeros(0), np.zeros((0, 1))),
        (np.ma.array([1, 2], mask=[0, 1]), np.ma.array([1, 2], mask=[1, 0])),
        (np.ma.array([1, 999999], mask=[0, 1]), np.ma.array([1, 999999], mask=[0, 0])),
        (np.zeros(2, [("a", "i4"), ("b", "i4")]), np.zeros(2, [("a", "i4"), ("c", "i4")])),
        (np.asarray([(1, 2)], "i4,i4"), np.asarray([(2, 1)], "i4,i4")),
        (lambda x: x + 1, lambda x: x + 2),
        (lambda x: len(x), lambda x: sum(x)),
        (lambda x: lambda: x + 1, lambda x: lambda: x - 1),
        (lambda x=1: x, lambda x=2: x),
        (scaled(1), scaled(2)),
        (Odd().value, Odd(2).value),
        (partial(scaled, 1), partial(scaled, 2)),
        (np.random.default_rng(0), np.random.default_rng(1)),
        (len, sum),
        (None, "None"),
    ],
)
def test_unequal_values_have_unequal_hashes(a: Any, b: Any) -> None:
    assert fingerprint(a) != fingerprint(b) and fingerprint(a) == fingerprint(copy.deepcopy(a))


def test_of_xpcls_the_plain_data_and_what_was_chosen_count() -> None:
    """Two searches with one model inside: the same rows, and another metric or k was the best."""
    search = KNeighborsClassifierCV((1, 3)).fit(X, Y)
    found = set()
    for k, metric in ((1, "l1"), (3, "l1"), (1, "l2")):
        search.best_params_ = {"metric": metric, "n_neighbors": k}
        found.add(fingerprint(search))
    assert len(found) == 3
    model = KNeighborsClassifier(3).fit(X, Y)
    before, (tensors, plain) = fingerprint(model), model._learnt()
    model._learnt = lambda: (tensors, {**plain, "more": 1})  # type: ignore[method-assign]
    assert fingerprint(model) != before


def test_frames_count_by_columns_and_contents() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1], "b": [2]})
    others = [
        pandas.DataFrame({"a": [1], "c": [2]}),
        pandas.DataFrame({"a": [1], "b": [3]}),
        pandas.Series([1]),
        pandas.Series([1.0]),
    ]
    assert fingerprint(frame) == fingerprint(frame.copy())
    assert len({fingerprint(table) for table in (frame, *others)}) == 5


class Broken:
    def __reduce_ex__(self, protocol: Any) -> Any:
        raise RuntimeError("not today")


def test_what_fails_to_be_copied_counts_by_its_kind() -> None:
    assert fingerprint(Broken()) == fingerprint(Broken()) != fingerprint(Odd())


def test_shared_objects_are_hashed_once_and_equal_ones_are_equal() -> None:
    """40 levels of pairs are 2 ** 40 lists to who follows every path."""

    def pairs(levels: int) -> list[Any]:
        return [pairs(levels - 1), pairs(levels - 1)] if levels else [1]

    shared: list[Any] = [1]
    for _ in range(40):
        shared = [shared, shared]
    assert len(fingerprint(shared)) == 64
    shallow: list[Any] = [1]
    for _ in range(4):
        shallow = [shallow, shallow]
    assert fingerprint(shallow) == fingerprint(pairs(4))


def test_cycles_have_one_hash_whatever_comes_first() -> None:
    def ring() -> tuple[dict[str, Any], dict[str, Any]]:
        a: dict[str, Any] = {"name": "a"}
        b = {"name": "b", "other": a}
        a["other"] = b
        return a, b

    a, b = ring()
    assert fingerprint({"x": a, "y": b}) == fingerprint({"y": b, "x": a}) != fingerprint([a, b])


def test_a_chain_too_deep_to_follow_is_told() -> None:
    chain: list[Any] = []
    for _ in range(100_000):
        chain = [chain]
    with pytest.raises(ValueError, match="the list holds objects in objects too deeply for a SHA"):
        fingerprint(chain)


def test_the_order_of_names_does_not_matter() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})


def test_what_cannot_be_copied_counts_by_its_kind() -> None:
    with open(os.devnull) as file, open(os.devnull, "wb") as other:
        assert fingerprint([file]) == fingerprint([file]) != fingerprint([other])


def test_layouts_of_memory_do_not_matter(fake: Backend) -> None:
    table = np.arange(12.0).reshape(3, 4)
    for same in (np.asfortranarray(table), table.astype(">f8"), np.repeat(table, 2, axis=0)[::2]):
        assert fingerprint(same) == fingerprint(table)
    there = fake.asarray(table)
    assert fingerprint(there) == fingerprint(to_host(there))
