"""Claims about what a linear classifier can and cannot learn."""

from __future__ import annotations

import itertools
import math
from statistics import correlation
from typing import Any

from xpcls.base import Classifier
from xpcls.linear import LinearClassifier
from xpcls.neighbors import KNeighborsClassifier
from xpcls.networks import MLPClassifier
from xpcls.plots import Picture, bars, grid, images, plane
from xpcls_backends import Array, Backend, HostGenerator, namespace_of, to_host

from ._claim import Finding, at_least, at_most, claim, floats
from ._data import of_classes, regions

BITS = (2, 3, 4)
SIDE = 20  # pixels of an image of a horse, whose trunk and legs are:
BODY = ((9, 13, 5, 15), (13, 18, 5, 7), (13, 18, 13, 15))
FREQUENCIES = (0.25, 0.6, 0.1, 0.05)


@claim("parity", "Parity defeats a linear classifier, and neither neighbours nor a network")
def parity(backend: Backend, generator: HostGenerator) -> Finding:
    """Is the number of ones among d bits odd or even?

    Bits are -1 or 1 with noise of 0.25, so the rows lie around the 2^d corners of a cube, and each
    corner has only neighbours of the other class. With two bits no line is right on more than
    three of the four corners (Minsky and Papert, Perceptrons, 1969). The lecture says that
    traditional classifiers fail as well; that is true of linear ones alone.

    Measured: accuracy on 320 new rows, as many at each corner, of the softmax and the SVM, of
    5-NN and of a network with one hidden layer; and that of the same two linear classifiers when
    they are asked for the first bit of the same rows, which a line tells.
    """
    rows, assertions, trained = [], [], []
    for bits in BITS:
        (X, y), (X_new, y_new) = (_parity_rows(bits, 320, generator) for _ in range(2))
        train = floats(X, backend), backend.asarray(y)
        linear: dict[str, Classifier] = {
            loss: LinearClassifier(loss, epochs=30, random_state=0) for loss in ("softmax", "hinge")
        }
        first, first_new = backend.asarray(1 * (X[:, 0] > 0)), X_new[:, 0] > 0
        one_bit = [
            _accuracy(model.fit(train[0], first), floats(X_new, backend), first_new)
            for model in linear.values()
        ]
        models: dict[str, Classifier] = {
            **linear,
            "5-NN": KNeighborsClassifier(5),
            "network": MLPClassifier(
                32, learning_rate=0.01, epochs=40, batch_size=64, random_state=0
            ),
        }
        found = [
            _accuracy(model.fit(*train), floats(X_new, backend), y_new) for model in models.values()
        ]
        rows.append((bits, *found, *one_bit))
        trained.append((models, X, y))
        assertions += [
            at_most(f"{bits} bits: accuracy of linear classifiers", max(found[:2]), 0.8),
            at_least(f"{bits} bits: accuracy of 5-NN", found[2], 0.95),
            at_least(f"{bits} bits: accuracy of the network", found[3], 0.95),
            at_least(f"{bits} bits: their accuracy on the first bit", min(one_bit), 0.95),
        ]
    parities, others, bit = (
        [accuracy for row in rows for accuracy in row[some]]
        for some in (slice(1, 3), slice(3, 5), slice(5, 7))
    )
    return Finding(
        sentences=(
            f"On the parity of {BITS[0]} to {BITS[-1]} bits linear classifiers reach "
            f"{min(parities):.1%} to {max(parities):.1%}; guessing has 50%, and no line "
            "more than 75% of two bits.",
            f"5 neighbours, and a network of 32 hidden units, reach at least {min(others):.1%}.",
            f"Of the first bit the linear classifiers are right on {min(bit):.1%} or more.",
        ),
        headings=(
            "bits",
            "softmax",
            "hinge",
            "5-NN",
            "network",
            "softmax, first bit",
            "hinge, first bit",
        ),
        rows=tuple(rows),
        assertions=tuple(assertions),
        draw=lambda: _parity_picture(*trained[0], backend),
    )


def _accuracy(model: Classifier, X: Array, y: Any) -> float:
    """The share of rows on which what a model predicts is y, host numbers."""
    return float((to_host(model.predict(X)) == y).mean())


