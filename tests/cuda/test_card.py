"""What only a real card can show: memory that is given back, or is not there, and true streams."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from tests.cuda import fakecupy
from xpcls import (
    ConvNetClassifier,
    KNeighborsClassifier,
    LinearClassifier,
    get_backend,
    prefetch_to_device,
)
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


@pytest.mark.parametrize("own_stream", [False, True])
def test_parts_that_were_moved_ahead_are_those_that_were_read(
    cuda: Backend, own_stream: bool
) -> None:
    """More work a part than a copy takes, arrays dropped at once, and each entry looked at."""
    import cupy

    size, n = 2**23, 24
    matrix = cuda.xp.ones((4096, 4096), dtype=cuda.xp.float32, device=cuda.device)

    def parts() -> Iterator[Any]:
        for i in range(n):
            yield (np.full(size + 1000 * i, i, np.int32), np.arange(i))

    def found() -> list[Any]:
        wrong = []
        for i, (x, y) in enumerate(prefetch_to_device(parts(), cuda)):
            assert x.shape == (size + 1000 * i,) and y.shape == (i,)
            matrix @ matrix  # the card is behind the host when it comes to the next line
            wrong.append(cuda.xp.count_nonzero(x != i))
            z = x + 1  # takes the memory of what was dropped
            wrong.append(cuda.xp.count_nonzero(z != i + 1))
        return [int(to_host(w)) for w in wrong]

    with cupy.cuda.Stream(non_blocking=True) if own_stream else cuda.device:
        matrix @ matrix
        assert found() == [0] * 2 * n


def test_parts_that_are_left_early_give_everything_back(cuda: Backend) -> None:
    def use(n: int) -> None:
        parts = ((np.full(2**22, i, np.int32),) for i in range(99))
        for i, (x,) in enumerate(prefetch_to_device(parts, cuda)):
            if i == n:
                assert int(to_host(cuda.xp.sum(x != i))) == 0
                break

    use(3)
    gc.collect()
    before = pool(cuda).used_bytes()
    for n in range(3):
        use(n)
    gc.collect()
    assert pool(cuda).used_bytes() == before
    pinned = cuda.xp.get_default_pinned_memory_pool()
    pinned.free_all_blocks()
    assert pinned.n_free_blocks() == 0
