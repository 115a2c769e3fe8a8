"""What every reader returns, and the one error for files that are not what they should be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int64]


class DataFormatError(ValueError):
    """A data file is truncated, oversized, hostile or malformed.

    The message names the file, what is wrong with it and what to do.
    """


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Images with their labels, on the host.

    images : uint8 (N, H, W, C), a NumPy array
    labels : int64 (N,), the class of each image as an index into `class_names`
    class_names : tuple of str, none twice
    source : who made the images and where they were read
    license : under which terms they stand, as far as it is known
    official_test : the last so many rows are the test part that the makers of the data set named;
        0 where they named none

    Raises TypeError or ValueError where a field is not so. The arrays are kept, not copied.
    """

    images: Images
    labels: Indices
    class_names: tuple[str, ...]
    source: str
    license: str
    official_test: int = 0

    def __post_init__(self) -> None:
        _check_array("images", self.images, np.uint8, 4, "(N, H, W, C)")
        _check_array("labels", self.labels, np.int64, 1, "(N,)")
        if 0 in self.images.shape[1:]:
            raise ValueError(f"images has shape {self.images.shape}: its images have no pixels")
        if len(self.images) != len(self.labels):
            raise ValueError(
                f"labels has {len(self.labels)} entries for {len(self.images)} images; "
                "give one label an image"
            )
        names = self.class_names
        if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
            raise TypeError(f"class_names is {names!r}, expected a tuple of str")
        if not names or len(set(names)) < len(names):
            raise ValueError(f"class_names is {names!r}, expected at least one name and none twice")
        if self.labels.size and not 0 <= self.labels.min() <= self.labels.max() < len(names):
            wrong = self.labels[(self.labels < 0) | (self.labels >= len(names))][0]
            raise ValueError(f"labels holds {wrong}, expected 0 to {len(names) - 1}")
        for field in ("source", "license"):
            if not isinstance(getattr(self, field), str):
                raise TypeError(f"{field} is {getattr(self, field)!r}, expected a str")
        if isinstance(self.official_test, bool) or not isinstance(self.official_test, int):
            raise TypeError(f"official_test is {self.official_test!r}, expected an int")
        if not 0 <= self.official_test <= len(self.labels):
            raise ValueError(
                f"official_test is {self.official_test}, expected 0 to {len(self.labels)}, "
                "the number of images"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        shape = " x ".join(str(length) for length in self.images.shape[1:])
        test = f", the last {self.official_test} for testing" if self.official_test else ""
        return (
            f"<Dataset: {len(self)} images of {shape}{test}, {len(self.class_names)} classes, "
            f"source {self.source!r}>"
        )


def _check_array(field: str, array: Any, dtype: type, ndim: int, shape: str) -> None:
    if not isinstance(array, np.ndarray):
        raise TypeError(
            f"{field} is a {type(array).__name__}, expected a NumPy array; "
            "take one from another device to the host with xpcls.to_host(x)"
        )
    if array.dtype != dtype:
        raise TypeError(
            f"{field} has dtype {array.dtype}, expected {dtype.__name__}; "
            f"convert it with {field}.astype(numpy.{dtype.__name__})"
        )
    if array.ndim != ndim:
        raise ValueError(f"{field} has shape {array.shape}, expected {shape}")
