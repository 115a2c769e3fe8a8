"""Networks by mini-batch SGD, against PyTorch eager, jax and scikit-learn.

two-layer       an epoch over 5,000 rows of 3,072 features in batches of 200: a hidden layer with
                ReLU, softmax over 10 classes, penalty 1e-4 * sum(W^2).
convnet         16 steps with 64, or 128, images of 32 x 32 x 3: 3 x 3 filters (32), ReLU,
                pooling, 3 x 3 filters (64), ReLU, pooling, softmax over 10 classes.

xpcls           `partial_fit` of the estimator, float32 rows; it checks the rows, records the mean
                loss, and measures the accuracy on 500 rows or more, and all of it is timed.
xpcls plain     the same on NumPy alone.
torch           nn.Sequential, CrossEntropyLoss, optim.SGD, eager; batches by `index_select`. Of
                networks with convolutions the memory format is channels_last, or NCHW as by
                default. Neither checks nor accuracy.
jax             networks_jax.py, two-layer alone: one compiled step called in a loop, or an epoch
                compiled as one scan. Its convolutions are left out (PEERS.md).
scikit-learn    MLPClassifier(solver="sgd", momentum=0).partial_fit.

That xpcls, torch and jax do the same work is checked apart, untimed: from the same start, the
losses of three steps on the same rows agree to 1e-3. Beside it stands by how much the memory of the
process grew at most, in all rounds, over what it had with its data and a first small step.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .cases import Case, Contestant, Finding
from .data import labelled_rows

Subject = tuple[Callable[[], object], Callable[[], Any]]

CLASSES, FEATURES = 10, 3072
IMAGE = (32, 32, 3)
RATE, L2 = 0.01, 1e-4
STEPS = 16  # of the ConvNet, a round
ROWS_SEED = 5
AGREE = 1e-3  # relative
HERE = "benchmarks.networks"

# At most so many times the peer's time, with kernels or without.
WIDE = {"torch fused": 0.95, "jax": 1.05, "jax scan": 1.05}
HIDDEN = {
    50: {"torch": 0.70, "jax": 0.70, "jax scan": 0.70, "scikit-learn": 0.70},
    256: WIDE,
    1024: WIDE,
}
CONVNET = {"torch channels_last": 0.55, "torch NCHW": 0.55}
PLAIN_CONVNET = {"torch channels_last": 0.75, "torch NCHW": 0.65}


def cases(quick: bool) -> list[Case]:
    """Networks of dense layers, and networks of filters."""
    rows = 400 if quick else 5000
    found = [_two_layers(rows, units) for units in ((50,) if quick else HIDDEN)]
    return [*found, *(_convnet(batch) for batch in ((8,) if quick else (64, 128)))]


def _two_layers(rows: int, units: int) -> Case:
    options = {"kind": "mlp", "units": units, "rows": rows, "batch": 200}
    hold = HIDDEN[units]
    xpcls = Contestant(
        "xpcls", f"{HERE}:build_xpcls", options, "MLPClassifier.partial_fit", holds=hold
    )
    jax = {"units": units, "rows": rows, "batch": 200}
    contestants = (
        xpcls,
        xpcls.plain(hold),
        _torch("torch", options, "eager, optim.SGD"),
        _torch("torch fused", {**options, "fused": True}, "eager, optim.SGD(fused=True)"),
        *(
            Contestant(
                name,
                "benchmarks.networks_jax:build",
                {**jax, "scan": scan},
                f"{how}, buffers donated, rows gathered on the device",
                needs=("jax",),
            )
            for name, scan, how in (
                ("jax", False, "a jitted step, called in a loop"),
                ("jax scan", True, "a jitted scan over the batches of an epoch"),
            )
        ),
        Contestant(
            "scikit-learn",
            f"{HERE}:build_sklearn",
            options,
            "MLPClassifier.partial_fit, solver='sgd', momentum=0",
            needs=("sklearn",),
        ),
    )
    name = f"two-layer {rows:,} x {FEATURES:,}, {units:,} hidden units"
    return Case("networks", name, contestants, check)


def _convnet(batch: int) -> Case:
    options = {"kind": "convnet", "batch": batch, "rows": STEPS * batch}
    last = {**options, "channels_last": True}
    xpcls = Contestant(
        "xpcls", f"{HERE}:build_xpcls", options, "ConvNetClassifier.partial_fit", holds=CONVNET
    )
    contestants = (
        xpcls,
        xpcls.plain(PLAIN_CONVNET),
        _torch("torch channels_last", last, "eager, memory_format=torch.channels_last"),
        _torch("torch NCHW", options, "eager, the default memory format"),
    )
    return Case("networks", f"convnet, batches of {batch}", contestants, check)


def _torch(name: str, options: dict[str, Any], settings: str) -> Contestant:
    return Contestant(name, f"{HERE}:build_torch", options, settings, needs=("torch",))


# --- xpcls and scikit-learn ---------------------------------------------------------------------


def rows_of(kind: str, rows: int) -> tuple[Any, Any]:
    """Float32 rows, or images, and their classes."""
    X, y = labelled_rows(rows, FEATURES, CLASSES, ROWS_SEED)
    X = X - X.mean(axis=0)
    return (X.reshape(rows, *IMAGE) if kind == "convnet" else X), y


def _classifier(kind: str, batch: int, units: int = 0, rate: float = RATE) -> Any:
    from xpcls import ConvNetClassifier, MLPClassifier

    options: dict[str, Any] = {
        "optimizer": "sgd",
        "learning_rate": rate,
        "batch_size": batch,
        "standardize": False,
        "random_state": 0,
    }
    if kind == "mlp":
        return MLPClassifier(units, l2=L2, **options)
    layers = (("conv", 32), "relu", "max_pool", ("conv", 64), "relu", "max_pool")
    return ConvNetClassifier(layers, l2=0.0, **options)


class Growth:
    """By how many MB the memory of this process grows at most from here on; None if unknown.

    Linux counts the most that a process has had, and forgets it when asked to.
    """

    def __init__(self) -> None:
        try:
            Path("/proc/self/clear_refs").write_text("5", "ascii")
            self._status("VmHWM")
            self._before: float | None = self._status("VmRSS")
        except (OSError, IndexError):  # another system, or one that does not count it
            self._before = None

    def megabytes(self) -> float | None:
        return None if self._before is None else self._status("VmHWM") - self._before

    def _status(self, name: str) -> float:
        status = Path("/proc/self/status").read_text("ascii")
        return float(status.split(f"{name}:")[1].split()[0]) / 1000


def build_xpcls(*, kind: str, batch: int, rows: int, units: int = 0, threads: int) -> Subject:
    X, y = rows_of(kind, rows)
    model, classes = _classifier(kind, batch, units), np.arange(CLASSES)
    model.partial_fit(X[:2], y[:2], classes=classes)  # whatever comes once
    growth = Growth()

    def answer() -> dict[str, Any]:
        grown = growth.megabytes()
        fresh = _classifier(kind, batch, units)
        for _ in range(3):
            fresh.partial_fit(X[:batch], y[:batch], classes=classes)
        return {"losses": fresh.history_["loss"], "memory": grown}

    return lambda: model.partial_fit(X, y), answer


def first_parameters(kind: str, batch: int, units: int) -> list[Any]:
    """Where the training of xpcls starts: what a step of next to no length leaves."""
    X, y = rows_of(kind, batch)
    model = _classifier(kind, batch, units, rate=1e-30)
    model.partial_fit(X, y, classes=np.arange(CLASSES))
    return list(model.parameters_)


def build_sklearn(*, kind: str, batch: int, rows: int, units: int, threads: int) -> Subject:
    from sklearn.neural_network import MLPClassifier

    X, y = rows_of(kind, rows)
    model = MLPClassifier(
        (units,),
        solver="sgd",
        batch_size=batch,
        learning_rate_init=RATE,
        alpha=2.0 * L2 * batch,  # it halves its penalty, and divides it by the batch
        momentum=0.0,
        random_state=0,
    )
    classes = np.arange(CLASSES)
    return lambda: model.partial_fit(X, y, classes=classes), lambda: None


# --- torch --------------------------------------------------------------------------------------


def build_torch(
    *,
    kind: str,
    batch: int,
    rows: int,
    units: int = 0,
    fused: bool = False,
    channels_last: bool = False,
    threads: int,
) -> Subject:
    import torch
    from torch import nn

    torch.set_num_threads(threads)
    images, labels = rows_of(kind, rows)
    X, y = torch.from_numpy(images), torch.from_numpy(labels)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    if kind == "mlp":
        net = nn.Sequential(nn.Linear(FEATURES, units), nn.ReLU(), nn.Linear(units, CLASSES))
    else:
        net = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(64 * 8 * 8, CLASSES),
        ).to(memory_format=layout)
        X = X.permute(0, 3, 1, 2).contiguous(memory_format=layout)
    weights = [p for p in net.parameters() if p.ndim > 1]
    biases = [p for p in net.parameters() if p.ndim == 1]
    decay = 2.0 * L2 if kind == "mlp" else 0.0
    groups = [{"params": weights, "weight_decay": decay}, {"params": biases}]
    optimizer = torch.optim.SGD(groups, lr=RATE, fused=fused)
    criterion = nn.CrossEntropyLoss()

    def step(some: Any) -> Any:
        optimizer.zero_grad()
        value = criterion(net(X.index_select(0, some)), y.index_select(0, some))
        value.backward()
        optimizer.step()
        return value.detach()

    def epoch() -> float:
        total = torch.zeros(())
        for some in torch.randperm(rows).split(batch):
            total += step(some)
        return total.item()

    step(torch.arange(2))
    growth = Growth()

    def answer() -> dict[str, Any]:
        grown = growth.megabytes()
        with torch.no_grad():
            for mine, theirs in zip(
                net.parameters(), first_parameters(kind, batch, units), strict=True
            ):
                mine.copy_(torch.from_numpy(_as_torch(theirs)))
        losses = []
        for _ in range(3):
            penalty = L2 * sum(w.detach().square().sum().item() for w in weights)
            losses.append(step(torch.arange(batch)).item() + (penalty if decay else 0.0))
        return {"losses": losses, "memory": grown}

    return epoch, answer


def _as_torch(parameter: Any) -> Any:
    """A parameter of xpcls in the order of axes that torch has."""
    if parameter.ndim == 4:  # (kh, kw, C, F) to (F, C, kh, kw)
        return np.ascontiguousarray(parameter.transpose(3, 2, 0, 1))
    if parameter.ndim == 2 and parameter.shape[0] == 64 * 8 * 8:  # rows of NHWC to NCHW
        rows = parameter.reshape(8, 8, 64, -1).transpose(2, 0, 1, 3)
        return np.ascontiguousarray(rows.reshape(64 * 8 * 8, -1).T)
    return np.ascontiguousarray(parameter.T)


def check(answers: dict[str, Any]) -> dict[str, Finding]:
    """Whether each loses what xpcls does, and by how much each has grown."""
    ours = answers.get("xpcls")
    found = {}
    for name, theirs in answers.items():
        grown = theirs["memory"]
        text = "memory not measured" if grown is None else f"grew by {grown:.0f} MB at most"
        if name == "xpcls" or ours is None:
            found[name] = Finding(text)
            continue
        pairs = zip(ours["losses"], theirs["losses"], strict=True)
        off = max(abs(a - b) / abs(b) for a, b in pairs)
        found[name] = Finding(f"{text}; losses off by {off:.1e}", ok=bool(off <= AGREE))
    return found
