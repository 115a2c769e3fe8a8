"""Linear models of images: centred pixels in training, raw ones afterwards."""

import numpy as np
import pytest

from xpcls import KNeighborsClassifier, LinearClassifier
from xpcls.pixels import centered, fit_images, hog_for, mean_image
from xpcls_backends import Backend, to_host
from xpcls_backends.testing import forbid_host_reads

rng = np.random.default_rng(0)
IMAGES = rng.integers(0, 256, (60, 4, 5, 3), dtype=np.uint8)
LABELS = rng.integers(0, 3, 60)


def test_the_mean_image_is_that_of_the_pixels_between_0_and_1(backend: Backend) -> None:
    with forbid_host_reads():
        mean = mean_image(backend.asarray(IMAGES))
    assert mean.dtype == backend.xp.float32
    np.testing.assert_allclose(to_host(mean), IMAGES.mean(axis=0) / 255, rtol=1e-6)


def test_centred_pixels_have_mean_0_and_are_float32(backend: Backend) -> None:
    images = backend.asarray(IMAGES)
    rows = centered(images, mean_image(images))
    assert rows.dtype == backend.xp.float32
    np.testing.assert_allclose(to_host(rows).mean(axis=0), 0, atol=1e-6)


@pytest.mark.parametrize("loss", ["softmax", "hinge"])
def test_a_linear_model_gives_raw_images_the_scores_it_learnt_for_centred_ones(
    backend: Backend, loss: str
) -> None:
    images, labels = backend.asarray(IMAGES), backend.asarray(LABELS)
    with forbid_host_reads():
        model = fit_images(LinearClassifier(loss, epochs=20, random_state=0), images, labels)
        raw = to_host(model.decision_function(images))
    rows = centered(images, mean_image(images))
    on_centred = LinearClassifier(loss, epochs=20, random_state=0).fit(rows, labels)
    np.testing.assert_allclose(raw, to_host(on_centred.decision_function(rows)), atol=2e-5)
    assert model.image_shape_ == (4, 5, 3)


def test_neighbours_are_of_the_raw_pixels() -> None:
    model = fit_images(KNeighborsClassifier(1), IMAGES, LABELS)
    distances, indices = model.kneighbors(IMAGES)
    assert distances.max() == 0 and (indices[:, 0] == np.arange(60)).all()


def test_an_interrupted_training_leaves_a_model_of_raw_images() -> None:
    from xpcls.progress import listen

    def stop(task: str, done: int, total: int, facts: dict[str, object]) -> None:
        if done == 3:
            raise KeyboardInterrupt

    model = LinearClassifier(epochs=20, random_state=0)
    with pytest.raises(KeyboardInterrupt), listen(stop):
        fit_images(model, IMAGES, LABELS)
    whole = LinearClassifier(epochs=3, random_state=0)
    fit_images(whole, IMAGES, LABELS)
    np.testing.assert_allclose(
        model.decision_function(IMAGES), whole.decision_function(IMAGES), atol=1e-6
    )


@pytest.mark.parametrize(
    "shape", [(32, 32, 3), (28, 28, 1), (8, 8, 3), (1, 1, 1), (1, 9, 3), (100, 37, 1)]
)
def test_there_is_a_hog_for_every_size(shape: tuple[int, int, int]) -> None:
    hog = hog_for(shape)
    found = hog.fit_transform(np.zeros((2, *shape), dtype=np.uint8))
    assert found.shape[0] == 2 and found.shape[1] % 9 == 0
    cell, least = hog.pixels_per_cell[0], min(shape[:2])
    assert least % cell < max(1, least / 4)
    if shape[0] == 32:
        assert hog.pixels_per_cell == (8, 8)
