"""What the library computes, as plain loops over float64 numbers: the truth that tests compare to.

Nothing here is fast, and nothing is shared with xpcls: each function is the formula of the lecture
or the paper, written down once more. Arrays are NumPy's, or nested lists.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction

import numpy as np

Rows = np.ndarray

# Distances.


def distances(queries: Rows, points: Rows, metric: str = "l2") -> Rows:
    """Every distance by direct differences in float64: (n_queries, n_points)."""
    queries, points = np.asarray(queries, dtype=np.float64), np.asarray(points, dtype=np.float64)
    out = np.zeros((len(queries), len(points)))
    for i, query in enumerate(queries):
        for j, point in enumerate(points):
            out[i, j] = distance_of(key_of(query, point, metric), metric)
    return out


def key_of(query: Rows, point: Rows, metric: str) -> float:
    """sum |q - p|, or sum (q - p)^2 for the other metrics, which order as it does."""
    differences = [abs(q - p) for q, p in zip(query.tolist(), point.tolist(), strict=True)]
    if metric == "l1":
        return math.fsum(differences)
    return math.fsum(d * d for d in differences)


def distance_of(key: float, metric: str) -> float:
    return math.sqrt(key) if metric == "l2" else key


def exact_keys(queries: Rows, points: Rows, metric: str) -> tuple[list[list[int]], Fraction]:
    """The same keys without any rounding, as multiples of a unit: an order beyond doubt."""
    ratios = [
        [[x.as_integer_ratio() for x in row] for row in a.tolist()] for a in (queries, points)
    ]
    grain = max((d for rows in ratios for row in rows for _, d in row), default=1)
    ours, theirs = ([[n * (grain // d) for n, d in row] for row in rows] for rows in ratios)

    def key(query: list[int], point: list[int]) -> int:
        if metric == "l1":
            return sum(abs(q - p) for q, p in zip(query, point, strict=True))
        return sum((q - p) ** 2 for q, p in zip(query, point, strict=True))

    unit = Fraction(1, grain) if metric == "l1" else Fraction(1, grain**2)
    return [[key(query, point) for point in theirs] for query in ours], unit


def vanishing_key(queries: Rows, points: Rows, metric: str, wide: str) -> Fraction:
    """Keys below this may vanish in the dtype `wide`, as the squares of 1e-162 do in float64.

    It rises where numbers are so large that all are scaled down together.
    """
    span = Fraction(float(max(np.abs(queries).max(), np.abs(points).max())))
    tiny, reach = (1074, 1000) if wide == "float64" else (149, 100)
    if metric == "l2":
        tiny, reach = tiny // 2, 400 if wide == "float64" else 40
    distance = Fraction(1, 2**tiny) * max(1, 2 * span / 2**reach)
    return points.shape[1] * (distance**2 if metric == "l2" else distance)


def least_float32(backend_name: str) -> Fraction:
    """Below this a device takes float32 numbers for 0: a card those that are not normal."""
    return Fraction(1, 2 ** (126 if backend_name == "cupy" else 149))


def as_read(rows: Rows, backend_name: str) -> Rows:
    """Rows without numbers that the device takes for 0."""
    if rows.dtype != np.float32:
        return rows
    return np.where(np.abs(rows) < float(least_float32(backend_name)), np.float32(0), rows)


def nearest(queries: Rows, points: Rows, k: int, metric: str = "l2") -> tuple[Rows, Rows]:
    """(distances, indices) of the k nearest of each query, equal distances by index."""
    every = distances(queries, points, metric)
    order = [sorted(range(len(row)), key=lambda j: (row[j], j))[:k] for row in every.tolist()]
    indices = np.asarray(order, dtype=np.int64).reshape(len(every), k)
    return np.take_along_axis(every, indices, axis=1), indices


def vote(
    codes: Sequence[int],
    neighbour_distances: Sequence[float],
    n_classes: int,
    weights: str = "uniform",
    ties: str = "label",
) -> tuple[int, list[float]]:
    """(class, votes) of one query, whose neighbours, nearest first, have these classes.

    With weights "distance" a vote is 1 / distance; a neighbour at 0 outvotes all that are not.
    Between equal votes "label" takes the smallest class, "nearest" that of the nearest neighbour.
    """
    hit = any(d == 0 for d in neighbour_distances)
    votes = [0.0] * n_classes
    for code, d in zip(codes, neighbour_distances, strict=True):
        if weights == "uniform":
            votes[code] += 1.0
        elif hit:
            votes[code] += float(d == 0)
        else:
            votes[code] += 1.0 / d
    winners = [c for c in range(n_classes) if votes[c] == max(votes)]
    if ties == "label":
        return winners[0], votes
    return next(code for code in codes if code in winners), votes


# Rows on which distances go wrong: by cancelling, by wrapping, at the ends of a dtype, in ties.

HARD_ROWS = (
    "plain",
    "duplicates",
    "equal",
    "constant columns",
    "offset",
    "denormal",
    "tiny",
    "huge",
    "mixed scales",
    "zero rows",
    "extremes",
    "pixels",
    "near ties",
)


def hard_rows(kind: str, shape: tuple[int, int], dtype: str, rng: np.random.Generator) -> Rows:
    """Rows of one of HARD_ROWS. Integers have no scales, and get the kinds that they can have."""
    if np.dtype(dtype).kind != "f":
        return _hard_integers(kind, shape, np.dtype(dtype), rng)
    x = rng.normal(size=shape)
    narrow = dtype == "float32"
    if kind == "duplicates":
        x = x[rng.integers(0, max(1, shape[0] // 5), shape[0])]
    elif kind == "equal":
        x = np.broadcast_to(x[:1], shape)
    elif kind == "constant columns":
        x[:, rng.random(shape[1]) < 0.7] = 1e3
    elif kind == "offset":
        x = 10.0 ** rng.uniform(4, 6) + x * (1e-2 if narrow else 1e-8)
    elif kind == "denormal":
        x = rng.integers(-9, 10, shape) * (1.4e-45 if narrow else 5e-324)
    elif kind in ("tiny", "huge"):
        x *= 10.0 ** ((-1 if kind == "tiny" else 1) * (30 if narrow else 300))
    elif kind == "mixed scales":
        x *= 10.0 ** rng.uniform(*((-30, 30) if narrow else (-300, 300)), (shape[0], 1))
    elif kind == "zero rows":
        x[rng.random(shape[0]) < 0.5] = 0.0
    elif kind == "extremes":
        x = rng.choice([-1.0, 1.0], shape) * float(np.finfo(dtype).max)
    elif kind == "pixels":
        x = rng.integers(0, 256, shape).astype(dtype) / 255
    elif kind == "near ties":
        x = x[:1].astype(dtype) + np.spacing(x[:1].astype(dtype)) * rng.integers(-3, 4, shape)
    return np.asarray(x).astype(dtype)


def _hard_integers(
    kind: str, shape: tuple[int, int], dtype: np.dtype, rng: np.random.Generator
) -> Rows:
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    if kind in ("duplicates", "near ties", "zero rows"):
        return rng.integers(0, 3, shape).astype(dtype)
    if kind == "equal":
        return np.full(shape, high, dtype=dtype)
    if kind == "extremes":
        # Near both ends of the range, where sums of squares are largest and differ by little.
        near = rng.integers(0, 2, shape)
        return np.where(rng.random(shape[0]) < 0.5, low + near.T, high - near.T).T.astype(dtype)
    return rng.integers(low, high, shape, dtype=dtype, endpoint=True)


# Losses of one row: (loss, derivative for each score).


def hinge_row(scores: list[float], y: int, delta: float = 1.0) -> tuple[float, list[float]]:
    loss, gradient = 0.0, [0.0] * len(scores)
    for j, s in enumerate(scores):
        margin = s - scores[y] + delta
        if j != y and margin > 0:
            loss += margin
            gradient[j] += 1.0
            gradient[y] -= 1.0
    return loss, gradient


def squared_hinge_row(scores: list[float], y: int, delta: float = 1.0) -> tuple[float, list[float]]:
    loss, gradient = 0.0, [0.0] * len(scores)
    for j, s in enumerate(scores):
        margin = s - scores[y] + delta
        if j != y and margin > 0:
            loss += margin**2
            gradient[j] += 2.0 * margin
            gradient[y] -= 2.0 * margin
    return loss, gradient


def one_vs_all_row(scores: list[float], y: int, delta: float = 1.0) -> tuple[float, list[float]]:
    loss, gradient = 0.0, [0.0] * len(scores)
    for j, s in enumerate(scores):
        sign = 1.0 if j == y else -1.0
        if delta - sign * s > 0:
            loss += delta - sign * s
            gradient[j] -= sign
    return loss, gradient


def structured_row(scores: list[float], y: int, delta: float = 1.0) -> tuple[float, list[float]]:
    gradient = [0.0] * len(scores)
    others = [j for j in range(len(scores)) if j != y]
    if not others:
        return 0.0, gradient
    worst = max(others, key=lambda j: (scores[j], -j))
    loss = scores[worst] - scores[y] + delta
    if loss <= 0:
        return 0.0, gradient
    gradient[worst], gradient[y] = 1.0, -1.0
    return loss, gradient


def softmax_row(scores: list[float], y: int) -> tuple[float, list[float]]:
    top = max(scores)
    total = math.fsum(math.exp(s - top) for s in scores)
    gradient = [p - (j == y) for j, p in enumerate(probabilities_row(scores))]
    return math.log(total) + top - scores[y], gradient


def squared_error_row(scores: list[float], y: int) -> tuple[float, list[float]]:
    differences = [s - (j == y) for j, s in enumerate(scores)]
    return math.fsum(d * d for d in differences), [2.0 * d for d in differences]


def probabilities_row(scores: list[float]) -> list[float]:
    top = max(scores)
    powers = [math.exp(s - top) for s in scores]
    return [p / math.fsum(powers) for p in powers]


LOSS_ROWS = {
    "hinge": hinge_row,
    "squared_hinge": squared_hinge_row,
    "one_vs_all": one_vs_all_row,
    "structured": structured_row,
    "softmax": softmax_row,
    "squared_error": squared_error_row,
}


def loss(
    name: str,
    scores: Rows,
    y: Sequence[int],
    weight: Sequence[float] | None = None,
    **options: float,
) -> tuple[float, Rows]:
    """(value, gradient): the mean over rows, weighted if weights are given."""
    rows = np.asarray(scores, dtype=np.float64).tolist()
    classes = [int(c) for c in y]
    weights = [1.0] * len(rows) if weight is None else [float(w) for w in weight]
    total = math.fsum(weights)
    parts = [LOSS_ROWS[name](row, c, **options) for row, c in zip(rows, classes, strict=True)]
    value = math.fsum(w * part[0] for w, part in zip(weights, parts, strict=True)) / total
    gradient = [[w * g / total for g in part[1]] for w, part in zip(weights, parts, strict=True)]
    return value, np.asarray(gradient)


# Penalties: (value, derivative for each weight).


def l2(weights: Rows, strength: float) -> tuple[float, Rows]:
    flat = np.ravel(weights).astype(np.float64).tolist()
    gradient = np.asarray([2.0 * strength * w for w in flat]).reshape(np.shape(weights))
    return strength * math.fsum(w * w for w in flat), gradient


def l1(weights: Rows, strength: float) -> tuple[float, Rows]:
    flat = np.ravel(weights).astype(np.float64).tolist()
    gradient = [strength * ((w > 0) - (w < 0)) for w in flat]
    value = strength * math.fsum(abs(w) for w in flat)
    return value, np.asarray(gradient, dtype=np.float64).reshape(np.shape(weights))


# Optimisers: the numbers of one parameter after each step, from the formulas.


def steps(
    optimizer: str, start: Iterable[float], gradients: Sequence[Iterable[float]], rate: float
) -> list[list[float]]:
    """Where plain updates lead, one list of numbers a step, for given gradients of each step."""
    w = [float(x) for x in start]
    v, m, s = [0.0] * len(w), [0.0] * len(w), [0.0] * len(w)
    path = []
    for t, gradient in enumerate(gradients, 1):
        for i, g in enumerate(gradient):
            g = float(g)
            if optimizer in ("sgd", "gd"):
                w[i] -= rate * g
            elif optimizer == "momentum":
                v[i] = 0.9 * v[i] + g
                w[i] -= rate * v[i]
            elif optimizer == "nesterov":
                v[i] = 0.9 * v[i] + g
                w[i] -= rate * (g + 0.9 * v[i])
            elif optimizer == "adam":
                m[i] = 0.9 * m[i] + 0.1 * g
                s[i] = 0.999 * s[i] + 0.001 * g * g
                mean, square = m[i] / (1 - 0.9**t), s[i] / (1 - 0.999**t)
                w[i] -= rate * mean / (math.sqrt(square) + 1e-8)
            else:
                raise ValueError(optimizer)
        path.append(list(w))
    return path


# A linear classifier: scores = x W + b, W (D, C).


def linear_objective(
    name: str, weights: Rows, bias: Rows, X: Rows, y: Sequence[int], l2_strength: float = 0.0
) -> tuple[float, Rows, Rows]:
    """(loss with its penalty, gradient of the weights, gradient of the bias), by loops."""
    X, n_classes = np.asarray(X, dtype=np.float64), len(bias)
    features = X.shape[1]
    scores = [
        [
            math.fsum([x[d] * weights[d][c] for d in range(features)]) + bias[c]
            for c in range(n_classes)
        ]
        for x in X.tolist()
    ]
    value, of_scores = loss(name, np.asarray(scores), y)
    penalty, of_weights = l2(np.asarray(weights, dtype=np.float64), l2_strength)
    of_bias = np.zeros(n_classes)
    for x, row in zip(X, of_scores, strict=True):
        for c in range(n_classes):
            of_bias[c] += row[c]
            for d in range(features):
                of_weights[d, c] += x[d] * row[c]
    return value + penalty, of_weights, of_bias


def linear_epoch(
    name: str,
    optimizer: str,
    X: Rows,
    y: Rows,
    batches: Sequence[Sequence[int]],
    rate: float,
    l2_strength: float = 0.0,
) -> tuple[Rows, Rows, list[float]]:
    """Weights and bias after one step for each batch of rows, from zeros, and each step's loss."""
    n_classes, features = int(np.max(y)) + 1, X.shape[1]
    flat = [0.0] * (features * n_classes + n_classes)
    gradients: list[list[float]] = []
    losses = []
    for rows in batches:
        weights = np.reshape(flat[: features * n_classes], (features, n_classes))
        bias = np.asarray(flat[features * n_classes :])
        some, classes = X[list(rows)], y[list(rows)]
        value, dw, db = linear_objective(name, weights, bias, some, classes, l2_strength)
        losses.append(value)
        gradients.append([*np.ravel(dw).tolist(), *db.tolist()])
        # The whole path again: quadratic, but each optimiser's memory is then its own affair.
        flat = steps(optimizer, [0.0] * len(flat), gradients, rate)[-1]
    split = features * n_classes
    return np.reshape(flat[:split], (features, n_classes)), np.asarray(flat[split:]), losses
