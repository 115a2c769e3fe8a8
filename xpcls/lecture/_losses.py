"""Claims about losses: what they ask of scores, and which dials they have."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

from xpcls import losses
from xpcls.linear import LinearClassifier
from xpcls.linear_model import LinearModel
from xpcls.plots import grid, lines
from xpcls_backends import Array, Backend, HostGenerator, like, to_host, to_scalar

from ._claim import Finding, at_least, at_most, claim, floats, wide_name, within

OTHERS = (0.5, -0.5)  # scores of the two wrong classes; the right one stands between them
RIGHT = 1
DELTAS = (0.1, 1.0, 10.0, 100.0)
HOMOGENEOUS = ("hinge", "structured", "one_vs_all")  # they grow with scores and margin together


@claim("margin", "Beyond its margin the SVM stops caring, and the softmax never does")
def margin(backend: Backend, generator: HostGenerator) -> Finding:
    """The score t of the right class grows while those of the wrong ones, 0.5 and -0.5, stay.

        hinge:    sum_j max(0, s_j - t + 1)    and its derivative are 0 from t = 1.5 on
        softmax:  -ln(e^t / (e^t + e^0.5 + e^-0.5)), derivative p - 1, which is never 0

    Measured: the values of both losses along t against these formulas; their derivatives by every
    score, which sum to 0, as a number added to all scores changes nothing; and that the derivative
    by t is the slope of the value, by differences. The lecture says of both that a loss of 0 is all
    we want; the softmax reaches it in the limit alone. Nothing is random.
    """
    scores = [i / 8 - 2.0 for i in range(81)]  # -2 to 8
    rows = floats([(OTHERS[0], t, OTHERS[1]) for t in scores], backend, wide=True)
    values, gradients = {}, {}
    for name in ("hinge", "softmax"):
        values[name], gradients[name] = _along(getattr(losses, name), rows)
    slopes = {name: [row[RIGHT] for row in gradients[name]] for name in gradients}
    beyond = [i for i, t in enumerate(scores) if t >= OTHERS[0] + 1]
    before = [i for i in range(len(scores)) if i not in beyond]
    hinge, softmax = values["hinge"], values["softmax"]
    hinge_slope, softmax_slope = slopes["hinge"], slopes["softmax"]
    formulas = {
        "hinge": [sum(max(0.0, s - t + 1.0) for s in OTHERS) for t in scores],
        "softmax": [math.log(1.0 + sum(math.exp(s - t) for s in OTHERS)) for t in scores],
    }
    off = {
        name: max(abs(a - b) for a, b in zip(values[name], wanted, strict=True))
        for name, wanted in formulas.items()
    }
    away = max(
        abs((values[name][i + 1] - values[name][i]) * 8 - (along[i] + along[i + 1]) / 2)
        for name, along in slopes.items()
        for i in range(len(scores) - 1)
        # A kink between two points, where slopes jump, says nothing.
        if abs(along[i + 1] - along[i]) < 0.5
    )
    pulls = max(abs(by) for i in beyond for by in gradients["hinge"][i])
    sums = max(abs(math.fsum(row)) for name in gradients for row in gradients[name])
    falls = [a - b for a, b in pairwise(softmax)]
    shown = [scores.index(t) for t in (-2.0, 0.0, 1.0, 1.5, 2.0, 4.0, 8.0)]
    return Finding(
        sentences=(
            f"From a score of {OTHERS[0] + 1:g} on, the hinge loss is "
            f"{max(hinge[i] for i in beyond):g}, and its largest derivative by any score "
            f"{pulls:g}.",
            f"The softmax loss falls from {softmax[beyond[0]]:.3g} there to "
            f"{softmax[-1]:.2g} at a score of {scores[-1]:g}, where its derivative "
            f"is {softmax_slope[-1]:.2g}.",
        ),
        headings=("right score", "hinge", "hinge slope", "softmax", "softmax slope"),
        rows=tuple(
            (scores[i], hinge[i], hinge_slope[i], softmax[i], softmax_slope[i]) for i in shown
        ),
        assertions=(
            at_most("the largest |hinge| beyond the margin", max(abs(hinge[i]) for i in beyond), 0),
            at_most("its largest |derivative by a score| there", pulls, 0),
            at_most("its largest derivative before", max(hinge_slope[i] for i in before), -1),
            at_least("the least softmax loss", min(softmax), 1e-4),
            at_least("the least fall of the softmax loss in a step", min(falls), 1e-5),
            at_most("the largest derivative of the softmax", max(softmax_slope), -1e-4),
            at_most("the largest |slope - derivative|", away, 0.01),
            at_most("the largest |hinge - its formula|", off["hinge"], 1e-6),
            at_most("the largest |softmax - its formula|", off["softmax"], 1e-6),
            at_most("the largest |sum of derivatives|", sums, 1e-6),
        ),
        draw=lambda: grid(
            [
                lines(
                    {"SVM (hinge)": (scores, hinged), "softmax": (scores, soft)},
                    title=title,
                    x_label="score of the right class",
                    y_label=label,
                    width=440,
                )
                for title, label, hinged, soft in (
                    ("Loss", "loss", hinge, softmax),
                    ("How much it pulls", "derivative", hinge_slope, softmax_slope),
                )
            ]
        ),
    )


def _along(loss: losses.Loss, rows: Array) -> tuple[list[float], list[list[float]]]:
    """The loss of each row of scores, and its derivatives by them."""
    values, gradients = [], []
    right = to_host([RIGHT])
    for i in range(rows.shape[0]):
        row = rows[i : i + 1, :]
        value, gradient = loss(row, like(right, row))
        values.append(float(to_scalar(value)))
        gradients.append(to_host(gradient)[0].tolist())
    return values, gradients


@claim("one-dial", "The margin delta and the penalty lambda are one dial")
def one_dial(backend: Backend, generator: HostGenerator) -> Finding:
    """Scaling the weights turns a change of delta into one of lambda.

    With J(W; delta, lambda) = mean loss at margin delta + lambda sum(W^2), and V any weights,

        J(delta V; delta, lambda) = delta J(V; 1, lambda delta)

    for every loss that grows with scores and margin together: hinge, structured, one-vs-all. So
    delta may stay at 1, if lambda is chosen; alone, neither is free (the lecture calls the
    threshold arbitrary).

    Measured: both sides at random weights, and what they should be by the formulas of the losses,
    row by row on the host; and two LinearClassifiers, one with margin 10 and lambda, one with
    margin 1 and 10 lambda, whose steps are scaled likewise: the same predictions, weights 10 times
    as large. Training ends where J is least: 0.8 to 1.25 times the weights do not lower it, but
    for 0.3%. A third, with margin 10 and 10 lambda, is another classifier.
    """
    X = generator.standard_normal((200, 6))
    truth = X @ generator.standard_normal((6, 3)) + 2.0 * generator.standard_normal((200, 3))
    rows = floats(X, backend, wide=True)
    y = backend.asarray(truth.argmax(axis=1))
    V = floats(generator.standard_normal((6, 3)), backend, wide=True)
    b = floats(generator.standard_normal(3), backend, wide=True)
    strength, table, away, off = 0.03, [], 0.0, 0.0
    weights = to_host(V).astype("float64")
    scores = to_host(rows) @ weights + to_host(b)
    classes = to_host(y)
    for loss in HOMOGENEOUS:
        for delta in DELTAS:
            scaled = LinearModel(loss, delta, strength, 0.0)
            unit = LinearModel(loss, 1.0, strength * delta, 0.0)
            left, _ = scaled.objective((delta * V, delta * b), rows, y, None, False)
            right, _ = unit.objective((V, b), rows, y, None, False)
            sides = float(to_scalar(left)), delta * float(to_scalar(right))
            away = max(away, abs(sides[0] / sides[1] - 1.0))
            mean = _mean_loss(loss, scores, classes)
            wanted = mean + strength * delta * float((weights**2).sum())
            off = max(off, abs(sides[1] / (delta * wanted) - 1.0))
            table.append((loss, delta, *sides))
    exact = 1e-12 if wide_name(backend) == "float64" else 1e-5
    trained = {
        name: LinearClassifier(
            "hinge",
            delta=delta,
            l2=l2,
            learning_rate=rate,
            epochs=20,
            batch_size=50,
            random_state=0,
        ).fit(rows, y)
        for name, delta, l2, rate in (
            ("one", 1.0, 10 * strength, 0.05),
            ("same", 10.0, strength, 0.5),
            ("other", 10.0, 10 * strength, 0.5),
        )
    }
    size = {name: _norm(model.coef_) for name, model in trained.items()}
    predicted = {name: to_host(model.predict(rows)) for name, model in trained.items()}
    agree = float((predicted["one"] == predicted["same"]).mean())
    ratio, other = size["same"] / size["one"], size["other"] / size["one"]
    lowest = min(_lowest_scaled(model, rows, y) for model in trained.values())
    return Finding(
        sentences=(
            f"J(delta V; delta, lambda) and delta J(V; 1, lambda delta) differ by {away:.1g} of "
            f"themselves at most, for {len(HOMOGENEOUS)} losses and margins from {DELTAS[0]:g} to "
            f"{DELTAS[-1]:g}.",
            "Trained with margin 10 and lambda, or margin 1 and 10 lambda, two classifiers agree "
            f"on {agree:.1%} of the rows, and the weights of the first are {ratio:.4f} times as "
            "large.",
            f"With margin 10 and 10 lambda they are {other:.2f} times as large.",
        ),
        headings=("loss", "delta", "J(delta V; delta, lambda)", "delta J(V; 1, lambda delta)"),
        rows=tuple(table),
        assertions=(
            at_most("the largest relative difference of the two sides", away, exact),
            at_most("the largest |J / its formula - 1|", off, exact),
            at_least("share of rows on which the two classifiers agree", agree, 0.99),
            within("ratio of their weights / 10", ratio / 10, 0.999, 1.001),
            at_most("ratio of the weights where lambda is not scaled", other, 8),
            at_least("the lowest J for scaled weights / that of the trained", lowest, 0.997),
        ),
        draw=lambda: lines(
            {
                name: (None, [value / model.delta for value in model.history_["loss"]])
                for name, model in zip(
                    ("margin 1, 10 λ", "margin 10, λ", "margin 10, 10 λ"),
                    trained.values(),
                    strict=True,
                )
            },
            dashed=("margin 10, λ",),
            title="Margin and λ turned together, or not",
            x_label="epoch",
            y_label="loss / margin",
        ),
    )


def _mean_loss(loss: str, scores: Any, classes: Any) -> float:
    """The mean over rows of scores of a loss with margin 1, by its formula; host."""
    losses = []
    for row, right in zip(scores.tolist(), classes.tolist(), strict=True):
        gaps = [max(0.0, s - row[right] + 1.0) for j, s in enumerate(row) if j != right]
        signs = [1.0 if j == right else -1.0 for j in range(len(row))]
        each = [max(0.0, 1.0 - sign * s) for sign, s in zip(signs, row, strict=True)]
        losses.append({"hinge": sum(gaps), "structured": max(gaps), "one_vs_all": sum(each)}[loss])
    return math.fsum(losses) / len(losses)


def _lowest_scaled(model: LinearClassifier, rows: Array, y: Array) -> float:
    """The lowest J for the trained weights times 0.8 to 1.25, relative to that of the trained.

    It is 1 at least where training ends in the minimum of J, and less where it follows another
    gradient than that of J.
    """
    trained = LinearModel(model.loss, model.delta, model.l2, 0.0)

    def value(scale: float) -> float:
        parameters = scale * model.coef_.mT, model.intercept_
        return float(to_scalar(trained.objective(parameters, rows, y, None, False)[0]))

    return min(value(scale) for scale in (0.8, 0.9, 1.1, 1.25)) / value(1.0)


def _norm(weights: Array) -> float:
    return math.hypot(*to_host(weights).reshape(-1).tolist())
