"""Threads for host work: how many, that all parts are done, and that errors come through."""

import threading

import array_api_strict as strict
import pytest
from threadpoolctl import threadpool_info

from xpcls_backends import get_backend, in_threads, one_thread_products, thread_count

NUMPY = get_backend("numpy").xp


def test_the_environment_holds_threads_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    free = thread_count(NUMPY)
    assert free >= 1
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert thread_count(NUMPY) == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "1000")
    assert thread_count(NUMPY) == free
    for senseless in ("", "many", "0"):
        monkeypatch.setenv("OMP_NUM_THREADS", senseless)
        assert thread_count(NUMPY) in (1, free)


def test_other_devices_have_threads_of_their_own() -> None:
    assert thread_count(strict) == 1


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("n_parts", [0, 1, 2, 17])
def test_every_part_is_done_once(threads: int, n_parts: int) -> None:
    done: list[int] = []
    in_threads(done.append, range(n_parts), threads)
    assert sorted(done) == list(range(n_parts))


@pytest.mark.parametrize("threads", [1, 3])
def test_what_is_done_is_told_by_the_thread_that_asked(threads: int) -> None:
    told: list[tuple[int, bool]] = []
    here = threading.current_thread()
    in_threads(
        lambda part: None,
        range(5),
        threads,
        lambda done: told.append((done, threading.current_thread() is here)),
    )
    assert told == [(done, True) for done in range(1, 6)]


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_in_a_part_is_raised(threads: int) -> None:
    def work(part: int) -> None:
        if part == 2:
            raise MemoryError("part 2")

    with pytest.raises(MemoryError, match="part 2"):
        in_threads(work, range(6), threads)


def blas_threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_products_have_one_thread_meanwhile_and_all_of_them_afterwards() -> None:
    before, seen = blas_threads(), []
    in_threads(lambda _: seen.append(blas_threads()), range(3), 2)
    assert all(threads <= {1} for threads in seen) and blas_threads() == before
    with one_thread_products(NUMPY):
        assert blas_threads() <= {1}
    with one_thread_products(strict):  # which is none of ours
        assert blas_threads() == before
    assert blas_threads() == before


def test_work_that_asks_for_threads_gets_none() -> None:
    names: list[tuple[str, str]] = []

    def work(part: int) -> None:
        mine = threading.current_thread().name
        in_threads(lambda _: names.append((mine, threading.current_thread().name)), range(3), 2)

    in_threads(work, range(4), 2)
    assert len(names) == 12 and all(outer == inner for outer, inner in names)


def test_no_thread_outlives_the_call() -> None:
    before = threading.active_count()
    in_threads(lambda part: None, range(8), 4)
    assert threading.active_count() == before
