"""What the machine says of itself, also where it says little; and how a figure is measured."""

from __future__ import annotations

import ctypes
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from xpcls_backends import Backend, BackendUnavailable, get_backend, machine

MEMINFO = """MemTotal:       16000000 kB
MemFree:         1000000 kB
MemAvailable:    9000000 kB
HugePages_Total:       0
"""


def files(monkeypatch: pytest.MonkeyPatch, **texts: str) -> None:
    """/proc has these files and no others."""

    def read_text(self: Path, *arguments: str) -> str:
        if self.name not in texts:
            raise FileNotFoundError(self)
        return texts[self.name]

    monkeypatch.setattr(Path, "read_text", read_text)


def test_memory_is_what_a_process_can_still_have(monkeypatch: pytest.MonkeyPatch) -> None:
    files(monkeypatch, meminfo=MEMINFO)
    found = machine.about(get_backend("cpu"))
    assert (found.memory_free, found.memory_total) == (9_216_000_000, 16_384_000_000)


def test_elsewhere_the_system_tells_how_much_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    files(monkeypatch)
    told = {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 16384}
    monkeypatch.setattr(machine.os, "sysconf", told.__getitem__, raising=False)
    assert machine._host_memory() == (None, 16_384_000)


def test_or_it_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    files(monkeypatch)
    monkeypatch.delattr(machine.os, "sysconf", raising=False)
    assert machine._host_memory() == (None, None)


def test_the_processor_is_named_as_far_as_the_system_tells(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cpuinfo = "processor\t: 0\nmodel name\t: A Processor @ 2.0GHz: fast\nprocessor\t: 1\n"
    files(monkeypatch, cpuinfo=cpuinfo)
    assert machine.about(get_backend("cpu")).name.startswith("A Processor @ 2.0GHz: fast (")
    files(monkeypatch, cpuinfo="processor\t: 0\nBogoMIPS\t: 48.00\n")  # as on ARM
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(machine.platform, "processor", lambda: "")
    assert machine._processor() == "of an unknown model"
    files(monkeypatch)
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(machine.subprocess, "check_output", lambda *a, **k: "Apple M9\n")
    assert machine._processor() == "Apple M9"


@pytest.mark.parametrize(("status", "expected"), [(0, "580.65.06 "), (9, "")])
def test_the_driver_has_a_number(
    monkeypatch: pytest.MonkeyPatch, status: int, expected: str
) -> None:
    def get_version(text: ctypes.Array[ctypes.c_char], size: int) -> int:
        assert size == len(text) == 80
        text.value = b"580.65.06"
        return status

    library = types.SimpleNamespace(nvmlInit_v2=lambda: 0, nvmlSystemGetDriverVersion=get_version)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    assert machine._driver_number() == expected


def test_a_driver_without_its_library_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_such_file(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", no_such_file)
    assert machine._driver_number() == ""


def test_the_best_round_counts_and_short_work_is_done_more_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A clock of our own: a call takes 4 ms, and something else 10 ms in the second round."""
    monkeypatch.setattr(machine, "PATIENCE", 0.0)
    rounds: list[int] = []

    def seconds(work: object, calls: int, backend: Backend) -> float:
        rounds.append(calls)
        return calls * 0.004 + (0.01 if len(rounds) == 2 else 0.0)

    monkeypatch.setattr(machine, "_seconds", seconds)
    assert machine._best_seconds(lambda: None, get_backend("cpu")) == pytest.approx(0.004)
    # The first is a warm-up and the second took long; then a round is too short to be believed.
    assert rounds == [1, 1, 1, 2]


def test_speeds_count_bytes_both_ways_and_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    host = get_backend("cpu")
    monkeypatch.setattr(machine, "COPIED", 2**20)
    monkeypatch.setattr(machine, "_best_seconds", lambda work, backend: work() or 0.5)
    assert machine.copy_speed(host) == 2 * 2**20 / 0.5
    monkeypatch.setattr(machine, "SMALLEST", 16)
    monkeypatch.setattr(machine, "LARGEST", 64)
    monkeypatch.setattr(machine, "_seconds", lambda work, calls, backend: 0.0)
    assert machine.product_speed(host) == 2 * 64**3 / 0.5
    monkeypatch.setattr(machine, "_seconds", lambda work, calls, backend: machine.LONG)
    assert machine.product_speed(host) == 2 * 16**3 / 0.5


def test_every_entry_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where threads do not divide their number."""
    monkeypatch.setattr(machine, "COPIED", 4 * 1001)
    monkeypatch.setattr(machine, "thread_count", lambda xp: 3)
    shares: list[slice] = []

    def in_threads(work, parts, threads):  # type: ignore[no-untyped-def]
        shares.extend(parts)

    monkeypatch.setattr(machine, "in_threads", in_threads)
    monkeypatch.setattr(machine, "_best_seconds", lambda work, backend: work() or 1.0)
    machine.copy_speed(get_backend("cpu"))
    touched = np.zeros(1001, dtype=int)
    for part in shares:
        touched[part] += 1
    assert (touched == 1).all()


def test_matrices_are_not_of_one_number() -> None:
    x = machine._matrix(get_backend("cpu"), 64)
    assert x.shape == (64, 64) and x.dtype == np.float32
    assert -0.5 <= x.min() < -0.49 and 0.49 < x.max() < 0.5
    assert np.unique(x).size == 1009


def test_what_fails_has_one_line_of_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(x: object, y: object) -> None:
        raise MemoryError("Unable to allocate 4.00 MiB\nmore")

    monkeypatch.setattr(machine, "product", fails)
    with pytest.raises(BackendUnavailable) as caught:
        machine.product_speed(get_backend("cpu"))
    assert str(caught.value) == "Unable to allocate 4.00 MiB. Close what holds the memory."
