"""The command line: `xpcls compare` and what belongs to it.

Commands import what they need when they run, so that `xpcls --help` answers at once. Whatever a
user can get wrong ends in one line on standard error and exit code 2, never in a traceback.
"""

from __future__ import annotations

import inspect
import os
import sys
import warnings
from typing import Any

import typer

from . import _devices, _explain, _lecture, _models, _robustness

EXIT_WRONG_INPUT, EXIT_INTERRUPTED = 2, 130

app = typer.Typer(
    help="Image classifiers of the first CS231n lectures, on NumPy or on a CUDA GPU. Begin with "
    "`xpcls compare`: it trains and tests every classifier on bundled digits and prints a table.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _paragraphs(docstring: str | None) -> str:
    """A docstring's lines are wrapped for its readers; the help is wrapped for the terminal."""
    paragraphs = inspect.cleandoc(docstring or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


for command in (
    _models.compare,
    _models.train,
    _models.predict,
    _models.evaluate,
    _robustness.robustness,
    _explain.check,
    _explain.parity,
    _devices.devices,
    _lecture.lecture,
):
    app.command(help=_paragraphs(command.__doc__))(command)


def main() -> None:
    """Run the command line and exit with its code; the entry point of the script `xpcls`."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command line with these arguments; its exit code."""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _remark  # type: ignore[assignment]
            code = app(arguments, standalone_mode=False, prog_name="xpcls")
    except KeyboardInterrupt:
        return _complain("interrupted", EXIT_INTERRUPTED)
    except typer.Abort:
        return _complain("interrupted", EXIT_INTERRUPTED)
    except Exception as error:
        if os.environ.get("XPCLS_DEBUG"):
            raise
        if hasattr(error, "format_message"):  # typer's own: an unknown option, a bad value
            sentence = error.format_message().rstrip(".")
            if not sentence:  # no command was given, and the help has been printed
                return 0
            return _complain(f"{sentence}. See: xpcls --help", EXIT_WRONG_INPUT)
        if isinstance(error, OSError) and error.filename is not None and error.strerror:
            return _complain(f"{error.filename}: {error.strerror.lower()}", EXIT_WRONG_INPUT)
        return _complain(str(error) or type(error).__name__, EXIT_WRONG_INPUT)
    # typer itself may have caught the Ctrl-C, and then gives its exit code.
    return _complain("interrupted", code) if code == EXIT_INTERRUPTED else int(code or 0)


def _remark(message: Warning | str, *where: Any) -> None:
    """A warning as a line for a person, who has no use for the line of source it came from."""
    print("xpcls: note:", " ".join(str(message).split()), file=sys.stderr)


def _complain(sentence: str, code: int) -> int:
    print("xpcls:", " ".join(sentence.split()), file=sys.stderr)
    return code
