"""Sources compiled for a generation of cards by NVRTC, which needs neither a card nor a driver.

It comes with the wheel nvidia-cuda-nvrtc; nvdisasm, which shows the instructions, with
nvidia-cuda-nvdisasm. Both are in the dependency group `cuda-checks`.
"""

from __future__ import annotations

import collections
import ctypes
import importlib.util
import re
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ARCHITECTURES = ("75", "80", "86", "89", "90", "100")
# What CuPy compiles with, from _compile_with_cache_cuda in cupy/cuda/compiler.py, and a report.
OPTIONS = ("-ftz=true", "--device-as-default-execution-space", "--ptxas-options=-v")


def _home() -> Path | None:
    found = importlib.util.find_spec("nvidia")
    folders = [] if found is None else list(found.submodule_search_locations or [])
    return next((path for folder in folders for path in Path(folder).glob("cu1?")), None)


HOME = _home()
DISASSEMBLER = None if HOME is None else HOME / "bin" / "nvdisasm"
why_none = (
    None
    if HOME is not None and list(HOME.glob("lib/libnvrtc.so.*"))
    else "no NVRTC: pip install nvidia-cuda-nvrtc"
)
why_no_instructions = (
    None
    if DISASSEMBLER is not None and DISASSEMBLER.exists()
    else "no nvdisasm: pip install nvidia-cuda-nvdisasm"
)
why_not_all = why_none or why_no_instructions


@dataclass(frozen=True)
class Resources:
    """What a kernel takes: registers a thread, bytes of static shared memory, bytes spilled."""

    registers: int
    shared: int
    spilled: int


class CompileError(RuntimeError):
    """NVRTC refused a source; the message is its log."""


def compiled(
    source: str, architecture: str, options: tuple[str, ...]
) -> tuple[bytes, dict[str, Resources]]:
    """The binary for sm_<architecture>, and what each kernel of it takes."""
    nvrtc = _library()
    given = [*options, *OPTIONS, f"-arch=sm_{architecture}"]
    program = ctypes.c_void_p()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernels.cu", 0, None, None)
    try:
        words = (ctypes.c_char_p * len(given))(*(word.encode() for word in given))
        failed = nvrtc.nvrtcCompileProgram(program, len(given), words)
        log = _read(program, "nvrtcGetProgramLogSize", "nvrtcGetProgramLog").decode()
        if failed:
            raise CompileError(f"sm_{architecture}: {log}")
        binary = _read(program, "nvrtcGetCUBINSize", "nvrtcGetCUBIN")
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return binary, _resources(log)


def instructions(binary: bytes, kernel: str) -> collections.Counter[str]:
    """How often each instruction stands in a kernel."""
    return collections.Counter(n for n, _ in _instructions(binary)[kernel] if n != "label")


def hottest_loop(binary: bytes, kernel: str, instruction: str) -> collections.Counter[str]:
    """How often each instruction stands in the loop of a kernel that has most of this one.

    Loads and stores are told apart by their width: "LDS.128".
    """
    code = _instructions(binary)[kernel]
    labels = {name: i for i, (kind, name) in enumerate(code) if kind == "label"}
    best: collections.Counter[str] = collections.Counter()
    for stop, (kind, arguments) in enumerate(code):
        target = re.search(r"`?\(?(\.L_x_\d+)\)?", arguments) if kind == "BRA" else None
        start = stop if target is None else labels.get(target[1], stop)
        if start < stop:
            words = [name for name, _ in code[start:stop] if name != "label"]
            counts = collections.Counter(words)
            best = max(best, counts, key=lambda c: c[instruction])
    return best


@cache
def _library() -> ctypes.CDLL:
    assert HOME is not None
    for path in sorted(HOME.glob("lib/libnvrtc-builtins.so.*")):  # or NVRTC does not find them
        ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    return ctypes.CDLL(str(next(HOME.glob("lib/libnvrtc.so.*"))))


def _read(program: ctypes.c_void_p, size_of: str, get: str) -> bytes:
    size = ctypes.c_size_t()
    getattr(_library(), size_of)(program, ctypes.byref(size))
    memory = ctypes.create_string_buffer(size.value)
    getattr(_library(), get)(program, memory)
    return memory.raw[:-1] if get.endswith("Log") else memory.raw


def _resources(log: str) -> dict[str, Resources]:
    found = {}
    for part in re.split(r"Compiling entry function ", log)[1:]:
        name = re.match(r"'(\w+)'", part)
        spilled = re.findall(r"(\d+) bytes spill (?:stores|loads)", part)
        registers, shared = (
            re.search(r"Used (\d+) registers", part),
            re.search(r"(\d+) bytes smem", part),
        )
        assert name is not None and registers is not None and len(spilled) >= 2, part
        found[name[1]] = Resources(
            int(registers[1]), int(shared[1]) if shared else 0, sum(map(int, spilled))
        )
    return found


def _instructions(binary: bytes) -> dict[str, list[tuple[str, str]]]:
    """For each kernel ("label", name) and (instruction, arguments), in order."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernels.cubin")
        path.write_bytes(binary)
        done = subprocess.run(
            [str(DISASSEMBLER), "-c", str(path)], capture_output=True, text=True, check=True
        )
    kernels: dict[str, list[tuple[str, str]]] = {}
    code: list[tuple[str, str]] = []
    for line in done.stdout.splitlines():
        if section := re.match(r"^\.text\.(\w+):", line):
            code = kernels.setdefault(section[1], [])
        elif label := re.match(r"^(\.L_x_\d+):", line):
            code.append(("label", label[1]))
        elif found := re.match(r"^\s+/\*[0-9a-f]+\*/\s+(?:@!?\w+\s+)?([A-Z0-9_.]+)([^;]*);", line):
            name, *modifiers = found[1].split(".")
            widths = (
                [m for m in modifiers if m in ("64", "128")] if name[:2] in ("LD", "ST") else []
            )
            code.append((".".join([name, *widths]), found[2]))
    return kernels
