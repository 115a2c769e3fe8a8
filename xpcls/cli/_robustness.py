"""The command that makes images harder: robustness."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._auto import at_a_time, for_images
from ._options import (
    Data,
    Device,
    DeviceName,
    Models,
    Seed,
    backend_of,
    check_file,
    chosen,
    model_names,
    new_model,
)

if TYPE_CHECKING:
    from PIL.Image import Image

    from xpcls.robustness import Row

SHOWN = 8  # images in a row of the picture
CELL = 64  # pixels a side that small images are enlarged to in it
LABEL = 130  # pixels of width for a name


def robustness(
    data: Data = "mnist5k",
    device: Device = DeviceName.auto,
    models: Models = None,
    seed: Seed = 0,
    json: Annotated[
        Path | None, typer.Option(help="Also write the results to this file.", metavar="FILE")
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            help="Also write a picture to this file: some images under each perturbation.",
            metavar="FILE.png",
        ),
    ] = None,
) -> None:
    """Print what is left of each model's accuracy when images are made harder.

    Parts of an image are masked (mask 0.25: a square of a quarter of its side), it is made
    brighter and darker, shifted by some pixels, turned by some degrees, mirrored, and noise is
    added (noise 0.1: with a tenth of the full scale as standard deviation). Each model is trained
    on the training part as it is, and sees the validation part perturbed: the test part stays
    closed.

    Try `xpcls robustness --models nearest,softmax --picture harder.png`, and look at the picture.
    Ctrl-C prints what was measured.
    """
    from xpcls import data as readers
    from xpcls.pixels import fit_images
    from xpcls.progress import advance, show_progress
    from xpcls.robustness import Robustness, robustness_rows, written

    from ._console import described, note, show, table_of, write_comparison

    names = chosen(models, model_names())
    if json is not None:
        check_file(json, "--json")
    if picture is not None:
        check_file(picture, "--picture")
        if picture.suffix.lower() != ".png":
            raise ValueError(f"--picture is {picture}, expected a name that ends in .png")
    backend = backend_of(device)
    with show_progress():
        loaded = readers.load(data)
    parts = readers.split(loaded, random_state=seed)
    step = at_a_time(names, len(parts.train))
    note(f"{described(data, loaded, parts, seed)}; perturbed: the validation part")
    backend = for_images(device, backend, step, loaded.images.shape[1:])
    if picture is not None:
        contact_sheet(loaded.images[parts.validation[:SHOWN]], seed).save(picture)
        note(f"wrote {picture}")
    train, validation = (
        (backend.asarray(loaded.images[part]), backend.asarray(loaded.labels[part]))
        for part in (parts.train, parts.validation)
    )

    def trained() -> Iterator[tuple[str, Any]]:
        for i, name in enumerate(names):
            advance("models", i, len(names), now=name)
            yield name, fit_images(new_model(name, [], seed), *train)
        advance("models", len(names), len(names))

    found: dict[str, Row] = {}
    try:
        with show_progress():
            for row in robustness_rows(trained(), *validation, random_state=seed):
                found[row.model] = row
    finally:  # also where Ctrl-C or an error ends it: what is done is not lost
        if found:
            lines = Robustness(tuple(found.values())).lines()
            cells = [(name, *map(written, accuracies)) for name, accuracies in lines]
            show(table_of(("perturbation", *found), cells, set(found)))
            if json is not None:
                write_comparison(
                    json, loaded, parts, seed, list(found.values()), perturbed="validation"
                )
                note(f"wrote {json}")


def contact_sheet(images: Any, seed: int) -> Image:
    """Images as they are, and under each perturbation, in a row with its name.

    images : uint8 (n, H, W, 1 or 3), on the host. They are changed as in the report, where they
    are the first.
    """
    from PIL import Image, ImageDraw

    from xpcls.perturbations import PERTURBATIONS
    from xpcls.robustness import UNPERTURBED

    n, height, width, _ = images.shape
    scale = max(1, CELL // max(height, width))
    across, down = width * scale + 2, height * scale + 2
    shown = {UNPERTURBED: images}
    shown |= {name: perturb(images, seed) for name, perturb in PERTURBATIONS.items()}
    sheet = Image.new("RGB", (LABEL + n * across, len(shown) * down), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (name, row) in enumerate(shown.items()):
        draw.text((4, i * down + down // 2 - 6), name, fill="black")
        for j, pixels in enumerate(row):
            cell = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
            enlarged = cell.resize((width * scale, height * scale), Image.Resampling.NEAREST)
            sheet.paste(enlarged.convert("RGB"), (LABEL + j * across, i * down))
    return sheet
