"""The shape of the house and its habits, read from the source.

A rule is a function of a file's path and syntax tree that yields (line, sentence) for each
breach. Every rule comes with samples that break it and samples that do not, and is tested on both.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[1]

Breach = tuple[int, str]
Check = Callable[[PurePosixPath, ast.Module], Iterator[Breach]]

# Bottom to top: a module imports from lower layers, and not from its own.
LAYERS: tuple[set[str], ...] = (
    {"progress", "_sklearn", "_version"},
    {"options"},
    {"validation", "schedules"},
    {"distances", "losses", "regularizers"},
    {"optimizers"},
    {"training", "base", "linear_model", "graph"},
    {"trained", "layers", "augment"},
    {"network_model", "perturbations"},
    {"neighbors", "linear", "networks", "features"},
    {"pixels"},
    {"checks", "storage"},
    {"model_selection"},
    {"compare", "parity", "robustness"},
    {"plots"},
    {"lecture", "demo"},
    {"cli"},
    {"__main__"},
)
# Beside the layers: reads files, knows no algorithm, and is used from `checks` and its like up.
BESIDE = "data"

ARRAY_LIBRARIES = {"numpy", "cupy", "cupyx"}
CREATION = {"asarray", "zeros", "ones", "empty", "full", "arange", "linspace", "eye"}
SORTS = {"argsort", "sort"}


def imported(path: PurePosixPath, tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything imported, in functions and by importlib too."""
    home = path.parts[1:] if path.parts[0] == "backends" else path.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = home[: len(home) - node.level] if node.level else ()
            base = ".".join((*package, *filter(None, [node.module])))
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func
            name = name.id if isinstance(name, ast.Name) else name
            if name in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield node.lineno, node.args[0].value


