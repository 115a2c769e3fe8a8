"""What answers of benchmarks/ are judged by, and the rows that make it hard."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from tests import benchmarks_package

bench = benchmarks_package.bench


@pytest.mark.parametrize("metric", ["l1", "l2"])
def test_the_reference_finds_what_a_full_sort_finds(bench: Any, metric: str) -> None:
    rng = np.random.default_rng(0)
    queries, points = rng.integers(0, 3, (5, 4)), rng.integers(0, 3, (40, 4))  # full of ties
    power = {"l1": 1, "l2": 2}[metric]
    every = np.sum(np.abs(queries[:, None, :] - points[None, :, :]) ** power, axis=2)
    distances, indices = bench("exact").nearest64(queries, points, 7, metric)
    assert np.array_equal(indices, np.argsort(every, axis=1, kind="stable")[:, :7])
    assert np.array_equal(distances, np.sort(every, axis=1)[:, :7])


@pytest.mark.parametrize("metric", ["l1", "l2"])
@pytest.mark.parametrize("kind", ["float32", "uint8", "continuous"])
def test_the_check_of_neighbours_catches_a_wrong_one(bench: Any, metric: str, kind: str) -> None:
    neighbors = bench("neighbors")
    options = {"metric": metric, "kind": kind, "points": 90, "queries": 6, "features": 48}
    run, answer = neighbors.build_xpcls(threads=1, **options)
    run()
    right = answer()
    wrong = [list(row) for row in right]
    wrong[2][-1] = next(i for i in range(90) if i not in right[2])
    findings = neighbors.check(options, {"xpcls": right, "peer": wrong})
    assert findings["xpcls"].ok and findings["xpcls"].text.startswith("0 of 6 queries differ")
    assert findings["peer"].ok is None
    assert findings["peer"].text == "1 of 6 queries differ from float64, 1 are farther"
    assert neighbors.check(options, {"xpcls": wrong})["xpcls"].ok is False


def test_a_wrong_choice_among_equal_distances_differs_and_is_not_farther(bench: Any) -> None:
    exact = bench("exact")
    points = np.asarray([[0], [5], [5], [9]], dtype=np.uint8)
    queries = np.asarray([[1]], dtype=np.uint8)
    truth = exact.nearest64(queries, points, 2, "l2")
    assert truth[1].tolist() == [[0, 1]]
    for answer, expected in (
        ([0, 1], (0, 0)),
        ([0, 2], (1, 0)),
        ([0, 3], (1, 1)),
        ([0, 0], (1, 1)),
    ):
        found = exact.count_differing(np.asarray([answer]), truth, queries, points, "l2")
        assert found == expected


def decided(bench: Any, points: Any, query: Any, answer: list[int], metric: str = "l2") -> str:
    """What `judge` says of one query's answer: "right", "wrong" or "undecided"."""
    exact = bench("exact")
    queries = np.asarray(query)[None, :]
    truth = exact.nearest64(queries, points, len(answer), metric)
    judged = exact.judge(np.asarray([answer]), truth, queries, points, metric)
    return "wrong" if judged.wrong else "undecided" if judged.undecided else "right"


@pytest.mark.parametrize("metric", ["l1", "l2"])
@pytest.mark.parametrize("scale", [1.0, 2.0**-149, 2.0**100])
def test_where_nothing_is_rounded_ties_go_to_the_lowest(
    bench: Any, metric: str, scale: float
) -> None:
    # The second and the third row are as far away, by other terms.
    rows = np.asarray([[9, 9], [3, 4], [4, 3], [0, 1]], dtype=np.float64) * scale
    points, query = rows.astype(np.float32), np.zeros(2, dtype=np.float32)
    assert decided(bench, points, query, [3, 1, 2], metric) == "right"
    assert decided(bench, points, query, [3, 2, 1], metric) == "wrong"
    assert decided(bench, points, query, [3, 1], metric) == "right"
    assert decided(bench, points, query, [3, 2], metric) == "wrong"
    assert decided(bench, points, query, [3, 1, 0], metric) == "wrong"


@pytest.mark.parametrize("metric", ["l1", "l2"])
def test_what_only_rounding_orders_is_left_open(bench: Any, metric: str) -> None:
    rng = np.random.default_rng(0)
    row = np.ldexp(rng.standard_normal(200), rng.integers(-30, 30, 200)).astype(np.float32)
    # The same terms in another order: sums in float64 differ by their rounding, if at all.
    points = np.stack([row, rng.permutation(row), row, 2 * row])
    query = np.zeros(200, dtype=np.float32)
    truth = bench("exact").nearest64(query[None, :], points, 3, metric)[1][0].tolist()
    answers = [[0, 1, 2], [0, 2, 1], [1, 0, 2]]
    for answer in answers:  # equal rows are in order in each of them
        said = decided(bench, points, query, answer, metric)
        assert said == ("right" if answer == truth else "undecided")
    assert decided(bench, points, query, [2, 1, 0], metric) == "wrong"  # equal rows are not
    assert decided(bench, points, query, [1, 2], metric) == "wrong"  # a row before its equal
    assert decided(bench, points, query, [0, 1, 3], metric) == "wrong"


