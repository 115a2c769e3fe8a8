"""Networks by mini-batch SGD, against PyTorch eager and scikit-learn.

two-layer       an epoch over 5,000 rows of 3,072 features in batches of 200: a hidden layer with
                ReLU, softmax over 10 classes, penalty 1e-4 * sum(W^2).
convnet         16 steps with 64, or 128, images of 32 x 32 x 3: 3 x 3 filters (32), ReLU,
                pooling, 3 x 3 filters (64), ReLU, pooling, softmax over 10 classes.
convolution     forward, and both gradients, of 3 x 3 filters with padding 1, nothing around it.

xpcls           `partial_fit` of the estimator, float32 rows; it checks the rows, records the mean
                loss, and measures the accuracy on 500 rows or more, and all of it is timed.
torch           nn.Sequential, CrossEntropyLoss, optim.SGD, eager; batches by `index_select`. Of
                networks with convolutions the memory format is channels_last, or NCHW as by
                default. Neither checks nor accuracy.
scikit-learn    MLPClassifier(solver="sgd", momentum=0).partial_fit.

That xpcls and torch do the same work is checked apart, untimed: from the same start, the losses
of three steps on the same rows agree to 1e-3. Beside it stands by how much the memory of the
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

HIDDEN = {50: {"torch": 0.70, "scikit-learn": 0.70}, 256: {"torch fused": 0.95}}
HIDDEN[1024] = {"torch fused": 0.95}
CONVOLUTIONS = ((64, 32, 64, 64), (128, 16, 32, 64), (32, 16, 128, 128))  # images, size, C, F


def cases(quick: bool) -> list[Case]:
    """Networks of dense layers, networks of filters, and filters alone."""
    rows = 400 if quick else 5000
    found = [_two_layers(rows, units) for units in ((50,) if quick else HIDDEN)]
    found += [_convnet(batch) for batch in ((8,) if quick else (64, 128))]
    shapes = ((4, 8, 8, 8),) if quick else CONVOLUTIONS
    return [*found, *(_convolution(shape, m) for m in ("winograd", "im2col") for shape in shapes)]


def _two_layers(rows: int, units: int) -> Case:
    options = {"kind": "mlp", "units": units, "rows": rows, "batch": 200}
    hold = HIDDEN.get(units, {})
    contestants = (
        Contestant("xpcls", f"{HERE}:build_xpcls", options, "MLPClassifier.partial_fit"),
        _torch("torch", options, hold, "eager, optim.SGD"),
        _torch("torch fused", {**options, "fused": True}, hold, "eager, optim.SGD(fused=True)"),
        Contestant(
            "scikit-learn",
            f"{HERE}:build_sklearn",
            options,
            "MLPClassifier.partial_fit, solver='sgd', momentum=0",
            needs=("sklearn",),
            hold=hold.get("scikit-learn"),
        ),
    )
    name = f"two-layer {rows:,} x {FEATURES:,}, {units:,} hidden units"
    return Case("networks", name, contestants, check)


def _convnet(batch: int) -> Case:
    options = {"kind": "convnet", "batch": batch, "rows": STEPS * batch}
    hold = {"torch channels_last": 0.75, "torch NCHW": 0.65}
    last = {**options, "channels_last": True}
    contestants = (
        Contestant("xpcls", f"{HERE}:build_xpcls", options, "ConvNetClassifier.partial_fit"),
        _torch("torch channels_last", last, hold, "eager, memory_format=torch.channels_last"),
        _torch("torch NCHW", options, hold, "eager, the default memory format"),
    )
    return Case("networks", f"convnet, batches of {batch}", contestants, check)


def _torch(name: str, options: dict[str, Any], hold: dict[str, float], settings: str) -> Contestant:
    return Contestant(
        name,
        f"{HERE}:build_torch",
        options,
        settings,
        needs=("torch",),
        hold=hold.get(name),
    )


def _convolution(shape: tuple[int, int, int, int], method: str) -> Case:
    images, size, channels, filters = shape
    options = {"shape": shape}
    hold = {"winograd": 0.90, "im2col": 1.35}[method]
    ours = Contestant(
        "xpcls",
        f"{HERE}:build_convolution",
        {**options, "method": method},
        f"xpcls_backends.convolve and convolve_backward, method={method!r}",
    )
    last = {**options, "channels_last": True}
    torch = f"{HERE}:build_torch_convolution"
    needs = ("torch",)
    contestants = (
        ours,
        Contestant("torch channels_last", torch, last, "conv2d, backward", needs, hold),
        Contestant("torch NCHW", torch, options, "conv2d, backward", needs),
    )
    name = f"{method} {channels} to {filters}, {size} x {size}, {images} images"
    return Case("networks", name, contestants, check_sums)


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
    """Whether each torch loses what xpcls does, and by how much each has grown."""
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


# --- convolution alone --------------------------------------------------------------------------


def _operands(shape: tuple[int, int, int, int]) -> tuple[Any, Any, Any]:
    """Images, filters, and the gradient of what comes out: NHWC, HWCF."""
    images, size, channels, filters = shape
    rng = np.random.default_rng(ROWS_SEED)
    x = rng.standard_normal((images, size, size, channels), dtype=np.float32)
    w = rng.standard_normal((3, 3, channels, filters), dtype=np.float32)
    g = rng.standard_normal((images, size, size, filters), dtype=np.float32)
    return x, w, g


def _norms(y: Any, dx: Any, dw: Any) -> list[float]:
    return [float(np.linalg.norm(part.astype(np.float64))) for part in (y, dx, dw)]


def build_convolution(*, shape: tuple[int, int, int, int], method: str, threads: int) -> Subject:
    from xpcls_backends import convolve, convolve_backward

    x, w, g = _operands(shape)

    def run() -> tuple[Any, Any, Any]:
        y, kept = convolve(x, w, padding=(1, 1), method=method)
        return (y, *convolve_backward(kept, g))

    return run, lambda: _norms(*run())


def build_torch_convolution(
    *, shape: tuple[int, int, int, int], channels_last: bool = False, threads: int
) -> Subject:
    import torch

    torch.set_num_threads(threads)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    x, w, g = (torch.from_numpy(part) for part in _operands(shape))
    x, g = (part.permute(0, 3, 1, 2).contiguous(memory_format=layout) for part in (x, g))
    w = w.permute(3, 2, 0, 1).contiguous(memory_format=layout)
    x.requires_grad_()
    w.requires_grad_()

    def run() -> tuple[Any, Any, Any]:
        x.grad = w.grad = None
        y = torch.nn.functional.conv2d(x, w, padding=1)
        y.backward(g)
        return y.detach(), x.grad, w.grad

    return run, lambda: _norms(*(part.numpy() for part in run()))


def check_sums(answers: dict[str, Any]) -> dict[str, Finding]:
    """Whether the norms of the result and of both gradients are torch's."""
    ours, theirs = answers.get("xpcls"), answers.get("torch channels_last")
    if ours is None or theirs is None:
        return {}
    off = max(abs(a - b) / b for a, b in zip(ours, theirs, strict=True))
    return {"xpcls": Finding(f"norms off by {off:.1e}", ok=bool(off <= AGREE))}
