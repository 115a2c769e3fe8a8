"""Images from files, folders of them, and `load`, which finds out what a path holds."""

from __future__ import annotations

import gzip
import os
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xpcls import progress
from xpcls.data import DataFormatError, load, load_folder, load_mnist5k, read_image


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path: Path, pixels: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


@pytest.fixture
def animals(tmp_path: Path) -> Path:
    folder = tmp_path / "animals"
    for i, name in enumerate(["dog/b.png", "dog/a.bmp", "cat/1.png", "cat/2.png", "cat/3.gif"]):
        save(folder / name, noise(6, 5, seed=i))
    return folder


# --- one image --------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["png", "bmp", "webp"])
def test_lossless_formats_give_the_pixels(tmp_path: Path, ending: str) -> None:
    pixels = noise(7, 9)
    path = save(
        tmp_path / f"x.{ending}", pixels, **({"lossless": True} if ending == "webp" else {})
    )
    image = read_image(path)
    assert image.dtype == np.uint8
    assert np.array_equal(image, pixels)


def test_jpeg_and_gif_are_read(tmp_path: Path) -> None:
    pixels = np.full((8, 8, 3), (200, 30, 60), np.uint8)
    for ending in ("jpg", "gif"):
        image = read_image(save(tmp_path / f"x.{ending}", pixels))
        assert image.shape == (8, 8, 3)
        assert np.abs(image.astype(int) - pixels).max() <= 4


def test_grey_weighs_the_colours(tmp_path: Path) -> None:
    pixels = noise(5, 4)
    grey = read_image(save(tmp_path / "x.png", pixels), grey=True)
    assert grey.shape == (5, 4, 1)
    assert np.abs(grey[..., 0] - pixels @ [0.299, 0.587, 0.114]).max() <= 1
    as_rgb = read_image(save(tmp_path / "grey.png", grey[..., 0]))
    assert np.array_equal(as_rgb, np.repeat(grey, 3, axis=2))


def test_exif_orientation_is_respected(tmp_path: Path) -> None:
    pixels = noise(4, 6)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    path = save(tmp_path / "x.png", pixels, exif=exif)
    assert np.array_equal(read_image(path), np.rot90(pixels, -1))


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 3] = 0, 128, 255  # black, from invisible to opaque
    assert read_image(save(tmp_path / "rgba.png", rgba))[0, :, 0].tolist() == [255, 127, 0]
    assert read_image(save(tmp_path / "la.png", rgba[..., 2:]))[0, :, 0].tolist() == [255, 127, 0]
    indexed = Image.new("P", (2, 1), 0)
    indexed.putpalette([0, 0, 0, 10, 20, 30])
    indexed.putpixel((1, 0), 1)
    indexed.save(tmp_path / "p.png", transparency=0)
    assert read_image(tmp_path / "p.png").tolist() == [[[255] * 3, [10, 20, 30]]]


def test_sixteen_bits_keep_their_upper_eight(tmp_path: Path) -> None:
    deep = np.asarray([[0, 255, 256, 32768, 65535]], np.uint16)
    path = save(tmp_path / "x.png", deep)
    assert read_image(path, grey=True)[0, :, 0].tolist() == [0, 0, 1, 128, 255]
    assert read_image(path)[0, :, 2].tolist() == [0, 0, 1, 128, 255]


def test_resizing_is_height_by_width_and_averages(tmp_path: Path) -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    path = save(tmp_path / "x.png", stripes)
    small = read_image(path, size=(4, 8))
    assert small.shape == (4, 8, 3)
    assert np.abs(small.astype(int) - 127.5).max() < 10  # picking pixels would give 0 or 255


@pytest.mark.parametrize("size", [(0, 4), (4,), (4, 4, 4), 4, (4.0, 4), (True, 4), "44"])
def test_bad_sizes(tmp_path: Path, size: object) -> None:
    path = save(tmp_path / "x.png", noise(4, 4))
    with pytest.raises(ValueError, match=r"size is .*expected \(height, width\)"):
        read_image(path, size=size)  # type: ignore[arg-type]


