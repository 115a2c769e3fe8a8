"""`xpcls devices`, and what --device auto decides, on a machine without a card.

tests/cuda/test_devices.py has the same with cards of the stand-in for CuPy.
"""

import re
from collections.abc import Iterator

import numpy as np
import pytest

from xpcls import cli
from xpcls.cli._auto import BATCH, LAUNCH_BOUND, at_a_time, for_images
from xpcls.cli._options import DeviceName
from xpcls.progress import listen
from xpcls_backends import Backend, get_backend, kernels, machine

Captured = pytest.CaptureFixture[str]

CARD = Backend("cupy", None, None)
FIGURE = r"[\d,.]+"


def run(capsys: Captured, *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `xpcls ...`."""
    code = cli.run(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Little is copied, and once is enough: no test is about the figures themselves."""
    monkeypatch.setattr(machine, "COPIED", 2**16)
    monkeypatch.setattr(machine, "SMALLEST", 16)
    monkeypatch.setattr(machine, "LARGEST", 32)
    monkeypatch.setattr(machine, "PATIENCE", 0.0)
    yield


def test_devices_says_what_can_be_used(capsys: Captured) -> None:
    code, out, err = run(capsys, "devices")
    assert code == 0 and not err
    assert re.search(r"^numpy +│ yes +│ cpu .+\(.+, \d+ cores\)", out, re.MULTILINE)
    assert re.search(r"^cupy +│ (yes|no)", out, re.MULTILINE)
    assert f"numpy {np.__version__}" in out


def test_each_device_has_its_memory_its_software_and_two_figures(capsys: Captured) -> None:
    _, out, _ = run(capsys, "devices")
    row = rf"^cpu +│ +\S+ of \S+ │ +({FIGURE}) │ +({FIGURE}(?:e-\d+)?) │ NumPy {np.__version__}, \d"
    found = re.search(row, out, re.MULTILINE)
    assert found is not None
    assert all(float(figure.replace(",", "")) > 0 for figure in found.groups())


def test_devices_may_be_told_to_measure_nothing(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_seconds", None)  # to measure would fail
    code, out, _ = run(capsys, "devices", "--no-measure")
    assert code == 0
    assert re.search(r"^cpu +│ .+ │ +- │ +- │ NumPy", out, re.MULTILINE)


def test_a_device_that_cannot_be_measured_gets_one_line(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "COPIED", 2**22)
    monkeypatch.setattr(machine, "_host_memory", lambda: (5 * 10**6, 2 * 10**9))
    code, out, err = run(capsys, "devices")
    assert code == 0 and not err
    assert re.search(r"^cpu +│ +0\.0 of 2\.0 │ +- │ +- │", out, re.MULTILINE)
    assert (
        "\ncpu was not measured: measuring takes 8 MB of memory, and 5 are free. "
        "Close what holds the memory.\n"
    ) in out


def test_measuring_says_how_far_it_is(capsys: Captured) -> None:
    told = []
    with listen(lambda task, done, total, facts: told.append((task, done, total, facts))):
        run(capsys, "devices")
    n = told[-1][2]
    assert told[:2] == [
        ("measuring", 0, n, {"now": "cpu copy"}),
        ("measuring", 1, n, {"now": "cpu product"}),
    ]
    assert told[-1] == ("measuring", n, n, {})


def test_devices_says_for_which_instructions_kernels_are_compiled(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "why_none", lambda: None)
    monkeypatch.setattr(kernels, "instructions", lambda: "AVX-512 VNNI")
    code, out, _ = run(capsys, "devices", "--no-measure")
    assert code == 0
    assert re.search(r"^kernels +│ yes +│ cpu, compiled for AVX-512 VNNI +│ *$", out, re.MULTILINE)


def test_devices_says_why_there_are_no_kernels_and_what_to_type(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "_numba_is_installed", lambda: False)
    monkeypatch.delenv("XPCLS_KERNELS", raising=False)
    code, out, _ = run(capsys, "devices", "--no-measure")
    assert code == 0
    row = r"^kernels +│ no +│ numba is not installed +│ pip install numba *$"
    assert re.search(row, out, re.MULTILINE)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("devices", ("--no-measure", "about a second")),
        ("compare", ("--device", "auto takes a CUDA GPU where one works and the images are not")),
        ("predict", ("--device", "auto takes a CUDA GPU where one works and the images are not")),
    ],
)
def test_the_help_says_what_auto_takes_and_what_is_measured(
    capsys: Captured, command: str, words: tuple[str, ...]
) -> None:
    _, out, _ = run(capsys, command, "--help")
    said = " ".join(re.sub("[│╭╮╰╯─]", " ", out).split())
    assert all(word in said for word in words)


def test_auto_keeps_small_images_on_the_cpu_and_says_why(capsys: Captured) -> None:
    taken = for_images(DeviceName.auto, CARD, 256, (8, 8, 3))
    assert taken is get_backend("cpu")
    said = capsys.readouterr()
    assert not said.out
    assert " ".join(said.err.split()) == (
        "auto: cpu, because 49,152 bytes of images (256 of 8 x 8 x 3 at a time) take longer to "
        "launch than to compute; --device cuda to insist"
    )


@pytest.mark.parametrize(
    ("device", "taken", "n", "shape"),
    [
        (DeviceName.auto, CARD, 256, (16, 16, 1)),  # exactly at the limit
        (DeviceName.auto, CARD, 256, (28, 28, 1)),  # the bundled digits
        (DeviceName.auto, CARD, 1, (300, 300, 3)),
        (DeviceName.cuda, CARD, 1, (8, 8, 1)),  # who insists is given the card
        (DeviceName.auto, get_backend("cpu"), 1, (8, 8, 1)),  # there is no card to explain away
        (DeviceName.cpu, get_backend("cpu"), 1, (8, 8, 1)),
    ],
)
def test_what_is_not_small_or_was_named_stays_where_it_is(
    capsys: Captured, device: DeviceName, taken: Backend, n: int, shape: tuple[int, ...]
) -> None:
    assert for_images(device, taken, n, shape) is taken
    assert capsys.readouterr().err == ""


def test_the_limit_is_one_byte_wide(capsys: Captured) -> None:
    assert for_images(DeviceName.auto, CARD, LAUNCH_BOUND, (1, 1, 1)) is CARD
    assert for_images(DeviceName.auto, CARD, LAUNCH_BOUND - 1, (1, 1, 1)) is not CARD
    assert "65,535 bytes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("models", "rows", "expected"),
    [
        (["nearest", "knn"], 4000, 4000),  # a search goes through all
        (["knn"], 60_000, 60_000),
        (["knn", "mlp"], 4000, BATCH),
        (["softmax"], 4000, BATCH),
        (["convnet"], 100, 100),
    ],
)
def test_training_takes_batches_and_a_search_takes_all(
    models: list[str], rows: int, expected: int
) -> None:
    assert at_a_time(models, rows) == expected
