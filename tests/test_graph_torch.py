"""The same random programs in xpcls and in PyTorch: values and gradients agree.

Needs torch; `nox -s tests_torch` brings it, and elsewhere these tests are skipped without it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from xpcls import graph
from xpcls.graph import Variable

torch = pytest.importorskip("torch", reason="torch is not installed")
F = torch.nn.functional

N, D, C = 6, 5, 4
LABELS = np.asarray([0, 3, 1, 1, 2, 0])


def close(found: Any, expected: Any) -> None:
    expected = expected.detach().numpy()
    scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-10 * scale)


UNARY = {
    "tanh": (graph.tanh, torch.tanh),
    "sigmoid": (graph.sigmoid, torch.sigmoid),
    "relu": (graph.relu, torch.relu),
    "exp": (lambda x: graph.exp(graph.tanh(x)), lambda x: torch.exp(torch.tanh(x))),
    "log": (lambda x: graph.log(x * x + 1.0), lambda x: torch.log(x * x + 1.0)),
    "sqrt": (lambda x: graph.sqrt(x**2 + 0.5), lambda x: torch.sqrt(x**2 + 0.5)),
    "abs": (graph.abs, torch.abs),
    "negative": (lambda x: -x, lambda x: -x),
    "power": (lambda x: (graph.abs(x) + 1.0) ** 0.3, lambda x: (torch.abs(x) + 1.0) ** 0.3),
    "centre": (
        lambda x: x - graph.mean(x, axis=0, keepdims=True),
        lambda x: x - x.mean(dim=0, keepdim=True),
    ),
    "shrink": (
        lambda x: x / (1.0 + graph.sum(x * x, axis=1, keepdims=True)),
        lambda x: x / (1.0 + (x * x).sum(dim=1, keepdim=True)),
    ),
    "largest": (
        lambda x: x - graph.max(x, axis=1, keepdims=True),
        lambda x: x - x.max(dim=1, keepdim=True).values,
    ),
    "turn": (
        lambda x: graph.reshape(graph.transpose(x), (N, D)),
        lambda x: x.t().reshape(N, D),
    ),
    "parts": (
        lambda x: graph.concat((x[:, 2:], x[:, :2]), axis=1),
        lambda x: torch.cat((x[:, 2:], x[:, :2]), dim=1),
    ),
}
BINARY = {
    "add": (graph.add, torch.add),
    "subtract": (graph.subtract, torch.sub),
    "multiply": (lambda x, y: graph.tanh(x) * y, lambda x, y: torch.tanh(x) * y),
    "divide": (lambda x, y: x / (graph.abs(y) + 1.0), lambda x, y: x / (torch.abs(y) + 1.0)),
    "maximum": (graph.maximum, torch.maximum),
    "minimum": (graph.minimum, torch.minimum),
    "where": (
        lambda x, y: graph.where(graph.value_of(x) > 0, x, y),
        lambda x, y: torch.where(x > 0, x, y),
    ),
}


@pytest.mark.parametrize("seed", range(20))
def test_random_programs_of_hundreds_of_nodes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    leaves = [rng.normal(size=(N, D)) for _ in range(3)]
    weights = [rng.normal(size=(D, D)) / D for _ in range(3)]
    bias = rng.normal(size=D)
    ours = [Variable(a) for a in (*leaves, *weights, bias)]
    theirs = [torch.tensor(a, requires_grad=True) for a in (*leaves, *weights, bias)]
    mine: list[Any] = ours[:3]
    other: list[Any] = theirs[:3]
    while len(graph.nodes_topologically_sorted(_total(mine))) < 200:
        kind = rng.integers(4)
        i, j = rng.integers(max(0, len(mine) - 12), len(mine), 2)
        if kind == 0:
            name = rng.choice(list(UNARY))
            mine.append(UNARY[name][0](mine[i]))
            other.append(UNARY[name][1](other[i]))
        elif kind == 1:
            k = 3 + rng.integers(3)
            mine.append(mine[i] @ ours[k] + ours[6])
            other.append(other[i] @ theirs[k] + theirs[6])
        else:
            name = rng.choice(list(BINARY))
            mine.append(BINARY[name][0](mine[i], mine[j]))
            other.append(BINARY[name][1](other[i], other[j]))
    scores, expected = mine[-1][:, :C], other[-1][:, :C]
    loss = graph.softmax_cross_entropy(scores, LABELS) + _total(mine)
    truth = F.cross_entropy(expected, torch.from_numpy(LABELS)) + _total_of_torch(other)
    close(loss.value, truth)
    loss.backward()
    truth.backward()
    for found, wanted in zip(ours, theirs, strict=True):
        assert (found.grad is None) == (wanted.grad is None)
        if found.grad is not None:
            close(found.grad, wanted.grad)


def _total(nodes: list[Any]) -> Any:
    """Of all nodes, so that none is idle, each small."""
    total = graph.sum(graph.tanh(nodes[0]))
    for node in nodes[1:]:
        total = total + graph.mean(graph.tanh(node))
    return total


def _total_of_torch(nodes: list[Any]) -> Any:
    total = torch.tanh(nodes[0]).sum()
    for node in nodes[1:]:
        total = total + torch.tanh(node).mean()
    return total


@pytest.mark.parametrize("channels", [3, 8])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_network_of_filters(stride: int, channels: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, 9, 8, channels))
    w, b = rng.normal(size=(3, 3, channels, 8)), rng.normal(size=8)
    gamma, beta = rng.normal(size=8), rng.normal(size=8)
    ours = [Variable(a) for a in (x, w, b, gamma, beta)]
    theirs = [torch.tensor(a, requires_grad=True) for a in (x, w, b, gamma, beta)]
    z = graph.conv2d(ours[0], ours[1], ours[2], stride=stride, padding=1)
    z = graph.avg_pool(graph.relu(graph.batch_norm(graph.max_pool(z), *ours[3:])))
    expected = F.conv2d(
        theirs[0].permute(0, 3, 1, 2),
        theirs[1].permute(3, 2, 0, 1),
        theirs[2],
        stride=stride,
        padding=1,
    )
    expected = F.batch_norm(
        F.max_pool2d(expected, 2), None, None, theirs[3], theirs[4], training=True, eps=1e-5
    )
    expected = F.avg_pool2d(torch.relu(expected), 2).permute(0, 2, 3, 1)
    close(z.value, expected)
    g = rng.normal(size=z.shape)
    z.backward(g)
    expected.backward(torch.from_numpy(g))
    for found, wanted in zip(ours, theirs, strict=True):
        close(found.grad, wanted.grad)


def test_the_hinge_losses_are_those_of_torch() -> None:
    scores = np.random.default_rng(0).normal(size=(N, C))
    truth = torch.tensor(scores, requires_grad=True)
    for ours, theirs in (
        (graph.hinge, lambda s: C * F.multi_margin_loss(s, torch.from_numpy(LABELS))),
        (graph.squared_hinge, lambda s: C * F.multi_margin_loss(s, torch.from_numpy(LABELS), p=2)),
    ):
        found = Variable(scores)
        value = ours(found, LABELS)
        value.backward()
        truth.grad = None
        expected = theirs(truth)
        expected.backward()
        close(value.value, expected)
        close(found.grad, truth.grad)
