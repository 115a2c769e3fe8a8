"""Folds for cross-validation, in scikit-learn's protocol, shuffled unless told otherwise.

A splitter has `split(X, y=None, groups=None)`, which gives (training rows, validation rows) fold
after fold, and `get_n_splits()`. These work as `cv=` in scikit-learn's searches, and
scikit-learn's work wherever a `cv` is asked for here.

Why shuffled: images that were taken one after the other share their day, their camera and their
photographer. Folds of neighbouring rows would test on another day than they train on.
"""

from __future__ import annotations

import heapq
import warnings
from collections.abc import Iterable, Iterator, Mapping
from numbers import Integral
from typing import Any, Protocol

from xpcls.options import check_flag, check_integer, shown
from xpcls_backends import (
    Array,
    Seed,
    bincount,
    flatnonzero,
    host_generator,
    label_codes,
    namespace_of,
    to_host,
)

from ._rows import check_none_missing, label_kind

Fold = tuple[Array, Array]  # rows for training, rows for validation: int64 on the host, ascending


class Splitter(Protocol):
    """What a `cv` is, scikit-learn's among them."""

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[Fold]: ...

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int: ...


class _Folds:
    """Every row is validated once: fold i is validated on the rows whose number is i."""

    def __init__(self, n_splits: int = 5, *, shuffle: bool = True, random_state: Seed = 0) -> None:
        self.n_splits = check_integer("n_splits", n_splits, at_least=2)
        check_flag("shuffle", shuffle)
        self.shuffle = bool(shuffle)
        self.random_state = random_state

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(n_splits={self.n_splits}, shuffle={self.shuffle}, "
            f"random_state={self.random_state!r})"
        )

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """The number of folds; the arguments are part of the protocol and not looked at."""
        return self.n_splits

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[Fold]:
        """(training rows, validation rows) of each fold: int64 host arrays, ascending.

        X : anything with n rows; only their number counts. y : (n,) labels. groups : (n,).

        Disjoint, and together all rows, in each fold; each row is validated in exactly one.
        Raises ValueError where there are too few rows for so many folds.
        """
        n = int(X.shape[0]) if hasattr(X, "shape") else len(X)
        if n < self.n_splits:
            raise ValueError(
                f"n_splits is {self.n_splits}, but there are {n} rows; take fewer folds"
            )
        fold = self._assign(n, y, groups)
        return ((flatnonzero(fold != i), flatnonzero(fold == i)) for i in range(self.n_splits))

    def _assign(self, n: int, y: Any, groups: Any) -> Array:
        """In which fold each row is validated: (n,) int64."""
        raise NotImplementedError

    def _order(self, n: int) -> Array:
        """The rows in the order in which they are dealt: as they are, or at random."""
        order = to_host(range(n))
        return host_generator(self.random_state).permutation(order) if self.shuffle else order


class KFold(_Folds):
    """Folds of equal size, whatever the labels.

    n_splits : how many. shuffle : draw them at random; else each is a stretch of rows.
    random_state : None, an int or a numpy.random.Generator; an int gives the same folds each time.

    Sizes differ by at most 1, the larger ones first. Without shuffling the folds are
    scikit-learn's KFold's; with it they are not, since the numbers are drawn from another stream.
    """

    def _assign(self, n: int, y: Any, groups: Any) -> Array:
        order = self._order(n)
        xp = namespace_of(order)
        # Row number i of n dealt stands in the stretch whose first row is at or before it.
        size, longer = divmod(n, self.n_splits)
        ends = to_host([(i + 1) * size + min(i + 1, longer) for i in range(self.n_splits)])
        place = xp.searchsorted(ends, to_host(range(n)), side="right")
        return _at(order, place)


class StratifiedKFold(_Folds):
    """Folds of equal size with equal shares of each class.

    Parameters as for KFold. Sizes differ by at most 1, and so do the numbers of each class in the
    folds. Without shuffling the folds are scikit-learn's StratifiedKFold's.

    `split` raises ValueError where each class has fewer rows than there are folds, and warns where
    one has: some folds are then without it.
    """

    def _assign(self, n: int, y: Any, groups: Any) -> Array:
        codes = _codes("y", y, n)
        counts = bincount(codes)
        xp = namespace_of(counts)
        fewest, most = int(counts.min()), int(counts.max())
        if most < self.n_splits:
            raise ValueError(
                f"n_splits is {self.n_splits}, but the largest class has {most} rows; take fewer "
                "folds, or KFold"
            )
        if fewest < self.n_splits:
            warnings.warn(
                f"the smallest class has {fewest} rows, fewer than n_splits={self.n_splits}: some "
                "folds are without it",
                stacklevel=3,
            )
        order = self._order(n)
        order = order[xp.argsort(xp.take(codes, order), stable=True)]
        # Row number i of the sorted ones adds to fold i mod n_splits: sizes within 1 in all and in
        # each class. Inside a class the folds are stretches, as scikit-learn has them.
        sorted_codes = xp.take(codes, order)
        pairs = sorted_codes * self.n_splits + to_host(range(n)) % self.n_splits
        return _at(order, xp.sort(pairs, stable=True) % self.n_splits)


