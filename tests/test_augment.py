"""Augmentation: each change against a loop over pixels, and the same draws on every backend."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpcls.augment import augmented, check_augmentation
from xpcls_backends import Backend, host_generator, namespace_of, to_host
from xpcls_backends.testing import forbid_host_reads

N, H, W, C = 6, 5, 7, 2
IMAGES = np.random.default_rng(0).integers(1, 256, (N, H, W, C), dtype=np.uint8)


def changed(images: Any, *changes: Any, seed: int = 0) -> Any:
    return augmented(images, (H, W, C), check_augmentation(changes), host_generator(seed))


def shifted(image: Any, down: int, right: int) -> Any:
    """The pixel of the result at (i, j) is that of the image at (i + down, j + right), or 0."""
    found = np.zeros_like(image)
    for i in range(H):
        for j in range(W):
            if 0 <= i + down < H and 0 <= j + right < W:
                found[i, j] = image[i + down, j + right]
    return found


@given(st.integers(0, 1000), st.integers(1, 9))
def test_a_shift_moves_every_image_by_its_own_step(seed: int, reach: int) -> None:
    found = changed(IMAGES, ("shift", reach), seed=seed)
    moved = host_generator(seed).integers(-reach, reach + 1, (2, N))
    assert np.abs(moved).max() <= reach
    for image, result, down, right in zip(IMAGES, found, *moved, strict=True):
        assert np.array_equal(result, shifted(image, down, right))


def test_a_flip_mirrors_about_half_of_the_images() -> None:
    many = np.tile(IMAGES, (50, 1, 1, 1))
    found = changed(many, "flip")
    mirrored = [np.array_equal(f, image[:, ::-1]) for f, image in zip(found, many, strict=True)]
    kept = [np.array_equal(f, image) for f, image in zip(found, many, strict=True)]
    assert all(a != b for a, b in zip(mirrored, kept, strict=True))
    assert 110 < sum(mirrored) < 190


@given(st.integers(0, 1000), st.floats(0.2, 1.0))
def test_a_crop_takes_a_window_and_stretches_it(seed: int, share: float) -> None:
    found = changed(IMAGES, ("crop", share), seed=seed)
    generator = host_generator(seed)
    shares = generator.uniform(share, 1.0, N)
    places = generator.uniform(0.0, 1.0, (2, N)) * (1.0 - shares)
    for image, result, part, top, left in zip(IMAGES, found, shares, *places, strict=True):
        for i in range(H):
            for j in range(W):
                y = int(np.floor(top * H + (i + 0.5) * part))
                x = int(np.floor(left * W + (j + 0.5) * part))
                assert np.array_equal(result[i, j], image[y, x])


def test_a_crop_of_everything_changes_nothing() -> None:
    assert np.array_equal(changed(IMAGES, ("crop", 1.0)), IMAGES)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_all_at_once_on_every_backend(backend: Backend, dtype: str) -> None:
    rows = (IMAGES / (1 if dtype == "uint8" else 256)).astype(dtype)
    changes = (("shift", 2), "flip", ("crop", 0.5))
    expected = changed(rows, *changes, seed=3)
    assert not np.array_equal(expected, rows)
    flat = backend.asarray(rows.reshape(N, -1))
    with forbid_host_reads():
        found = changed(flat, *changes, seed=3)
    assert namespace_of(found) is backend.xp and found.shape == (N, H * W * C)
    assert to_host(found).dtype == dtype
    assert np.array_equal(to_host(found).reshape(N, H, W, C), expected)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("flip", "augment is 'flip', expected a sequence such as"),
        (3, "augment is 3, expected a sequence"),
        (["turn"], r"augment\[0\] is 'turn', expected \('shift', pixels\), 'flip' or"),
        ([("flip", 1)], r"augment\[0\] is \('flip', 1\)"),
        (["shift"], r"augment\[0\] is 'shift'"),
        ([("shift", 0)], r"the pixels in augment\[0\] is 0"),
        ([("shift", 1.5)], r"the pixels in augment\[0\] is 1.5"),
        (["flip", ("crop", 0)], r"the share in augment\[1\] is 0"),
        ([("crop", 1.1)], r"the share in augment\[0\] is 1.1"),
    ],
)
def test_what_is_no_change_is_named(given: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        check_augmentation(given)
