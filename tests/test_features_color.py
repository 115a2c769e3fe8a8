"""Colour histograms against a loop in exact fractions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import reference_features as reference
from xpcls.features import ColorHistogram
from xpcls.features._color import MOST_BINS, grey
from xpcls_backends import Backend, to_host
from xpcls_backends.testing import forbid_host_reads

rng = np.random.default_rng(0)
IMAGES = rng.integers(0, 256, (3, 9, 8, 3), dtype=np.uint8)
IMAGES[1, :4] //= 64  # few values: ties between channels, and grey pixels
IMAGES[2, ..., 1:] = IMAGES[2, ..., :1]  # all grey or red
ALL = [(10, False), (10, True), (1, False), (7, True), ((4, 3, 2), False), ((4, 3, 2), True)]


@pytest.mark.parametrize(("bins", "weighted"), ALL)
@pytest.mark.parametrize("kind", ["uint8", "float32", "float64"])
def test_it_is_that_of_a_loop_on_every_backend(
    backend: Backend, bins: Any, weighted: bool, kind: str
) -> None:
    if backend.name == "strict-no_float64" and kind == "float64":
        pytest.skip("this device has no float64 to compute in")
    # Of 256ths, which floats hold exactly, so that no pixel changes its bin.
    images = IMAGES if kind == "uint8" else IMAGES.astype(kind) / 256
    transformer = ColorHistogram(bins, weighted=weighted)
    X = backend.asarray(images)
    with forbid_host_reads():
        found = transformer.fit(X).transform(X)
    assert found.dtype == getattr(backend.xp, "float64" if kind == "float64" else "float32")
    expected = [reference.color_histogram(image, bins, weighted) for image in images]
    np.testing.assert_allclose(to_host(found), expected, rtol=1e-5, atol=1e-7)


@given(
    st.lists(st.tuples(*3 * [st.integers(0, 255)]), min_size=1, max_size=40),
    st.one_of(
        st.integers(1, MOST_BINS),
        st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40)),
    ),
    st.booleans(),
)
def test_every_pixel_falls_in_its_exact_bin(
    pixels: list[tuple[int, int, int]], bins: Any, weighted: bool
) -> None:
    image = np.asarray(pixels, dtype=np.uint8)[None]
    found = ColorHistogram(bins, weighted=weighted).transform(image[None])[0]
    expected = reference.color_histogram(image, bins, weighted)
    np.testing.assert_array_equal(found > 0, expected > 0)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found.sum() == pytest.approx(1.0, rel=1e-5)


def test_all_hues_of_bytes_are_exact_at_every_number_of_bins() -> None:
    """All pairs of chroma and numerator, at numbers of bins where edges are often hit."""
    d, t = (x.ravel() for x in np.meshgrid(np.arange(1, 256), np.arange(0, 256), indexing="ij"))
    d, t = d[t <= d], t[t <= d]
    images = np.zeros((len(d), 1, 1, 3), dtype=np.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = d, t  # red is largest, blue is 0: hue = t / d
    for bins in (6, 10, 12, 360, 997, MOST_BINS):
        found = ColorHistogram(bins).transform(images).argmax(axis=1)
        # Yellow, where t = d, has hue 1; numerator and edges are integers.
        np.testing.assert_array_equal(found, t * bins // (6 * d))


def test_it_is_near_scikit_images_hues() -> None:
    """Its hues are rounded, so a pixel on the edge of a bin may fall on the other side."""
    from skimage.color import rgb2hsv

    images = rng.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    hues = rgb2hsv(images)[..., 0].reshape(4, -1)
    expected = [np.histogram(hue, bins=10, range=(0, 1))[0] / hue.size for hue in hues]
    found = ColorHistogram(10).transform(images)
    np.testing.assert_allclose(found, expected, rtol=0, atol=5 / 1024)


def test_grey_pixels_have_no_say_where_colour_is_weighed() -> None:
    image = np.full((1, 4, 4, 3), 90, dtype=np.uint8)
    plain, weighed = (ColorHistogram(5, weighted=w) for w in (False, True))
    np.testing.assert_array_equal(plain.transform(image), [[1, 0, 0, 0, 0]])
    np.testing.assert_allclose(weighed.transform(image), [[0.2] * 5])
    image[0, 0, 0] = (0, 200, 0)  # one green pixel: a third of the way around
    np.testing.assert_array_equal(weighed.transform(image), [[0, 1, 0, 0, 0]])
    np.testing.assert_allclose(plain.transform(image), [[15 / 16, 1 / 16, 0, 0, 0]])


def test_hue_does_not_see_brightness() -> None:
    images = (IMAGES // 2).astype(np.float64)
    np.testing.assert_array_equal(
        ColorHistogram().transform(images), ColorHistogram().transform(images * 2 / 255)
    )


def test_grey_shares_sum_to_one() -> None:
    white = np.full((1, 1, 1, 3), 255, dtype=np.uint8)
    assert float(grey(white)[0, 0, 0, 0]) == pytest.approx(255.0)


WRONG: list[tuple[dict[str, Any], Any, str]] = [
    ({"bins": 0}, IMAGES, "a number in bins is 0, expected an integer of at least 1"),
    ({"bins": 1001}, IMAGES, "a number in bins is 1001"),
    ({"bins": "10"}, IMAGES, "a number in bins is '10'"),
    ({"bins": (8, 3)}, IMAGES, r"bins is \(8, 3\), expected a number of bins of hue, or \(hue"),
    ({"weighted": "yes"}, IMAGES, "weighted is 'yes', expected True or False"),
    ({}, IMAGES[..., :1], r"X has images of 1 channel\(s\), expected 3"),
    ({}, np.zeros((2, 5, 5, 4), dtype=np.uint8), r"X has images of 4 channel\(s\)"),
    ({"bins": (101, 100, 100)}, IMAGES, "which makes 1,010,000 joint bins, expected at most"),
    ({}, IMAGES * 1e300, "X holds .*, whose square overflows float64; scale the images to about"),
    ({}, IMAGES.astype(np.float32) * 1e20, "X holds .*, whose square overflows float32"),
    ({}, IMAGES.astype(np.int32), "X has dtype int32, expected uint8, or floating"),
    ({"bins": (8, 3, 3)}, IMAGES.astype(float), "X holds values from 0 to 25., expected 0 to 1"),
    ({}, IMAGES.reshape(3, -1), "X has rows of 216 features, and ColorHistogram needs images"),
]


@pytest.mark.parametrize(("options", "images", "sentence"), WRONG, ids=[w[2] for w in WRONG])
def test_what_is_wrong_is_said_in_one_line(
    options: dict[str, Any], images: Any, sentence: str
) -> None:
    for method in ("fit", "transform"):
        with pytest.raises((TypeError, ValueError), match=sentence) as raised:
            getattr(ColorHistogram(**options), method)(images)
        assert "\n" not in str(raised.value)
