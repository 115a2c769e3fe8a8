"""Networks: layers between the pixels and the scores, trained through the computational graph."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from xpcls_backends import Array, HostGenerator

from .augment import augmented, check_augmentation
from .base import TensorKind
from .layers import ACTIVATIONS, Conv, Layer, Shape, parse_layers
from .losses import LOSSES
from .network_model import NetworkModel, standardization
from .optimizers import (
    Adam,
    Momentum,
    Nesterov,
    Optimizer,
    Parameters,
    Schedule,
    float_dtype,
    make_optimizer,
)
from .options import check_choice, check_flag, check_integer, check_number, shown
from .trained import Plan, TrainedClassifier
from .training import Settings

CONVNET = (
    *(("conv", 16), "relu", "max_pool"),
    *(("conv", 32), "relu", "max_pool"),
    *(("dense", 128), "relu", ("dropout", 0.5)),
)
STEP_RATE, SEARCH_RATE = 0.1, 1e-2  # on features of variance about 1


class NetworkClassifier(TrainedClassifier):
    """Base of the networks: what does not depend on how the layers are chosen."""

    adam_rate: ClassVar[float] = 1e-3

    parameters_: Parameters
    center_: Array | None
    scale_: float

    delta: float
    l2: float
    image_shape: tuple[int, int, int] | None
    augment: Sequence[Any]
    standardize: bool

    def _layers(self) -> tuple[Layer, ...]:
        """The layers, but for the last, as the parameters say."""
        raise NotImplementedError

    def _needs_images(self) -> bool:
        return bool(self.augment) or any(isinstance(layer, Conv) for layer in self._layers())

    def _shape_of(self, X: Any, features: int) -> Shape:
        """The shape of an example: that of images, or what image_shape says of rows."""
        if not self._needs_images():
            return (features,)
        given = tuple(X.shape[1:]) if getattr(X, "ndim", 2) == 4 else self.image_shape
        if given is None:
            raise ValueError(
                f"X has rows of {features} features, and {type(self).__name__} needs images: give "
                "X of shape (N, H, W, C), or image_shape=(H, W, C)"
            )
        if math.prod(given) != features:
            raise ValueError(
                f"image_shape is {given}, which holds {math.prod(given)} values, but X has "
                f"{features} features"
            )
        return tuple(given)

    def _plan_for(self, X: Any, rows: Array, n_classes: int, weight: Array | None) -> Plan:
        rate = self._rate()
        if hasattr(self, "classes_"):
            old: NetworkModel = self._plan.model
            return Plan(old, rate)
        shape = self._shape_of(X, rows.shape[1])
        center, scale = None, 1.0
        if self.standardize:
            center, scale = standardization(rows, weight)
        return Plan(self._model(shape, n_classes, center, scale), rate)

    def _model(
        self, shape: Shape, n_classes: int, center: Array | None, scale: float
    ) -> NetworkModel:
        return NetworkModel(
            self._layers(),
            shape,
            n_classes,
            self.loss,
            float(self.delta),
            float(self.l2),
            center,
            scale,
        )

    def _rate(self) -> float:
        """The learning rate; "auto" is one that suits features of variance 1."""
        if self.learning_rate != "auto":
            return float(self.learning_rate)
        optimizer = make_optimizer(self.optimizer)
        if not optimizer.uses_gradient:
            return SEARCH_RATE
        if isinstance(optimizer, Adam):
            return self.adam_rate
        decay = optimizer.decay if isinstance(optimizer, Momentum | Nesterov) else 0.0
        return STEP_RATE * (1.0 - decay)

    def _start(
        self, plan: Plan, rows: Array, n_classes: int, generator: HostGenerator
    ) -> Parameters:
        model: NetworkModel = plan.model
        return model.start(rows, float_dtype(rows), generator)

    def _parameters_now(self, plan: Plan) -> Parameters:
        return self.parameters_

    def _learn(self, plan: Plan, parameters: Parameters) -> None:
        self.parameters_ = parameters
        self.center_, self.scale_ = plan.model.center, plan.model.scale

    def _fitted(self) -> tuple[NetworkModel, Parameters]:
        return self._plan.model, self.parameters_

    def _settings(self, plan: Plan, epochs: int, schedule: Schedule) -> Settings:
        settings = super()._settings(plan, epochs, schedule)
        model: NetworkModel = plan.model
        changes = check_augmentation(self.augment)
        if not changes:
            return replace(settings, noisy=model.noisy)
        height, width, channels = model.shapes[0]

        def augment(batch: Array, generator: HostGenerator) -> Array:
            return augmented(batch, (height, width, channels), changes, generator)

        return replace(settings, noisy=model.noisy, augment=augment)

    def _learnt(self) -> tuple[dict[str, Array], dict[str, Any]]:
        tensors = {f"parameter_{i}": p for i, p in enumerate(self.parameters_)}
        if self.center_ is not None:
            tensors["center"] = self.center_
        plain = {
            "history": self.history_,
            "learning_rate": self.learning_rate_,
            "scale": self.scale_,
        }
        return tensors, plain

    def _tensor_kinds(self, n_classes: int) -> dict[str, TensorKind]:
        floats = ("float32", "float64")
        model = self._model(self._restored_shape(), n_classes, None, 1.0)
        kinds: dict[str, TensorKind] = {
            f"parameter_{i}": (floats, shape) for i, shape in enumerate(model.array_shapes())
        }
        if self.standardize:
            kinds["center"] = (floats, (self.n_features_in_,))
        return kinds

    def _restored_shape(self) -> Shape:
        """The shape of an example where only the file is known."""
        if not self._needs_images():
            return (self.n_features_in_,)
        shape = self.image_shape_ or self.image_shape
        if shape is None or math.prod(shape) != self.n_features_in_:
            raise ValueError(f"the images of {self.n_features_in_} values have shape {shape}")
        return tuple(shape)

    def _restore(self, classes: Any, tensors: dict[str, Array], plain: dict[str, Any]) -> None:
        parameters = tuple(
            tensors[f"parameter_{i}"] for i in range(len(tensors) - self.standardize)
        )
        if len({p.dtype for p in tensors.values()}) > 1:
            raise ValueError("the parameters are of several dtypes")
        scale = check_number("scale", plain["scale"], above=0)
        rate = check_number("learning_rate", plain["learning_rate"], above=0)
        n_classes = parameters[-1].shape[0]
        model = self._model(self._restored_shape(), n_classes, tensors.get("center"), scale)
        self._resume(classes, Plan(model, rate), parameters, plain["history"])

    def _check_options(self) -> None:
        check_choice("loss", self.loss, LOSSES)
        check_number("delta", self.delta, above=0)
        check_number("l2", self.l2, at_least=0)
        check_flag("standardize", self.standardize)
        check_augmentation(self.augment)
        if self.image_shape is not None:
            given = self.image_shape
            if not isinstance(given, tuple | list) or len(given) != 3:
                raise TypeError(f"image_shape is {shown(given)}, expected (H, W, C) or None")
            for length in given:
                check_integer("a length in image_shape", length, at_least=1)
        self._layers()
        super()._check_options()


class MLPClassifier(NetworkClassifier):
    """Fully connected layers: scores = W_n f(... f(W_1 x + b_1) ...) + b_n.

    It minimises mean loss + l2 * sum(W^2) over all weights, without a half; biases are free.

    Parameters
    ----------
    hidden_layer_sizes : units of each hidden layer, an integer or a sequence; () for none.
    activation : "relu", "tanh" or "sigmoid", after each hidden layer.
    loss : "softmax"; "hinge", "squared_hinge", "one_vs_all", "structured"; "squared_error",
        against 1 for the class and 0 for the others.
    delta : the margin of the hinge losses, above 0.
    l2 : strength of the penalty, weight decay, 0 or more.
    dropout : the share of hidden units left out in each step of training, at least 0, below 1.
    optimizer, learning_rate, schedule, batch_size, replace, epochs, early_stopping,
        validation_fraction, patience, random_state : as for LinearClassifier; the learning rate
        "auto" is 0.001 for Adam, 0.1 (1 - decay) for steps along the gradient.
    augment : how images are changed at random before they are learnt from, such as
        (("shift", 2), "flip"); see `xpcls.augment`.
    image_shape : (H, W, C) of images that come as rows; asked for by `augment` alone.
    standardize : subtract the mean row of the training rows, and divide by one number, the
        standard deviation of all that is left, so that features may be of any size.

    Attributes
    ----------
    coefs_ : weights of each layer, (inputs, units). intercepts_ : biases, (units,).
    center_, scale_ : rows become (x - center_) * scale_; None and 1 without `standardize`.
    classes_, history_, learning_rate_, n_features_in_ : as for LinearClassifier.

    Weights are drawn on the host, those of the last layer start at 0; all are float64 for float64
    X, else float32. Interrupted by Ctrl-C, the classifier is left fitted with what it had learnt.
    """

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        *,
        activation: str = "relu",
        loss: str = "softmax",
        delta: float = 1.0,
        l2: float = 1e-3,
        dropout: float = 0.0,
        optimizer: str | Optimizer = "adam",
        learning_rate: float | str = "auto",
        schedule: str | Schedule = "constant",
        batch_size: int = 128,
        replace: bool = False,
        epochs: int = 50,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        patience: int = 5,
        augment: Sequence[Any] = (),
        image_shape: tuple[int, int, int] | None = None,
        standardize: bool = True,
        random_state: Any = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.loss = loss
        self.delta = delta
        self.l2 = l2
        self.dropout = dropout
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.batch_size = batch_size
        self.replace = replace
        self.epochs = epochs
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.augment = augment
        self.image_shape = image_shape
        self.standardize = standardize
        self.random_state = random_state

    @property
    def coefs_(self) -> list[Array]:
        """The weights of each layer, (inputs, units)."""
        return list(self.parameters_[::2])

    @property
    def intercepts_(self) -> list[Array]:
        """The biases of each layer, (units,)."""
        return list(self.parameters_[1::2])

    def _layers(self) -> tuple[Layer, ...]:
        check_choice("activation", self.activation, ACTIVATIONS)
        rate = check_number("dropout", self.dropout, at_least=0, below=1)
        sizes = self.hidden_layer_sizes
        if isinstance(sizes, str) or not isinstance(sizes, Sequence):
            sizes = (check_integer("hidden_layer_sizes", sizes, at_least=1),)
        layers: list[Any] = []
        for units in sizes:
            check_integer("a number in hidden_layer_sizes", units, at_least=1)
            layers += [("dense", int(units)), self.activation]
            if rate:
                layers.append(("dropout", rate))
        return parse_layers(layers)


class ConvNetClassifier(NetworkClassifier):
    """A convolutional network: filters over images, pooling, and a linear classifier at the end.

    Parameters
    ----------
    layers : what stands before the scores, as plain data:

            (("conv", 16), "relu", "max_pool", ("conv", 32), "relu", "max_pool",
             ("dense", 128), "relu", ("dropout", 0.5))

        which is the default. ("conv", filters, size=3, stride=1); ("max_pool", size=2);
        ("avg_pool", size=2); ("dense", units); "relu", "tanh", "sigmoid"; "batch_norm";
        ("dropout", rate). A linear layer with a score for each class follows.
    loss, delta, l2, optimizer, learning_rate, schedule, batch_size, replace, epochs,
        early_stopping, validation_fraction, patience, augment, standardize, random_state : as for
        MLPClassifier; the learning rate "auto" is 0.002 for Adam, and falls along a cosine.
    image_shape : (H, W, C) of images that come to `fit` as rows.

    Attributes
    ----------
    parameters_ : the arrays of all layers in turn: filters (kh, kw, C, F) or weights, then
        biases; of batch normalisation factor, offset, mean and variance.
    center_, scale_, classes_, history_, learning_rate_, n_features_in_ : as for MLPClassifier.

    X : images (N, H, W, C), uint8 or floating, or rows with `image_shape`.
    """

    adam_rate: ClassVar[float] = 2e-3

    def __init__(
        self,
        layers: Sequence[Any] = CONVNET,
        *,
        loss: str = "softmax",
        delta: float = 1.0,
        l2: float = 1e-4,
        optimizer: str | Optimizer = "adam",
        learning_rate: float | str = "auto",
        schedule: str | Schedule = "cosine",
        batch_size: int = 64,
        replace: bool = False,
        epochs: int = 10,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        patience: int = 5,
        augment: Sequence[Any] = (),
        image_shape: tuple[int, int, int] | None = None,
        standardize: bool = True,
        random_state: Any = None,
    ) -> None:
        self.layers = layers
        self.loss = loss
        self.delta = delta
        self.l2 = l2
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.batch_size = batch_size
        self.replace = replace
        self.epochs = epochs
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.augment = augment
        self.image_shape = image_shape
        self.standardize = standardize
        self.random_state = random_state

    def _needs_images(self) -> bool:
        return True

    def _layers(self) -> tuple[Layer, ...]:
        return parse_layers(self.layers)
