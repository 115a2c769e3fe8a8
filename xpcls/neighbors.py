"""k nearest neighbours: the training set is the model."""

from __future__ import annotations

from typing import Any, Self

from xpcls_backends import (
    Array,
    device_of,
    namespace_of,
    one_hot,
    row_blocks,
    rows_within,
    scratch_bytes,
    to_scalar,
)

from .base import REAL_DTYPES, Classifier, TensorKind
from .distances import METRICS, Index, Plan
from .options import check_choice, check_integer
from .validation import check_labels, check_same_length

WEIGHTS = ("uniform", "distance")
TIES = ("label", "nearest")


class KNeighborsClassifier(Classifier):
    """Vote among the k nearest training rows, found exactly.

    Parameters
    ----------
    n_neighbors : how many neighbours vote, 1 to the number of training rows.
    metric : "l1" sum |a - b|; "l2" sqrt(sum (a - b)^2); "sqeuclidean", its square, which has the
        same neighbours.
    weights : "uniform", one vote each; "distance", votes of 1 / distance, where neighbours at
        distance 0 outvote all others.
    ties : between classes with equal votes: "label" takes the smallest label, "nearest" the class
        of the nearest neighbour among them. Neighbours at equal distance are ordered by their row
        in the training set, lowest first.
    memory_budget : bytes of scratch for a search; None for 64 MiB on a CPU, 1 GiB on a GPU.

    Attributes
    ----------
    classes_ : the labels, sorted. n_features_in_, n_samples_fit_ : the shape of the training set.

    Rows are compared as they are given: uint8 images stay uint8 and never wrap. Fitting takes no
    time and keeps a reference to X, not a copy, so do not change it afterwards. With the extra
    `fast` the first search of a large set adds codes of its rows, a byte for each number, or two.
    One prediction takes time proportional to rows times features of the training set.
    """

    def __init__(
        self,
        n_neighbors: int = 5,
        *,
        metric: str = "l2",
        weights: str = "uniform",
        ties: str = "label",
        memory_budget: int | None = None,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.metric = metric
        self.weights = weights
        self.ties = ties
        self.memory_budget = memory_budget

    def fit(self, X: Any, y: Any) -> Self:
        """Remember the training set.

        X : rows (N, D) or images (N, H, W, C) of any backend, a list, or a data frame; finite.
        y : (N,) integers, whole floats or text, of at least two classes.
        """
        rows = self._check_training_rows(X)
        classes, codes = check_labels(y, rows, type(self).__name__)
        check_integer("n_neighbors", self.n_neighbors, at_least=1, at_most=rows.shape[0])
        self._check_options()
        self._learn_columns(X, rows)
        self.n_samples_fit_ = rows.shape[0]
        self._index, self._codes = Index(rows), codes
        self.classes_ = classes
        return self

    def kneighbors(
        self, X: Any, n_neighbors: int | None = None, return_distance: bool = True
    ) -> Any:
        """The nearest training rows of each row of `X`, nearest first.

        Returns (distances, indices), each (N, n_neighbors), or indices alone.
        """
        rows, k = self._check_search(X, n_neighbors)
        distances, indices = self._index.nearest(rows, k, self.metric, self.memory_budget)
        return (distances, indices) if return_distance else indices

    def plan(self, X: Any, n_neighbors: int | None = None) -> Plan:
        """How `kneighbors` will search for these rows: tiles, bytes, instructions; print it."""
        rows, k = self._check_search(X, n_neighbors)
        return self._index.plan(rows, k, self.metric, self.memory_budget)

    def _check_search(self, X: Any, n_neighbors: int | None) -> tuple[Array, int]:
        self._check_fitted()
        rows = self._check_query(X)
        self._check_options()
        k = self.n_neighbors if n_neighbors is None else n_neighbors
        return rows, check_integer("n_neighbors", k, at_least=1, at_most=self.n_samples_fit_)

    def vote(self, distances: Array, indices: Array) -> Array:
        """The class that these neighbours vote for: (N,), `predict` without its search.

        distances, indices : (N, k) as `kneighbors` gives them, for any k: one search for the
        largest k answers for all smaller ones.
        """
        self._check_fitted()
        return self._labels_at(self._winners(*self._votes(distances, indices)))

    def predict_proba(self, X: Any) -> Array:
        """The share of the votes that each class has: (N, n_classes), each row summing to 1."""
        votes, _ = self._votes(*self.kneighbors(X))
        xp = namespace_of(votes)
        return votes / xp.sum(votes, axis=1, keepdims=True)

    def _class_positions(self, X: Any) -> Array:
        return self._winners(*self._votes(*self.kneighbors(X)))

    def _winners(self, votes: Array, neighbour_codes: Array) -> Array:
        """Positions of the classes with most votes, by the rule for ties: (N,)."""
        xp = namespace_of(votes)
        if self.ties == "label":
            return xp.argmax(votes, axis=1)  # the first of equal votes: the smallest label
        return _first_winner(votes, neighbour_codes)

    def _votes(self, distances: Array, indices: Array) -> tuple[Array, Array]:
        """Votes for each class (N, n_classes), and the classes of the neighbours (N, k)."""
        xp = namespace_of(indices)
        codes = xp.reshape(xp.take(self._codes, xp.reshape(indices, (-1,)), axis=0), indices.shape)
        weights = _inverse(distances) if self.weights == "distance" else xp.ones_like(distances)
        n_classes = self.classes_.shape[0]
        size = rows_within(scratch_bytes(xp), 16 * codes.shape[1] * n_classes)
        votes = [
            xp.sum(
                one_hot(codes[rows, :], n_classes, dtype=weights.dtype) * weights[rows, :, None],
                axis=1,
            )
            for rows in row_blocks(codes.shape[0], size)
        ]
        return xp.concat(votes, axis=0), codes

    def _any_learnt(self) -> Array:
        return self._index.points

    def _learnt(self) -> tuple[dict[str, Array], dict[str, Any]]:
        return {"rows": self._index.points, "codes": self._codes}, {}

    def _tensor_kinds(self, n_classes: int) -> dict[str, TensorKind]:
        return {
            "rows": (REAL_DTYPES, (None, self.n_features_in_)),
            "codes": (("int64",), (None,)),
        }

    def _restore(self, classes: Any, tensors: dict[str, Array], plain: dict[str, Any]) -> None:
        rows, codes = tensors["rows"], tensors["codes"]
        check_integer("n_neighbors", self.n_neighbors, at_least=1, at_most=rows.shape[0])
        check_same_length(rows.shape[0], codes.shape[0], "codes")
        xp = namespace_of(codes)
        for code in (to_scalar(xp.min(codes)), to_scalar(xp.max(codes))):
            check_integer("a class", code, at_least=0, at_most=classes.shape[0] - 1)
        self.n_samples_fit_ = rows.shape[0]
        self._index, self._codes = Index(rows), codes
        self.classes_ = classes

    def _check_options(self) -> None:
        check_choice("metric", self.metric, METRICS)
        check_choice("weights", self.weights, WEIGHTS)
        check_choice("ties", self.ties, TIES)
        if self.memory_budget is not None:
            check_integer("memory_budget", self.memory_budget, at_least=1)


def _inverse(distances: Array) -> Array:
    """1 / distance; where a row has neighbours at distance 0, 1 for those and 0 for the others.

    Scaled by the nearest distance of the row, so that tiny distances do not overflow.
    """
    xp = namespace_of(distances)
    zero = distances == 0
    hit = xp.any(zero, axis=1, keepdims=True)
    safe = xp.where(zero, xp.ones_like(distances), distances)
    inverse = xp.where(hit, xp.ones_like(safe), safe[:, :1]) / safe
    return xp.where(hit, xp.astype(zero, distances.dtype), inverse)


def _first_winner(votes: Array, neighbour_codes: Array) -> Array:
    """Of the classes with most votes, that of the nearest neighbour among them: (N,)."""
    xp, device = namespace_of(votes), device_of(votes)
    most = xp.max(votes, axis=1, keepdims=True)
    wins = xp.take_along_axis(xp.astype(votes == most, xp.int64), neighbour_codes, axis=1)
    first = xp.argmax(wins, axis=1)
    rows = xp.arange(votes.shape[0], device=device)
    flat = xp.reshape(neighbour_codes, (-1,))
    return xp.take(flat, rows * neighbour_codes.shape[1] + first, axis=0)
