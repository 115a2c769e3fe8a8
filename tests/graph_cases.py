"""What every operation of the rule table is tried on.

A case is a function of variables, plain NumPy for the same, and the shapes of its arrays. Shapes
broadcast, have axes of length 1, and axes of length 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests import reference_networks as reference
from xpcls import graph, losses
from xpcls.graph import OPERATIONS
from xpcls_backends import device_of, namespace_of, to_host

LABELS = np.asarray([2, 0, 1, 2])
WEIGHTS = np.asarray([1.0, 0.0, 2.0, 0.5])


@dataclass(frozen=True)
class Case:
    """operation : its name in the table. function : of variables or arrays. reference : of arrays.

    linear : the inputs that the operation is linear in. positive : whether its domain is.
    """

    operation: str
    function: Callable[..., Any]
    reference: Callable[..., Any]
    shapes: tuple[tuple[int, ...], ...]
    linear: tuple[int, ...] = ()
    positive: bool = False
    name: str = ""

    def arrays(self, seed: int = 0) -> list[Any]:
        """Distinct numbers, none near a kink: sizes in steps of 0.1, in any order."""
        rng = np.random.default_rng(seed)
        found = []
        for shape in self.shapes:
            size = int(np.prod(shape))
            values = 0.25 + 0.1 * rng.permutation(size) + 0.01 * rng.random()
            signs = 1.0 if self.positive else rng.choice([-1.0, 1.0], size)
            found.append((values * signs).reshape(shape))
        return found

    def __str__(self) -> str:
        return f"{self.operation} {self.name} {' '.join(map(str, self.shapes))}"


def normalised(x: Any, gamma: Any, beta: Any) -> Any:
    axes = tuple(range(x.ndim - 1))
    centred = x - x.mean(axis=axes)
    return gamma * centred / np.sqrt((centred**2).mean(axis=axes) + 1e-5) + beta


def pooled(how: Callable[..., Any], size: int, stride: int) -> Callable[[Any], Any]:
    def pool(x: Any) -> Any:
        n, height, width, channels = x.shape
        rows, columns = (height - size) // stride + 1, (width - size) // stride + 1
        z = np.empty((n, rows, columns, channels))
        for i in range(rows):
            for j in range(columns):
                window = x[:, i * stride : i * stride + size, j * stride : j * stride + size]
                z[:, i, j] = how(window, axis=(1, 2))
        return z

    return pool


PAIRS = [((3, 4), (3, 4)), ((3, 4), (4,)), ((3, 1), (1, 4)), ((), (2, 3)), ((0, 3), (1, 3))]
BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "power": np.power,
}
UNARY: dict[str, Callable[[Any], Any]] = {
    "negative": np.negative,
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "abs": np.abs,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
}
AXES: list[tuple[tuple[int, ...], Any, bool]] = [
    ((3, 4), None, False),
    ((3, 4), 0, False),
    ((2, 3, 4), (0, 2), True),
    ((3, 1), -1, False),
    ((), None, False),
    ((0, 3), 1, False),
]
PRODUCTS = [
    ((3, 4), (4, 2)),
    ((4,), (4,)),
    ((4,), (4, 2)),
    ((3, 4), (4,)),
    ((5, 3, 4), (4, 2)),
    ((5, 1, 3, 4), (2, 4, 1)),
    ((5, 3, 4), (4,)),
    ((4,), (5, 4, 3)),
    ((0, 4), (4, 2)),
    ((3, 0), (0, 2)),
]
LOSSES_OF_SCORES = ("hinge", "squared_hinge", "one_vs_all", "structured")
KEYS = [
    ((3, 4), (1, slice(None))),
    ((5, 4), (slice(4, 0, -2), slice(None))),
    ((3, 4), (slice(None), None, 2)),
    ((2, 3, 4), (Ellipsis, 1)),
    ((0, 4), (slice(None), 1)),
]


def cases() -> list[Case]:
    found = []
    for name, by_numpy in BINARY.items():
        linear = {"add": (0, 1), "subtract": (0, 1), "multiply": (0, 1), "divide": (0,)}
        for shapes in PAIRS:
            found.append(
                Case(
                    name,
                    OPERATIONS[name],
                    by_numpy,
                    shapes,
                    linear=linear.get(name, ()),
                    positive=name == "power",
                )
            )
    for name, one in UNARY.items():
        for shape in ((3, 4), (), (1,), (0, 2)):
            found.append(
                Case(
                    name,
                    OPERATIONS[name],
                    one,
                    (shape,),
                    linear=(0,) if name == "negative" else (),
                    positive=name in ("log", "sqrt"),
                )
            )
    for number in (2, 3.0, -1, 0.5, 0):
        found.append(
            Case(
                "power",
                lambda x, p=number: x**p,
                lambda x, p=number: x**p,
                ((3, 2),),
                positive=True,
                name=f"of {number}",
            )
        )
    found.append(Case("power", lambda x: 1.5**x, lambda x: 1.5**x, ((3,),), name="of a number"))
    for shape, axis, keepdims in AXES:
        for name in ("sum", "mean", "max"):
            found.append(
                Case(
                    name,
                    lambda x, n=name, a=axis, k=keepdims: OPERATIONS[n](x, axis=a, keepdims=k),
                    lambda x, n=name, a=axis, k=keepdims: getattr(np, n)(x, axis=a, keepdims=k),
                    (shape,),
                    linear=() if name == "max" else (0,),
                    name=f"over {axis}",
                )
            )
    for shapes in PRODUCTS:
        found.append(Case("matmul", graph.matmul, np.matmul, shapes, linear=(0, 1)))
    condition = np.asarray([[True, False, True], [False, False, True]])
    found += [
        Case(
            "where",
            lambda x, y: graph.where(like(condition, x), x, y),
            lambda x, y: np.where(condition, x, y),
            shapes,
            linear=(0, 1),
        )
        for shapes in (((2, 3), (2, 3)), ((3,), (2, 1)))
    ]
    for shape, to in (((3, 4), (2, 6)), ((3, 4), (-1,)), ((), (1, 1)), ((0, 4), (4, 0))):
        found.append(
            Case(
                "reshape",
                lambda x, t=to: graph.reshape(x, t),
                lambda x, t=to: x.reshape(t),
                (shape,),
                linear=(0,),
            )
        )
    for shape, axes in (((2, 3, 4), None), ((2, 3, 4), (1, 2, 0)), ((2, 0), None), ((3,), None)):
        found.append(
            Case(
                "transpose",
                lambda x, a=axes: graph.transpose(x, a),
                lambda x, a=axes: np.transpose(x, a),
                (shape,),
                linear=(0,),
            )
        )
    for shape, to in (((1, 3), (4, 3)), ((3,), (2, 2, 3)), ((), (2,)), ((1, 3), (0, 3))):
        found.append(
            Case(
                "broadcast_to",
                lambda x, t=to: graph.broadcast_to(x, t),
                lambda x, t=to: np.broadcast_to(x, t),
                (shape,),
                linear=(0,),
            )
        )
    for shape, key in KEYS:
        found.append(
            Case(
                "getitem",
                lambda x, k=key: graph.getitem(x, k),
                lambda x, k=key: x[k],
                (shape,),
                linear=(0,),
                name=str(key),
            )
        )
    found += [
        Case(
            "pick",
            lambda x: graph.pick(x, like(LABELS, x)),
            lambda x: x[np.arange(4), LABELS],
            ((4, 3),),
            linear=(0,),
        ),
        Case(
            "_concat",
            lambda *a: graph.concat(a, axis=1),
            lambda *a: np.concatenate(a, axis=1),
            ((2, 3), (2, 1), (2, 0)),
            linear=(0, 1, 2),
        ),
        Case(
            "_concat",
            lambda *a: graph.concat(a, axis=-2),
            lambda *a: np.concatenate(a, axis=-2),
            ((2, 3), (1, 3)),
            linear=(0, 1),
        ),
        Case(
            "flatten", graph.flatten, lambda x: x.reshape(x.shape[0], -1), ((2, 3, 4),), linear=(0,)
        ),
    ]
    for shape, gamma in (((6, 3), (3,)), ((2, 3, 3, 2), (2,))):
        found.append(Case("_batch_norm", graph.batch_norm, normalised, (shape, gamma, gamma)))
    mean, variance = np.asarray([0.5, -1.0]), np.asarray([2.0, 0.25])
    found.append(
        Case(
            "_batch_norm",
            lambda x, c, b: graph.batch_norm(
                x, c, b, statistics=(like(mean, x), like(variance, x))
            ),
            lambda x, c, b: c * (x - mean) / np.sqrt(variance + 1e-5) + b,
            ((3, 2), (2,), (2,)),
            name="by given statistics",
        )
    )
    for x, w, stride, padding in (
        ((2, 6, 5, 3), (3, 3, 3, 4), 1, 1),
        ((2, 8, 8, 8), (3, 3, 8, 8), 1, 1),  # wide enough for Winograd
        ((1, 5, 7, 8), (3, 3, 8, 9), 1, 0),
        ((2, 7, 6, 2), (3, 2, 2, 3), 2, (1, 0)),
        ((2, 4, 4, 1), (1, 1, 1, 2), 1, 0),
        ((2, 4, 4, 5), (5, 5, 5, 2), 3, 2),
        ((0, 5, 5, 2), (3, 3, 2, 2), 1, 1),
    ):
        found.append(
            Case(
                "_convolution",
                lambda x, w, s=stride, p=padding: graph.conv2d(x, w, stride=s, padding=p),
                lambda x, w, s=stride, p=padding: reference.convolution(x, w, s, p),
                (x, w),
                linear=(0, 1),
                name=f"stride {stride} padding {padding}",
            )
        )
    found += [
        Case(
            "biased_relu", graph.biased_relu, lambda x, b: np.maximum(x + b, 0), (shape, shape[-1:])
        )
        for shape in ((2, 3, 4, 5), (3, 2), (0, 2, 2, 3), (4,))
    ]
    for shape, size, stride in (((2, 4, 6, 3), 2, 2), ((1, 5, 5, 2), 2, 2), ((1, 5, 5, 2), 3, 1),
                                ((1, 7, 7, 1), 2, 3), ((0, 4, 4, 2), 2, 2)):  # fmt: skip
        found += [
            Case(
                "_max_pool",
                lambda x, k=size, s=stride: graph.max_pool(x, k, s),
                pooled(np.max, size, stride),
                (shape,),
                name=f"{size} by {stride}",
            ),
            Case(
                "_avg_pool",
                lambda x, k=size, s=stride: graph.avg_pool(x, k, s),
                pooled(np.mean, size, stride),
                (shape,),
                linear=(0,),
                name=f"{size} by {stride}",
            ),
        ]
    found.append(
        Case("dropout", lambda x: graph.dropout(x, 0.4, key=7), _dropped, ((3, 5),), linear=(0,))
    )
    for name, option in (("softmax_cross_entropy", "softmax"), *((n, n) for n in LOSSES_OF_SCORES)):
        for weight in (None, WEIGHTS):
            found.append(
                Case(
                    name,
                    lambda s, n=name, w=weight: OPERATIONS[n](
                        s, like(LABELS, s), sample_weight=like(w, s)
                    ),
                    lambda s, n=option, w=weight: _by_rows(n, s, w),
                    ((4, 3),),
                    name="" if weight is None else "weighted",
                )
            )
    found.append(
        Case(
            "squared_error",
            lambda s: graph.squared_error(s, like(LABELS, s)),
            lambda s: np.mean(np.sum((s - np.eye(3)[LABELS]) ** 2, axis=1)),
            ((4, 3),),
        )
    )
    return found


def like(host: Any, x: Any) -> Any:
    """A host array beside the array in x."""
    if host is None:
        return None
    value = graph.value_of(x)
    if host.dtype.kind == "f":
        host = host.astype(to_host(value).dtype)
    return namespace_of(value).asarray(host, device=device_of(value))


def _dropped(x: Any) -> Any:
    bits = [reference.counter_bits(7, i) for i in range(x.size)]
    kept = np.asarray(bits).reshape(x.shape) >= round(0.4 * 2**32)
    return np.where(kept, x / 0.6, 0.0)


def _by_rows(name: str, scores: Any, weight: Any) -> Any:
    rows = [float(losses.LOSSES[name](scores[i : i + 1], LABELS[i : i + 1])[0]) for i in range(4)]
    return np.average(rows, weights=weight)
