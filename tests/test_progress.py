"""Progress: who listens hears everything, and who does not pays nothing."""

from __future__ import annotations

import io
import threading

import numpy as np
import pytest

from xpcls.distances import nearest, pairwise
from xpcls.progress import advance, listen, show_progress
from xpcls_backends.kernels import tell_compiling

Told = list[tuple[str, int, int, dict[str, object]]]


def test_without_a_listener_nothing_happens() -> None:
    advance("task", 1, 2, loss=0.5)


def test_a_listener_hears_what_is_said_inside_its_block() -> None:
    told: Told = []
    advance("before", 1, 1)
    with listen(lambda *facts: told.append(facts)):
        advance("task", 1, 2, loss=0.5)
        advance("task", 2, 2)
    advance("after", 1, 1)
    assert told == [("task", 1, 2, {"loss": 0.5}), ("task", 2, 2, {})]


def test_listeners_nest_and_the_outer_one_comes_back() -> None:
    outer: Told = []
    inner: Told = []
    with listen(lambda *facts: outer.append(facts)):
        with pytest.raises(KeyError), listen(lambda *facts: inner.append(facts)):
            advance("inner", 1, 1)
            raise KeyError
        advance("outer", 1, 1)
    assert [task for task, *_ in outer] == ["outer"]
    assert [task for task, *_ in inner] == ["inner"]


def test_another_thread_is_not_listened_to() -> None:
    told: Told = []
    with listen(lambda *facts: told.append(facts)):
        thread = threading.Thread(target=advance, args=("elsewhere", 1, 1))
        thread.start()
        thread.join()
    assert told == []


def test_an_error_of_the_listener_reaches_the_caller() -> None:
    # Ctrl-C while a bar is drawn must end the work, not the bar alone.
    def press(*facts: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), listen(press):
        nearest(np.ones((2, 2)), np.ones((3, 2)), 1)
    assert nearest(np.ones((2, 2)), np.ones((3, 2)), 1)[1].tolist() == [[0], [0]]


def test_distances_tell_how_far_they_are() -> None:
    told: Told = []
    with listen(lambda *facts: told.append(facts)):
        nearest(np.ones((2, 2)), np.ones((3, 2)), 1)
        pairwise(np.ones((2, 2)), np.ones((3, 2)))
    assert told[-1] == ("distances", 3, 3, {})
    assert ("nearest rows", 1000, 1000, {}) in told


# The bar.


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def draw_to(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    """Called by the test itself: pytest puts its own stream there between fixtures and tests."""
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


def test_a_bar_is_drawn_on_a_terminal_and_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    draw_to(terminal, monkeypatch)
    with show_progress(delay=0.0):
        for done in range(1, 4):
            advance("training", done, 4, loss=0.123456, note="warm")
    drawn = terminal.getvalue()
    assert "training" in drawn and "3/4" in drawn
    assert "loss 0.1235" in drawn and "note warm" in drawn


def test_a_task_may_end_at_once_and_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    draw_to(terminal, monkeypatch)
    with show_progress(delay=0.0):
        for _ in range(2):
            advance("one", 1, 1)
            advance("two", 1, 2)
            advance("two", 2, 2)
    drawn = terminal.getvalue()
    assert "one" in drawn and "two" in drawn
    advance("one", 1, 1)  # the bar is gone, and nobody listens
    assert terminal.getvalue() == drawn


def test_compiling_is_drawn_at_once_whichever_thread_does_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = Terminal()
    draw_to(terminal, monkeypatch)
    with show_progress(delay=1e9):
        for begins in (True, False):
            thread = threading.Thread(target=tell_compiling, args=(begins,))
            thread.start()
            thread.join()
    drawn = terminal.getvalue()
    assert "compiling kernels" in drawn
    tell_compiling(True)  # the bar is gone, and nobody listens
    assert terminal.getvalue() == drawn


def test_short_tasks_are_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    draw_to(terminal, monkeypatch)
    with show_progress(delay=1e9):
        advance("training", 1, 2)
    assert "training" not in terminal.getvalue()


def test_work_that_fails_takes_its_bar_along(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    draw_to(terminal, monkeypatch)
    with pytest.raises(ZeroDivisionError), show_progress(delay=0.0):
        advance("training", 1, 2)
        raise ZeroDivisionError
    told: Told = []
    with listen(lambda *facts: told.append(facts)):
        advance("training", 1, 1)
    assert len(told) == 1


@pytest.mark.parametrize("delay", [0.0, 1.0])
def test_nothing_is_drawn_where_no_terminal_is(
    monkeypatch: pytest.MonkeyPatch, delay: float
) -> None:
    stream = io.StringIO()
    draw_to(stream, monkeypatch)
    with show_progress(delay=delay):
        for done in range(3):
            advance("training", done + 1, 3)
    assert stream.getvalue() == ""
