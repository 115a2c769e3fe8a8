"""Columns of a table of results, as scikit-learn's searches give them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

MISSING = object()  # stands in a column where a row has no such value


def masked_column(values: Sequence[Any]) -> np.ma.MaskedArray[Any, Any]:
    """`values` (n,) as a masked array, masked where one is MISSING.

    The dtype is that of the values where they are numbers; text and all else are objects.
    """
    given = [value for value in values if value is not MISSING]
    try:
        plain = np.asarray(given)
        numbers = plain.ndim == 1 and plain.dtype.kind not in "US"
    except ValueError:  # sequences of several lengths
        numbers = False
    column: np.ma.MaskedArray[Any, Any] = np.ma.MaskedArray(
        np.empty(len(values), dtype=plain.dtype if numbers else object), mask=True
    )
    for i, value in enumerate(values):
        if value is not MISSING:
            column[i] = value
    return column
