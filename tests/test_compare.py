"""`xpcls compare`'s work: choosing on validation, testing once."""

from dataclasses import replace

import numpy as np
import pytest

from xpcls import KNeighborsClassifier
from xpcls.compare import (
    FEATURES,
    NEED_IMAGES,
    Neighbors,
    Part,
    Row,
    best,
    candidates,
    compare,
    prepare,
    seal,
)
from xpcls.data import Dataset, Split, split
from xpcls_backends import Backend, get_backend, to_host

rng = np.random.default_rng(0)


def blobs(n: int = 120) -> Dataset:
    """Images whose class shows in their brightness, with noise: some, not all, are told apart."""
    labels = rng.integers(0, 3, n)
    images = rng.normal(60 + 60 * labels[:, None, None, None], 50, (n, 4, 4, 1))
    return Dataset(
        images.clip(0, 255).astype(np.uint8), labels.astype(np.int64), ("a", "b", "c"), "", ""
    )


def run(
    data: Dataset, backend: Backend, models: list[str] | None = None, features: str = "raw"
) -> list[Row]:
    """The rows of a whole comparison, tested."""
    prepared, test = prepare(data, PARTS, backend, features), seal(data, PARTS)
    names = candidates(features) if models is None else models
    rows = list(compare(prepared, test, names, seed=0))
    assert [row.model for row in rows] == names * 2
    assert all(row.test_accuracy is None for row in rows[: len(names)])
    assert len(test.openings) == 1 and len(test.openings[0].models) == len(names)
    return rows[len(names) :]


DATA = blobs()
PARTS = split(DATA, validation=0.25, test=0.25, random_state=0)


def test_every_candidate_gives_a_row_on_every_backend(backend: Backend) -> None:
    for row in run(DATA, backend):
        assert row.test_accuracy is not None and row.predict_seconds is not None
        assert 0.5 < row.test_accuracy <= 1
        assert row.images_per_second == pytest.approx(len(PARTS.test) / row.predict_seconds)
        assert str(backend.device) in row.device or backend.name == "cupy"


def test_backends_choose_the_same_settings_and_reach_the_same_accuracies(fake: Backend) -> None:
    runs = [run(DATA, b) for b in (get_backend("cpu"), fake)]
    for here, there in zip(*runs, strict=True):
        assert here.setting == there.setting
        assert here.validation_accuracy == pytest.approx(there.validation_accuracy)
        assert here.test_accuracy == pytest.approx(there.test_accuracy)


def test_the_test_part_has_no_say_in_what_is_chosen() -> None:
    labels = DATA.labels.copy()
    labels[PARTS.test] = rng.permutation(labels[PARTS.test])
    spoilt = replace(DATA, labels=labels)
    numpy = get_backend("numpy")
    for ours, theirs in zip(run(DATA, numpy), run(spoilt, numpy), strict=True):
        assert ours.setting == theirs.setting
        assert ours.validation_accuracy == theirs.validation_accuracy


def test_the_model_that_is_tested_was_fitted_on_training_and_validation_rows() -> None:
    labels = DATA.labels.copy()
    labels[PARTS.validation] = (labels[PARTS.validation] + 1) % 3  # so that they make a difference
    data = replace(DATA, labels=labels)
    (row,) = run(data, get_backend("numpy"), ["nearest"])
    both = PARTS.train_and_validation
    assert sorted(both) == sorted([*PARTS.train, *PARTS.validation])
    accuracies = [
        KNeighborsClassifier(**row.setting)
        .fit(data.images[rows], data.labels[rows])
        .score(data.images[PARTS.test], data.labels[PARTS.test])
        for rows in (both, PARTS.train)
    ]
    assert row.test_accuracy == accuracies[0] != accuracies[1]


class Spy(Neighbors):
    """Notes what it is given."""

    def __init__(self, given: list[tuple[str, int, float]]) -> None:
        super().__init__((1,))
        object.__setattr__(self, "given", given)

    def tune(self, train: Part, validation: Part, seed: int):  # type: ignore[no-untyped-def]
        for name, part in (("train", train), ("validation", validation)):
            self.given.append((name, part[0].shape[0], float(part[0].sum())))  # type: ignore[attr-defined]
        yield from super().tune(train, validation, seed)

    def fit(self, setting, part: Part, seed: int):  # type: ignore[no-untyped-def]
        self.given.append(("fit", part[0].shape[0], float(part[0].sum())))  # type: ignore[attr-defined]
        return super().fit(setting, part, seed)


@pytest.mark.parametrize("features", ["raw", "hog", "pca"])
def test_each_part_plays_its_own_role(monkeypatch: pytest.MonkeyPatch, features: str) -> None:
    from xpcls import compare as module

    given: list[tuple[str, int, float]] = []
    monkeypatch.setitem(module.CANDIDATES, "spy", Spy(given))
    backend = get_backend("numpy")
    prepared = prepare(DATA, PARTS, backend, features)
    list(compare(prepared, seal(DATA, PARTS), ["spy"], 0))
    parts = {"train": prepared.train, "validation": prepared.validation, "fit": prepared.both}
    rows = {"train": PARTS.train, "validation": PARTS.validation, "fit": PARTS.train_and_validation}
    assert given == [
        (name, len(rows[name]), float(parts[name][0].sum()))
        for name in ("train", "validation", "fit")
    ]


