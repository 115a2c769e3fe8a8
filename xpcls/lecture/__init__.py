"""The lecture's claims, made runnable: each is an experiment with assertions and a picture.

    from xpcls import lecture

    finding = lecture.run("parity")           # ClaimFailed where it does not hold
    print(finding)
    finding.picture().save("parity.svg")

CLAIMS is the table of them, by name, in the order of the lectures. The experiments run the
algorithms of xpcls on any backend; a claim fails where the algorithm that it is about is broken.
"""

from __future__ import annotations

from typing import Any

from xpcls.options import check_choice
from xpcls_backends import Backend

from ._claim import Assertion, Claim, ClaimFailed, Finding
from ._distance import equal_distance, rotation, unit_balls
from ._features import hog_and_hue, polar
from ._linear import bias, parity, two_headed_horse
from ._losses import margin, one_dial
from ._neighbors import curse, label_noise
from ._training import mini_batches

CLAIMS: dict[str, Claim] = {
    claim.name: claim
    for claim in (
        unit_balls,
        rotation,
        label_noise,
        equal_distance,
        curse,
        bias,
        two_headed_horse,
        parity,
        polar,
        hog_and_hue,
        margin,
        one_dial,
        mini_batches,
    )
}

__all__ = ["CLAIMS", "Assertion", "Claim", "ClaimFailed", "Finding", "run"]


def run(name: str, backend: Backend | str = "auto", random_state: Any = 0) -> Finding:
    """Run the claim called `name`; see `Claim.run`. Raises ValueError for an unknown name."""
    return CLAIMS[check_choice("name", name, CLAIMS)].run(backend, random_state)
