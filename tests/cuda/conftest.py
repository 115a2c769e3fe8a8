"""What tests of CUDA kernels run on: a card, or with `--backend fakecupy` the simulator."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.cuda import fakecupy
from tests.cuda.simulator import SCHEDULES, scheduled, why_none
from xpcls_backends import Backend, get_backend
from xpcls_backends.kernels.cuda import (
    _module,
    bits,
    cudnn,
    direct,
    dots,
    images,
    l1,
    linear,
    losses,
    products,
    smallest,
    updates,
)

LAUNCHERS = (bits, direct, dots, images, l1, linear, losses, products, smallest, updates)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "card" in metafunc.fixturenames:
        simulated = "fakecupy" in (metafunc.config.getoption("--backend") or ())
        name = "fakecupy" if simulated else "cupy"
        param = pytest.param(name, marks=[] if simulated else [pytest.mark.gpu])
        metafunc.parametrize("card", [param], indirect=True, scope="session")


@pytest.fixture(scope="session")
def card(request: pytest.FixtureRequest) -> Backend:
    """CuPy, or what stands in for it, where kernels can be simulated."""
    if fakecupy.installed() and why_none is not None:
        pytest.skip(why_none)
    return get_backend("cupy")


@pytest.fixture(params=SCHEDULES, ids=lambda schedule: f"threads{schedule[0]}{schedule[1]}")
def turns(request: pytest.FixtureRequest) -> Iterator[None]:
    with scheduled(*request.param):
        yield


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the kernels that were launched, in order."""
    names: list[str] = []
    kernel = _module.kernel

    def told(file: str, name: str, *args: Any, **keywords: Any) -> Any:
        names.append(name)
        return kernel(file, name, *args, **keywords)

    for module in LAUNCHERS:
        monkeypatch.setattr(module, "kernel", told)
    return names


@pytest.fixture(scope="session")
def end_without_cudnn() -> Callable[[str], Any]:
    """Skips, or fails where XPCLS_REQUIRE names cudnn; takes the reason."""
    required = "cudnn" in os.environ.get("XPCLS_REQUIRE", "").split(",")
    return pytest.fail if required else pytest.skip


@pytest.fixture
def cudnn_there(
    card: Backend, end_without_cudnn: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """The module cudnn, or what stands in for it; a card without it is skipped."""
    caches = (cudnn._trouble, cudnn._plans)
    if fakecupy.installed():
        for cache in caches:
            cache.cache_clear()
        monkeypatch.setattr(cudnn, "_handles", cudnn._Handles())
        monkeypatch.setitem(sys.modules, "cudnn", fakecupy.cudnn.module())
    elif cudnn.why_none() is not None:
        end_without_cudnn(str(cudnn.why_none()))
    yield sys.modules["cudnn"]
    for cache in caches:
        cache.cache_clear()
