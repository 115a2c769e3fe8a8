"""Putting the stand-in where `import cupy` finds it."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types

import numpy as np

from . import driver, libraries, precision
from .array import add_methods
from .functions import Refused, module

MISSING = (
    "the stand-in for CuPy reads names and signatures from a wheel of CuPy, which needs no GPU; "
    "pip install --group cuda-checks, or cupy-cuda13x alone"
)
REPLACED = ("cupy", "cupyx", "cupy_backends")


def installed() -> bool:
    """Whether `import cupy` gives the stand-in."""
    return hasattr(sys.modules.get("cupy"), "__stand_in__")


def install() -> types.ModuleType:
    """Make it the module cupy of this process, for good.

    Raises ImportError where no wheel of CuPy is installed, and RuntimeError where array-api-compat
    has wrapped the real CuPy already.
    """
    if installed():
        return sys.modules["cupy"]
    if "array_api_compat.cupy" in sys.modules:
        raise RuntimeError("array_api_compat.cupy wraps the real CuPy already")
    if importlib.util.find_spec("cupy") is None:
        raise ImportError(MISSING)
    real = importlib.import_module("cupy")
    made = module(real, np)
    add_methods(real.ndarray)
    stride_tricks = module(real.lib.stride_tricks, np.lib.stride_tricks)
    lib = types.ModuleType("cupy.lib")
    lib.stride_tricks = stride_tricks
    parts = [module(real.linalg, np.linalg), module(real.fft, np.fft), Refused("cupy.random")]
    modules = {part.__name__: part for part in (*parts, lib, stride_tricks)}
    modules |= driver.modules() | libraries.modules() | precision.modules()
    for name in [name for name in sys.modules if name.split(".")[0] in REPLACED]:
        del sys.modules[name]
    # The real one would take addresses here for those of a card. See cudnn.py.
    sys.modules["cudnn"] = None  # type: ignore[assignment]
    made.__stand_in__ = True
    made.__path__ = []  # a package, of whose modules there are those below
    sys.modules["cupy"] = made
    sys.modules.update(modules)
    for name, part in modules.items():
        if name.startswith("cupy.") and name.count(".") == 1:
            setattr(made, name.split(".")[1], part)
    return made