@pytest.mark.parametrize("metric", ["l1", "l2"])
def test_a_difference_that_float64_sees_is_decided(bench: Any, metric: str) -> None:
    rng = np.random.default_rng(1)
    row = rng.standard_normal(100, dtype=np.float32)
    nearer = row.copy()
    nearer[np.argmax(np.abs(row))] = np.nextafter(row[np.argmax(np.abs(row))], np.float32(0))
    points, query = np.stack([row, nearer]), np.zeros(100, dtype=np.float32)
    assert decided(bench, points, query, [1, 0], metric) == "right"
    assert decided(bench, points, query, [0, 1], metric) == "wrong"


@pytest.mark.parametrize("answer", [[0, 0], [0, -1], [0, 4]])
def test_an_answer_that_names_no_rows_is_wrong(bench: Any, answer: list[int]) -> None:
    points = np.asarray([[0], [5], [5], [9]], dtype=np.uint8)
    assert decided(bench, points, np.asarray([1], dtype=np.uint8), answer) == "wrong"


@pytest.mark.parametrize("metric", ["l1", "l2"])
def test_the_rules_are_those_of_fractions(bench: Any, metric: str) -> None:
    rng = np.random.default_rng(2)
    exact = bench("exact")
    points = rng.integers(0, 4, (9, 3)).astype(np.float32) / np.float32(3)
    for query in rng.integers(0, 4, (20, 3)).astype(np.float32) / np.float32(3):
        power = {"l1": 1, "l2": 2}[metric]
        whole = [Fraction(entry) for entry in query.tolist()]
        sums = [
            sum(abs(Fraction(a) - b) ** power for a, b in zip(point, whole, strict=True))
            for point in points.tolist()
        ]
        order = sorted(range(9), key=lambda i: (sums[i], i))
        queries = query[None, :]
        truth = exact.nearest64(queries, points, 9, metric)
        judged = exact.judge(np.asarray([order]), truth, queries, points, metric)
        assert judged.wrong == 0
        i, j = order[0], order[-1]
        assert sums[j] > sums[i] * (1 + Fraction(1, 10**9))
        order[0], order[-1] = j, i
        assert exact.judge(np.asarray([order]), truth, queries, points, metric).wrong == 1


def test_hard_rows_are_alike_in_every_process_and_finite(bench: Any) -> None:
    hard = bench("hard_rows")
    for kind in hard.KINDS:
        queries, points = hard.rows_of(kind, 9, 30, 11)
        again, _ = hard.rows_of(kind, 9, 30, 11)
        assert queries.shape == (9, 11) and points.shape == (30, 11)
        assert queries.dtype == (np.uint8 if kind.startswith("uint8") else np.float32)
        assert np.array_equal(queries, again) and np.all(np.isfinite(points))
        assert np.array_equal(queries[4], points[4])
    assert 0.0 < np.max(hard.rows_of("denormals", 9, 30, 11)[1]) < np.finfo(np.float32).tiny
    assert np.max(hard.rows_of("scale 1e30", 9, 30, 11)[1]) > 1e30
    zeros = np.all(hard.rows_of("zero rows", 9, 300, 11)[1] == 0.0, axis=1)
    assert 100 < np.sum(zeros) < 300
    assert set(np.unique(hard.rows_of("uint8 extremes", 9, 30, 11)[1])) == {0, 255}


def test_the_suite_exact_passes_xpcls_and_catches_a_wrong_row_and_distance(bench: Any) -> None:
    suite = bench("exact_neighbors")
    sizes = {"queries": 9, "points": 31, "features": 5, "ks": [1, 4, 31]}
    for metric in ("l1", "l2"):
        options = {"kind": "few values", "metric": metric, **sizes}
        answer = suite.build(threads=1, **options)[1]()
        finding = suite.check(options, {"xpcls": answer})["xpcls"]
        assert finding.ok and finding.text.startswith("0 of 54 answers differ from float64; ")
        row = answer[3]["indices"][2]
        row[0], row[1] = row[1], row[0]
        finding = suite.check(options, {"xpcls": answer})["xpcls"]
        assert finding.ok is False and finding.text.startswith("1 of 54 answers differ")
        row[0], row[1] = row[1], row[0]
        answer[3]["distances"][2][3] *= 1.001
        assert suite.check(options, {"xpcls": answer})["xpcls"].ok is False


@pytest.mark.parametrize("kind", ["continuous", "standardised", "gaussian"])
def test_rows_of_other_kinds_are_what_they_are_called(bench: Any, kind: str) -> None:
    rows = bench("data").search_rows(400, 24, 1, kind=kind)
    assert rows.dtype == np.float32 and rows.shape == (400, 24)
    off_grid = np.abs(rows * 255 - np.rint(rows * 255)) > 1e-3
    assert np.mean(off_grid) > 0.9
    if kind == "continuous":
        assert rows.min() >= 0.0 and rows.max() <= 1.0
    else:
        assert np.all(np.abs(rows.mean(axis=0)) < 0.3) and np.all(
            np.abs(rows.std(axis=0) - 1) < 0.2
        )


def test_rows_are_alike_in_every_process_and_of_eight_bits(bench: Any) -> None:
    data = bench("data")
    pixels = data.image_rows(20, 48, 1, dtype="uint8")
    floats = data.image_rows(20, 48, 1, dtype="float32")
    assert floats.dtype == np.float32 and floats.min() >= 0.0 and floats.max() <= 1.0
    assert np.array_equal(np.rint(floats * 255), pixels) and np.ptp(pixels) > 50
    assert not np.array_equal(pixels, data.image_rows(20, 48, 2, dtype="uint8"))
