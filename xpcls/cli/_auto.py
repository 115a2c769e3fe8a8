"""What --device auto does where a card works: small images stay on the CPU.

A card is handed its work kernel by kernel, and handing over takes the host about as long whatever
the kernel does. Where that alone takes longer than the CPU needs for the work, a card only waits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ._options import DeviceName

if TYPE_CHECKING:
    from xpcls.lecture import Claim
    from xpcls_backends import Backend

BATCH = 256  # images that a step of training works on, about

# Bytes of images that are worked on at a time, below which the launches take longer than the CPU.
#
# A launch takes about 10 us: stated, from what CuPy's documentation and issues tell of it, and not
# yet measured on a card. When this was set, a step of the two-layer net launched 70 to 100 kernels
# and one of the ConvNet 180 to 300, so that launching alone would take 0.7 to 1 ms and 1.8 to 3 ms.
# By now it is 22 and 60 with CUDA kernels (tests/cuda/test_budgets.py counts them); the limit waits
# for a card to be measured. Two cores of a CPU, with kernels, took 0.53, 0.75 and 1.6 ms for the
# first (128 images of 64, 196, 784 bytes) and 2.4, 3.6 and 8.8 ms for the second (64 images), on
# 2026-11-28. They are even at 180 to 380 bytes an image and at 130 or less; the limit lies between,
# at 256. Linear classifiers, which a card trains in one kernel an epoch, are even below that.
LAUNCH_BOUND = 2**16


def for_images(
    device: DeviceName, backend: Backend, at_a_time: int, shape: Sequence[int]
) -> Backend:
    """`backend`, which --device named; or the CPU where auto has taken a card for too few bytes.

    at_a_time : how many images are worked on at once.  shape : (H, W, C) of one, uint8.

    Says why in a line on standard error.
    """
    size = at_a_time * math.prod(shape)
    if not _only_waits(device, backend, size):
        return backend
    each = " x ".join(map(str, shape))
    return _cpu(
        f"auto: cpu, because {size:,} bytes of images ({at_a_time} of {each} at a time) take"
    )


def for_claims(device: DeviceName, backend: Backend, claims: Sequence[Claim]) -> list[Backend]:
    """The same for each of the lecture's claims; a number counts as a byte of an image."""
    small = [claim.name for claim in claims if _only_waits(device, backend, claim.size)]
    if not small:
        return [backend] * len(claims)
    cpu = _cpu(
        f"auto: cpu for {', '.join(small)}, because fewer than {LAUNCH_BOUND:,} numbers at a time "
        "take"
    )
    return [cpu if claim.name in small else backend for claim in claims]


def _only_waits(device: DeviceName, backend: Backend, size: int) -> bool:
    """Whether auto has taken a card for which that many bytes at a time are too few."""
    return device == DeviceName.auto and backend.name != "numpy" and size < LAUNCH_BOUND


def _cpu(because: str) -> Backend:
    from xpcls_backends import get_backend

    from ._console import note

    note(f"{because} longer to launch than to compute; --device {DeviceName.cuda} to insist")
    return get_backend("cpu")


def at_a_time(models: Iterable[str], rows: int) -> int:
    """How many of these images are worked on at once where these models are trained.

    Neighbours are searched in all; whatever else there is takes batches, and most of the time.
    """
    return rows if set(models) <= {"nearest", "knn"} else min(rows, BATCH)
