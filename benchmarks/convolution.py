"""Convolution alone: forward and both gradients of 3 x 3 filters with padding 1, of a whole batch.

xpcls           `convolve` and `convolve_backward` of xpcls_backends, by Winograd's method, or by
                im2col in blocks, which serves filters of all other kinds.
xpcls plain     the same on NumPy alone.
torch           `conv2d` and `backward`, channels_last, or NCHW as by default.

The norms of the result and of both gradients must agree to 1e-3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .cases import Case, Contestant, Finding

Subject = tuple[Callable[[], object], Callable[[], Any]]

SHAPES = ((64, 32, 64, 64), (128, 16, 32, 64), (32, 16, 128, 128))  # images, size, C, F
QUICK_SHAPES = ((4, 8, 8, 8),)
# At most so many times the time of torch, channels_last: with kernels, and on NumPy alone.
HOLDS = {"winograd": (0.60, 0.90), "im2col": (1.35, 1.35)}
SEED = 5
AGREE = 1e-3  # relative
HERE = "benchmarks.convolution"


def cases(quick: bool) -> list[Case]:
    """Both methods, all shapes."""
    shapes = QUICK_SHAPES if quick else SHAPES
    return [_case(shape, method) for method in HOLDS for shape in shapes]


def _case(shape: tuple[int, int, int, int], method: str) -> Case:
    images, size, channels, filters = shape
    options = {"shape": shape}
    hold, plain_hold = HOLDS[method]
    peer = "torch channels_last"
    xpcls = Contestant(
        "xpcls",
        f"{HERE}:build_xpcls",
        {**options, "method": method},
        f"convolve and convolve_backward, method={method!r}",
        holds={peer: hold},
    )
    last = {**options, "channels_last": True}
    how, needs = "conv2d, backward", ("torch",)
    contestants = (
        xpcls,
        xpcls.plain({peer: plain_hold}),
        Contestant(peer, f"{HERE}:build_torch", last, how, needs),
        Contestant("torch NCHW", f"{HERE}:build_torch", options, how, needs),
    )
    name = f"{method} {channels} to {filters}, {size} x {size}, {images} images"
    return Case("convolution", name, contestants, check)


def _operands(shape: tuple[int, int, int, int]) -> tuple[Any, Any, Any]:
    """Images, filters, and the gradient of what comes out: NHWC, HWCF."""
    images, size, channels, filters = shape
    rng = np.random.default_rng(SEED)
    x = rng.standard_normal((images, size, size, channels), dtype=np.float32)
    w = rng.standard_normal((3, 3, channels, filters), dtype=np.float32)
    g = rng.standard_normal((images, size, size, filters), dtype=np.float32)
    return x, w, g


def _norms(y: Any, dx: Any, dw: Any) -> list[float]:
    return [float(np.linalg.norm(part.astype(np.float64))) for part in (y, dx, dw)]


def build_xpcls(*, shape: tuple[int, int, int, int], method: str, threads: int) -> Subject:
    from xpcls_backends import convolve, convolve_backward

    x, w, g = _operands(shape)

    def run() -> tuple[Any, Any, Any]:
        y, kept = convolve(x, w, padding=(1, 1), method=method)
        return (y, *convolve_backward(kept, g))

    return run, lambda: _norms(*run())


def build_torch(
    *, shape: tuple[int, int, int, int], channels_last: bool = False, threads: int
) -> Subject:
    import torch

    torch.set_num_threads(threads)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    x, w, g = (torch.from_numpy(part) for part in _operands(shape))
    x, g = (part.permute(0, 3, 1, 2).contiguous(memory_format=layout) for part in (x, g))
    w = w.permute(3, 2, 0, 1).contiguous(memory_format=layout)
    x.requires_grad_()
    w.requires_grad_()

    def run() -> tuple[Any, Any, Any]:
        x.grad = w.grad = None
        y = torch.nn.functional.conv2d(x, w, padding=1)
        y.backward(g)
        return y.detach(), x.grad, w.grad

    return run, lambda: _norms(*(part.numpy() for part in run()))


def check(answers: dict[str, Any]) -> dict[str, Finding]:
    """Whether the norms of the result and of both gradients are torch's."""
    theirs = answers.get("torch channels_last")
    if theirs is None:
        return {}
    findings = {}
    for name, ours in answers.items():
        off = max(abs(a - b) / b for a, b in zip(ours, theirs, strict=True))
        findings[name] = Finding(f"norms off by {off:.1e}", ok=bool(off <= AGREE))
    return findings
