"""What tests of CUDA kernels run on: a card, or with `--backend fakecupy` the simulator."""

from __future__ import annotations

import pytest

from xpcls_backends import Backend, get_backend


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "card" in metafunc.fixturenames:
        simulated = "fakecupy" in (metafunc.config.getoption("--backend") or ())
        name = "fakecupy" if simulated else "cupy"
        param = pytest.param(name, marks=[] if simulated else [pytest.mark.gpu])
        metafunc.parametrize("card", [param], indirect=True, scope="session")


@pytest.fixture(scope="session")
def card(request: pytest.FixtureRequest) -> Backend:
    """CuPy, or what stands in for it."""
    return get_backend("cupy")
