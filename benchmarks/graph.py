"""The graph engine: the lecture's two-layer loop, and what a node costs.

loop            50 steps of the lecture's net, (N, D, H, O) = (64, 1000, 100, 10), float32: forward,
                backward, update. Sigmoid, squared error, no bias, one step after the other.
nodes           a chain of 2,000 sums of two single numbers, forward and backward. The arithmetic
                is next to nothing, so what is timed is the engine.

xpcls           `xpcls.graph`, and the update in plain NumPy.
by hand         the same steps in NumPy, gradients written out; what the engine is measured against.
torch nn        nn.Linear, nn.Sigmoid, MSELoss, optim.SGD.
torch           tensors with `requires_grad`, the update under `no_grad`.
autograd        HIPS autograd, `value_and_grad`.

That all do the same work is checked by their losses at the end, to 1e-3. Of the chain the memory
that each node holds until backward is measured with tracemalloc, which sees no memory of torch.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np

from .cases import Case, Contestant, Finding

Subject = tuple[Callable[[], object], Callable[[], Any]]

SIZES = (64, 1000, 100, 10)
RATE = 1e-4
AGREE = 1e-3  # relative
HERE = "benchmarks.graph"


def cases(quick: bool) -> list[Case]:
    """The loop and the chain."""
    loop = {"steps": 5 if quick else 50}
    chain = {"nodes": 100 if quick else 2000}
    return [
        Case(
            "graph",
            f"the lecture's loop, {loop['steps']} steps",
            (
                Contestant("xpcls", f"{HERE}:build_graph", loop, "xpcls.graph"),
                Contestant("by hand", f"{HERE}:build_by_hand", loop, "NumPy", hold=1.10),
                Contestant(
                    "torch nn", f"{HERE}:build_torch_nn", loop, "eager", ("torch",), hold=0.65
                ),
                Contestant("torch", f"{HERE}:build_torch", loop, "eager", ("torch",)),
                Contestant(
                    "autograd", f"{HERE}:build_autograd", loop, "HIPS", ("autograd",), hold=0.50
                ),
            ),
            check_losses,
        ),
        Case(
            "graph",
            f"a chain of {chain['nodes']:,} nodes",
            (
                Contestant("xpcls", f"{HERE}:build_chain", chain, "xpcls.graph"),
                Contestant(
                    "torch", f"{HERE}:build_torch_chain", chain, "eager", ("torch",), hold=0.70
                ),
                Contestant("autograd", f"{HERE}:build_autograd_chain", chain, "", ("autograd",)),
            ),
            check_chain,
        ),
    ]


def _start() -> tuple[Any, Any, Any, Any]:
    """x, y and both weights; small ones, so that float32 does not overflow."""
    rng = np.random.default_rng(0)
    n, d, h, o = SIZES
    shapes = ((n, d), (n, o), (d, h), (h, o))
    x, y, w1, w2 = (rng.standard_normal(shape, dtype=np.float32) for shape in shapes)
    return x, y, w1 * np.float32(0.05), w2 * np.float32(0.05)


def _repeated(step: Callable[..., Any], steps: int) -> Subject:
    """Steps w1, w2 -> loss, w1, w2 from the start; the answer is the last loss."""
    x, y, first, second = _start()

    def run() -> Any:
        w1, w2 = first, second
        for _ in range(steps):
            loss, w1, w2 = step(x, y, w1, w2)
        return loss

    return run, lambda: float(run())


def build_graph(*, steps: int, threads: int) -> Subject:
    from xpcls.graph import Variable, sigmoid, sum

    rate = np.float32(RATE)

    def step(x: Any, y: Any, w1: Any, w2: Any) -> Any:
        v1, v2 = Variable(w1), Variable(w2)
        loss = sum((sigmoid(x @ v1) @ v2 - y) ** 2)
        loss.backward(release=True)
        return loss.value, w1 - rate * v1.grad, w2 - rate * v2.grad

    return _repeated(step, steps)


def build_by_hand(*, steps: int, threads: int) -> Subject:
    rate = np.float32(RATE)

    def step(x: Any, y: Any, w1: Any, w2: Any) -> Any:
        h = 1 / (1 + np.exp(-(x @ w1)))
        error = h @ w2 - y
        of_y = 2 * error
        of_h = of_y @ w2.T
        loss = (error * error).sum()
        return loss, w1 - rate * (x.T @ (of_h * h * (1 - h))), w2 - rate * (h.T @ of_y)

    return _repeated(step, steps)


def build_autograd(*, steps: int, threads: int) -> Subject:
    import autograd
    import autograd.numpy as anp

    rate = np.float32(RATE)

    def loss(weights: Any, x: Any, y: Any) -> Any:
        h = 1 / (1 + anp.exp(-anp.dot(x, weights[0])))
        return anp.sum(anp.square(anp.dot(h, weights[1]) - y))

    both = autograd.value_and_grad(loss)

    def step(x: Any, y: Any, w1: Any, w2: Any) -> Any:
        value, (g1, g2) = both((w1, w2), x, y)
        return value, w1 - rate * g1, w2 - rate * g2

    return _repeated(step, steps)


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


# --- what a node costs --------------------------------------------------------------------------


def build_chain(*, nodes: int, threads: int) -> Subject:
    from xpcls.graph import Variable, add

    one = np.asarray([1.0], dtype=np.float32)

    def forward() -> tuple[Any, Any]:
        x = Variable(one)
        y: Any = x
        for _ in range(nodes):
            y = add(y, x)
        return x, y

    def run() -> float:
        x, y = forward()
        y.backward(release=True)
        return float(x.grad[0])

    def answer() -> dict[str, float]:
        forward()
        tracemalloc.start()
        held = forward()
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        del held
        return {"gradient": run(), "bytes": size / nodes}

    return run, answer


def build_torch_chain(*, nodes: int, threads: int) -> Subject:
    import torch

    torch.set_num_threads(threads)
    one = torch.ones(1)

    def run() -> float:
        x = one.clone().requires_grad_()
        y = x
        for _ in range(nodes):
            y = torch.add(y, x)
        y.backward()
        return float(x.grad[0])

    return run, lambda: {"gradient": run()}


def build_autograd_chain(*, nodes: int, threads: int) -> Subject:
    import autograd

    one = np.asarray([1.0], dtype=np.float32)

    def chain(x: Any) -> Any:
        y = x
        for _ in range(nodes):
            y = y + x
        return y[0]

    gradient = autograd.grad(chain)
    return lambda: gradient(one), lambda: {"gradient": float(gradient(one)[0])}


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
