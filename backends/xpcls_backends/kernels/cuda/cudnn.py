"""Convolution of float32 images by cuDNN, NVIDIA's library, where the extra cudnn12 or cudnn13 is.

cuDNN is asked for three operations: y of x and w, and from dy the gradients of x and of w. For each
and for each shape it is asked once for a plan, which is kept, and which then runs on the stream
that is CuPy's current one, in scratch memory from CuPy's pool; the host waits for nothing.

Numbers. That all is float32 does not keep cuDNN from tensor cores, whose TF32 keeps 11 of 24 bits:
from Ampere on it would take them for most shapes. So plans are refused whose notes say that they
use tensor cores, shorten what they are given, or add in fewer bits; also those by Fourier
transforms, whose errors go by the largest value of an image. Winograd's, which the CPU goes by too,
are taken. So are only plans that give the same bits each time they run on one card.

Layout. cuDNN names the axes of images N, C, H, W, and is told by strides that they lie as (N, H, W,
C), so none are copied. It documents two orders of filters, and (kh, kw, C, F) is neither: they are
copied to (F, kh, kw, C), and their gradient is copied back.
"""

from __future__ import annotations

import math
import os
import threading
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from xpcls_backends import kernels
from xpcls_backends._place import Array, device_of, namespace_of
from xpcls_backends._select import first_line

from ._module import on_its_card

Pair = tuple[int, int]
Shape = tuple[int, int, int, int]

SWITCH = "XPCLS_CUDNN"  # an environment variable; "off" keeps convolution on the other ways
OPERATIONS = ("fprop", "dgrad", "wgrad")
X, W, Y = 1, 2, 3  # by which a plan calls images, filters, and what comes of them
REFUSED = (
    "TENSOR_CORE",
    "DOWN_CONVERT_INPUTS",
    "REDUCED_PRECISION_REDUCTION",
    "FFT",
    "NONDETERMINISTIC",
)
# Heuristics, in this order. For Hopper the first offers layers of usual sizes nothing but TF32, and
# the last what suits any card and any shape.
ASKED = ("A", "B", "FALLBACK")
ALIGNED = 16  # bytes; where arrays begin that cuDNN is given
MOST = 2**31 - 1  # numbers of an array
WORKSPACE = 2**30  # bytes that a plan may take, at most
KEPT_PLANS = 256  # shapes, for each of which there are three


class _Handles(threading.local):
    """Those of this thread, by the numbers of cards. cuDNN lets no two threads share one."""

    def __init__(self) -> None:
        self.of: dict[int, Any] = {}


_handles = _Handles()


def why_none() -> str | None:
    """Why cuDNN can not be used on the current card, and what to type; None where it can."""
    for switch in (SWITCH, kernels.SWITCH):
        if os.environ.get(switch, "").lower() in ("off", "0"):
            return f"{switch} is off: unset it"
    try:
        return _trouble()
    except MemoryError as error:  # it may be there later
        return str(error)


def version() -> str:
    """cuDNN's own, where `why_none` gives None."""
    import cudnn

    return str(cudnn.backend_version_string())


@on_its_card
def why_not(x: Array, w: Array, stride: Pair, padding: Pair) -> str | None:
    """Why cuDNN does not convolve images x (N, H, W, C) with filters w (kh, kw, C, F)."""
    xp = namespace_of(x, w)
    if any(a.dtype != xp.float32 for a in (x, w)):
        return f"it takes float32, and the arrays are {x.dtype} and {w.dtype}"
    y = _convolved(x.shape, w.shape, stride, padding)
    if not all(0 < math.prod(shape) <= MOST for shape in (x.shape, w.shape, y)):
        return "it takes arrays that are not empty, and of less than 2^31 numbers"
    missing = why_none()
    if missing is not None:
        return missing
    found = _plans(_card(), x.shape, w.shape, stride, padding)
    return found if isinstance(found, str) else None


@on_its_card
def forward(x: Array, w: Array, stride: Pair, padding: Pair) -> tuple[Array, Array]:
    """`convolve`, where `why_not` gives None; also w as (F, kh, kw, C), for `backward`."""
    xp = namespace_of(x, w)
    turned = _ready(xp.permute_dims(w, (3, 0, 1, 2)))
    shape = _convolved(x.shape, w.shape, stride, padding)
    y = xp.empty(shape, dtype=xp.float32, device=device_of(x))
    _run("fprop", (x.shape, w.shape, stride, padding), {X: _ready(x), W: turned, Y: y})
    return y, turned


@on_its_card
def backward(
    x: Array,
    turned: Array,
    stride: Pair,
    padding: Pair,
    dy: Array,
    wanted: tuple[bool, bool],
) -> tuple[Array | None, Array | None]:
    """The gradients of x and w that are wanted, from that of y."""
    xp, device = namespace_of(x, dy), device_of(x)
    n_filters, kh, kw, channels = turned.shape
    sizes = (x.shape, (kh, kw, channels, n_filters), stride, padding)
    dy = _ready(xp.astype(dy, xp.float32, copy=False))
    dx = dw = None
    if wanted[0]:
        dx = xp.empty(x.shape, dtype=xp.float32, device=device)
        _run("dgrad", sizes, {X: dx, W: turned, Y: dy})
    if wanted[1]:
        found = xp.empty(turned.shape, dtype=xp.float32, device=device)
        _run("wgrad", sizes, {X: _ready(x), W: found, Y: dy})
        dw = xp.ascontiguousarray(xp.permute_dims(found, (1, 2, 3, 0)))
    return dx, dw


@dataclass(frozen=True)
class Plan:
    """What runs, and the bytes of scratch memory that it takes."""

    graph: Any
    workspace: int