def _parity_rows(bits: int, n: int, generator: HostGenerator) -> tuple[Any, Any]:
    """n rows (n, bits) around the corners of a cube, as many at each, and their parity; host."""
    corners = to_host(list(itertools.product((-1.0, 1.0), repeat=bits)))
    which = generator.permutation(n) % 2**bits
    labels = (corners[which] > 0).sum(axis=1) % 2
    return corners[which] + 0.25 * generator.standard_normal((n, bits)), labels


def _parity_picture(models: dict[str, Classifier], X: Any, y: Any, backend: Backend) -> Picture:
    limits = (-2.0, 2.0, -2.0, 2.0)
    return grid(
        [
            plane(
                of_classes(X, y, ("even", "odd")),
                cells=regions(models[name], limits, backend),
                limits=limits,
                title=title,
                x_label="first bit",
                y_label="second bit",
                width=340,
                radius=2.4,
            )
            for name, title in (
                ("softmax", "Linear (softmax)"),
                ("5-NN", "5 neighbours"),
                ("network", "Hidden layer of 32"),
            )
        ],
    )


@claim("two-headed-horse", "One template for two poses has two heads", size=256 * SIDE * SIDE)
def two_headed_horse(backend: Backend, generator: HostGenerator) -> Finding:
    """A linear classifier has one template a class, so it has to mix what a class shows.

    Three classes of small grey images are drawn: horses, whose head is to the left in one half of
    them and to the right in the other; tables, which are horses without neck and head; and trees.
    Places vary by a pixel, and there is noise. The template is what
    `templates((H, W))` gives: the weights of the class as an image.

    Measured: the correlation of the horse's template with a horse of each pose, and with its own
    mirror image; and the latter for a classifier that saw horses that look left alone.
    """
    X, y, left = _animals(600, generator)
    found = {}
    for name, chosen in (("both poses", left >= 0), ("left alone", (left == 1) | (y != 0))):
        rows = floats(X[chosen], backend)
        rows = rows - backend.xp.mean(rows, axis=0)
        model = LinearClassifier("softmax", l2=0.01, epochs=30, random_state=0)
        model.fit(rows, backend.asarray(y[chosen]))
        found[name] = to_host(model.templates((SIDE, SIDE)))
    horses = [_horse(facing) - _table() for facing in (1, 0)]  # where poses differ: the heads
    mirrored = {name: _alike(t[0], t[0][:, ::-1]) for name, t in found.items()}
    heads = {name: [_alike(t[0], horse) for horse in horses] for name, t in found.items()}
    both = heads["both poses"]
    return Finding(
        sentences=(
            "Trained on horses that look left or right, the template agrees with a head on the "
            f"left (correlation {both[0]:.2f}) and with one on the right ({both[1]:.2f}).",
            f"It resembles its mirror image, correlation {mirrored['both poses']:.2f}; that of a "
            f"classifier which saw horses looking left alone has {mirrored['left alone']:.2f}.",
        ),
        headings=("trained on", "head on the left", "head on the right", "mirror image"),
        rows=tuple((name, *heads[name], mirrored[name]) for name in found),
        assertions=(
            at_least("correlation with a head on the left", both[0], 0.15),
            at_least("correlation with a head on the right", both[1], 0.15),
            at_most("difference of these correlations", abs(both[0] - both[1]), 0.15),
            at_least("correlation with its mirror image", mirrored["both poses"], 0.7),
            at_least(
                "what that gains over horses looking left alone",
                mirrored["both poses"] - mirrored["left alone"],
                0.2,
            ),
        ),
        draw=lambda: _horse_picture(X, y, left, found),
    )


def _animals(n: int, generator: HostGenerator) -> tuple[Any, Any, Any]:
    """Rows (n, SIDE^2) of 0 to about 1, classes, and 1 for looking left, 0 for right; host."""
    labels, left = generator.permutation(n) % 3, generator.integers(0, 2, n)
    moves = generator.integers(-1, 2, (n, 2)).tolist()
    host = namespace_of(labels)
    drawn = [
        host.roll((_horse(facing), _table(), _tree())[label], tuple(move), axis=(0, 1))
        for label, facing, move in zip(labels.tolist(), left.tolist(), moves, strict=True)
    ]
    rows = host.reshape(host.stack(drawn), (n, SIDE * SIDE))
    return rows + 0.25 * generator.standard_normal(rows.shape), labels, left


