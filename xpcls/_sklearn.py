"""What scikit-learn calls and nobody else: tags, metadata routing, its own exception classes.

scikit-learn is no dependency. It is imported in functions that only scikit-learn calls, or used
where the program has imported it already.
"""

from __future__ import annotations

import copy
import sys
from typing import Any

UNCHANGED = "$UNCHANGED$"


class NotFittedError(ValueError, AttributeError):
    """An estimator was used before `fit`. The bases are those of scikit-learn's own."""


def not_fitted(owner: str) -> Exception:
    """The error to raise; where scikit-learn is in use, also one of scikit-learn's."""
    sentence = (
        f"This {owner} instance is not fitted yet. Call 'fit' with appropriate arguments before "
        "using this estimator"
    )
    theirs = sys.modules.get("sklearn.exceptions")
    if theirs is None:
        return NotFittedError(sentence)
    both = type("NotFittedError", (NotFittedError, theirs.NotFittedError), {})
    error: Exception = both(sentence)
    return error


def data_conversion_warning() -> type[Warning]:
    """scikit-learn's DataConversionWarning where it is in use, else UserWarning."""
    theirs = sys.modules.get("sklearn.exceptions")
    category: type[Warning] = theirs.DataConversionWarning if theirs else UserWarning
    return category


class SklearnEstimator:
    """The hooks by which scikit-learn takes an object for one of its estimators."""

    _weighted_methods: tuple[str, ...] = ()  # those that take sample_weight

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags

        return Tags(
            estimator_type=None,
            target_tags=TargetTags(required=False),
            input_tags=InputTags(),
            array_api_support=False,
        )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "n_features_in_")

    def get_metadata_routing(self) -> Any:
        """Which metadata each method asks for; part of scikit-learn's protocol."""
        return copy.deepcopy(self._requests())

    def _request(self, method: str, sample_weight: Any) -> Any:
        if sample_weight != UNCHANGED:
            getattr(self._requests(), method).add_request(
                param="sample_weight", alias=sample_weight
            )
        return self

    def _requests(self) -> Any:
        from sklearn.utils._metadata_requests import MetadataRequest

        if "_metadata_request" not in self.__dict__:
            requests = MetadataRequest(owner=self)
            for method in self._weighted_methods:
                getattr(requests, method).add_request(param="sample_weight", alias=None)
            self._metadata_request = requests
        return self._metadata_request


class SklearnTransformer(SklearnEstimator):
    """The same for one of its transformers."""

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import TransformerTags

        tags = super().__sklearn_tags__()
        tags.transformer_tags = TransformerTags()
        return tags


class SklearnClassifier(SklearnEstimator):
    """The same for one of its classifiers."""

    _estimator_type = "classifier"
    _weighted_methods: tuple[str, ...] = ("score",)

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags

        tags = super().__sklearn_tags__()
        tags.estimator_type = "classifier"
        tags.classifier_tags = ClassifierTags()
        tags.target_tags.required = True
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "classes_")

    def set_score_request(self, *, sample_weight: Any = UNCHANGED) -> Any:
        """Whether scikit-learn's pipelines and searches hand `sample_weight` to `score`."""
        return self._request("score", sample_weight)


class WeightedFit(SklearnClassifier):
    """The same for a classifier whose `fit` and `partial_fit` take `sample_weight`."""

    _weighted_methods = ("fit", "partial_fit", "score")

    def set_fit_request(self, *, sample_weight: Any = UNCHANGED) -> Any:
        """Whether scikit-learn's pipelines and searches hand `sample_weight` to `fit`."""
        return self._request("fit", sample_weight)

    def set_partial_fit_request(self, *, sample_weight: Any = UNCHANGED) -> Any:
        """Whether scikit-learn's pipelines and searches hand `sample_weight` to `partial_fit`."""
        return self._request("partial_fit", sample_weight)
