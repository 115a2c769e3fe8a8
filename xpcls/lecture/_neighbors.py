"""Claims about nearest neighbours."""

from __future__ import annotations

import itertools
import math
from typing import Any

from xpcls.distances import nearest, pairwise
from xpcls.neighbors import KNeighborsClassifier
from xpcls.plots import Picture, grid, lines, plane
from xpcls_backends import Backend, HostGenerator, namespace_of, to_host, to_scalar

from ._claim import Assertion, Finding, at_least, at_most, claim, floats, within
from ._data import moons, of_classes, regions

NOISE = (0.0, 0.1, 0.2, 0.3)  # shares of labels that are wrong
MANY = 15  # neighbours
POINTS, ROWS = 1600, 400  # of the two claims
PER_AXIS = 4
DIMENSIONS = (2, 8, 32, 128, 512)
USELESS = (0, 4, 16, 64, 256, 1024)


@claim("label-noise", "One neighbour trusts wrong labels, many neighbours outvote them")
def label_noise(backend: Backend, generator: HostGenerator) -> Finding:
    """A share p of the training labels of two classes is flipped; test labels are right.

    A training point is its own nearest neighbour, so 1-NN repeats every wrong label, and on new
    points it is wrong about as often as its neighbour's label is:

        error of 1-NN  ~  p + (1 - 2 p) e,    e its error without noise

    15 neighbours are misled only where most of them are wrong. Measured: accuracy on the
    training points, and the error on as many new ones, for p up to 0.3.
    """
    points, labels = moons(POINTS, 0.12, generator)
    new, truth = moons(POINTS, 0.12, generator)
    flips = generator.uniform(0.0, 1.0, POINTS)
    X, X_new = floats(points, backend), floats(new, backend)
    y_new = backend.asarray(truth)
    rows = []
    models: dict[int, KNeighborsClassifier] = {}
    given = {p: labels ^ (flips < p) for p in NOISE}
    for p in NOISE:
        y = backend.asarray(given[p])
        models = {k: KNeighborsClassifier(k).fit(X, y) for k in (1, MANY)}
        rows.append(
            (p, models[1].score(X, y), *(1 - models[k].score(X_new, y_new) for k in models))
        )
    errors = {k: [row[i] for row in rows] for k, i in ((1, 2), (MANY, 3))}
    expected = [p + (1 - 2 * p) * errors[1][0] for p in NOISE]
    away = max(abs(a - b) for a, b in zip(errors[1], expected, strict=True))
    assertions = [
        at_least("the accuracy of 1-NN on its training points", min(row[1] for row in rows), 1.0),
        at_most("how far the test error of 1-NN is from p + (1 - 2 p) e", away, 0.08),
        at_least(f"test error of 1-NN at p = {NOISE[-1]}", errors[1][-1], 0.2),
        at_most(f"test error of {MANY}-NN up to p = {NOISE[-1]}", max(errors[MANY]), 0.15),
    ]
    return Finding(
        sentences=(
            f"With {NOISE[-1]:.0%} of the labels wrong, 1-NN repeats {rows[-1][1]:.1%} of its "
            f"training labels, and errs on {errors[1][-1]:.1%} of new points; without noise it "
            f"erred on {errors[1][0]:.1%}.",
            f"{MANY} neighbours err on {errors[MANY][-1]:.1%} of them.",
        ),
        headings=("wrong labels", "1-NN on training", "1-NN test error", f"{MANY}-NN test error"),
        rows=tuple(rows),
        assertions=tuple(assertions),
        draw=lambda: _noise_picture(points, given, errors, backend),
    )


def _noise_picture(points: Any, given: Any, errors: Any, backend: Backend) -> Picture:
    limits = (-1.5, 2.5, -1.2, 1.7)
    shown = given[0.2]
    fitted = [
        KNeighborsClassifier(k).fit(floats(points, backend), backend.asarray(shown))
        for k in (1, MANY)
    ]
    parts = [
        plane(
            of_classes(points[:400], shown[:400], ("class a", "class b")),
            cells=regions(model, limits, backend),
            limits=limits,
            title=f"{_counted(model.n_neighbors)}, 20% of the labels wrong",
            width=420,
            radius=2.2,
        )
        for model in fitted
    ]
    curves = {_counted(k): (NOISE, errors[k]) for k in errors}
    parts.append(
        lines(
            curves,
            title="Error on new points",
            x_label="share of wrong training labels",
            y_label="test error",
            width=420,
            height=parts[0].height,
        )
    )
    return grid(parts)


def _counted(k: int) -> str:
    return f"{k} neighbour{'s' if k > 1 else ''}"


