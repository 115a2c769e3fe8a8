"""The module cudnn, as far as it convolves: names, arguments, order of calls as cudnn-frontend's.

    made = cudnn.module()           # put at sys.modules["cudnn"]
    made.built                      # names of the plans built so far
    made.declined.add("wgrad")      # of that operation there is no plan

From its source (python/cudnn, python/pygraph; include/cudnn_frontend) of 1.23, which 1.32 takes
too. What cuDNN does without a word and nobody wants is done as well: of the plans that it offers,
best first, the ones before the last round to TF32, or say that they are not the same at each run.
What it would refuse, and what is documented to have no engines, is an error.
"""

from __future__ import annotations

import copy
import ctypes
import enum
import importlib.machinery
import types
from typing import Any

import numpy as np

from . import counts, streams

VERSION = 92801
ALIGNED = 16  # bytes; Tensor_attributes::alignment
CAPABILITY = 90  # of the one card


class cudnnGraphNotSupportedError(Exception):
    """No plan, or none that is left."""


data_type = enum.Enum("data_type", "FLOAT DOUBLE HALF NOT_SET")
heur_mode = enum.Enum("heur_mode", "A B FALLBACK OPENSOURCE")
convolution_mode = enum.Enum("convolution_mode", "CONVOLUTION CROSS_CORRELATION")
numerical_note = enum.Enum(
    "numerical_note",
    "TENSOR_CORE DOWN_CONVERT_INPUTS REDUCED_PRECISION_REDUCTION FFT NONDETERMINISTIC WINOGRAD "
    "WINOGRAD_TILE_4x4 WINOGRAD_TILE_6x6 WINOGRAD_TILE_13x13 STRICT_NAN_PROP",
)
NOTE = numerical_note
# What heuristics offer, best first: notes, and scratch memory in bytes a number of y.
OFFERED: list[tuple[set[Any], int]] = [
    ({NOTE.TENSOR_CORE, NOTE.DOWN_CONVERT_INPUTS}, 0),
    ({NOTE.TENSOR_CORE}, 4),
    ({NOTE.NONDETERMINISTIC}, 0),
    ({NOTE.FFT}, 0),
    ({NOTE.WINOGRAD}, 2**40),
    (set(), 4),
]


class Handle:
    """What create_handle gives; it begins on the null stream."""

    def __init__(self) -> None:
        self.stream = streams.Stream.null.ptr


def set_stream(handle: Handle, stream: int) -> None:
    if not isinstance(handle, Handle) or type(stream) is not int:
        raise TypeError("incompatible function arguments")
    handle.stream = stream


class tensor:
    """Its setters return a copy, as pybind11 does by default; set_output alone returns itself."""

    def __init__(self, **given: Any) -> None:
        self.dim: list[int] = []
        self.stride: list[int] = []
        self.data_type = data_type.NOT_SET
        self.is_virtual = True
        self.uid = -1
        self.__dict__.update(given)

    def set_output(self, is_output: bool) -> tensor:
        self.is_virtual = not is_output
        return self

    def set_uid(self, uid: int) -> tensor:
        self.uid = uid
        return copy.copy(self)

    def set_dim(self, dim: list[int]) -> tensor:
        self.dim = list(dim)
        return copy.copy(self)

    def set_stride(self, stride: list[int]) -> tensor:
        self.stride = list(stride)
        return copy.copy(self)

    def set_data_type(self, data_type: Any) -> tensor:
        self.data_type = data_type
        return copy.copy(self)

    def at(self, address: int) -> np.ndarray:
        """The array at that address, axes as `dim` has them."""
        if type(address) is not int or address % ALIGNED:
            raise ValueError(f"expected the address of {ALIGNED} aligned bytes, got {address!r}")
        n = 1 + sum((size - 1) * step for size, step in zip(self.dim, self.stride, strict=True))
        memory = np.frombuffer((ctypes.c_char * (4 * n)).from_address(address), np.float32)
        return np.lib.stride_tricks.as_strided(memory, self.dim, [4 * s for s in self.stride])


