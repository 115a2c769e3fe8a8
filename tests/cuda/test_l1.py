"""CUDA kernels of L1 distances, behind their launcher; see test_rows.py for what this runs on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from xpcls_backends import Backend, to_host
from xpcls_backends.kernels.cuda import l1


def check(card: Backend, n_a: int, n_b: int, length: int) -> None:
    """Sums of bytes are exact, those of floats within the bound of kernels/cuda/neighbors.py."""
    rng = np.random.default_rng(n_a + n_b + length)
    a, b = (rng.integers(0, 256, (n, length)).astype("uint8") for n in (n_a, n_b))
    found = l1.l1(card.asarray(a), card.asarray(b))
    differences = np.abs(a[:, None].astype("int64") - b[None])
    np.testing.assert_array_equal(to_host(found), differences.sum(-1))
    assert found.dtype == card.xp.int32
    a, b = (rng.normal(size=(n, length)).astype("float32") for n in (n_a, n_b))
    found = to_host(l1.l1(card.asarray(a), card.asarray(b)))
    expected = np.abs(a[:, None].astype("float64") - b[None]).sum(-1)
    bound = length * 2.0**-24 / (1.0 - length * 2.0**-24) * expected
    assert found.dtype == "float32" and (np.abs(found - expected) <= bound).all()


@pytest.mark.parametrize("shapes", [(33, 1, 1), (130, 70, 48), (133, 257, 200), (45, 129, 31)])
def test_l1_of_all_pairs(
    card: Backend, turns: None, launched: list[str], shapes: tuple[int, int, int]
) -> None:
    check(card, *shapes)
    assert launched == ["l1_u8", "l1_f32"]


@pytest.mark.parametrize("n_a", [1, 2, 3, 7, 8, 9, 17, l1.FEW])
def test_l1_of_few_rows_with_many(
    card: Backend, turns: None, launched: list[str], n_a: int
) -> None:
    # Less than a warp reads at once, a little more, and more than one block's rows b.
    for n_b, length in ((1, 1), (65, 131), (7, 1031)):
        check(card, n_a, n_b, length)
    assert launched == ["l1_few_u8", "l1_few_f32"] * 3


def test_tiles_of_l1_are_not_limited_by_an_axis_of_the_grid(
    card: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    grids: list[Any] = []
    launch = l1.launch

    def told(function: Any, grid: Any, *args: Any) -> None:
        grids.append(grid)
        launch(function, grid, *args)

    monkeypatch.setattr(l1, "launch", told)
    check(card, 16 * l1.TILE + 1, l1.TILE + 1, 3)  # a band of tiles, and the start of another
    assert grids == [(17 * 2,)] * 2
