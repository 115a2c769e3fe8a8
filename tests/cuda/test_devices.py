"""`xpcls devices` and --device auto where cards work: those of the stand-in for CuPy."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.cuda import fakecupy
from xpcls import cli
from xpcls.cli import _auto, _models
from xpcls.cli._options import DeviceName
from xpcls.lecture import CLAIMS
from xpcls_backends import get_backend, machine

if not fakecupy.installed():
    pytest.skip("needs --backend fakecupy", allow_module_level=True)

from tests.cuda.fakecupy import driver

Captured = pytest.CaptureFixture[str]

SENTENCE = "auto: cpu, because "
FIGURE = r"[\d,.]+(?:e-\d+)?"


def run(capsys: Captured, *arguments: object) -> tuple[int, str, str]:
    code = cli.run([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Little is copied, once, and kernels are not simulated, which takes long."""
    monkeypatch.setenv("XPCLS_KERNELS", "off")
    monkeypatch.setattr(machine, "COPIED", 2**16)
    monkeypatch.setattr(machine, "SMALLEST", 16)
    monkeypatch.setattr(machine, "LARGEST", 32)
    monkeypatch.setattr(machine, "PATIENCE", 0.0)
    yield


@pytest.fixture
def two_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "COUNT", 2)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A folder of 8 x 8 colour images in two classes."""
    rng = np.random.default_rng(0)
    for name, level in (("dark", 60), ("light", 190)):
        (tmp_path / "small" / name).mkdir(parents=True)
        for i in range(20):
            pixels = rng.integers(level - 40, level + 40, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "small" / name / f"{i:02}.png")
    return tmp_path / "small"


def broken_at(method: str, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Card number 1 fails where that method of its Device is called."""
    works = getattr(driver.Device, method)

    def fails(self: Any, *args: Any) -> Any:
        if self.id == 1:
            raise error
        return works(self, *args)

    monkeypatch.setattr(driver.Device, method, fails)


def measured(out: str, label: str) -> re.Match[str] | None:
    return re.search(rf"^{label} +│ +\S+ of \S+ │ +{FIGURE} │ +{FIGURE} │ (.+?) *$", out, re.M)


def test_a_card_has_a_row_with_its_name_memory_software_and_figures(capsys: Captured) -> None:
    code, out, err = run(capsys, "devices")
    assert code == 0 and not err
    assert re.search(r"^cupy +│ yes +│ cuda:0 a stand-in for a GPU +│ *$", out, re.M)
    row = measured(out, "cuda:0")
    assert row is not None and re.search(r"^cuda:0 +│ +8\.6 of 8\.6 ", out, re.M)
    assert re.fullmatch(
        r"CuPy 1\d\.\d+\.\d+, CUDA 13\.0, driver (\d[\d.]+ )?for CUDA 13\.0", row[1]
    )
    assert measured(out, "cpu") is not None and "cuda:1" not in out
    assert "--device auto takes cupy, and numpy for less than 65,536 bytes of images" in out


def test_all_cards_are_listed(capsys: Captured, two_cards: None) -> None:
    _, out, _ = run(capsys, "devices")
    assert len(re.findall(r"^cupy +│ yes +│ cuda:[01] a stand-in", out, re.M)) == 2
    assert measured(out, "cuda:0") is not None and measured(out, "cuda:1") is not None


@pytest.mark.parametrize("speed", [machine.copy_speed, machine.product_speed])
def test_the_clock_stops_when_the_card_has_done_its_work(speed: Any) -> None:
    with fakecupy.trace() as t:
        assert speed(get_backend("cuda")) > 0
    waits = [name.startswith("wait: Device.synchronize") for name in t.names]
    assert t.syncs == sum(waits) and waits[-1]
    first, last = waits.index(True), len(waits) - 1
    assert not all(waits[first:last])  # what is timed stands between two waits


