"""How much a GPU is asked to do: kernels launched, waits, transfers, of a step and of an answer.

A launch takes the host some 5 to 10 microseconds, whatever it computes, and a wait ends all that
was in flight; for the small batches of this library both cost more than the arithmetic. Needs
`--backend fakecupy`, which counts them (cuda/fakecupy/costs.py says how and from which sources).

A budget is what the code takes today. Where a change takes less, lower it here; where one takes
more, ask whether it has to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from tests.cuda import fakecupy, simulator
from xpcls import ConvNetClassifier, KNeighborsClassifier, LinearClassifier, MLPClassifier
from xpcls.distances import nearest
from xpcls.optimizers import SGD
from xpcls_backends import get_backend

if not fakecupy.installed():
    pytest.skip("needs --backend fakecupy", allow_module_level=True)


@dataclass(frozen=True)
class Budget:
    """At most so many. Pairs: of plain operations alone, and with the CUDA kernels."""

    launches: tuple[int, int]
    syncs: tuple[int, int] = (0, 0)
    to_device: tuple[int, int] = (0, 0)
    to_host: tuple[int, int] = (0, 0)


# One step of training: no wait and no transfer. Its rows are positions in a permutation that is
# drawn on the host and goes up once an epoch, and its loss stays on the device.
STEPS = {
    "softmax": Budget((33, 0)),
    "hinge": Budget((36, 0)),
    "two layers": Budget((94, 22)),
    "ConvNet": Budget((282, 60)),
}
# An epoch beside its steps: the permutation goes up; the losses, 100 steps at a time, to which the
# penalties are added then, and the accuracy on some rows come down.
EPOCHS = {
    "softmax": Budget((10, 16), (2, 2), (1, 1), (2, 2)),
    "hinge": Budget((10, 16), (2, 2), (1, 1), (2, 2)),
    "two layers": Budget((18, 17), (2, 2), (1, 1), (2, 2)),
    "ConvNet": Budget((54, 27), (2, 2), (1, 1), (2, 2)),
}
# An answer reads whether all of X is finite, and whether all scores are, at once.
ANSWERS = {
    "softmax": Budget((10, 10), (1, 1), (0, 0), (1, 1)),
    "hinge": Budget((10, 10), (1, 1), (0, 0), (1, 1)),
    "two layers": Budget((14, 13), (1, 1), (0, 0), (1, 1)),
    "ConvNet": Budget((50, 23), (1, 1), (0, 0), (1, 1)),
    "neighbours": Budget((128, 40), (3, 2), (0, 0), (3, 2)),
}
# A search for 100 queries in 2,000 points, all within one block.
SEARCHES = {
    ("l1", "float32"): Budget((157, 29), (5, 3), (0, 0), (5, 3)),
    ("l1", "uint8"): Budget((144, 6), (5, 0), (0, 0), (5, 0)),
    ("l2", "float32"): Budget((159, 37), (5, 3), (0, 0), (5, 3)),
    ("l2", "uint8"): Budget((145, 10), (5, 0), (0, 0), (5, 0)),
}
# What 128 more queries of 300 points wait for within half a MB: plain, whether all answers of a
# block are proven. With kernels that is read once, at the end.
BLOCKS = {
    ("l1", "float32"): (1, 0),
    ("l1", "uint8"): (1, 0),
    ("l2", "float32"): (1, 0),
    ("l2", "uint8"): (1, 0),
}
SLACK = 0.8  # a budget of which less than this is taken is none: lower it

COUNTED = ("launches", "syncs", "to_device", "to_host")
CLASSES, BATCH = 3, 8
MANY = 9  # steps whose losses CuPy stacks in one launch, as it does those of 100
SETTINGS: dict[str, Any] = {"batch_size": BATCH, "random_state": 0, "learning_rate": 1e-3}
MODELS: dict[str, Callable[[int], Any]] = {
    "softmax": lambda epochs: LinearClassifier("softmax", epochs=epochs, **SETTINGS),
    "hinge": lambda epochs: LinearClassifier("hinge", epochs=epochs, **SETTINGS),
    "two layers": lambda epochs: MLPClassifier((8,), epochs=epochs, **SETTINGS),
    "ConvNet": lambda epochs: ConvNetClassifier(epochs=epochs, **SETTINGS),
    "neighbours": lambda epochs: KNeighborsClassifier(),
}


@pytest.fixture(params=[0, 1], ids=["plain", "kernels"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """0 without the kernels, 1 with them: which number of a pair is meant."""
    if request.param and simulator.why_none is not None:
        pytest.skip(simulator.why_none)
    monkeypatch.setenv("XPCLS_KERNELS", "on" if request.param else "off")
    yield request.param


def rows(n: int, name: str) -> tuple[Any, Any]:
    """(n, 12) or images (n, 8, 8, 3), and classes of them, on the device."""
    backend, rng = get_backend("cupy"), np.random.default_rng(0)
    X = rng.random((n, 8, 8, 3) if name == "ConvNet" else (n, 12))
    return backend.asarray(X, "float32"), backend.asarray(np.arange(n) % CLASSES)


def fitting(name: str, n: int, epochs: int) -> fakecupy.Trace:
    X, y = rows(n, name)
    model = MODELS[name](epochs)
    with fakecupy.trace() as t:
        model.fit(X, y)
    return t


def spent(t: fakecupy.Trace) -> dict[str, int]:
    return {name: getattr(t, name) for name in COUNTED}


def check(found: dict[str, float], budget: Budget, way: int) -> None:
    for name in COUNTED:
        allowed = getattr(budget, name)[way]
        assert found[name] <= allowed, f"{found[name]:g} {name}, and the budget is {allowed}"
        assert found[name] >= SLACK * allowed, f"{found[name]:g} {name}: lower the budget"


def difference(more: dict[str, int], less: dict[str, int], n: int = 1) -> dict[str, float]:
    return {name: (more[name] - less[name]) / n for name in COUNTED}


@pytest.mark.parametrize("name", STEPS)
def test_a_step(name: str, way: int) -> None:
    """Runs of two epochs, of 9 and of 13 steps: what another step takes."""
    short, long = (spent(fitting(name, steps * BATCH, 2)) for steps in (MANY, MANY + 4))
    check(difference(long, short, 8), STEPS[name], way)


@pytest.mark.parametrize("name", EPOCHS)
def test_an_epoch(name: str, way: int) -> None:
    """Runs of two epochs and three, of 9 steps, less those steps."""
    two, three = (spent(fitting(name, MANY * BATCH, epochs)) for epochs in (2, 3))
    of_steps = difference(spent(fitting(name, 2 * MANY * BATCH, 2)), two, 2)  # of 9 steps
    epoch = difference(three, two)
    check({key: epoch[key] - of_steps[key] for key in COUNTED}, EPOCHS[name], way)


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer(name: str, way: int) -> None:
    X, y = rows(64, name)
    model = MODELS[name](1).fit(X, y)
    model.predict(X)  # what is made once for all answers is made here
    with fakecupy.trace() as t:
        model.predict(X)
    check(spent(t), ANSWERS[name], way)


def search(
    n: int, n_points: int, metric: str, dtype: str, budget: int | None = None
) -> fakecupy.Trace:
    backend, rng = get_backend("cupy"), np.random.default_rng(0)
    points, queries = (
        backend.asarray(rng.integers(0, 256, (rows, 32)).astype(dtype)) for rows in (n_points, n)
    )
    with fakecupy.trace() as t:
        nearest(queries, points, 5, metric, memory_budget=budget)
    return t


@pytest.mark.parametrize(("metric", "dtype"), SEARCHES)
def test_a_search(metric: str, dtype: str, way: int) -> None:
    check(spent(search(100, 2000, metric, dtype)), SEARCHES[metric, dtype], way)


@pytest.mark.parametrize(("metric", "dtype"), BLOCKS)
def test_more_blocks_of_queries(metric: str, dtype: str, way: int) -> None:
    one, three = (spent(search(n, 300, metric, dtype, 2**19)) for n in (128, 384))
    more = difference(three, one, 2)
    allowed = BLOCKS[metric, dtype][way]
    assert more["syncs"] <= allowed and more["to_host"] <= allowed and more["to_device"] == 0


@pytest.mark.parametrize("budget", [2**17, 2**19])
@pytest.mark.parametrize(("metric", "dtype"), SEARCHES)
def test_memory_of_a_search(
    metric: str, dtype: str, budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more than its budget beside what it returns; of the small one much is taken."""
    if simulator.why_none is not None:
        pytest.skip(simulator.why_none)
    monkeypatch.setenv("XPCLS_KERNELS", "on")
    n = 96
    held = search(n, 700, metric, dtype, budget).most_held - 12 * 5 * n
    assert held <= budget
    assert held > budget / 4 or budget == 2**19


def test_a_hidden_wait_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that looks at its loss: a wait and a transfer more."""
    step = SGD.step

    def looks(self: Any, *args: Any) -> Any:
        found = step(self, *args)
        float(found[2])
        return found

    monkeypatch.setenv("XPCLS_KERNELS", "off")
    monkeypatch.setattr(SGD, "step", looks)
    short, long = (spent(fitting("softmax", steps * BATCH, 2)) for steps in (MANY, MANY + 4))
    assert difference(long, short, 8)["syncs"] == 1
    with pytest.raises(AssertionError, match="1 syncs, and the budget is 0"):
        check(difference(long, short, 8), STEPS["softmax"], 0)
