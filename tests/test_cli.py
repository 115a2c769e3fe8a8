"""The command line as a user meets it: tables, files, one-line errors, exit codes."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xpcls import cli
from xpcls import compare as comparing
from xpcls.data import load_mnist5k, split

Captured = pytest.CaptureFixture[str]
DIGITS = load_mnist5k()


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    """A folder of 8 x 8 colour images in two classes that anything can tell apart."""
    rng = np.random.default_rng(0)
    for name, level in (("dark", 60), ("light", 190)):
        (tmp_path / "shapes" / name).mkdir(parents=True)
        for i in range(30):
            pixels = rng.integers(level - 40, level + 40, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "shapes" / name / f"{i:02}.png")
    return tmp_path / "shapes"


def run(capsys: Captured, *arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `xpcls ...`."""
    code = cli.run([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_compare_prints_a_row_for_each_model_and_writes_the_same_as_json(
    capsys: Captured, shapes: Path, tmp_path: Path
) -> None:
    file = tmp_path / "results.json"
    code, out, err = run(capsys, "compare", "--data", shapes, "--device", "cpu", "--json", file)
    assert code == 0
    assert "60 images of 8 x 8 x 3 in 2 classes; 48 for training, 6 for validation" in err
    report = json.loads(file.read_text())
    assert [row["model"] for row in report["models"]] == list(comparing.CANDIDATES)
    (opening,) = report["test_openings"]
    assert len(opening["models"]) == len(comparing.CANDIDATES)
    assert f"The test part was opened once, at {opening['time']}, when all 9 models" in out
    for row in report["models"]:
        (line,) = (line for line in out.splitlines() if line.startswith(f"{row['model']} "))
        cells = [cell.strip() for cell in line.split("│")]
        assert float(cells[2]) == pytest.approx(row["validation_accuracy"], abs=5e-5)
        assert float(cells[3]) == pytest.approx(row["test_accuracy"], abs=5e-5)
        assert row["test_accuracy"] > 0.8
        assert cells[-1] == row["device"] == "cpu"
        assert all(f"{name}={value}" in cells[1] for name, value in row["setting"].items())
    assert report["data"]["test"] == 6 and report["versions"]["numpy"] == np.__version__


def test_compare_takes_some_models_in_the_order_given(capsys: Captured, shapes: Path) -> None:
    code, out, _ = run(capsys, "compare", "--data", shapes, "--models", "softmax, nearest")
    assert code == 0
    assert re.findall(r"^(\w+) +│", out, re.MULTILINE) == ["model", "softmax", "nearest"][1:]


def test_one_seed_one_result(capsys: Captured, shapes: Path, tmp_path: Path) -> None:
    found = []
    for i in range(2):
        file = tmp_path / f"{i}.json"
        run(capsys, "compare", "--data", shapes, "--models", "hinge", "--seed", 3, "--json", file)
        (row,) = json.loads(file.read_text())["models"]
        found.append({name: row[name] for name in ("setting", "test_accuracy")})
    assert found[0] == found[1]


def test_what_compare_has_found_is_shown_when_it_is_interrupted(
    capsys: Captured, shapes: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    compare = comparing.compare

    def interrupted(*arguments):  # type: ignore[no-untyped-def]
        yield next(compare(*arguments))
        raise KeyboardInterrupt

    monkeypatch.setattr(comparing, "compare", interrupted)
    file = tmp_path / "results.json"
    code, out, err = run(capsys, "compare", "--data", shapes, "--json", file)
    assert code == 130
    assert re.search(r"^nearest +│ .* │ +1\.0000 │ +- │", out, re.MULTILINE) and "knn" not in out
    assert out.endswith("The test part was not opened.\n")
    assert err.endswith("xpcls: interrupted\n")
    report = json.loads(file.read_text())
    assert [row["model"] for row in report["models"]] == ["nearest"]
    assert report["models"][0]["test_accuracy"] is None and report["test_openings"] == []


@pytest.mark.parametrize("features", ["hog", "hue", "hog+hue", "pca"])
def test_models_are_compared_on_features(
    capsys: Captured, shapes: Path, tmp_path: Path, features: str
) -> None:
    file = tmp_path / "results.json"
    code, _, err = run(capsys, "compare", "--data", shapes, "--features", features, "--json", file)
    assert code == 0 and f"{features}: " in err and "numbers an image" in err
    report = json.loads(file.read_text())
    assert report["features"] == features
    names = [row["model"] for row in report["models"]]
    assert names == [name for name in comparing.CANDIDATES if name != "convnet"]
    assert all(0 <= row["test_accuracy"] <= 1 for row in report["models"])
    if features == "pca":  # classes differ in brightness, which neither edges nor hues see
        assert max(row["test_accuracy"] for row in report["models"]) > 0.8


@pytest.mark.filterwarnings("default::UserWarning")
def test_a_ledger_counts_the_openings_of_earlier_runs(
    capsys: Captured, shapes: Path, tmp_path: Path
) -> None:
    ledger = tmp_path / "openings.jsonl"
    base = ("compare", "--data", shapes, "--models", "nearest", "--ledger", ledger)
    _, out, _ = run(capsys, *base)
    assert "The test part was opened once, at" in out
    _, out, err = run(capsys, *base)
    assert "xpcls: note: the test set was first opened" in err and ".py" not in err
    assert "The test part was opened 2 times, first at" in out
    _, out, _ = run(capsys, *base, "--seed", 5)  # another seed, another test part
    assert "The test part was opened once, at" in out
    model = tmp_path / "model.xpcls"
    run(capsys, "train", "nearest", "--data", shapes, "--out", model)
    _, out, _ = run(capsys, "evaluate", model, "--data", shapes, "--ledger", ledger)
    assert "The test part was opened 3 times, first at" in out
    _, out, _ = run(capsys, "evaluate", model, "--data", shapes)
    assert "The test part was opened once, at" in out and "when the model was final" in out


def test_an_interrupted_run_does_not_claim_the_openings_of_others(
    capsys: Captured, shapes: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    base = ("compare", "--data", shapes, "--models", "nearest", "--ledger", tmp_path / "ledger")
    run(capsys, *base)
    compare = comparing.compare

    def interrupted(*arguments):  # type: ignore[no-untyped-def]
        yield next(compare(*arguments))
        raise KeyboardInterrupt

    monkeypatch.setattr(comparing, "compare", interrupted)
    code, out, _ = run(capsys, *base)
    assert code == 130
    assert out.endswith("The test part was not opened in this run; it was 1 time(s) before.\n")


@pytest.mark.parametrize("model", ["softmax", "hinge", "knn", "nearest", "mlp", "convnet"])
def test_a_model_is_trained_evaluated_and_asked_about_files(
    capsys: Captured, shapes: Path, tmp_path: Path, model: str
) -> None:
    file = tmp_path / "model.xpcls"
    code, out, _ = run(capsys, "train", model, "--data", shapes, "--out", file)
    assert code == 0 and "validation accuracy 1.0000" in out
    code, out, _ = run(capsys, "evaluate", file, "--data", shapes)
    assert code == 0 and "accuracy on 6 images (test): 1.0000" in out
    assert re.search(r"^dark +│ +3 │ +1\.0000", out, re.MULTILINE)
    images = [shapes / "dark" / "00.png", shapes / "light" / "07.png"]
    code, out, _ = run(capsys, "predict", file, *images)
    assert code == 0
    answers = [
        line.removeprefix(f"{path}: ") for path, line in zip(images, out.splitlines(), strict=True)
    ]
    assert [answer.split()[0] for answer in answers] == ["dark", "light"]
    if model != "hinge":
        assert all(0.5 < float(answer.split()[1]) <= 1 for answer in answers)


def test_predict_resizes_only_when_it_is_told_to(
    capsys: Captured, shapes: Path, tmp_path: Path
) -> None:
    file, large = tmp_path / "model.xpcls", tmp_path / "large.png"
    run(capsys, "train", "softmax", "--data", shapes, "--out", file)
    Image.fromarray(np.full((20, 30, 3), 200, dtype=np.uint8)).save(large)
    code, out, err = run(capsys, "predict", file, large)
    assert code == 2 and not out
    assert err == (
        f"xpcls: {large} has 20 x 30 pixels, but the model was trained on 8 x 8; add --resize\n"
    )
    code, out, _ = run(capsys, "predict", file, large, "--resize")
    assert code == 0 and out.startswith(f"{large}: light")


def test_hyper_parameters_can_be_set(capsys: Captured, shapes: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.xpcls"
    code, out, _ = run(
        capsys, "train", "hinge", "--data", shapes, "--out", file,
        "--set", "epochs=3", "--set", "l2=0.01", "--set", "optimizer=adam",
    )  # fmt: skip
    assert code == 0
    assert "epochs=3" in out and "l2=0.01" in out and "optimizer='adam'" in out


def test_the_layers_of_a_network_can_be_set(capsys: Captured, shapes: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.xpcls"
    layers = "layers=(('conv', 3), 'relu', ('dense', 5))"
    base = ("train", "convnet", "--data", shapes, "--out", file, "--set")
    code, out, _ = run(capsys, *base, layers, "--set", "augment=('flip',)")
    assert code == 0 and "('dense', 5)" in out and "augment=('flip',)" in out
    code, _, err = run(capsys, *base, "layers=('rleu',)")
    assert code == 2 and err.startswith("xpcls: layers[0] is 'rleu', expected one of 'conv'")
    assert err.count("\n") == 1


def test_networks_are_checked(capsys: Captured, shapes: Path) -> None:
    code, out, _ = run(capsys, "check", "--models", "mlp,convnet", "--data", shapes)
    assert code == 0
    for model in ("mlp", "convnet"):
        for name in ("initial loss", "gradient", "20 by heart"):
            assert re.search(rf"^{model} +│ {name} +│ ok", out, re.MULTILINE), (model, name)


def test_training_that_is_interrupted_saves_what_it_has_learnt(
    capsys: Captured, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xpcls import training

    epoch = training._epoch
    seen = []

    def interrupted(*arguments):  # type: ignore[no-untyped-def]
        seen.append(1)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return epoch(*arguments)

    monkeypatch.setattr(training, "_epoch", interrupted)
    file = tmp_path / "model.xpcls"
    code, out, err = run(capsys, "train", "softmax", "--data", shapes, "--out", file)
    assert code == 130
    assert "saving what has been learnt so far" in err and "validation accuracy" in out
    assert run(capsys, "evaluate", file, "--data", shapes)[0] == 0


WRONG: list[tuple[str, str]] = [
    ("compare --data /no/such/place", "/no/such/place does not exist"),
    ("compare --models knn,svn", "--models names 'svn', expected some of: nearest, knn"),
    ("compare --models ,", "--models is empty"),
    ("compare --features hogs", "--features is 'hogs', expected one of: raw, hog, hue, hog+hue"),
    ("compare --features hue", "features is 'hue', but the images have 1 channel(s)"),
    ("compare --features pca --models convnet", "--models names 'convnet', expected some of:"),
    ("compare --ledger /no/such/place/file", "there is no folder /no/such/place"),
    ("compare --device gpu", "'gpu' is not one of 'auto', 'cpu', 'cuda'"),
    ("compare --seed -1", "--seed"),
    ("compare --seed one", "--seed"),
    ("compare --json /no/such/place/file.json", "there is no folder /no/such/place"),
    ("compare surplus", "surplus"),
    ("campare", "campare"),
    ("train svm --out model.xpcls", "MODEL is 'svm', expected one of: nearest, knn, hinge"),
    ("train softmax", "--out"),
    ("train softmax --out /no/such/place/model", "there is no folder /no/such/place"),
    ("train softmax --out model.xpcls --set l2", "--set is 'l2', expected NAME=VALUE"),
    ("train softmax --out model.xpcls --set lambda=1", "Invalid parameter 'lambda'"),
    (
        "train softmax --out model.xpcls --set l2=-1",
        "l2 is -1, expected a finite number of at least 0",
    ),
    ("train knn --out model.xpcls --set n_neighbors=0", "n_neighbors is 0"),
    ("evaluate no-such-model", "no-such-model"),
    ("evaluate m --part train --ledger l", "--ledger is for the test part, and --part is train"),
    ("compare --json .", "--json is ., which is a folder; give the name of a file"),
    ("train softmax --out .", "--out is ., which is a folder"),
    ("evaluate {readme}", "README"),
    ("predict no-such-model image.png", "no-such-model"),
    ("predict", "MODEL_FILE"),
]


@pytest.mark.parametrize(("command", "sentence"), WRONG, ids=[command for command, _ in WRONG])
def test_what_is_wrong_is_said_in_one_line_with_exit_code_2(
    capsys: Captured, command: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    readme = tmp_path / "README"
    readme.write_text("No model, but text that is long enough to be taken for the head of one.")
    code, out, err = run(capsys, *command.format(readme=readme).split())
    assert code == 2 and not out
    lines = err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("xpcls: ") and sentence in lines[0]
    assert not (tmp_path / "model.xpcls").exists()


def test_an_image_that_is_none_is_named(capsys: Captured, shapes: Path, tmp_path: Path) -> None:
    file, text = tmp_path / "model.xpcls", tmp_path / "text.png"
    run(capsys, "train", "softmax", "--data", shapes, "--out", file)
    text.write_text("not an image")
    others = [shapes / "dark" / "00.png", shapes / "light" / "07.png"]
    code, out, err = run(capsys, "predict", file, *others, text, others[0])
    assert code == 2 and len(err.splitlines()) == 1 and str(text) in err
    assert [line.split()[1] for line in out.splitlines()] == ["dark", "light"]
    code, out, err = run(capsys, "predict", file, tmp_path / "none.png")
    assert code == 2 and not out
    assert err == f"xpcls: {tmp_path / 'none.png'}: no such file or directory\n"


@pytest.mark.parametrize(
    "command",
    [
        "compare",
        "train",
        "predict",
        "evaluate",
        "robustness",
        "check",
        "parity",
        "devices",
        "lecture",
    ],
)
def test_every_command_explains_itself(capsys: Captured, command: str) -> None:
    code, out, _ = run(capsys, command, "--help")
    assert code == 0 and f"xpcls {command}" in out
    code, out, _ = run(capsys, "--help")
    assert code == 0 and f" {command} " in out


def test_without_a_command_the_help_is_shown(capsys: Captured) -> None:
    code, out, err = run(capsys)
    assert code == 0 and "compare" in out and not err


def test_parity_says_why_there_is_nothing_to_compare(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    import xpcls_backends

    monkeypatch.setattr(xpcls_backends, "usable", lambda: ["numpy"])
    code, out, _ = run(capsys, "parity")
    assert code == 0 and "Only numpy works here" in out


def test_help_imports_neither_numpy_nor_an_algorithm(fresh_python: Callable[..., str]) -> None:
    printed = fresh_python(
        "import sys; from xpcls.cli import run; run(['--help']);"
        "print([m for m in ('numpy', 'cupy', 'sklearn', 'xpcls.losses') if m in sys.modules])"
    )
    assert printed.strip().splitlines()[-1] == "[]"


def test_a_real_ctrl_c_ends_in_one_line(shapes: Path) -> None:
    """A whole process, interrupted once it has said what it works on."""
    import xpcls
    import xpcls_backends

    homes = [Path(module.__file__).parents[1] for module in (xpcls, xpcls_backends)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, homes))}
    command = [sys.executable, "-m", "xpcls", "compare"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=120)
    assert first.startswith("mnist5k: 5000 images")
    assert process.returncode == 130
    assert rest.splitlines()[-1] == "xpcls: interrupted" and "Traceback" not in rest


def test_the_bundled_digits_are_told_apart(capsys: Captured, tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    assert run(capsys, "compare", "--json", file)[0] == 0
    found = {row["model"]: row["test_accuracy"] for row in json.loads(file.read_text())["models"]}
    assert min(found["nearest"], found["knn"]) > 0.92
    assert min(found.values()) > 0.86
    assert len(split(DIGITS, random_state=0).test) == 500
