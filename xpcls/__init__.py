"""Image classifiers written once against an array namespace: NumPy on a CPU, CuPy on a CUDA GPU.

    from xpcls import KNeighborsClassifier, LinearClassifier, get_backend

Names are loaded when they are first used, so that `import xpcls` costs next to nothing and
touches neither NumPy nor CUDA.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Where each public name lives: (module, name there).
_HOMES = {
    "KNeighborsClassifier": ("xpcls.neighbors", "KNeighborsClassifier"),
    "LinearClassifier": ("xpcls.linear", "LinearClassifier"),
    "MLPClassifier": ("xpcls.networks", "MLPClassifier"),
    "ConvNetClassifier": ("xpcls.networks", "ConvNetClassifier"),
    "KNeighborsClassifierCV": ("xpcls.model_selection", "KNeighborsClassifierCV"),
    "SealedTestSet": ("xpcls.model_selection", "SealedTestSet"),
    "tune": ("xpcls.model_selection", "tune"),
    "DivergenceError": ("xpcls.training", "DivergenceError"),
    "Backend": ("xpcls_backends", "Backend"),
    "BackendUnavailable": ("xpcls_backends", "BackendUnavailable"),
    "get_backend": ("xpcls_backends", "get_backend"),
    "usable_backends": ("xpcls_backends", "usable"),
    "prefetch_to_device": ("xpcls_backends", "prefetch_to_device"),
    "to_device": ("xpcls_backends", "to_device"),
    "to_host": ("xpcls_backends", "to_host"),
    "ModelFileError": ("xpcls.storage", "ModelFileError"),
    "save": ("xpcls.storage", "save"),
    "load": ("xpcls.storage", "load"),
    "show_progress": ("xpcls.progress", "show_progress"),
}
_MODULES = (
    "checks",
    "data",
    "distances",
    "features",
    "graph",
    "lecture",
    "losses",
    "model_selection",
    "optimizers",
    "perturbations",
    "plots",
    "regularizers",
    "training",
)

__all__ = ["__version__", *sorted(_HOMES), *_MODULES]

if TYPE_CHECKING:
    from xpcls_backends import Backend as Backend
    from xpcls_backends import BackendUnavailable as BackendUnavailable
    from xpcls_backends import get_backend as get_backend
    from xpcls_backends import prefetch_to_device as prefetch_to_device
    from xpcls_backends import to_device as to_device
    from xpcls_backends import to_host as to_host
    from xpcls_backends import usable as usable_backends  # noqa: F401

    from .linear import LinearClassifier as LinearClassifier
    from .model_selection import KNeighborsClassifierCV as KNeighborsClassifierCV
    from .model_selection import SealedTestSet as SealedTestSet
    from .model_selection import tune as tune
    from .neighbors import KNeighborsClassifier as KNeighborsClassifier
    from .networks import ConvNetClassifier as ConvNetClassifier
    from .networks import MLPClassifier as MLPClassifier
    from .progress import show_progress as show_progress
    from .storage import ModelFileError as ModelFileError
    from .storage import load as load
    from .storage import save as save
    from .training import DivergenceError as DivergenceError


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        module, attribute = _HOMES[name]
        value = getattr(importlib.import_module(module), attribute)
    elif name in _MODULES:
        value = importlib.import_module(f"xpcls.{name}")
    else:
        raise AttributeError(f"module 'xpcls' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
