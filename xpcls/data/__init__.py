"""Images to classify: bundled digits, drawn shapes, CIFAR-10, MNIST, folders, and their parts.

    from xpcls.data import load_mnist5k, split

    digits = load_mnist5k()
    parts = split(digits, validation=0.1, test=0.1)
    X_train, y_train = digits.images[parts.train], digits.labels[parts.train]

Every reader returns a `Dataset`, and so does `make_shapes`. Files may come from anywhere: they are
parsed as data, nothing in them is run, and whatever is wrong with one is a `DataFormatError` that
names it.
"""

from ._cifar import load_cifar10
from ._dataset import DataFormatError, Dataset
from ._folder import load_folder, read_image
from ._load import load
from ._mnist import load_mnist
from ._mnist5k import load_mnist5k
from ._shapes import make_shapes
from ._split import Split, duplicate_rows, split

__all__ = [
    "DataFormatError",
    "Dataset",
    "Split",
    "duplicate_rows",
    "load",
    "load_cifar10",
    "load_folder",
    "load_mnist",
    "load_mnist5k",
    "make_shapes",
    "read_image",
    "split",
]
