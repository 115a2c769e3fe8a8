"""Reverse mode: gradients flow from an output back to everything it was computed from."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any

from xpcls_backends import Array, Namespace, as_array, device_of, namespace_of

from ._variable import Variable

_by_serial = attrgetter("serial")


def nodes_topologically_sorted(output: Variable) -> list[Variable]:
    """`output` and every variable it was computed from; each stands after all of its inputs.

    Found without recursion, so that a chain may be of any length. A variable is made after its
    inputs, which makes the order of making a topological one.
    """
    found, seen = [output], {output}
    note, follow = seen.add, found.append
    for node in found:  # which grows meanwhile
        for given in node.inputs:
            if type(given) is Variable and given not in seen:
                note(given)
                follow(given)
    found.sort(key=_by_serial)
    return found


def backward(
    output: Variable, grad: Any = None, *, accumulate: bool = False, release: bool = False
) -> None:
    """See `Variable.backward`.

    One variable after the other, from the output back: its gradient is complete once all its
    consumers have added theirs, the multivariate chain rule dL/dx = sum_c dL/dc dc/dx.
    """
    seed = _seed(output, grad)
    order = nodes_topologically_sorted(output)
    kept = [v for v in order if v.grad is not None and not v.inputs] if accumulate else []
    before = [(variable, variable.grad) for variable in kept]
    for variable in order:
        variable.grad = None
    output.grad = seed
    sums: set[Variable] = set()  # those with a large gradient that nobody else holds
    while order:
        node = order.pop()
        g, inputs, pulls = node.grad, node.inputs, node.pulls
        if not inputs or g is None:  # made by hand, or without influence, as a condition is
            continue
        shares = pulls if type(pulls) is tuple else _shares(node, g)
        place = -1
        for given in inputs:  # the inner loop of training; a zip takes a fifth of its time
            place += 1
            pull = shares[place]
            if pull is None or type(given) is not Variable:
                continue
            part, value, had = pull(g), given.value, given.grad
            if part.shape != value.shape or (
                part.dtype is not value.dtype and part.dtype != value.dtype
            ):
                part = _fitted(given, part)
            if had is None:
                given.grad = part
            elif sums and given in sums:
                had += part
                given.grad = had
            else:
                given.grad = had + part
                if value.size > LARGE:
                    sums.add(given)
        part = had = None  # their memory is free for the next gradients
        if release:
            # What was computed of it has been served: with its inputs gone, so are their arrays.
            node.inputs = RELEASED
            node.pulls = node.grad = None
    for variable, old in before:
        variable.grad = old if variable.grad is None else old + variable.grad


LARGE = 2**14  # entries; to add to fewer in place takes longer than to make a new array
RELEASED = (None,)  # inputs of a node that a second backward must not take for a leaf


def _shares(node: Variable, g: Array) -> list[Any]:
    """For inputs whose gradients share work: functions that give what was computed together."""
    if node.pulls is None:
        raise RuntimeError(
            f"{node!r} was released by an earlier backward(release=True); compute it again"
        )
    assert callable(node.pulls)
    parts = node.pulls(g, tuple(type(given) is Variable for given in node.inputs))
    return [None if part is None else (lambda _, part=part: part) for part in parts]


def _fitted(variable: Variable, part: Array) -> Array:
    """One consumer's share of a gradient in the shape and dtype of its variable."""
    value = variable.value
    if part.shape != value.shape:
        part = unbroadcast(variable.xp, part, value.shape)
    # It may have met a constant of another dtype.
    return variable.xp.astype(part, value.dtype, copy=False)


def unbroadcast(xp: Namespace, g: Array, shape: tuple[int, ...]) -> Array:
    """`g` summed over the axes along which an array of `shape` was repeated.

    The transpose of broadcasting: an entry that was used several times gets the sum.
    """
    extra = g.ndim - len(shape)
    axes = tuple(range(extra)) + tuple(
        extra + i for i, n in enumerate(shape) if n == 1 and g.shape[extra + i] != 1
    )
    return xp.reshape(xp.sum(g, axis=axes), shape) if axes else xp.reshape(g, shape)


def _seed(output: Variable, grad: Any) -> Array:
    """The gradient to begin with."""
    xp, value = output.xp, output.value
    if grad is None:
        if value.size != 1:
            raise ValueError(
                f"grad is None, but {output!r:.60} has shape {output.shape}: give backward(grad) "
                "the gradient of what comes after, or sum to one number first"
            )
        return xp.ones_like(value)
    given = grad.value if type(grad) is Variable else as_array(grad, "grad")
    if namespace_of(given) is not xp:
        given = xp.asarray(given, device=device_of(value))
    if given.shape != value.shape:
        raise ValueError(f"grad has shape {given.shape}, expected {output.shape}, that of value")
    return xp.astype(given, value.dtype, copy=False)


def jacobian(f: Callable[..., Any], *inputs: Any) -> Any:
    """All partial derivatives of the entries of f(*inputs) with respect to those of each input.

    f : a function of variables that gives one. inputs : numbers or arrays.
    Returns an array of shape (*output.shape, *input.shape), or a tuple of such for several
    inputs; entry [i, j] is d output_i / d input_j. One backward pass an entry of the output.
    """
    variables = tuple(Variable(x) for x in inputs)
    output = f(*variables)
    if type(output) is not Variable:
        raise TypeError(f"f gives a {type(output).__name__}, expected a Variable")
    xp, device = output.xp, device_of(output.value)
    size = output.value.size
    rows: list[list[Array]] = [[] for _ in variables]
    units = xp.eye(size, dtype=output.value.dtype, device=device)
    for i in range(size):
        output.backward(xp.reshape(units[i, :], output.value.shape))
        for found, v in zip(rows, variables, strict=True):
            found.append(xp.zeros_like(v.value) if v.grad is None else v.grad)
    parts = tuple(
        xp.reshape(xp.stack(found), (*output.shape, *v.shape))
        if found
        else xp.zeros((*output.shape, *v.shape), dtype=v.value.dtype, device=device)
        for found, v in zip(rows, variables, strict=True)
    )
    return parts[0] if len(parts) == 1 else parts
