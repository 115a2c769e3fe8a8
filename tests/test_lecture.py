"""The lecture's claims hold: on every backend, and not for one seed alone."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from xpcls import lecture
from xpcls.lecture import CLAIMS, Assertion, Claim, ClaimFailed, Finding
from xpcls_backends import Backend, get_backend

NUMPY = get_backend("numpy")
WITHOUT_CHANCE = ("unit-balls", "margin")
SEEDS = {"features": (1,), "label-noise": range(1, 31)}  # others: 1 to 5


def named(claim: Claim) -> str:
    return claim.name


every_claim = pytest.mark.parametrize("claim", CLAIMS.values(), ids=named)


@pytest.fixture(scope="session")
def found() -> dict[str, Finding]:
    """All claims on NumPy with seed 0."""
    return {name: claim.run(NUMPY) for name, claim in CLAIMS.items()}


@every_claim
def test_a_claim_holds_on_every_backend_with_numbers_like_numpys(
    claim: Claim, backend: Backend, found: dict[str, Finding]
) -> None:
    finding = claim.run(backend)
    assert finding.holds and finding.assertions
    expected = found[claim.name]
    assert finding.headings == expected.headings
    for row, other in zip(finding.rows, expected.rows, strict=True):
        for cell, wanted in zip(row, other, strict=True):
            alike = wanted if isinstance(wanted, str) else pytest.approx(wanted, rel=0.02, abs=0.02)
            assert cell == alike
    for mine, theirs in zip(finding.assertions, expected.assertions, strict=True):
        assert mine.what == theirs.what
        assert mine.value == pytest.approx(theirs.value, rel=0.05, abs=0.05)


@pytest.mark.parametrize(
    ("claim", "seed"),
    [(claim, seed) for claim in CLAIMS.values() for seed in SEEDS.get(claim.name, range(1, 6))],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_claim_holds_for_other_seeds_too(
    claim: Claim, seed: int, found: dict[str, Finding]
) -> None:
    finding = claim.run(NUMPY, seed)
    assert finding.holds
    assert (finding.rows == found[claim.name].rows) == (claim.name in WITHOUT_CHANCE)


@every_claim
def test_a_finding_says_what_it_found(claim: Claim, found: dict[str, Finding]) -> None:
    finding = found[claim.name]
    assert (finding.name, finding.title) == (claim.name, claim.title)
    assert len(claim.explanation) > 200 and "Measured" in claim.explanation
    assert all(re.search(r"\d", sentence) for sentence in finding.sentences)
    assert finding.rows and all(len(row) == len(finding.headings) for row in finding.rows)
    for cell in (cell for row in finding.rows for cell in row):
        assert type(cell) in (str, int, float)
        assert not isinstance(cell, float) or math.isfinite(cell)
    assert len(set(finding.headings)) == len(finding.headings)
    assert len({a.what for a in finding.assertions}) == len(finding.assertions)
    assert finding.report == finding.sentences
    assert str(finding) == f"{claim.name}: {' '.join(finding.sentences)}"


@every_claim
def test_a_finding_has_a_picture(claim: Claim, found: dict[str, Finding]) -> None:
    svg = found[claim.name].picture().svg
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert svg == found[claim.name].picture().svg
    assert len(svg) > 2000 and len(svg) < 400_000


def test_names_are_short_and_the_table_is_by_name() -> None:
    for name, claim in CLAIMS.items():
        assert claim.name == name and re.fullmatch(r"[a-z]+(-[a-z]+)*", name) and len(name) <= 16
        assert claim.title[0].isupper() and len(claim.title) <= 75


def test_run_takes_names_of_claims_and_of_backends() -> None:
    assert lecture.run("margin", "cpu").name == "margin"
    with pytest.raises(ValueError, match="name is 'gravity', expected one of 'unit-balls', 'rota"):
        lecture.run("gravity")
    with pytest.raises(ValueError, match="backend is 'abacus', expected 'auto'"):
        lecture.run("margin", "abacus")


def test_a_claim_that_fails_says_what_and_by_how_much(found: dict[str, Finding]) -> None:
    good = found["parity"]
    bad = Assertion("accuracy of the network", 0.5, low=0.95)
    worse = Assertion("accuracy of 5-NN", math.nan, low=0.95)

    def broken(*_: object) -> Finding:
        return replace(good, assertions=(*good.assertions, bad, worse))

    with pytest.raises(ClaimFailed) as caught:
        Claim("parity", good.title, broken).run(NUMPY)
    assert str(caught.value) == (
        "parity failed: accuracy of the network is 0.5, expected at least 0.95: 0.45 too little "
        "(and 1 more)"
    )
    assert isinstance(caught.value, AssertionError)
    assert caught.value.finding.assertions[-2:] == (bad, worse)
    finding = caught.value.finding
    assert not finding.holds and finding.failed == (bad, worse)
    assert finding.report == (str(bad), str(worse))  # the sentences would be untrue
    assert str(finding) == f"parity: {bad} {worse}"


@pytest.mark.parametrize(
    ("value", "low", "high", "holds", "sentence"),
    [
        (1.0, 1.0, math.inf, True, "x is 1, expected at least 1"),
        (0.5, 1.0, math.inf, False, "x is 0.5, expected at least 1: 0.5 too little"),
        (0.5, -math.inf, 0.2, False, "x is 0.5, expected at most 0.2: 0.3 too much"),
        (0.5, 0.4, 0.6, True, "x is 0.5, expected 0.4 to 0.6"),
        (2.0, 0.4, 0.6, False, "x is 2, expected 0.4 to 0.6: 1.4 too much"),
        (math.nan, 0.4, 0.6, False, "x is nan, expected 0.4 to 0.6"),
        (math.inf, 0.4, math.inf, True, "x is inf, expected at least 0.4"),
    ],
)
def test_an_assertion_knows_whether_it_holds(
    value: float, low: float, high: float, holds: bool, sentence: str
) -> None:
    assertion = Assertion("x", value, low, high)
    assert assertion.holds is holds and str(assertion) == sentence
