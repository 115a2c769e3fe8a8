"""find_leaks: planted leaks are found, honest splits pass, and the statistics are SciPy's."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from xpcls.checks import CheckError
from xpcls.data import Dataset, Split, load_mnist5k, split
from xpcls.model_selection import GroupKFold, KFold, LeakReport, find_leaks
from xpcls.model_selection._bias import homogeneity, midranks, rank_sum, two_sided
from xpcls.model_selection._copies import _share, near_copies, standardized
from xpcls.progress import listen
from xpcls_backends import Backend, to_host
from xpcls_backends.testing import forbid_host_reads

DIGITS = load_mnist5k()
ONE_IN_FIVE = np.arange(0, 5000, 5)
HONEST = split(DIGITS.labels[ONE_IN_FIVE], validation=0.2, test=0.2, random_state=0)
IMAGES, LABELS = DIGITS.images[ONE_IN_FIVE], DIGITS.labels[ONE_IN_FIVE]


def alarms(report: LeakReport) -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for finding in report.leaks:
        found.setdefault(finding.kind, []).append(finding.parts)
    return found


def with_copies(change: Callable[[Any], Any], n: int = 20) -> tuple[Any, set[tuple[int, int]]]:
    """The images with `n` of the test part replaced by training images, changed; and the pairs."""
    images = IMAGES.copy()
    pairs = list(zip(HONEST.train[:n].tolist(), HONEST.test[:n].tolist(), strict=True))
    for source, copy in pairs:
        images[copy] = np.clip(change(images[source].astype(float)), 0, 255).astype(np.uint8)
    return images, set(pairs)


def jpeg(image: Any, quality: int) -> Any:
    file = io.BytesIO()
    Image.fromarray(image[:, :, 0].astype(np.uint8)).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file), float)[:, :, None]


rng = np.random.default_rng(0)
CHANGES: dict[str, Callable[[Any], Any]] = {
    "brighter": lambda image: image + 10,
    "darker": lambda image: 0.7 * image,
    "more contrast": lambda image: 1.2 * image,
    "noise": lambda image: image + rng.normal(0, 5, image.shape),
    "jpeg": lambda image: jpeg(image, 75),
}


@pytest.mark.parametrize("seed", range(4))
def test_honest_digits_raise_no_alarm(seed: int) -> None:
    report = find_leaks(split(DIGITS, random_state=seed), DIGITS)
    assert report.passed and not report.leaks
    assert len(report.findings) == 15
    assert str(report).startswith("split passed: 0 alarms in 15 looks; the parts share nothing")


@pytest.mark.parametrize("name", CHANGES)
def test_nearly_the_same_images_are_found(name: str) -> None:
    images, planted = with_copies(CHANGES[name])
    report = find_leaks(HONEST, images, LABELS)
    near = [f for f in report.leaks if f.kind == "near copies" and f.parts == ("train", "test")]
    assert len(near) == 1 and set(near[0].rows) == planted
    assert near[0].diagnosis.startswith("rows ") and "in train and test" in near[0].diagnosis
    assert set(alarms(report)) == {"near copies"}


def test_more_noise_and_coarser_jpeg_are_found_in_most_images() -> None:
    for change in (lambda i: i + rng.normal(0, 15, i.shape), lambda image: jpeg(image, 30)):
        images, planted = with_copies(change)
        (finding,) = find_leaks(HONEST, images).leaks
        assert set(finding.rows) <= planted and len(finding.rows) > 10


def test_copies_that_the_training_part_holds_many_times_are_found_too() -> None:
    """Augmented first and split afterwards: each image has several copies in each part."""
    base = IMAGES[:200].astype(float)
    copies = [base + rng.normal(0, 4, base.shape) + 3 * i for i in range(5)]
    images = np.clip(np.concatenate(copies), 0, 255).astype(np.uint8)
    order = rng.permutation(1000)
    report = find_leaks((order[:800], order[800:]), images)
    (finding,) = report.leaks
    assert finding.kind == "near copies" and len(finding.rows) > 150
    assert all(a % 200 == b % 200 for a, b in finding.rows)


def test_exact_copies_are_told_apart_from_near_ones() -> None:
    images, planted = with_copies(lambda image: image)
    report = find_leaks(HONEST, images, LABELS)
    assert alarms(report) == {"copies": [("train", "test")]}
    assert set(report.leaks[0].rows) == planted
    assert report.leaks[0].numbers == "20 rows of test"


def test_a_row_in_two_parts() -> None:
    report = find_leaks({"a": [0, 1, 2, 3], "b": [3, 4, 5], "c": [6, 7]}, order=False)
    assert alarms(report) == {"rows": [("a", "b")]}
    assert report.leaks[0].rows == ((3, 3),)
    assert report.leaks[0].diagnosis == "row 3 stands in a and in b: take it out of one"


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


@pytest.mark.parametrize("kind", [float, "datetime64[D]", str])
def test_times(kind: Any) -> None:
    day = np.arange(1000) // 10
    times = (np.datetime64("2026-01-01") + day).astype("datetime64[D]")
    times = day.astype(float) if kind is float else times.astype(kind)
    late = rng.permutation(1000)
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


@given(st.integers(2, 10), st.floats(1e-6, 0.5))
def test_the_share_of_a_ball_is_the_one_of_its_formula(k: int, probability: float) -> None:
    assert 1 - (1 - _share(probability, k)) ** (k - 1) == pytest.approx(probability, rel=1e-6)


def test_near_copies_alarm_seldom_where_the_theory_holds() -> None:
    """Points without structure in 10 dimensions: of 200 trials with 1 %, 2 are expected."""
    generator = np.random.default_rng(0)
    alarm = 0
    for _ in range(200):
        points = generator.normal(size=(150, 10)).astype("float32")
        found, _, threshold, dimension = near_copies(points[:100], points[100:], 0.01)
        alarm += bool(found)
        assert 0.1 < threshold < 0.8 and 8.0 <= dimension < 16
    assert alarm < 10


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


def test_images_are_standardized_on_every_device(backend: Backend) -> None:
    images = np.concatenate([IMAGES[::50], np.full((1, 28, 28, 1), 7, np.uint8)])
    placed = backend.asarray(images)
    with forbid_host_reads():
        found = standardized(placed)
    rows = images.reshape(21, -1).astype(np.float64)
    rows -= rows.mean(axis=1, keepdims=True)
    rows[:20] /= np.linalg.norm(rows[:20], axis=1, keepdims=True)
    np.testing.assert_allclose(to_host(found), rows, atol=1e-6)
    huge = np.asarray([[1e30, -3e30], [2e-30, 6e-30]], "float32")
    np.testing.assert_allclose(
        to_host(standardized(backend.asarray(huge))), np.sqrt([[0.5, 0.5]]) * [[1, -1], [-1, 1]],
        rtol=1e-6,
    )  # fmt: skip


def test_backends_find_the_same(backend: Backend) -> None:
    images, planted = with_copies(CHANGES["noise"], n=5)
    some = Split(HONEST.train[:120], HONEST.validation[:0], HONEST.test[:40])
    report = find_leaks(some, backend.asarray(images), backend.asarray(LABELS))
    assert alarms(report) == {"near copies": [("train", "test")]}
    assert set(report.leaks[0].rows) == planted


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
        (([0], [1]), {"labels": [[0, 1]]}, r"labels has shape \(1, 2\), expected \(n,\)"),
        (([0], [1]), {"order": 1}, "order is 1, expected True or False"),
        (([0], [1]), {"images": DIGITS, "labels": [0, 1]}, "labels is given beside a Dataset"),
    ],
)
def test_bad_arguments_are_named(parts: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        find_leaks(parts, **options)
