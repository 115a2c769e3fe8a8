"""Epochs of a linear classifier by mini-batch SGD, against PyTorch eager, jax and scikit-learn.

All contestants: 20,000 float32 rows, 10 classes, batches of 200 gathered in an order drawn anew
for each epoch, one learning rate, L2 penalty 1e-4 * sum(W^2), the bias free.

All but `xpcls partial_fit` are timed over EPOCHS epochs, from zero weights.

xpcls           `LinearClassifier.fit`. It checks the rows for NaN, finds the classes, and after
                each epoch records the mean loss and the accuracy on 2,000 rows: all of it is what
                a user pays for, and so it is timed.
xpcls plain     the same on NumPy alone.
partial_fit     the same for one epoch, from the weights as they are; it checks the rows each time.
torch           nn.Linear, CrossEntropyLoss or C * MultiMarginLoss (which divides by C where the
                lecture's hinge does not), optim.SGD with weight decay 2e-4 on the weights, eager.
                Batches by `index_select`, faster than X[i]; the loss is summed up without being
                read. Neither checks nor accuracy.
scikit-learn    SGDClassifier.partial_fit, one against all, n_jobs=threads: batches of one row,
                so other work with the same aim.
jax             sgd_jax.py: one compiled step called in a loop, or an epoch compiled as one scan.

That xpcls, torch and jax do the same work is checked apart, untimed: from zero weights and in one
order of rows, their mean loss over an epoch and the weights after it agree to 1e-3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .cases import Case, Contestant, Finding
from .data import labelled_rows

Subject = tuple[Callable[[], object], Callable[[], Any]]

CLASSES = 10
BATCH = 200
EPOCHS = 5
L2 = 1e-4
ROWS_SEED, ORDER_SEED = 3, 4
AGREE = 1e-3  # relative
HERE = "benchmarks.sgd"

SIZES = ((20_000, 784), (20_000, 3_072))
QUICK_SIZES = ((2_000, 64),)

# At most so many times the peer's time: of all widths, and where the width is given, of that one.
HOLDS = {"torch": 0.35}
PLAIN_HOLDS = {"torch": 0.6, "scikit-learn": 0.1}
AT_WIDTH = {784: {"jax scan": 0.65}}
PLAIN_AT_WIDTH = {784: {"jax scan": 1.15}, 3_072: {"jax": 0.8}}


def cases(quick: bool) -> list[Case]:
    """Softmax and hinge, at each width."""
    return [
        _case(loss, rows, features)
        for loss in ("softmax", "hinge")
        for rows, features in (QUICK_SIZES if quick else SIZES)
    ]


def _case(loss: str, rows: int, features: int) -> Case:
    options = {"loss": loss, "rows": rows, "features": features}
    torch_loss = {"softmax": "CrossEntropyLoss", "hinge": "C * MultiMarginLoss"}[loss]
    xpcls = Contestant(
        "xpcls",
        f"{HERE}:build_xpcls",
        options,
        f"LinearClassifier.fit, {EPOCHS} epochs",
        holds={**HOLDS, **AT_WIDTH.get(features, {})},
    )
    contestants = (
        xpcls,
        xpcls.plain({**PLAIN_HOLDS, **PLAIN_AT_WIDTH.get(features, {})}),
        Contestant(
            "torch",
            f"{HERE}:build_torch",
            options,
            f"eager: nn.Linear, {torch_loss}, optim.SGD, index_select",
            needs=("torch",),
        ),
        *(
            Contestant(
                name,
                "benchmarks.sgd_jax:build",
                {**options, "scan": scan},
                f"{how}, buffers donated, rows gathered on the device",
                needs=("jax",),
            )
            for name, scan, how in (
                ("jax", False, "a jitted step, called in a loop"),
                ("jax scan", True, "a jitted scan over the batches of an epoch"),
            )
        ),
        Contestant(
            "xpcls partial_fit", f"{HERE}:build_partial_fit", options, "one epoch, not EPOCHS"
        ),
        Contestant(
            "scikit-learn",
            f"{HERE}:build_sklearn",
            options,
            "SGDClassifier.partial_fit, one against all, batches of one row",
            needs=("sklearn",),
        ),
    )
    return Case("sgd", f"{loss} {rows:,} x {features:,}", contestants, check)


def learning_rate(X: Any) -> float:
    """A rate at which both losses fall without jumps: 0.2 / (1 + mean |x|^2)."""
    return 0.2 / (1.0 + float(np.mean(np.einsum("ij,ij->i", X, X))))


def _classifier(loss: str, X: Any, **options: Any) -> Any:
    from xpcls import LinearClassifier

    return LinearClassifier(
        loss, l2=L2, learning_rate=learning_rate(X), batch_size=BATCH, **options
    )


def _nothing() -> None:
    """The answer of contestants that are not checked."""


def build_xpcls(*, loss: str, rows: int, features: int, threads: int) -> Subject:
    """A whole `fit`."""
    X, y = labelled_rows(rows, features, CLASSES, ROWS_SEED)
    model = _classifier(loss, X, random_state=0, epochs=EPOCHS)

    def answer() -> dict[str, Any]:
        fresh = _classifier(loss, X, random_state=np.random.default_rng(ORDER_SEED))
        fresh.partial_fit(X, y, classes=np.arange(CLASSES))
        return {"loss": fresh.history_["loss"][0], "weights": fresh.coef_.tolist()}

    return lambda: model.fit(X, y), answer


def build_partial_fit(*, loss: str, rows: int, features: int, threads: int) -> Subject:
    """One `partial_fit`; the warm-up is the first, which the others go on from."""
    X, y = labelled_rows(rows, features, CLASSES, ROWS_SEED)
    model, classes = _classifier(loss, X, random_state=0), np.arange(CLASSES)
    return lambda: model.partial_fit(X, y, classes=classes), _nothing


def build_torch(*, loss: str, rows: int, features: int, threads: int) -> Subject:
    """The loop that a user of torch writes."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    arrays = labelled_rows(rows, features, CLASSES, ROWS_SEED)
    rate = learning_rate(arrays[0])
    X, y = map(torch.from_numpy, arrays)
    if loss == "softmax":
        criterion, factor = torch.nn.CrossEntropyLoss(), 1.0
    else:
        criterion, factor = torch.nn.MultiMarginLoss(), float(CLASSES)

    def start() -> tuple[Any, Any]:
        model = torch.nn.Linear(features, CLASSES)
        torch.nn.init.zeros_(model.weight)
        torch.nn.init.zeros_(model.bias)
        groups = [{"params": [model.weight], "weight_decay": 2.0 * L2}, {"params": [model.bias]}]
        return model, torch.optim.SGD(groups, lr=rate)

    def epoch(model: Any, optimizer: Any, order: Any, penalty: float = 0.0) -> float:
        """The mean loss; plus `penalty` * sum(W^2), which the check alone asks for."""
        total, steps = torch.zeros(()), 0
        for some in order.split(BATCH):
            optimizer.zero_grad()
            value = criterion(model(X.index_select(0, some)), y.index_select(0, some))
            if factor != 1.0:
                value = factor * value
            value.backward()
            total += value.detach()
            if penalty:
                total += penalty * model.weight.detach().square().sum()
            optimizer.step()
            steps += 1
        return total.item() / steps

    def answer() -> dict[str, Any]:
        model, optimizer = start()
        order = np.random.default_rng(ORDER_SEED).permutation(rows)
        mean = epoch(model, optimizer, torch.from_numpy(order), penalty=L2)
        return {"loss": mean, "weights": model.weight.detach().tolist()}

    def fit() -> None:
        model, optimizer = start()
        for _ in range(EPOCHS):
            epoch(model, optimizer, torch.randperm(rows))

    return fit, answer


