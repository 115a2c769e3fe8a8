"""find_leaks: planted leaks are found, honest splits pass, and the statistics are SciPy's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from xpcls.checks import CheckError
from xpcls.data import Dataset, load_mnist5k, split
from xpcls.model_selection import GroupKFold, KFold, LeakReport, find_leaks
from xpcls.model_selection._bias import homogeneity, midranks, rank_sum, two_sided
from xpcls.progress import listen

DIGITS = load_mnist5k()
ONE_IN_FIVE = np.arange(0, 5000, 5)
HONEST = split(DIGITS.labels[ONE_IN_FIVE], validation=0.2, test=0.2, random_state=0)
IMAGES, LABELS = DIGITS.images[ONE_IN_FIVE], DIGITS.labels[ONE_IN_FIVE]


def alarms(report: LeakReport) -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for finding in report.leaks:
        found.setdefault(finding.kind, []).append(finding.parts)
    return found


@pytest.mark.parametrize("seed", range(4))
def test_honest_digits_raise_no_alarm(seed: int) -> None:
    report = find_leaks(split(DIGITS, random_state=seed), DIGITS)
    assert report.passed and not report.leaks
    assert len(report.findings) == 15
    assert str(report).startswith("split passed: 0 alarms in 15 looks; the parts share nothing")


def test_exact_copies_are_told_apart_from_near_ones() -> None:
    images = IMAGES.copy()
    images[HONEST.test[:20]] = images[HONEST.train[:20]]
    planted = set(zip(HONEST.train[:20].tolist(), HONEST.test[:20].tolist(), strict=True))
    report = find_leaks(HONEST, images, LABELS)
    assert alarms(report) == {"copies": [("train", "test")]}
    assert set(report.leaks[0].rows) == planted
    assert report.leaks[0].numbers == "20 rows of test"


def test_a_row_in_two_parts() -> None:
    report = find_leaks({"a": [0, 1, 2, 3], "b": [3, 4, 5], "c": [6, 7]}, order=False)
    assert alarms(report) == {"rows": [("a", "b")]}
    assert report.leaks[0].rows == ((3, 3),)
    assert report.leaks[0].diagnosis == "row 3 stands in a and in b: take it out of one"


def test_a_row_in_two_parts_is_no_copy_of_itself() -> None:
    images = IMAGES[:60].copy()
    images[50] = images[3]
    parts = [*range(20)], [3, *range(20, 60)]
    report = find_leaks(parts, images, order=False)
    assert {finding.kind: finding.rows for finding in report.leaks} == {
        "rows": ((3, 3),),
        "copies": ((3, 50),),
    }
    unlike = find_leaks(parts, IMAGES[:60], order=False)
    assert {finding.kind: finding.rows for finding in unlike.leaks} == {"rows": ((3, 3),)}


def test_groups_in_two_parts() -> None:
    groups = np.asarray(["anna", "ben", "carl", "dora"])[np.arange(1000) // 3 % 4]
    report = find_leaks(HONEST, groups=groups, order=False)
    assert alarms(report) == {"groups": [*[("train", p) for p in ("validation", "test")], HONEST_2]}
    finding = report.leaks[0]
    assert ", ... stand in train and in validation: split by group" in finding.diagnosis
    assert all(groups[a] == groups[b] for a, b in finding.rows)
    assert finding.numbers == "4 in both, with 200 rows of validation"
    whole = next(GroupKFold(4).split(groups, groups=groups))
    assert find_leaks(whole, groups=groups, order=False).passed


HONEST_2 = ("validation", "test")


@pytest.mark.parametrize("fold", range(5))
def test_folds_that_were_not_shuffled_are_biased_in_order(fold: int) -> None:
    """The middle one too, whose rows come neither before nor after the others on the whole."""
    stretches = list(KFold(5, shuffle=False).split(IMAGES))
    report = find_leaks(stretches[fold], labels=LABELS)
    assert set(alarms(report)) == {"row order", "classes"}  # the digits are sorted by class
    shuffled = list(KFold(5).split(IMAGES))
    assert find_leaks(shuffled[fold], labels=LABELS).passed


def test_what_is_said_of_the_middle() -> None:
    order = np.arange(900)
    inner = order[300:600]
    outer = np.r_[order[:300], order[600:]]
    said = "rows of test lie {} the middle in the data set, more than chance has it"
    assert said.format("nearer to") in find_leaks((outer, inner)).diagnosis
    assert said.format("farther from") in find_leaks((inner, outer)).diagnosis


SERIES = np.arange(1000) // 25  # 40 groups whose rows lie together, as those of a video do


def test_groups_that_lie_together_and_are_kept_so_alarm_as_seldom() -> None:
    """By rows, 9 of 10 folds would: a group is drawn whole."""
    alarm = 0
    for seed in range(20):
        for fold in GroupKFold(5, random_state=seed).split(SERIES, groups=SERIES):
            *_, times, rows = find_leaks(fold, groups=SERIES, times=SERIES / 2).findings
            assert times.numbers == rows.numbers and times.numbers.endswith(" of 40 groups")
            alarm += rows.leak
    assert alarm < 5


def test_groups_that_were_drawn_by_time_do() -> None:
    late = (np.flatnonzero(SERIES < 32), np.flatnonzero(SERIES >= 32))
    report = find_leaks(late, groups=SERIES, times=SERIES)
    assert set(alarms(report)) == {"row order", "times"}
    assert "rows of test come after those of train in time" in report.diagnosis
    # Divided groups were not what was drawn, so rows are ranked.
    divided = find_leaks((np.arange(790), np.arange(790, 1000)), groups=SERIES)
    assert set(alarms(divided)) == {"groups", "row order"}
    assert not any("of 40 groups" in finding.numbers for finding in divided.findings)


def test_several_pairs_of_parts_share_the_chance_of_an_alarm() -> None:
    """p is 0.0055 here: an alarm of the only pair, and none where it is one of three."""
    labels = np.repeat([0, 1, 0, 1, 0], [143, 7, 129, 21, 30])
    train, test, more = np.arange(150), np.arange(150, 300), np.arange(300, 330)
    (*_, alone) = find_leaks((train, test), None, labels, order=False).findings
    assert alone.leak and "p 0.0055" in alone.numbers
    three = find_leaks({"train": train, "test": test, "more": more}, None, labels, order=False)
    (among,) = [f for f in three.findings if f.kind == "classes" and f.parts == alone.parts]
    assert among.numbers == alone.numbers and not among.leak


def test_only_what_was_not_trained_on_is_new() -> None:
    labels = np.asarray([0, 1] * 30 + [0] * 4 + [0, 1] * 10)
    parts = np.arange(60), np.arange(60, 64), np.arange(64, 84)
    report = find_leaks(parts, None, labels, order=False)
    assert report.passed, report.table
    assert all(f.numbers.endswith(" 0 new") for f in report.findings if f.kind == "classes")


@pytest.mark.parametrize("kind", [float, "datetime64[D]", str])
def test_times(kind: Any) -> None:
    day = np.arange(1000) // 10
    times = (np.datetime64("2026-01-01") + day).astype("datetime64[D]")
    times = day.astype(float) if kind is float else times.astype(kind)
    late = np.random.default_rng(0).permutation(1000)
    report = find_leaks((late[late < 800], late[late >= 800]), times=times, order=False)
    assert alarms(report) == {"times": [("train", "test")]}
    assert "rows of test come after those of train in time" in report.diagnosis
    assert find_leaks((late[:800], late[800:]), times=times, order=False).passed


def test_a_class_that_was_never_trained_on() -> None:
    train = np.flatnonzero(LABELS != 3)
    report = find_leaks((train[::2], np.r_[train[1::2], np.flatnonzero(LABELS == 3)]), None, LABELS)
    assert "no row of train is of class 3, which test has" in report.diagnosis


def test_of_honest_splits_about_one_in_a_hundred_alarms() -> None:
    """Each kind is to alarm in at most 1 % of them: 20 of 1,000 would be far off."""
    generator = np.random.default_rng(1)
    counts = {"row order": 0, "classes": 0, "times": 0}
    labels = generator.integers(0, 5, 300)
    times = generator.integers(0, 40, 300)
    for _ in range(1000):
        order = generator.permutation(300)
        report = find_leaks((order[:200], order[200:]), labels=labels, times=times)
        for kind in alarms(report):
            counts[kind] += 1
    assert all(0 < count < 20 for count in counts.values()), counts


# --- the statistics -----------------------------------------------------------------------------


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=30),
    st.lists(st.integers(0, 9), min_size=1, max_size=30),
)
def test_rank_sums_are_scipys(a: list[int], b: list[int]) -> None:
    x, y = np.asarray(a, float), np.asarray(b, float)
    share, z = rank_sum(x, y)
    wins = np.mean([(v > u) + 0.5 * (v == u) for u in a for v in b])
    assert share == pytest.approx(wins)
    np.testing.assert_allclose(midranks(np.r_[x, y]), scipy.stats.rankdata(np.r_[x, y]))
    if len({*a, *b}) == 1:
        assert z == 0
        return
    theirs = scipy.stats.mannwhitneyu(y, x, use_continuity=False, method="asymptotic")
    assert two_sided(z) == pytest.approx(theirs.pvalue)
    assert (z > 0) == (share > 0.5) or z == pytest.approx(0)


@pytest.mark.parametrize("seed", range(5))
def test_chi_squared_is_scipys(seed: int) -> None:
    generator = np.random.default_rng(seed)
    a, b = generator.integers(45, 60, (2, 8)).tolist()
    squares, degrees, p = homogeneity(a, b)
    theirs = scipy.stats.chi2_contingency([a, b], correction=False)
    assert squares == pytest.approx(theirs.statistic) and degrees == theirs.dof
    assert p == pytest.approx(theirs.pvalue, rel=0.05)


def test_rare_classes_count_as_one() -> None:
    common, rare = [100, 100], [1] * 40
    together = homogeneity([*common, *rare], [*common, *rare])
    assert together == pytest.approx(homogeneity([*common, 40], [*common, 40]))
    assert homogeneity([50], [60]) == homogeneity([1, 2], [2, 1]) == (0.0, 0, 1.0)


# --- the report, and bad input ------------------------------------------------------------------


def test_the_report_is_for_people_and_raises_on_request() -> None:
    with pytest.raises(CheckError, match="split FAILED: 1 alarms in 1 looks; rows: row 1 stands"):
        find_leaks(([0, 1], [1, 2]), order=False, raise_on_failure=True)
    report = find_leaks(([0, 1], [1, 2]), order=False)
    assert report.table == (
        "LEAK  rows  train / test  1 in both\n"
        "rows: row 1 stands in train and in test: take it out of one"
    )


def test_the_makers_test_part_is_not_looked_at_for_order() -> None:
    data = Dataset(IMAGES, LABELS, DIGITS.class_names, "", "", official_test=200)
    kinds = {finding.kind for finding in find_leaks(split(data), data).findings}
    assert kinds == {"rows", "copies", "near copies", "classes"}


def test_parts_have_names() -> None:
    rows = [[0, 1], [2, 3], [4, 5], [6]]
    names = [("train", "test"), ("train", "validation", "test"), ("part 0", "part 1", "part 2")]
    for n, expected in zip((2, 3, 4), names, strict=True):
        report = find_leaks(rows[:n], order=False)
        seen = dict.fromkeys(name for finding in report.findings for name in finding.parts)
        assert tuple(seen)[: len(expected)] == expected


def test_progress_is_told_and_ends() -> None:
    told: list[Any] = []
    with listen(lambda task, done, total, facts: told.append((task, done, total))):
        find_leaks(HONEST, IMAGES)
    assert [t for t in told if t[0] == "near copies"] == [("near copies", i, 3) for i in range(4)]


@pytest.mark.parametrize(
    ("parts", "options", "message"),
    [
        (3, {}, "parts is 3, expected a Split, a dict or a sequence of rows"),
        ("ab", {}, "parts is 'ab', expected a Split"),
        (([0, 1], []), {}, "parts has 1 parts with rows, expected two or more"),
        (([0, 1], [[2]]), {}, r"part 'test' is int64 of shape \(1, 1\), expected numbers of rows"),
        (([0, 1], [0.5]), {}, "part 'test' is float64 of shape"),
        (([True, False], [1]), {}, "part 'train' is bool of shape"),
        (([0, 1], [-1]), {}, "part 'test' names rows -1 to -1, expected 0 or more"),
        (([0, 1], [5]), {"labels": [0, 1]}, "part 'test' names rows 5 to 5, expected 0 to 1"),
        (([0], [1]), {"labels": [0, 1], "groups": [1]}, "labels 2, groups 1: expected as many"),
        (([0], [1]), {"images": np.zeros(2)}, r"images has shape \(2,\), expected \(n, ...\)"),
        (([0], [1]), {"images": "x"}, "images holds something that is no number"),
        (([0], [1]), {"images": np.full((2, 3), np.nan)}, "images holds NaN or infinity"),
        (([0], [1]), {"times": [0.0, np.nan]}, "times holds NaN"),
        (([0], [1]), {"times": np.asarray(["NaT", "2026-01-01"], "M8[D]")}, "times holds NaN"),
        (
            ([0], [1]),
            {"groups": np.asarray(["a", None], object)},
            "groups holds None; leave those rows out, or give each a group of its own",
        ),
        (([0], [1]), {"labels": np.asarray([1, np.nan], object)}, "labels holds nan; leave those"),
        (([0], [1]), {"times": np.asarray([None, 1], object)}, "times holds None; .* or fill them"),
        (([0], [1]), {"images": np.zeros((2, 2))}, r"shape \(2, 2\), expected at least 3 values"),
        (([0], [1]), {"images": np.zeros((2, 4), complex)}, "images has dtype complex128, expec"),
        (([0], [1]), {"labels": [[0, 1]]}, r"labels has shape \(1, 2\), expected \(n,\)"),
        (([0], [1]), {"order": 1}, "order is 1, expected True or False"),
        (([0], [1]), {"images": DIGITS, "labels": [0, 1]}, "labels is given beside a Dataset"),
    ],
)
def test_bad_arguments_are_named(parts: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        find_leaks(parts, **options)
