"""The graph engine: the lecture's two-layer loop, and what a node costs.

loop            50 steps of the lecture's net, (N, D, H, O) = (64, 1000, 100, 10), float32: forward,
                backward, update. Sigmoid, squared error, no bias, one step after the other.
nodes           a chain of 2,000 sums of two single numbers, forward and backward. The arithmetic
                is next to nothing, so what is timed is the engine.

xpcls           `xpcls.graph`; the update is in place, of all contestants in NumPy.
xpcls plain     the same without kernels.
by hand         the same steps in NumPy, gradients written out; what the engine is measured against.
by hand, out=   the same into buffers that are kept.
torch nn        nn.Linear, nn.Sigmoid, MSELoss, optim.SGD.
torch           tensors with `requires_grad`, the update under `no_grad`.
autograd        HIPS autograd, `value_and_grad`.
jax             a jitted step, called in a loop; the steps as one jitted scan.

A node may take 1.5 microseconds, forward and backward; that is an absolute time.

That all do the same work is checked by their losses at the end, to 1e-3. Of the chain the memory
that each node holds until backward is measured with tracemalloc, which sees no memory of torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .cases import Case, Contestant, Finding

Subject = tuple[Callable[[], object], Callable[[], Any]]

SIZES = (64, 1000, 100, 10)
RATE = 1e-4
AGREE = 1e-3  # relative
HERE = "benchmarks.graph"


LOOP_HOLDS = {"by hand": 1.10, "torch nn": 0.65, "autograd": 0.50}
CHAIN_HOLDS = {"torch": 0.70}
NODE_MS = 1.5e-3


def cases(quick: bool) -> list[Case]:
    """The loop and the chain."""
    return [_loop(5 if quick else 50), _chain(100 if quick else 2000)]


def _loop(steps: int) -> Case:
    options = {"steps": steps}
    xpcls = Contestant("xpcls", f"{HERE}:build_graph", options, "xpcls.graph", holds=LOOP_HOLDS)
    scan = {**options, "scan": True}
    contestants = (
        xpcls,
        xpcls.plain(LOOP_HOLDS),
        Contestant("by hand", f"{HERE}:build_by_hand", options, "NumPy"),
        Contestant("by hand, out=", f"{HERE}:build_with_buffers", options, "NumPy"),
        Contestant("torch nn", f"{HERE}:build_torch_nn", options, "eager", ("torch",)),
        Contestant("torch", f"{HERE}:build_torch", options, "eager", ("torch",)),
        Contestant("autograd", f"{HERE}:build_autograd", options, "HIPS", ("autograd",)),
        Contestant("jax", f"{HERE}:build_jax", options, "a jitted step in a loop", ("jax",)),
        Contestant("jax scan", f"{HERE}:build_jax", scan, "a jitted scan", ("jax",)),
    )
    return Case("graph", f"the lecture's loop, {steps} steps", contestants, check_losses)


def _chain(nodes: int) -> Case:
    options = {"nodes": nodes}
    build = "benchmarks.graph_chain:build"
    xpcls = Contestant(
        "xpcls", build, options, "xpcls.graph", holds=CHAIN_HOLDS, limit_ms=NODE_MS * nodes
    )
    contestants = (
        xpcls,
        xpcls.plain(CHAIN_HOLDS),
        Contestant("torch", f"{build}_torch", options, "eager", ("torch",)),
        Contestant("autograd", f"{build}_autograd", options, "HIPS", ("autograd",)),
    )
    return Case("graph", f"a chain of {nodes:,} nodes", contestants, check_chain)


def _start() -> tuple[Any, Any, Any, Any]:
    """x, y and both weights; small ones, so that float32 does not overflow."""
    rng = np.random.default_rng(0)
    n, d, h, o = SIZES
    shapes = ((n, d), (n, o), (d, h), (h, o))
    x, y, w1, w2 = (rng.standard_normal(shape, dtype=np.float32) for shape in shapes)
    return x, y, w1 * np.float32(0.05), w2 * np.float32(0.05)


def _repeated(slopes: Callable[..., Any], steps: int) -> Subject:
    """Steps from the start, of x, y, w1, w2 -> loss, both gradients; the answer: the last loss.

    The update is in place, in the memory of the gradients, as PyTorch's is.
    """
    x, y, first, second = _start()
    rate = np.float32(RATE)

    def run() -> float:
        weights, loss = (first.copy(), second.copy()), 0.0
        for _ in range(steps):
            loss, *gradients = slopes(x, y, *weights)
            for w, g in zip(weights, gradients, strict=True):
                g *= rate
                w -= g
        return float(loss)

    return run, run


def build_graph(*, steps: int, threads: int) -> Subject:
    from xpcls.graph import Variable, sigmoid, sum

    def slopes(x: Any, y: Any, w1: Any, w2: Any) -> Any:
        v1, v2 = Variable(w1), Variable(w2)
        loss = sum((sigmoid(x @ v1) @ v2 - y) ** 2)
        loss.backward(release=True)
        return loss.value, v1.grad, v2.grad

    return _repeated(slopes, steps)


def build_by_hand(*, steps: int, threads: int) -> Subject:
    def slopes(x: Any, y: Any, w1: Any, w2: Any) -> Any:
        h = 1 / (1 + np.exp(-(x @ w1)))
        error = h @ w2 - y
        of_y = 2 * error
        of_h = of_y @ w2.T
        return (error * error).sum(), x.T @ (of_h * h * (1 - h)), h.T @ of_y

    return _repeated(slopes, steps)


def build_with_buffers(*, steps: int, threads: int) -> Subject:
    x, y, first, second = _start()
    n, _, hidden, classes = SIZES
    h, of_h, slope = (np.empty((n, hidden), dtype=np.float32) for _ in range(3))
    error = np.empty((n, classes), dtype=np.float32)
    by_first, by_second = np.empty_like(first), np.empty_like(second)
    rate = np.float32(RATE)

    def run() -> float:
        w1, w2 = first.copy(), second.copy()
        loss = 0.0
        for _ in range(steps):
            np.matmul(x, w1, out=h)
            np.negative(h, out=h)
            np.exp(h, out=h)
            np.add(h, 1, out=h)
            np.reciprocal(h, out=h)
            np.matmul(h, w2, out=error)
            np.subtract(error, y, out=error)
            loss = float(np.vdot(error, error))
            np.multiply(error, 2 * rate, out=error)
            np.matmul(error, w2.T, out=of_h)
            np.matmul(h.T, error, out=by_second)
            np.subtract(1, h, out=slope)
            np.multiply(slope, h, out=slope)
            np.multiply(of_h, slope, out=of_h)
            np.matmul(x.T, of_h, out=by_first)
            np.subtract(w1, by_first, out=w1)
            np.subtract(w2, by_second, out=w2)
        return loss

    return run, run


def build_autograd(*, steps: int, threads: int) -> Subject:
    import autograd
    import autograd.numpy as anp

    def loss(weights: Any, x: Any, y: Any) -> Any:
        h = 1 / (1 + anp.exp(-anp.dot(x, weights[0])))
        return anp.sum(anp.square(anp.dot(h, weights[1]) - y))

    both = autograd.value_and_grad(loss)

    def slopes(x: Any, y: Any, w1: Any, w2: Any) -> Any:
        value, gradients = both((w1, w2), x, y)
        return value, *gradients

    return _repeated(slopes, steps)


def build_torch(*, steps: int, threads: int) -> Subject:
    import torch

    torch.set_num_threads(threads)
    x, y, first, second = map(torch.from_numpy, _start())

    def run() -> float:
        w1, w2 = first.clone().requires_grad_(), second.clone().requires_grad_()
        for _ in range(steps):
            loss = ((torch.sigmoid(x.mm(w1)).mm(w2) - y) ** 2).sum()
            loss.backward()
            with torch.no_grad():
                w1 -= RATE * w1.grad
                w2 -= RATE * w2.grad
                w1.grad = w2.grad = None
        return float(loss.item())

    return run, run


def build_torch_nn(*, steps: int, threads: int) -> Subject:
    import torch
    from torch import nn

    torch.set_num_threads(threads)
    x, y, first, second = map(torch.from_numpy, _start())
    _, d, h, o = SIZES

    def run() -> float:
        net = nn.Sequential(nn.Linear(d, h, bias=False), nn.Sigmoid(), nn.Linear(h, o, bias=False))
        with torch.no_grad():
            net[0].weight.copy_(first.T)
            net[2].weight.copy_(second.T)
        optimizer = torch.optim.SGD(net.parameters(), lr=RATE)
        criterion = nn.MSELoss(reduction="sum")
        for _ in range(steps):
            optimizer.zero_grad()
            loss = criterion(net(x), y)
            loss.backward()
            optimizer.step()
        return float(loss.item())

    return run, run


def build_jax(*, steps: int, scan: bool = False, threads: int) -> Subject:
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_platforms", "cpu")
    x, y, *weights = map(jnp.asarray, _start())

    def value(weights: Any, x: Any, y: Any) -> Any:
        return jnp.sum((jax.nn.sigmoid(x @ weights[0]) @ weights[1] - y) ** 2)

    def step(weights: Any, x: Any, y: Any) -> tuple[Any, Any]:
        loss, slopes = jax.value_and_grad(value)(weights, x, y)
        return [w - RATE * slope for w, slope in zip(weights, slopes, strict=True)], loss

    def scanned(weights: Any, x: Any, y: Any) -> tuple[Any, Any]:
        weights, losses = jax.lax.scan(lambda w, _: step(w, x, y), weights, length=steps)
        return weights, losses[-1]

    compiled = jax.jit(scanned if scan else step)

    def run() -> float:
        here, loss = weights, 0.0
        for _ in range(1 if scan else steps):
            here, loss = compiled(here, x, y)
        return float(loss)

    return run, run


def check_losses(answers: dict[str, Any]) -> dict[str, Finding]:
    """Whether each ends with the loss of the steps by hand."""
    expected = answers.get("by hand")
    if expected is None:
        return {}
    found = {}
    for name, loss in answers.items():
        off = abs(loss - expected) / abs(expected)
        found[name] = Finding(f"last loss {loss:.6g}, off by {off:.1e}", ok=bool(off <= AGREE))
    return found


def check_chain(answers: dict[str, Any]) -> dict[str, Finding]:
    """Whether the gradient is the number of paths; of xpcls, the bytes a node holds."""
    found = {}
    expected = max(answer["gradient"] for answer in answers.values())
    for name, answer in answers.items():
        text = f"gradient {answer['gradient']:.0f}"
        if "bytes" in answer:
            text += f"; {answer['bytes']:.0f} bytes a node until backward"
        found[name] = Finding(text, ok=answer["gradient"] == expected)
    return found