@claim(
    "curse",
    "In many dimensions nothing is near: the curse of dimensionality",
    size=ROWS * max(*DIMENSIONS, *USELESS),
)
def curse(backend: Backend, generator: HostGenerator) -> Finding:
    """Three faces of one curse.

    To have a neighbour within 1/8 along each axis of the unit cube takes a grid of 4 points an
    axis, 4^d in all. Measured for d = 1, 2, 3: the largest distance of a point of the cube,
    corners among them, to the nearest point of such a grid, over sqrt(d); with 4 points an axis
    it is 1/8, with 3 it is 1/6.

    Among 400 uniform points in D dimensions, the nearest of a query is hardly nearer than the
    farthest (Beyer and others, When is "nearest neighbor" meaningful?, 1999):

        contrast = (largest distance - smallest) / smallest  ->  0

    Measured for D from 2 to 512, and some of the distances against their formula in float64.

    And features that say nothing drown those that do. Measured: accuracy of 5-NN on two classes
    that two features tell apart, beside more and more features of noise.
    """
    covering, assertions = _covering(backend, generator)
    contrasts, away = [], 0.0
    for dimensions in DIMENSIONS:
        points = generator.uniform(0.0, 1.0, (ROWS, dimensions))
        queries = generator.uniform(0.0, 1.0, (20, dimensions))
        distances, xp = pairwise(floats(queries, backend), floats(points, backend)), backend.xp
        formula = [math.dist(queries[0], point) for point in points]
        some = to_host(distances)[0].tolist()
        away = max(away, *(abs(a - b) for a, b in zip(some, formula, strict=True)))
        least, most = xp.min(distances, axis=1), xp.max(distances, axis=1)
        contrasts.append(float(to_scalar(xp.mean((most - least) / least))))
    accuracies = _drowned(backend, generator)
    falls = max(b / a for a, b in itertools.pairwise(contrasts))
    assertions += [
        at_most("contrast / that in fewer dimensions", falls, 0.8),
        within(f"contrast in {DIMENSIONS[0]} dimensions", contrasts[0], 5, 500),
        at_most(f"contrast in {DIMENSIONS[-1]} dimensions", contrasts[-1], 0.35),
        at_least("accuracy of 5-NN without useless features", accuracies[0], 0.88),
        at_most(f"accuracy of 5-NN beside {USELESS[-1]} useless features", accuracies[-1], 0.8),
        at_most(
            "the most that accuracy gains by useless features",
            max(b - a for a, b in itertools.pairwise(accuracies)),
            0.04,
        ),
        at_most("the largest |distance - the formula's|", away, 1e-5),
    ]
    rows = (
        *((f"{d} dimensions", "points for a neighbour within 1/8", PER_AXIS**d) for d in covering),
        *((f"{d} dimensions", "contrast", c) for d, c in zip(DIMENSIONS, contrasts, strict=True)),
        *(
            (f"2 + {d} features", "accuracy of 5-NN", a)
            for d, a in zip(USELESS, accuracies, strict=True)
        ),
    )
    return Finding(
        sentences=(
            "A neighbour within 1/8 along each axis takes "
            f"{', '.join(str(PER_AXIS**d) for d in covering)} points in "
            f"{', '.join(map(str, covering))} dimensions: {PER_AXIS}^d.",
            f"The farthest of {ROWS} points is {1 + contrasts[0]:.0f} times as far away as the "
            f"nearest in {DIMENSIONS[0]} dimensions, and {1 + contrasts[-1]:.2f} times in "
            f"{DIMENSIONS[-1]}.",
            f"Beside {USELESS[-1]} features of noise 5-NN is right on {accuracies[-1]:.1%}, "
            f"without them on {accuracies[0]:.1%}; guessing has 50%.",
        ),
        headings=("data", "what", "found"),
        rows=rows,
        assertions=tuple(assertions),
        draw=lambda: grid(
            [
                lines(
                    {"L2, uniform points": (DIMENSIONS, contrasts)},
                    log_x=True,
                    log_y=True,
                    title="(Farthest − nearest) / nearest",
                    x_label="dimensions",
                    y_label="relative contrast",
                    width=440,
                ),
                lines(
                    {
                        "5 neighbours": (USELESS, accuracies),
                        "guessing": ((0, USELESS[-1]), (0.5, 0.5)),
                    },
                    dashed=("guessing",),
                    title="Two useful features among useless ones",
                    x_label="useless features",
                    y_label="test accuracy",
                    width=440,
                ),
            ]
        ),
    )


def _covering(
    backend: Backend, generator: HostGenerator
) -> tuple[dict[int, float], list[Assertion]]:
    """The largest distance to the nearest point of the grid over sqrt(d), by d; and assertions."""
    radii, assertions = {}, []
    for d in (1, 2, 3):
        corners = list(itertools.product((0.0, 1.0), repeat=d))
        queries = floats([*corners, *generator.uniform(0.0, 1.0, (200, d)).tolist()], backend)
        found = []
        for per_axis in (PER_AXIS, PER_AXIS - 1):
            middles = [(i + 0.5) / per_axis for i in range(per_axis)]
            points = floats(list(itertools.product(middles, repeat=d)), backend)
            distances, _ = nearest(queries, points, 1)
            found.append(float(to_scalar(backend.xp.max(distances))) / d**0.5)
        radii[d] = found[0]
        assertions += [
            within(f"reach an axis of {PER_AXIS}^{d} points", found[0], 0.1249, 0.1251),
            at_least(f"reach an axis of {PER_AXIS - 1}^{d} points", found[1], 0.16),
        ]
    return radii, assertions


def _drowned(backend: Backend, generator: HostGenerator) -> list[float]:
    """Accuracy of 5-NN on new rows, for each number of useless features."""
    labels = [generator.integers(0, 2, ROWS) for _ in range(2)]
    useful = [2.4 * y[:, None] + generator.standard_normal((ROWS, 2)) for y in labels]
    noise = [generator.standard_normal((ROWS, USELESS[-1])) for _ in range(2)]
    accuracies = []
    for count in USELESS:
        (X, y), (X_new, y_new) = (
            (floats(namespace_of(u).concat([u, e[:, :count]], axis=1), backend), backend.asarray(y))
            for u, e, y in zip(useful, noise, labels, strict=True)
        )
        accuracies.append(KNeighborsClassifier(5).fit(X, y).score(X_new, y_new))
    return accuracies