def on_namespace(node: ast.AST, names: set[str] | None = None) -> bool:
    """Whether `node` calls xp.name(...), something.xp.name(...) or namespace_of(x).name(...)."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
        return False
    if names is not None and node.func.attr not in names:
        return False
    base = node.func.value
    if isinstance(base, ast.Call):
        return isinstance(base.func, ast.Name) and base.func.id.endswith("namespace_of")
    return (base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", None)) == "xp"


def one_room(path: PurePosixPath, tree: ast.Module) -> Iterator[Breach]:
    if path.parts[0] == "backends" or path.parts[:2] == ("xpcls", "data"):
        return
    for line, name in imported(path, tree):
        parts = name.split(".")
        wrapped = parts[0] == "array_api_compat" and set(parts[1:]) & ARRAY_LIBRARIES
        if parts[0] in ARRAY_LIBRARIES or wrapped:
            yield line, f"imports {name}: only backends/ and xpcls/data know the array libraries"


def backends_know_nothing_above(path: PurePosixPath, tree: ast.Module) -> Iterator[Breach]:
    if path.parts[0] == "backends":
        for line, name in imported(path, tree):
            if name.split(".")[0] == "xpcls":
                yield line, f"imports {name}: xpcls_backends imports nothing of xpcls"


def layer_of(module: str) -> int | None:
    return next((i for i, names in enumerate(LAYERS) if module in names), None)


def one_way(path: PurePosixPath, tree: ast.Module) -> Iterator[Breach]:
    if path.parts[0] != "xpcls" or path == PurePosixPath("xpcls/__init__.py"):
        return
    here = PurePosixPath(path.parts[1]).stem
    mine = layer_of(here)
    if mine is None and here != BESIDE:
        yield 1, f"xpcls.{here} is in no layer: add it to LAYERS in tests/test_architecture.py"
        return
    for line, name in imported(path, tree):
        root, _, rest = name.partition(".")
        there = rest.partition(".")[0]
        if root != "xpcls" or there in (here, "__version__"):
            continue
        theirs = layer_of(there)
        if there == BESIDE:
            if mine is not None and mine < (layer_of("checks") or 0):
                yield line, f"imports {name}: algorithms are given arrays, they read no data"
        elif theirs is None:
            yield line, f"imports {name}: import it from the module, in a layer, that defines it"
        elif here == BESIDE and theirs > 0:
            yield line, f"imports {name}: xpcls.data stands beside the algorithms"
        elif mine is not None and theirs >= mine:
            yield line, f"imports {name}, which is not in a layer below xpcls.{here}"


def creation_names_its_device(path: PurePosixPath, tree: ast.Module) -> Iterator[Breach]:
    for node in ast.walk(tree):
        if on_namespace(node, CREATION) and not any(
            keyword.arg in ("device", None) for keyword in node.keywords
        ):
            yield node.lineno, f"{node.func.attr}() without device= lands on the default device"


def sorts_say_stable(path: PurePosixPath, tree: ast.Module) -> Iterator[Breach]:
    for node in ast.walk(tree):
        if on_namespace(node, SORTS) and not any(k.arg == "stable" for k in node.keywords):
            yield node.lineno, f"{node.func.attr}() without stable=: devices would break ties apart"
        if on_namespace(node, {"clip"}):
            yield node.lineno, "clip() can change its bounds: use minimum and maximum"


def no_hidden_reads(path: PurePosixPath, tree: ast.Module) -> Iterator[Breach]:
    """float(xp.sum(x)), `if xp.any(x)` and such: each waits for the device without saying so."""

    def tested(node: ast.AST) -> Iterator[ast.AST]:
        if isinstance(node, ast.BoolOp):
            for value in node.values:
                yield from tested(value)
        elif isinstance(node, ast.UnaryOp):
            yield from tested(node.operand)
        elif isinstance(node, ast.Compare):
            for value in (node.left, *node.comparators):
                yield from tested(value)
        else:
            yield node

    for node in ast.walk(tree):
        read: list[ast.AST] = []
        if isinstance(node, ast.If | ast.While | ast.IfExp | ast.Assert):
            read = [node.test]
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in (
            "float",
            "int",
            "bool",
        ):
            read = node.args
        for value in (leaf for expression in read for leaf in tested(expression)):
            if on_namespace(value) and not on_namespace(value, {"isdtype"}):
                yield value.lineno, "reads an array on the host: say so with to_scalar(...)"


def no_module_backends(path: PurePosixPath, tree: ast.Module) -> Iterator[Breach]:
    for line, name in imported(path, tree):
        if name.split(".")[0] == "backends":
            yield line, "imports backends, which is a folder: import xpcls_backends"


@dataclass(frozen=True)
class Rule:
    check: Check
    bad: tuple[tuple[str, str], ...]  # (path, source)
    good: tuple[tuple[str, str], ...] = ()


X, B = "xpcls/losses.py", "backends/xpcls_backends/_ops.py"
RULES = [
    Rule(
        one_room,
        bad=(
            (X, "import numpy as np"),
            (X, "def f():\n    from numpy.linalg import norm"),
            (X, "if TYPE_CHECKING:\n    import cupy"),
            (X, "import importlib\nimportlib.import_module('cupy')"),
            (X, "from array_api_compat import numpy"),
            ("xpcls/graph/nodes.py", "import cupyx.scipy"),
        ),
        good=(
            (B, "import numpy"),
            ("xpcls/data/cifar.py", "import numpy"),
            (X, "import numpydoc\nfrom array_api_compat import is_numpy_array"),
        ),
    ),
    Rule(
        backends_know_nothing_above,
        bad=((B, "import xpcls"), (B, "def f():\n    from xpcls.losses import hinge")),
        good=((B, "from ._place import Array"), (B, "import xpcls_backends")),
    ),
    Rule(
        one_way,
        bad=(
            (X, "from xpcls.training import fit"),
            (X, "from . import linear"),
            (X, "from .distances import pairwise"),  # its own layer
            (X, "from xpcls import get_backend"),
            (X, "from .data import load_mnist5k"),
            ("xpcls/data/cifar.py", "from ..losses import hinge"),
            ("xpcls/graph/nodes.py", "def f():\n    from ..cli import main"),
            ("xpcls/nowhere.py", ""),
        ),
        good=(
            ("xpcls/linear.py", "from .losses import hinge\nfrom . import progress, __version__"),
            ("xpcls/graph/nodes.py", "from .gates import AddGate\nfrom ..losses import hinge"),
            ("xpcls/cli.py", "from xpcls.data import load_mnist5k\nimport xpcls.plots.curves"),
            ("xpcls/__init__.py", "from .cli import main"),
            (X, "import rich\nfrom xpcls_backends import like"),
        ),
    ),
    Rule(
        creation_names_its_device,
        bad=(
            (X, "y = xp.zeros((2, 3), dtype=xp.float32)"),
            (B, "y = target.xp.asarray(x)"),
            (B, "y = namespace_of(x).arange(5)"),
        ),
        good=(
            (X, "y = xp.zeros(2, device=device), xp.zeros_like(x), xp.eye(3, **where)"),
            (B, "y = np.zeros(2)"),
        ),
    ),
    Rule(
        sorts_say_stable,
        bad=((X, "xp.argsort(x, axis=1)"), (X, "self.xp.sort(x)"), (X, "xp.clip(x, 0, 1)")),
        good=((X, "xp.argsort(x, stable=True)\nnames.sort()\nsorted(names)"),),
    ),
    Rule(
        no_hidden_reads,
        bad=(
            (X, "float(xp.sum(x))"),
            (X, "if y and not xp.any(x): pass"),
            (X, "while xp.max(x) > tolerance: pass"),
            (B, "a = 1 if namespace_of(x).all(x) else 2"),
        ),
        good=(
            (X, "float(to_scalar(xp.sum(x)))\nbool(xp.isdtype(t, 'bool'))"),
            (X, "if xp.isdtype(t, 'bool') and xp.finfo(t).eps < 1: pass"),
        ),
    ),
    Rule(
        no_module_backends,
        bad=(
            (X, "import backends"),
            ("tests/test_x.py", "from backends.xpcls_backends import like"),
        ),
        good=((X, "import xpcls_backends"), (B, "from .backends import x")),
    ),
]
EVERYWHERE = {no_module_backends}  # the other rules are about what is shipped


def files(*folders: str) -> Iterator[PurePosixPath]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield PurePosixPath(path.relative_to(ROOT).as_posix())


def named(rule: Rule) -> str:
    return rule.check.__name__


@pytest.mark.parametrize("rule", RULES, ids=named)
def test_the_source_keeps_the_rule(rule: Rule) -> None:
    folders = ["xpcls", "backends"] + (["tests"] if rule.check in EVERYWHERE else [])
    breaches = [
        f"{path}:{line}: {sentence}"
        for path in files(*folders)
        for line, sentence in rule.check(path, ast.parse((ROOT / path).read_text("utf-8")))
    ]
    assert not breaches, "\n" + "\n".join(breaches)


@pytest.mark.parametrize("rule", RULES, ids=named)
def test_the_rule_sees_what_breaks_it_and_nothing_else(rule: Rule) -> None:
    for path, source in rule.bad:
        assert list(rule.check(PurePosixPath(path), ast.parse(source))), f"not seen: {source}"
    for path, source in rule.good:
        assert not list(rule.check(PurePosixPath(path), ast.parse(source))), f"alarm: {source}"


def too_long(lines: dict[str, int]) -> list[str]:
    return [f"{path} has {n} lines, expected 400 at most" for path, n in lines.items() if n > 400]


def test_no_file_is_over_400_lines() -> None:
    paths = [p for p in files("xpcls", "backends", "tests")]
    paths += [
        PurePosixPath(p.relative_to(ROOT).as_posix())
        for folder in ("xpcls", "backends")
        for p in (ROOT / folder).rglob("*.cu")
    ]
    lines = {str(p): len((ROOT / p).read_text("utf-8").splitlines()) for p in paths}
    assert len(lines) > 10  # the folders are where this test looks for them
    assert not too_long(lines)
    assert too_long({"a.py": 400, "b.py": 401}) == ["b.py has 401 lines, expected 400 at most"]


def test_there_is_no_module_backends(tmp_path: Path) -> None:
    """Seen from another folder, in isolated mode: what an installation would shadow."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", "import backends"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "ModuleNotFoundError: No module named 'backends'" in done.stderr
