"""HOG: against scikit-image on its own images and on random ones, and against a naive loop."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests import reference_features as reference
from xpcls.features import HOG
from xpcls.features._gradients import oriented_gradients
from xpcls_backends import Backend, get_backend, to_host
from xpcls_backends.testing import forbid_host_reads

NORMS = ("L1", "L1-sqrt", "L2", "L2-Hys")
rng = np.random.default_rng(0)
COLOUR = rng.integers(0, 256, (3, 34, 29, 3), dtype=np.uint8)


def scikit_images() -> dict[str, np.ndarray]:
    """The pictures that scikit-image ships, as (H, W, C), no side over 300."""
    import skimage

    folder = Path(skimage.__file__).with_name("data")
    found = {}
    for name in ("astronaut", "camera", "chelsea", "coffee", "coins", "moon", "page", "text"):
        image = np.asarray(Image.open(folder / f"{name}.png"))
        found[name] = image.reshape(*image.shape[:2], -1)[:300, :290]
    return found


def theirs(image: np.ndarray, *arguments: Any, **options: Any) -> Any:
    """scikit-image's features of one image (H, W, C)."""
    from skimage.feature import hog

    if image.shape[2] == 1:
        return hog(image[..., 0], *arguments, **options)
    return hog(image, *arguments, channel_axis=-1, **options)


@pytest.mark.parametrize("name", scikit_images())
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_it_is_that_of_scikit_image_on_its_own_pictures(name: str, dtype: Any) -> None:
    image = scikit_images()[name].astype(dtype)
    if dtype != np.uint8:
        image = image / dtype(255)
    found = HOG().fit_transform(image[None])
    assert found.dtype == (np.float64 if dtype == np.float64 else np.float32)
    np.testing.assert_allclose(found[0], theirs(image), rtol=0, atol=1e-6)


OPTIONS = list(
    itertools.product(
        (1, 4, 9, 12, 14, 39),
        ((8, 8), (5, 7)),
        ((1, 1), (3, 2)),
        NORMS,
        (False, True),
    )
)


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.float64])
def test_it_is_that_of_scikit_image_for_all_options(channels: int, dtype: Any) -> None:
    images = COLOUR[..., :channels].astype(dtype)
    for orientations, cell, block, norm, root in OPTIONS:
        hog = HOG(orientations, cell, block, norm, transform_sqrt=root)
        found = hog.transform(images)
        expected = np.stack(
            [
                theirs(image, orientations, cell, block, norm, transform_sqrt=root)
                for image in images
            ]
        )
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6, err_msg=repr(hog))


