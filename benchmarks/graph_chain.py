"""What a node of the graph costs: a chain of sums of two single numbers, forward and backward."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np

Subject = tuple[Callable[[], object], Callable[[], Any]]


def build(*, nodes: int, threads: int) -> Subject:
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


def build_torch(*, nodes: int, threads: int) -> Subject:
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


def build_autograd(*, nodes: int, threads: int) -> Subject:
    import autograd

    one = np.asarray([1.0], dtype=np.float32)

    def chain(x: Any) -> Any:
        y = x
        for _ in range(nodes):
            y = y + x
        return y[0]

    gradient = autograd.grad(chain)
    return lambda: gradient(one), lambda: {"gradient": float(gradient(one)[0])}
