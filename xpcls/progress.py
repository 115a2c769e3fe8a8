"""Progress of long work: algorithms tell how far they are, and who wants to know listens.

    with xpcls.show_progress():
        knn.predict(X_test)

An algorithm calls `advance` once a block or an epoch. Without a listener that costs one look-up.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar

COMPILING = "compiling kernels, once"  # until they or numba change

Listener = Callable[[str, int, int, dict[str, object]], None]

_listener: ContextVar[Listener | None] = ContextVar("xpcls progress listener", default=None)


def advance(task: str, done: int, total: int, **facts: object) -> None:
    """Say that `done` of `total` parts of `task` are finished; `facts` are shown beside it.

    The values in `facts` are Python numbers or text: an array would have to be read for showing.
    """
    listener = _listener.get()
    if listener is not None:
        listener(task, done, total, facts)


@contextlib.contextmanager
def listen(listener: Listener) -> Iterator[None]:
    """Call `listener(task, done, total, facts)` at every step of the work inside the block."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


@contextlib.contextmanager
def show_progress(delay: float = 1.0) -> Iterator[None]:
    """Draw a bar on standard error for each task inside the block that runs over `delay` seconds,
    and for kernels while they are compiled.

    Where standard error is no terminal, nothing is drawn.
    """
    import time

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from xpcls_backends import hear_compiling

    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} {task.fields[facts]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        shown = {}
        started: dict[str, float] = {}

        def draw(task: str, done: int, total: int, facts: dict[str, object]) -> None:
            began = started.setdefault(task, time.monotonic())
            late = time.monotonic() - began >= delay or task == COMPILING  # it takes seconds
            if task not in shown and late:
                shown[task] = bars.add_task(task, total=total, facts="")
            if task in shown:
                text = "  ".join(f"{name} {_short(value)}" for name, value in facts.items())
                bars.update(shown[task], completed=done, total=total, facts=text)
            if done >= total:
                started.pop(task)
                if task in shown:
                    bars.remove_task(shown.pop(task))

        def draw_compiling(begins: bool) -> None:
            draw(COMPILING, 0 if begins else 1, 1, {})

        with listen(draw), hear_compiling(draw_compiling):
            yield


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