def _painted(*boxes: tuple[int, int, int, int]) -> Any:
    """An image (SIDE, SIDE) that is 1 inside boxes of (top, bottom, left, right), else 0."""
    image = to_host([[0.0] * SIDE] * SIDE)
    for top, bottom, left, right in boxes:
        image[top:bottom, left:right] = 1.0
    return image


def _horse(left: int) -> Any:
    looking_left = _painted(*BODY, (4, 9, 4, 7), (3, 6, 1, 7))
    return looking_left if left else looking_left[:, ::-1]


def _table() -> Any:
    return _painted(*BODY)


def _tree() -> Any:
    return _painted((2, 9, 5, 15), (9, 18, 9, 11))


def _alike(a: Any, b: Any) -> float:
    """The correlation of two images; 0 where one of them is of one grey."""
    x, y = (image.astype("float64").reshape(-1).tolist() for image in (a, b))
    return correlation(x, y) if max(x) > min(x) and max(y) > min(y) else 0.0


def _horse_picture(X: Any, y: Any, left: Any, found: dict[str, Any]) -> Picture:
    def one(chosen: Any) -> Any:
        image = X[chosen][0].reshape(SIDE, SIDE)
        image = (image - image.min()) / (image.max() - image.min())
        return (255 * image).astype("uint8")

    return images(
        [
            one((y == 0) & (left == 1)),
            one((y == 0) & (left == 0)),
            found["both poses"][0],
            found["left alone"][0],
        ],
        [
            "a horse that looks left",
            "a horse that looks right",
            "the template of both poses",
            "the template of horses looking left",
        ],
        title="The two-headed horse",
        size=170,
    )


@claim("bias", "The bias learns how frequent the classes are")
def bias(backend: Backend, generator: HostGenerator) -> Finding:
    """Where features say nothing, the softmax can only learn the frequencies of the classes.

    With x = 0 the scores are the biases b, and the mean loss is smallest where

        softmax(b)_c = n_c / n,    that is b_c - b_d = ln(n_c / n_d)

    Measured: a LinearClassifier fitted to 400 rows of zeros: differences of its biases against
    logarithms of frequencies, its probabilities, and its prediction, the most frequent class.
    """
    counts = [round(f * 400) for f in FREQUENCIES]
    labels = [c for c, count in enumerate(counts) for _ in range(count)]
    order = generator.permutation(len(labels))
    y = backend.asarray(to_host(labels)[order])
    X = backend.xp.zeros((len(labels), 5), dtype=backend.xp.float32, device=backend.device)
    model = LinearClassifier("softmax", l2=0.0, optimizer="gd", epochs=400, random_state=0)
    model.fit(X, y)
    biases = to_host(model.intercept_).astype("float64").tolist()
    shares = to_host(model.predict_proba(X[:1, :]))[0].astype("float64").tolist()
    logs = [math.log(count / len(labels)) for count in counts]
    # Softmax does not change with a number added to every bias: the first difference is 0.
    found, wanted = ([value - values[0] for value in values] for values in (biases, logs))
    away = max(abs(a - b) for a, b in zip(found, wanted, strict=True))
    off = max(abs(s - c / len(labels)) for s, c in zip(shares, counts, strict=True))
    most = counts.index(max(counts))
    right = float((to_host(model.predict(X)) == most).mean())
    return Finding(
        sentences=(
            f"Trained on zeros with classes of {', '.join(f'{f:.0%}' for f in FREQUENCIES)}, the "
            f"biases differ by the logarithms of the frequencies, to {away:.1g}.",
            f"The probabilities are the frequencies to {off:.1g}, and {right:.0%} of the rows are "
            f"given to the most frequent class, {most}.",
        ),
        headings=("class", "frequency", "probability", "bias - first", "ln frequency - first"),
        rows=tuple(zip(range(len(counts)), FREQUENCIES, shares, found, wanted, strict=True)),
        assertions=(
            at_most("the largest |difference of biases - of log frequencies|", away, 0.02),
            at_most("the largest |probability - frequency|", off, 0.005),
            at_least("share of rows given to the most frequent class", right, 1),
        ),
        draw=lambda: bars(
            [f"{f:.0%} of the rows" for f in FREQUENCIES],
            {"bias − first bias": found, "ln(frequency / first frequency)": wanted},
            title="Biases learnt from features that are all 0",
            y_label="difference from the first class",
            form=".2f",
        ),
    )
