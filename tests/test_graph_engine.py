"""The engine under the graph: order, accumulation, release, constants, and what is refused."""

from __future__ import annotations

import gc
import threading
import tracemalloc
import weakref
from collections.abc import Callable
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from tests.fake_devices import fake_backend
from xpcls import graph
from xpcls.graph import Variable, jacobian, no_grad, nodes_topologically_sorted
from xpcls_backends import Backend, device_of, namespace_of, to_host
from xpcls_backends.testing import forbid_host_reads


def variable(values: Any, name: str | None = None) -> Variable:
    return Variable(np.asarray(values, "f8"), name)


# --- order, and how gradients come together -----------------------------------------------------


def test_a_chain_of_a_hundred_thousand_nodes() -> None:
    x = variable(1.0)
    y = x
    for _ in range(100_000):
        y = y + x
    assert len(nodes_topologically_sorted(y)) == 100_001
    y.backward()
    assert x.grad == 100_001
    del y  # and it can be thrown away
    gc.collect()


def test_inputs_stand_before_what_is_made_of_them() -> None:
    x, y = variable(2.0), variable(3.0)
    a = x * y
    b = a + x
    c = graph.exp(a) * b + a
    order = nodes_topologically_sorted(c)
    places = {id(node): i for i, node in enumerate(order)}
    assert len(places) == len(order) == 7 and order[-1] is c
    for node in order:
        for given in node.inputs:
            assert places[id(given)] < places[id(node)]


def test_several_consumers_add_up() -> None:
    x = variable([3.0, -1.0])
    graph.sum(x * x + x).backward()
    assert x.grad.tolist() == [7, -1]


def test_backward_twice_does_not_double_unless_asked() -> None:
    x = variable(3.0)
    y = x * x
    y.backward()
    y.backward()
    assert x.grad == 6
    y.backward(accumulate=True)
    assert x.grad == 12
    (2.0 * x).backward(accumulate=True)
    assert x.grad == 14


def test_a_second_output_replaces_the_gradients_of_the_first() -> None:
    x, y = variable(3.0), variable(5.0)
    (x * y).backward()
    (x + 1.0).backward()
    assert x.grad == 1 and y.grad == 3  # y has nothing to do with the second


def test_the_upstream_gradient_is_passed_on() -> None:
    x = variable([1.0, 2.0, 3.0])
    y = x * 2.0
    y.backward(np.asarray([1.0, 0.0, -1.0]))
    assert x.grad.tolist() == [2, 0, -2] and y.grad.tolist() == [1, 0, -1]
    y.backward([1, 1, 1])
    assert x.grad.tolist() == [2, 2, 2]
    y.backward(variable([0, 0, 5]))
    assert x.grad.tolist() == [0, 0, 10]


def test_what_only_decides_gets_no_gradient() -> None:
    x = variable([3.0, 0.0])
    condition = x * 2.0
    graph.sum(graph.where(condition, x * x, -x)).backward()
    assert x.grad.tolist() == [6, -1] and condition.grad is None


def test_a_leaf_is_its_own_output() -> None:
    x = variable(3.0)
    x.backward()
    assert x.grad == 1


@hypothesis.given(st.data())
def test_random_graphs_have_the_gradient_of_all_paths(data: st.DataObject) -> None:
    """Against forward mode: the derivative of each node along each input, carried along."""
    n_inputs = data.draw(st.integers(1, 3))
    values = [data.draw(st.floats(-1.5, 1.5)) for _ in range(n_inputs)]
    nodes: list[Any] = [variable(v) for v in values]
    tangents = [np.eye(n_inputs)[i] for i in range(n_inputs)]
    for _ in range(data.draw(st.integers(1, 30))):
        i, j = (data.draw(st.integers(0, len(nodes) - 1)) for _ in range(2))
        x, y, dx, dy = nodes[i], nodes[j], tangents[i], tangents[j]
        kind = data.draw(st.sampled_from(["add", "multiply", "tanh", "subtract"]))
        if kind == "add":
            nodes.append(x + y)
            tangents.append(dx + dy)
        elif kind == "subtract":
            nodes.append(x - y)
            tangents.append(dx - dy)
        elif kind == "multiply":
            nodes.append(graph.tanh(x) * y)
            t = np.tanh(x.value)
            tangents.append((1 - t * t) * y.value * dx + t * dy)
        else:
            nodes.append(graph.tanh(x))
            tangents.append((1 - np.tanh(x.value) ** 2) * dx)
    nodes[-1].backward()
    found = [0.0 if v.grad is None else float(v.grad) for v in nodes[:n_inputs]]
    scale = 1.0 + np.abs(tangents[-1]).max()
    np.testing.assert_allclose(found, tangents[-1], rtol=1e-9, atol=1e-9 * scale)


