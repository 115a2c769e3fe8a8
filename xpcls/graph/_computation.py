"""The lecture's ComputationalGraph: gates by name, passed through forward and backward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

from xpcls_backends import Array, namespace_of

from ._gates import Gate


class ComputationalGraph:
    """A graph of gates, open to look into: every value and every gradient stays readable.

    nodes : for each node its gate and the names of its inputs:

            {"q": (AddGate(), "x", "y"), "f": (MultiplyGate(), "q", "z")}

        A name that is no node is an input of the graph. The order does not matter.
    output : the name of the loss; None where one node alone is used by no other.

    values, gradients : of every input and node by name, after `forward` and `backward`; the
    gradient of the output with respect to it.

    Raises ValueError, naming the node, for cycles, no or several possible outputs, and gates with
    too many or too few inputs.
    """

    def __init__(self, nodes: Mapping[str, Sequence[Any]], output: str | None = None) -> None:
        self.gates: dict[str, Gate] = {}
        self.inputs_of: dict[str, tuple[str, ...]] = {}
        for name, (gate, *inputs) in nodes.items():
            if not isinstance(gate, Gate):
                raise TypeError(f"node {name!r} has {gate!r:.60}, expected a gate: AddGate(), ...")
            if len(inputs) != gate.n_inputs:
                raise ValueError(
                    f"node {name!r} is a {gate!r} with {len(inputs)} inputs, expected "
                    f"{gate.n_inputs}"
                )
            self.gates[name], self.inputs_of[name] = gate, tuple(inputs)
        self._order = self._sorted()
        used = {name for inputs in self.inputs_of.values() for name in inputs}
        self.input_names = tuple(name for name in self._order if name not in self.gates)
        self.output = self._output_among([n for n in self.gates if n not in used], output)
        self.values: dict[str, Array] = {}
        self.gradients: dict[str, Array] = {}
        self._passes: dict[str, Any] = {}

    def nodes_topologically_sorted(self) -> list[str]:
        """The names of the nodes, each after all nodes that it gets inputs from."""
        return [name for name in self._order if name in self.gates]

    def forward(self, inputs: Mapping[str, Any]) -> Array:
        """The loss: the output for these inputs, numbers or arrays by name.

        Raises ValueError for inputs that are missing or unknown, and for shapes that do not fit,
        naming the node.
        """
        missing = [name for name in self.input_names if name not in inputs]
        if missing:
            user = next(n for n, given in self.inputs_of.items() if missing[0] in given)
            raise ValueError(
                f"the input {missing[0]!r} of node {user!r} is missing; forward needs values for "
                f"{', '.join(map(repr, self.input_names))}"
            )
        unknown = [name for name in inputs if name not in self.input_names]
        if unknown:
            raise ValueError(
                f"there is no input {unknown[0]!r}; the inputs are "
                f"{', '.join(map(repr, self.input_names))}"
            )
        values: dict[str, Any] = dict(inputs)
        passes = {}
        for name in self.nodes_topologically_sorted():
            given = self.inputs_of[name]
            try:
                arrays, z, pulls = self.gates[name].apply(*(values[i] for i in given))
            except (TypeError, ValueError) as error:
                raise type(error)(f"node {name!r}: {error}") from error
            values.update(zip(given, arrays, strict=True))
            values[name], passes[name] = z, (arrays, z, pulls)
        self.values, self._passes, self.gradients = values, passes, {}
        return values[self.output]

    def backward(self) -> dict[str, Array]:
        """The gradients of the loss with respect to each input, by its name.

        Starts from 1, the gradient of the loss with respect to itself, and passes through the
        nodes from last to first. Where a value has several consumers, their gradients add up.
        A second call gives the same again.
        """
        if not self._passes:
            raise RuntimeError("there are no values yet: call forward before backward")
        loss = self.values[self.output]
        if loss.size != 1:
            raise ValueError(
                f"node {self.output!r} has shape {tuple(loss.shape)}, expected one number as loss"
            )
        gradients: dict[str, Array] = {self.output: namespace_of(loss).ones_like(loss)}
        for name in reversed(self.nodes_topologically_sorted()):
            if name not in gradients:
                continue  # the loss does not depend on it
            arrays, z, pulls = self._passes[name]
            parts = self.gates[name].gradients(arrays, z, pulls, gradients[name])
            for given, part in zip(self.inputs_of[name], parts, strict=True):
                gradients[given] = gradients[given] + part if given in gradients else part
        for name, value in self.values.items():
            if name not in gradients:
                gradients[name] = namespace_of(value).zeros_like(value)
        self.gradients = gradients
        return {name: gradients[name] for name in self.input_names}

    def _sorted(self) -> list[str]:
        """Inputs and nodes, each after what it needs."""
        try:
            return list(TopologicalSorter(self.inputs_of).static_order())
        except CycleError as error:
            path = " -> ".join(map(repr, reversed(error.args[1])))
            raise ValueError(
                f"node {error.args[1][0]!r} needs its own output: {path} is a cycle"
            ) from None

    def _output_among(self, last: list[str], output: str | None) -> str:
        if output is None:
            if len(last) != 1:
                found = f"nodes {', '.join(map(repr, last))}" if last else "no node"
                raise ValueError(f"{found} could be the loss; say which with output=")
            return last[0]
        if output not in self.gates:
            raise ValueError(
                f"output is {output!r}, expected one of the nodes "
                f"{', '.join(map(repr, self.gates))}"
            )
        return output

    def _repr_svg_(self) -> str:
        """The graph as notebooks show it."""
        from ._draw import draw

        return str(draw(self))
