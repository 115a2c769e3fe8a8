"""What all estimators share: parameters as in scikit-learn, input checks; predictions and score."""

from __future__ import annotations

import inspect
import warnings
from typing import Any, Self

from xpcls_backends import Array, column_names, namespace_of, to_host

from ._sklearn import SklearnClassifier, SklearnEstimator, not_fitted
from .validation import check_host_weights, check_rows, check_same_place, check_truth

TensorKind = tuple[tuple[str, ...], tuple[int | None, ...]]  # dtypes, shape; None is any length
REAL_DTYPES = (
    "bool",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    "float32",
    "float64",
)


class Estimator(SklearnEstimator):
    """Base of whatever learns in `fit`: its parameters, and the checks of what it is given.

    A subclass sets its parameters in `__init__` and nothing else.
    """

    n_features_in_: int
    image_shape_: tuple[int, ...] | None  # of images (N, H, W, C); None for rows
    feature_names_in_: Any

    @classmethod
    def _parameter_names(cls) -> list[str]:
        signature = inspect.signature(cls.__init__)
        return sorted(name for name in signature.parameters if name != "self")

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The hyper-parameters, by name: what is set, not what is learnt."""
        return {name: getattr(self, name) for name in self._parameter_names()}

    def set_params(self, **params: Any) -> Self:
        """Set hyper-parameters by name; they are checked when `fit` is called."""
        names = self._parameter_names()
        unknown = next((name for name in params if name not in names), None)
        if unknown is not None:
            raise ValueError(
                f"Invalid parameter {unknown!r} for estimator {type(self).__name__}; "
                f"valid parameters are: {', '.join(names)}"
            )
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self).__init__).parameters
        shown = [
            f"{name}={value!r}"
            for name, value in self.get_params(deep=False).items()
            if repr(value) != repr(defaults[name].default)
        ]
        return f"{type(self).__name__}({', '.join(shown)})"

    def _check_fitted(self) -> None:
        if not self.__sklearn_is_fitted__():
            raise not_fitted(type(self).__name__)

    def _any_learnt(self) -> Array:
        """An array that was learnt, which lives where queries have to."""
        raise NotImplementedError

    def _check_query(self, X: Any, *, look: bool = True) -> Array:
        """`X` as rows of the width, and in the place, of what was learnt; see `check_rows`."""
        self._check_fitted()
        rows = check_rows(X, type(self).__name__, look=look)
        self._check_width(X, rows)
        check_same_place(rows, self._any_learnt(), "X", "the data of fit")
        return rows

    def _check_width(self, X: Any, rows: Array) -> None:
        """Raise where X has other columns than the data of fit, if there was a fit."""
        if not hasattr(self, "n_features_in_"):
            return
        self._check_names(X)
        if rows.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X has {rows.shape[1]} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input"
            )

    def _check_training_rows(self, X: Any) -> Array:
        """`X` as rows; what `_learn_columns` could object to is raised before work is done."""
        rows = check_rows(X, type(self).__name__)
        column_names(X)
        return rows

    def _learn_columns(self, X: Any, rows: Array) -> None:
        """Remember the width, the shape of images, and the names of a data frame's columns."""
        names = column_names(X)  # may raise, so it comes first
        self.n_features_in_ = rows.shape[1]
        self.image_shape_ = tuple(X.shape[1:]) if getattr(X, "ndim", 2) == 4 else None
        if names is not None:
            self.feature_names_in_ = names
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_

    def _check_names(self, X: Any) -> None:
        """Raise where the columns of a data frame are not those of `fit`, in their order."""
        given, seen = column_names(X), getattr(self, "feature_names_in_", None)
        if given is None and seen is None:
            return
        owner = type(self).__name__
        if seen is None:
            warnings.warn(
                f"X has feature names, but {owner} was fitted without feature names", stacklevel=5
            )
        elif given is None:
            warnings.warn(
                f"X does not have valid feature names, but {owner} was fitted with feature names",
                stacklevel=5,
            )
        elif given.tolist() != seen.tolist():
            raise ValueError(_difference_of_names(given.tolist(), seen.tolist()))


class Classifier(SklearnClassifier, Estimator):
    """Base of every classifier.

    A subclass learns in `fit`, sets `classes_`, `n_features_in_` and what it learnt only once all
    of it is known, and has `_class_positions(X)`, the position in `classes_` of each row's class.
    """

    classes_: Array

    def fit(self, X: Any, y: Any) -> Self:
        """Learn from rows (N, D) or images (N, H, W, C), and their classes (N,)."""
        raise NotImplementedError

    def predict(self, X: Any) -> Array:
        """The class of each row of `X`: (N,), the dtype of the labels given to `fit`.

        An array like X; a NumPy array where the labels are text.
        """
        return self._labels_at(self._class_positions(X))

    def _labels_at(self, positions: Array) -> Array:
        """The labels at these positions of `classes_`."""
        if namespace_of(self.classes_) is not namespace_of(positions):
            positions = to_host(positions)  # text lives on the host
        return namespace_of(positions).take(self.classes_, positions, axis=0)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The share of rows whose class is predicted right, weighted if weights are given."""
        positions = self._class_positions(X)
        truth = check_truth(y, positions, to_host(self.classes_), type(self).__name__)
        right = to_host(self._labels_at(positions)) == truth
        weight = check_host_weights(sample_weight, positions)
        return float(right.mean() if weight is None else (right * weight).sum() / weight.sum())

    def _class_positions(self, X: Any) -> Array:
        raise NotImplementedError

    # What `xpcls.save` and `xpcls.load` ask of a class, so that they know nothing of its insides.

    def _learnt(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """What fit has learnt, but for the classes and the columns: tensors, and plain data."""
        raise NotImplementedError

    def _tensor_kinds(self, n_classes: int) -> dict[str, TensorKind]:
        """What each tensor of `_learnt` may be, for these parameters and n_features_in_."""
        raise NotImplementedError

    def _restore(self, classes: Any, tensors: dict[str, Array], plain: dict[str, Any]) -> None:
        """Be fitted again with what `_learnt` gave.

        Parameters, dtypes, shapes and finiteness have been checked; raise for all else that
        cannot be, since a file may be hostile.
        """
        raise NotImplementedError

    def _check_options(self) -> None:
        """Raise for a hyper-parameter that cannot be."""
        raise NotImplementedError


def _difference_of_names(given: list[str], seen: list[str]) -> str:
    sentence = "The feature names should match those that were passed during fit.\n"
    unseen, missing = sorted(set(given) - set(seen)), sorted(set(seen) - set(given))
    if unseen:
        sentence += "Feature names unseen at fit time:\n" + _listed(unseen)
    if missing:
        sentence += "Feature names seen at fit time, yet now missing:\n" + _listed(missing)
    if not unseen and not missing:
        sentence += "Feature names must be in the same order as they were in fit.\n"
    return sentence


def _listed(names: list[str]) -> str:
    return "".join(f"- {name}\n" for name in names[:5]) + ("- ...\n" if len(names) > 5 else "")
