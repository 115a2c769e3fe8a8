"""What only a real card can show: memory that is given back, and memory that is not there."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from tests.cuda import fakecupy
from xpcls import ConvNetClassifier, KNeighborsClassifier, LinearClassifier, get_backend
from xpcls.distances import nearest
from xpcls_backends import Backend, to_host

pytestmark = pytest.mark.gpu

ROWS, QUERIES, FEATURES = 20_000, 4_000, 784


@pytest.fixture(scope="module")
def cuda() -> Backend:
    if fakecupy.installed():
        pytest.skip("the stand-in's memory has no end")
    return get_backend("cupy")


@pytest.fixture(scope="module")
def rows(cuda: Backend) -> tuple[Any, Any, Any]:
    """Points, queries and classes, of bytes, on the card."""
    rng = np.random.default_rng(0)
    made = (rng.integers(0, 256, (n, FEATURES)).astype("uint8") for n in (ROWS, QUERIES))
    return (*map(cuda.asarray, made), cuda.asarray(rng.integers(0, 10, ROWS)))


def pool(cuda: Backend) -> Any:
    return cuda.xp.get_default_memory_pool()


@contextmanager
def at_most(cuda: Backend, more: int) -> Iterator[None]:
    """Within the block the card has so many bytes beside those in use."""
    gc.collect()
    pool(cuda).free_all_blocks()
    pool(cuda).set_limit(size=pool(cuda).used_bytes() + more)
    try:
        yield
    finally:
        pool(cuda).set_limit(size=0)


@pytest.mark.parametrize("metric", ["l1", "l2"])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_search_goes_on_in_less_memory(cuda: Backend, rows: Any, metric: str, dtype: str) -> None:
    points, queries = (cuda.xp.astype(x, getattr(cuda.xp, dtype)) for x in rows[:2])
    expected = nearest(queries, points, 10, metric)
    with at_most(cuda, 2**27):  # the default budget is eight times as much
        found = nearest(queries, points, 10, metric)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(to_host(a), to_host(b))


def test_what_was_taken_is_given_back(cuda: Backend, rows: Any) -> None:
    points, queries, y = rows
    images = cuda.xp.reshape(queries, (-1, 28, 28, 1))

    def use() -> None:
        KNeighborsClassifier(5).fit(points, y).predict(queries)
        LinearClassifier(epochs=1, random_state=0).fit(points, y).predict(queries)
        layers = (("conv", 8), "relu", "max_pool")
        ConvNetClassifier(layers, epochs=1, random_state=0).fit(images, y[:QUERIES])

    use()  # what is made once, and kept
    gc.collect()
    before = pool(cuda).used_bytes()
    use()
    gc.collect()
    assert pool(cuda).used_bytes() == before


def test_arrays_of_two_cards_are_refused(cuda: Backend, rows: Any) -> None:
    import cupy

    if cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("one card")
    with cupy.cuda.Device(1):
        there = cupy.asarray(to_host(rows[0][:100]))
    with pytest.raises(ValueError, match="two devices"):
        nearest(rows[1], there, 3)
    with pytest.raises((ValueError, TypeError), match="different places"):
        KNeighborsClassifier(5).fit(rows[0], rows[2]).predict(there)
