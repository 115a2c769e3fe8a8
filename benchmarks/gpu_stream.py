"""Training on a card with rows that stay in the host's memory, a part at a time.

An epoch of softmax over 10 classes, batches of 256 rows of 3,072 float32 features, parts of 5,000.

xpcls      `partial_fit` of each part out of `prefetch_to_device`.
asarray    the same of `asarray` of each part: reading, copying and computing take turns.
torch      each part by `pin_memory()` and `to("cuda", non_blocking=True)`; CrossEntropyLoss,
           optim.SGD, eager, batches by `index_select`.
copy       page-locked parts copied to the card, and nothing done with them: no less is possible.

That they lose the same is checked: from the same start, the mean loss of an epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from .cases import Case, Contestant
from .data import labelled_rows
from .gpu_training import CLASSES, L2, RATE, SEED, check, torch_steps

Subject = tuple[Callable[[], object], Callable[[], Any]]
Part = tuple[Any, Any]

HERE = "benchmarks.gpu_stream"


def cases(quick: bool) -> list[Case]:
    """One: a linear classifier."""
    sizes = {"rows": 300, "features": 96, "part": 100} if quick else {}
    sizes = {"rows": 50_000, "features": 3_072, "part": 5_000, **sizes}
    batch = {"batch": 64 if quick else 256}
    return [
        Case(
            "gpu",
            "streaming linear softmax {rows:,} x {features:,}, parts of {part:,}".format(**sizes),
            (
                Contestant(
                    "xpcls",
                    f"{HERE}:build_prefetched",
                    sizes | batch,
                    "partial_fit, prefetch_to_device",
                    holds={"asarray": 1.0, "torch": 1.0},
                ),
                Contestant(
                    "asarray", f"{HERE}:build_placed", sizes | batch, "partial_fit, asarray"
                ),
                Contestant(
                    "torch", f"{HERE}:build_torch", sizes | batch, "pin_memory", needs=("torch",)
                ),
                Contestant("copy", f"{HERE}:build_copy", sizes, "page-locked"),
            ),
            check,
        )
    ]


def _parts(rows: int, features: int, part: int) -> list[Part]:
    X, y = labelled_rows(rows, features, CLASSES, SEED)
    return [(X[i : i + part], y[i : i + part]) for i in range(0, rows, part)]


def _fitted(
    parts: list[Part], batch: int, moved: Callable[[list[Part]], Iterator[Part]]
) -> Subject:
    from xpcls import LinearClassifier

    options = {"l2": L2, "learning_rate": RATE / 100, "batch_size": batch, "random_state": 0}
    model, classes = LinearClassifier("softmax", **options), list(range(CLASSES))

    def epoch(of: Any) -> None:
        for X, y in moved(parts):
            of.partial_fit(X, y, classes=classes)

    def answer() -> float:
        fresh = LinearClassifier("softmax", **options)
        epoch(fresh)
        losses = fresh.history_["loss"]
        return float(sum(losses) / len(losses))

    return (lambda: epoch(model)), answer


def build_prefetched(rows: int, features: int, part: int, batch: int) -> Subject:
    from xpcls import prefetch_to_device

    parts = _parts(rows, features, part)
    return _fitted(parts, batch, lambda some: prefetch_to_device(some, "cuda"))


def build_placed(rows: int, features: int, part: int, batch: int) -> Subject:
    from xpcls import get_backend

    place = get_backend("cuda").asarray
    parts = _parts(rows, features, part)
    return _fitted(parts, batch, lambda some: ((place(X), place(y)) for X, y in some))


def build_torch(rows: int, features: int, part: int, batch: int) -> Subject:
    import torch

    parts = [(torch.from_numpy(X), torch.from_numpy(y)) for X, y in _parts(rows, features, part)]
    net = torch.nn.Linear(features, CLASSES, device="cuda")
    groups = [{"params": [net.weight], "weight_decay": 2.0 * L2}, {"params": [net.bias]}]
    optimizer = torch.optim.SGD(groups, lr=RATE / 100)

    def begin() -> None:
        torch.nn.init.zeros_(net.weight)
        torch.nn.init.zeros_(net.bias)

    def epoch() -> Any:
        total = torch.zeros((), device="cuda")
        for part_of_host in parts:
            X, y = (a.pin_memory().to("cuda", non_blocking=True) for a in part_of_host)
            total += torch_steps(net, optimizer, X, y, batch)
        return total

    def answer() -> float:
        begin()
        steps = sum(-(-X.shape[0] // batch) for X, _ in parts)
        return float(epoch().item()) / steps

    begin()
    return epoch, answer


def build_copy(rows: int, features: int, part: int) -> Subject:
    import cupy
    import numpy as np

    pinned, places = [], []
    for X, _ in _parts(rows, features, part):
        memory = np.frombuffer(cupy.cuda.alloc_pinned_memory(X.nbytes), np.uint8)
        pinned.append(memory[: X.nbytes].view(X.dtype).reshape(X.shape))
        pinned[-1][...] = X
        places.append(cupy.empty(X.shape, X.dtype))

    def run() -> None:
        for place, X in zip(places, pinned, strict=True):
            place.set(X)

    return run, lambda: None
