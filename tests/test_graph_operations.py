"""Every operation of the rule table: its value, and its gradient against differences.

A case is a function of variables, and the arrays it is tried on. Its value is compared with plain
NumPy; its gradients with central differences of every entry, and of the projection on a random
direction, in float64. Shapes broadcast, have axes of length 1, and axes of length 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from tests import reference_networks as reference
from xpcls import graph, losses
from xpcls.graph import OPERATIONS, Variable
from xpcls_backends import Backend, device_of, namespace_of, to_host
from xpcls_backends.testing import forbid_host_reads

TOLERANCE = 1e-7  # relative
STEP = 1e-5
LABELS = np.asarray([2, 0, 1, 2])
WEIGHTS = np.asarray([1.0, 0.0, 2.0, 0.5])


@dataclass(frozen=True)
class Case:
    """function(xp_arrays or variables); reference: the same in NumPy, or None where `function`
    is that very formula. linear : in which inputs, for the adjoint identity."""

    operation: str
    function: Callable[..., Any]
    reference: Callable[..., Any]
    shapes: tuple[tuple[int, ...], ...]
    linear: tuple[int, ...] = ()
    positive: bool = False
    constants: tuple[int, ...] = ()  # inputs that are no variables, such as labels
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


def softmax(scores: Any) -> Any:
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


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
            lambda x, y: graph.where(_like(condition, x), x, y),
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
            lambda x: graph.pick(x, _like(LABELS, x)),
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
                x, c, b, statistics=(_like(mean, x), _like(variance, x))
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
                        s, _like(LABELS, s), sample_weight=_like(w, s)
                    ),
                    lambda s, n=option, w=weight: _by_rows(n, s, w),
                    ((4, 3),),
                    name="" if weight is None else "weighted",
                )
            )
    found.append(
        Case(
            "squared_error",
            lambda s: graph.squared_error(s, _like(LABELS, s)),
            lambda s: np.mean(np.sum((s - np.eye(3)[LABELS]) ** 2, axis=1)),
            ((4, 3),),
        )
    )
    return found


def _like(host: Any, x: Any) -> Any:
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


CASES = cases()


def placed(case: Case, backend: Backend) -> list[Any]:
    """The case's arrays on a backend, in the widest dtype that it has."""
    dtype = "float32" if backend.name == "strict-no_float64" else "float64"
    return [backend.asarray(a.astype(dtype)) for a in case.arrays()]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_are_those_of_numpy(backend: Backend, case: Case) -> None:
    arrays = placed(case, backend)
    with np.errstate(invalid="ignore"), forbid_host_reads():
        found = case.function(*[Variable(a) for a in arrays])
        plain = case.function(*arrays)
    with np.errstate(invalid="ignore"):
        expected = case.reference(*case.arrays())
    assert type(found) is Variable and not isinstance(plain, Variable)
    for value in (found.value, plain):
        assert namespace_of(value) is backend.xp and value.dtype == arrays[0].dtype
        rtol = 1e-5 if value.dtype == backend.xp.float32 else 1e-11
        size = max(1.0, np.abs(expected).max(initial=0.0)) if np.size(expected) else 1.0
        np.testing.assert_allclose(to_host(value), expected, rtol=rtol, atol=rtol * size)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradients_are_those_of_differences(backend: Backend, case: Case) -> None:
    arrays = placed(case, backend)
    variables = [Variable(a) for a in arrays]
    with forbid_host_reads(), np.errstate(invalid="ignore"):
        z = case.function(*variables)
        upstream = np.random.default_rng(1).normal(size=z.shape)
        g = backend.asarray(upstream.astype(to_host(arrays[0]).dtype))
        z.backward(g)
    host = case.arrays()

    def projected(*inputs: Any) -> float:
        with np.errstate(invalid="ignore"):
            return float(np.sum(upstream * to_host(case.function(*inputs))))

    exact = arrays[0].dtype != backend.xp.float32
    tolerance = TOLERANCE if exact else 1e-4
    directions = [np.random.default_rng(2).normal(size=a.shape) for a in host]
    slope = (
        projected(*[a + STEP * d for a, d in zip(host, directions, strict=True)])
        - projected(*[a - STEP * d for a, d in zip(host, directions, strict=True)])
    ) / (2 * STEP)
    along = 0.0
    for k, variable in enumerate(variables):
        if variable.grad is None:
            found = np.zeros(host[k].shape)
        else:
            assert variable.grad.shape == variable.value.shape
            assert variable.grad.dtype == variable.value.dtype
            assert namespace_of(variable.grad) is backend.xp
            assert device_of(variable.grad) == backend.device
            found = to_host(variable.grad).astype(float)
        along += float(np.sum(found * directions[k]))
        expected = np.empty(host[k].shape)
        for entry in np.ndindex(host[k].shape):
            moved = [a.copy() for a in host]
            moved[k][entry] = host[k][entry] + STEP
            above = projected(*moved)
            moved[k][entry] = host[k][entry] - STEP
            expected[entry] = (above - projected(*moved)) / (2 * STEP)
        scale = max(1.0, np.abs(expected).max(initial=0.0))
        assert np.abs(found - expected).max(initial=0.0) <= tolerance * scale
    assert abs(along - slope) <= tolerance * max(1.0, abs(slope))


