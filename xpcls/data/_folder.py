"""Folders of image files, one subfolder a class, and the reading of a single image."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from xpcls.progress import advance

from ._dataset import DataFormatError, Dataset, Images

# Without a list, Pillow tries all it knows, among them EPS, which starts Ghostscript.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP")
MAX_PIXELS = 50_000_000  # of one image: a file of 10 KB can say 81 million and take 230 MB


def load_folder(
    path: str | os.PathLike[str],
    size: tuple[int, int] | None = None,
    grey: bool = False,
    *,
    max_pixels: int = MAX_PIXELS,
) -> Dataset:
    """The images in a folder that has one subfolder for each class.

    path : the folder. The names of its subfolders, sorted, are the `class_names`; files beside
        them are left alone, and so is what is hidden (its name begins with a dot).
    size : (height, width) to which every image is resized; None where all have one size.
    grey : one channel instead of red, green and blue.
    max_pixels : the most that an image may have before it is resized.

    Returns a `Dataset` with `images` uint8 (N, H, W, C), class by class, files sorted by name. How
    a file becomes pixels is said at `read_image`.

    Raises FileNotFoundError or NotADirectoryError for `path`, and DataFormatError where there is
    no class, a class has no image, a file is no image, or sizes differ and `size` is None.
    """
    folder = Path(path).expanduser()
    target = _checked_size(size)
    class_folders = find_classes(folder)
    if not class_folders:
        raise DataFormatError(
            f"{folder} has no subfolder; put the images of each class into one of its own"
        )
    files: list[Path] = []
    labels: list[int] = []
    for label, class_folder in enumerate(class_folders):
        here = [entry for entry in sorted(class_folder.iterdir()) if _shown(entry)]
        if not here:
            raise DataFormatError(f"{class_folder} holds no image; add some or remove the folder")
        files += here
        labels += [label] * len(here)
    return Dataset(
        images=_read_all(files, target, grey, max_pixels),
        labels=np.asarray(labels, dtype=np.int64),
        class_names=tuple(class_folder.name for class_folder in class_folders),
        source=f"image files in {folder}",
        license="as the makers of the images say; the files do not tell",
    )


def read_image(
    path: str | os.PathLike[str],
    size: tuple[int, int] | None = None,
    grey: bool = False,
    *,
    max_pixels: int = MAX_PIXELS,
) -> Images:
    """The pixels of a PNG, JPEG, BMP, GIF or WEBP file: uint8 (H, W, 3), or (H, W, 1) if `grey`.

    size : (height, width) to resize to, bilinear, averaging over what is made smaller; None keeps
        the image's own size.
    grey : 0.299 red + 0.587 green + 0.114 blue, as ITU-R 601 weighs them.
    max_pixels : an image with more is refused before it is decoded.

    The image is turned as its EXIF orientation says, transparent pixels are laid on white, of an
    animation the first frame counts, and of 16 bits a channel the upper 8.

    Raises DataFormatError where the file is none of these formats, is damaged or too large, and
    OSError (FileNotFoundError, PermissionError, ...) where it cannot be opened.
    """
    file_path = Path(path).expanduser()
    target = _checked_size(size)
    if file_path.exists() and not file_path.is_file():  # a pipe would wait for ever
        raise DataFormatError(f"{file_path} is no file, expected an image; remove or convert it")
    with open(file_path, "rb") as file, warnings.catch_warnings():
        # Pillow warns of many pixels, counted below, and of odd metadata, which nobody reads.
        warnings.simplefilter("ignore")
        try:
            with Image.open(file, formats=FORMATS) as image:
                n_pixels = image.width * image.height  # known from the header, not yet decoded
                if n_pixels > max_pixels:
                    raise DataFormatError(
                        f"{file_path} has {image.height} x {image.width} pixels, more than "
                        f"max_pixels={max_pixels}; make it smaller or raise max_pixels"
                    )
                upright = _on_white(_eight_bits(ImageOps.exif_transpose(image)))
                pixels = upright.convert("L" if grey else "RGB")
                if target is not None:
                    pixels = pixels.resize(target[::-1], Image.Resampling.BILINEAR)
                array: Images = np.array(pixels, dtype=np.uint8)
        except (DataFormatError, MemoryError):
            raise
        except Exception as error:  # Pillow's decoders raise whatever they meet
            raise DataFormatError(
                f"{file_path} is no image of the formats {', '.join(FORMATS)} "
                f"({type(error).__name__}: {error!s:.100}); remove or convert it"
            ) from None
    return array[:, :, np.newaxis] if grey else array


def find_classes(folder: Path) -> list[Path]:
    """The subfolders that are not hidden, sorted by name."""
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and _shown(entry))


def _shown(entry: Path) -> bool:
    return not entry.name.startswith(".")


def _read_all(
    files: Sequence[Path], size: tuple[int, int] | None, grey: bool, max_pixels: int
) -> Images:
    """Images (n, H, W, C); the array is made once the first image has told its shape."""
    first = read_image(files[0], size, grey, max_pixels=max_pixels)
    images: Images = np.empty((len(files), *first.shape), dtype=np.uint8)
    images[0] = first
    advance("reading images", 1, len(files))
    for i, path in enumerate(files[1:], start=1):
        image = read_image(path, size, grey, max_pixels=max_pixels)
        if image.shape != first.shape:
            sizes = [f"{height} x {width}" for height, width, _ in (first.shape, image.shape)]
            raise DataFormatError(
                f"{files[0]} has {sizes[0]} pixels and {path} has {sizes[1]}; "
                "pass size=(height, width) to resize all images"
            )
        images[i] = image
        advance("reading images", i + 1, len(files))
    return images


def _checked_size(size: tuple[int, int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    lengths = tuple(size) if isinstance(size, tuple | list) else ()
    if len(lengths) != 2 or not all(type(n) is int and n >= 1 for n in lengths):
        raise ValueError(f"size is {size!r}, expected (height, width), two integers from 1")
    return lengths[0], lengths[1]


def _eight_bits(image: Image.Image) -> Image.Image:
    """Greys of 16 bits cut to their upper 8; Pillow itself would turn all above 255 to white."""
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return image
    return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))


def _on_white(image: Image.Image) -> Image.Image:
    """The image without transparency, as it looks on a white page."""
    if not image.has_transparency_data:
        return image
    page = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(page, image.convert("RGBA"))
