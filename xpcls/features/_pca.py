"""Principal components."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from numbers import Integral
from typing import Any, Self

from xpcls.options import check_flag, check_integer, check_number
from xpcls.progress import advance
from xpcls.validation import check_rows, check_same_place
from xpcls_backends import Array, device_of, ignore_overflow, namespace_of, row_blocks, to_host

from ._base import Transformer
from ._statistics import (
    COLUMNS,
    check_finite,
    feature_dtype,
    mean_row,
    projected,
    scatter,
    with_fixed_signs,
)


class PCA(Transformer):
    """Project on the directions in which the rows vary most.

    With X centred, the components are the eigenvectors of X^T X / (N - 1) with the largest
    eigenvalues, which are the variances along them. `transform` gives (X - mean) @ components^T.

    Parameters
    ----------
    n_components : how many; a share of the variance above 0 and below 1, for which as few are
        taken as exceed it; None for all directions in which the rows vary.
    whiten : divide each projection by its standard deviation, so that all have variance 1.

    Attributes
    ----------
    components_ : (n_components_, D), orthonormal, most variance first. Of each, the entry of
        largest magnitude is positive: devices agree on the sign.
    explained_variance_, explained_variance_ratio_ : (n_components_,), the variances, and their
        share in the sum of all.
    mean_ : (D,).

    Everything is computed in the widest float of the device and kept in float32 for uint8 and
    float32 rows, else in float64. Directions whose variances are equal are not determined, and
    may differ between devices.

    Source: Pearson, On Lines and Planes of Closest Fit, 1901; Turk and Pentland, Eigenfaces for
    Recognition, 1991 (N x N products where there are fewer rows than features).
    """

    components_: Array
    explained_variance_: Array
    explained_variance_ratio_: Array
    mean_: Array
    n_components_: int

    def __init__(self, n_components: int | float | None = None, *, whiten: bool = False) -> None:
        self.n_components = n_components
        self.whiten = whiten

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the components of rows (N, D) or images (N, H, W, C), N of 2 or more."""
        rows = self._check_training_rows(X)
        check_flag("whiten", self.whiten)
        n, features = rows.shape
        if n < 2:
            raise ValueError(
                f"X has {n} row (n_samples = {n}), and PCA needs at least 2 to see them vary"
            )
        wanted = self._wanted(min(n, features))
        center = mean_row(rows)
        decompose = _of_features if features <= n else _of_rows
        variances, directions = decompose(rows, center)
        xp = namespace_of(rows)
        found = to_host(variances).tolist()
        least = found[0] * max(n, features) * float(xp.finfo(variances.dtype).eps)
        rank = sum(variance > least for variance in found)
        if rank == 0:
            raise ValueError(f"X holds {n} rows that are all the same, which vary in no direction")
        if wanted is None:
            count = rank
        elif isinstance(wanted, int):
            count = wanted
        else:
            sums = itertools.accumulate(variance / math.fsum(found) for variance in found)
            count = min(1 + sum(share <= wanted for share in sums), rank)
        if count > rank:
            raise ValueError(
                f"n_components is {count}, but the {n} rows vary in {rank} directions only; ask "
                f"for at most {rank}, or None for all"
            )
        dtype = feature_dtype(rows)
        with ignore_overflow():
            kept = xp.astype(variances[:count], dtype)
        if not all(0.0 < variance < math.inf for variance in to_host(kept).tolist()):
            raise ValueError(
                f"X holds values whose variance overflows or vanishes in {dtype}; scale it to "
                "about 1"
            )
        components = xp.astype(with_fixed_signs(directions(count)), dtype)
        self._learn_columns(X, rows)
        self.n_components_ = count
        self.mean_ = xp.astype(center, dtype)
        self.components_ = components
        self.explained_variance_ = kept
        self.explained_variance_ratio_ = xp.astype(variances[:count] / xp.sum(variances), dtype)
        return self

    def transform(self, X: Any) -> Array:
        """Rows (N, D) as projections (N, n_components_)."""
        rows = self._check_query(X)
        xp = namespace_of(rows)
        matrix = self.components_
        if self.whiten:
            matrix = matrix / xp.sqrt(self.explained_variance_)[:, None]
        return projected("projections", rows, self.mean_, matrix.mT)

    def inverse_transform(self, X: Any) -> Array:
        """Projections (N, n_components_) as rows (N, D): the nearest that components can make."""
        self._check_fitted()
        found = check_rows(X, type(self).__name__)
        if found.shape[1] != self.n_components_:
            raise ValueError(
                f"X has {found.shape[1]} features, expected {self.n_components_} projections"
            )
        check_same_place(found, self.components_, "X", "the data of fit")
        xp = namespace_of(found)
        matrix = self.components_
        if self.whiten:
            matrix = matrix * xp.sqrt(self.explained_variance_)[:, None]
        dtype = feature_dtype(found)
        found = xp.astype(found, dtype, copy=False) @ xp.astype(matrix, dtype, copy=False)
        return found + xp.astype(self.mean_, dtype, copy=False)

    def _wanted(self, most: int) -> int | float | None:
        if self.n_components is None:
            return None
        if isinstance(self.n_components, Integral):
            return check_integer("n_components", self.n_components, at_least=1, at_most=most)
        return check_number("n_components", self.n_components, above=0, below=1)

    def _any_learnt(self) -> Array:
        return self.components_


Directions = Callable[[int], Array]  # the first so many of them, a row each


def _of_features(rows: Array, center: Array) -> tuple[Array, Directions]:
    """Variances, largest first, (D,), and their directions, of the D x D covariance."""
    xp = namespace_of(rows)

    def centered(some: slice) -> Array:
        return xp.astype(rows[some, :], center.dtype) - center

    covariance = scatter("principal components", rows, centered) / (rows.shape[0] - 1)
    variances, vectors = xp.linalg.eigh(covariance)
    vectors = xp.flip(vectors.mT, axis=0)
    return xp.maximum(xp.flip(variances), 0.0), lambda count: vectors[:count, :]


def _of_rows(rows: Array, center: Array) -> tuple[Array, Directions]:
    """The same by the N x N products of the rows, for fewer rows than features: (N,).

    With X X^T u = s u, the direction is X^T u / sqrt(s). Those of little variance lose digits by
    the division, so they are made orthogonal once more.
    """
    xp, device = namespace_of(rows), device_of(rows)
    n, features = rows.shape
    blocks = list(row_blocks(features, COLUMNS))

    def centered(some: slice) -> Array:
        return xp.astype(rows[:, some], center.dtype) - center[some]

    products = xp.zeros((n, n), dtype=center.dtype, device=device)
    for some in blocks:
        block = centered(some)
        with ignore_overflow():
            products += block @ block.mT
        advance("principal components", some.stop, features)
    check_finite(products, "squares overflow")
    squares, vectors = xp.linalg.eigh(products)
    squares, vectors = xp.maximum(xp.flip(squares), 0.0), xp.flip(vectors.mT, axis=0)

    def directions(count: int) -> Array:
        weights = vectors[:count, :] / xp.sqrt(squares[:count])[:, None]
        found = xp.concat([weights @ centered(some) for some in blocks], axis=1)
        return xp.linalg.qr(found.mT).Q.mT

    return squares / (n - 1), directions