def build_sklearn(*, loss: str, rows: int, features: int, threads: int) -> Subject:
    """Epochs of SGDClassifier."""
    from sklearn.linear_model import SGDClassifier

    X, y = labelled_rows(rows, features, CLASSES, ROWS_SEED)
    model = SGDClassifier(
        loss={"softmax": "log_loss", "hinge": "hinge"}[loss],
        alpha=2.0 * L2,
        learning_rate="constant",
        eta0=learning_rate(X),
        n_jobs=threads,
        random_state=0,
    )
    classes = np.arange(CLASSES)

    def fit() -> None:
        for _ in range(EPOCHS):
            model.partial_fit(X, y, classes=classes)

    return fit, _nothing


def check(answers: dict[str, Any]) -> dict[str, Finding]:
    """Whether all, from one start and in one order, reach what torch reaches."""
    theirs = answers.get("torch")
    if theirs is None:
        return {}
    expected, largest = np.asarray(theirs["weights"]), np.max(np.abs(theirs["weights"]))
    findings = {}
    for name, found in answers.items():
        off_loss = abs(found["loss"] - theirs["loss"]) / abs(theirs["loss"])
        off_weights = np.max(np.abs(np.asarray(found["weights"]) - expected)) / largest
        text = f"mean loss {found['loss']:.5f}, off by {off_loss:.1e}; weights by {off_weights:.1e}"
        findings[name] = Finding(text, ok=bool(max(off_loss, off_weights) <= AGREE))
    return findings
