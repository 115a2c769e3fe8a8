"""The layers of networks, as plain data and as what they compute.

A network is written as a sequence of layers, each its name, or a tuple of its name and numbers:

    ("conv", filters, size=3, stride=1)     filters over images, padded so that stride 1 keeps size
    ("max_pool", size=2), ("avg_pool", size=2)      windows that do not overlap
    ("dense", units)                        a product with weights, of all that comes in
    "relu", "tanh", "sigmoid"
    "batch_norm"                            of each channel or unit
    ("dropout", rate)                       in training alone

Images become rows before the first dense layer. What a network is, as data, any file can hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from xpcls_backends import Array, HostGenerator

from . import graph
from .options import check_integer, check_number, shown

Shape = tuple[int, ...]  # of one example: (H, W, C) or (D,)
HostArrays = list[Any]

SPREAD = {"relu": 2.0}  # variance of weights times inputs; He and others, 2015; else 1


@dataclass
class Pass:
    """What the layers are told, and tell, in one pass forward.

    key : names the masks of this step; None in prediction, where nothing is random.
    first_row : where these rows stand in their batch. training : whether statistics are those of
    the batch; they are then noted in `statistics`, (mean, variance) for each batch norm.
    """

    training: bool = False
    key: int | None = None
    first_row: int = 0
    statistics: list[tuple[Array, Array]] = field(default_factory=list)


class Layer:
    """A step of a network; a subclass is a frozen dataclass of its numbers.

    n_parameters : how many arrays it learns. n_statistics : how many it keeps without a gradient.
    pointwise : it is monotone and treats each entry of a channel alike, so that the largest of
    several may be taken before it as well as after.
    """

    name: ClassVar[str]
    n_parameters: ClassVar[int] = 0
    n_statistics: ClassVar[int] = 0
    pointwise: ClassVar[bool] = False

    def output_shape(self, shape: Shape) -> Shape:
        """The shape of an output, from that of an input; raises ValueError where none fits."""
        return shape

    def shapes(self, shape: Shape) -> list[Shape]:
        """The shapes of its arrays, parameters first, for inputs of a shape."""
        return []

    def start(self, shape: Shape, spread: float, generator: HostGenerator) -> HostArrays:
        """Its arrays to begin with, float32, drawn on the host."""
        return []

    def forward(self, x: Any, arrays: Sequence[Any], now: Pass) -> Any:
        """The output; x and the parameters are variables, or arrays where there is no gradient."""
        raise NotImplementedError


@dataclass(frozen=True)
class Conv(Layer):
    """Filters over images, without their bias."""

    name: ClassVar[str] = "conv"
    n_parameters: ClassVar[int] = 1

    filters: int
    size: int = 3
    stride: int = 1

    def output_shape(self, shape: Shape) -> Shape:
        height, width, _ = _image(self, shape)
        return (*(math.ceil(n / self.stride) for n in (height, width)), self.filters)

    def shapes(self, shape: Shape) -> list[Shape]:
        return [(self.size, self.size, _image(self, shape)[2], self.filters)]

    def start(self, shape: Shape, spread: float, generator: HostGenerator) -> HostArrays:
        (wanted,) = self.shapes(shape)
        return [_drawn(wanted, spread / math.prod(wanted[:3]), generator)]

    def forward(self, x: Any, arrays: Sequence[Any], now: Pass) -> Any:
        return graph.conv2d(x, arrays[0], stride=self.stride, padding="same")


@dataclass(frozen=True)
class Dense(Layer):
    """A product with weights (inputs, units), without its bias."""

    name: ClassVar[str] = "dense"
    n_parameters: ClassVar[int] = 1

    units: int

    def output_shape(self, shape: Shape) -> Shape:
        return (self.units,)

    def shapes(self, shape: Shape) -> list[Shape]:
        return [(math.prod(shape), self.units)]

    def start(self, shape: Shape, spread: float, generator: HostGenerator) -> HostArrays:
        return [_drawn((math.prod(shape), self.units), spread / math.prod(shape), generator)]

    def forward(self, x: Any, arrays: Sequence[Any], now: Pass) -> Any:
        return graph.matmul(graph.flatten(x) if x.ndim > 2 else x, arrays[0])


@dataclass(frozen=True)
class Bias(Layer):
    """A number added to each channel or unit; every conv and dense layer is followed by one."""

    name: ClassVar[str] = "bias"
    n_parameters: ClassVar[int] = 1
    pointwise: ClassVar[bool] = True

    def shapes(self, shape: Shape) -> list[Shape]:
        return [shape[-1:]]

    def start(self, shape: Shape, spread: float, generator: HostGenerator) -> HostArrays:
        return [_drawn(shape[-1:], 0.0, generator)]

    def forward(self, x: Any, arrays: Sequence[Any], now: Pass) -> Any:
        return graph.add(x, arrays[0])


@dataclass(frozen=True)
class Activation(Layer):
    """relu, tanh or sigmoid of each entry."""

    pointwise: ClassVar[bool] = True

    function: str

    def forward(self, x: Any, arrays: Sequence[Any], now: Pass) -> Any:
        return graph.OPERATIONS[self.function](x)


@dataclass(frozen=True)
class BiasedRelu(Bias):
    """A bias and the relu that follows it, in fewer passes."""

    name: ClassVar[str] = "bias and relu"
    function: ClassVar[str] = "relu"

    def forward(self, x: Any, arrays: Sequence[Any], now: Pass) -> Any:
        return graph.biased_relu(x, arrays[0])


@dataclass(frozen=True)
class MaxPool(Layer):
    """The largest entry of each window; windows do not overlap."""

    name: ClassVar[str] = "max_pool"

    size: int = 2

    def output_shape(self, shape: Shape) -> Shape:
        return _pooled(self, shape, self.size)

    def forward(self, x: Any, arrays: Sequence[Any], now: Pass) -> Any:
        return graph.max_pool(x, self.size)


@dataclass(frozen=True)
class AvgPool(Layer):
    """The mean of each window; windows do not overlap."""

    name: ClassVar[str] = "avg_pool"

    size: int = 2

    def output_shape(self, shape: Shape) -> Shape:
        return _pooled(self, shape, self.size)

    def forward(self, x: Any, arrays: Sequence[Any], now: Pass) -> Any:
        return graph.avg_pool(x, self.size)


@dataclass(frozen=True)
class BatchNorm(Layer):
    """Each channel centred and scaled; by the batch in training, by running means afterwards."""

    name: ClassVar[str] = "batch_norm"
    n_parameters: ClassVar[int] = 2
    n_statistics: ClassVar[int] = 2

    def shapes(self, shape: Shape) -> list[Shape]:
        return [shape[-1:]] * 4

    def start(self, shape: Shape, spread: float, generator: HostGenerator) -> HostArrays:
        zero = _drawn(shape[-1:], 0.0, generator)
        return [zero + 1.0, zero, zero, zero + 1.0]  # factor, offset, mean, variance

    def forward(self, x: Any, arrays: Sequence[Any], now: Pass) -> Any:
        factor, offset, mean, variance = arrays
        if not now.training:
            return graph.batch_norm(x, factor, offset, statistics=(mean, variance))
        now.statistics.append(graph.moments(x))
        return graph.batch_norm(x, factor, offset)


@dataclass(frozen=True)
class Dropout(Layer):
    """Entries at 0 with probability `rate`, in training alone."""

    name: ClassVar[str] = "dropout"

    rate: float = 0.5
    place: int = 0  # among the layers, so that two do not share a mask

    def forward(self, x: Any, arrays: Sequence[Any], now: Pass) -> Any:
        if now.key is None:
            return x
        return graph.dropout(x, self.rate, key=now.key + self.place, first_row=now.first_row)


ACTIVATIONS = ("relu", "tanh", "sigmoid")
NUMBERS: dict[str, tuple[int, int]] = {  # name: how many numbers it takes, at least and at most
    "conv": (1, 3),
    "dense": (1, 1),
    "max_pool": (0, 1),
    "avg_pool": (0, 1),
    "dropout": (0, 1),
    "batch_norm": (0, 0),
    **dict.fromkeys(ACTIVATIONS, (0, 0)),
}
MAKERS: dict[str, Callable[..., Layer]] = {
    kind.name: kind for kind in (Conv, Dense, MaxPool, AvgPool, BatchNorm, Dropout)
}


def parse_layers(layers: Any, argument: str = "layers") -> tuple[Layer, ...]:
    """The layers that a specification names, with a bias after each conv and dense.

    Raises TypeError or ValueError, naming the layer, for what cannot be.
    """
    if isinstance(layers, str) or not isinstance(layers, Sequence):
        raise TypeError(
            f"{argument} is {shown(layers)}, expected a sequence such as "
            "(('conv', 32), 'relu', 'max_pool')"
        )
    found: list[Layer] = []
    for place, given in enumerate(layers):
        found.append(_parsed(given, f"{argument}[{place}]", place))
        if isinstance(found[-1], Conv | Dense):
            found.append(Bias())
    return tuple(found)


def _parsed(given: Any, where: str, place: int) -> Layer:
    parts = (given,) if isinstance(given, str) else given
    name = parts[0] if isinstance(parts, tuple | list) and parts else None
    if not isinstance(name, str) or name not in NUMBERS:
        raise ValueError(
            f"{where} is {shown(given)}, expected one of {', '.join(map(repr, NUMBERS))}, "
            "alone or in a tuple with its numbers"
        )
    numbers = parts[1:]
    least, most = NUMBERS[name]
    if not least <= len(numbers) <= most:
        wanted = f"{least}" if least == most else f"{least} to {most}"
        raise ValueError(f"{where} is {shown(given)}, but {name!r} takes {wanted} numbers")
    if name == "dropout":
        rate = check_number(f"the rate in {where}", *(numbers or (0.5,)), at_least=0, below=1)
        return Dropout(rate, place)
    whole = [check_integer(f"a number in {where}", n, at_least=1) for n in numbers]
    if name == "conv" and len(whole) > 1 and whole[1] % 2 == 0:
        raise ValueError(f"{where} has filters of size {whole[1]}, expected an odd size")
    return Activation(name) if name in ACTIVATIONS else MAKERS[name](*whole)


def spread_before(layers: Sequence[Layer], place: int) -> float:
    """How widely the weights of a layer are to be spread, by the activation that follows it."""
    for layer in layers[place + 1 :]:
        if isinstance(layer, Activation | BiasedRelu):
            return SPREAD.get(layer.function, 1.0)
        if isinstance(layer, Conv | Dense):
            break
    return 1.0


def arranged(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """The same network with pooling before what treats entries alike and is monotone.

    The largest of relu(a + b) is relu of the largest a, plus b: the same number, and a quarter
    of the work for windows of 2 x 2.
    """
    order = list(layers)
    for place in range(len(order)):
        here = place
        while here and isinstance(order[here], MaxPool) and order[here - 1].pointwise:
            order[here - 1], order[here] = order[here], order[here - 1]
            here -= 1
    return tuple(order)


def fused(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """The same network with each bias and the relu that follows it as one layer."""
    found: list[Layer] = []
    for layer in layers:
        if layer == Activation("relu") and found and found[-1] == Bias():
            found[-1] = BiasedRelu()
        else:
            found.append(layer)
    return tuple(found)


def _image(layer: Layer, shape: Shape) -> tuple[int, int, int]:
    if len(shape) != 3:
        raise ValueError(
            f"{layer.name!r} needs images (H, W, C), and gets rows of {shape[0]} features: give "
            "images (N, H, W, C) to fit, or image_shape; and put it before the first 'dense'"
        )
    return shape[0], shape[1], shape[2]


def _pooled(layer: Layer, shape: Shape, size: int) -> Shape:
    height, width, channels = _image(layer, shape)
    if min(height, width) < size:
        raise ValueError(
            f"{layer.name!r} has windows of {size} x {size}, and the images have become "
            f"{height} x {width} by then: leave out a pooling layer, or take larger images"
        )
    return height // size, width // size, channels


def _drawn(shape: Shape, variance: float, generator: HostGenerator) -> Any:
    """Normal numbers of that variance, float32, on the host; zeros are drawn as well."""
    drawn = generator.standard_normal(shape, dtype="float32")
    return drawn * drawn.dtype.type(math.sqrt(variance))
