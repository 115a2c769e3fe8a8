"""Networks as plain data: what is read, what is refused, and what pooling before ReLU saves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from xpcls.layers import (
    Activation,
    Bias,
    Conv,
    Dense,
    Dropout,
    MaxPool,
    Pass,
    arranged,
    fused,
    parse_layers,
    spread_before,
)
from xpcls.network_model import NetworkModel
from xpcls_backends import Backend, host_generator, to_host


def test_a_specification_becomes_layers_with_their_biases() -> None:
    found = parse_layers([("conv", 4, 5, 2), "relu", ["max_pool", 3], ("dense", 7), "dropout"])
    assert found == (
        Conv(4, 5, 2),
        Bias(),
        Activation("relu"),
        MaxPool(3),
        Dense(7),
        Bias(),
        Dropout(0.5, place=4),
    )
    assert parse_layers(()) == ()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("relu", "layers is 'relu', expected a sequence such as"),
        (7, "layers is 7, expected a sequence such as"),
        (["rleu"], r"layers\[0\] is 'rleu', expected one of 'conv', 'dense', .* alone or in a"),
        (["relu", ()], r"layers\[1\] is \(\), expected one of"),
        ([None], r"layers\[0\] is None, expected one of"),
        (["conv"], r"layers\[0\] is 'conv', but 'conv' takes 1 to 3 numbers"),
        ([("relu", 1)], r"layers\[0\] is \('relu', 1\), but 'relu' takes 0 numbers"),
        ([("conv", 4, 2)], r"layers\[0\] has filters of size 2, expected an odd size"),
        ([("conv", 0)], r"a number in layers\[0\] is 0"),
        ([("dense", 2.5)], r"a number in layers\[0\] is 2.5"),
        ([("dropout", 1)], r"the rate in layers\[0\] is 1"),
    ],
)
def test_what_is_no_layer_is_named(given: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        parse_layers(given)


@pytest.mark.parametrize(
    ("layers", "shape", "message"),
    [
        ([("conv", 2)], (12,), "'conv' needs images .*, and gets rows of 12 features"),
        ([("dense", 3), "max_pool"], (4, 4, 1), "'max_pool' needs images"),
        (["max_pool", "max_pool"], (3, 9, 1), "windows of 2 x 2, and the images have become 1 x 4"),
    ],
)
def test_what_does_not_fit_the_images_is_named(layers: Any, shape: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NetworkModel(parse_layers(layers), shape, 2, "softmax", 1.0, 0.0)


def test_shapes_run_through() -> None:
    layers = [("conv", 4, 3, 2), "batch_norm", "avg_pool", ("dense", 5), "tanh"]
    model = NetworkModel(parse_layers(layers), (9, 8, 3), 2, "softmax", 1.0, 0.0)
    assert model.shapes == [
        (9, 8, 3),
        (5, 4, 4),
        (5, 4, 4),
        (5, 4, 4),
        (2, 2, 4),
        (5,),
        (5,),
        (5,),
        (2,),
        (2,),
    ]
    assert model.array_shapes() == [
        (3, 3, 3, 4),
        (4,),
        *[(4,)] * 4,
        (16, 5),
        (5,),
        (5, 2),
        (2,),
    ]


def test_weights_are_spread_for_what_follows_them() -> None:
    layers = parse_layers([("dense", 3), "batch_norm", "relu", ("dense", 3), "tanh", ("dense", 2)])
    assert [spread_before(layers, i) for i, layer in enumerate(layers) if type(layer) is Dense] == [
        2.0,
        1.0,
        1.0,
    ]
    model = NetworkModel(parse_layers([("dense", 400), "relu"]), (300,), 3, "softmax", 1.0, 0.0)
    first, bias, last, _ = model.start(np.zeros((1, 300), "f4"), np.float32, host_generator(0))
    assert first.std() == pytest.approx(np.sqrt(2 / 300), rel=0.02)
    assert not bias.any() and not last.any()


def test_pooling_comes_before_what_it_may_pass() -> None:
    layers = parse_layers([("conv", 2), "relu", "max_pool", ("conv", 2), "sigmoid", "avg_pool"])
    names = [getattr(layer, "name", None) or layer.function for layer in arranged(layers)]  # type: ignore[attr-defined]
    assert names == ["conv", "max_pool", "bias", "relu", "conv", "bias", "sigmoid", "avg_pool"]
    still = parse_layers([("conv", 2), "batch_norm", "max_pool"])  # a factor may be negative
    assert arranged(still) == still


def test_the_arranged_network_computes_the_same(backend: Backend) -> None:
    layers = parse_layers([("conv", 3), "relu", "max_pool", ("conv", 2), "tanh", ("max_pool", 3)])
    generator = host_generator(0)
    x: Any = backend.asarray(generator.normal(size=(4, 12, 13, 2)).astype("f4"))
    outputs = []
    for order in (layers, arranged(layers), fused(arranged(layers))):
        draws = host_generator(1)
        y, shape = x, (12, 13, 2)
        for layer in order:
            # Biases are drawn too, or their order would not show.
            arrays = [
                backend.asarray(draws.normal(size=s).astype("f4")) for s in layer.shapes(shape)
            ]
            y = layer.forward(y, arrays, Pass())
            shape = layer.output_shape(shape)
            assert tuple(y.shape[1:]) == shape
        outputs.append(to_host(y))
    for other in outputs[1:]:
        np.testing.assert_allclose(outputs[0], other, rtol=1e-5, atol=1e-6)
