"""A test set that remembers how often it was opened."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from xpcls._sklearn import not_fitted
from xpcls.options import shown

from . import _ledger
from ._fingerprint import fingerprint
from ._ledger import Ledger, Opening
from ._rows import label_kind, rows_and_labels


class SealedTestSet:
    """Images and labels that are kept until the models are final, and count their openings.

    X : an array (N, ...) of any backend, or a data frame. y : (N,) labels. Kept, not copied.
    ledger : a file in which openings are kept as well, so that the count outlives the process and
        is shared by all that give this file; made at the first opening, in a folder that exists.
        Its entries go by a SHA-256 of the data, so one file serves many test sets. The same
        images divided by another seed, or in another order or dtype, are another test set: who
        tries seeds until a score is good has one opening of each. `other_openings`, and
        `report`, tell how many there are in the file.

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
        self._label_kind = label_kind(y)
        self._openings: list[Opening] = []
        self._ledger = (
            None if ledger is None else Ledger(_checked_path(ledger), fingerprint((X, y)))
        )

    def open(self, *models: Any) -> tuple[Any, Any]:
        """The test set, (X, y), for these models, and a record of it.

        models : one or more that are fitted and final. Several at once are one opening: all of
        them were fixed before any result was seen, so no result could choose among them before.
        Each has `predict`; what is no model, or is not fitted, is an error and opens nothing.

        Warns (UserWarning) where the set has been opened before.
        """
        return self._open(models, "predict")

    def score(self, *models: Any) -> Any:
        """The accuracy of each model, a list; of one model, the number alone. One opening.

        What is called is `model.score(X, y)`.
        """
        X, y = self._open(models, "predict", "score")
        scores = [float(model.score(X, y)) for model in models]
        return scores[0] if len(scores) == 1 else scores

    @property
    def openings(self) -> tuple[Opening, ...]:
        """Every opening, the first one first; with a ledger, those of other processes too."""
        return tuple(self._openings if self._ledger is None else self._ledger.read()[0])

    @property
    def other_openings(self) -> tuple[Opening, ...]:
        """Those of other test sets in the same ledger; none without one."""
        return () if self._ledger is None else tuple(self._ledger.read()[1])

    @property
    def report(self) -> str:
        """One sentence for a report: how often the set was opened, when first, and by whom."""
        openings, others = self.openings, len(self.other_openings)
        text = f"the test set of {len(self)} rows "
        if not openings:
            text += "has not been opened"
        elif len(openings) == 1:
            text += f"was opened once, {openings[0]}"
        else:
            text += (
                f"was opened {len(openings)} times, first {openings[0]}; scores after the first "
                "may be too good"
            )
        if others:
            text += (
                f"; its ledger holds {others} opening{'s' * (others > 1)} of other test sets, such "
                "as the same images divided by another seed"
            )
        return text

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

    def _open(self, models: tuple[Any, ...], *methods: str) -> tuple[Any, Any]:
        if not models:
            raise TypeError(
                "no model is given: open(model, ...) takes those that are to be tested, final"
            )
        for model in models:
            _check_model(model, methods)
        marks = tuple(_ledger.marked(model, fingerprint(model)) for model in models)
        opening = Opening(_ledger.now(), marks)
        if self._ledger is None:
            before = list(self._openings)
            self._openings.append(opening)
        else:
            before = self._ledger.add(opening)
        if before:
            warnings.warn(
                f"the test set was first opened {before[0]}, and this is opening "
                f"{len(before) + 1}: a model chosen by such scores looks better than it is; choose "
                "on validation (xpcls.model_selection.tune) and report the first score, or take "
                "test images that nobody has seen",
                stacklevel=3,
            )
        return self._contents()


def _checked_path(ledger: Any) -> Path:
    if not isinstance(ledger, str | os.PathLike):
        raise TypeError(f"ledger is {shown(ledger)}, expected the name of a file")
    if not os.fspath(ledger):
        raise ValueError(f"ledger is {shown(ledger)}, expected the name of a file")
    return Path(ledger).expanduser().absolute()


def _check_model(model: Any, methods: tuple[str, ...]) -> None:
    """Raise before the set is opened for nothing."""
    if isinstance(model, list | tuple):
        raise TypeError(f"a model is {shown(model)}; give several as open(a, b)")
    for method in methods:
        if isinstance(model, type) or not callable(getattr(model, method, None)):
            raise TypeError(f"a model is {shown(model)}, expected a fitted object with {method}()")
    if hasattr(model, "__sklearn_is_fitted__") and not model.__sklearn_is_fitted__():
        raise not_fitted(type(model).__name__)
    base, validation = map(sys.modules.get, ("sklearn.base", "sklearn.utils.validation"))
    if base and validation and isinstance(model, base.BaseEstimator):
        validation.check_is_fitted(model)
