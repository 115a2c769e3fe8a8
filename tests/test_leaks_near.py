"""Near copies: planted ones are found in data of every dimension, and honest parts pass."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_breast_cancer, load_wine, make_blobs

from xpcls.data import Split, load_mnist5k, split
from xpcls.model_selection import LeakReport, find_leaks
from xpcls.model_selection._copies import _share, near_copies, standardized
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


# --- images of few values ------------------------------------------------------------------------


def gauss(features: int) -> Any:
    return np.random.default_rng(features).normal(size=(500, features))


SMALL: dict[str, Callable[[], Any]] = {
    **{f"{d} numbers": lambda d=d: gauss(d) for d in (3, 4, 6, 10)},
    "blobs": lambda: make_blobs(500, 8, centers=5, random_state=0)[0],
    "wine": lambda: load_wine().data,
    "breast cancer": lambda: load_breast_cancer().data,
}


@pytest.mark.parametrize("name", SMALL)
def test_honest_parts_of_few_values_raise_no_alarm(name: str) -> None:
    rows = SMALL[name]()
    n = rows.shape[0]
    for seed in range(6):
        order = np.random.default_rng(seed).permutation(n)
        report = find_leaks((order[n // 5 :], order[: n // 5]), rows, order=False)
        assert report.passed, report.table


@pytest.mark.parametrize("features", [4, 6, 10])
def test_copies_among_them_are_found(features: int) -> None:
    rows = gauss(features)
    rows[400:420] = 1.5 * rows[:20] + 3
    report = find_leaks((np.arange(400), np.arange(400, 500)), rows, order=False)
    (finding,) = report.leaks
    assert set(finding.rows) == {(i, 400 + i) for i in range(20)}


def sphere(dimension: int, n: int) -> Any:
    """Points of a surface of that dimension, which has no border."""
    points = np.random.default_rng(0).normal(size=(n, dimension + 1))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


@pytest.mark.parametrize("dimension", [1, 2, 4])
def test_the_dimension_is_measured(dimension: int) -> None:
    points = sphere(dimension, 3000).astype("float32")
    *_, found = near_copies(points, points[:5], 0.01)
    assert found == pytest.approx(dimension, rel=0.08)


@pytest.mark.parametrize("dimension", [2, 4])
def test_four_near_copies_of_every_point_do_not_change_it(dimension: int) -> None:
    points = np.repeat(sphere(dimension, 1000), 5, axis=0)
    points += 1e-5 * rng.normal(size=points.shape)
    placed = points.astype("float32")
    *_, found = near_copies(placed, placed[:5], 0.01)
    assert found == pytest.approx(dimension, rel=0.15)


def test_up_to_nine_copies_of_an_image_hide_nothing() -> None:
    """The tenth neighbour is then another image; with ten copies it is a copy."""
    for n, is_found in ((9, True), (10, False)):
        rows = gauss(20)
        rows[:n] = rows[499] + 0.1 * sphere(19, n)  # all equally near
        (*_, finding) = find_leaks((np.arange(499), [499]), rows, order=False).findings
        assert finding.leak == is_found and finding.kind == "near copies"


def test_images_of_one_colour_are_left_out() -> None:
    rows = gauss(20)
    rows[:40] = np.arange(40)[:, None]  # as many colours
    rows[450:460] = rows[60:70] * 2
    report = find_leaks((np.arange(20, 450), np.r_[np.arange(20), 450:500]), rows, order=False)
    (finding,) = report.leaks
    assert finding.rows == tuple((60 + i, 450 + i) for i in range(10))
    dark, others = np.arange(20), np.arange(460, 500)
    for parts in ((dark, others), (others, dark)):
        report = find_leaks(parts, rows, order=False)
        assert "near copies" not in [finding.kind for finding in report.findings]


@pytest.mark.parametrize(("n", "looked"), [(1, False), (2, False), (3, True), (4, True)])
def test_parts_of_few_images(n: int, looked: bool) -> None:
    report = find_leaks((np.arange(n), [10, 11]), IMAGES, order=False)
    assert report.passed
    assert ("near copies" in [finding.kind for finding in report.findings]) == looked


# --- the rule ------------------------------------------------------------------------------------


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
        assert 0.1 < threshold < 0.8 and 5.0 < dimension < 16
    assert alarm < 10


def test_images_are_standardized_on_every_device(backend: Backend) -> None:
    images = np.concatenate([IMAGES[::50], np.full((1, 28, 28, 1), 7, np.uint8)])
    placed = backend.asarray(images)
    with forbid_host_reads():
        found, lit = standardized(placed)
    rows = images.reshape(21, -1).astype(np.float64)
    rows -= rows.mean(axis=1, keepdims=True)
    rows[:20] /= np.linalg.norm(rows[:20], axis=1, keepdims=True)
    np.testing.assert_allclose(to_host(found), rows, atol=1e-6)
    assert to_host(lit).tolist() == [True] * 20 + [False]
    huge = np.asarray([[1e30, -3e30], [2e-30, 6e-30]], "float32")
    np.testing.assert_allclose(
        to_host(standardized(backend.asarray(huge))[0]), np.sqrt([[0.5, 0.5]]) * [[1, -1], [-1, 1]],
        rtol=1e-6,
    )  # fmt: skip


def test_backends_find_the_same(backend: Backend) -> None:
    images, planted = with_copies(CHANGES["noise"], n=5)
    some = Split(HONEST.train[:120], HONEST.validation[:0], HONEST.test[:40])
    report = find_leaks(some, backend.asarray(images), backend.asarray(LABELS))
    assert alarms(report) == {"near copies": [("train", "test")]}
    assert set(report.leaks[0].rows) == planted


def test_standardizing_needs_one_copy() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4000, 3072), dtype=np.uint8)
    tracemalloc.start()
    found, _ = standardized(images)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.3 * found.nbytes
