"""The lecture's gates: nodes that compute forward, and send a gradient back."""

from __future__ import annotations

from typing import Any, ClassVar

from xpcls_backends import Array, as_array, is_array, namespace_of

from ._backward import unbroadcast
from ._variable import OPERATIONS, Pulls


class Gate:
    """An operation of the rule table as a node of the lecture's graph.

    `Gate("exp")` and `Gate("sum", axis=0)` are gates of any operation; AddGate, MultiplyGate,
    MaxGate and SigmoidGate are those that the lecture names.

    operation : the name of the operation. options : what it takes besides arrays.
    role : what it does with the gradient, in the lecture's word. n_inputs : how many inputs it
    takes.
    """

    role: ClassVar[str] = "function"

    def __init__(self, operation: str, **options: Any) -> None:
        if operation not in OPERATIONS or operation.startswith("_"):
            known = ", ".join(sorted(name for name in OPERATIONS if name[0] != "_"))
            raise ValueError(f"operation is {operation!r}, expected one of: {known}")
        self.operation, self.options = operation, options
        self._rule = OPERATIONS[operation].rule  # type: ignore[attr-defined]
        self.n_inputs = self._rule.__code__.co_posonlyargcount - 1
        self._pass: tuple[tuple[Array, ...], Array, Pulls] | None = None

    def forward(self, *inputs: Any) -> Array:
        """The output for these inputs, numbers or arrays; they are kept for `backward`."""
        values, z, pulls = self.apply(*inputs)
        self._pass = values, z, pulls
        return z

    def backward(self, dz: Any) -> list[Array]:
        """The gradients of the inputs of the last `forward`, from that of its output.

        dz : the upstream gradient, of the shape of the output; 1 for the last gate of a graph.
        Each gradient is dz times the local one, and has the shape of its input.
        """
        if self._pass is None:
            raise RuntimeError(f"{self!r} has no inputs yet: call forward before backward")
        values, z, pulls = self._pass
        return self.gradients(values, z, pulls, dz)

    def apply(self, *inputs: Any) -> tuple[tuple[Array, ...], Array, Pulls]:
        """Inputs as arrays, output, and pullbacks; changes nothing of the gate itself.

        A gate can so stand in a graph more than once.
        """
        if len(inputs) != self.n_inputs:
            raise ValueError(f"{self!r} takes {self.n_inputs} inputs, and got {len(inputs)}")
        values = _as_arrays(inputs)
        xp = namespace_of(*values)
        try:
            z, pulls = self._rule(xp, *values, **self.options)
        except ValueError as error:
            shapes = " and ".join(str(tuple(v.shape)) for v in values)
            raise ValueError(f"{self!r} does not take shapes {shapes}: {error}") from error
        return values, z, pulls

    def gradients(self, values: tuple[Array, ...], z: Array, pulls: Pulls, dz: Any) -> list[Array]:
        """The gradients of the inputs of one `apply`."""
        xp = namespace_of(*values)
        (g,) = _as_arrays((dz,)) if not is_array(dz) else (dz,)
        if g.shape != z.shape:
            raise ValueError(f"dz has shape {g.shape}, expected that of {self!r}, {z.shape}")
        if not isinstance(pulls, tuple):
            found = pulls(g, (True,) * len(values))
        else:
            found = tuple(None if pull is None else pull(g) for pull in pulls)
        return [
            xp.zeros_like(value) if part is None else unbroadcast(xp, part, value.shape)
            for part, value in zip(found, values, strict=True)
        ]

    def __repr__(self) -> str:
        if type(self) is not Gate:
            return f"{type(self).__name__}()"
        options = "".join(f", {name}={value!r}" for name, value in self.options.items())
        return f"Gate({self.operation!r}{options})"


class AddGate(Gate):
    """x + y. A distributor: both inputs get the gradient as it is."""

    role = "distributor"

    def __init__(self) -> None:
        super().__init__("add")


class MultiplyGate(Gate):
    """x y. A switcher: each input gets the gradient times the other input."""

    role = "switcher"

    def __init__(self) -> None:
        super().__init__("multiply")


class MaxGate(Gate):
    """max(x, y). A router: the larger input gets the gradient, the first where both are equal."""

    role = "router"

    def __init__(self) -> None:
        super().__init__("maximum")


class SigmoidGate(Gate):
    """1 / (1 + e^-x), four gates in one: the input gets the gradient times (1 - z) z."""

    role = "squasher"

    def __init__(self) -> None:
        super().__init__("sigmoid")


def _as_arrays(inputs: tuple[Any, ...]) -> tuple[Array, ...]:
    """Numbers and arrays as arrays of floats, all of the namespace of the arrays among them."""
    from ._variable import Variable

    return tuple(Variable(as_array(x, "an input")).value for x in inputs)
