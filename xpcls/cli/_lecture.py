"""The command that runs the lecture's claims."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._auto import for_claims
from ._options import Device, DeviceName, backend_of, folder_of

if TYPE_CHECKING:
    from xpcls.lecture import Claim, Finding
    from xpcls_backends import Backend

ALL = "all"


def lecture(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A claim, or all of them; without it they are listed.", metavar="[NAME|all]"
        ),
    ] = None,
    device: Device = DeviceName.auto,
    seed: Annotated[
        int, typer.Option(help="Of all random numbers; one seed, one experiment.", min=0)
    ] = 0,
    picture: Annotated[
        Path | None,
        typer.Option(
            help="Also draw what was found: a file that ends in .svg, or for all a folder.",
            metavar="FILE.svg|FOLDER",
        ),
    ] = None,
) -> None:
    """Run a claim of the lecture as an experiment: what it found, and whether it holds.

    Begin with `xpcls lecture`, which lists the claims, and go on with `xpcls lecture parity
    --picture parity.svg`: it says what is claimed and what is measured, runs it, and prints the
    numbers and what had to hold. Other seeds show that it was no luck. Exit code 1 where something
    does not hold.
    """
    from xpcls.lecture import CLAIMS

    from ._console import note, say, show, table_of

    if name is None:
        if picture is not None:
            raise ValueError(f"--picture is {picture}, but of which claim? Give a NAME, or all")
        show(table_of(("name", "claim"), [(c.name, c.title) for c in CLAIMS.values()], set()))
        return
    if name != ALL and name not in CLAIMS:
        raise ValueError(f"NAME is {name!r}, expected all or one of: {', '.join(CLAIMS)}")
    chosen = list(CLAIMS.values()) if name == ALL else [CLAIMS[name]]
    if picture is not None:
        _check_picture(picture, name)
    places = for_claims(device, backend_of(device), chosen)
    if picture is not None and name == ALL:
        picture.mkdir(exist_ok=True)
    holding = 0
    for claim, backend in zip(chosen, places, strict=True):
        finding = _run(claim, backend, seed)
        holding += finding.holds
        if name == ALL:
            say(f"{'ok' if finding.holds else 'FAILED':6}  {claim.name}: {claim.title}")
            for line in finding.report:
                say(f"        {line}")
        else:
            _explain(claim, finding)
        if picture is not None:
            file = picture / f"{claim.name}.svg" if name == ALL else picture
            finding.picture().save(file)
            note(f"wrote {file}")
    if name == ALL:
        say(f"{holding} of {len(chosen)} claims hold")
    if holding < len(chosen):
        raise typer.Exit(1)


def _check_picture(picture: Path, name: str) -> None:
    """Raise where the pictures of a claim, or of all, cannot be written to that path."""
    from xpcls.plots import check_path

    folder_of(picture, "--picture")
    if name != ALL:
        if picture.is_dir():
            raise ValueError(
                f"--picture is {picture}, a folder; for one claim it is a file: give "
                f"{picture / name}.svg"
            )
        check_path(picture, "--picture")
    elif picture.exists() and not picture.is_dir():
        raise ValueError(f"--picture is {picture}, a file; for all it is a folder: give another")
    elif picture.suffix.lower() == ".svg":
        raise ValueError(
            f"--picture is {picture}, but for all it is a folder, one file a claim in it: give "
            "a name without .svg"
        )


def _run(claim: Claim, backend: Backend, seed: int) -> Finding:
    """What was found, whether it holds or not."""
    from xpcls.lecture import ClaimFailed
    from xpcls.progress import show_progress

    try:
        with show_progress():
            return claim.run(backend, seed)
    except ClaimFailed as error:
        return error.finding


def _explain(claim: Claim, finding: Finding) -> None:
    """All about one claim: what it says, what was found, and what had to hold."""
    from ._console import say, show, table_of

    say(f"{claim.title}\n\n{claim.explanation}\n")
    headings = finding.headings
    numbers = {
        heading
        for heading, *column in zip(headings, *finding.rows, strict=True)
        if not any(isinstance(cell, str) for cell in column)
    }
    show(table_of(headings, [list(map(_written, row)) for row in finding.rows], numbers))
    say("")
    for line in finding.report:
        say(line if finding.holds else f"FAILED: {line}")
    say("")
    cells = [
        (a.what, _written(a.value), a.limit, "ok" if a.holds else "FAILED")
        for a in finding.assertions
    ]
    show(table_of(("what had to hold", "found", "expected", ""), cells, {"found"}))


def _written(cell: str | int | float) -> str:
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)
