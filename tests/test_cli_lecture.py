"""`xpcls lecture` as a user meets it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from xpcls import cli, lecture
from xpcls.lecture import CLAIMS, Assertion, Claim

Captured = pytest.CaptureFixture[str]
QUICK = ("unit-balls", "rotation", "margin")


def run(capsys: Captured, *arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `xpcls lecture ...`."""
    code = cli.run(["lecture", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three claims, the second of which fails."""
    claims: dict[str, Any] = {name: CLAIMS[name] for name in QUICK}

    def broken(*given: Any) -> lecture.Finding:
        from dataclasses import replace

        found = CLAIMS["rotation"].measure(*given)
        return replace(found, assertions=(*found.assertions, Assertion("weight", 3.0, high=1.0)))

    claims["rotation"] = Claim("rotation", "All is well", broken)
    monkeypatch.setattr(lecture, "CLAIMS", claims)


def test_without_a_name_the_claims_are_listed(capsys: Captured) -> None:
    code, out, _ = run(capsys)
    assert code == 0
    for claim in CLAIMS.values():
        assert re.search(rf"^{claim.name} +│ {re.escape(claim.title)} *$", out, re.MULTILINE)


def test_a_claim_is_explained_run_and_drawn(capsys: Captured, tmp_path: Path) -> None:
    file = tmp_path / "balls.svg"
    code, out, err = run(capsys, "unit-balls", "--device", "cpu", "--picture", file)
    assert code == 0 and f"wrote {file}" in err
    claim = CLAIMS["unit-balls"]
    finding = claim.run("cpu")
    assert out.startswith(f"{claim.title}\n\n{claim.explanation}\n")
    assert all(sentence in out for sentence in finding.sentences)
    assert re.search(r"^l1 +│ +0 │ +0 │ +2\.03 │ +2$", out, re.MULTILINE)
    for assertion in finding.assertions:
        line = next(line for line in out.splitlines() if line.startswith(assertion.what))
        assert assertion.limit in line and line.rstrip().endswith("ok")
    assert ElementTree.fromstring(file.read_text("utf-8")).tag.endswith("svg")


def test_the_seed_counts(capsys: Captured) -> None:
    outputs = [run(capsys, "rotation", "--seed", seed)[1] for seed in (1, 1, 2)]
    assert outputs[0] == outputs[1] != outputs[2]


def test_what_fails_is_said_shown_and_drawn_with_exit_code_1(
    capsys: Captured, few: None, tmp_path: Path
) -> None:
    file = tmp_path / "failed.svg"
    code, out, _ = run(capsys, "rotation", "--picture", file)
    assert code == 1 and file.exists()
    assert re.search(r"^weight +│ +3 │ at most 1 +│ FAILED", out, re.MULTILINE)
    assert "FAILED: weight is 3, expected at most 1: 2 too much" in out
    assert "A random rotation" not in out  # what follows where the claim holds


def test_all_are_run_though_one_fails_and_drawn_into_a_folder(
    capsys: Captured, few: None, tmp_path: Path
) -> None:
    folder = tmp_path / "pictures"
    code, out, _ = run(capsys, "all", "--picture", folder)
    assert code == 1
    found = dict(re.findall(r"^(?:ok|(FAILED)) +([a-z-]+): ", out, re.MULTILINE))
    assert set(re.findall(r"^(?:ok|FAILED) +([a-z-]+): ", out, re.MULTILINE)) == set(QUICK)
    assert found["FAILED"] == "rotation" and "2 of 3 claims hold" in out
    assert re.search(r"^ +weight is 3, expected at most 1: 2 too much$", out, re.MULTILINE)
    assert "A random rotation" not in out and "From a score of 1.5 on" in out
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"{n}.svg" for n in QUICK)
    assert run(capsys, "all", "--picture", folder)[0] == 1  # the folder may be there already


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("gravity", "NAME is 'gravity', expected all or one of: unit-balls, rotation"),
        ("margin --picture m.png", "--picture is 'm.png', but pictures are SVG: give a name that"),
        ("margin --picture no/such/m.svg", "--picture is no/such/m.svg, but there is no folder"),
        (
            "margin --picture here",
            "--picture is here, a folder; for one claim it is a file: give h",
        ),
        ("all --picture file", "--picture is file, a file; for all it is a folder"),
        (
            "all --picture all.svg",
            "--picture is all.svg, but for all it is a folder, one file a cl",
        ),
        ("--picture m.svg", "--picture is m.svg, but of which claim? Give a NAME, or all"),
        ("margin --device tpu", "'tpu' is not one of 'auto', 'cpu', 'cuda'"),
        ("margin --seed -1", "--seed"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_exit_code_2(
    capsys: Captured,
    arguments: str,
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "here").mkdir()
    code, out, err = run(capsys, *arguments.split())
    assert code == 2 and not out
    lines = err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("xpcls: ") and sentence in lines[0]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "here"]


def test_a_device_that_cannot_be_used_leaves_no_folder(
    capsys: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str) -> None:
        raise RuntimeError(f"{name} cannot be used here")

    monkeypatch.setattr("xpcls_backends.get_backend", refuse)
    code, _, err = run(capsys, "all", "--picture", tmp_path / "pictures")
    assert code != 0 and "cannot be used here" in err
    assert not (tmp_path / "pictures").exists()
