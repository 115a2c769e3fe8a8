"""Every operation of the rule table: its value, and its gradient against differences.

Values are compared with plain NumPy; gradients with central differences of every entry, and of
the projection on a random direction, in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.graph_cases import Case, cases
from xpcls import graph
from xpcls.graph import OPERATIONS, Variable
from xpcls_backends import Backend, device_of, namespace_of, to_host
from xpcls_backends.testing import forbid_host_reads

TOLERANCE = 1e-7  # relative
STEP = 1e-5
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
