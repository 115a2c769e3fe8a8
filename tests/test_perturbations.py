"""Perturbations: each against a loop over pixels, on every backend, for uint8 and floats."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpcls import perturbations, progress
from xpcls.perturbations import (
    PERTURBATIONS,
    brightness,
    flip,
    mask_patch,
    noise,
    rotate,
    shift,
)
from xpcls_backends import Backend, host_generator, namespace_of, to_host
from xpcls_backends.testing import forbid_host_reads

N, H, W, C = 7, 6, 9, 3
IMAGES = np.random.default_rng(0).integers(0, 256, (N, H, W, C), dtype=np.uint8)
IMAGES[0, 0, :2, 0] = 0, 255
DTYPES = ("uint8", "float32", "float64")


def of_dtype(dtype: str) -> Any:
    return IMAGES if dtype == "uint8" else (IMAGES / 255).astype(dtype)


def full(images: Any) -> int:
    return 255 if images.dtype == np.uint8 else 1


def placed(values: Any, images: Any) -> Any:
    """Values on the scale of the images, in float64, as an image holds them."""
    limited = np.minimum(np.maximum(values, 0), full(images))
    return np.rint(limited) if images.dtype == np.uint8 else limited


# --- naive loops: float64 (N, H, W, C), from images of any dtype ------------------------------


def naive_mask(images: Any, share: float, seed: int) -> Any:
    found = images.astype(float)
    draws = host_generator(seed).random((len(images), 2))
    n, height, width, _ = images.shape
    tall, wide = round(share * height), round(share * width)
    for i in range(n):
        top = int(draws[i, 0] * (height - tall + 1))
        left = int(draws[i, 1] * (width - wide + 1))
        assert top + tall <= height and left + wide <= width
        found[i, top : top + tall, left : left + wide] = 0
    return found


def naive_brightness(images: Any, change: float) -> Any:
    step = round(255 * change) if images.dtype == np.uint8 else change
    found = np.empty(images.shape)
    for place in np.ndindex(images.shape):
        found[place] = placed(float(images[place]) + step, images)
    return found


def naive_shift(images: Any, pixels: int, seed: int) -> Any:
    """The pixel at (i, j) comes from (i + down, j + right), or is black."""
    n, height, width, _ = images.shape
    moved = host_generator(seed).integers(-pixels, pixels + 1, (n, 2))
    found = np.zeros(images.shape)
    for k, i, j in np.ndindex(n, height, width):
        y, x = i + moved[k, 0], j + moved[k, 1]
        if 0 <= y < height and 0 <= x < width:
            found[k, i, j] = images[k, y, x]
    return found


def naive_rotate(images: Any, degrees: float) -> Any:
    n, height, width, channels = images.shape
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    middle_y, middle_x = (height - 1) / 2, (width - 1) / 2
    found = np.zeros(images.shape)

    def pixel(k: int, y: int, x: int) -> Any:
        inside = 0 <= y < height and 0 <= x < width
        return images[k, y, x].astype(float) if inside else np.zeros(channels)

    for k, i, j in np.ndindex(n, height, width):
        up, right = middle_y - i, j - middle_x
        # Turned back, clockwise, by the angle; y is counted downwards.
        y = middle_y - (cosine * up - sine * right)
        x = middle_x + (cosine * right + sine * up)
        top, left = math.floor(y), math.floor(x)
        for a in (0, 1):
            for b in (0, 1):
                weight = (1 - abs(y - top - a)) * (1 - abs(x - left - b))
                found[k, i, j] += weight * pixel(k, top + a, left + b)
    return placed(found, images)


def naive_noise(images: Any, deviation: float, seed: int) -> Any:
    grain = host_generator(seed).standard_normal(images.shape, dtype="float32")
    return placed(images.astype(float) + grain.astype(float) * deviation * full(images), images)


CASES: dict[str, tuple[Any, Any]] = {
    "mask": (
        lambda images: mask_patch(images, 0.4, random_state=3),
        lambda images: naive_mask(images, 0.4, 3),
    ),
    "brighter": (lambda i: brightness(i, 0.3), lambda i: naive_brightness(i, 0.3)),
    "darker": (lambda i: brightness(i, -0.3), lambda i: naive_brightness(i, -0.3)),
    "shift": (lambda i: shift(i, 2, random_state=3), lambda i: naive_shift(i, 2, 3)),
    "rotate": (lambda i: rotate(i, 25), lambda i: naive_rotate(i, 25)),
    "flip": (flip, lambda images: images[:, :, ::-1].astype(float)),
    "noise": (lambda i: noise(i, 0.2, random_state=3), lambda i: naive_noise(i, 0.2, 3)),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_each_equals_its_loop_on_every_backend(backend: Backend, dtype: str, name: str) -> None:
    if dtype == "float64" and backend.name == "strict-no_float64":
        dtype = "float32"
    images, (perturb, naive) = of_dtype(dtype), CASES[name]
    given = backend.asarray(images)
    with forbid_host_reads():
        found = perturb(given)
    assert namespace_of(found) is backend.xp and found.device == given.device
    assert found.shape == given.shape and found.dtype == given.dtype
    expected, host = naive(images), to_host(found).astype(float)
    assert not np.array_equal(host, images)
    if dtype == "uint8":  # float32 may round the other way where two roundings are as near
        assert np.abs(host - expected).max() <= (1 if name in ("rotate", "noise") else 0)
        assert (host != expected).mean() < 0.01
    else:
        assert np.allclose(host, expected, rtol=0, atol=1e-6 if dtype == "float32" else 1e-14)
        assert host.min() >= 0 and host.max() <= 1
    assert np.array_equal(to_host(given), images)  # the images given are left as they were


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_the_table_gives_the_same_on_every_backend(backend: Backend, name: str) -> None:
    images = np.tile(IMAGES, (1, 3, 2, 1))
    expected = PERTURBATIONS[name](images, 5)
    found = PERTURBATIONS[name](backend.asarray(images), 5)
    assert not np.array_equal(expected, images)
    difference = np.abs(to_host(found).astype(int) - expected.astype(int))
    assert difference.max() <= 1 and (difference > 0).mean() < 0.01


@given(
    st.sampled_from(sorted(CASES)),
    st.tuples(*[st.integers(1, 6)] * 3, st.integers(1, 3)),
    st.sampled_from(DTYPES),
    st.integers(0, 99),
)
def test_shapes_of_any_kind(
    name: str, shape: tuple[int, int, int, int], dtype: str, seed: int
) -> None:
    images = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    if dtype != "uint8":
        images = (images / 255).astype(dtype)
    perturb, naive = CASES[name]
    found = perturb(images)
    assert found.shape == shape and found.dtype == dtype
    tolerance = 1.0 if dtype == "uint8" and name in ("rotate", "noise") else 1e-6
    assert np.abs(found.astype(float) - naive(images)).max() <= tolerance


NOTHING = {
    "mask": lambda images: mask_patch(images, 0),
    "brightness": lambda images: brightness(images, 0),
    "shift": lambda images: shift(images, 0),
    "rotate": lambda images: rotate(images, 0),
    "flip": lambda images: flip(flip(images)),
    "noise": lambda images: noise(images, 0),
}


@pytest.mark.parametrize("name", NOTHING)
@pytest.mark.parametrize("dtype", DTYPES)
def test_strength_0_changes_nothing_and_gives_a_new_array(name: str, dtype: str) -> None:
    images = of_dtype(dtype).copy()
    found = NOTHING[name](images)
    assert np.array_equal(found, images)
    found[...] = 0
    assert images.any()


def test_a_mask_of_everything_is_black_and_brightness_ends_at_black_and_white() -> None:
    assert not mask_patch(IMAGES, 1).any()
    assert not brightness(IMAGES, -1).any()
    assert (brightness(IMAGES, 1) == 255).all()
    assert (brightness(of_dtype("float32"), 1) == 1).all()


def test_uint8_saturates_and_does_not_wrap() -> None:
    assert (brightness(IMAGES, 0.5) >= IMAGES).all()
    assert (brightness(IMAGES, -0.5) <= IMAGES).all()
    white = np.full((1, 20, 20, 1), 255, dtype=np.uint8)
    assert noise(white, 0.1).min() > 50
    assert noise(0 * white, 0.1).max() < 200
    assert rotate(white, 30).max() == 255


@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_quarter_turns_move_pixels_as_rot90_does(quarter: int) -> None:
    square = IMAGES[:, :, :H]
    assert np.array_equal(rotate(square, 90 * quarter), np.rot90(square, quarter, axes=(1, 2)))
    assert np.array_equal(rotate(square, 90 * quarter - 360), rotate(square, 90 * quarter))


def test_shifts_go_as_far_as_asked_in_all_directions() -> None:
    dot = np.zeros((500, 7, 7, 1), dtype=np.uint8)
    dot[:, 3, 3] = 255
    places = np.argwhere(shift(dot, 2)[..., 0])[:, 1:] - 3
    assert {tuple(place) for place in places.tolist()} == {
        (y, x) for y in range(-2, 3) for x in range(-2, 3)
    }


def test_noise_has_the_deviation_asked_for() -> None:
    grey = np.full((20, 16, 16, 3), 0.5)
    grain = noise(grey, 0.1) - grey
    assert abs(grain.mean()) < 0.003
    assert grain.std() == pytest.approx(0.1, rel=0.03)


RANDOM = {
    "mask": lambda images, seed: mask_patch(images, 0.4, random_state=seed),
    "shift": lambda images, seed: shift(images, 3, random_state=seed),
    "noise": lambda images, seed: noise(images, 0.2, random_state=seed),
}


@pytest.mark.parametrize("name", RANDOM)
def test_an_image_is_changed_alike_whatever_follows_it_and_in_any_blocks(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    change = RANDOM[name]
    all_images, told = change(IMAGES, 1), []
    assert np.array_equal(change(IMAGES[:3], 1), all_images[:3])
    assert not np.array_equal(change(IMAGES, 2), all_images)
    monkeypatch.setattr(perturbations, "scratch_bytes", lambda xp: 32 * H * W * C * 3)
    with progress.listen(lambda task, done, total, facts: told.append((done, total))):
        assert np.array_equal(change(IMAGES, 1), all_images)
    assert told == [(3, 7), (6, 7), (7, 7)]


@pytest.mark.parametrize("name", sorted(set(CASES) - {"flip"}))
def test_blocks_change_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = CASES[name][0](IMAGES)
    monkeypatch.setattr(perturbations, "scratch_bytes", lambda xp: 1)
    assert np.array_equal(CASES[name][0](IMAGES), expected)


# --- bad input --------------------------------------------------------------------------------

EVERY = {**NOTHING, "flip": flip}


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([[1, 2], [3, 4]], r"^images is \[\[1, 2\], \[3, 4\]\], expected images \(N, H, W, C\)"),
        (IMAGES[0], r"^images has shape \(6, 9, 3\), expected images \(N, H, W, C\), uint8 or"),
        (IMAGES[:0], r"^images has shape \(0, 6, 9, 3\), expected"),
        (IMAGES[:, :, :, :0], r"^images has shape \(7, 6, 9, 0\), expected"),
        (IMAGES.astype(int), r"^images has dtype int64, expected .*; convert them with xp.astype$"),
        (IMAGES > 0, "^images has dtype bool, expected"),
        (IMAGES.astype(float), "^images holds values from 0 to 255, .*: divide those that end"),
        (IMAGES / 255 - 0.5, "^images holds values from -0.5 to 0.5, expected"),
        (np.where(IMAGES == 0, np.nan, IMAGES / 255), "^images holds values from nan to nan"),
        (np.where(IMAGES == 0, np.inf, IMAGES / 255), "^images holds values from .* to inf"),
    ],
)
def test_what_are_no_images_is_said_in_one_line(name: str, images: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message) as caught:
        EVERY[name](images)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mask_patch(IMAGES, 1.1), "^share is 1.1, expected a finite number of at least 0"),
        (lambda: mask_patch(IMAGES, -0.1), "^share is -0.1"),
        (lambda: mask_patch(IMAGES, "half"), "^share is 'half'"),
        (lambda: brightness(IMAGES, 2), "^change is 2, expected a finite number of at least -1"),
        (lambda: brightness(IMAGES, float("nan")), "^change is nan"),
        (lambda: shift(IMAGES, 1.5), "^pixels is 1.5, expected an integer of at least 0"),
        (lambda: shift(IMAGES, -1), "^pixels is -1"),
        (lambda: rotate(IMAGES, float("inf")), "^degrees is inf, expected a finite number"),
        (lambda: rotate(IMAGES, None), "^degrees is None"),
        (lambda: noise(IMAGES, -0.1), "^deviation is -0.1, expected a finite number of at least 0"),
        (lambda: noise(IMAGES, 0.1, random_state="a"), "^random_state is 'a', expected"),
        (lambda: shift(IMAGES, 1, random_state=-1), "^random_state is -1, expected 0 or more"),
    ],
)
def test_a_strength_that_cannot_be_is_named(call: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        call()
