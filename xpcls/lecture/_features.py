"""Claims about features: what a linear classifier gains by being given other numbers."""

from __future__ import annotations

import math
from typing import Any

from xpcls.features import (
    HOG,
    ColorHistogram,
    PolarMap,
    StandardScaler,
    make_pipeline,
    make_union,
)
from xpcls.linear import LinearClassifier
from xpcls.plots import bars, grid, images, plane
from xpcls_backends import Backend, HostGenerator, namespace_of

from ._claim import Finding, at_least, at_most, claim, floats
from ._data import of_classes, regions

IMAGES = 800  # to learn from, and as many to test with
HALVES = (slice(None, IMAGES), slice(IMAGES, None))
SETTINGS: dict[str, dict[str, Any]] = {  # of make_shapes, beside its defaults
    "as they are": {},
    "anywhere, true colours": {"pose": 1.0, "variation": 0.2, "clutter": 0.2},
}


@claim("features", "Edges and hues together tell a linear classifier more than pixels do")
def hog_and_hue(backend: Backend, generator: HostGenerator) -> Finding:
    """A linear classifier of raw pixels has one template a class; features forget where things are.

    HOG has, for each cell of 8 x 8 pixels, a histogram of the directions of edges (Dalal and
    Triggs, 2005); the hue histogram has 10 numbers for the whole image, each pixel counted by how
    colourful it is. Both go through the same StandardScaler and LinearClassifier as the pixels.

    Measured: accuracy on 800 new images of `make_shapes`, drawn with its default dials, and
    with figures of any place and truer colours. HOG beats the pixels on the first, hue on the
    second, where a place says little and a colour much; both together beat everything on both.
    Ten numbers alone cannot tell two classes of one hue apart, and on the first they do not beat
    3,072 pixels. And HOG is asked about negatives, 255 - x: an edge turned by half a turn is the
    same edge, so that nothing may change.
    """
    from xpcls.data import make_shapes

    found, negative = {}, math.nan
    drawn: list[Any] = []
    for setting, dials in SETTINGS.items():
        data = make_shapes(2 * IMAGES, random_state=generator, **dials)
        drawn.append(data)
        X, X_new = (backend.asarray(data.images[part]) for part in HALVES)
        y, y_new = (backend.asarray(data.labels[part]) for part in HALVES)
        models = {
            name: make_pipeline(*maps, StandardScaler(), _linear()).fit(X, y)
            for name, maps in _features().items()
        }
        found[setting] = {name: model.score(X_new, y_new) for name, model in models.items()}
        if not dials:
            negative = models["HOG"].score(255 - X_new, y_new)
    easy, moved = found.values()
    return Finding(
        sentences=(
            f"On new images a linear classifier of raw pixels is right on {easy['pixels']:.1%}, of "
            f"HOG on {easy['HOG']:.1%}, of 10 hues on {easy['hue']:.1%}, and of both together on "
            f"{easy['HOG and hue']:.1%}; guessing has 10%.",
            "Where figures may be anywhere and colours are truer, pixels have "
            f"{moved['pixels']:.1%}, HOG {moved['HOG']:.1%}, hue {moved['hue']:.1%}, and both "
            f"{moved['HOG and hue']:.1%}.",
            f"On negatives of the images HOG is right on {negative:.1%}: edges have no sign.",
        ),
        headings=("images", *easy),
        rows=tuple((setting, *accuracies.values()) for setting, accuracies in found.items()),
        assertions=(
            at_least("as they are: HOG - pixels", easy["HOG"] - easy["pixels"], 0.05),
            at_least("as they are: hue, of which guessing has 0.1", easy["hue"], 0.2),
            at_least("as they are: both - the better of them", _gain(easy), 0.05),
            at_least("anywhere: hue - pixels", moved["hue"] - moved["pixels"], 0.01),
            at_least("anywhere: both - the better of them", _gain(moved), 0.1),
            at_least("anywhere: both - pixels", moved["HOG and hue"] - moved["pixels"], 0.15),
            at_most("|HOG on negatives - on the images|", abs(negative - easy["HOG"]), 0.02),
        ),
        draw=lambda: grid(
            [
                images(
                    drawn[0].images[:10],
                    [drawn[0].class_names[label] for label in drawn[0].labels[:10].tolist()],
                    columns=5,
                    size=88,
                    title="Ten classes of shapes",
                ),
                bars(
                    list(easy),
                    {setting: list(values.values()) for setting, values in found.items()},
                    title="Accuracy of a linear classifier",
                    y_label="accuracy on new images",
                    form=".2f",
                    height=330,
                ),
            ]
        ),
    )


def _features() -> dict[str, list[Any]]:
    """What the pixels go through before they are scaled, by name."""
    hog, hue = HOG(block_norm=None), ColorHistogram(10, weighted=True)
    return {"pixels": [], "HOG": [hog], "hue": [hue], "HOG and hue": [make_union(hog, hue)]}


def _linear() -> LinearClassifier:
    return LinearClassifier("softmax", l2=1e-3, epochs=20, random_state=0)


def _gain(accuracies: dict[str, float]) -> float:
    """What both features have over the better one."""
    return accuracies["HOG and hue"] - max(accuracies["HOG"], accuracies["hue"])


@claim("polar", "Circles become lines in polar coordinates")
def polar(backend: Backend, generator: HostGenerator) -> Finding:
    """A map that is not linear can make a linear classifier do.

        (x, y)  ->  (r, theta) = (sqrt(x^2 + y^2), angle)

    A disc and a ring around it cannot be told apart by a line, but r = 1 does it. Measured:
    accuracy of the softmax on new points, before and after PolarMap.
    """
    (X, y), (X_new, y_new) = (_rings(400, generator) for _ in range(2))
    train, new = floats(X, backend), floats(X_new, backend)
    maps: dict[str, list[Any]] = {"x and y": [], "r and theta": [PolarMap()]}
    models = {
        name: make_pipeline(*steps, StandardScaler(), LinearClassifier(epochs=40, random_state=0))
        for name, steps in maps.items()
    }
    accuracies = {
        name: model.fit(train, backend.asarray(y)).score(new, backend.asarray(y_new))
        for name, model in models.items()
    }
    plain, mapped = accuracies.values()
    limits = (-2.2, 2.2, -2.2, 2.2)
    return Finding(
        sentences=(
            f"A linear classifier tells a disc from a ring around it on {plain:.1%} of new points, "
            f"and on {mapped:.1%} once they are given by radius and angle.",
        ),
        headings=("features", "accuracy"),
        rows=tuple(accuracies.items()),
        assertions=(
            at_most("accuracy on x and y", plain, 0.75),
            at_least("accuracy on radius and angle", mapped, 0.97),
        ),
        draw=lambda: grid(
            [
                plane(
                    of_classes(X, y, ("disc", "ring")),
                    cells=regions(model, limits, backend),
                    limits=limits,
                    title=f"Linear in {name}",
                    x_label="x",
                    y_label="y",
                    width=380,
                    radius=2.4,
                )
                for name, model in models.items()
            ]
        ),
    )


def _rings(n: int, generator: HostGenerator) -> tuple[Any, Any]:
    """Points (n, 2) in a disc of radius 0.8 and in a ring from 1.2 to 2, and classes (n,); host."""
    labels = generator.permutation(n) % 2
    host = namespace_of(labels)
    share = generator.uniform(0.0, 1.0, n)
    radii = host.where(labels == 0, 0.8 * host.sqrt(share), 1.2 + 0.8 * share)
    angles = generator.uniform(-math.pi, math.pi, n)
    return host.stack([radii * host.cos(angles), radii * host.sin(angles)], axis=1), labels
