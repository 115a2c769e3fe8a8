"""`xpcls compare`'s work: choosing on validation, testing once."""

from dataclasses import replace

import numpy as np
import pytest

from xpcls import KNeighborsClassifier
from xpcls.compare import CANDIDATES, Neighbors, Part, best, compare
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


DATA = blobs()
PARTS = split(DATA, validation=0.25, test=0.25, random_state=0)


def test_every_candidate_gives_a_row_on_every_backend(backend: Backend) -> None:
    rows = list(compare(DATA, PARTS, backend, list(CANDIDATES), seed=0))
    assert [row.model for row in rows] == list(CANDIDATES)
    for row in rows:
        assert 0.5 < row.test_accuracy <= 1
        assert row.images_per_second == pytest.approx(len(PARTS.test) / row.predict_seconds)
        assert str(backend.device) in row.device or backend.name == "cupy"


def test_backends_choose_the_same_settings_and_reach_the_same_accuracies() -> None:
    import array_api_strict as strict

    fake = Backend("strict", strict, strict.Device("device1"))
    runs = [list(compare(DATA, PARTS, b, list(CANDIDATES), 0)) for b in (get_backend("cpu"), fake)]
    for here, there in zip(*runs, strict=True):
        assert here.setting == there.setting
        assert here.validation_accuracy == pytest.approx(there.validation_accuracy)
        assert here.test_accuracy == pytest.approx(there.test_accuracy)


def test_the_test_part_has_no_say_in_what_is_chosen() -> None:
    labels = DATA.labels.copy()
    labels[PARTS.test] = rng.permutation(labels[PARTS.test])
    spoilt = replace(DATA, labels=labels)
    numpy = get_backend("numpy")
    for ours, theirs in zip(
        compare(DATA, PARTS, numpy, list(CANDIDATES), 0),
        compare(spoilt, PARTS, numpy, list(CANDIDATES), 0),
        strict=True,
    ):
        assert ours.setting == theirs.setting
        assert ours.validation_accuracy == theirs.validation_accuracy


def test_the_model_that_is_tested_was_fitted_on_training_and_validation_rows() -> None:
    (row,) = compare(DATA, PARTS, get_backend("numpy"), ["nearest"], 0)
    both = PARTS.train_and_validation
    assert sorted(both) == sorted([*PARTS.train, *PARTS.validation])
    model = KNeighborsClassifier(**row.setting).fit(DATA.images[both], DATA.labels[both])
    assert row.test_accuracy == model.score(DATA.images[PARTS.test], DATA.labels[PARTS.test])


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


def test_rows_come_one_by_one() -> None:
    found = compare(DATA, PARTS, get_backend("numpy"), ["nearest", "no such model"], 0)
    assert next(found).model == "nearest"
    with pytest.raises(KeyError):
        next(found)


def test_a_split_knows_the_rows_of_the_last_fit() -> None:
    parts = Split(np.array([3, 1]), np.array([0]), np.array([2]))
    assert parts.train_and_validation.tolist() == [3, 1, 0]
    assert to_host(parts.train_and_validation).dtype == np.int64
