"""Features brought to a common place and scale."""

from __future__ import annotations

from typing import Any, Self

from xpcls.options import check_flag
from xpcls_backends import Array, device_of, namespace_of

from ._base import Transformer
from ._statistics import blocks_of, feature_dtype, mean_row, variances


class StandardScaler(Transformer):
    """Subtract the mean of each feature, and divide by its standard deviation.

    With `with_std=False` it subtracts the mean image and nothing else. A feature that does not
    vary is not divided.

    Parameters
    ----------
    with_mean, with_std : whether to subtract, and whether to divide.

    Attributes
    ----------
    mean_ : (D,), or None. scale_ : (D,) standard deviations (of N, not N - 1), or None.

    Mean and deviation are those of the rows of `fit` alone: fit it on the training part. The
    result is float32 for uint8 and float32 rows, else float64; rows are converted a block at a
    time.
    """

    mean_: Array | None
    scale_: Array | None

    def __init__(self, *, with_mean: bool = True, with_std: bool = True) -> None:
        self.with_mean = with_mean
        self.with_std = with_std

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn means and deviations of rows (N, D) or images (N, H, W, C)."""
        rows = self._check_training_rows(X)
        check_flag("with_mean", self.with_mean)
        check_flag("with_std", self.with_std)
        xp = namespace_of(rows)
        dtype = feature_dtype(rows)
        center = mean_row(rows)
        scale = None
        if self.with_std:
            variance = variances(rows, center)  # exactly 0 where a feature never varies
            scale = xp.astype(xp.sqrt(variance), dtype)
            scale = xp.where(scale > 0.0, scale, xp.ones_like(scale))
        self._learn_columns(X, rows)
        self.mean_ = xp.astype(center, dtype) if self.with_mean else None
        self.scale_ = scale
        self._place = center  # where queries have to live, whatever is learnt
        return self

    def transform(self, X: Any) -> Array:
        """Rows (N, D), scaled."""
        rows = self._check_query(X)
        return self._mapped(rows, forwards=True)

    def inverse_transform(self, X: Any) -> Array:
        """Scaled rows (N, D) as they were."""
        rows = self._check_query(X)
        return self._mapped(rows, forwards=False)

    def _mapped(self, rows: Array, forwards: bool) -> Array:
        xp, device = namespace_of(rows), device_of(rows)
        dtype = feature_dtype(rows)
        mean, scale = (
            None if x is None else xp.astype(x, dtype, copy=False)
            for x in (self.mean_, self.scale_)
        )
        out = xp.empty(rows.shape, dtype=dtype, device=device)
        for some in blocks_of(rows):
            block = xp.astype(rows[some, :], dtype, copy=False)
            if forwards:
                block = block if mean is None else block - mean
                block = block if scale is None else block / scale
            else:
                block = block if scale is None else block * scale
                block = block if mean is None else block + mean
            out[some, :] = block
        return out

    def _any_learnt(self) -> Array:
        return self._place
