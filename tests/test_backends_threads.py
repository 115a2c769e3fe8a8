"""Threads for host work: how many, that all parts are done, and that errors come through."""

import _thread
import functools
import threading
import weakref
from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_info

from xpcls_backends import (
    Backend,
    _threads,
    get_backend,
    hot_loop,
    in_threads,
    one_thread_products,
    row_blocks,
    share_rows,
    thread_count,
)

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


def test_other_devices_have_threads_of_their_own(fake: Backend) -> None:
    assert thread_count(fake.xp) == 1


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


def test_products_have_one_thread_meanwhile_and_all_of_them_afterwards(fake: Backend) -> None:
    before, seen = blas_threads(), []
    in_threads(lambda _: seen.append(blas_threads()), range(3), 2)
    assert all(threads <= {1} for threads in seen) and blas_threads() == before
    with one_thread_products(NUMPY):
        assert blas_threads() <= {1}
    with one_thread_products(fake.xp):  # which is none of ours
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


def test_a_hot_loop_keeps_its_threads_until_it_ends() -> None:
    names: list[set[str]] = []
    before, limits = threading.active_count(), blas_threads()
    with hot_loop():
        for _ in range(3):
            seen: set[str] = set()
            both = threading.Barrier(2)  # no thread can do two parts

            def work(part: int, seen: set[str] = seen, both: threading.Barrier = both) -> None:
                both.wait(timeout=10)
                seen.add(threading.current_thread().name)

            in_threads(work, range(2), 2)
            names.append(seen)
        assert names[0] == names[1] == names[2]
        assert threading.current_thread().name in names[0]
        assert blas_threads() <= {1}
    assert threading.active_count() == before
    assert blas_threads() == limits


@pytest.mark.parametrize("n_parts", [0, 1, 2, 17])
def test_every_part_is_done_once_in_a_hot_loop(n_parts: int) -> None:
    done: list[int] = []
    with hot_loop(), hot_loop():
        in_threads(done.append, range(n_parts), 3)
        in_threads(done.append, range(n_parts), 2)
    assert sorted(done) == sorted([*range(n_parts)] * 2)


def test_a_thread_that_comes_too_late_holds_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_threads._HotLoop, "_start", lambda self, threads: None)  # none ever comes
    array = np.zeros(3)
    given_back = weakref.ref(array)
    with hot_loop():
        in_threads(functools.partial(np.put, array, v=1.0), range(3), 2)
        assert array.tolist() == [1.0, 1.0, 1.0]
        del array
        assert given_back() is None


@pytest.mark.parametrize("where", ["here", "in a helper"])
def test_an_error_in_a_part_is_raised_in_a_hot_loop(where: str) -> None:
    here, both = threading.current_thread(), threading.Barrier(2)

    def work(part: int) -> None:
        both.wait(timeout=10)
        if (threading.current_thread() is here) == (where == "here"):
            raise MemoryError(where)

    done: list[int] = []
    with hot_loop():
        with pytest.raises(MemoryError, match=where):
            in_threads(work, range(2), 2)
        in_threads(done.append, range(5), 2)  # and the loop can go on
    assert sorted(done) == list(range(5))


def test_work_in_a_hot_loop_that_asks_for_threads_gets_none() -> None:
    by: list[bool] = []

    def work(part: int) -> None:
        me = threading.current_thread()
        in_threads(lambda _: by.append(threading.current_thread() is me), range(3), 2)

    with hot_loop():
        in_threads(work, range(2), 2)
    assert by == [True] * 6


@pytest.mark.parametrize("loop", [True, False])
def test_an_interruption_waits_for_what_has_begun_and_leaves_the_threads_usable(loop: bool) -> None:
    here, interrupted = threading.current_thread(), threading.Event()
    both, done, ended = threading.Barrier(2), list[int](), list[bool]()

    def work(part: int) -> None:
        both.wait(timeout=10)
        if loop and threading.current_thread() is here:
            return  # to wait for the other, who interrupts that
        if not loop and part == 0:
            return
        _thread.interrupt_main()
        ended.append(interrupted.wait(timeout=10))

    with hot_loop() if loop else nullcontext():
        with pytest.raises(KeyboardInterrupt):
            in_threads(work, range(2), 2, abandon=interrupted.set)
        assert ended == [True]
        for _ in range(20):
            in_threads(done.append, range(5), 2)
            assert sorted(done) == list(range(5))
            done.clear()


def test_parts_that_have_not_begun_are_left_out_after_an_interruption() -> None:
    here, interrupted, done = threading.current_thread(), threading.Event(), list[int]()
    both = threading.Barrier(2)

    def work(part: int) -> None:
        if part < 2:
            both.wait(timeout=10)
            if threading.current_thread() is here:
                raise KeyboardInterrupt
            interrupted.wait(timeout=10)
        done.append(part)

    with hot_loop(), pytest.raises(KeyboardInterrupt):
        in_threads(work, range(50), 2, abandon=interrupted.set)
    assert len(done) == 1


def test_work_in_threads_has_one_thread_to_count_on() -> None:
    counts: list[int] = []
    in_threads(lambda _: counts.append(thread_count(NUMPY)), range(2), 2)
    assert counts == [1, 1]


@given(st.integers(1, 100_000))
def test_shares_are_about_equal_and_not_many(n: int) -> None:
    sizes = [rows.stop - rows.start for rows in row_blocks(n, share_rows(n))]
    assert sum(sizes) == n
    assert len(sizes) <= 16
    assert len(sizes) == 16 or max(sizes) <= 128
    assert max(sizes) - min(sizes) <= len(sizes)
