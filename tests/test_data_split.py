"""Parts that are disjoint, complete and stratified, and copies found among the images."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from xpcls.data import Dataset, Split, duplicate_rows, load_mnist5k, split

# --- split ------------------------------------------------------------------------------------

class_sizes = st.lists(st.integers(1, 60), min_size=1, max_size=8)
fractions = st.floats(0, 0.6)


def labels_of(sizes: list[int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))


def dataset(n: int, official_test: int = 0, seed: int = 0) -> Dataset:
    rng = np.random.default_rng(seed)
    return Dataset(
        images=rng.integers(0, 256, (n, 4, 4, 1), dtype=np.uint8),
        labels=np.arange(n) % 2,
        class_names=("cat", "dog"),
        source="drawn",
        license="CC0",
        official_test=official_test,
    )


@given(class_sizes, fractions, fractions, st.booleans(), st.integers(0, 2**32))
def test_parts_are_disjoint_cover_all_and_follow_the_seed(
    sizes: list[int], validation: float, test: float, stratify: bool, seed: int
) -> None:
    labels = labels_of(sizes)
    options = {"validation": validation, "test": test, "stratify": stratify}
    try:
        parts = split(labels, **options, random_state=seed)
    except ValueError:
        assume(False)
    for part in parts:
        assert part.dtype == np.int64
        assert part.ndim == 1
    assert sorted(np.concatenate(list(parts)).tolist()) == list(range(len(labels)))
    assert abs(len(parts.validation) - validation * len(labels)) <= 0.5
    assert abs(len(parts.test) - test * len(labels)) <= 0.5
    again = split(labels, **options, random_state=seed)
    for part, same in zip(parts, again, strict=True):
        assert np.array_equal(part, same)


@given(class_sizes, fractions, fractions)
def test_classes_keep_their_proportions(sizes: list[int], validation: float, test: float) -> None:
    labels = labels_of(sizes)
    try:
        parts = split(labels, validation=validation, test=test)
    except ValueError:
        assume(False)
    wanted = [part for part in parts if len(part)]
    share = np.asarray([np.asarray(sizes) * len(part) / len(labels) for part in wanted])
    found = np.asarray([np.bincount(labels[part], minlength=len(sizes)) for part in wanted])
    assert found.min() >= 1
    if share.min() >= 1:  # else a rare class is given a row beyond its share
        assert np.abs(found[1:] - share[1:]).max(initial=0) < 1
        assert np.abs(found[0] - share[0]).max() < 2


def test_proportions_to_within_one_row_in_every_part() -> None:
    sizes = [500, 120, 77, 33, 1210]
    parts = split(labels_of(sizes), validation=0.15, test=0.22)
    for part in parts:
        share = np.asarray(sizes) * len(part) / sum(sizes)
        assert np.abs(np.bincount(labels_of(sizes)[part]) - share).max() < 1


def test_rare_classes_stand_in_every_part() -> None:
    labels = labels_of([980, 4, 4, 4, 4, 4])  # a tenth of 4 is less than a row
    parts = split(labels)
    assert np.bincount(labels[parts.test]).tolist() == [95, 1, 1, 1, 1, 1]
    assert np.bincount(labels[parts.validation]).tolist() == [95, 1, 1, 1, 1, 1]
    assert np.bincount(labels[parts.train]).tolist() == [790, 2, 2, 2, 2, 2]


def test_every_part_is_shuffled_and_seeds_differ() -> None:
    labels = np.repeat([0, 1], 500)
    parts = split(labels, random_state=1)
    for part in parts:
        assert (np.diff(part) < 0).sum() > len(part) / 4
        assert 0.2 < np.mean(labels[part][: len(part) // 2]) < 0.8  # not class by class
    other = split(labels, random_state=2)
    assert not np.array_equal(parts.train, other.train)
    drawn = split(labels, random_state=np.random.default_rng(1))
    assert np.array_equal(drawn.train, parts.train)


def test_sizes_are_fractions_or_rows() -> None:
    labels = np.arange(1000) % 10
    sizes = [len(part) for part in split(labels)]
    assert sizes == [800, 100, 100]
    assert [len(part) for part in split(labels, validation=20, test=0.25)] == [730, 20, 250]
    assert [len(part) for part in split(labels, validation=0, test=0.0)] == [1000, 0, 0]
    assert [len(p) for p in split(labels, validation=1, test=1, stratify=False)] == [998, 1, 1]
    assert [len(p) for p in split(labels, validation=np.int64(20), test=10)] == [970, 20, 10]


def test_labels_may_be_text_or_a_list() -> None:
    parts = split(["cat", "dog"] * 20)
    assert [len(part) for part in parts] == [32, 4, 4]
    assert repr(parts) == "<Split: 32 training, 4 validation and 4 test rows>"
    train, validation, test = parts
    assert (train is parts.train, validation is parts.validation, test is parts.test) == (True,) * 3
    assert isinstance(parts, Split)


def test_the_official_test_part_is_kept() -> None:
    data = dataset(60, official_test=20)
    parts = split(data, validation=0.25)
    assert parts.test.tolist() == list(range(40, 60))
    assert len(parts.validation) == 10
    assert sorted([*parts.train, *parts.validation]) == list(range(40))
    with pytest.raises(ValueError, match=r"test is 0\.1, but the data set names its last 20 rows"):
        split(data, test=0.1)
    with pytest.raises(ValueError, match="none can be trained"):
        split(dataset(6, official_test=6))


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"validation": -0.1}, ValueError, "validation is -0.1, expected a fraction"),
        ({"validation": float("nan")}, ValueError, "validation is nan"),
        ({"test": float("inf")}, ValueError, "test is inf"),
        ({"test": 1.0}, ValueError, "test is 1.0"),
        ({"test": -1}, ValueError, "test is -1 rows, expected 0 to 99"),
        ({"test": 100}, ValueError, "test is 100 rows, expected 0 to 99"),
        ({"test": True}, TypeError, "test is True"),
        ({"test": "0.1"}, TypeError, "test is '0.1'"),
        ({"test": 0.001}, ValueError, "test is 0.001: less than one of 100 rows"),
        ({"validation": 0.5, "test": 0.5}, ValueError, "take all 100 rows"),
        ({"validation": 0.9, "test": 20}, ValueError, "take all 100 rows"),
        ({"test": 3}, ValueError, "test would have 3 rows, too few for 4 classes"),
        ({"validation": 0.48, "test": 0.5}, ValueError, "train would have 2 rows, too few"),
        ({"random_state": -1}, ValueError, "random_state is -1"),
        ({"images": np.zeros((99, 3))}, ValueError, r"images has shape \(99, 3\), expected 100"),
    ],
)
def test_what_cannot_be_split(options: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=re.escape(message) if "\\" not in message else message):
        split(np.arange(100) % 4, **options)


def test_labels_that_cannot_be_split() -> None:
    with pytest.raises(ValueError, match=r"labels has shape \(0,\)"):
        split([])
    with pytest.raises(ValueError, match=r"labels has shape \(2, 2\)"):
        split([[0, 1], [1, 0]])
    with pytest.raises(ValueError, match="class 'owl' has 2 rows, too few to stand in validation"):
        split(["cat"] * 30 + ["owl"] * 2)
    with pytest.raises(ValueError, match="some classes are too small"):
        split(labels_of([3] * 5 + [30]), validation=6, test=25)
    few = Dataset(
        images=np.zeros((30, 2, 2, 1), np.uint8)
        + np.arange(30, dtype=np.uint8)[:, None, None, None],
        labels=np.asarray([0] * 29 + [1]),
        class_names=("cat", "owl"),
        source="",
        license="",
    )
    with pytest.raises(ValueError, match="class 'owl' has 1 row,"):
        split(few)
    with pytest.raises(TypeError, match="images is given beside a Dataset"):
        split(few, images=few.images)
    assert [len(part) for part in split(few, stratify=False)] == [24, 3, 3]


# --- copies -----------------------------------------------------------------------------------


def test_copies_in_two_parts_are_warned_of() -> None:
    data = dataset(60, official_test=20)
    data.images[45] = data.images[3]
    data.images[50] = data.images[44]  # both for testing: nothing leaks
    with pytest.warns(UserWarning) as caught:
        parts = split(data, validation=0)
    assert len(caught) == 1
    message = str(caught[0].message)
    assert message.startswith("1 image stands in more than one part")
    assert "row 3 (train) and row 45 (test)" in message
    assert 3 in parts.train
    assert caught[0].filename == __file__
    data.images[46:48] = data.images[4:6]
    with pytest.warns(UserWarning, match="^3 images stand in more than one part"):
        split(data, validation=0)
    twice = np.concatenate([data.images[:20], data.images[:20]])
    with pytest.warns(UserWarning, match=r"part, the first in row \d+ \(.*drop copies with"):
        split(data.labels[:40], images=twice)


def test_the_bundled_digits_have_no_copies() -> None:
    digits = load_mnist5k()
    assert duplicate_rows(digits.images) == []
    assert [len(part) for part in split(digits)] == [4000, 500, 500]


@given(st.lists(st.integers(0, 5), max_size=40), st.sampled_from([np.uint8, np.float32]))
def test_duplicate_rows_against_a_plain_search(values: list[int], dtype: type) -> None:
    images = np.asarray(values, dtype).reshape(-1, 1, 1, 1) * np.ones((1, 3, 2, 1), dtype)
    expected: dict[int, list[int]] = {}
    for i, value in enumerate(values):
        expected.setdefault(value, []).append(i)
    found = duplicate_rows(images)
    assert [group.tolist() for group in found] == [g for g in expected.values() if len(g) > 1]
    assert all(group.dtype == np.int64 for group in found)


def test_equal_hashes_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xpcls.data._split.hash", lambda row: 7, raising=False)
    images = np.asarray([[1, 2], [3, 4], [1, 2], [5, 6]])
    assert [group.tolist() for group in duplicate_rows(images)] == [[0, 2]]


def test_duplicate_rows_of_what_is_no_image() -> None:
    assert duplicate_rows(np.zeros((0, 3, 3, 1), np.uint8)) == []
    assert [g.tolist() for g in duplicate_rows(np.zeros((2, 0)))] == [[0, 1]]
    assert [g.tolist() for g in duplicate_rows(np.ones((4, 6))[::2, ::3])] == [[0, 1]]
    with pytest.raises(TypeError, match="object"):
        duplicate_rows(np.asarray([object(), object()]))
    with pytest.raises(TypeError, match=r"shape \(\)"):
        duplicate_rows(3)