def test_large_gradients_are_added_up_in_place_and_shared_ones_are_not(backend: Backend) -> None:
    """x is used four times; its first gradient is the array that y has too."""
    ones = backend.asarray(np.ones(2**15, "f4"))
    x = Variable(ones)
    y = x + 0.0
    z = y + x + x + x
    z.backward(ones)
    for variable, paths in ((x, 4), (y, 1), (z, 1)):
        assert to_host(variable.grad).tolist() == [paths] * 2**15
    assert to_host(ones).max() == 1.0


def test_what_comes_to_a_large_sum_is_added_to_it_in_place() -> None:
    x = Variable(np.ones(2**15))
    places = []

    def pull(g: Any) -> Any:
        places.append(None if x.grad is None else x.grad.ctypes.data)
        return 2.0 * g

    y: Any = 0.0
    for _ in range(6):
        doubled = 2.0 * x
        doubled.pulls = (None, pull)
        y = y + graph.sum(doubled)
    y.backward()
    assert (x.grad == 12).all()
    assert places[0] is None and len(set(places[2:])) == 1 and places[1] != places[2]


# --- constants, dtypes, backends ----------------------------------------------------------------


def test_plain_arrays_and_numbers_are_constants(backend: Backend) -> None:
    a = backend.asarray(np.asarray([1.0, 2.0], "f4"))
    x = Variable(backend.asarray(np.asarray([3.0, 4.0], "f4")))
    with forbid_host_reads():
        y = graph.sum(graph.multiply(a, x) + 1 - 2.0 * x)
        y.backward()
    assert to_host(x.grad).tolist() == [-1, 0]
    assert namespace_of(x.grad) is backend.xp and device_of(x.grad) == backend.device
    assert x.grad.dtype == x.value.dtype == backend.xp.float32


def test_without_a_variable_nothing_is_recorded(backend: Backend) -> None:
    a = backend.asarray(np.asarray([1.0, 2.0], "f4"))
    z = graph.exp(a)
    assert not isinstance(z, Variable) and namespace_of(z) is backend.xp
    assert graph.add(1, 2) == 3 and not isinstance(graph.add(1, 2), Variable)


def test_numpy_hands_its_operators_over() -> None:
    x = variable([1.0, 2.0])
    a = np.asarray([[3.0, 4.0]])
    for made in (a + x, a * x, a - x, a / x, a @ x, a**x):
        assert type(made) is Variable
    (a @ x).backward([1.0])
    assert x.grad.tolist() == [3, 4]


@pytest.mark.parametrize(
    ("given", "dtype"),
    [
        (np.asarray([1, 2], np.uint8), "float32"),
        (np.asarray([1, 2], np.int64), "float64"),
        (np.asarray([True, False]), "float32"),
        (np.asarray([1.0], np.float32), "float32"),
        ([1, 2], "float64"),
        (3, "float64"),
    ],
)
def test_integers_become_floats_that_hold_them(given: Any, dtype: str) -> None:
    assert Variable(given).dtype == dtype


def test_a_gradient_has_the_dtype_of_its_variable() -> None:
    x = Variable(np.ones(3, "f4"))
    y = Variable(np.ones(3, "f8"))
    graph.sum(x * y).backward()
    assert x.grad.dtype == np.float32 and y.grad.dtype == np.float64


# --- no gradients -------------------------------------------------------------------------------


def test_no_grad_disconnects_in_its_thread_alone() -> None:
    x = variable(2.0)
    seen = []
    with no_grad():
        y = x * x
        thread = threading.Thread(target=lambda: seen.append(x * x))
        thread.start()
        thread.join()
        with no_grad():
            pass
        assert (x * x).inputs == ()
    assert y.inputs == () and y.value == 4 and y.operation is None
    assert seen[0].inputs == (x, x) and (x * x).inputs == (x, x)


