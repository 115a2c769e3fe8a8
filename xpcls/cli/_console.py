"""What is printed: results on standard output, remarks on standard error."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from xpcls.compare import Row
    from xpcls.data import Dataset, Split
    from xpcls.model_selection import SealedTestSet

WIDE = 120  # columns, where the output is a file or a pipe and has no width of its own


def say(text: str) -> None:
    """A line of results."""
    _console().print(text, markup=False, highlight=False, soft_wrap=True)


def note(text: str) -> None:
    """A remark."""
    Console(stderr=True).print(text, markup=False, highlight=False, style="dim", soft_wrap=True)


def show(table: Table) -> None:
    """A table of results."""
    _console().print(table)


def table_of(headings: Sequence[str], rows: Sequence[Sequence[Any]], numbers: set[str]) -> Table:
    """A table; the columns named in `numbers` are aligned to the right."""
    table = Table(show_edge=False, pad_edge=False)
    for heading in headings:
        table.add_column(heading, justify="right" if heading in numbers else "left")
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row))
    return table


def comparison_table(rows: Sequence[Row]) -> Table:
    """The table of `xpcls compare`."""
    headings = ("model", "chosen", "validation", "test", "fit s", "predict s", "images/s", "device")
    cells = [
        (
            row.model,
            ", ".join(f"{name}={value}" for name, value in row.setting.items()),
            f"{row.validation_accuracy:.4f}",
            _known(row.test_accuracy, ".4f"),
            f"{row.fit_seconds:.2f}",
            _known(row.predict_seconds, ".4f"),
            _known(row.images_per_second, ",.0f"),
            row.device,
        )
        for row in rows
    ]
    return table_of(headings, cells, set(headings[2:7]))


def _known(value: float | None, form: str) -> str:
    """A number, or a dash where the test part was not opened."""
    return "-" if value is None else format(value, form)


def test_part(test: SealedTestSet, before: int) -> str:
    """A sentence on how often the test part was opened; `before` this run so many times."""
    openings = test.openings
    if len(openings) == before:
        earlier = f" in this run; it was {before} time(s) before" if before else ""
        return f"The test part was not opened{earlier}."
    if len(openings) == 1:
        models = len(openings[0].models)
        final = "the model was" if models == 1 else f"all {models} models were"
        return f"The test part was opened once, at {openings[0].time}, when {final} final."
    return (
        f"The test part was opened {len(openings)} times, first at {openings[0].time}: what is "
        "chosen by a later score looks better than it is."
    )


def described(name: str, data: Dataset, parts: Split, seed: int) -> str:
    """A data set and its parts in a line."""
    height, width, channels = data.images.shape[1:]
    return (
        f"{name}: {len(data)} images of {height} x {width} x {channels} in {len(data.class_names)} "
        f"classes; {len(parts.train)} for training, {len(parts.validation)} for validation, "
        f"{len(parts.test)} for testing, divided by seed {seed}"
    )


def write_comparison(
    path: Path, data: Dataset, parts: Split, seed: int, rows: Sequence[Any], **facts: Any
) -> None:
    """Results, a dataclass for each model, as JSON, with what one needs to get them again.

    facts : what else there is to say.
    """
    report = {
        "data": {
            "source": data.source,
            "images": len(data),
            "train": len(parts.train),
            "validation": len(parts.validation),
            "test": len(parts.test),
        },
        "seed": seed,
        **facts,
        "machine": platform.machine(),
        "versions": {"python": platform.python_version(), **versions()},
        "models": [asdict(row) for row in rows],
    }
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def versions() -> dict[str, str]:
    """Versions of what results depend on, of those that are installed."""
    from importlib import metadata

    found = {}
    for name in ("xpcls", "numpy", "cupy", "cupy-cuda12x", "cupy-cuda13x"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=WIDE)
