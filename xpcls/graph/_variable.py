"""Variables that remember how they were computed, and the rule table of what can be computed.

An operation is one function, its rule:

    @operation
    def exp(xp, x, /):
        z = xp.exp(x)
        return z, (lambda g: g * z,)

It takes the namespace and arrays, and gives the value with one function for each array: from the
gradient of the output to that of the input, the vector-Jacobian product. Parameters before the
slash are arrays, the others options. A rule may ignore broadcasting: the engine undoes it.

Where no gradient flows to an array, its place holds None. Where the inputs' gradients share work,
one function (g, wanted) -> gradients stands instead of the tuple; `wanted` has a flag an input.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from xpcls_backends import (
    Array,
    Namespace,
    as_array,
    device_of,
    is_array,
    namespace_of,
    widest_float,
)

Pull = Callable[[Array], Array]  # gradient of the output -> gradient of one input
JointPull = Callable[[Array, tuple[bool, ...]], tuple[Array | None, ...]]
Pulls = tuple[Pull | None, ...] | JointPull

OPERATIONS: dict[str, Callable[..., Any]] = {}  # the rule table: every operation by its name
_serials = itertools.count()
_new = object.__new__


class _Recording(threading.local):
    on = True


_recording = _Recording()


@contextmanager
def no_grad() -> Iterator[None]:
    """Within the block, results are not connected to what they were computed from.

    Holds for this thread. Plain arrays need no such block: operations on them give plain arrays.
    """
    before = _recording.on
    _recording.on = False
    try:
        yield
    finally:
        _recording.on = before


class Variable:
    """An array, the gradient of some output with respect to it, and where it came from.

    value : a number, or an array of any backend. Floats keep their dtype; integers and numbers
        become floats. Operators and the functions of `xpcls.graph` give new variables; plain
        arrays and numbers among their inputs are constants, to which no gradient flows.
    name : for error messages and drawings.

    Attributes
    ----------
    value : the array. grad : the gradient of the output whose `backward` was called last, an
    array of the same shape, dtype and device, or None. operation, inputs : the name of the
    operation that made it and what it was given; None and () for a variable made by hand.
    """

    __slots__ = (
        "__weakref__",
        "grad",
        "inputs",
        "name",
        "operation",
        "pulls",
        "serial",
        "value",
        "xp",
    )

    # Arrays hand their operators over to us: without this NumPy would make an array of variables.
    __array_ufunc__ = None
    __array_priority__ = 1000

    value: Array
    grad: Array | None
    name: str | None
    operation: str | None
    inputs: tuple[Any, ...]
    pulls: Pulls | None  # None once released
    serial: int  # grows with creation, so inputs have lower ones than what is made of them
    xp: Namespace

    def __init__(self, value: Any, name: str | None = None) -> None:
        if isinstance(value, Variable):
            raise TypeError("value is a Variable already; take its .value for a constant copy")
        self.value = _floating(as_array(value, "value"))
        self.xp = namespace_of(self.value)
        self.grad, self.name, self.operation = None, name, None
        self.inputs, self.pulls, self.serial = (), (), next(_serials)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.value.shape)

    @property
    def dtype(self) -> Any:
        return self.value.dtype

    @property
    def ndim(self) -> int:
        return int(self.value.ndim)

    @property
    def T(self) -> Any:
        """The transpose of a matrix."""
        return OPERATIONS["transpose"](self)

    def backward(
        self, grad: Any = None, *, accumulate: bool = False, release: bool = False
    ) -> None:
        """Fill `.grad` of every variable that this one was computed from, by the chain rule.

        grad : the gradient of what comes after with respect to this variable, of its shape; None
            for 1, where this variable is one number.
        accumulate : add to the gradients that variables made by hand have, instead of replacing
            them.
        release : free values and gradients of the variables between as soon as they are used;
            only those made by hand keep a gradient. There can be no second `backward` then.
        """
        from ._backward import backward

        backward(self, grad, accumulate=accumulate, release=release)

    def __repr__(self) -> str:
        what = self.name or self.operation or "Variable"
        return f"<{what}: {' '.join(str(self.value).split())[:80]}>"

    def __bool__(self) -> bool:
        raise TypeError("a Variable is neither true nor false; look at its .value")

    def _repr_svg_(self) -> str:
        """The graph up to this variable, as notebooks show it."""
        from ._draw import draw

        return str(draw(self))

    def __add__(self, other: Any) -> Any:
        return OPERATIONS["add"](self, other)

    def __radd__(self, other: Any) -> Any:
        return OPERATIONS["add"](other, self)

    def __sub__(self, other: Any) -> Any:
        return OPERATIONS["subtract"](self, other)

    def __rsub__(self, other: Any) -> Any:
        return OPERATIONS["subtract"](other, self)

    def __mul__(self, other: Any) -> Any:
        return OPERATIONS["multiply"](self, other)

    def __rmul__(self, other: Any) -> Any:
        return OPERATIONS["multiply"](other, self)

    def __truediv__(self, other: Any) -> Any:
        return OPERATIONS["divide"](self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return OPERATIONS["divide"](other, self)

    def __pow__(self, other: Any) -> Any:
        return OPERATIONS["power"](self, other)

    def __rpow__(self, other: Any) -> Any:
        return OPERATIONS["power"](other, self)

    def __matmul__(self, other: Any) -> Any:
        return OPERATIONS["matmul"](self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return OPERATIONS["matmul"](other, self)

    def __neg__(self) -> Any:
        return OPERATIONS["negative"](self)

    def __getitem__(self, key: Any) -> Any:
        return OPERATIONS["getitem"](self, key)


def operation(rule: Callable[..., tuple[Array, Pulls]]) -> Callable[..., Any]:
    """Enter a rule in the table, and make of it the function of variables that users call."""
    name = rule.__name__
    label = name.lstrip("_")
    parameters = list(inspect.signature(rule).parameters.values())[1:]
    kinds = [p.kind for p in parameters]
    variadic = inspect.Parameter.VAR_POSITIONAL in kinds
    # All of them where their number is free.
    count = None if variadic else kinds.count(inspect.Parameter.POSITIONAL_ONLY)

    @functools.wraps(rule)
    def call(*args: Any, **options: Any) -> Any:
        inputs = args[:count]
        xp = None
        values = []
        for given in inputs:
            if type(given) is Variable:
                xp = given.xp
                values.append(given.value)
            else:
                values.append(given)
        plain = xp is None
        if plain:
            xp = _namespace_for(values, name)
        try:
            value, pulls = rule(xp, *values, *args[len(inputs) :], **options)
        except (TypeError, ValueError) as error:
            raise _explained(error, label, inputs) from error
        except RuntimeError as error:  # how some refuse what lies elsewhere
            apart = _apart(label, inputs)
            if apart is None:
                raise
            raise apart from error
        return value if plain else _made(xp, value, label, inputs, pulls)

    made: Any = _for_two(rule, label, call) if count == len(parameters) == 2 else call
    made.__signature__ = inspect.Signature(parameters)
    made.rule = rule
    OPERATIONS[name] = made
    return made  # type: ignore[no-any-return]


def _for_two(
    rule: Callable[..., tuple[Array, Pulls]], label: str, call: Callable[..., Any]
) -> Callable[..., Any]:
    """`call` for two arrays without options, in less time; `call` itself where that is no use."""

    @functools.wraps(rule)
    def call_two(x: Any, y: Any, /) -> Any:
        if type(x) is Variable:
            xp, a, b = x.xp, x.value, y.value if type(y) is Variable else y
        elif type(y) is Variable:
            xp, a, b = y.xp, x, y.value
        else:
            return call(x, y)
        try:
            value, pulls = rule(xp, a, b)
        except (TypeError, ValueError, RuntimeError):
            return call(x, y)  # which names what is wrong
        return _made(xp, value, label, (x, y), pulls)

    return call_two


def _made(
    xp: Namespace, value: Array, operation: str, inputs: tuple[Any, ...], pulls: Pulls
) -> Variable:
    """The variable that an operation makes."""
    made = _new(Variable)
    made.value = value
    made.xp = xp
    made.grad = made.name = None
    made.serial = next(_serials)
    if _recording.on:
        made.operation = operation
        made.inputs = inputs
        made.pulls = pulls
    else:
        made.operation, made.inputs, made.pulls = None, (), ()
    return made


def _namespace_for(values: list[Any], name: str) -> Namespace:
    """The namespace of plain inputs; numbers and lists, where there is no array, become arrays."""
    arrays = [value for value in values if is_array(value)]
    if not arrays:
        values[:] = arrays = [_floating(as_array(value, name)) for value in values]
    return namespace_of(*arrays)


def value_of(x: Any) -> Any:
    """The array in a variable; anything else as it is."""
    return x.value if type(x) is Variable else x


def _floating(value: Array) -> Array:
    """Floats as they are; small integers as float32, which holds them exactly, others wider."""
    xp = namespace_of(value)
    if xp.isdtype(value.dtype, "real floating"):
        return value
    if not xp.isdtype(value.dtype, ("bool", "integral")):
        raise TypeError(f"value has dtype {value.dtype}, expected real numbers")
    narrow = xp.isdtype(value.dtype, "bool") or xp.iinfo(value.dtype).bits <= 16
    return xp.astype(value, xp.float32 if narrow else widest_float(xp, device_of(value)))


def _explained(error: Exception, name: str, inputs: tuple[Any, ...]) -> Exception:
    """The same kind of error, in one line that names the operation and what it was given."""
    apart = _apart(name, inputs)
    if apart is not None:
        return apart
    given = ", ".join(map(_described, inputs))
    return type(error)(f"{name} of {given}: {' '.join(str(error).split())}")


def _apart(name: str, inputs: tuple[Any, ...]) -> Exception | None:
    """The error that arrays of several namespaces or devices are, or None."""
    arrays = [value for value in map(value_of, inputs) if is_array(value)]
    try:
        namespace_of(*arrays)
        device_of(*arrays)
    except (TypeError, ValueError) as error:
        return type(error)(f"{name}: {error}")
    return None


def _described(x: Any) -> str:
    """What an input is, in a word or two."""
    value = value_of(x)
    if not is_array(value):
        return f"{type(value).__name__} {value!r:.40}"
    name = f"{x.name!r} " if type(x) is Variable and x.name else ""
    return f"{name}{value.dtype} {tuple(value.shape)}"
