"""Fisher's linear discriminants."""

from __future__ import annotations

import math
from typing import Any, Self

from xpcls.options import check_integer
from xpcls.validation import check_labels
from xpcls_backends import Array, device_of, ignore_overflow, namespace_of, one_hot, to_host

from ._base import Transformer
from ._statistics import (
    blocks_of,
    check_finite,
    feature_dtype,
    mean_row,
    projected,
    scatter,
    with_fixed_signs,
)

FAINTEST = 1e-8  # of a variance within classes, of features of variance 1: as none at all


class FisherLDA(Transformer):
    """Project on the directions in which classes stand furthest apart for their own width.

    With S_w the scatter of rows around the mean of their class, and S_b that of the classes' means
    around the mean of all, weighted by the classes' sizes, the discriminants are the directions w
    with the largest ratios (w^T S_b w) / (w^T S_w w). There are at most C - 1.

    Parameters
    ----------
    n_components : how many, 1 to C - 1; None for all.

    Attributes
    ----------
    scalings_ : (D, n_components_), a direction a column, best first. Along each, the variance
        within classes is 1; the entry of largest magnitude is positive.
    ratios_ : (n_components_,), variance between classes / variance within.
    mean_ : (D,). classes_ : the labels, sorted.

    `transform` gives (X - mean) @ scalings. Directions in which no class has any width, such as
    pixels that never change, are left out.

    Source: Fisher, The Use of Multiple Measurements in Taxonomic Problems, 1936; Rao, The
    Utilization of Multiple Measurements in Problems of Biological Classification, 1948.
    """

    scalings_: Array
    ratios_: Array
    mean_: Array
    n_components_: int
    classes_: Any

    def __init__(self, n_components: int | None = None) -> None:
        self.n_components = n_components

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn from rows (N, D) or images (N, H, W, C), and their classes (N,)."""
        rows = self._check_training_rows(X)
        classes, codes = check_labels(y, rows, type(self).__name__)
        n_classes = classes.shape[0]
        n = rows.shape[0]
        wanted = self.n_components
        if wanted is not None:
            wanted = check_integer("n_components", wanted, at_least=1, at_most=n_classes - 1)
        if n <= n_classes:
            raise ValueError(
                f"X has {n} rows in {n_classes} classes, so no class shows its width; FisherLDA "
                "needs more rows than classes"
            )
        xp = namespace_of(rows)
        center = mean_row(rows)
        counts, means = _class_means(rows, codes, n_classes, center)

        def centered(some: slice) -> Array:
            block = xp.astype(rows[some, :], center.dtype) - center
            return block - xp.take(means, codes[some], axis=0)

        within = scatter("discriminants", rows, centered) / (n - n_classes)
        # What the rounding of means alone leaves of a feature that no class varies in.
        eps = float(xp.finfo(within.dtype).eps)
        sizes = xp.max(xp.abs(means), axis=0) + xp.abs(center)
        whitening = _whitening(within, 8.0 * math.sqrt(n) * eps * sizes)
        # Of the means in directions in which all classes have width 1.
        between = (xp.sqrt(counts / (n_classes - 1))[:, None] * means) @ whitening
        ratios, vectors = xp.linalg.eigh(between.mT @ between)
        most = min(n_classes - 1, whitening.shape[1])
        if wanted is not None and wanted > most:
            raise ValueError(
                f"n_components is {wanted}, but the {n_classes} classes have width in "
                f"{whitening.shape[1]} direction(s) only; ask for at most {most}, or None for all"
            )
        count = wanted or most
        ratios = xp.maximum(xp.flip(ratios)[:count], 0.0)
        scalings = whitening @ xp.flip(vectors, axis=1)[:, :count]
        dtype = feature_dtype(rows)
        with ignore_overflow():
            scalings = xp.astype(with_fixed_signs(scalings.mT).mT, dtype)
            ratios = xp.astype(ratios, dtype)
        check_finite(scalings, "scatter vanishes in")
        check_finite(ratios, "scatter vanishes in")
        self._learn_columns(X, rows)
        self.n_components_ = count
        self.mean_ = xp.astype(center, dtype)
        self.scalings_ = scalings
        self.ratios_ = ratios
        self.classes_ = classes
        return self

    def transform(self, X: Any) -> Array:
        """Rows (N, D) as projections (N, n_components_)."""
        rows = self._check_query(X)
        return projected("projections", rows, self.mean_, self.scalings_)

    def _any_learnt(self) -> Array:
        return self.scalings_


def _class_means(rows: Array, codes: Array, n_classes: int, center: Array) -> tuple[Array, Array]:
    """The sizes of the classes, (C,), and their means less `center`, (C, D), both wide."""
    xp, device = namespace_of(rows), device_of(rows)
    sums = xp.zeros((n_classes, rows.shape[1]), dtype=center.dtype, device=device)
    counts = xp.zeros((n_classes,), dtype=center.dtype, device=device)
    for some in blocks_of(rows):
        members = one_hot(codes[some], n_classes, dtype=center.dtype)
        sums += members.mT @ (xp.astype(rows[some, :], center.dtype) - center)
        counts += xp.sum(members, axis=0)
    return counts, sums / counts[:, None]


def _whitening(within: Array, rounding: Array) -> Array:
    """A matrix (D, r) that turns the scatter within classes into the identity.

    Directions without scatter are left out; features are first brought to one scale, so that what
    counts as none does not depend on their units.

    rounding : (D,), deviations that are none.
    """
    xp = namespace_of(within)
    variance = xp.linalg.diagonal(within)
    varies = variance > rounding * rounding
    scale = xp.sqrt(xp.where(varies, variance, xp.ones_like(variance)))
    kept = xp.astype(varies, within.dtype) / scale
    values, vectors = xp.linalg.eigh(within * kept[:, None] * kept[None, :])
    features = within.shape[0]
    least = max(FAINTEST, features * float(xp.finfo(within.dtype).eps))
    rank = sum(value > least for value in to_host(values).tolist())
    if rank == 0:
        raise ValueError("X holds rows that are the same within each class: there is no width")
    first = features - rank  # eigenvalues ascend
    return vectors[:, first:] * kept[:, None] / xp.sqrt(values[first:])
