"""The commands that look into things: check, parity."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ._auto import for_images
from ._options import Data, Device, DeviceName, Seed, backend_of, chosen, new_model

CHECKED_ROWS, BY_HEART = 200, 20  # the images that are looked at, and those of them to learn


def parity(data: Data = "mnist5k", seed: Seed = 0) -> None:
    """Run the same seeds on every usable backend and print the largest differences.

    Compares neighbours, losses, weights and predictions with NumPy's. Exit code 1 where a
    difference is larger than allowed.
    """
    from xpcls import data as readers
    from xpcls.parity import parity as differences
    from xpcls.progress import show_progress
    from xpcls_backends import get_backend, usable, why_not

    from ._console import described, note, say, show, table_of

    names = usable()
    if len(names) == 1:
        why = why_not("cupy")
        say(f"Only {names[0]} works here, so there is nothing to compare it with. {why}")
        return
    loaded = readers.load(data)
    parts = readers.split(loaded, random_state=seed)
    note(f"{described(data, loaded, parts, seed)}; each backend against {names[0]}")
    with show_progress():
        found = list(differences(loaded, parts, [get_backend(name) for name in names], seed))
    cells = [
        (d.backend, d.what, f"{d.largest:.2g}", f"{d.allowed:.2g}", "ok" if d.passed else "TOO FAR")
        for d in found
    ]
    headings = ("backend", "what", "largest difference", "allowed", "")
    show(table_of(headings, cells, {"largest difference", "allowed"}))
    if not all(d.passed for d in found):
        raise typer.Exit(1)


def check(
    data: Data = "mnist5k",
    device: Device = DeviceName.auto,
    models: Annotated[
        str | None,
        typer.Option(
            help="Only these, with commas between: the losses of linear classifiers hinge, "
            "squared_hinge, one_vs_all, structured, softmax; and the networks mlp, convnet.",
            metavar="NAME,...",
        ),
    ] = None,
    seed: Seed = 0,
) -> None:
    """Check losses, gradients and learning before training: does each model learn as it must?

    For each model: the loss before the first step against theory, the gradient against central
    differences in float64, and whether it can learn 20 images by heart. Exit code 1 where
    something failed; the last column says what to look at.
    """
    from xpcls import checks
    from xpcls import data as readers
    from xpcls.linear_model import LINEAR_LOSSES
    from xpcls.pixels import centered, mean_image
    from xpcls.progress import advance, show_progress

    from ._console import note, show, table_of

    names = chosen(models, (*LINEAR_LOSSES, "mlp", "convnet"))
    backend = backend_of(device)
    with show_progress():
        loaded = readers.load(data)
    backend = for_images(device, backend, BY_HEART, loaded.images.shape[1:])
    rows = readers.split(loaded, random_state=seed).train[:CHECKED_ROWS]
    images, labels = backend.asarray(loaded.images[rows]), backend.asarray(loaded.labels[rows])
    features = {True: centered(images, mean_image(images)), False: images}
    note(f"{data}: the first {len(rows)} training images, seed {seed}")
    results: list[tuple[str, str, checks.Check]] = []
    with show_progress():
        for i, name in enumerate(names):
            advance("models", i, len(names), now=name)
            model: Any = new_model(name, [], seed)
            linear = name in LINEAR_LOSSES  # networks centre pixels themselves, and learn faster
            X, epochs = features[linear], 1000 if linear else 200
            few: dict[str, Any] = {} if linear else {"rows": 10}
            results += [
                (name, "initial loss", checks.initial_loss(model, X, labels)),
                (name, "gradient", checks.check_gradients(model, X, labels, **few)),
                (name, "20 by heart", checks.overfit(model, X, labels, BY_HEART, epochs=epochs)),
            ]
        advance("models", len(names), len(names))
    cells = [
        (name, what, "ok" if result.passed else "FAILED", result.numbers(), result.diagnosis)
        for name, what, result in results
    ]
    show(table_of(("model", "check", "", "found", "what it means"), cells, set()))
    if not all(result.passed for _, _, result in results):
        raise typer.Exit(1)
