"""Every kernel against its plain version, and what decides between the two."""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

import xpcls_backends
from tests.kernel_pairs import PAIRS, Pair
from xpcls_backends.kernels import asking_for_kernels, has_kernels, why_none

HOME = "xpcls_backends.kernels.cpu"
needs_kernels = pytest.mark.skipif(why_none() is not None, reason=f"no kernels: {why_none()}")


def named(pair: Pair) -> str:
    return pair.name


def test_kernels_are_there_where_they_are_required() -> None:
    required = "kernels" in os.environ.get("XPCLS_REQUIRE", "").split(",")
    assert not required or why_none() is None


@needs_kernels
@pytest.mark.parametrize("pair", PAIRS, ids=named)
def test_a_kernel_gives_what_its_plain_version_gives(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module(f"{HOME}.{pair.kernel[0]}")
    kernel, calls = getattr(module, pair.kernel[1]), []

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return kernel(*args, **kwargs)

    monkeypatch.setattr(module, pair.kernel[1], counted)

    @settings(deadline=None, max_examples=40)
    @given(pair.arguments)
    def walk(arguments: tuple[Any, ...]) -> None:
        with asking_for_kernels(False):
            expected = pair.call(*arguments)
        assert not calls, "the plain version called the kernel"
        with asking_for_kernels(True):
            found = pair.call(*arguments)
        assert calls, "the kernel was not called"
        calls.clear()
        for a, b in zip(_arrays(found), _arrays(expected), strict=True):
            assert a.shape == b.shape and a.dtype == b.dtype
            if pair.tolerance == 0.0:
                np.testing.assert_array_equal(a, b)
            else:
                scale = float(np.max(np.abs(b), initial=0.0))
                np.testing.assert_allclose(a, b, rtol=0.0, atol=pair.tolerance * scale)

    walk()


def _arrays(found: Any) -> tuple[Any, ...]:
    return found if isinstance(found, tuple) else (found,)


def test_every_module_of_kernels_is_in_a_pair() -> None:
    home = Path(xpcls_backends.__file__).parent / "kernels" / "cpu"
    modules = {path.stem for path in home.glob("*.py") if not path.stem.startswith("_")}
    assert modules == {pair.kernel[0] for pair in PAIRS}


def test_the_switch_keeps_kernels_away(monkeypatch: pytest.MonkeyPatch) -> None:
    xp = xpcls_backends.get_backend("numpy").xp
    monkeypatch.setenv("XPCLS_KERNELS", "off")
    assert not has_kernels(xp)
    assert why_none() == "XPCLS_KERNELS is off: unset it"
    with asking_for_kernels(True):
        assert not has_kernels(xp)
    monkeypatch.delenv("XPCLS_KERNELS")
    installed = importlib.util.find_spec("numba") is not None
    assert has_kernels(xp) == installed
    assert not has_kernels(xp, worth=False)
    with asking_for_kernels(False):
        assert not has_kernels(xp)


FIRST_CALL = """
import numpy as np
from xpcls_backends import hear_compiling, largest_of_windows
from xpcls_backends.kernels import asking_for_kernels

x, told = np.ones((1, 4, 4, 1), dtype=np.float32), []
with asking_for_kernels(True), hear_compiling(told.append):
    for _ in range(2):
        largest_of_windows(x, (2, 2), (2, 2))
        print(told)
"""


@needs_kernels
def test_compiling_is_told_of_the_first_time_alone(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    for times in (1, 0):  # the next process has it from the cache
        run = subprocess.run(
            [sys.executable, "-c", FIRST_CALL], env=environment, capture_output=True, text=True
        )
        assert run.returncode == 0, run.stderr
        assert run.stdout.splitlines() == [str([True, False] * times)] * 2
