"""The parity report: what it compares, and that it sees a difference."""

import numpy as np
import pytest

from xpcls import parity as module
from xpcls.data import load_mnist5k, make_shapes, split
from xpcls.parity import FEW, parity
from xpcls_backends import Backend, get_backend

DATA = load_mnist5k()
PARTS = split(DATA, random_state=0)
NUMPY = get_backend("numpy")


@pytest.fixture(autouse=True)
def _fewer_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EPOCHS", 5)


def test_a_fake_device_differs_from_numpy_in_nothing_that_counts(fake: Backend) -> None:
    found = list(parity(DATA, PARTS, [NUMPY, fake], seed=0))
    assert {d.what for d in found} >= {"neighbours, l1", "neighbours, l2", "softmax: weights"}
    assert len(found) == 2 + 2 + 7 * 3
    assert all(d.passed and d.backend == "strict" for d in found), found


def test_hues_are_compared_where_there_are_any(fake: Backend) -> None:
    shapes = make_shapes(300)
    found = list(parity(shapes, split(shapes, random_state=0), [NUMPY, fake], seed=0))
    assert {"hog: features", "pca: features", "hue: features"} <= {d.what for d in found}
    assert all(d.passed for d in found if d.what.endswith("features")), found


def test_a_backend_that_computes_something_else_is_seen(
    fake: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = module._results

    def off(data, parts, backend, seed):  # type: ignore[no-untyped-def]
        for what, found in results(data, parts, backend, seed):
            if backend.name == "numpy":
                yield what, found
            elif found.dtype == np.int64:
                yield what, np.where(np.arange(found.shape[0]) % 20 == 0, -1, found.T).T
            else:
                yield what, found * 1.001

    monkeypatch.setattr(module, "_results", off)
    found = list(parity(DATA, PARTS, [NUMPY, fake], seed=0))
    assert not any(d.passed for d in found)
    assert max(d.largest for d in found if "predictions" in d.what) > FEW


def test_one_backend_has_nothing_to_be_compared_with() -> None:
    assert list(parity(DATA, PARTS, [NUMPY], seed=0)) == []


@pytest.mark.gpu
def test_cupy_agrees_with_numpy() -> None:
    found = list(parity(DATA, PARTS, [NUMPY, get_backend("cupy")], seed=0))
    assert found and all(d.passed for d in found), found
