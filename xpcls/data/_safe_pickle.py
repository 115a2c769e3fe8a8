"""Pickles read as data. Nothing that a pickle names is imported or called.

A pickle is a program for a small stack machine, and Python's unpickler runs it: a file that says
"import os.system, call it" does so. Here `pickletools` splits the program into instructions, and
the function below carries out those that build numbers, text and containers. GLOBAL leaves a note
of a name, REDUCE a note of a call (`Call`), and any other instruction ends the reading. So there
is no list of dangerous names that could have a gap.

What is left to guard is time and memory: the number of instructions is limited, and a dictionary
takes only text for keys, because hashing a tuple of tuples of tuples can take for ever.
"""

from __future__ import annotations

import pickletools
from collections.abc import Container
from dataclasses import dataclass
from typing import Any

# A CIFAR-10 batch has about 31,000: a label is one instruction, a file name two.
MAX_INSTRUCTIONS = 300_000

_NUMBERS = frozenset(("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1"))
_TEXT = frozenset(("UNICODE", "BINUNICODE", "SHORT_BINUNICODE"))
_BYTES = frozenset(("BINBYTES", "SHORT_BINBYTES", "BYTEARRAY8"))
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: dict[str, type] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}
_PYTHON2_TEXT = frozenset(("STRING", "BINSTRING", "SHORT_BINSTRING"))  # in Python 3, bytes
_PUT = frozenset(("PUT", "BINPUT", "LONG_BINPUT"))
_GET = frozenset(("GET", "BINGET", "LONG_BINGET"))
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_IGNORED = frozenset(("PROTO", "FRAME", "STOP"))


class Refused(ValueError):
    """The pickle is damaged, or is more than data; the message is one clause."""


@dataclass(frozen=True, slots=True)
class Name:
    """A function or class that the pickle names: "module.name"."""

    full: str


@dataclass(slots=True)
class Call:
    """A call that the pickle asks for, and the state that it then hands to the result."""

    function: str
    arguments: tuple[Any, ...]
    state: Any = None


def parse(buffer: bytes, names: Container[str]) -> Any:
    """The value that a pickle describes.

    buffer : the whole pickle, of any protocol.
    names : the functions and classes that it may name, as "module.name".

    Returns None, bool, int, str, bytes (also for Python 2's str), bytearray, and tuples, lists
    and dicts of these; each call is left as a `Call`. Containers may hold themselves: look at
    types, never print or compare what comes back.

    Raises Refused, and nothing else, for whatever `buffer` holds.
    """
    try:
        return _parse(buffer, names)
    except Refused:
        raise
    except Exception as error:  # of pickletools, or of a stack that ran empty
        raise Refused(f"it is no whole pickle ({type(error).__name__}: {error!s:.100})") from None


def _parse(buffer: bytes, names: Container[str]) -> Any:
    stack: list[Any] = []  # what was pushed since the last MARK
    outer: list[list[Any]] = []  # the stacks below each MARK
    memo: dict[int, Any] = {}
    argument: Any
    position: int | None = None
    for count, (opcode, argument, position) in enumerate(pickletools.genops(buffer)):
        if count == MAX_INSTRUCTIONS:
            raise Refused(f"its pickle has more than {MAX_INSTRUCTIONS} instructions")
        name = opcode.name
        if name in _NUMBERS or name in _TEXT or name in _BYTES:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _PYTHON2_TEXT:
            stack.append(argument.encode("latin-1"))
        elif name in _PUT:
            _remember(memo, argument, stack[-1])
        elif name == "MEMOIZE":
            _remember(memo, len(memo), stack[-1])
        elif name in _GET:
            stack.append(memo[argument])
        elif name == "MARK":
            outer.append(stack)
            stack = []
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name == "APPEND":
            item = stack.pop()
            _top(stack, list).append(item)
        elif name in ("APPENDS", "LIST", "TUPLE", "SETITEMS", "DICT"):
            items, stack = stack, outer.pop()
            if name == "LIST":
                stack.append(items)
            elif name == "TUPLE":
                stack.append(tuple(items))
            elif name == "APPENDS":
                _top(stack, list).extend(items)
            else:
                if name == "DICT":
                    stack.append({})
                _set_items(_top(stack, dict), items)
        elif name == "SETITEM":
            items = _popped(stack, 2)
            _set_items(_top(stack, dict), items)
        elif name in _TUPLES:
            stack.append(tuple(_popped(stack, _TUPLES[name])))
        elif name == "GLOBAL":
            module, _, attribute = argument.partition(" ")
            stack.append(_name(module, attribute, names))
        elif name == "STACK_GLOBAL":
            module, attribute = _popped(stack, 2)
            stack.append(_name(module, attribute, names))
        elif name == "REDUCE":
            function, arguments = _popped(stack, 2)
            if type(function) is not Name or type(arguments) is not tuple:
                raise Refused(f"its pickle calls what is no function, at byte {position}")
            stack.append(Call(function.full, arguments))
        elif name == "BUILD":
            state = stack.pop()
            _top(stack, Call).state = state
        elif name not in _IGNORED:
            raise Refused(
                f"its pickle has the instruction {name} at byte {position}, which data does not "
                "need"
            )
    if position != len(buffer) - 1:
        raise Refused(f"its pickle ends at byte {position} of {len(buffer)}")
    if len(stack) != 1 or outer:
        raise Refused("its pickle does not end with one value")
    return stack[0]


def _name(module: Any, attribute: Any, names: Container[str]) -> Name:
    if type(module) is not str or type(attribute) is not str:
        raise Refused("its pickle names a function by something that is no text")
    full = f"{module}.{attribute}"
    if full not in names:
        raise Refused(f"its pickle asks for {full[:100]!r}, which such a file does not need")
    return Name(full)


def _remember(memo: dict[int, Any], place: int, value: Any) -> None:
    if place > MAX_INSTRUCTIONS:
        raise Refused(f"its pickle uses places of its memo past {MAX_INSTRUCTIONS}")
    memo[place] = value


def _popped(stack: list[Any], count: int) -> list[Any]:
    """The last `count` items of the stack, taken off it."""
    items = stack[-count:]
    if len(items) < count:
        raise Refused("its pickle takes more from the stack than it has put there")
    del stack[-count:]
    return items


def _top(stack: list[Any], kind: type) -> Any:
    if type(stack[-1]) is not kind:
        raise Refused(f"its pickle takes a {type(stack[-1]).__name__} for a {kind.__name__}")
    return stack[-1]


def _set_items(target: dict[Any, Any], items: list[Any]) -> None:
    if len(items) % 2:
        raise Refused("its pickle has a dictionary with a key without value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if type(key) not in (str, bytes):
            raise Refused(f"its pickle has a dictionary with a key of type {type(key).__name__}")
        target[key] = value
