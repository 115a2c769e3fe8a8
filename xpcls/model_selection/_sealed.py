"""A test set that remembers how often it was opened."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from xpcls._sklearn import not_fitted

from . import _ledger
from ._fingerprint import fingerprint
from ._ledger import Opening
from ._rows import rows_and_labels


class SealedTestSet:
    """Images and labels that are kept until the models are final, and count their openings.

    X : an array (N, ...) of any backend, or a data frame. y : (N,) labels. Kept, not copied.
    ledger : a file in which openings are kept as well, so that the count outlives the process and
        is shared by all that give this file; made at the first opening, in a folder that exists.
        Its entries go by a SHA-256 of the data, so one file serves many test sets, and the
        same rows in another order or dtype are another test set.

    A test set tells how a model does on images that it has never seen. Each time a choice is made
    by the score on it, it has been seen a little more, and the score of what was chosen is too
    good. CS231n, lecture 2: evaluate on the test set once, at the very end. So the first opening
    is recorded, with its time and a SHA-256 of each model; later ones warn, and are counted.

    Python cannot hide an attribute from someone who looks for it, and whoever has opened the set
    once has the arrays. This guards against mistakes, and lets a report say how often it was done.
    """

    def __init__(self, X: Any, y: Any, *, ledger: str | os.PathLike[str] | None = None) -> None:
        X, y = rows_and_labels(X, y)
        self._contents: Callable[[], tuple[Any, Any]] = lambda: (X, y)
        self._shape = tuple(X.shape)
        self._openings: list[Opening] = []
        self._ledger = None if ledger is None else Path(ledger).expanduser()
        self._digest = ""
        if self._ledger is not None:
            if not self._ledger.parent.is_dir():
                raise FileNotFoundError(f"{self._ledger.parent} is no folder; make it first")
            self._digest = fingerprint((X, y))
            _ledger.read(self._ledger, self._digest)  # what is no ledger is named now, not later

    def open(self, *models: Any) -> tuple[Any, Any]:
        """The test set, (X, y), for these models, and a record of it.

        models : one or more that are fitted and final. Several at once are one opening: all of
        them were fixed before any result was seen, so no result could choose among them before.

        Warns (UserWarning) where the set has been opened before.
        """
        return self._open(models)

    def score(self, *models: Any) -> Any:
        """The accuracy of each model, a list; of one model, the number alone. One opening.

        What is called is `model.score(X, y)`.
        """
        X, y = self._open(models)
        scores = [float(model.score(X, y)) for model in models]
        return scores[0] if len(scores) == 1 else scores

    @property
    def openings(self) -> tuple[Opening, ...]:
        """Every opening, the first one first; with a ledger, those of other processes too."""
        if self._ledger is None:
            return tuple(self._openings)
        return tuple(_ledger.read(self._ledger, self._digest))

    @property
    def report(self) -> str:
        """One sentence for a report: how often the set was opened, when first, and by whom."""
        openings = self.openings
        n = f"the test set of {len(self)} rows"
        if not openings:
            return f"{n} has not been opened"
        if len(openings) == 1:
            return f"{n} was opened once, {openings[0]}"
        return (
            f"{n} was opened {len(openings)} times, first {openings[0]}; scores after the first "
            "may be too good"
        )

    def __str__(self) -> str:
        return self.report

    def __len__(self) -> int:
        return int(self._shape[0])

    def __repr__(self) -> str:
        return f"<SealedTestSet: {len(self)} rows of shape {self._shape[1:]}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a SealedTestSet cannot be copied or pickled, since the copy would count for itself; "
            "make it anew from the data, with ledger=PATH to share the count"
        )

    def _open(self, models: tuple[Any, ...]) -> tuple[Any, Any]:
        if not models:
            raise TypeError(
                "no model is given: open(model, ...) takes those that are to be tested, final"
            )
        for model in models:
            _check_fitted(model)
        marks = tuple((type(model).__name__, fingerprint(model)) for model in models)
        opening = Opening(_ledger.now(), marks)
        if self._ledger is None:
            before = list(self._openings)
            self._openings.append(opening)
        else:
            before = _ledger.append(self._ledger, self._digest, opening)
        if before:
            warnings.warn(
                f"the test set was first opened {before[0]}, and this is opening "
                f"{len(before) + 1}: a model chosen by such scores looks better than it is; choose "
                "on validation (xpcls.model_selection.tune) and report the first score, or take "
                "test images that nobody has seen",
                stacklevel=3,
            )
        return self._contents()


def _check_fitted(model: Any) -> None:
    """Raise before the set is opened for nothing."""
    if hasattr(model, "__sklearn_is_fitted__") and not model.__sklearn_is_fitted__():
        raise not_fitted(type(model).__name__)
    base, validation = map(sys.modules.get, ("sklearn.base", "sklearn.utils.validation"))
    if base and validation and isinstance(model, base.BaseEstimator):
        validation.check_is_fitted(model)
