"""The project's checks. `nox` runs the default ones; `nox -l` lists all with their first lines.

nox                             tests, tests_fast, tests_cuda, tests_gpu, lint, types
nox -s tests -- -k nearest      what follows -- goes to pytest
XPCLS_REQUIRE=cupy nox -s tests_gpu         fails where there is no GPU, instead of skipping
nox -s tests_torch              needs PyTorch, which it installs
nox -s tests_cudnn              needs cuDNN, which it installs
nox -s bench -- --help          timings against other libraries
"""

# /// script
# requires-python = ">=3.11"
# dependencies = ["nox>=2025.2.9"]
# ///

from __future__ import annotations

import ctypes
import os
import shutil
import sys

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"  # uv where it is installed, else pip
nox.options.reuse_venv = "yes"
nox.options.download_python = "never"

PROJECT = nox.project.load_toml("pyproject.toml")
OLDEST_CUDA, NEWEST_CUDA = 12, 13  # for which there is an extra


def group(name: str) -> tuple[str, ...]:
    """The requirements of a dependency group."""
    return nox.project.dependency_groups(PROJECT, name)


def cuda_driver() -> int:
    """CUDA's major version as the driver gives it; 0 where there is no device. Needs no CuPy."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        cuda = ctypes.CDLL(name)
    except OSError:
        return 0
    count, version = ctypes.c_int(0), ctypes.c_int(0)
    if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return 0
    cuda.cuDriverGetVersion(ctypes.byref(version))
    return version.value // 1000


def install(session: nox.Session, project: str, *requirements: str) -> None:
    """Build the project as it is now and install it: the wheel, not a link to the checkout."""
    shutil.rmtree("build", ignore_errors=True)  # or modules deleted since would be in the wheel
    # uv takes a project of the same version for installed.
    anew = ["--reinstall-package", "xpcls"] if session.venv_backend == "uv" else []
    session.install(*anew, project, *requirements)


def run_pytest(session: nox.Session, *args: str, **environment: str) -> None:
    """Test the installed copy: pytest's pythonpath, which points at the checkout, is emptied."""
    env = {"XPCLS_TEST_INSTALLED": "1", **environment}
    session.run("pytest", "-o", "pythonpath=", *args, *session.posargs, env=env)


@nox.session
def tests(session: nox.Session) -> None:
    """The tests of the installed package: on NumPy, and on strict devices in place of a GPU."""
    install(session, ".", *group("test"))
    # Processes whose BLAS libraries each have a thread a core wait for each other: 370 s where
    # these took 206, on 2 cores. The tests of those threads come after.
    run_pytest(session, "-n", "auto", OPENBLAS_NUM_THREADS="1")
    if not session.posargs:
        run_pytest(session, "tests/test_backends_threads.py")


@nox.session
def tests_fast(session: nox.Session) -> None:
    """The same tests with the extra `fast`: with the kernels that numba compiles."""
    install(session, ".[fast]", *group("test"))
    run_pytest(session, "-n", "auto", OPENBLAS_NUM_THREADS="1", XPCLS_REQUIRE="kernels")


@nox.session
def tests_cuda(session: nox.Session) -> None:
    """CUDA without a GPU: kernels compiled and simulated, all backend tests on a stand-in for CuPy.

    Needs a C++ compiler for the simulator, and skips what it would run where there is none, or
    fails with XPCLS_REQUIRE=simulator. Skipped on macOS, for which CuPy has no wheels.
    """
    if sys.platform == "darwin":
        session.skip("CuPy has no wheels for macOS: nothing of CUDA was tested")
    install(session, ".", *group("test"), *group("cuda-checks"))
    compiler = "nvrtc" if sys.platform == "linux" else None  # which tests find on Linux alone
    required = ",".join(filter(None, (compiler, os.environ.get("XPCLS_REQUIRE"))))
    environment = {"OPENBLAS_NUM_THREADS": "1", "XPCLS_REQUIRE": required}
    stand_in = ("-n", "auto", "--backend", "fakecupy")
    run_pytest(session, *stand_in, "tests/cuda", **environment)
    if not session.posargs:
        there = ("tests", "--ignore", "tests/cuda", "-k", "fakecupy")
        run_pytest(session, *stand_in, *there, **environment)


@nox.session(default=False)  # 3 GB
def tests_cudnn(session: nox.Session) -> None:
    """cuDNN: what it makes of our graphs for all generations of cards and, on one, what comes out.

    Without a card it needs Linux and a C++ compiler; the card's driver has to be for CUDA 13.
    """
    card = cuda_driver() >= 13
    install(session, ".[cuda13]" if card else ".", *group("test"), *group("cudnn-checks"))
    run_pytest(session, "tests/cuda/test_cudnn_plans.py", XPCLS_REQUIRE="cudnn")
    if card:
        chosen = ("--backend", "cupy", "tests/cuda/test_cudnn.py")
        run_pytest(session, *chosen, XPCLS_REQUIRE="cupy,cudnn")


# virtualenv, because pip's settings say where a CPU build of torch lies, and uv reads none.
@nox.session(default=False, venv_backend="virtualenv")
def tests_torch(session: nox.Session) -> None:
    """The graph against PyTorch, which it installs: values and gradients of the same programs."""
    install(session, ".", *group("test"), *group("torch"))
    run_pytest(session, "tests/test_graph_torch.py", "tests/test_benchmarks_suites.py")


@nox.session
def tests_gpu(session: nox.Session) -> None:
    """The same tests on CuPy. Skipped where there is no CUDA device, unless it is required."""
    major = cuda_driver()
    if major < OLDEST_CUDA:
        found = f"the driver stops at CUDA {major}" if major else "no CUDA device here"
        if "cupy" in os.environ.get("XPCLS_REQUIRE", "").split(","):
            session.error(f"{found}, and XPCLS_REQUIRE asks for one")
        session.skip(f"{found}: nothing was tested on CuPy")
    install(session, f".[cuda{min(major, NEWEST_CUDA)}]", *group("test"))
    run_pytest(session, "-m", "gpu", "--backend", "cupy", XPCLS_REQUIRE="cupy")


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff: rules and formatting."""
    session.install(*group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """mypy, strict, on the package and the backends, which it reads from the checkout."""
    session.install(*PROJECT["project"]["dependencies"], *group("types"))
    session.run("mypy")


@nox.session(default=False, venv_backend="virtualenv")  # for the same reason
def bench(session: nox.Session) -> None:
    """Timings against other libraries on the CPU, which it installs (torch among them)."""
    # A link to the checkout: benchmarks/ lies there, so xpcls would be found there anyway.
    session.install("-e", ".", *group("bench"))
    session.run("python", "-m", "benchmarks", *session.posargs)


if __name__ == "__main__":
    nox.main()