class pygraph:
    """One convolution. Each step is taken once, in the order in which they stand here."""

    def __init__(
        self,
        name: str = "test_graph",
        io_data_type: Any = data_type.NOT_SET,
        intermediate_data_type: Any = data_type.NOT_SET,
        compute_data_type: Any = data_type.NOT_SET,
        handle: Handle | None = None,
        sm_count: int | None = None,
        sm_version: int | None = None,
        kernel_cache: Any = None,
        device_property: Any = None,
        is_dynamic_shape_enabled: bool = False,
        is_override_shape_enabled: bool = False,
    ) -> None:
        if not isinstance(handle, Handle) or device_property is not None:
            raise TypeError("fakecupy builds plans for its card alone, by a handle")
        if sm_version not in (None, CAPABILITY):
            raise ValueError(f"sm_version is {sm_version}, and the card's is {CAPABILITY}")
        types_given = {io_data_type, intermediate_data_type, compute_data_type}
        if types_given != {data_type.FLOAT}:
            raise NotImplementedError("fakecupy convolves float32 alone")
        self._operation = ""
        self._step = 0
        self._tensors: dict[str, tensor] = {}
        self._refused: set[Any] = set()
        self._workspace_limit = 2**63 - 1
        self._plan: tuple[set[Any], int] | None = None

    def tensor(
        self,
        dim: list[int],
        stride: list[int],
        data_type: Any = data_type.NOT_SET,
        is_virtual: bool = False,
        is_pass_by_value: bool = False,
        ragged_offset: Any = None,
        reordering_type: Any = None,
        name: str = "",
        uid: int = -1,
    ) -> tensor:
        return tensor(
            dim=list(dim), stride=list(stride), data_type=data_type, is_virtual=is_virtual, uid=uid
        )

    def conv_fprop(self, image: tensor, weight: tensor, **how: Any) -> tensor:
        return self._convolve("fprop", "y", {"x": image, "w": weight}, **how)

    def conv_dgrad(self, loss: tensor, filter: tensor, **how: Any) -> tensor:
        return self._convolve("dgrad", "x", {"y": loss, "w": filter}, **how)

    def conv_wgrad(self, image: tensor, loss: tensor, **how: Any) -> tensor:
        return self._convolve("wgrad", "w", {"x": image, "y": loss}, **how)

    def _convolve(
        self,
        operation: str,
        out: str,
        given: dict[str, tensor],
        *,
        padding: list[int],
        stride: list[int],
        dilation: list[int],
        convolution_mode: Any = convolution_mode.CROSS_CORRELATION,
        compute_data_type: Any = data_type.NOT_SET,
        name: str = "",
    ) -> tensor:
        if self._operation:
            raise NotImplementedError("fakecupy knows graphs of one operation")
        if any(type(numbers) is not list for numbers in (padding, stride, dilation)):
            raise TypeError("incompatible function arguments")
        if dilation != [1, 1] or convolution_mode.name != "CROSS_CORRELATION":
            raise NotImplementedError
        self._operation, self._out, self._how = operation, out, (padding, stride)
        self._tensors = {**given, out: tensor()}
        return self._tensors[out]

    def validate(self) -> None:
        self._comes(0, "validate")
        for name, t in self._tensors.items():
            if t.data_type is not data_type.FLOAT or t.is_virtual or t.uid < 0:
                raise ValueError(f"{name} is no float32 tensor that is given: {t.__dict__}")
            packed = _channels_last(t.dim)
            if t.stride != packed:
                raise ValueError(f"{name} has strides {t.stride}, expected {packed} (NHWC, KRSC)")
        if len({t.uid for t in self._tensors.values()}) != 3:
            raise ValueError("two tensors have one uid")

    def build_operation_graph(self) -> None:
        self._comes(1, "build_operation_graph")
        x, w, y = (self._tensors[name].dim for name in "xwy")
        padding, stride = self._how
        spatial = [(x[i + 2] + 2 * padding[i] - w[i + 2]) // stride[i] + 1 for i in (0, 1)]
        if y != [x[0], w[0], *spatial] or x[1] != w[1] or min(*x, *w, *y) < 1:
            raise RuntimeError(f"CUDNN_STATUS_BAD_PARAM: sizes {x}, {w}, {y} do not agree")

    def create_execution_plans(self, modes: list[Any]) -> None:
        self._comes(2, "create_execution_plans")
        if not modes or not all(isinstance(mode, heur_mode) for mode in modes):
            raise TypeError("incompatible function arguments")

    def deselect_numeric_notes(self, notes: list[Any]) -> None:
        """Of the plans that there are: too early, it changes nothing."""
        self._is_at(3, "deselect_numeric_notes")
        if not all(isinstance(note, numerical_note) for note in notes):
            raise TypeError("incompatible function arguments")
        self._refused |= set(notes)

    def deselect_workspace_greater_than(self, workspace_limit: int) -> None:
        self._is_at(3, "deselect_workspace_greater_than")
        self._workspace_limit = workspace_limit

    def check_support(self) -> None:
        self._comes(3, "check_support")
        left = [
            (notes, size * int(np.prod(self._tensors["y"].dim)))
            for notes, size in OFFERED
            if not notes & self._refused and self._operation not in self.declined
        ]
        left = [(notes, size) for notes, size in left if size <= self._workspace_limit]
        if not left:
            raise cudnnGraphNotSupportedError(
                "[cudnn_frontend] Error: No execution plans support the graph.\nPlan at index 0: no"
            )
        self._plan = left[0]

    def build_plans(self) -> None:
        self._comes(4, "build_plans")
        self.built.append(self._operation)

    def get_workspace_size(self) -> int:
        self._is_at(5, "get_workspace_size")
        return self._plan[1]

    def execute(
        self, tensor_to_device_buffer: dict[int, int], workspace: int, handle: Handle | None = None
    ) -> None:
        self._is_at(5, "execute")
        if handle is None or handle.stream != streams.current().ptr:
            raise RuntimeError("the handle is not on CuPy's current stream")
        if set(tensor_to_device_buffer) != {t.uid for t in self._tensors.values()}:
            raise ValueError("the variant pack has other tensors than the graph")
        notes, size = self._plan
        if type(workspace) is not int or (size and not workspace):
            raise ValueError("CUDNN_STATUS_BAD_PARAM_NULL_POINTER: no workspace")
        counts.launch(f"cudnn {self._operation}")
        ctypes.memset(workspace, 0x5A, size)
        given = {name: t.at(tensor_to_device_buffer[t.uid]) for name, t in self._tensors.items()}
        out = given.pop(self._out)
        if NOTE.TENSOR_CORE in notes:
            given = {name: _to_tf32(array) for name, array in given.items()}
        out[...] = _convolved(self._operation, given, out.shape, *self._how)

    def _comes(self, step: int, name: str) -> None:
        self._is_at(step, name)
        self._step += 1

    def _is_at(self, step: int, name: str) -> None:
        if self._step != step:
            raise RuntimeError(f"{name} was called too early, or too late")


def _channels_last(dim: list[int]) -> list[int]:
    """Strides of axes (n, C, H, W) of what lies as (n, H, W, C), closely packed."""
    _, channels, height, width = dim
    return [height * width * channels, 1, width * channels, channels]


def _to_tf32(x: np.ndarray) -> np.ndarray:
    """float32 with the 13 last bits cut off."""
    return (np.ascontiguousarray(x).view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)


def _convolved(
    operation: str,
    given: dict[str, np.ndarray],
    shape: tuple[int, ...],
    padding: list[int],
    stride: list[int],
) -> np.ndarray:
    """Arrays (n, C, H, W) and (F, C, kh, kw); with sums in float64."""
    exact = {name: array.astype(np.float64) for name, array in given.items()}
    (top, left), (down, right) = padding, stride
    x = exact.get("x", np.zeros(shape))
    w = exact.get("w", np.zeros(shape))
    padded = np.pad(x, ((0, 0), (0, 0), (top, top), (left, left)))
    rows = (padded.shape[2] - w.shape[2]) // down + 1
    columns = (padded.shape[3] - w.shape[3]) // right + 1
    y = exact.get("y", np.zeros((x.shape[0], w.shape[0], rows, columns)))
    for u in range(w.shape[2]):
        for v in range(w.shape[3]):
            under = padded[:, :, u : u + rows * down : down, v : v + columns * right : right]
            under = under[:, :, :rows, :columns]
            if operation == "fprop":
                y += np.einsum("nchw,fc->nfhw", under, w[:, :, u, v])
            elif operation == "dgrad":
                under += np.einsum("nfhw,fc->nchw", y, w[:, :, u, v])
            else:
                w[:, :, u, v] = np.einsum("nfhw,nchw->fc", y, under)
    inside = padded[:, :, top : top + x.shape[2], left : left + x.shape[3]]
    return {"fprop": y, "dgrad": inside, "wgrad": w}[operation]


def module() -> types.ModuleType:
    """A new one, of which nothing has been asked yet."""
    made = types.ModuleType("cudnn")
    made.__spec__ = importlib.machinery.ModuleSpec(made.__name__, None)
    made.built, made.declined = [], set()
    graph = type("pygraph", (pygraph,), {"built": made.built, "declined": made.declined})
    made.__dict__.update(
        backend_version=lambda: VERSION,
        backend_version_string=lambda: "9.28.1",
        create_handle=Handle,
        cudnnGraphNotSupportedError=cudnnGraphNotSupportedError,
        data_type=data_type,
        heur_mode=heur_mode,
        numerical_note=numerical_note,
        pygraph=graph,
        set_stream=set_stream,
    )
    return made
