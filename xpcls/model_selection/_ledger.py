"""A file in which openings of sealed test sets are kept: JSON, one line an opening.

Lines are only ever added. Each is written by one call to a file that was opened for appending, so
two processes that open a test set at the same time add two lines, and which of them is the first
is the same for both: the one whose line stands higher. This holds on the disks of one machine; a
network drive may lose a line of two processes at once.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import stat
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

LARGEST = 2**24  # bytes; some 50,000 openings
LONGEST_NAME = 200  # characters, of a class
KEYS = {"data", "time", "models", "id"}
DIGEST = re.compile("[0-9a-f]{64}")
ID = re.compile("[0-9a-f]{32}")
PATIENCE = 10, 0.02  # how often, and after how many seconds, a half-written line is read again


class LedgerError(ValueError):
    """A ledger is damaged, hostile, or no ledger; the message names the file and the line."""


@dataclass(frozen=True)
class Opening:
    """That the test set was opened.

    time : UTC, ISO 8601. models : for each model, its class and the SHA-256 of what it was then.
    """

    time: str
    models: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        named = ", ".join(f"{name} {digest[:12]}" for name, digest in self.models)
        return f"{self.time} by {named}"


Line = tuple[str, Opening, str]  # digest of the data, opening, id


def now() -> str:
    """The time, in UTC and to the second, as it is recorded."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def marked(model: Any, digest: str) -> tuple[str, str]:
    """What an opening says of a model; "model" where the name of its class is no plain name."""
    name = type(model).__name__
    return (name if name.isidentifier() and len(name) <= LONGEST_NAME else "model"), digest


class Ledger:
    """The openings of one test set, among those of others in a file.

    path : absolute, so that it stays the same file when the folder of work changes. data : the
    digest of the test set.

    Raises FileNotFoundError, IsADirectoryError, PermissionError and LedgerError where openings
    could not be written there.
    """

    def __init__(self, path: Path, data: str) -> None:
        self._path = path
        self._data = data
        self._mine: set[str] = set()  # ids of the lines that were added here
        self.read()  # what is no ledger is named now, not after all training
        self._check_writable()

    def read(self) -> tuple[list[Opening], list[Opening]]:
        """The openings of this test set and those of others, the first ones first."""
        return self._told_apart(self._known_lines())

    def add(self, opening: Opening) -> list[Opening]:
        """Add an opening; returns those of this test set that came before it.

        Raises LedgerError where the file is no ledger, or would be none with this line, and
        OSError where it cannot be written; then nothing was written. What another program does
        to the file at the very moment is found afterwards.
        """
        self._known_lines()
        mine = secrets.token_hex(16)
        entry = {"data": self._data, "time": opening.time, "models": opening.models, "id": mine}
        line = json.dumps(entry, separators=(",", ":")).encode("ascii") + b"\n"
        _parsed(self._path, 0, line)  # a line that could not be read would end the ledger
        size = self._path.stat().st_size if self._path.exists() else 0
        if size + len(line) > LARGEST:
            raise LedgerError(f"{self._path} is full, with {size} bytes; give another file")
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
        descriptor = os.open(self._path, flags, 0o666)
        try:
            if os.write(descriptor, line) != len(line):
                raise OSError(f"{self._path}: a line could not be written whole; is the disk full?")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._mine.add(mine)
        lines = self._known_lines()
        place = next(i for i, (_, _, tag) in enumerate(lines) if tag == mine)
        return self._told_apart(lines[:place])[0]

    def _told_apart(self, lines: list[Line]) -> tuple[list[Opening], list[Opening]]:
        ours = [opening for digest, opening, _ in lines if digest == self._data]
        return ours, [opening for digest, opening, _ in lines if digest != self._data]

    def _known_lines(self) -> list[Line]:
        """All lines; raises where one is gone that was added here."""
        lines = _lines(self._path)
        gone = self._mine - {tag for _, _, tag in lines}
        if gone:
            raise LedgerError(
                f"{self._path}: {len(gone)} of {len(self._mine)} openings that were written there "
                "are gone; was it deleted or replaced? Put it back"
            )
        return lines

    def _check_writable(self) -> None:
        folder = self._path.parent
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} is no folder; make it first")
        place = self._path if self._path.exists() else folder
        if not os.access(place.resolve(), os.W_OK):
            raise PermissionError(f"{place} cannot be written; give a ledger elsewhere")


def _lines(path: Path) -> list[Line]:
    if not path.exists():
        return []
    content = _content(path)
    tries, pause = PATIENCE
    while content and not content.endswith(b"\n") and tries:
        time.sleep(pause)  # another process may be in the middle of its line
        content, tries = _content(path), tries - 1
    lines = content.split(b"\n")
    if lines.pop():
        raise _refused(path, len(lines) + 1, "it ends within a line")
    return [_parsed(path, i + 1, line) for i, line in enumerate(lines)]


def _content(path: Path) -> bytes:
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the name of a file")
    status = path.stat()  # before it is opened: to open a pipe waits for someone to write
    if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST:
        raise LedgerError(
            f"{path} is no ledger: it is no plain file of at most {LARGEST} bytes; give another "
            "name"
        )
    return path.read_bytes()


def _parsed(path: Path, number: int, line: bytes) -> Line:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        raise _refused(path, number, "it is no JSON") from None
    if not isinstance(entry, dict) or entry.keys() != KEYS:
        raise _refused(path, number, f"it has not the keys {', '.join(sorted(KEYS))}")
    if not _is(DIGEST, entry["data"]) or not _is(ID, entry["id"]) or not _is_time(entry["time"]):
        raise _refused(path, number, "its data, id or time is malformed")
    models = entry["models"]
    if not isinstance(models, list) or not models or not all(map(_is_mark, models)):
        raise _refused(path, number, "its models are malformed")
    opening = Opening(entry["time"], tuple((name, digest) for name, digest in models))
    return entry["data"], opening, entry["id"]


def _is(pattern: re.Pattern[str], value: Any) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _is_time(value: Any) -> bool:
    try:
        return datetime.fromisoformat(value).tzinfo is not None and len(value) <= 32
    except (TypeError, ValueError):
        return False


def _is_mark(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and len(value[0]) <= LONGEST_NAME
        and value[0].isidentifier()
        and _is(DIGEST, value[1])
    )


def _refused(path: Path, number: int, cause: str) -> LedgerError:
    return LedgerError(
        f"{path}: line {number} is no opening of a test set: {cause}; give another file, or "
        "repair that line"
    )
