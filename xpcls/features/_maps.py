"""Maps of features that are given, not learnt: polar coordinates, and a user's own function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from xpcls.options import check_number, shown
from xpcls.validation import check_rows, check_same_place
from xpcls_backends import Array, device_of, is_array, namespace_of

from ._base import StatelessTransformer, Transformer
from ._statistics import feature_dtype, mean_row


class PolarMap(Transformer):
    """Points of the plane as distance and angle from a centre: (x, y) to (r, angle).

    r = sqrt((x - a)^2 + (y - b)^2), and the angle, from -pi to pi, is that of (x - a, y - b).
    Classes that lie in rings around the centre (a, b) are separable by a line afterwards.

    Parameters
    ----------
    center : (a, b), or "mean" for the mean of the points of `fit`.

    Attributes
    ----------
    center_ : (2,).
    """

    center_: Array

    def __init__(self, center: tuple[float, float] | str = (0.0, 0.0)) -> None:
        self.center = center

    def fit(self, X: Any, y: Any = None) -> Self:
        """Check the points (N, 2), and learn their mean where it is asked for."""
        rows = self._check_training_rows(X)
        if rows.shape[1] != 2:
            raise ValueError(
                f"X has {rows.shape[1]} features, and PolarMap takes points of the plane, (N, 2)"
            )
        if isinstance(self.center, str):
            if self.center != "mean":
                raise ValueError(f"center is {self.center!r}, expected (a, b) or 'mean'")
            center = mean_row(rows)
        else:
            if not isinstance(self.center, tuple | list) or len(self.center) != 2:
                raise ValueError(f"center is {shown(self.center)}, expected (a, b) or 'mean'")
            numbers = [check_number("a number in center", at) for at in self.center]
            xp, device = namespace_of(rows), device_of(rows)
            center = xp.asarray(numbers, dtype=feature_dtype(rows), device=device)
        self._learn_columns(X, rows)
        self.center_ = namespace_of(rows).astype(center, feature_dtype(rows), copy=False)
        return self

    def transform(self, X: Any) -> Array:
        """(r, angle) of each point: (N, 2), float32 for float32 points, else float64."""
        rows = self._check_query(X)
        xp = namespace_of(rows)
        dtype = feature_dtype(rows)
        rows = xp.astype(rows, dtype, copy=False) - xp.astype(self.center_, dtype, copy=False)
        rows = rows + 0.0  # no -0, whose angle would be another
        x, y = rows[:, 0], rows[:, 1]
        return xp.stack((xp.hypot(x, y), xp.atan2(y, x)), axis=1)

    def _any_learnt(self) -> Array:
        return self.center_


class FunctionTransformer(StatelessTransformer):
    """A function of your own as a transformer.

    Parameters
    ----------
    func : takes the images (N, H, W, C) or rows (N, D) as they were given to `transform`, and
        returns an array of N rows of any shape in the same place; the rest is made one axis.
        None: the features are the pixels as they are.
    """

    def __init__(self, func: Callable[[Array], Array] | None = None) -> None:
        self.func = func

    def fit(self, X: Any, y: Any = None) -> Self:
        """Check the rows; nothing is learnt."""
        rows = self._check_training_rows(X)
        self._check_function()
        self._learn_columns(X, rows)
        return self

    def transform(self, X: Any) -> Array:
        """What the function makes of X: (N, n_features)."""
        rows = check_rows(X, type(self).__name__)
        self._check_function()
        self._check_width(X, rows)
        if self.func is None:
            return rows
        xp = namespace_of(rows)
        given = xp.reshape(rows, X.shape) if is_array(X) else rows
        made = self.func(given)
        if not is_array(made):
            raise TypeError(
                f"func returned {shown(made)}, expected an array of {rows.shape[0]} rows"
            )
        check_same_place(made, rows, "what func returned", "X")
        if made.ndim == 0 or made.shape[0] != rows.shape[0]:
            raise ValueError(
                f"func returned shape {made.shape}, expected {rows.shape[0]} rows, one a row of X"
            )
        return xp.reshape(made, (rows.shape[0], -1))

    def _check_function(self) -> None:
        if self.func is not None and not callable(self.func):
            raise TypeError(f"func is {shown(self.func)}, expected a function of X, or None")
