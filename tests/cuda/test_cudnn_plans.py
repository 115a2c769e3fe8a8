"""What the real cuDNN makes of our graphs, for all generations of cards and without one.

Where it is not installed these are skipped, or fail with XPCLS_REQUIRE=cudnn. What its plans
compute is tested on a card alone (test_cudnn.py).
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cuda.cudnn_plans import CARDS, SHAPES
from xpcls_backends.kernels.cuda import cudnn

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def plans(end_without_cudnn: Callable[[str], Any]) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.cuda.cudnn_plans"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    if "why_none" in told:
        end_without_cudnn(told["why_none"])
    return list(told["plans"])


def described(shape: Any) -> list[Any]:
    """What cuDNN is to know of an array (n, H, W, C) in C order."""
    n, height, width, channels = shape
    strides = [height * width * channels, 1, width * channels, channels]
    return [[n, channels, height, width], strides, "FLOAT"]


def test_all_three_have_a_plan_for_all_shapes_on_all_cards(plans: list[dict[str, Any]]) -> None:
    assert len(plans) == len(CARDS) * len(cudnn.OPERATIONS) * len(SHAPES)
    for found in plans:
        images, (kh, kw, channels, filters), stride, padding = found["sizes"]
        y = [
            (n + 2 * p - k) // s + 1
            for n, p, k, s in zip(images[1:3], padding, (kh, kw), stride, strict=True)
        ]
        arrays = images, (filters, kh, kw, channels), (images[0], *y, filters)
        assert found["tensors"] == [described(shape) for shape in arrays], found
        numbers = sum(map(math.prod, arrays))
        assert 0 <= found["workspace"] <= 6 * numbers + 2**16, found  # images in another order


def test_nothing_but_a_card_is_lacking_for_them_to_run(plans: list[dict[str, Any]]) -> None:
    """Addresses and the names of arrays are understood."""
    assert all("handle" in found["lacking"] for found in plans)


@pytest.mark.parametrize("generation", ["80", "90", "100"])
def test_tensor_cores_would_be_taken_if_they_were_not_refused(
    plans: list[dict[str, Any]], generation: str
) -> None:
    """What cuDNN puts first for a second layer of usual sizes is TF32 on these cards."""
    of_card = [p for p in plans if p["card"] == generation and p["sizes"][1] == [3, 3, 32, 64]]
    assert len(of_card) == 3 and all(found["first_is_refused"] for found in of_card)


@pytest.mark.parametrize("operation", cudnn.OPERATIONS)
def test_not_all_is_refused(plans: list[dict[str, Any]], operation: str) -> None:
    taken = [p for p in plans if p["operation"] == operation and not p["first_is_refused"]]
    assert taken
