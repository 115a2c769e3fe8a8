"""The same seeds on every backend: how far features, neighbours, losses and weights differ.

The first backend, NumPy, is the reference. Neighbours of uint8 images are found in exact
arithmetic and must be the same; sums in floating point are taken in another order on another
device, so losses and weights may differ within a tolerance, and predictions where two classes
have all but equal scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from xpcls_backends import Backend, host_generator, namespace_of, to_host

from .data import Dataset, Split
from .distances import nearest
from .features import PCA, ColorHistogram
from .linear import LinearClassifier
from .linear_model import LINEAR_LOSSES
from .networks import ConvNetClassifier, MLPClassifier
from .pixels import hog_for
from .progress import advance

TRAIN_ROWS, QUERY_ROWS = 1000, 200  # enough to differ, few enough to wait for
N_NEIGHBORS = 10
N_COMPONENTS = 5  # whose variances are far apart
EPOCHS = 50  # of 4 steps
NETWORK_EPOCHS = 2
NOISE = 0.1  # that networks' pixels of 0 to 1 get
SAME = 0.0
CLOSE = 1e-4  # relative, in float32 after 200 steps
FEW = 0.01  # share of predictions


@dataclass(frozen=True)
class Difference:
    """The largest difference between a backend and the reference in one thing."""

    backend: str
    what: str
    largest: float
    allowed: float

    @property
    def passed(self) -> bool:
        """Whether it is within what is allowed."""
        return self.largest <= self.allowed


def parity(
    data: Dataset, parts: Split, backends: Sequence[Backend], seed: int
) -> Iterator[Difference]:
    """Run everything on each backend and compare with the first; a difference each."""
    reference, *others = backends
    expected = dict(_results(data, parts, reference, seed))
    for backend in others:
        for i, (what, found) in enumerate(_results(data, parts, backend, seed)):
            advance(f"parity of {backend.name}", i + 1, len(expected))
            largest, allowed = _largest_difference(what, found, expected[what])
            yield Difference(backend.name, what, largest, allowed)


def _results(data: Dataset, parts: Split, backend: Backend, seed: int) -> Iterator[tuple[str, Any]]:
    """Everything that is compared, by name, on the host."""
    train, queries = parts.train[:TRAIN_ROWS], parts.validation[:QUERY_ROWS]
    X = backend.asarray(data.images[train].reshape(len(train), -1))
    Q = backend.asarray(data.images[queries].reshape(len(queries), -1))
    y = backend.asarray(data.labels[train])
    xp = backend.xp
    for metric in ("l1", "l2"):
        _, indices = nearest(Q, X, min(N_NEIGHBORS, len(train)), metric)
        yield f"neighbours, {metric}", to_host(indices)
    shape = data.images.shape[1:]
    images = xp.reshape(X, (X.shape[0], *shape))
    extractors: dict[str, Any] = {"hog": hog_for(shape), "pca": PCA(N_COMPONENTS)}
    if shape[2] == 3:
        extractors["hue"] = ColorHistogram()
    for name, extractor in extractors.items():
        yield f"{name}: features", to_host(extractor.fit_transform(images))
    floats = xp.astype(X, xp.float32) / 255.0
    queried = xp.astype(Q, xp.float32) / 255.0
    for loss in LINEAR_LOSSES:
        model = LinearClassifier(loss, epochs=EPOCHS, random_state=seed).fit(floats, y)
        yield f"{loss}: losses", to_host(xp.asarray(model.history_["loss"], device=backend.device))
        yield f"{loss}: weights", to_host(model.coef_)
        yield f"{loss}: predictions", to_host(model.predict(queried))
    # By plain steps: Adam divides by the size of a gradient, and so by rounding where it is tiny.
    options: dict[str, Any] = {"optimizer": "sgd", "epochs": NETWORK_EPOCHS, "random_state": seed}
    networks = {
        "mlp": MLPClassifier(dropout=0.2, **options),
        "convnet": ConvNetClassifier(
            (("conv", 8), "relu", "max_pool", ("conv", 8), "relu", "max_pool"),
            augment=(("shift", 1),),
            image_shape=shape,
            **options,
        ),
    }
    # Where all of a window is one colour, rounding alone would say which pixel a pool takes.
    noise = host_generator(seed).uniform(0.0, NOISE, X.shape).astype("float32")
    noisy = floats + backend.asarray(noise)
    for name, network in networks.items():
        network.fit(noisy, y)
        losses = xp.asarray(network.history_["loss"], device=backend.device)
        yield f"{name}: losses", to_host(losses)
        yield f"{name}: weights", to_host(network.parameters_[0])
        yield f"{name}: predictions", to_host(network.predict(queried))


def _largest_difference(what: str, found: Any, expected: Any) -> tuple[float, float]:
    """How far two host arrays are apart, and how far they may be."""
    if what.startswith("neighbours"):
        return float((found != expected).mean()), SAME
    if what.endswith("predictions"):
        return float((found != expected).mean()), FEW
    xp = namespace_of(found, expected)
    apart = xp.max(xp.abs(found - expected)) / xp.max(xp.abs(expected))
    return float(apart), CLOSE
