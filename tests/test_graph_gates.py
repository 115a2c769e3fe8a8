"""The lecture's own examples: gates by hand, the graph by name, and the two-layer loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from xpcls import graph
from xpcls.graph import (
    AddGate,
    ComputationalGraph,
    Gate,
    MaxGate,
    MultiplyGate,
    SigmoidGate,
    Variable,
)
from xpcls_backends import Backend, device_of, namespace_of, to_host


def numbers(found: Any) -> Any:
    return to_host(found).tolist()


def product_of_sum() -> ComputationalGraph:
    """(x + y) z, written with its second gate first."""
    return ComputationalGraph({"f": (MultiplyGate(), "q", "z"), "q": (AddGate(), "x", "y")})


def four_patterns() -> ComputationalGraph:
    """2 (x y + max(z, w)); the 2 is an input like any other."""
    return ComputationalGraph(
        {
            "product": (MultiplyGate(), "x", "y"),
            "larger": (MaxGate(), "z", "w"),
            "sum": (AddGate(), "product", "larger"),
            "f": (MultiplyGate(), "sum", "two"),
        }
    )


# --- one gate -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gate", "role", "inputs", "z", "gradients"),
    [
        (AddGate(), "distributor", (3.0, -4.0), -1.0, (2.0, 2.0)),
        (MultiplyGate(), "switcher", (3.0, -4.0), -12.0, (-8.0, 6.0)),
        (MaxGate(), "router", (2.0, -1.0), 2.0, (2.0, 0.0)),
        (MaxGate(), "router", (-1.0, 2.0), 2.0, (0.0, 2.0)),
        (MaxGate(), "router", (5.0, 5.0), 5.0, (2.0, 0.0)),  # ties to the first
    ],
)
def test_a_gate_sends_the_gradient_where_the_lecture_says(
    backend: Backend, gate: Gate, role: str, inputs: Any, z: float, gradients: Any
) -> None:
    assert gate.role == role
    given = [backend.asarray(np.asarray(v, "f4")) for v in inputs]
    assert numbers(gate.forward(*given)) == z
    found = gate.backward(backend.asarray(np.asarray(2.0, "f4")))
    assert [numbers(g) for g in found] == list(gradients)
    for g in found:
        assert namespace_of(g) is backend.xp and device_of(g) == backend.device


def test_a_gate_takes_plain_numbers() -> None:
    gate = MultiplyGate()
    assert numbers(gate.forward(3, -4.0)) == -12.0
    assert [numbers(g) for g in gate.backward(1)] == [-4.0, 3.0]


def test_the_sigmoid_gate_is_one_gate_for_four(backend: Backend) -> None:
    gate = SigmoidGate()
    z = gate.forward(backend.asarray(np.asarray([1.0, 0.0, -2.0], "f4")))
    (dx,) = gate.backward(backend.asarray(np.ones(3, "f4")))
    expected = 1 / (1 + np.exp([-1.0, 0.0, 2.0]))
    np.testing.assert_allclose(to_host(z), expected, rtol=1e-6)
    np.testing.assert_allclose(to_host(dx), expected * (1 - expected), rtol=1e-6)


def test_gates_broadcast_and_sum_back(backend: Backend) -> None:
    x = backend.asarray(np.arange(6.0, dtype="f4").reshape(2, 3))
    y = backend.asarray(np.asarray([1.0, 2.0, 3.0], "f4"))
    gate = MultiplyGate()
    gate.forward(x, y)
    dx, dy = gate.backward(backend.xp.ones_like(x))
    assert numbers(dx) == [[1, 2, 3], [1, 2, 3]] and numbers(dy) == [3, 5, 7]


def test_every_operation_of_the_table_can_be_a_gate() -> None:
    gate = Gate("exp")
    assert numbers(gate.forward(0.0)) == 1.0 and numbers(gate.backward(3.0)[0]) == 3.0
    assert repr(gate) == "Gate('exp')" and repr(AddGate()) == "AddGate()"
    gate = Gate("sum", axis=0)
    assert numbers(gate.forward([[1.0, 2.0], [3.0, 4.0]])) == [4.0, 6.0]
    assert numbers(gate.backward([1.0, 0.0])[0]) == [[1.0, 0.0], [1.0, 0.0]]
    with pytest.raises(
        ValueError, match=r"operation is 'exq', expected one of: abs, add, biased_relu"
    ):
        Gate("exq")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: AddGate().backward(1.0), RuntimeError, "call forward before backward"),
        (lambda: AddGate().forward(1.0), ValueError, "takes 2 inputs, and got 1"),
        (
            lambda: AddGate().forward(np.ones(2), np.ones(3)),
            ValueError,
            r"AddGate\(\) does not take shapes \(2,\) and \(3,\)",
        ),
        (
            lambda: (gate := AddGate(), gate.forward(1.0, 2.0), gate.backward(np.ones(2))),
            ValueError,
            r"dz has shape \(2,\), expected that of AddGate\(\), \(\)",
        ),
    ],
)
def test_misuse_of_a_gate_is_named(
    call: Callable[[], Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call()


# --- a graph by name ----------------------------------------------------------------------------


def test_the_product_of_a_sum() -> None:
    f = product_of_sum()
    assert f.nodes_topologically_sorted() == ["q", "f"]
    assert numbers(f.forward({"x": -2, "y": 5, "z": -4})) == -12
    assert {k: numbers(g) for k, g in f.backward().items()} == {"x": -4, "y": -4, "z": 3}
    assert {k: numbers(v) for k, v in f.values.items()} == {
        "x": -2,
        "y": 5,
        "z": -4,
        "q": 3,
        "f": -12,
    }
    assert numbers(f.gradients["q"]) == -4 and numbers(f.gradients["f"]) == 1


def test_add_multiply_and_max_in_one() -> None:
    f = four_patterns()
    assert numbers(f.forward({"x": 3, "y": -4, "z": 2, "w": -1, "two": 2})) == -20
    found = {k: numbers(g) for k, g in f.backward().items()}
    assert (found["x"], found["y"], found["z"], found["w"]) == (-8, 6, 2, 0)


def test_the_sigmoid_neuron_merged_and_unmerged() -> None:
    w, x = [2.0, -3.0, -3.0], [-1.0, -2.0]
    inputs = {"w0": w[0], "x0": x[0], "w1": w[1], "x1": x[1], "w2": w[2]}
    line: dict[str, Any] = {
        "a": (MultiplyGate(), "w0", "x0"),
        "b": (MultiplyGate(), "w1", "x1"),
        "ab": (AddGate(), "a", "b"),
        "dot": (AddGate(), "ab", "w2"),
    }
    merged = ComputationalGraph({**line, "f": (SigmoidGate(), "dot")})
    apart = ComputationalGraph(
        {
            **line,
            "minus": (Gate("negative"), "dot"),
            "exp": (Gate("exp"), "minus"),
            "plus": (AddGate(), "exp", "one"),
            "f": (Gate("divide"), "one", "plus"),
        }
    )
    for f, more in ((merged, {}), (apart, {"one": 1.0})):
        assert numbers(f.forward({**inputs, **more})) == pytest.approx(0.7311, abs=5e-5)
        g = {k: numbers(v) for k, v in f.backward().items()}
        assert [g["w0"], g["w1"], g["w2"]] == pytest.approx([-0.1966, -0.3932, 0.1966], abs=5e-5)
        assert [g["x0"], g["x1"]] == pytest.approx([0.3932, -0.5898], abs=5e-5)


def test_several_consumers_add_up_and_twice_is_not_double() -> None:
    f = ComputationalGraph({"square": (MultiplyGate(), "x", "x"), "f": (AddGate(), "square", "x")})
    f.forward({"x": 3.0})
    assert numbers(f.backward()["x"]) == 7.0
    assert numbers(f.backward()["x"]) == 7.0  # 2 x + 1 again, not 14


def test_one_gate_may_stand_in_a_graph_twice() -> None:
    gate = MultiplyGate()
    f = ComputationalGraph({"square": (gate, "x", "x"), "cube": (gate, "square", "x")})
    assert numbers(f.forward({"x": 2.0})) == 8.0 and numbers(f.backward()["x"]) == 12.0


def test_an_input_that_does_not_count_has_gradient_zero() -> None:
    f = ComputationalGraph({"f": (AddGate(), "x", "x"), "idle": (AddGate(), "x", "y")}, output="f")
    f.forward({"x": 1.0, "y": [1.0, 2.0]})
    assert numbers(f.backward()["y"]) == [0.0, 0.0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: ComputationalGraph({"a": (AddGate(), "b", "x"), "b": (AddGate(), "a", "x")}),
            r"node '[ab]' needs its own output: .* is a cycle",
        ),
        (
            lambda: ComputationalGraph({"a": (AddGate(), "x")}),
            r"node 'a' is a AddGate\(\) with 1 inputs, expected 2",
        ),
        (
            lambda: ComputationalGraph({"a": (AddGate(), "x", "y"), "b": (AddGate(), "x", "y")}),
            "nodes 'a', 'b' could be the loss; say which with output=",
        ),
        (
            lambda: ComputationalGraph({"a": (AddGate(), "x", "y")}, output="c"),
            "output is 'c', expected one of the nodes 'a'",
        ),
        (
            lambda: product_of_sum().forward({"x": 1, "y": 2}),
            "the input 'z' of node 'f' is missing; forward needs values for '",
        ),
        (
            lambda: product_of_sum().forward({"x": 1, "y": 2, "z": 3, "v": 4}),
            "there is no input 'v'; the inputs are",
        ),
        (
            lambda: product_of_sum().forward({"x": [1, 2], "y": [1, 2, 3], "z": 3}),
            r"node 'q': AddGate\(\) does not take shapes \(2,\) and \(3,\)",
        ),
        (lambda: product_of_sum().backward(), "call forward before backward"),
    ],
)
def test_what_cannot_be_names_the_node(make: Callable[[], Any], message: str) -> None:
    with pytest.raises((ValueError, RuntimeError), match=message):
        make()


def test_a_loss_of_several_numbers_is_refused() -> None:
    f = product_of_sum()
    f.forward({"x": [1.0, 2.0], "y": 1.0, "z": 1.0})
    with pytest.raises(ValueError, match=r"node 'f' has shape \(2,\), expected one number as loss"):
        f.backward()


def test_something_else_in_place_of_a_gate_is_named() -> None:
    with pytest.raises(TypeError, match=r"node 'a' has <class .*AddGate'>, expected a gate"):
        ComputationalGraph({"a": (AddGate, "x", "y")})


# --- matrices -----------------------------------------------------------------------------------


def test_the_square_of_a_product(backend: Backend) -> None:
    W = Variable(backend.asarray(np.asarray([[0.1, 0.5], [-0.3, 0.8]], "f4")))
    x = Variable(backend.asarray(np.asarray([0.2, 0.4], "f4")))
    q = graph.matmul(W, x)
    f = graph.sum(q * q)
    f.backward()
    np.testing.assert_allclose(to_host(q.value), [0.22, 0.26], rtol=1e-6)
    np.testing.assert_allclose(to_host(f.value), 0.116, rtol=1e-6)
    np.testing.assert_allclose(to_host(q.grad), [0.44, 0.52], rtol=1e-6)
    np.testing.assert_allclose(to_host(W.grad), [[0.088, 0.176], [0.104, 0.208]], rtol=1e-6)
    np.testing.assert_allclose(to_host(x.grad), [-0.112, 0.636], rtol=1e-6)


def test_the_square_of_a_product_that_is_not_square() -> None:
    rng = np.random.default_rng(0)
    W, x = Variable(rng.normal(size=(3, 5))), Variable(rng.normal(size=5))
    q = W @ x
    graph.sum(q**2).backward()
    np.testing.assert_allclose(W.grad, np.outer(2 * q.value, x.value))
    np.testing.assert_allclose(x.grad, 2 * W.value.T @ q.value)


# --- the two-layer loop -------------------------------------------------------------------------

PRINTED = {
    0: 24635.9,
    1: 17744.8,
    10: 8926.01,
    100: 2383.16,
    500: 210.984,
    1000: 41.0461,
    1999: 4.3485,
}


def by_hand(x: Any, y: Any, w1: Any, w2: Any) -> tuple[float, Any, Any]:
    h = 1 / (1 + np.exp(-(x @ w1)))
    error = h @ w2 - y
    of_h = 2 * error @ w2.T
    return float((error**2).sum()), x.T @ (of_h * h * (1 - h)), h.T @ (2 * error)


def by_graph(x: Any, y: Any, w1: Any, w2: Any) -> tuple[float, Any, Any]:
    v1, v2 = Variable(w1), Variable(w2)
    loss = graph.sum((graph.sigmoid(x @ v1) @ v2 - y) ** 2)
    loss.backward()
    return float(loss.value), v1.grad, v2.grad


@pytest.mark.parametrize("gradients", [by_hand, by_graph])
def test_the_two_layer_loop_of_the_lecture(gradients: Callable[..., Any]) -> None:
    state = np.random.RandomState(0)
    x, y = state.randn(64, 1000), state.randn(64, 10)
    w1, w2 = state.randn(1000, 100), state.randn(100, 10)
    with np.errstate(over="ignore"):
        for t in range(2000):
            loss, of_w1, of_w2 = gradients(x, y, w1, w2)
            if t in PRINTED:
                assert loss == pytest.approx(PRINTED[t], rel=5e-6, abs=5e-5), t
            w1, w2 = w1 - 1e-4 * of_w1, w2 - 1e-4 * of_w2
