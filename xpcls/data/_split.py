"""Training, validation and test parts, and the images that would stand in two of them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

from xpcls_backends import Seed, host_generator, to_host

from ._dataset import Dataset, Indices

TEST_FRACTION = 0.1  # where the data names no test part of its own


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """The rows of three parts, int64 (n,) each, shuffled; no row stands in two of them.

    Can be unpacked: `train, validation, test = split(...)`.
    """

    train: Indices
    validation: Indices
    test: Indices

    @property
    def train_and_validation(self) -> Indices:
        """The rows to fit on once the hyper-parameters are chosen."""
        return np.concatenate((self.train, self.validation))

    def __iter__(self) -> Iterator[Indices]:
        return iter((self.train, self.validation, self.test))

    def __repr__(self) -> str:
        return (
            f"<Split: {len(self.train)} training, {len(self.validation)} validation and "
            f"{len(self.test)} test rows>"
        )


def split(
    data: Dataset | Any,
    *,
    validation: float | int = 0.1,
    test: float | int | None = None,
    stratify: bool = True,
    random_state: Seed = 0,
    images: Any = None,
) -> Split:
    """Divide the rows of a data set at random into training, validation and test rows.

    Parameters
    ----------
    data : a Dataset, or labels (n,)
    validation, test : a fraction (float, 0 <= fraction < 1) or a number of rows (int); 0 for no
        such part. What is left is for training. `test=None` is 0.1.
        Where a Dataset has an `official_test`, these rows, in their order, are the test part:
        `test` must be None, and a fraction for validation is one of the other rows.
    stratify : keep the proportions of the classes: of each class, the validation and the test part
        have its exact share rounded down or up, and training has the others. Each class stands in
        each part at least once; where its share is less than one row, that row comes from the
        other classes' shares.
    random_state : None, an int or a numpy.random.Generator; the same int gives the same parts.
    images : (n, ...), the images of the labels, to look for copies among them; those of a Dataset
        are known.

    Returns
    -------
    Split, its three index arrays on the host; they cover all rows.

    Raises ValueError where a size is negative, NaN, less than one row or leaves no training rows,
    `data` is empty, or a class has too few rows to stand in each part.

    Warns (UserWarning) where the same image stands in two parts: a test score then counts images
    that were learned by heart. The search costs one pass over the images, see `duplicate_rows`.
    """
    class_names: tuple[str, ...] | None = None
    n_official = 0
    if isinstance(data, Dataset):
        if images is not None:
            raise TypeError("images is given beside a Dataset, which has its own; leave it out")
        labels, images, n_official = data.labels, data.images, data.official_test
        class_names = data.class_names
    else:
        labels = to_host(data)
    if labels.ndim != 1 or not len(labels):
        raise ValueError(f"labels has shape {labels.shape}, expected (n,) with n from 1")
    images = None if images is None else to_host(images)
    if images is not None and images.shape[:1] != labels.shape:
        raise ValueError(f"images has shape {images.shape}, expected {len(labels)} rows, as labels")
    if n_official and test is not None:
        raise ValueError(
            f"test is {test!r}, but the data set names its last {n_official} rows as its test "
            "part; leave test out"
        )
    n = len(labels) - n_official
    if not n:
        raise ValueError("all rows of the data set are its official test part; none can be trained")
    n_validation = _n_rows("validation", validation, n)
    n_test = 0 if n_official else _n_rows("test", TEST_FRACTION if test is None else test, n)
    if n_validation + n_test >= n:
        raise ValueError(
            f"validation={validation!r} and test={test!r} take all {n} rows; leave some to train on"
        )
    rng = host_generator(random_state)
    if stratify:
        parts = _by_class(labels[:n], n_validation, n_test, rng, class_names)
    else:
        order = rng.permutation(n)
        parts = np.split(order, [n_validation, n_validation + n_test])
    in_validation, in_test, in_train = (part.astype(np.int64, copy=False) for part in parts)
    if n_official:
        in_test = np.arange(n, len(labels), dtype=np.int64)
    result = Split(train=in_train, validation=in_validation, test=in_test)
    if images is not None:
        _warn_of_copies(images, result)
    return result


def _n_rows(name: str, size: float | int, n: int) -> int:
    """How many of `n` rows a fraction or a number of rows is."""
    if isinstance(size, bool) or not isinstance(size, Real):
        raise TypeError(
            f"{name} is {size!r}, expected a fraction (float) or a number of rows (int)"
        )
    if isinstance(size, Integral):
        if size < 0 or size >= n:
            raise ValueError(f"{name} is {size} rows, expected 0 to {n - 1} of the {n} there are")
        return int(size)
    if not 0 <= size < 1:  # NaN is refused too
        raise ValueError(f"{name} is {size}, expected a fraction from 0 to below 1, or an int")
    count = math.floor(float(size) * n + 0.5)
    if size > 0 and count == 0:
        raise ValueError(f"{name} is {size}: less than one of {n} rows; raise it or pass 0")
    return count


def _by_class(
    labels: np.ndarray[Any, Any],
    n_validation: int,
    n_test: int,
    rng: np.random.Generator,
    class_names: tuple[str, ...] | None,
) -> list[Indices]:
    """The rows for validation, for test and for training, each with its share of every class."""
    classes, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    n = len(labels)
    sizes = {"validation": n_validation, "test": n_test, "train": n - n_validation - n_test}
    sizes = {part: size for part, size in sizes.items() if size}
    rarest = int(np.argmin(counts))
    if counts[rarest] < len(sizes):
        name = str(classes[rarest]) if class_names is None else class_names[classes[rarest]]
        rows = "1 row" if counts[rarest] == 1 else f"{counts[rarest]} rows"
        raise ValueError(
            f"class {name!r} has {rows}, too few to stand in "
            f"{', '.join(sizes)}; add rows, ask for fewer parts or pass stratify=False"
        )
    for part, size in sizes.items():
        if size < len(classes):
            raise ValueError(
                f"{part} would have {size} rows, too few for {len(classes)} classes; change the "
                "sizes of the parts or pass stratify=False"
            )
    # Each part leaves one row of each class to those that come after it.
    of_test = _apportion(
        "test", counts, n_test, counts - 1 - (n_validation > 0), counts * n_test / n
    )
    # What test got below or above its exact share comes or goes with validation, so that the
    # training rows, which are what is left, are near their share too.
    owed = counts * (n_test + n_validation) / n - of_test
    of_validation = _apportion("validation", counts, n_validation, counts - of_test - 1, owed)

    chosen: tuple[list[Indices], ...] = ([], [], [])
    by_class = np.split(np.argsort(codes, kind="stable"), np.cumsum(counts)[:-1])
    for members, n_val, n_tst in zip(by_class, of_validation, of_test, strict=True):
        pieces = np.split(rng.permutation(members), [n_val, n_val + n_tst])
        for part_rows, piece in zip(chosen, pieces, strict=True):
            part_rows.append(piece)
    return [rng.permutation(np.concatenate(part_rows)) for part_rows in chosen]


def _apportion(
    part: str, counts: Indices, total: int, room: Indices, owed: np.ndarray[Any, Any]
) -> Indices:
    """How many of the `total` rows of a part come from each class, which has `counts` rows.

    Each class gives its exact share rounded down or up, at least 1 and at most `room`; those to
    which most is `owed` beyond their share rounded down are rounded up.
    """
    if not total:
        return np.zeros_like(counts)
    rare = np.zeros(counts.shape, dtype=bool)  # a class whose share is below one row gets one
    while True:
        rest, pool = total - int(rare.sum()), int(counts[~rare].sum())
        share_down, share_up = counts * rest // pool, -(-counts * rest // pool)
        if not (below := (share_down < 1) & ~rare).any():
            break
        rare |= below
    low = np.minimum(np.where(rare, 1, share_down), room)
    high = np.minimum(np.where(rare, 1, share_up), room)
    missing = total - int(low.sum())
    can_rise = np.flatnonzero(high > low)
    if missing > len(can_rise):
        raise ValueError(
            f"{part} would have {total} rows, but some classes are too small to give their share "
            "and stand in every part; ask for fewer rows or pass stratify=False"
        )
    first = np.argsort(-(owed - low)[can_rise], kind="stable")[:missing]
    low[can_rise[first]] += 1
    return low


def duplicate_rows(images: Any) -> list[Indices]:
    """Groups of identical images.

    images : (n, ...), any numbers. Identical means the same bytes.

    Returns a list of int64 arrays, one for each image that occurs more than once: its rows,
    ascending; the groups are ordered by their first row. A row without a copy is in none.

    Every image is hashed, and those with equal hashes are compared, so the answer is exact.
    O(n), one pass: about 0.1 s for 60,000 images of 3,072 bytes.
    """
    host = to_host(images)
    if host.ndim < 1 or host.dtype.kind not in "biufc":
        raise TypeError(f"images is {host.dtype} of shape {host.shape}, expected (n, ...) numbers")
    n = host.shape[0]
    rows = np.ascontiguousarray(host).reshape(n, math.prod(host.shape[1:]))
    hashes = np.fromiter((hash(row.tobytes()) for row in rows), dtype=np.int64, count=n)
    _, code, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    groups: dict[bytes, list[int]] = {}
    for i in np.flatnonzero(counts[code] > 1).tolist():
        groups.setdefault(rows[i].tobytes(), []).append(i)
    return [np.asarray(group, dtype=np.int64) for group in groups.values() if len(group) > 1]


def _warn_of_copies(images: Any, parts: Split) -> None:
    part_of = np.empty(sum(map(len, parts)), dtype=np.int64)
    for code, rows in enumerate(parts):
        part_of[rows] = code
    across = [g for g in duplicate_rows(images) if part_of[g].min() != part_of[g].max()]
    if not across:
        return
    group = across[0]
    first = int(group[0])
    other = int(group[part_of[group] != part_of[first]][0])
    names = ("train", "validation", "test")
    warnings.warn(
        f"{len(across)} {'images stand' if len(across) > 1 else 'image stands'} in more than one "
        f"part, the first in row {first} ({names[part_of[first]]}) and row {other} "
        f"({names[part_of[other]]}): drop copies with xpcls.data.duplicate_rows(images) "
        "before splitting",
        stacklevel=3,
    )