@pytest.mark.parametrize("norm", [*NORMS, None])
@pytest.mark.parametrize("kind", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_backend_gives_what_a_loop_gives(
    backend: Backend, norm: str | None, kind: str, channels: int
) -> None:
    if backend.name == "strict-no_float64" and kind == "float64":
        pytest.skip("this device has no float64 to compute in")
    images = COLOUR[:2, :20, :17, :channels].astype(kind)
    hog = HOG(6, (4, 5), (2, 2), norm)
    with forbid_host_reads():
        found = hog.fit(backend.asarray(images)).transform(backend.asarray(images))
    assert found.dtype == getattr(backend.xp, "float64" if kind == "float64" else "float32")
    expected = [reference.hog(image, 6, (4, 5), (2, 2), norm) for image in images]
    # Without blocks the entries are not of size 1.
    np.testing.assert_allclose(to_host(found), expected, rtol=1e-6, atol=1e-6)


@given(
    st.integers(1, 4),
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from([1, 2, 3, 4]),
    st.integers(1, 20),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.sampled_from([*NORMS, None]),
    st.integers(0, 2**32),
)
def test_any_shape_is_that_of_the_loop_or_a_clear_error(
    n: int,
    height: int,
    width: int,
    channels: int,
    orientations: int,
    cell: tuple[int, int],
    block: tuple[int, int],
    norm: str | None,
    seed: int,
) -> None:
    images = np.random.default_rng(seed).integers(0, 256, (n, height, width, channels))
    images = (images // 64 * 64).astype(np.uint8)  # with many equal, and no, gradients
    hog = HOG(orientations, cell, block, norm)
    joined = block if norm else (1, 1)
    if height < cell[0] * joined[0] or width < cell[1] * joined[1]:
        with pytest.raises(ValueError, match=f"X has images of {height} x {width} pixels, but"):
            hog.fit(images)
        return
    expected = [reference.hog(image, orientations, cell, block, norm) for image in images]
    np.testing.assert_allclose(hog.transform(images), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("orientations", [1, 4, 8, 9, 12, 14, 18, 36, 39, 180])
def test_each_pair_of_bytes_falls_in_the_bin_of_its_direction(orientations: int) -> None:
    """All 511 x 511 gradients, those on the very edge of a bin among them."""
    steps = np.arange(-255, 256)
    down, right = (x.ravel() for x in np.meshgrid(steps, steps, indexing="ij"))
    images = np.zeros((len(down), 3, 3, 1), dtype=np.uint8)
    images[:, 2, 1, 0], images[:, 0, 1, 0] = np.maximum(down, 0), np.maximum(-down, 0)
    images[:, 1, 2, 0], images[:, 1, 0, 0] = np.maximum(right, 0), np.maximum(-right, 0)
    bins, lengths = oriented_gradients(images, orientations)
    np.testing.assert_allclose(lengths[:, 1, 1], np.hypot(down, right), rtol=1e-7)
    edges = 180.0 / orientations * np.arange(1, orientations)
    degrees = np.rad2deg(np.arctan2(down, right)) % 180.0
    np.testing.assert_array_equal(bins[:, 1, 1], np.searchsorted(edges, degrees, side="right"))


def test_a_gradient_and_its_opposite_count_alike_and_nothing_is_lost() -> None:
    """The course's own HOG lost every pixel whose brightness falls to the right."""
    ramp = np.arange(0, 250, 10, dtype=np.uint8)
    rising = np.broadcast_to(ramp[None, None, :, None], (1, 25, 25, 1))
    hog = HOG(9, (25, 25), block_norm=None)
    one, other = hog.transform(rising), hog.transform(rising[:, :, ::-1])
    np.testing.assert_array_equal(one, other)
    total = 25 * 23 * 20.0  # every pixel but the edges has a gradient of 20
    np.testing.assert_allclose(one.sum(), total / 25**2, rtol=1e-6)
    assert one[0, 0] > 0 and not one[0, 1:].any()
    turned = hog.transform(np.ascontiguousarray(rising.transpose(0, 2, 1, 3)))
    assert turned[0, 4] > 0 and not np.delete(turned[0], 4).any()  # 90 of 180 degrees


def test_32_pixels_in_cells_of_8_without_blocks_are_144_features() -> None:
    assert HOG(block_norm=None).transform(np.zeros((2, 32, 32, 3), dtype=np.uint8)).shape == (
        2,
        144,
    )


def test_grey_is_the_gradient_of_the_brightness() -> None:
    images = COLOUR.astype(np.float64)
    brightness = images @ [0.299, 0.587, 0.114]
    found = HOG(channel="grey").transform(images)
    np.testing.assert_allclose(found, HOG().transform(brightness[..., None]), atol=1e-12)
    bytes_ = HOG(channel="grey").transform(COLOUR)
    np.testing.assert_allclose(bytes_, found, rtol=0, atol=1e-5)
    grey = COLOUR[..., :1]
    np.testing.assert_array_equal(
        HOG(channel="grey").transform(grey), HOG(channel="strongest").transform(grey)
    )


def test_the_result_does_not_depend_on_blocks_or_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    from xpcls.features import _base

    images = rng.integers(0, 256, (70, 32, 32, 3), dtype=np.uint8)
    whole = HOG().transform(images)
    monkeypatch.setattr(_base, "elementwise_block_bytes", lambda xp: 4 * 32 * 32)
    np.testing.assert_array_equal(HOG().transform(images), whole)
    monkeypatch.setattr(_base, "thread_count", lambda xp: 1)
    np.testing.assert_array_equal(HOG().transform(images), whole)
    np.testing.assert_array_equal(
        np.concatenate([HOG().transform(images[i : i + 1]) for i in range(5)]), whole[:5]
    )


def test_images_may_come_as_rows() -> None:
    rows = COLOUR.reshape(3, -1)
    hog = HOG(image_shape=(34, 29, 3))
    np.testing.assert_array_equal(hog.fit_transform(rows), HOG().transform(COLOUR))
    assert hog.n_features_in_ == 34 * 29 * 3 and hog.image_shape_ == (34, 29, 3)


WRONG: list[tuple[dict[str, Any], Any, str]] = [
    ({"orientations": 0}, COLOUR, "orientations is 0, expected an integer of at least 1"),
    ({"orientations": 9.0}, COLOUR, "orientations is 9.0"),
    ({"pixels_per_cell": 8}, COLOUR, r"pixels_per_cell is 8, expected \(height, width\)"),
    ({"pixels_per_cell": (8, 0)}, COLOUR, "a length in pixels_per_cell is 0"),
    ({"cells_per_block": (1, 2, 3)}, COLOUR, r"cells_per_block is \(1, 2, 3\)"),
    ({"block_norm": "l2"}, COLOUR, "block_norm is 'l2', expected one of 'L1', 'L1-sqrt'"),
    ({"channel": "red"}, COLOUR, "channel is 'red', expected one of 'strongest', 'grey'"),
    ({"channel": "grey"}, COLOUR[..., :2], "X has images of 2 channels, but channel='grey'"),
    ({"transform_sqrt": 1}, COLOUR, "transform_sqrt is 1, expected True or False"),
    ({"transform_sqrt": True}, -COLOUR.astype(float), "X holds -255, and transform_sqrt=True"),
    ({}, COLOUR[:, :20], "X has images of 20 x 29 pixels, but cells of 8 x 8 in blocks of 3 x 3"),
    ({}, COLOUR * 1e150, "X holds 2.55e.152, whose square overflows float64; scale the images"),
    ({}, COLOUR[..., 0], "Found array with dim 3"),
    ({}, COLOUR.reshape(3, -1), r"X has rows of 2958 features, and HOG needs images"),
    ({"image_shape": (3, 3, 3)}, COLOUR.reshape(3, -1), "image_shape is .* holds 27 values"),
    ({"image_shape": 27}, COLOUR.reshape(3, -1), r"image_shape is 27, expected \(H, W, C\)"),
    ({}, np.full((1, 32, 32, 1), np.nan), "Input X contains NaN"),
    ({}, COLOUR[:0], "Found array with 0 sample"),
    ({}, None, "X is None, expected an array"),
]


@pytest.mark.parametrize(("options", "images", "sentence"), WRONG, ids=[w[2] for w in WRONG])
@pytest.mark.parametrize("method", ["fit", "transform"])
def test_what_is_wrong_is_said_in_one_line(
    options: dict[str, Any], images: Any, sentence: str, method: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=sentence) as raised:
        getattr(HOG(**options), method)(images)
    assert "\n" not in str(raised.value)


def test_images_of_another_shape_than_fitted_are_refused() -> None:
    hog = HOG().fit(COLOUR)
    with pytest.raises(
        ValueError, match=r"X has images of shape \(33, 29, 3\), but HOG was fitted"
    ):
        hog.transform(COLOUR[:, 1:])
    with pytest.raises(ValueError, match=r"was fitted on images of shape \(34, 29, 3\)"):
        hog.transform(COLOUR[..., :1])


def test_columns_of_a_data_frame_keep_their_order() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(COLOUR[..., :1].reshape(3, -1), columns=[f"p{i}" for i in range(986)])
    hog = HOG(image_shape=(34, 29, 1)).fit(frame)
    np.testing.assert_array_equal(hog.transform(frame), HOG().transform(COLOUR[..., :1]))
    with pytest.raises(ValueError, match="must be in the same order"):
        hog.transform(frame[frame.columns[::-1]])


def test_memory_counts_the_features_too() -> None:
    """149 MB of features from 0.3 MB of pixels."""
    import tracemalloc

    images = rng.integers(0, 256, (256, 32, 32, 1), dtype=np.uint8)
    hog = HOG(18, (1, 1), (3, 3))
    hog.transform(images[:1])
    tracemalloc.start()
    found = hog.transform(images)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak - found.nbytes < 100e6


def test_memory_is_bounded() -> None:
    """Far less than a floating copy of the images, which would be 74 MB."""
    import tracemalloc

    backend = get_backend("numpy")
    images = backend.asarray(rng.integers(0, 256, (6000, 32, 32, 3), dtype=np.uint8))
    HOG().transform(images[:10])
    tracemalloc.start()
    found = HOG(block_norm=None).transform(images)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak - found.nbytes < 40e6