class GroupKFold(_Folds):
    """Folds that divide no group: all images of one source are validated together.

    Parameters as for KFold. `split` needs `groups` (n,), numbers or text, at least n_splits
    different ones.

    Groups cannot be cut, so sizes differ by more than 1: by at most the size of the largest
    group. The groups, largest first, go to the fold that has the fewest rows so far (Graham,
    Bounds on multiprocessing timing anomalies, 1969). Adding to the smallest fold, m rows, makes
    it m + g, at most g above a smallest one that is now m or more; so the bound holds throughout.
    `shuffle` draws the order of groups of equal size.
    """

    def _assign(self, n: int, y: Any, groups: Any) -> Array:
        codes = _codes("groups", groups, n)
        sizes: list[int] = bincount(codes).tolist()
        if len(sizes) < self.n_splits:
            raise ValueError(
                f"n_splits is {self.n_splits}, but groups holds {len(sizes)} different ones; take "
                "fewer folds"
            )
        order: list[int] = self._order(len(sizes)).tolist()
        order.sort(key=lambda group: -sizes[group])  # stable: at random among equals
        folds = [(0, fold) for fold in range(self.n_splits)]
        fold_of_group = [0] * len(sizes)
        for group in order:
            rows, fold = folds[0]
            fold_of_group[group] = fold
            heapq.heapreplace(folds, (rows + sizes[group], fold))
        return namespace_of(codes).take(to_host(fold_of_group), codes)


class Listed:
    """Splits that are known already, in the protocol of a splitter."""

    def __init__(self, splits: Iterable[Any]) -> None:
        self.splits = list(splits)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        return len(self.splits)

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[Any]:
        return iter(self.splits)


def check_cv(cv: Any = 5, y: Any = None) -> Splitter:
    """A number of folds, a splitter, or an iterable of (training rows, validation rows).

    A number, or None for 5, means what it means in scikit-learn's GridSearchCV, so that results
    are the same: stratified by `y`, and NOT shuffled; without `y`, or where it holds fractions or
    objects that are not text, plain folds. Where rows stand in the order in which they were taken,
    pass `StratifiedKFold(5)` instead, which shuffles.
    """
    if cv is None or (isinstance(cv, Integral) and not isinstance(cv, bool)):
        n = check_integer("cv", 5 if cv is None else cv, at_least=2)
        plain = y is None or _are_no_classes(to_host(y))
        return KFold(n, shuffle=False) if plain else StratifiedKFold(n, shuffle=False)
    known = hasattr(cv, "split") or isinstance(cv, Iterable)
    if not known or isinstance(cv, str | bytes | bool | type | Mapping):
        raise ValueError(
            f"cv is {shown(cv)}, expected a number of folds, a splitter such as KFold(5), or an "
            "iterable of (training rows, validation rows)"
        )
    splitter: Splitter = cv if hasattr(cv, "split") else Listed(cv)
    return splitter


def checked_splits(cv: Any, y: Any, groups: Any = None) -> list[Fold]:
    """All folds of `cv` for labels `y` (n,) on the host, each known to be sound.

    A splitter is given the numbers of the rows for X, since the rows may live on another device,
    and the groups on the host.
    Raises ValueError where a fold names rows that do not exist, has an empty part, or trains on a
    row that it validates.
    """
    n = y.shape[0]
    groups = None if groups is None else to_host(groups)
    found = check_cv(cv, y).split(to_host(range(n)), y, groups)
    folds = [_checked_fold(i, fold, n) for i, fold in enumerate(found)]
    if not folds:
        raise ValueError(f"cv is {shown(cv)}, which gives no folds; give at least one")
    for i, (train, test) in enumerate(folds):
        both = set(train.tolist()) & set(test.tolist())
        if both:
            raise ValueError(
                f"fold {i} of cv trains on row {min(both)} and validates on it; take it out of one"
            )
    return folds


def _are_no_classes(y: Any) -> bool:
    """Fractions, or objects that are not text, which scikit-learn does not stratify either."""
    fractions = y.dtype.kind == "f" and bool((y % 1 != 0).any())
    return fractions or label_kind(y) == "objects"


def _checked_fold(i: int, fold: Any, n: int) -> Fold:
    try:
        train, test = fold
    except (TypeError, ValueError):
        raise ValueError(
            f"fold {i} of cv is {shown(fold)}, expected (training rows, validation rows)"
        ) from None
    return _rows(f"the training rows of fold {i}", train, n), _rows(f"fold {i}", test, n)


def _rows(name: str, rows: Any, n: int) -> Array:
    try:
        host = to_host(rows)
    except ValueError:  # of several lengths
        raise ValueError(
            f"{name} of cv is {shown(rows)}, expected the numbers of some rows"
        ) from None
    if host.ndim != 1 or not host.shape[0] or host.dtype.kind not in "iu":
        raise ValueError(
            f"{name} of cv is {host.dtype} of shape {host.shape}, expected the numbers of some rows"
        )
    if host.min() < 0 or host.max() >= n:
        raise ValueError(f"{name} of cv names rows {host.min()} to {host.max()}, but there are {n}")
    return host.astype("int64", copy=False)


def _codes(name: str, values: Any, n: int) -> Array:
    """0, 1, 2 .. for the values of `values` in the order in which they first occur: (n,) int64."""
    if values is None:
        raise ValueError(f"{name} is None, but these folds are made by {name}; pass it to split")
    host = to_host(values)
    if host.ndim == 2 and host.shape[1] == 1:
        host = host[:, 0]
    if host.shape != (n,):
        raise ValueError(f"{name} has shape {host.shape}, expected ({n},), one entry a row")
    check_none_missing(name, host)
    classes, codes = label_codes(host)
    n_classes = classes.shape[0]
    xp = namespace_of(codes)
    # In a stable sort by code, each code's stretch begins with the row of its first occurrence.
    by_code = xp.argsort(codes, stable=True)
    begins = xp.searchsorted(xp.take(codes, by_code), to_host(range(n_classes)))
    first = xp.take(by_code, begins)
    rank = _at(xp.argsort(first, stable=True), to_host(range(n_classes)))
    return xp.take(rank, codes)


def _at(where: Array, values: Array) -> Array:
    """The array that has values[i] at where[i]; `where` is a permutation."""
    xp = namespace_of(where)
    return xp.astype(xp.take(values, xp.argsort(where, stable=True)), xp.int64)
