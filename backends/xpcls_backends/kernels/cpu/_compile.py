"""How kernels are compiled: without Python's lock, and kept on disk for the next process.

The first call with arrays of a kind compiles for some seconds; later processes load the
result from __pycache__, or from NUMBA_CACHE_DIR. What numba keeps goes by the time of the file
that a function stands in; here it goes by all files of this folder, since kernels call each other.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core import event

from xpcls_backends.kernels import tell_compiling

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(**options: Any) -> Callable[[Function], Function]:
    """A decorator; options as numba's `njit` takes them, `fastmath` or `inline`.

    Where no folder can be written to, each process compiles for itself.
    """

    def decorate(function: Function) -> Function:
        dispatcher = numba.njit(nogil=True, **options)(function)
        try:
            dispatcher.enable_caching()
        except RuntimeError:  # there is no place for a cache
            return dispatcher  # type: ignore[no-any-return]
        dispatcher._cache._cache_file._source_stamp = _stamp()
        return dispatcher  # type: ignore[no-any-return]

    return decorate


def _stamp() -> tuple[float, int]:
    """The latest change of these files, and their size together."""
    files = [path.stat() for path in Path(__file__).parent.glob("*.py")]
    return max(file.st_mtime for file in files), sum(file.st_size for file in files)


class _Compiling(event.Listener):  # type: ignore[misc]
    """Tells of compiling, once where one kernel compiles another; numba does it in one thread."""

    depth = 0

    def on_start(self, event: Any) -> None:
        if _is_ours(event):
            self.depth += 1
            if self.depth == 1:
                tell_compiling(True)

    def on_end(self, event: Any) -> None:
        if _is_ours(event):
            self.depth -= 1
            if self.depth == 0:
                tell_compiling(False)


def _is_ours(event: Any) -> bool:
    module: str = event.data["dispatcher"].py_func.__module__
    return module.startswith(__package__)


event.register("numba:compile", _Compiling())
