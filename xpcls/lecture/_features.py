"""Claims about features: what a linear classifier gains by being given other numbers."""

from __future__ import annotations

import math
from typing import Any

from xpcls.features import (
    HOG,
    ColorHistogram,
    Pipeline,
    PolarMap,
    StandardScaler,
    make_pipeline,
    make_union,
)
from xpcls.linear import LinearClassifier
from xpcls.plots import bars, grid, images, plane
from xpcls_backends import Array, Backend, HostGenerator, namespace_of, to_host, to_scalar

from ._claim import Finding, at_least, at_most, claim, floats, within
from ._data import of_classes, regions

Part = tuple[Array, Array]  # images and classes
IMAGES, LEARNT, JUDGED = 1600, 600, 800  # drawn; to learn from; that and to choose a rate by
RATES = (0.01, 0.03, 0.1)


@claim(
    "features",
    "Edges and hues together tell a linear classifier more than pixels do",
    size=LEARNT * 32 * 32 * 3,
)
def hog_and_hue(backend: Backend, generator: HostGenerator) -> Finding:
    """A linear classifier of raw pixels has one template a class; features forget where things are.

    HOG has, for each cell of 8 x 8 pixels, a histogram of the directions of edges, each counted
    by its strength (Dalal and Triggs, 2005); the hue histogram has 10 numbers for the whole image,
    each pixel counted by how colourful it is. Both go through the same StandardScaler and
    LinearClassifier as the pixels. The learning rate is chosen for each of them, among three, by
    accuracy on 200 images that are not learnt from: a rate that suits 144 numbers can be too
    high for 3,072.

    Measured: accuracy on 800 new images of `make_shapes` with its default dials, of classifiers
    that learnt 600. HOG beats the pixels, and both together beat each alone. Ten hues alone tell
    something, but several classes share a hue, and they do not beat 3,072 pixels. HOG is also
    asked about negatives, 255 - x: an edge turned by half a turn is the same edge, so that nothing
    may change; and about twice the contrast, which without normalised blocks is twice the numbers.
    """
    from xpcls.data import make_shapes

    data = make_shapes(IMAGES, random_state=generator)
    parts = (slice(LEARNT), slice(LEARNT, JUDGED), slice(JUDGED, None))
    learnt, judged, new = (
        (backend.asarray(data.images[part]), backend.asarray(data.labels[part])) for part in parts
    )
    hog, hue = HOG(block_norm=None), ColorHistogram(10, weighted=True)
    maps = {"pixels": None, "HOG": hog, "hue": hue, "HOG and hue": make_union(hog, hue)}
    models = {name: _best_rate(steps, learnt, judged) for name, steps in maps.items()}
    found = {name: model.score(*new) for name, model in models.items()}
    negative = models["HOG"].score(255 - new[0], new[1])
    half = new[0][:100, ...] // 2
    faint, strong = (backend.xp.mean(hog.fit_transform(x)) for x in (half, 2 * half))
    strength = float(to_scalar(strong / faint))
    both = found["HOG and hue"]
    return Finding(
        sentences=(
            f"On new images a linear classifier of raw pixels is right on {found['pixels']:.1%}, "
            f"of HOG on {found['HOG']:.1%}, of 10 hues on {found['hue']:.1%}, and of HOG and hues "
            f"on {both:.1%}; guessing has 10%.",
            f"On negatives of the images HOG is right on {negative:.1%}, and at twice the contrast "
            f"its numbers are {strength:.4g} times as large.",
        ),
        headings=("features", "accuracy"),
        rows=tuple(found.items()),
        assertions=(
            at_least("HOG - pixels", found["HOG"] - found["pixels"], 0.03),
            at_least("HOG and hue - pixels", both - found["pixels"], 0.15),
            at_least(
                "HOG and hue - the better of them", both - max(found["HOG"], found["hue"]), 0.08
            ),
            at_least("hue, of which guessing has 0.1", found["hue"], 0.2),
            at_most("|HOG on negatives - on the images|", abs(negative - found["HOG"]), 0.02),
            within("HOG at twice the contrast / HOG", strength, 1.999, 2.001),
        ),
        draw=lambda: grid(
            [
                images(
                    data.images[:10],
                    [data.class_names[label] for label in data.labels[:10].tolist()],
                    columns=5,
                    size=88,
                    title="Ten classes of shapes",
                ),
                bars(
                    list(found),
                    {"": list(found.values())},
                    title="Accuracy of a linear classifier",
                    y_label="accuracy on new images",
                    form=".2f",
                    width=440,
                    height=330,
                ),
            ]
        ),
    )


def _best_rate(features: Any, learnt: Part, judged: Part) -> Pipeline:
    """What learns from features with each of the rates: the most accurate on images not learnt."""
    steps = [] if features is None else [features]
    fitted = [
        make_pipeline(
            *steps,
            StandardScaler(),
            LinearClassifier("softmax", l2=1e-3, learning_rate=rate, epochs=20, random_state=0),
        ).fit(*learnt)
        for rate in RATES
    ]
    return max(fitted, key=lambda model: model.score(*judged))


@claim("polar", "Circles become lines in polar coordinates")
def polar(backend: Backend, generator: HostGenerator) -> Finding:
    """A map that is not linear can make a linear classifier do.

        (x, y)  ->  (r, theta) = (sqrt(x^2 + y^2), angle)

    A disc and a ring around it cannot be told apart by a line, but r = 1 does it. Measured: what
    PolarMap gives, by the way back, x = r cos(theta) and y = r sin(theta); and the accuracy of the
    softmax on new points, before and after it.
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
    radii, angles = to_host(PolarMap().fit_transform(new)).astype("float64").T
    host = namespace_of(X_new)
    back = host.stack([radii * host.cos(angles), radii * host.sin(angles)], axis=1)
    away, least = float(abs(back - X_new).max()), float(radii.min())
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
            at_most("|(r cos theta, r sin theta) - (x, y)|", away, 1e-5),
            at_least("the least radius", least, 0),
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
