"""Training on a card, against torch eager and torch's CUDA graphs.

linear     an epoch of softmax over 10 classes, 50,000 rows of 3,072 features, batches of 256.
convnet    32 steps with 128 images of 32 x 32 x 3: 3 x 3 filters (32), ReLU, pooling, 3 x 3
           filters (64), ReLU, pooling, softmax over 10 classes.

xpcls      `partial_fit` of the estimator, rows on the card; it records the mean loss and measures
           an accuracy, and all of it is timed. Convolution lays out matrices for cuBLAS.
cuDNN      the same with convolution by cuDNN, where the extra cudnn12 or cudnn13 is.
torch      the same net, CrossEntropyLoss, optim.SGD, eager; batches by `index_select` of rows on
           the card. Neither checks nor accuracy. Of convolutions channels_last, float32 (no TF32).
graph      torch's step captured once as a CUDA graph, and replayed on rows copied into place.

That both lose the same is checked: from the same start, the mean loss of an epoch on the same rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .cases import Case, Contestant, Finding
from .data import labelled_rows

Subject = tuple[Callable[[], object], Callable[[], Any]]

HERE = "benchmarks.gpu_training"
CLASSES, RATE, L2 = 10, 0.01, 1e-4
IMAGE = (32, 32, 3)
SEED = 5
STEP_MS = 0.010  # the most that a linear step may take
AGREE = 0.05  # relative: rows come in another order, and filters are drawn anew


def cases(quick: bool) -> list[Case]:
    """A linear classifier, and a small ConvNet."""
    linear = {"rows": 600, "features": 96} if quick else {"rows": 50_000, "features": 3_072}
    linear["batch"] = 64 if quick else 256
    images = {"rows": 6 if quick else 32 * 128, "batch": 3 if quick else 128}
    steps = -(-linear["rows"] // linear["batch"])

    def torch(name: str, build: str, options: dict[str, int]) -> Contestant:
        return Contestant(name, f"{HERE}:{build}", options, "optim.SGD", needs=("torch",))

    return [
        Case(
            "gpu",
            "linear softmax {rows:,} x {features:,}, batches of {batch}".format(**linear),
            (
                Contestant(
                    "xpcls",
                    f"{HERE}:build_linear",
                    linear,
                    "LinearClassifier.partial_fit",
                    holds={"torch": 0.1, "torch graph": 0.4},
                    limit_ms=STEP_MS * steps,
                ),
                torch("torch", "build_torch_linear", linear),
                torch("torch graph", "build_torch_linear_graph", linear),
            ),
            check,
        ),
        Case(
            "gpu",
            "convnet, batches of {batch}".format(**images),
            (
                Contestant(
                    "xpcls",
                    f"{HERE}:build_convnet",
                    images,
                    "ConvNetClassifier.partial_fit",
                    holds={"torch": 4.0},
                    environment={"XPCLS_CUDNN": "off"},
                ),
                Contestant(
                    "xpcls cuDNN",
                    f"{HERE}:build_convnet_cudnn",
                    images,
                    "ConvNetClassifier.partial_fit",
                    needs=("cudnn",),
                    holds={"torch": 1.2},
                ),
                torch("torch", "build_torch_convnet", images),
            ),
            check,
        ),
    ]


def check(answers: dict[str, Any]) -> dict[str, Finding]:
    """Whether the mean losses of a first epoch agree with ours."""
    found = {}
    for name, loss in answers.items():
        off = abs(loss - answers.get("xpcls", loss)) / abs(loss)
        found[name] = Finding(f"mean loss {loss:.4f}", ok=bool(off <= AGREE))
    return found


def _fitted(make: Callable[[], Any], X: Any, y: Any) -> Subject:
    import cupy

    X, y = cupy.asarray(X), cupy.asarray(y)
    model, classes = make(), list(range(CLASSES))

    def answer() -> float:
        fresh = make().partial_fit(X, y, classes=classes)
        return float(fresh.history_["loss"][0])

    return (lambda: model.partial_fit(X, y, classes=classes)), answer


def build_linear(rows: int, features: int, batch: int) -> Subject:
    from xpcls import LinearClassifier

    options = {"l2": L2, "learning_rate": RATE / 100, "batch_size": batch, "random_state": 0}
    X, y = labelled_rows(rows, features, CLASSES, SEED)
    return _fitted(lambda: LinearClassifier("softmax", **options), X, y)


def build_convnet(rows: int, batch: int) -> Subject:
    from xpcls import ConvNetClassifier

    layers = (("conv", 32), "relu", "max_pool", ("conv", 64), "relu", "max_pool")
    options = {"learning_rate": RATE, "batch_size": batch, "standardize": False, "l2": 0.0}
    X, y = _images(rows)
    return _fitted(
        lambda: ConvNetClassifier(layers, optimizer="sgd", random_state=0, **options), X, y
    )


def build_convnet_cudnn(rows: int, batch: int) -> Subject:
    """The same; raises RuntimeError where cuDNN would not be taken."""
    from xpcls_backends.kernels.cuda import cudnn

    missing = cudnn.why_none()
    if missing is not None:
        raise RuntimeError(missing)
    return build_convnet(rows, batch)


def _images(rows: int) -> tuple[Any, Any]:
    X, y = labelled_rows(rows, 3_072, CLASSES, SEED)
    return (X - X.mean(axis=0)).reshape(rows, *IMAGE), y


def _torch_epochs(net: Any, X: Any, y: Any, batch: int, groups: Any, rate: float) -> Subject:
    """An epoch on the net, and the mean loss of one by a net that begins anew."""
    import copy

    import torch

    start, optimizer = copy.deepcopy(net.state_dict()), torch.optim.SGD(groups, lr=rate)

    def epoch() -> Any:
        return torch_steps(net, optimizer, X, y, batch)

    def answer() -> float:
        net.load_state_dict(start)
        return float(epoch().item()) / -(-X.shape[0] // batch)

    return epoch, answer


def torch_steps(net: Any, optimizer: Any, X: Any, y: Any, batch: int) -> Any:
    """An epoch of steps on rows on the card, in random order; the sum of their losses, there."""
    import torch

    criterion, total = torch.nn.CrossEntropyLoss(), torch.zeros((), device="cuda")
    for some in torch.randperm(X.shape[0], device="cuda").split(batch):
        optimizer.zero_grad()
        value = criterion(net(X.index_select(0, some)), y.index_select(0, some))
        value.backward()
        optimizer.step()
        total += value.detach()
    return total


def _torch_linear(rows: int, features: int) -> tuple[Any, Any, Any, Any]:
    import torch

    X, y = (torch.from_numpy(a).cuda() for a in labelled_rows(rows, features, CLASSES, SEED))
    net = torch.nn.Linear(features, CLASSES, device="cuda")
    torch.nn.init.zeros_(net.weight)
    torch.nn.init.zeros_(net.bias)
    groups = [{"params": [net.weight], "weight_decay": 2.0 * L2}, {"params": [net.bias]}]
    return net, X, y, groups


def build_torch_linear(rows: int, features: int, batch: int) -> Subject:
    net, X, y, groups = _torch_linear(rows, features)
    return _torch_epochs(net, X, y, batch, groups, RATE / 100)


def build_torch_linear_graph(rows: int, features: int, batch: int) -> Subject:
    """Whole batches alone are replayed, as a graph has one size."""
    import torch

    net, X, y, groups = _torch_linear(rows, features)
    optimizer, criterion = torch.optim.SGD(groups, lr=RATE / 100), torch.nn.CrossEntropyLoss()
    chosen = torch.arange(batch, device="cuda")

    def step() -> Any:
        optimizer.zero_grad(set_to_none=True)
        value = criterion(net(X.index_select(0, chosen)), y.index_select(0, chosen))
        value.backward()
        optimizer.step()
        return value

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()

    def epoch() -> None:
        for some in torch.randperm(rows, device="cuda").split(batch):
            if some.shape[0] == batch:
                chosen.copy_(some)
                graph.replay()

    return epoch, lambda: None


def build_torch_convnet(rows: int, batch: int) -> Subject:
    import torch
    from torch import nn

    images, labels = _images(rows)
    layout = torch.channels_last
    X = torch.from_numpy(images).cuda().permute(0, 3, 1, 2).contiguous(memory_format=layout)
    net = nn.Sequential(
        *(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(64 * 8 * 8, CLASSES)),
    ).to("cuda", memory_format=layout)
    nn.init.zeros_(net[-1].weight)  # as xpcls begins
    nn.init.zeros_(net[-1].bias)
    torch.backends.cudnn.allow_tf32 = False
    groups = [{"params": list(net.parameters())}]
    return _torch_epochs(net, X, torch.from_numpy(labels).cuda(), batch, groups, RATE)