def test_no_grad_ends_with_an_error() -> None:
    x = variable(2.0)
    with pytest.raises(ZeroDivisionError), no_grad():
        raise ZeroDivisionError
    assert (x * x).inputs


# --- release ------------------------------------------------------------------------------------


def test_released_nodes_are_gone_and_say_so() -> None:
    x = variable([1.0, 2.0])
    y = graph.exp(x)
    alive = weakref.ref(y)
    z = graph.sum(y * y)
    del y
    z.backward(release=True)
    np.testing.assert_allclose(x.grad, 2 * np.exp(2 * x.value))
    gc.collect()
    assert alive() is None and z.grad is None
    with pytest.raises(RuntimeError, match=r"released by an earlier backward\(release=True\)"):
        z.backward()


def test_memory_is_freed_as_backward_goes() -> None:
    size, layers = 100_000, 30

    def peak(release: bool) -> float:
        x = Variable(np.zeros(size))
        y: Any = x
        for _ in range(layers):
            y = graph.tanh(y)
        y = graph.sum(y)
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        y.backward(release=release)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return (most - before) / (8 * size)

    assert peak(release=True) < 6  # a few temporaries
    assert peak(release=False) > layers - 1  # every gradient is kept


# --- Jacobians ----------------------------------------------------------------------------------


def test_the_jacobian_of_a_product_is_the_matrix(backend: Backend) -> None:
    W = backend.asarray(np.arange(6.0, dtype="f4").reshape(2, 3))
    x = backend.asarray(np.asarray([1.0, 0.5, -1.0], "f4"))
    found = jacobian(lambda v: graph.matmul(W, v), x)
    assert to_host(found).tolist() == to_host(W).tolist()
    assert namespace_of(found) is backend.xp


def test_jacobians_of_several_inputs() -> None:
    of_x, of_y = jacobian(lambda x, y: x * y, [1.0, 2.0, 3.0], 5.0)
    assert of_x.tolist() == (5 * np.eye(3)).tolist() and of_y.tolist() == [1, 2, 3]
    both = jacobian(lambda x: x + graph.sum(x), np.zeros((2, 2)))
    assert both.shape == (2, 2, 2, 2)
    assert np.array_equal(both.reshape(4, 4), np.eye(4) + 1)
    assert jacobian(lambda x: x[:0], [1.0, 2.0]).shape == (0, 2)
    with pytest.raises(TypeError, match="f gives a float"):
        jacobian(lambda x: 1.0, [1.0])


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: x.backward(), ValueError, r"grad is None, but <x: .* has shape \(2,\)"),
        (
            lambda x: x.backward(np.ones(3)),
            ValueError,
            r"grad has shape \(3,\), expected \(2,\), that of value",
        ),
        (lambda x: bool(x), TypeError, "neither true nor false"),
        (lambda x: Variable(x), TypeError, "value is a Variable already"),
        (lambda x: Variable(np.ones(2) * 1j), TypeError, "value has dtype complex128"),
        (lambda x: Variable("cat"), ValueError, "value holds something that is no number"),
        (
            lambda x: x + Variable(np.ones(3), name="y"),
            ValueError,
            r"add of 'x' float64 \(2,\), 'y' float64 \(3,\): operands could not",
        ),
        (lambda x: graph.exp(x, 3), TypeError, "exp of 'x'"),
    ],
)
def test_misuse_is_named(call: Callable[[Any], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call(variable([1.0, 2.0], "x"))


def test_arrays_of_two_devices_are_named(backend: Backend) -> None:
    elsewhere = np.ones(2, "f4")
    if backend.name == "numpy":
        elsewhere = fake_backend().asarray([1.0, 1.0], "float32")
    x = Variable(backend.asarray(np.ones(2, "f4")))
    with pytest.raises((TypeError, ValueError), match=r"^add: "):
        graph.add(x, elsewhere)


def test_a_variable_shows_its_name_and_value() -> None:
    assert repr(variable([1.0, 2.0], "w")) == "<w: [1. 2.]>"
    assert repr(variable(1.0) * 2) == "<multiply: 2.0>"
    assert len(repr(variable(np.zeros(1000)))) < 100
    x = variable(np.zeros((2, 3)))
    assert (x.shape, x.ndim, x.T.shape) == ((2, 3), 2, (3, 2))
