"""What the project says of itself in several places is the same in all of them."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import xpcls
import xpcls_backends

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
RUNTIME = [
    "array-api-compat",
    "array-api-extra",
    "numpy",
    "pillow",
    "rich",
    "safetensors",
    "threadpoolctl",
    "typer",
]

HERE, BACKENDS = (Path(m.__file__).resolve().parents[1] for m in (xpcls, xpcls_backends))


def test_the_version_is_one() -> None:
    assert xpcls.__version__ == PROJECT["project"]["version"]
    if HERE != ROOT:
        assert importlib.metadata.version("xpcls") == xpcls.__version__


def test_xpcls_and_its_backends_are_of_one_copy() -> None:
    """A checkout's xpcls beside installed backends, or the reverse, would run a mixture."""
    expected = ROOT / "backends" if HERE == ROOT else HERE
    assert expected == BACKENDS


@pytest.mark.skipif(
    "XPCLS_TEST_INSTALLED" not in os.environ, reason="nox sets this, to test what was installed"
)
def test_the_copy_under_test_is_the_installed_one() -> None:
    assert ROOT not in (HERE, BACKENDS.parent)
    for package in ("xpcls", "xpcls_backends"):
        assert (HERE / package / "py.typed").is_file()
    missing = [
        path.relative_to(home).as_posix()
        for home, package in ((ROOT, "xpcls"), (ROOT / "backends", "xpcls_backends"))
        for path in (home / package).rglob("*")
        if path.suffix in {".py", ".npz", ".cu", ".html", ".js", ".css"}
        and not (HERE / path.relative_to(home)).is_file()
    ]
    assert not missing, "in the checkout, but not in the wheel"


def test_an_installation_brings_what_was_agreed_and_no_more() -> None:
    names = [re.split(r"[<>=!~\[; ]", line)[0] for line in PROJECT["project"]["dependencies"]]
    assert sorted(names) == RUNTIME
    extras = PROJECT["project"]["optional-dependencies"]
    brought = {name: [re.split(r"[\[>]", x)[0] for x in lines] for name, lines in extras.items()}
    assert brought == {
        "fast": ["numba"],
        "cuda12": ["cupy-cuda12x"],
        "cuda13": ["cupy-cuda13x"],
        "cudnn12": ["nvidia-cudnn-frontend", "nvidia-cudnn-cu12"],
        "cudnn13": ["nvidia-cudnn-frontend", "nvidia-cudnn-cu13"],
    }


# A path from the root of a machine; a URL or a relative path has something before its slash.
OWN_PATH = re.compile(r"(?<![\w.:/~<>-])/(?:home|root|work|Users|mnt|opt)/|\b[A-Z]:\\\\?Users")


def test_no_shipped_file_names_a_path_of_some_machine() -> None:
    assert OWN_PATH.search("open('/home/me/cifar')") and OWN_PATH.search(r"C:\Users\me")
    assert not OWN_PATH.search("https://example.org/home/ and ~/work/data and net/work/")
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for folder in ("xpcls", "backends")
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in {".py", ".cu", ".md", ".html", ".js", ".css", ".toml", ".txt"}
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1)
        if OWN_PATH.search(line)
    ]
    assert not found


def test_every_session_says_what_it_does() -> None:
    """`nox -l` prints the first line of each session's docstring: it is the manual."""
    sessions = [
        node
        for node in ast.parse((ROOT / "noxfile.py").read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef)
        and any("nox.session" in ast.unparse(d) for d in node.decorator_list)
    ]
    assert {s.name for s in sessions} >= {"tests", "tests_gpu", "lint", "types", "bench"}
    assert all(ast.get_docstring(s) for s in sessions)


USE = "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/xpcls compare"
TEST = ".venv/bin/pip install nox && .venv/bin/nox"


def test_the_readme_starts_with_two_commands() -> None:
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert lines.count(USE) == lines.count(TEST) == 1


def test_ci_runs_the_command_that_users_are_given() -> None:
    script = ROOT / ".ci" / "run"
    assert TEST in script.read_text("utf-8").splitlines()
    assert os.access(script, os.X_OK)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("simulator", "XPCLS_REQUIRE names simulator, but there is no C++ compiler: nowhere"),
        ("everything", "XPCLS_REQUIRE names everything, expected cudnn, cupy, kernels"),
    ],
)
def test_what_is_required_and_missing_ends_the_run(name: str, sentence: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--collect-only", __file__],
        cwd=ROOT,
        env={**os.environ, "XPCLS_REQUIRE": name, "CXX": "nowhere"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert sentence in done.stderr