def huge_png(width: int, height: int) -> bytes:
    """A black PNG of 1 bit a pixel: 10 KB for 9000 x 9000."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((1 + (width + 7) // 8) * height), 9)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [9_000, 10_000, 20_000])  # Pillow: silent, warns, refuses
def test_too_many_pixels_are_refused_before_decoding(tmp_path: Path, side: int) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(huge_png(side, side))
    assert path.stat().st_size < 60_000
    tracemalloc.start()
    with pytest.raises(DataFormatError, match=r"bomb\.png"):
        read_image(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20


def test_max_pixels_is_the_callers(tmp_path: Path) -> None:
    path = save(tmp_path / "x.png", noise(10, 10))
    with pytest.raises(DataFormatError, match="10 x 10 pixels, more than max_pixels=99"):
        read_image(path, max_pixels=99)
    assert read_image(path, max_pixels=100).shape == (10, 10, 3)


def test_what_is_no_image(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    whole = save(tmp_path / "whole.png", noise(30, 30)).read_bytes()
    for content in (b"", b"text", eps, whole[:100], whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(DataFormatError, match=r"x\.png is no image of the formats PNG, JPEG"):
            read_image(path)
    with pytest.raises(FileNotFoundError):
        read_image(tmp_path / "nowhere.png")
    with pytest.raises(DataFormatError, match="is no file"):
        read_image(tmp_path)
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(DataFormatError, match="is no file"):
        read_image(tmp_path / "pipe.png")


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "gif", "webp"])
def test_mutants_of_an_image(tmp_path: Path, ending: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    options = {} if ending in ("bmp", "gif") else {"exif": exif}
    path = save(tmp_path / f"x.{ending}", noise(12, 11), **options)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    outcomes = set()
    for _ in range(200):
        mutant = bytearray(content)
        for _ in range(rng.integers(1, 5)):
            at = int(rng.integers(min(len(mutant), 120) if rng.random() < 0.5 else len(mutant)))
            if rng.random() < 0.7:
                mutant[at] = rng.integers(256)
            else:
                del mutant[at : at + int(rng.integers(1, 6))]
        path.write_bytes(bytes(mutant))
        try:
            image = read_image(path, max_pixels=10_000)
        except DataFormatError:
            outcomes.add("refused")
        else:
            outcomes.add("loaded")
            assert image.ndim == 3
    assert "refused" in outcomes


# --- a folder of classes ----------------------------------------------------------------------


def test_subfolders_are_the_classes(animals: Path) -> None:
    save(animals / ".hidden" / "x.png", noise(9, 9))
    (animals / "cat" / ".DS_Store").write_bytes(b"not an image")
    (animals / "README.txt").write_text("left alone")
    data = load_folder(animals)
    assert data.class_names == ("cat", "dog")
    assert data.labels.tolist() == [0, 0, 0, 1, 1]
    assert data.images.shape == (5, 6, 5, 3)
    assert np.array_equal(data.images[0], noise(6, 5, seed=2))
    assert np.array_equal(data.images[3], noise(6, 5, seed=1))  # dog/a.bmp, before b.png
    assert str(animals) in data.source
    assert load_folder(animals, grey=True).images.shape == (5, 6, 5, 1)


def test_images_of_several_sizes_need_one(animals: Path) -> None:
    save(animals / "dog" / "c.png", noise(8, 3))
    with pytest.raises(DataFormatError) as caught:
        load_folder(animals)
    message = str(caught.value)
    assert "1.png has 6 x 5 pixels and " in message
    assert "c.png has 8 x 3; pass size=(height, width)" in message
    assert load_folder(animals, size=(4, 7)).images.shape == (6, 4, 7, 3)


def test_folders_that_hold_something_else(animals: Path, tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match="has no subfolder"):
        load_folder(animals / "cat")
    with pytest.raises(FileNotFoundError):
        load_folder(tmp_path / "nowhere")
    with pytest.raises(NotADirectoryError):
        load_folder(animals / "cat" / "1.png")
    above = tmp_path / "above"  # one level too high: its class folder holds class folders
    (above / "train").mkdir(parents=True)
    (above / "train" / "animals").symlink_to(animals)
    with pytest.raises(DataFormatError, match="animals is no file"):
        load_folder(above)
    (animals / "empty").mkdir()
    with pytest.raises(DataFormatError, match="empty holds no image"):
        load_folder(animals)
    (animals / "empty" / "notes.txt").write_text("no image")
    with pytest.raises(DataFormatError, match=r"notes\.txt is no image"):
        load_folder(animals)


def test_progress_is_told(animals: Path) -> None:
    told = []
    with progress.listen(lambda *step: told.append(step)):
        load_folder(animals)
    assert told == [("reading images", i, 5, {}) for i in range(1, 6)]


# --- load -------------------------------------------------------------------------------------


def test_load_finds_out_what_a_path_holds(animals: Path, tmp_path: Path) -> None:
    assert np.array_equal(load("mnist5k").images, load_mnist5k().images)
    assert load(animals).class_names == ("cat", "dog")
    assert load(str(animals), size=(2, 3), grey=True).images.shape == (5, 2, 3, 1)
    mnist = tmp_path / "mnist"
    mnist.mkdir()
    for part in ("train", "t10k"):
        images = bytes([0, 0, 8, 3, *[0, 0, 0, 2] * 3]) + bytes(8)
        (mnist / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
        (mnist / f"{part}-labels-idx1-ubyte").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]))
    assert load(mnist).labels.tolist() == [7, 9, 7, 9]
    cifar = tmp_path / "cifar" / "cifar-10-batches-py"
    cifar.mkdir(parents=True)
    (cifar / "test_batch").write_bytes(b"not a pickle")
    with pytest.raises(DataFormatError, match=r"test_batch is a file, and only the archive"):
        load(cifar / "test_batch")
    (tmp_path / "other.tar.gz").write_bytes(b"no archive")
    for path in (cifar, cifar.parent, tmp_path / "other.tar.gz"):
        with pytest.raises(DataFormatError, match=r"cs\.toronto\.edu"):
            load(path)


def test_load_says_what_it_looked_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"looked for: data_batch_1 .*MNIST.*subfolders"):
        load(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        load(tmp_path / "nowhere")


def test_load_takes_no_options_that_it_would_ignore() -> None:
    with pytest.raises(ValueError, match=r"size=\(8, 8\) and grey=True: only for folders"):
        load("mnist5k", size=(8, 8), grey=True)