def test_features_of_test_images_are_those_that_were_fitted() -> None:
    data, numpy = colours(), get_backend("numpy")
    for features in ("hog+hue", "pca"):
        prepared = prepare(data, PARTS, numpy, features)
        images = data.images[PARTS.test]
        one_by_one = [prepared.of_test(images[i : i + 1]) for i in range(5)]
        np.testing.assert_allclose(
            np.concatenate(one_by_one), prepared.of_test(images)[:5], rtol=1e-5, atol=1e-5
        )


def test_one_search_tunes_every_k_as_a_search_for_each_would(backend: Backend) -> None:
    train, validation = (
        (backend.asarray(DATA.images[rows]), backend.asarray(DATA.labels[rows]))
        for rows in (PARTS.train, PARTS.validation)
    )
    for setting, accuracy in Neighbors((1, 2, 5)).tune(train, validation, seed=0):
        model = KNeighborsClassifier(**setting).fit(*train)
        assert accuracy == pytest.approx(model.score(*validation))


def test_k_is_never_more_than_the_training_rows() -> None:
    few: Part = (DATA.images[:4], DATA.labels[:4])
    assert len(set(DATA.labels[:4])) > 1
    settings = [setting["n_neighbors"] for setting, _ in Neighbors((1, 3, 9)).tune(few, few, 0)]
    assert settings == [1, 3, 1, 3]


def test_the_first_of_equal_settings_is_taken() -> None:
    class Equal(Neighbors):
        def tune(self, train: Part, validation: Part, seed: int):  # type: ignore[no-untyped-def]
            yield {"n_neighbors": 1}, 0.5
            yield {"n_neighbors": 2}, 0.75
            yield {"n_neighbors": 3}, 0.75

    part = (DATA.images, DATA.labels)
    assert best(Equal((1,)), part, part, 0) == ({"n_neighbors": 2}, 0.75)


def test_rows_come_one_by_one_and_the_test_stays_closed_till_all_are_final() -> None:
    numpy = get_backend("numpy")
    test = seal(DATA, PARTS)
    found = compare(prepare(DATA, PARTS, numpy), test, ["nearest", "softmax", "no such model"], 0)
    assert [next(found).model for _ in range(2)] == ["nearest", "softmax"]
    with pytest.raises(KeyError):
        next(found)
    assert test.openings == ()


def colours(n: int = 120) -> Dataset:
    """Images of three hues, each with an edge that lies or stands."""
    labels = rng.integers(0, 3, n)
    images = rng.integers(20, 60, (n, 8, 8, 3))
    for i, label in enumerate(labels):
        images[i, :, 3:, label] += 150
    return Dataset(images.astype(np.uint8), labels.astype(np.int64), ("a", "b", "c"), "", "")


@pytest.mark.parametrize("features", FEATURES)
def test_features_are_the_same_on_every_backend(backend: Backend, features: str) -> None:
    data = colours()
    here = prepare(data, PARTS, get_backend("numpy"), features)
    there = prepare(data, PARTS, backend, features)
    for name in ("train", "validation", "both"):
        (X, y), (found, labels) = getattr(here, name), getattr(there, name)
        np.testing.assert_array_equal(to_host(labels), y)
        np.testing.assert_allclose(to_host(found), X, rtol=1e-4, atol=1e-4 * abs(X).max())
    images = backend.asarray(data.images[PARTS.test])
    assert there.of_test(images).shape[1:] == there.both[0].shape[1:]
    if features == "raw":
        assert there.of_test(images) is images


def test_features_are_learnt_from_no_row_that_judges_them() -> None:
    data, numpy = colours(), get_backend("numpy")
    for features in ("hog+hue", "pca"):
        prepared = prepare(data, PARTS, numpy, features)
        images = data.images.copy()
        images[PARTS.test] = 255 - images[PARTS.test]
        spoilt = prepare(replace(data, images=images), PARTS, numpy, features)
        np.testing.assert_array_equal(spoilt.both[0], prepared.both[0])
        images = data.images.copy()
        images[PARTS.validation] = 255 - images[PARTS.validation]
        spoilt = prepare(replace(data, images=images), PARTS, numpy, features)
        np.testing.assert_array_equal(spoilt.train[0], prepared.train[0])
        assert not np.array_equal(spoilt.both[0][0], prepared.both[0][0])


def test_hues_tell_colours_apart() -> None:
    for row in run(colours(), get_backend("numpy"), features="hue"):
        assert row.test_accuracy is not None and row.test_accuracy > 0.9


def test_features_that_cannot_be_are_refused_in_one_line() -> None:
    numpy = get_backend("numpy")
    with pytest.raises(ValueError, match=r"features is 'hue', but the images have 1 channel\(s\)"):
        prepare(DATA, PARTS, numpy, "hue")
    with pytest.raises(ValueError, match="features is 'sift', expected one of 'raw', 'hog'"):
        prepare(DATA, PARTS, numpy, "sift")
    assert set(candidates("raw")) - set(candidates("pca")) == NEED_IMAGES


def test_a_split_knows_the_rows_of_the_last_fit() -> None:
    parts = Split(np.array([3, 1]), np.array([0]), np.array([2]))
    assert parts.train_and_validation.tolist() == [3, 1, 0]
    assert to_host(parts.train_and_validation).dtype == np.int64
