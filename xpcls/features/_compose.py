"""Transformers side by side, and one after the other with a classifier at the end.

Both take scikit-learn's estimators beside ours (on NumPy), and both can stand inside
scikit-learn's own pipelines and searches. Parameters of a part are set as "name__parameter".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Self

from xpcls.base import Estimator
from xpcls.options import shown
from xpcls.progress import advance
from xpcls_backends import Array, is_array, namespace_of

from ._base import Transformer
from ._statistics import feature_dtype

Part = tuple[str, Any]


class _Composed(Estimator):
    """Parameters of several named estimators."""

    _parts_parameter: str  # the name of the parameter that holds the parts

    def _parts(self) -> list[Part]:
        """The (name, estimator) pairs; none where something else is set, which `fit` refuses."""
        parts = getattr(self, self._parts_parameter)
        pairs = isinstance(parts, list | tuple) and all(
            isinstance(part, list | tuple) and len(part) == 2 for part in parts
        )
        return [(name, part) for name, part in parts] if pairs else []

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The hyper-parameters by name; with `deep`, each part and its own parameters too."""
        params = super().get_params()
        if deep:
            for name, part in self._parts():
                params[name] = part
                if hasattr(part, "get_params"):
                    inner = part.get_params(deep=True)
                    params |= {f"{name}__{key}": value for key, value in inner.items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters: own ones, a part by its name, or "name__parameter" of a part."""
        owner = self._parts_parameter
        if owner in params:  # first: the other names may be of the new parts
            setattr(self, owner, params.pop(owner))
        names = [name for name, _ in self._parts()]
        unknown = next((key for key in params if key.partition("__")[0] not in names), None)
        if unknown is not None:
            raise ValueError(
                f"Invalid parameter {unknown!r} for estimator {type(self).__name__}; "
                f"valid parameters are: {', '.join((owner, *names))}, and name__parameter"
            )
        if any("__" not in key for key in params):
            parts = [(name, params.pop(name, part)) for name, part in self._parts()]
            setattr(self, owner, parts)
        for name, part in self._parts():
            prefix = f"{name}__"
            inner = {k.removeprefix(prefix): v for k, v in params.items() if k.startswith(prefix)}
            if inner and not hasattr(part, "set_params"):
                raise ValueError(
                    f"{prefix}{next(iter(inner))} cannot be set: {name} is {shown(part)}, which "
                    "has no parameters"
                )
            if inner:
                part.set_params(**inner)
        return self

    def _check_parts(self, needed: Callable[[Any, bool], str | None]) -> None:
        """Raise unless the parts are (name, estimator) pairs with names of their own.

        needed : of an estimator, and whether it is the last one, the method that it lacks.
        """
        owner = self._parts_parameter
        parts = getattr(self, owner)
        if not isinstance(parts, list | tuple) or not parts:
            raise ValueError(f"{owner} is {shown(parts)}, expected [(name, estimator), ...]")
        for i, part in enumerate(parts):
            if not isinstance(part, tuple | list) or len(part) != 2 or not isinstance(part[0], str):
                raise ValueError(f"{owner}[{i}] is {shown(part)}, expected (name, estimator)")
            name, estimator = part
            if "__" in name or name in self._parameter_names() or not name:
                raise ValueError(
                    f"{owner}[{i}] is named {name!r}, which cannot be: a name is not empty, has no "
                    f"'__', and is not {self._parts_parameter!r}"
                )
            if isinstance(estimator, type):
                raise TypeError(
                    f"{owner}[{i}] is the class {estimator.__name__}, expected an object of it: "
                    f"{estimator.__name__}()"
                )
            lacking = needed(estimator, i == len(parts) - 1)
            if lacking:
                raise TypeError(f"{owner}[{i}] is {shown(estimator)}, which has no {lacking}()")
        names = [name for name, _ in parts]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"{owner} names {twice!r} twice; give each a name of its own")

    def _forget(self) -> None:
        """Be unfitted: parts are fitted in place, so where one fails they do not fit together."""
        if hasattr(self, "n_features_in_"):
            del self.n_features_in_


class FeatureUnion(_Composed, Transformer):
    """The features of several transformers, side by side.

    transformer_list : [(name, transformer), ...], each fitted on the same X.

    `make_union(HOG(), ColorHistogram())` makes the names.
    """

    _parts_parameter = "transformer_list"

    def __init__(self, transformer_list: list[Part]) -> None:
        self.transformer_list = transformer_list

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit each transformer on rows (N, D) or images (N, H, W, C)."""
        self._check_parts(_lacks_of_transformer)
        rows = self._check_training_rows(X)
        self._forget()
        for _, transformer in self.transformer_list:
            transformer.fit(X, y)
        self._learn_columns(X, rows)
        return self

    def transform(self, X: Any) -> Array:
        """All features: (N, sum of their numbers), floating."""
        self._check_fitted()
        found = [_floating(name, part.transform(X)) for name, part in self.transformer_list]
        return namespace_of(*found).concat(found, axis=1)


class Pipeline(_Composed):
    """Transformers one after the other, and a classifier (or one more transformer) at the end.

    steps : [(name, estimator), ...]. `fit` fits each on what the ones before make of X, in place;
    `predict`, `score` and all that the last step has take X and send it through. What a
    transformer learns, it learns from the rows of `fit` alone, so no mean or component knows of
    validation and test rows.

    `make_pipeline(HOG(), StandardScaler(), LinearClassifier())` makes the names.
    """

    _parts_parameter = "steps"

    def __init__(self, steps: list[Part]) -> None:
        self.steps = steps

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit every step. Where Ctrl-C ends the last one, what it had learnt is kept."""
        self._fit(X, y, transform=False)
        return self

    @property
    def fit_transform(self) -> Callable[..., Array]:
        """fit_transform(X, y=None): both on the same X, where the last step is a transformer."""
        self._last("transform")
        return lambda X, y=None: self._fit(X, y, transform=True)

    def _fit(self, X: Any, y: Any, transform: bool) -> Any:
        """Fit every step; where `transform` is asked for, give what the last makes of X."""
        self._check_parts(_lacks_of_step)
        rows = self._check_training_rows(X)
        self._forget()
        made = X
        for i, (name, step) in enumerate(self.steps[:-1]):
            advance("pipeline", i, len(self.steps), now=name)
            made = _fit_transform(step, made, y)
        self._learn_columns(X, rows)  # before the last step, which Ctrl-C may leave fitted
        last = self.steps[-1][1]
        try:
            made = _fit_transform(last, made, y) if transform else last.fit(made, y)
        except Exception:
            self._forget()
            raise
        advance("pipeline", len(self.steps), len(self.steps))
        return made

    @property
    def predict(self) -> Callable[[Any], Array]:
        """The class of each row or image, where the last step is a classifier."""
        return self._sent_to("predict")

    @property
    def score(self) -> Callable[..., float]:
        """score(X, y, sample_weight=None): the share of rows whose class is predicted right."""
        score = self._last("score")

        def scored(X: Any, y: Any, sample_weight: Any = None) -> float:
            weights = {} if sample_weight is None else {"sample_weight": sample_weight}
            return float(score(self._made(X), y, **weights))

        return scored

    @property
    def predict_proba(self) -> Callable[[Any], Array]:
        """Probabilities of each class, where the last step has them."""
        return self._sent_to("predict_proba")

    @property
    def decision_function(self) -> Callable[[Any], Array]:
        """Scores of each class, where the last step has them."""
        return self._sent_to("decision_function")

    @property
    def transform(self) -> Callable[[Any], Array]:
        """The features that the last step makes, where it is a transformer."""
        return self._sent_to("transform")

    @property
    def classes_(self) -> Any:
        """The labels, sorted, as the last step knows them."""
        return self._last("classes_")

    @property
    def named_steps(self) -> dict[str, Any]:
        """The steps by name."""
        return dict(self.steps)

    def __getitem__(self, which: int | str) -> Any:
        return self.named_steps[which] if isinstance(which, str) else self.steps[which][1]

    def __len__(self) -> int:
        return len(self.steps)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        parts = self._parts()
        if parts and hasattr(parts[-1][1], "__sklearn_tags__"):
            theirs = parts[-1][1].__sklearn_tags__()
            tags.estimator_type = theirs.estimator_type
            tags.classifier_tags = theirs.classifier_tags
            tags.transformer_tags = theirs.transformer_tags
            tags.target_tags = theirs.target_tags
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "n_features_in_") and _is_fitted(self.steps[-1][1])

    def _made(self, X: Any) -> Any:
        """What the transformers make of X."""
        self._check_fitted()
        self._check_names(X)
        for _, step in self.steps[:-1]:
            X = step.transform(X)
        return X

    def _last(self, name: str) -> Any:
        """That attribute of the last step, or AttributeError, so that hasattr tells the truth."""
        parts = self._parts()
        if not parts:
            raise AttributeError(f"steps is {shown(self.steps)}, and so there is no {name}")
        return getattr(parts[-1][1], name)

    def _sent_to(self, name: str) -> Callable[[Any], Array]:
        method = self._last(name)
        return lambda X: method(self._made(X))


def make_pipeline(*steps: Any) -> Pipeline:
    """A Pipeline of these, named by their classes in lower case."""
    return Pipeline(_named(steps))


def make_union(*transformers: Any) -> FeatureUnion:
    """A FeatureUnion of these, named by their classes in lower case."""
    return FeatureUnion(_named(transformers))


def _named(estimators: Iterable[Any]) -> list[Part]:
    """(name, estimator) pairs; where two are of one class, their names are numbered from 1."""
    estimators = list(estimators)
    names = [type(estimator).__name__.lower() for estimator in estimators]
    found = []
    for i, (name, estimator) in enumerate(zip(names, estimators, strict=True)):
        number = f"-{names[:i].count(name) + 1}" if names.count(name) > 1 else ""
        found.append((name + number, estimator))
    return found


def _lacks_of_transformer(estimator: Any, last: bool) -> str | None:
    return next((name for name in ("fit", "transform") if not hasattr(estimator, name)), None)


def _lacks_of_step(estimator: Any, last: bool) -> str | None:
    if last:
        return None if hasattr(estimator, "fit") else "fit"
    return _lacks_of_transformer(estimator, last)


def _fit_transform(step: Any, X: Any, y: Any) -> Any:
    if hasattr(step, "fit_transform"):
        return step.fit_transform(X, y)
    return step.fit(X, y).transform(X)


def _is_fitted(estimator: Any) -> bool:
    """Whether an estimator, ours or scikit-learn's, has learnt."""
    if hasattr(estimator, "__sklearn_is_fitted__"):
        return bool(estimator.__sklearn_is_fitted__())
    return any(key.endswith("_") and not key.startswith("_") for key in vars(estimator))


def _floating(name: str, features: Any) -> Array:
    """The features that the part of that name made, as floats."""
    if not is_array(features):
        raise TypeError(
            f"{name} made a {type(features).__name__}, expected a dense array; give it "
            "sparse_output=False, or set_output(transform='default')"
        )
    return namespace_of(features).astype(features, feature_dtype(features), copy=False)
