"""benchmarks/ as the tests import it: by its file, from the checkout that they lie in."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """A function that imports a module of benchmarks/, by its name in there.

    The package is found by its file: with the checkout on the path, the tests of an installed
    xpcls would find the checkout's instead.
    """
    folder = ROOT / "benchmarks"
    if not (folder / "__init__.py").is_file():
        pytest.skip("benchmarks/ is not here: the tests do not lie in a checkout")
    before = dict(sys.modules)
    spec = importlib.util.spec_from_file_location(
        "benchmarks", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "benchmarks", package)
    spec.loader.exec_module(package)
    yield lambda name: importlib.import_module(f"benchmarks.{name}")
    for name in set(sys.modules) - set(before):
        if name.startswith("benchmarks."):
            del sys.modules[name]
