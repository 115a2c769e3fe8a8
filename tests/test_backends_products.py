"""Products of rows with rows of the same place."""

from __future__ import annotations

import numpy as np
import pytest

from xpcls_backends import Backend, multiplies_in_tf32, row_dots
from xpcls_backends.testing import assert_close, forbid_host_reads


@pytest.mark.parametrize("shape", [(4, 3), (2, 4, 5), (0, 3), (6,)])
def test_dots_of_rows_are_vecdot(backend: Backend, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=shape).astype("float32") for _ in range(2))
    with forbid_host_reads():
        found = row_dots(backend.asarray(a), backend.asarray(b))
    assert_close(found, backend.asarray(np.sum(a * b, axis=-1)))
    if backend.name == "numpy":
        np.testing.assert_array_equal(found, np.vecdot(a, b))


def test_nobody_but_cupy_multiplies_in_tf32(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUPY_TF32", "1")
    if backend.name != "cupy":
        assert not multiplies_in_tf32(backend.xp)
