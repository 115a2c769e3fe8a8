"""One name or path for any data set: what the command line's --data takes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ._cifar import ARCHIVE, find_cifar10, load_cifar10
from ._dataset import DataFormatError, Dataset
from ._folder import find_classes, load_folder
from ._mnist import find_mnist, load_mnist
from ._mnist5k import load_mnist5k
from ._shapes import make_shapes

N_SHAPES = 5000  # as many as there are digits
NAMED: dict[str, Callable[[], Dataset]] = {
    "mnist5k": load_mnist5k,
    "shapes": lambda: make_shapes(N_SHAPES),
}


def load(
    name_or_path: str | os.PathLike[str],
    *,
    size: tuple[int, int] | None = None,
    grey: bool = False,
) -> Dataset:
    """The data set that a name or a path stands for.

    name_or_path : "mnist5k", the bundled digits; "shapes", 5,000 images of `make_shapes`, which
        are drawn in a second or two; or a path, at which are looked for, in order, CIFAR-10 (its
        batches, the folder that holds them, its .tar.gz), MNIST's IDX files, and one subfolder of
        images for each class. A folder that is itself named shapes is "./shapes".
    size, grey : as `load_folder` takes them; only for folders of images.

    Raises FileNotFoundError where there is nothing at the path, or nothing of these, ValueError
    where `size` or `grey` are given for a data set that has its own, and DataFormatError as the
    readers do.
    """
    if isinstance(name_or_path, str) and name_or_path in NAMED:
        _refuse_options(name_or_path, size, grey)
        return NAMED[name_or_path]()
    path = Path(name_or_path).expanduser()
    if not path.exists():
        names = " or ".join(NAMED)
        raise FileNotFoundError(f"{path} does not exist; give the path of a data set, {names}")
    if path.is_file() and path.suffix not in (".gz", ".tgz"):
        raise DataFormatError(
            f"{path} is a file, and only the archive of CIFAR-10 ({ARCHIVE}) is read as one; "
            "give the folder of a data set"
        )
    if find_cifar10(path):
        _refuse_options("CIFAR-10", size, grey)
        return load_cifar10(path)
    if find_mnist(path):
        _refuse_options("MNIST", size, grey)
        return load_mnist(path)
    if path.is_dir() and find_classes(path):
        return load_folder(path, size, grey)
    raise FileNotFoundError(
        f"{path} holds no data set; looked for: data_batch_1 or cifar-10-python.tar.gz (CIFAR-10), "
        "train-images-idx3-ubyte or t10k-images-idx3-ubyte (MNIST), subfolders of images, one a "
        "class"
    )


def _refuse_options(data: str, size: tuple[int, int] | None, grey: bool) -> None:
    given = [f"size={size}"] * (size is not None) + [f"grey={grey}"] * bool(grey)
    if given:
        raise ValueError(f"{' and '.join(given)}: only for folders of images, {data} is read as is")
