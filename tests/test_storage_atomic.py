"""A save that fails has done nothing, and one that is killed leaves the old file or the new."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xpcls import KNeighborsClassifier, LinearClassifier, load, save, to_host

CODES = np.arange(60) % 3
IMAGES = np.random.default_rng(0).integers(0, 256, (60, 12), dtype=np.uint8)


def fitted_knn() -> KNeighborsClassifier:
    return KNeighborsClassifier(3).fit(IMAGES, CODES)


def fitted_linear() -> LinearClassifier:
    return LinearClassifier(epochs=3, random_state=0).fit(IMAGES, CODES)


@pytest.mark.parametrize("call", ["open", "write", "fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_save_that_fails_has_done_nothing(
    call: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model"
    save(fitted_knn(), path)
    old = path.read_bytes()

    def fail(*args: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(type(error)):
            save(fitted_linear(), path)
    assert path.read_bytes() == old
    assert os.listdir(tmp_path) == ["model"]


def test_writes_may_be_short_and_may_fail_at_any_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, write = tmp_path / "model", os.write
    model, other = fitted_knn(), fitted_linear()
    save(model, path)
    old, left = path.read_bytes(), 0

    def some(descriptor: int, content: Any) -> int:
        nonlocal left
        left -= 1
        if left == 0:
            raise OSError(5, "Input/output error")
        return write(descriptor, content[:700])

    monkeypatch.setattr(os, "write", some)
    save(model, path)  # `left` runs below 0 and never stops it
    assert path.read_bytes() == old
    for n in range(1, len(old) // 700 + 1):
        left = n
        with pytest.raises(OSError, match="Input/output"):
            save(other, path)
        assert path.read_bytes() == old and os.listdir(tmp_path) == ["model"]


def test_a_folder_that_cannot_be_synced_still_has_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, fsync = [], os.fsync

    def only_files(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError(22, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", only_files)
    save(fitted_knn(), tmp_path / "model")
    assert len(calls) == 2
    load(tmp_path / "model")


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "model")
    save(fitted_knn(), tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and not (tmp_path / "model").is_symlink()
    load(tmp_path / "model")


SAVER = """
import itertools, json, os, signal, sys
import numpy as np
from xpcls import KNeighborsClassifier, save
path, fatal = sys.argv[1:]
models = [KNeighborsClassifier(k).fit(np.full((400, 3072), k, np.uint8), np.arange(400) % 2)
          for k in (1, 2)]
save(models[0], path)
if fatal != "any":
    name, when = fatal.split()
    real = getattr(os, name)
    def die(*args):
        if when == "after":
            real(*(args if name != "write" else (args[0], args[1][:1000])))
        os.kill(os.getpid(), signal.SIGKILL)
    setattr(os, name, die)
print("ready", flush=True)
for i in itertools.count(1):
    save(models[i % 2], path)
"""
DEATHS = [
    f"{name} {when}" for name in ("write", "fsync", "replace") for when in ("before", "after")
]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="POSIX")
@pytest.mark.parametrize("fatal", [*DEATHS, "any", "any", "any"])
def test_a_killed_process_leaves_the_old_or_the_new_file(fatal: str, tmp_path: Path) -> None:
    path = tmp_path / "model"
    search = json.dumps([str(Path(p).resolve()) for p in sys.path if p])
    source = f"import sys; sys.path[:0] = {search}\n{SAVER}"
    command = [sys.executable, "-c", source, str(path), fatal]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
        if fatal == "any":
            child.kill()
    assert child.returncode == -signal.SIGKILL
    model = load(path)
    assert model.n_neighbors in ((1,) if fatal in DEATHS[:5] else (1, 2))
    assert to_host(model._learnt()[0]["rows"]).min() == model.n_neighbors
    save(model, path)  # and what was left behind is in nobody's way