def plan(
    operation: str, images: Shape, filters: Shape, stride: Pair, padding: Pair, **where: Any
) -> Plan:
    """cuDNN's plan for one operation on images (N, H, W, C) and filters (kh, kw, C, F).

    where : `pygraph`'s arguments that say for what card, which need not be here.
    Raises cudnn.cudnnGraphNotSupportedError where cuDNN has none that is taken.
    """
    import cudnn

    number = cudnn.data_type.FLOAT
    graph = cudnn.pygraph(
        name=operation,
        io_data_type=number,
        intermediate_data_type=number,
        compute_data_type=number,
        **where,
    )
    kh, kw, channels, n_filters = filters
    described = {
        X: _described(images),
        W: _described((n_filters, kh, kw, channels)),
        Y: _described(_convolved(images, filters, stride, padding)),
    }

    def given(uid: int) -> Any:
        dim, strides = described[uid]
        return graph.tensor(dim=dim, stride=strides, data_type=number, uid=uid)

    how = {"padding": list(padding), "stride": list(stride), "dilation": [1, 1]}
    if operation == "fprop":
        uid, out = Y, graph.conv_fprop(image=given(X), weight=given(W), **how)
    elif operation == "dgrad":
        uid, out = X, graph.conv_dgrad(loss=given(Y), filter=given(W), **how)
    else:
        uid, out = W, graph.conv_wgrad(image=given(X), loss=given(Y), **how)
    # One at a time: what these calls return may be a copy.
    out.set_output(True)
    out.set_uid(uid)
    out.set_dim(described[uid][0])
    out.set_stride(described[uid][1])
    out.set_data_type(number)
    graph.validate()
    graph.build_operation_graph()
    graph.create_execution_plans([getattr(cudnn.heur_mode, name) for name in ASKED])
    graph.deselect_numeric_notes([getattr(cudnn.numerical_note, name) for name in REFUSED])
    graph.deselect_workspace_greater_than(WORKSPACE)
    graph.check_support()
    graph.build_plans()
    return Plan(graph, graph.get_workspace_size())


@lru_cache(KEPT_PLANS)
def _plans(
    card: int, images: Shape, filters: Shape, stride: Pair, padding: Pair
) -> dict[str, Plan] | str:
    """The plan of each operation on that card, the current one, or why there are not all three."""
    import cudnn
    import cupy

    # Said here, as cudnn would look for a library to ask that CuPy does not need.
    where = {"sm_version": int(cupy.cuda.Device(card).compute_capability), "handle": _handle()}
    try:
        return {name: plan(name, images, filters, stride, padding, **where) for name in OPERATIONS}
    except cudnn.cudnnGraphNotSupportedError as error:
        return f"it has no plan for {images} and {filters} ({first_line(error)})"


def _run(operation: str, sizes: tuple[Shape, Shape, Pair, Pair], arrays: dict[int, Array]) -> None:
    """Let the plan for these sizes fill the array among these that it is to fill."""
    found = _plans(_card(), *sizes)
    if isinstance(found, str):
        raise RuntimeError(f"cuDNN: {found}")
    xp, device = namespace_of(arrays[X]), device_of(arrays[X])
    scratch = xp.empty((found[operation].workspace,), dtype=xp.uint8, device=device)
    addresses = {uid: int(x.data.ptr) for uid, x in arrays.items()}
    found[operation].graph.execute(addresses, int(scratch.data.ptr), handle=_handle())


def _handle() -> Any:
    """This thread's handle of cuDNN on the current card, set to the current stream."""
    import cudnn
    import cupy

    card, handles = _card(), _handles.of
    if card not in handles:
        handles[card] = cudnn.create_handle()
    cudnn.set_stream(handle=handles[card], stream=cupy.cuda.get_current_stream().ptr)
    return handles[card]


@cache
def _trouble() -> str | None:
    """`why_none`, found out by loading the library; raises MemoryError where it has none."""
    import cupy

    major = cupy.cuda.runtime.runtimeGetVersion() // 1000
    remedy = f"pip install nvidia-cudnn-frontend nvidia-cudnn-cu{major}"
    try:
        import cudnn

        cudnn.backend_version()
        _handle()
    except ModuleNotFoundError:
        return f"cuDNN is not installed: {remedy}"
    except Exception as error:  # of many types, and no library among them
        cause = first_line(error).replace(": ", ", ")
        if "ALLOC_FAILED" in cause:
            raise MemoryError(f"cuDNN found no memory for itself ({cause})") from error
        return f"cuDNN does not load ({cause}): {remedy}"
    return None


def _card() -> int:
    import cupy

    return int(cupy.cuda.Device().id)


def _convolved(images: Shape, filters: Shape, stride: Pair, padding: Pair) -> Shape:
    """The shape of y."""
    n, height, width, _ = images
    down, across = (
        (size + 2 * p - k) // s + 1
        for size, p, k, s in zip((height, width), padding, filters[:2], stride, strict=True)
    )
    return n, down, across, filters[3]


def _described(shape: Shape) -> tuple[list[int], list[int]]:
    """Sizes and strides as cuDNN counts axes, (n, C, H, W), of an array (n, H, W, C) in C order."""
    n, height, width, channels = shape
    strides = [height * width * channels, 1, width * channels, channels]
    return [n, channels, height, width], strides


def _ready(x: Array) -> Array:
    """x in C order and from an address on that cuDNN takes; itself where it is so."""
    x = namespace_of(x).ascontiguousarray(x)
    return x if x.data.ptr % ALIGNED == 0 else namespace_of(x).copy(x)