def test_a_card_that_fails_in_the_middle_gets_one_line(
    capsys: Captured, two_cards: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = driver.CUDARuntimeError(700, "cudaErrorIllegalAddress: illegal access\nmore of it")
    broken_at("synchronize", error, monkeypatch)
    code, out, err = run(capsys, "devices")
    assert code == 0 and not err
    assert measured(out, "cuda:0") is not None and measured(out, "cuda:1") is None
    (line,) = (line for line in out.splitlines() if "was not measured" in line)
    assert line == (
        "cuda:1 was not measured: cudaErrorIllegalAddress: illegal access. "
        "See whether nvidia-smi shows the card, or use device 'cpu'."
    )


def test_a_card_on_which_no_kernel_runs_is_not_usable(
    capsys: Captured, two_cards: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken_at(
        "__enter__", driver.CUDARuntimeError(46, "cudaErrorDevicesUnavailable: busy"), monkeypatch
    )
    code, out, _ = run(capsys, "devices")
    assert code == 0
    assert re.search(r"^cupy +│ yes +│ cuda:0", out, re.M)
    row = r"^cupy +│ no +│ cuda:1 cudaErrorDevicesUnavailable: busy +│ See whether nvidia-smi shows"
    assert re.search(row, out, re.M)
    assert not re.search("^cuda:1", out, re.M)


def test_a_card_whose_memory_is_taken_gets_one_line(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "COPIED", 2**22)
    monkeypatch.setattr(machine, "_card_memory", lambda: (5 * 10**6, 10**9))
    _, out, _ = run(capsys, "devices")
    assert (
        "\ncuda:0 was not measured: measuring takes 8 MB of memory, and 5 are free. "
        "Free some of its memory (nvidia-smi shows who holds it), or use device 'cpu'.\n"
    ) in out
    assert measured(out, "cpu") is not None


def test_memory_that_runs_out_meanwhile_gets_one_line(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ones(*args: Any, **keywords: Any) -> None:
        raise driver.OutOfMemoryError("Out of memory allocating 268,435,456 bytes.\nmore")

    monkeypatch.setattr(get_backend("cuda").xp, "ones", ones)
    code, out, err = run(capsys, "devices")
    assert code == 0 and not err
    assert (
        "\ncuda:0 was not measured: Out of memory allocating 268,435,456 bytes. "
        "Free some of its memory (nvidia-smi shows who holds it), or use device 'cpu'.\n"
    ) in out


def test_auto_trains_small_images_on_the_cpu_and_says_why(
    capsys: Captured, small: Path, tmp_path: Path
) -> None:
    base = ("compare", "--data", small, "--models", "nearest,softmax")
    code, out, err = run(capsys, *base)
    assert code == 0 and out.count("│ cpu") == 2
    assert f"{SENTENCE}6,144 bytes of images (32 of 8 x 8 x 3 at a time) take longer" in err
    code, out, err = run(capsys, *base, "--device", "cuda")
    assert code == 0 and out.count("│ cuda:0") == 2 and SENTENCE not in err
    code, out, err = run(capsys, *base, "--device", "cpu")
    assert code == 0 and out.count("│ cpu") == 2 and SENTENCE not in err


def test_auto_takes_the_card_for_the_bundled_digits(capsys: Captured, tmp_path: Path) -> None:
    base = ("train", "softmax", "--set", "epochs=1", "--out", tmp_path / "model.xpcls")
    with fakecupy.trace() as t:
        code, _, err = run(capsys, *base)
    assert code == 0 and SENTENCE not in err and t.launches > 100


@pytest.mark.parametrize("model", ["softmax", "knn"])
def test_auto_decides_anew_where_a_model_is_used(
    capsys: Captured, small: Path, tmp_path: Path, model: str
) -> None:
    file = tmp_path / "model.xpcls"
    code, _, err = run(capsys, "train", model, "--data", small, "--out", file)
    assert code == 0 and f"{SENTENCE}6,144 bytes" in err
    code, _, err = run(capsys, "train", model, "--data", small, "--out", file, "--device", "cuda")
    assert code == 0 and SENTENCE not in err
    answers = []
    for device in ("auto", "cuda"):
        code, out, err = run(capsys, "predict", file, small / "dark" / "00.png", "--device", device)
        assert code == 0 and (f"{SENTENCE}192 bytes of images (1 of" in err) == (device == "auto")
        answers.append(out.split()[1])
        code, out, err = run(
            capsys, "evaluate", file, "--data", small, "--part", "all", "--device", device
        )
        assert code == 0 and (f"{SENTENCE}7,680 bytes" in err) == (device == "auto")
        assert "accuracy on 40 images (all): 1.0000" in out
    assert answers == ["dark", "dark"]


def test_auto_says_so_in_the_other_commands_too(capsys: Captured, small: Path) -> None:
    for command in ("robustness", "check"):
        code, _, err = run(capsys, command, "--data", small, "--models", "softmax")
        assert code == 0 and SENTENCE in err


def test_auto_takes_the_card_for_the_claims_that_work_on_much(capsys: Captured) -> None:
    code, _, err = run(capsys, "lecture", "margin")
    assert code == 0
    assert "auto: cpu for margin, because fewer than 65,536 numbers at a time take longer" in err
    with fakecupy.trace() as t:
        code, _, err = run(capsys, "lecture", "margin", "--device", "cuda")
    assert code == 0 and "auto:" not in err and t.launches > 10
    cuda, claims = get_backend("cuda"), list(CLAIMS.values())
    for device, expected in (
        (DeviceName.auto, {"features", "curse", "two-headed-horse"}),
        (DeviceName.cuda, set(CLAIMS)),
    ):
        places = _auto.for_claims(device, cuda, claims)
        assert {c.name for c, p in zip(claims, places, strict=True) if p is cuda} == expected
    assert capsys.readouterr().err.count("auto: cpu for ") == 1


def test_images_go_to_the_card_a_block_at_a_time(
    capsys: Captured, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "model.xpcls"
    run(capsys, "train", "softmax", "--data", small, "--out", file)
    told = []
    for images, blocks in ((10**6, 1), (5, 8)):
        monkeypatch.setattr(_models, "BLOCK", images * 8 * 8 * 3)
        with fakecupy.trace() as t:
            arguments = ("--data", small, "--part", "all", "--device", "cuda")
            told.append(run(capsys, "evaluate", file, *arguments))
        assert t.names.count("to device: set()") == blocks
    assert told[0] == told[1] and "accuracy on 40 images (all): 1.0000" in told[0][1]
    with fakecupy.trace() as t:
        run(capsys, "predict", file, *sorted((small / "dark").iterdir()), "--device", "cuda")
    assert t.names.count("to device: set()") == 20
