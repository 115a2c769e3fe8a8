"""The command that shows what there is to compute with: devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from xpcls_backends import Backend
    from xpcls_backends.machine import About


def devices(
    measure: Annotated[
        bool,
        typer.Option(help="Time a copy and a product of matrices on each device, about a second."),
    ] = True,
) -> None:
    """Show what can be used here, and for what can not, what to type.

    Each device, all cards of the machine among them, with its memory and its software, and with
    two figures that are measured: bytes read and written in a second where one large array is
    copied to another, and operations in a second where float32 matrices are multiplied.
    """
    from xpcls_backends import BackendUnavailable, get_backend, usable, why_not
    from xpcls_backends.kernels import instructions, why_none
    from xpcls_backends.kernels.cuda import cudnn
    from xpcls_backends.machine import about, label
    from xpcls_backends.machine import devices as places_of

    from ._auto import LAUNCH_BOUND
    from ._console import say, show, table_of, versions

    working: list[tuple[Backend, About]] = []
    cells = []
    for name in ("numpy", "cupy"):
        problem = why_not(name)
        if problem is not None:
            cells.append((name, "no", problem.cause, problem.remedy))
            continue
        for place in places_of(get_backend(name)):
            try:
                working.append((place, about(place)))
            except BackendUnavailable as trouble:
                cells.append((name, "no", f"{label(place)} {trouble.cause}", trouble.remedy))
            else:
                cells.append((name, "yes", f"{label(place)} {working[-1][1].name}", ""))
    missing = why_none()
    cells.append(
        _part("kernels", missing, "" if missing else f"cpu, compiled for {instructions()}")
    )
    if any(place.name == "cupy" for place, _ in working):
        missing = cudnn.why_none()
        cells.append(_part("cudnn", missing, "" if missing else f"cuda, cuDNN {cudnn.version()}"))
    show(table_of(("backend", "usable", "device", "what to do"), cells, set()))
    say("")
    _show_facts(working, measure)
    small = f", and numpy for less than {LAUNCH_BOUND:,} bytes of images at a time"
    takes = usable()[-1]
    installed = ", ".join(f"{name} {version}" for name, version in versions().items())
    say(f"--device auto takes {takes}{'' if takes == 'numpy' else small}. Installed: {installed}")


def _part(name: str, missing: str | None, found: str) -> tuple[str, str, str, str]:
    """A row of the first table. missing : why it is not there, and what to type after a colon."""
    if missing is None:
        return name, "yes", found, ""
    cause, _, remedy = missing.partition(": ")
    return name, "no", cause, remedy


def _show_facts(places: list[tuple[Backend, About]], measure: bool) -> None:
    """A row a device: memory, the two figures, software. What fails is said below, in a line each.

    A figure that was not measured is a dash.
    """
    from xpcls.progress import advance, show_progress
    from xpcls_backends import BackendUnavailable
    from xpcls_backends.machine import copy_speed, label, product_speed

    from ._console import say, show, table_of

    cells, failures = [], []
    with show_progress(delay=2.0):
        for i, (place, facts) in enumerate(places):
            copied = multiplied = "-"
            if measure:
                try:
                    advance("measuring", 2 * i, 2 * len(places), now=f"{label(place)} copy")
                    copied = _digits(copy_speed(place) / 1e9)
                    advance("measuring", 2 * i + 1, 2 * len(places), now=f"{label(place)} product")
                    multiplied = _digits(product_speed(place) / 1e12)
                except BackendUnavailable as trouble:
                    failures.append(f"{label(place)} was not measured: {trouble}")
            memory = _memory(facts.memory_free, facts.memory_total)
            cells.append((label(place), memory, copied, multiplied, facts.software))
        if measure:
            advance("measuring", 2 * len(places), 2 * len(places))
    headings = ("device", "GB free", "copy GB/s", "product TFLOP/s", "runs with")
    show(table_of(headings, cells, set(headings[1:4])))
    for line in failures:
        say(line)


def _memory(free: int | None, total: int | None) -> str:
    """Gigabytes free of all; a dash where the system does not tell."""
    known = ["-" if size is None else f"{size / 1e9:.1f}" for size in (free, total)]
    return " of ".join(known)


def _digits(figure: float) -> str:
    """Three digits that mean something, of a figure of a machine that has other things to do."""
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.3g}"