@pytest.mark.parametrize("case", [c for c in CASES if c.linear], ids=str)
def test_linear_operations_have_their_transpose(case: Case) -> None:
    """<A x, g> = <x, A^T g> for the inputs that the operation is linear in, the others fixed."""
    host = case.arrays()
    for k in case.linear:
        variables = [Variable(a) if i == k else a for i, a in enumerate(host)]
        z = case.function(*variables)
        if case.operation in ("add", "subtract", "where", "_concat"):  # linear in all of them
            others = [a if i == k else np.zeros_like(a) for i, a in enumerate(host)]
            value = case.reference(*others)
        else:
            value = z.value
        g = np.random.default_rng(3).normal(size=z.shape)
        z.backward(g)
        gradient = variables[k].grad
        product = float(np.sum(value * g))
        assert product == pytest.approx(float(np.sum(host[k] * gradient)), rel=1e-11, abs=1e-11)


def test_every_operation_is_tried() -> None:
    assert {case.operation for case in CASES} == set(OPERATIONS)


# --- what differences do not see ----------------------------------------------------------------


def test_kinks_and_ties(backend: Backend) -> None:
    def gradients(function: Callable[..., Any], *values: Any) -> list[Any]:
        variables = [Variable(backend.asarray(np.asarray(v, "f4"))) for v in values]
        graph.sum(function(*variables)).backward()
        return [to_host(v.grad).tolist() for v in variables]

    assert gradients(graph.maximum, [1.0, 2.0], [1.0, 3.0]) == [[1, 0], [0, 1]]
    assert gradients(graph.minimum, [1.0, 2.0], [1.0, 3.0]) == [[1, 1], [0, 0]]
    assert gradients(graph.relu, [-1.0, 0.0, 2.0]) == [[0, 0, 1]]
    assert gradients(graph.abs, [-1.0, 0.0, 2.0]) == [[-1, 0, 1]]
    assert gradients(lambda x: graph.max(x, axis=1), [[3.0, 1.0, 3.0]]) == [[[1, 0, 0]]]
    assert gradients(graph.max, [[1.0, 4.0], [4.0, 4.0]]) == [[[0, 1], [0, 0]]]
    assert gradients(lambda x: x**0, [0.0, 2.0]) == [[0, 0]]
    assert gradients(lambda x: x**2, [0.0, -3.0]) == [[0, -6]]
    tie = np.zeros((1, 2, 2, 1))
    assert np.ravel(gradients(graph.max_pool, tie)).tolist() == [1, 0, 0, 0]
    row = np.asarray([1.0, 5.0, 5.0, 1.0]).reshape(1, 1, 4, 1)
    overlapping = gradients(lambda x: graph.max_pool(x, (1, 2), 1), row)
    assert np.ravel(overlapping).tolist() == [0, 2, 1, 0]


def test_the_sigmoid_never_overflows(backend: Backend) -> None:
    for dtype in ("float32", "float64"):
        if dtype == "float64" and backend.name == "strict-no_float64":
            continue
        x = Variable(backend.asarray(np.asarray([-1e4, -90.0, 0.0, 90.0, 1e4], dtype)))
        z = graph.sigmoid(x)
        graph.sum(z).backward()
        assert to_host(z.value).tolist()[2:] == [0.5, 1.0, 1.0]
        assert abs(to_host(z.value)[:2]).max() < 1e-37
        assert np.isfinite(to_host(x.grad)).all()


def test_masks_do_not_depend_on_how_a_batch_is_cut(backend: Backend) -> None:
    x = backend.asarray(np.ones((7, 5), "f4"))
    whole = to_host(graph.dropout(x, 0.5, key=3))
    parts = [to_host(graph.dropout(x[i : i + 2, :], 0.5, key=3, first_row=i)) for i in (0, 2, 4)]
    assert np.array_equal(whole[:6], np.concatenate(parts))
    assert not np.array_equal(whole, to_host(graph.dropout(x, 0.5, key=4)))
    assert set(np.unique(whole)) <= {0.0, 2.0}
    assert np.array_equal(to_host(graph.dropout(x, 0.0, key=3)), np.ones((7, 5)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: graph.dropout(x, 1.0, key=0), "rate is 1.0, expected at least 0 and below 1"),
        (lambda x: x @ np.ones(4), r"matmul of 'x' float64 \(2, 3\), float64 \(4,\): "),
        (lambda x: graph.sum(x, axis=2), r"sum of 'x' float64 \(2, 3\): axis is 2, expected axes"),
        (lambda x: graph.pick(x, np.ones(3, int)), r"expected x of shape \(N, C\) and labels"),
        (lambda x: graph.max_pool(x), r"max_pool of 'x' float64 \(2, 3\): expected images"),
        (lambda x: graph.conv2d(x, np.ones((3, 3, 1, 1))), r"expected images \(N, H, W, C\)"),
        (
            lambda x: graph.conv2d(np.ones((1, 2, 2, 1)), Variable(np.ones((3, 3, 1, 1)))),
            "filters of 3 x 3 do not fit into images of 2 x 2",
        ),
        (
            lambda x: graph.max_pool(Variable(np.ones((1, 2, 2, 1))), 3),
            r"windows of \(3, 3\) do not fit into images of \(2, 2\)",
        ),
        (
            lambda x: graph.conv2d(x, np.ones((2, 3, 1, 1)), padding="same"),
            r"padding is 'same', and the filters are \(2, 3\); give odd ones",
        ),
        (lambda x: graph.conv2d(x, np.ones((3, 3, 1, 1)), padding="valid"), "padding is 'valid'"),
        (lambda x: x[np.ones(2, int)], "expected integers, slices, ... and None; to pick one"),
        (lambda x: graph.hinge(x, np.ones(3, int)), "hinge of 'x' float64"),
    ],
)
def test_misuse_is_named(call: Callable[[Any], Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        call(Variable(np.ones((2, 3)), name="x"))
