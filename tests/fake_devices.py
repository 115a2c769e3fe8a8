"""array-api-strict: its devices refuse to mix with NumPy, or have no float64.

A test that needs it is skipped where it is not: a machine with a card can test what runs on CuPy
without it.
"""

from __future__ import annotations

from typing import Any

import pytest

from xpcls_backends import Backend


def strict() -> Any:
    """The module."""
    module = pytest.importorskip("array_api_strict")
    module.set_array_api_strict_flags(api_version="2024.12")
    return module


def fake_backend(device: str = "device1", name: str = "strict") -> Backend:
    """One of its devices: CPU_DEVICE, device1, no_float64."""
    return Backend(name, strict(), strict().Device(device))
