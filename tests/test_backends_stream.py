"""Parts of data come out of `prefetch_to_device` as they went in, whatever moves them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import array_api_compat
import numpy as np
import pytest

import xpcls
from xpcls import LinearClassifier, prefetch_to_device
from xpcls_backends import Backend, namespace_of, to_host

RNG = np.random.default_rng(0)
ROWS = RNG.integers(0, 256, (50, 7)).astype(np.uint8)
CUTS = [slice(start, start + 8) for start in range(0, 50, 8)]


def test_parts_come_as_they_went(backend: Backend) -> None:
    there = backend.asarray(ROWS[:3])
    parts: list[Any] = [
        (ROWS[:5], np.arange(5)),
        (ROWS[::-3, ::2].T, None),  # neither contiguous nor as long
        (np.arange(6, dtype=">i4"), np.float32(3.0), np.zeros((0, 4), bool)),
        (),
        [np.array(["a", "b"]), [1, 2, 3]],
        (there, ROWS),
    ]
    came = list(prefetch_to_device(iter(parts), backend))
    assert [len(part) for part in came] == [2, 2, 3, 0, 2, 2]
    assert came[1][1] is None and came[4][0] is parts[4][0] and came[5][0] is there
    for part, found in zip(parts, came, strict=True):
        for x, y in zip(part, found, strict=True):
            if x is None or y is x is parts[4][0]:
                continue
            assert namespace_of(y) is backend.xp
            assert array_api_compat.device(y) == backend.device
            host = to_host(x)
            np.testing.assert_array_equal(to_host(y), host)
            assert to_host(y).dtype == host.dtype.newbyteorder("=") and y.shape == host.shape


def test_a_name_will_do() -> None:
    (found,) = prefetch_to_device([(ROWS,)], "numpy")
    assert found[0] is ROWS  # nothing to move, nothing copied
    with pytest.raises(ValueError, match="backend is 'card'"):
        prefetch_to_device([(ROWS,)], "card")
    assert xpcls.prefetch_to_device is prefetch_to_device


def test_a_memory_map_is_moved_in_parts(backend: Backend, tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", ROWS)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    came = [to_host(x) for (x,) in prefetch_to_device(((mapped[c],) for c in CUTS), backend)]
    assert [len(x) for x in came] == [8] * 6 + [2]
    np.testing.assert_array_equal(np.concatenate(came), ROWS)


def test_parts_that_are_kept_stay_as_they_are(backend: Backend) -> None:
    """Each of 20 parts differs, and no buffer shows through."""
    kept = list(prefetch_to_device(((np.full(1000, i),) for i in range(20)), backend))
    assert [to_host(x).tolist() for (x,) in kept] == [[i] * 1000 for i in range(20)]


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_an_error_comes_after_the_parts_before_it(backend: Backend, n: int) -> None:
    def parts() -> Iterator[Any]:
        for i in range(n):
            yield (np.full(3, i),)
        raise OSError("no such image")

    came: list[int] = []
    with pytest.raises(OSError, match="no such image"):
        came.extend(int(to_host(x)[0]) for (x,) in prefetch_to_device(parts(), backend))
    assert came == list(range(n))
    with pytest.raises(TypeError, match="a part is ndarray, expected a tuple of arrays"):
        list(prefetch_to_device([(ROWS,)] * n + [ROWS], backend))  # type: ignore[list-item]
    with pytest.raises(TypeError, match="not iterable"):
        prefetch_to_device(3, backend)  # type: ignore[arg-type]


@pytest.mark.parametrize("taken", [0, 1, 2, 3])
def test_what_is_left_early_reads_no_further(backend: Backend, taken: int) -> None:
    read, closed = [], []

    def parts() -> Iterator[Any]:
        try:
            for i in range(100):
                read.append(i)
                yield (np.full(3, i),)
        finally:
            closed.append(True)

    iteration = prefetch_to_device(parts(), backend)
    for i in range(taken):
        assert to_host(next(iteration)[0])[0] == i
    iteration.close()  # type: ignore[attr-defined]
    del iteration
    assert len(read) <= taken + 2 and closed == [True] * bool(taken)
    assert not [t for t in threading.enumerate() if t.name.startswith("xpcls-prefetch")]


def test_training_on_parts_is_training_on_the_same_rows(backend: Backend) -> None:
    X, y = ROWS.astype(np.float32) / 255, np.arange(50) % 3

    def trained(parts: Any) -> Any:
        model = LinearClassifier(random_state=0, batch_size=4)
        for rows, classes in parts:
            model.partial_fit(rows, classes, classes=[0, 1, 2])
        return to_host(model.coef_)

    cuts = [(X[c], y[c]) for c in CUTS]
    plain = trained([tuple(map(backend.asarray, part)) for part in cuts])
    np.testing.assert_array_equal(trained(prefetch_to_device(iter(cuts), backend)), plain)
