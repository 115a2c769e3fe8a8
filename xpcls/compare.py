"""Every classifier on one data set: hyper-parameters chosen on validation, one look at the test.

Each setting of a model is fitted on the training part and scored on the validation part. The
best, the first among equals, is fitted again on both parts. When all models are final, the test
set is opened, once, for all of them: no choice is left that a test score could be used for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from xpcls_backends import Array, Backend, device_name, like, to_host

from .base import Classifier
from .data import Dataset, Split
from .features import PCA, ColorHistogram, StandardScaler, make_pipeline, make_union
from .linear import LinearClassifier
from .model_selection import SealedTestSet
from .neighbors import KNeighborsClassifier
from .networks import ConvNetClassifier, MLPClassifier
from .options import check_choice
from .pixels import fit_images, hog_for
from .progress import advance

Setting = Mapping[str, Any]
Part = tuple[Array, Array]  # uint8 images (n, H, W, C) or features (n, D), and classes (n,)

PCA_SHARE = 0.95  # of the variance


@dataclass(frozen=True)
class Row:
    """What was found of one model; times in seconds. Of the test None until it is opened."""

    model: str
    setting: Setting
    validation_accuracy: float
    fit_seconds: float
    device: str
    test_accuracy: float | None = None
    predict_seconds: float | None = None
    images_per_second: float | None = None


class Candidate(Protocol):
    """A kind of model that can be tuned and fitted on images, or on features of them."""

    def tune(self, train: Part, validation: Part, seed: int) -> Iterator[tuple[Setting, float]]:
        """Each setting with its accuracy on the validation part."""

    def fit(self, setting: Setting, part: Part, seed: int) -> Classifier:
        """A model with that setting."""


@dataclass(frozen=True)
class Neighbors:
    """k nearest neighbours of the rows as they are; one search for each metric serves every k."""

    n_neighbors: Sequence[int]
    metrics: Sequence[str] = ("l1", "l2")

    def tune(self, train: Part, validation: Part, seed: int) -> Iterator[tuple[Setting, float]]:
        X, labels = validation
        for metric in self.metrics:
            usable = [k for k in self.n_neighbors if k <= train[0].shape[0]]
            knn = KNeighborsClassifier(max(usable), metric=metric).fit(*train)
            distances, indices = knn.kneighbors(X)
            for k in usable:
                voted = knn.vote(distances[:, :k], indices[:, :k])
                accuracy = float((to_host(voted) == to_host(labels)).mean())
                yield {"n_neighbors": k, "metric": metric}, accuracy

    def fit(self, setting: Setting, part: Part, seed: int) -> Classifier:
        return KNeighborsClassifier(**setting).fit(*part)


@dataclass(frozen=True)
class Linear:
    """A linear classifier on centred pixels, or on features; the strength of L2 is chosen."""

    loss: str
    l2: Sequence[float] = (1e-5, 1e-4, 1e-3, 1e-2)

    def tune(self, train: Part, validation: Part, seed: int) -> Iterator[tuple[Setting, float]]:
        for strength in self.l2:
            setting = {"l2": strength}
            yield setting, self.fit(setting, train, seed).score(*validation)

    def fit(self, setting: Setting, part: Part, seed: int) -> Classifier:
        model = LinearClassifier(self.loss, random_state=seed, **setting)
        return fit_images(model, *part) if part[0].ndim == 4 else model.fit(*part)


@dataclass(frozen=True)
class Network:
    """A network, which centres its input itself; one setting of `grid` is chosen."""

    kind: type[MLPClassifier] | type[ConvNetClassifier]
    grid: Sequence[Setting] = ({},)

    def tune(self, train: Part, validation: Part, seed: int) -> Iterator[tuple[Setting, float]]:
        for setting in self.grid:
            yield setting, self.fit(setting, train, seed).score(*validation)

    def fit(self, setting: Setting, part: Part, seed: int) -> Classifier:
        return self.kind(random_state=seed, **setting).fit(*part)


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
NEED_IMAGES = {"convnet"}  # and cannot be given features


# What is made of the images: of their shape (H, W, C), a transformer, or None for the pixels.
FEATURES: dict[str, Callable[[tuple[int, ...]], Any]] = {
    "raw": lambda shape: None,
    "hog": lambda shape: make_pipeline(hog_for(shape), StandardScaler()),
    "hue": lambda shape: make_pipeline(ColorHistogram(10, weighted=True), StandardScaler()),
    "hog+hue": lambda shape: make_pipeline(
        make_union(hog_for(shape), ColorHistogram(10, weighted=True)), StandardScaler()
    ),
    "pca": lambda shape: PCA(PCA_SHARE),
}


def candidates(features: str) -> list[str]:
    """The names of CANDIDATES that can be given these features."""
    return [name for name in CANDIDATES if features == "raw" or name not in NEED_IMAGES]


@dataclass(frozen=True)
class Prepared:
    """The parts of a data set, as images or as features, on one device.

    extractor : makes features of test images, as it made those of `both`; None for raw pixels.
        For training and validation another one is fitted on the training part alone.
    seconds : that the features of `both` took.
    """

    train: Part
    validation: Part
    both: Part
    extractor: Any
    seconds: float

    def of_test(self, images: Array) -> Array:
        """Test images as the models take them."""
        return images if self.extractor is None else self.extractor.transform(images)


def check_features(features: str, data: Dataset) -> None:
    """Raise where features of that name cannot be made of these images."""
    check_choice("features", features, FEATURES)
    channels = data.images.shape[3]
    if "hue" in features and channels != 3:
        raise ValueError(
            f"features is {features!r}, but the images have {channels} channel(s), and hue needs "
            "red, green and blue; take hog, pca or raw, or images in colour"
        )


def prepare(data: Dataset, parts: Split, backend: Backend, features: str = "raw") -> Prepared:
    """Place the training and the validation part on `backend`, as features of that name."""
    check_features(features, data)
    shape = data.images.shape[1:]
    train, validation, both = (
        _place(data, rows, backend)
        for rows in (parts.train, parts.validation, parts.train_and_validation)
    )
    extractor = FEATURES[features](shape)
    if extractor is None:
        return Prepared(train, validation, both, None, 0.0)
    first = FEATURES[features](shape)
    train = first.fit_transform(*train), train[1]
    validation = first.transform(validation[0]), validation[1]
    started = time.perf_counter()
    final = extractor.fit_transform(*both)
    seconds = time.perf_counter() - started
    return Prepared(train, validation, (final, both[1]), extractor, seconds)


def seal(data: Dataset, parts: Split, ledger: Any = None) -> SealedTestSet:
    """The test part, closed; on the host, so that no card holds it all the while."""
    return SealedTestSet(data.images[parts.test], data.labels[parts.test], ledger=ledger)


def compare(
    prepared: Prepared, test: SealedTestSet, models: Sequence[str], seed: int
) -> Iterator[Row]:
    """Tune and fit each of `models`, names of CANDIDATES, then test them all.

    A row of each comes as soon as it is fitted, so that what is done is not lost where the rest
    is not waited for; and again, with its test accuracy, when all are final and the test set has
    been opened.
    """
    fitted: list[tuple[Row, Classifier]] = []
    for i, name in enumerate(models):
        advance("models", i, len(models), now=name)
        candidate = CANDIDATES[name]
        setting, accuracy = best(candidate, prepared.train, prepared.validation, seed)
        started = time.perf_counter()
        model = candidate.fit(setting, prepared.both, seed)
        seconds = time.perf_counter() - started
        row = Row(name, setting, accuracy, seconds, device_name(prepared.both[1]))
        fitted.append((row, model))
        yield row
    images, labels = test.open(*(model for _, model in fitted))
    X, truth = prepared.of_test(like(images, prepared.both[1])), to_host(labels)
    for row, model in fitted:
        started = time.perf_counter()
        predicted = to_host(model.predict(X))  # also waits for a GPU to finish
        seconds = time.perf_counter() - started
        yield replace(
            row,
            test_accuracy=float((predicted == truth).mean()),
            predict_seconds=seconds,
            images_per_second=len(test) / seconds,
        )
    advance("models", len(models), len(models))


def best(candidate: Candidate, train: Part, validation: Part, seed: int) -> tuple[Setting, float]:
    """The setting with the best validation accuracy, the first among equals, and that accuracy."""
    return max(candidate.tune(train, validation, seed), key=lambda found: found[1])


def _place(data: Dataset, rows: Any, backend: Backend) -> Part:
    return backend.asarray(data.images[rows]), backend.asarray(data.labels[rows])
