"""Every classifier on one data set: hyper-parameters chosen on validation, one look at the test.

Each setting of a model is fitted on the training part and scored on the validation part. The
best, the first among equals, is fitted again on both parts and then scored on the test part, once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from xpcls_backends import Array, Backend, device_name, to_host

from .base import Classifier
from .data import Dataset, Split
from .linear import LinearClassifier
from .neighbors import KNeighborsClassifier
from .networks import ConvNetClassifier, MLPClassifier
from .pixels import fit_images
from .progress import advance

Setting = Mapping[str, Any]
Part = tuple[Array, Array]  # uint8 images (n, H, W, C) and classes (n,), on one device


@dataclass(frozen=True)
class Row:
    """What was found of one model; times in seconds."""

    model: str
    setting: Setting
    validation_accuracy: float
    test_accuracy: float
    fit_seconds: float
    predict_seconds: float
    images_per_second: float
    device: str


class Candidate(Protocol):
    """A kind of model that can be tuned and fitted on images."""

    def tune(self, train: Part, validation: Part, seed: int) -> Iterator[tuple[Setting, float]]:
        """Each setting with its accuracy on the validation part."""

    def fit(self, setting: Setting, part: Part, seed: int) -> Classifier:
        """A model with that setting, for uint8 images."""


@dataclass(frozen=True)
class Neighbors:
    """k nearest neighbours of the raw pixels; one search for each metric serves every k."""

    n_neighbors: Sequence[int]
    metrics: Sequence[str] = ("l1", "l2")

    def tune(self, train: Part, validation: Part, seed: int) -> Iterator[tuple[Setting, float]]:
        images, labels = validation
        for metric in self.metrics:
            usable = [k for k in self.n_neighbors if k <= train[0].shape[0]]
            knn = KNeighborsClassifier(max(usable), metric=metric).fit(*train)
            distances, indices = knn.kneighbors(images)
            for k in usable:
                voted = knn.vote(distances[:, :k], indices[:, :k])
                accuracy = float((to_host(voted) == to_host(labels)).mean())
                yield {"n_neighbors": k, "metric": metric}, accuracy

    def fit(self, setting: Setting, part: Part, seed: int) -> Classifier:
        return fit_images(KNeighborsClassifier(**setting), *part)


@dataclass(frozen=True)
class Linear:
    """A linear classifier on centred pixels; the strength of L2 is chosen."""

    loss: str
    l2: Sequence[float] = (1e-5, 1e-4, 1e-3, 1e-2)

    def tune(self, train: Part, validation: Part, seed: int) -> Iterator[tuple[Setting, float]]:
        for strength in self.l2:
            setting = {"l2": strength}
            yield setting, self.fit(setting, train, seed).score(*validation)

    def fit(self, setting: Setting, part: Part, seed: int) -> Classifier:
        return fit_images(LinearClassifier(self.loss, random_state=seed, **setting), *part)


@dataclass(frozen=True)
class Network:
    """A network on raw pixels, which it centres itself; one setting of `grid` is chosen."""

    kind: type[MLPClassifier] | type[ConvNetClassifier]
    grid: Sequence[Setting] = ({},)

    def tune(self, train: Part, validation: Part, seed: int) -> Iterator[tuple[Setting, float]]:
        for setting in self.grid:
            yield setting, self.fit(setting, train, seed).score(*validation)

    def fit(self, setting: Setting, part: Part, seed: int) -> Classifier:
        return fit_images(self.kind(random_state=seed, **setting), *part)


CANDIDATES: dict[str, Candidate] = {
    "nearest": Neighbors(n_neighbors=(1,)),
    "knn": Neighbors(n_neighbors=(3, 5, 7, 9, 11)),
    "hinge": Linear("hinge"),
    "squared_hinge": Linear("squared_hinge"),
    "one_vs_all": Linear("one_vs_all"),
    "structured": Linear("structured"),
    "softmax": Linear("softmax"),
    "mlp": Network(MLPClassifier, ({"l2": 1e-4}, {"l2": 1e-3})),
    "convnet": Network(ConvNetClassifier),
}


def compare(
    data: Dataset, parts: Split, backend: Backend, models: Sequence[str], seed: int
) -> Iterator[Row]:
    """Tune, fit and test each of `models`, names of CANDIDATES, on `backend`; a row each.

    Rows come as they are found, so that what is done is not lost where the rest is not waited for.
    """
    train, validation, test, both = (
        _place(data, rows, backend)
        for rows in (parts.train, parts.validation, parts.test, parts.train_and_validation)
    )
    for i, name in enumerate(models):
        advance("models", i, len(models), now=name)
        candidate = CANDIDATES[name]
        setting, validation_accuracy = best(candidate, train, validation, seed)
        started = time.perf_counter()
        model = candidate.fit(setting, both, seed)
        fitted = time.perf_counter()
        predicted = model.predict(test[0])
        host = to_host(predicted)  # also waits for a GPU to finish
        seconds = time.perf_counter() - fitted
        yield Row(
            model=name,
            setting=setting,
            validation_accuracy=validation_accuracy,
            test_accuracy=float((host == to_host(test[1])).mean()),
            fit_seconds=fitted - started,
            predict_seconds=seconds,
            images_per_second=test[0].shape[0] / seconds,
            device=device_name(predicted),
        )
    advance("models", len(models), len(models))


def best(candidate: Candidate, train: Part, validation: Part, seed: int) -> tuple[Setting, float]:
    """The setting with the best validation accuracy, the first among equals, and that accuracy."""
    return max(candidate.tune(train, validation, seed), key=lambda found: found[1])


def _place(data: Dataset, rows: Any, backend: Backend) -> Part:
    return backend.asarray(data.images[rows]), backend.asarray(data.labels[rows])
