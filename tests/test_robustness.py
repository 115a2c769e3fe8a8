"""The robustness report: its numbers, its table, its errors, and its command."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from xpcls import KNeighborsClassifier, LinearClassifier, cli, pixels, progress
from xpcls import robustness as module
from xpcls.data import make_shapes
from xpcls.perturbations import PERTURBATIONS, brightness, flip, mask_patch
from xpcls.robustness import Robustness, Row, robustness, robustness_rows
from xpcls_backends import Backend, host_generator, to_host

DATA = make_shapes(150, size=12, occlusion=0.0, clutter=0.0, pose=0.2)
X, Y = DATA.images[:100], DATA.labels[:100]
IMAGES, LABELS = DATA.images[100:], DATA.labels[100:]
NEAREST = KNeighborsClassifier(1).fit(X, Y)
SOFTMAX = pixels.fit_images(LinearClassifier("softmax", epochs=20, random_state=0), X, Y)
MODELS = {"nearest": NEAREST, "softmax": SOFTMAX}


def accuracy(model: Any, images: Any) -> float:
    """How often the predictions, one at a time, are right."""
    right = sum(model.predict(images[i : i + 1])[0] == LABELS[i] for i in range(len(LABELS)))
    return float(right) / len(LABELS)


def test_each_accuracy_is_that_of_the_perturbed_images() -> None:
    report = robustness(MODELS, IMAGES, LABELS, random_state=4)
    assert [row.model for row in report.rows] == ["nearest", "softmax"]
    for row in report.rows:
        model = MODELS[row.model]
        assert row.accuracy == pytest.approx(accuracy(model, IMAGES))
        assert list(row.perturbed) == list(PERTURBATIONS)
        for name, found in row.perturbed.items():
            assert found == pytest.approx(accuracy(model, PERTURBATIONS[name](IMAGES, 4)))
    assert report.rows[0].perturbed["mask 0.5"] < report.rows[0].accuracy


def test_backends_agree(backend: Backend) -> None:
    images = backend.asarray(IMAGES)
    nearest = KNeighborsClassifier(1).fit(backend.asarray(X), backend.asarray(Y))
    found = robustness(nearest, images, backend.asarray(LABELS), random_state=4)
    (row,), (expected,) = found.rows, robustness(NEAREST, IMAGES, LABELS, random_state=4).rows
    assert row.model == expected.model == "KNeighborsClassifier"
    assert row.accuracy == expected.accuracy
    assert row.perturbed == pytest.approx(expected.perturbed, abs=1 / len(LABELS) + 1e-9)


def test_images_may_be_floats(backend: Backend) -> None:
    train, held_out = (backend.asarray((x / 255).astype("float32")) for x in (X, IMAGES))
    nearest = KNeighborsClassifier(1).fit(train, backend.asarray(Y))
    (row,) = robustness(nearest, held_out, backend.asarray(LABELS)).rows
    (expected,) = robustness(NEAREST, IMAGES, LABELS).rows
    assert row.accuracy == expected.accuracy
    assert row.perturbed == pytest.approx(expected.perturbed, abs=0.05)


def test_all_models_see_the_same_pixels_and_a_perturbation_does_not_depend_on_the_others() -> None:
    seen: dict[str, list[Any]] = {}

    class Watching:
        def __init__(self, name: str) -> None:
            self.name = name

        def score(self, images: Any, labels: Any) -> float:
            seen.setdefault(self.name, []).append(images)
            return 1.0

    for random_state in (3, None, host_generator(0)):
        seen.clear()
        robustness({n: Watching(n) for n in "ab"}, IMAGES, LABELS, random_state=random_state)
        assert len(seen["a"]) == 1 + len(PERTURBATIONS)
        for one, other in zip(seen["a"], seen["b"], strict=True):
            assert np.array_equal(one, other)
    seen.clear()
    robustness(Watching("a"), IMAGES, LABELS, ["noise 0.1", "mask 0.25"], random_state=3)
    assert np.array_equal(seen["a"][2], mask_patch(IMAGES, 0.25, random_state=3))


def test_perturbations_are_chosen_by_name_or_given_as_functions() -> None:
    (row,) = robustness(NEAREST, IMAGES, LABELS, ["flip", "rotate 15"]).rows
    assert list(row.perturbed) == ["flip", "rotate 15"]
    own = {"dark": lambda images, seed: brightness(images, -0.7), "mirror": PERTURBATIONS["flip"]}
    (row,) = robustness(NEAREST, IMAGES, LABELS, own).rows
    assert row.perturbed == {
        "dark": accuracy(NEAREST, brightness(IMAGES, -0.7)),
        "mirror": accuracy(NEAREST, flip(IMAGES)),
    }


def test_the_table_holds_the_numbers_of_the_rows() -> None:
    report = robustness(MODELS, IMAGES, LABELS, ["flip", "brightness -0.25"])
    lines = str(report).splitlines()
    assert lines[0].split() == ["perturbation", "nearest", "softmax"]
    assert [line[:16].rstrip() for line in lines[1:]] == ["none", "flip", "brightness -0.25"]
    assert len({len(line) for line in lines}) == 1
    for column, row in enumerate(report.rows, start=-2):
        found = [float(line.split()[column]) for line in lines[1:]]
        assert found == pytest.approx([row.accuracy, *row.perturbed.values()], abs=5e-5)


def test_rows_come_as_they_are_found_and_models_when_they_are_asked_for() -> None:
    asked = []

    def models() -> Iterator[tuple[str, Any]]:
        for name, model in MODELS.items():
            asked.append(name)
            yield name, model

    found = robustness_rows(models(), IMAGES, LABELS, ["flip"])
    assert asked == []
    rows = [next(found), next(found)]
    assert [(row.model, list(row.perturbed)) for row in rows] == [
        ("nearest", []),
        ("nearest", ["flip"]),
    ]
    assert asked == ["nearest"]
    assert [(row.model, list(row.perturbed)) for row in found] == [
        ("softmax", []),
        ("softmax", ["flip"]),
    ]


def test_what_was_not_measured_is_a_dash() -> None:
    whole, part = Row("a", 0.5, {"flip": 0.25, "dark": 0.125}), Row("b", 1.0, {"flip": 0.75})
    assert Robustness((part, whole)).table.splitlines() == [
        "perturbation       b       a",
        "none          1.0000  0.5000",
        "flip          0.7500  0.2500",
        "dark               -  0.1250",
    ]


def test_progress_is_told_to_the_end() -> None:
    told: list[tuple[str, int, int]] = []
    with progress.listen(lambda task, done, total, facts: told.append((task, done, total))):
        robustness({"nearest": NEAREST}, IMAGES, LABELS, ["flip"])
    mine = [(done, total) for task, done, total in told if task == "nearest under perturbations"]
    assert mine == [(0, 2), (1, 2), (2, 2)]


def no_images(images: Any, seed: Any) -> Any:
    return None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (({}, IMAGES, LABELS), r"^models is \{\}, expected a fitted classifier or a mapping"),
        ((None, IMAGES, LABELS), "^models is None, expected"),
        (("softmax", IMAGES, LABELS), "^models is 'softmax', expected"),
        (({"a": 3}, IMAGES, LABELS), r"^models\['a'\] is 3, expected a classifier"),
        ((NEAREST, IMAGES, LABELS, ["blur"]), "^perturbations names 'blur', expected some of: 'ma"),
        ((NEAREST, IMAGES, LABELS, [3]), "^perturbations names 3, expected some of"),
        ((NEAREST, IMAGES, LABELS, "flip"), "^perturbations is 'flip', expected names such as"),
        ((NEAREST, IMAGES, LABELS, 7), "^perturbations is 7, expected names such as"),
        ((NEAREST, IMAGES, LABELS, ["flip"], "a"), "^random_state is 'a', expected"),
        ((NEAREST, IMAGES[:, :5], LABELS), "X has 180 features, but KNeighborsClassifier is"),
        ((NEAREST, IMAGES, LABELS[1:]), "inconsistent numbers of samples"),
        ((NEAREST, IMAGES.reshape(50, -1), LABELS), r"^images has shape \(50, 432\), expected"),
        ((KNeighborsClassifier(), IMAGES, LABELS), "not fitted"),
        (
            (NEAREST, IMAGES, LABELS, {"half": lambda images, seed: images[:3]}),
            r"^the result of perturbations\['half'\] has shape \(3, 12, 12, 3\) and dtype uint8, "
            r"expected those of images, \(50, 12, 12, 3\) and uint8",
        ),
        (
            (NEAREST, IMAGES, LABELS, {"gone": no_images}),
            r"^the result of perturbations\['gone'\] is None, expected images",
        ),
        (
            (NEAREST, IMAGES, LABELS, {"none": no_images}),
            r"^perturbations has 'none': .* expected names, other than 'none', of functions",
        ),
        ((NEAREST, IMAGES, LABELS, {"a": 3}), r"^perturbations has 'a': 3, expected names"),
        (
            ([NEAREST], IMAGES, LABELS),
            r"^models holds KNeighborsClassifier\(.*\), expected pairs of a name and a classifier",
        ),
        (
            (iter(()), IMAGES, LABELS),
            "^models is <tuple_iterator .*, expected a fitted classifier or a mapping",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(arguments: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message) as caught:
        robustness(*arguments)
    assert "\n" not in str(caught.value)


def test_the_images_of_a_perturbation_stay_where_they_are(fake: Backend) -> None:
    images, labels = fake.asarray(IMAGES), fake.asarray(LABELS)
    nearest = KNeighborsClassifier(1).fit(images, labels)
    with pytest.raises(TypeError, match=r"perturbations\['home'\] and images live in different"):
        robustness(nearest, images, labels, {"home": lambda images, seed: to_host(images)})


# --- the command ------------------------------------------------------------------------------

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of 8 x 8 colour images in two classes that anything can tell apart."""
    rng = np.random.default_rng(0)
    for name, level in (("dark", 60), ("light", 190)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(30):
            image = rng.integers(level - 40, level + 40, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(image).save(tmp_path / "data" / name / f"{i:02}.png")
    return tmp_path / "data"


def run(capsys: Captured, *arguments: object) -> tuple[int, str, str]:
    code = cli.run(["robustness", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_command_prints_a_table_and_writes_the_same_as_json(
    capsys: Captured, folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "results.json"
    code, out, err = run(
        capsys, "--data", folder, "--models", "nearest, softmax", "--json", file, "--device", "cpu"
    )
    assert code == 0
    assert "48 for training, 6 for validation" in err and "perturbed: the validation part" in err
    report = json.loads(file.read_text())
    assert report["perturbed"] == "validation" and report["data"]["validation"] == 6
    cells = [[cell.strip() for cell in re.split("[│┃]", line)] for line in out.splitlines()]
    assert cells[0] == ["perturbation", "nearest", "softmax"]
    assert [line[0] for line in cells[2:]] == ["none", *PERTURBATIONS]
    for i, row in enumerate(report["models"], start=1):
        assert row["model"] == cells[0][i] and row["accuracy"] == 1.0
        found = [row["accuracy"], *row["perturbed"].values()]
        assert [float(line[i]) for line in cells[2:]] == pytest.approx(found, abs=5e-5)


def test_the_picture_has_a_row_for_each_perturbation(
    capsys: Captured, folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "picture.png"
    code, _, err = run(capsys, "--data", folder, "--models", "nearest", "--picture", file)
    assert code == 0 and f"wrote {file}" in err
    with Image.open(file) as picture:
        pixels = np.asarray(picture)
    height = 8 * 8 + 2  # an image of 8 pixels, enlarged to 64, and a gap
    assert pixels.shape == (height * (1 + len(PERTURBATIONS)), 130 + 6 * height, 3)
    plain, mirrored = (
        pixels[height * i : height * i + 64, 130 : 130 + 64]
        for i in (0, 1 + list(PERTURBATIONS).index("flip"))
    )
    assert np.array_equal(mirrored, plain[:, ::-1]) and not np.array_equal(mirrored, plain)


def test_what_is_found_is_shown_when_it_is_interrupted(
    capsys: Captured, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_rows = module.robustness_rows

    def interrupted(*arguments: Any, **keywords: Any) -> Iterator[Any]:
        yield next(all_rows(*arguments, **keywords))
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "robustness_rows", interrupted)
    file = tmp_path / "results.json"
    code, out, err = run(capsys, "--data", folder, "--json", file)
    assert code == 130
    assert "nearest" in out and "knn" not in out
    assert err.endswith("xpcls: interrupted\n")
    assert [row["model"] for row in json.loads(file.read_text())["models"]] == ["nearest"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("--models svm", "--models names 'svm', expected some of: nearest, knn, hinge"),
        ("--picture picture.jpg", "--picture is picture.jpg, expected a name that ends in .png"),
        ("--picture /no/such/place/a.png", "there is no folder /no/such/place"),
        ("--json /no/such/place/a.json", "there is no folder /no/such/place"),
        ("--json .", "--json is ., which is a folder; give the name of a file"),
        ("--data /no/such/place", "/no/such/place does not exist"),
    ],
)
def test_what_is_wrong_ends_in_one_line_and_exit_code_2(
    capsys: Captured, options: str, sentence: str
) -> None:
    code, out, err = run(capsys, *options.split())
    assert code == 2 and not out
    assert len(err.splitlines()) == 1 and sentence in err
