"""Which backends the tests run on, and what each test of them may use.

A test that takes the fixture `backend` runs once on every backend: on NumPy, on two devices of
array-api-strict that stand in for a GPU (one refuses to mix with NumPy, one has no float64), and
on CuPy, marked `gpu`. A test that takes `native` runs on the libraries themselves, NumPy and
CuPy, for what the array API standard does not have.

Without a CUDA device the CuPy tests are skipped, and the header and the summary say why. They
fail instead with `--backend cupy` or with XPCLS_REQUIRE=cupy in the environment.

XPCLS_REQUIRE names, with commas between, what the tests must not do without: cupy, cudnn; kernels,
those of numba; simulator, the C++ compiler behind that of CUDA kernels; nvrtc, CUDA's compiler and
its disassembler. Without one of the last two no test is begun.

With `--backend fakecupy`, and only then, a stand-in for CuPy takes its place in the whole process:
NumPy with CuPy's names and restrictions, which counts launches and waits; see cuda/fakecupy. It
needs a wheel of CuPy and no GPU.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

import xpcls_backends
from tests.cuda import nvrtc, simulator
from tests.fake_devices import fake_backend
from xpcls_backends import Backend, get_backend, why_not
from xpcls_backends.kernels import SWITCH
from xpcls_backends.testing import GUARDS, forbid_host_reads

STRICT = {"strict-device1": "device1", "strict-no_float64": "no_float64"}
STAND_IN = "fakecupy"
NATIVE = ("numpy", "cupy", STAND_IN)
NAMES = ("numpy", *STRICT, "cupy")  # those that are run where none is chosen

hypothesis.settings.register_profile(
    "xpcls",
    deadline=None,  # the first call of a kernel compiles it
    derandomize="CI" in os.environ,
    max_examples=50,
    # `no_host_reads` keeps no state between examples, which is what this check is about.
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.load_profile("xpcls")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--backend",
        action="append",
        choices=(*NAMES, STAND_IN),
        help="run on this backend only, and fail where it is not usable; may be repeated",
    )


def pytest_configure(config: pytest.Config) -> None:
    known = {"numpy", "cupy", "kernels", "cudnn", "simulator", "nvrtc"}
    named = _named_in_environment()
    unknown = named - known
    if unknown:
        raise pytest.UsageError(
            f"XPCLS_REQUIRE names {', '.join(sorted(unknown))}, expected {', '.join(sorted(known))}"
        )
    for name, why_none in (("simulator", simulator.why_none), ("nvrtc", nvrtc.why_not_all)):
        if name in named and why_none is not None:
            raise pytest.UsageError(f"XPCLS_REQUIRE names {name}, but there is {why_none}")
    if STAND_IN in _chosen(config):
        if "cupy" in _chosen(config):
            raise pytest.UsageError("--backend fakecupy takes the place of --backend cupy")
        from tests.cuda import fakecupy  # which other runs have no use for

        try:
            fakecupy.install()
            GUARDS.append(fakecupy.forbid_hidden_reads)
        except ImportError as error:
            raise pytest.UsageError(f"--backend fakecupy: {error}") from error


def _named_in_environment() -> set[str]:
    return {name for name in os.environ.get("XPCLS_REQUIRE", "").split(",") if name}


def _chosen(config: pytest.Config) -> tuple[str, ...]:
    return tuple(dict.fromkeys(config.getoption("--backend") or NAMES))


def _required(config: pytest.Config) -> set[str]:
    return _named_in_environment() | set(config.getoption("--backend") or ())


def pytest_report_header(config: pytest.Config) -> str:
    chosen = _chosen(config)
    problem = why_not("cupy") if "cupy" in chosen else None
    running = [name for name in chosen if name != "cupy" or problem is None]
    line = f"xpcls backends: {', '.join(running) or 'none'}"
    return line if problem is None else f"{line}; not cupy: {problem}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for fixture, names in (("backend", (*NAMES, STAND_IN)), ("native", NATIVE)):
        if fixture in metafunc.fixturenames:
            chosen = [name for name in _chosen(metafunc.config) if name in names]
            params = [
                pytest.param(name, marks=[pytest.mark.gpu] if name == "cupy" else [])
                for name in chosen
            ]
            metafunc.parametrize(fixture, params, indirect=True, scope="session")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") is None:
        return
    problem = why_not("cupy")
    if problem is None:
        return
    if "cupy" in _required(item.config):
        pytest.fail(f"cupy is required here, but: {problem}", pytrace=False)
    pytest.skip(str(problem))


def _backend(name: str) -> Backend:
    if name in STRICT:
        return fake_backend(STRICT[name], name)
    return get_backend("cupy" if name == STAND_IN else name)


@pytest.fixture(scope="session")
def backend(request: pytest.FixtureRequest) -> Backend:
    """Every backend in turn."""
    return _backend(request.param)


@pytest.fixture(scope="session")
def native(request: pytest.FixtureRequest) -> Backend:
    """NumPy, then CuPy: for what only the libraries have, beyond the standard."""
    return _backend(request.param)


@pytest.fixture(scope="session")
def fake() -> Backend:
    """A device that does not mix with NumPy."""
    return fake_backend()


@pytest.fixture(autouse=True)
def _plain_on_the_stand_in(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels run on the stand-in a thread at a time: tests of them alone ask for that."""
    asked = "cuda" in request.node.path.parent.parts or SWITCH in os.environ
    if STAND_IN in _chosen(request.config) and not asked:
        monkeypatch.setenv(SWITCH, "off")


@pytest.fixture
def no_host_reads() -> Iterator[None]:
    """The whole test runs under `forbid_host_reads`."""
    with forbid_host_reads():
        yield


@pytest.fixture(scope="session")
def fresh_python() -> Callable[..., str]:
    """A function that runs source text in a new interpreter with the same copy of xpcls.

    Returns what it printed; fails the test, with the traceback, where it fails.
    """
    import xpcls

    homes = [Path(module.__file__).parents[1] for module in (xpcls, xpcls_backends)]
    path = os.pathsep.join(dict.fromkeys(map(str, homes)))

    def run(source: str, **environment: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", source],
            env={**os.environ, "PYTHONPATH": path, **environment},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run
