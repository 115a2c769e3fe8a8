"""A SHA-256 by which a model, or a data set, is known again in another process."""

from __future__ import annotations

import hashlib
from types import CodeType, FunctionType, MethodType
from typing import Any

from xpcls.base import Classifier
from xpcls.validation import HOST_KINDS
from xpcls_backends import is_array, to_host

PLAIN = (type(None), bool, int, float, complex, str, bytes)


def fingerprint(model: Any) -> str:
    """64 hexadecimal digits that stand for the class, the parameters and what was learnt.

    Of a classifier of xpcls these are its class, its parameters and what `xpcls.save` would write
    but for the history, the same whichever device it is on. Of other objects, all attributes, and
    theirs in turn; arrays count by dtype, shape and contents. Functions count by name and code,
    with defaults and what they enclose, but not what they call; classes by name alone.

    It is the same in every process that has the same versions of Python and the libraries. An
    object that counts its own use, as scikit-learn's search trees do, has another hash after it,
    and one that keeps times, as scikit-learn's GridSearchCV does, has another each time it is
    fitted. It identifies, and proves nothing against someone who wants to deceive.

    Raises ValueError for objects nested too deeply to be followed.
    """
    try:
        return _Hash().of(model, ()).hex()
    except RecursionError:
        raise ValueError(
            f"the {type(model).__name__} holds objects in objects too deeply for a SHA-256 of it; "
            "leave such a chain out of what is pickled, by __getstate__"
        ) from None


class _Hash:
    """Digests of values, each object's made once though it stands in many places."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[Any, bytes]] = {}  # with the object, whose id is then its own
        self._cycles = 0

    def of(self, value: Any, above: tuple[int, ...]) -> bytes:
        """SHA-256 of a value; `above` are the ids of the objects in which it stands."""
        if type(value) in PLAIN:
            return _sum(type(value).__name__, [repr(value).encode("utf-8", "surrogatepass")])
        if id(value) in self._made:
            return self._made[id(value)][1]
        if id(value) in above:
            self._cycles += 1
            return _sum("cycle", [str(len(above) - above.index(id(value))).encode()])
        before = self._cycles
        digest = self._new(value, (*above, id(value)))
        if self._cycles == before:  # else it depends on where the value stands
            self._made[id(value)] = value, digest
        return digest

    def _new(self, value: Any, inside: tuple[int, ...]) -> bytes:
        def all_of(values: Any) -> list[bytes]:
            return [self.of(v, inside) for v in values]

        kind = _name(type(value))
        if isinstance(value, Classifier):
            value._check_fitted()
            learnt, plain = value._learnt()
            plain.pop("history", None)  # its seconds differ from run to run
            parts = value.get_params(deep=False), value.classes_, learnt, plain
            return _sum(kind, all_of(parts))
        if hasattr(value, "mask") and hasattr(value, "filled"):  # NumPy's masked arrays
            return _sum("masked", all_of((to_host(value.mask), to_host(value.filled()))))
        if is_array(value):
            return self._of_array(value, inside)
        if isinstance(value, list | tuple):
            return _sum(kind, all_of(value))
        if isinstance(value, dict):
            pairs = sorted(b"".join(all_of(item)) for item in value.items())
            return _sum(kind, pairs)
        if isinstance(value, set | frozenset):
            return _sum(kind, sorted(all_of(value)))
        if isinstance(value, FunctionType):
            kept = [_contents(cell) for cell in value.__closure__ or ()]
            defaults = value.__defaults__, value.__kwdefaults__
            return _sum("function", all_of((_name(value), value.__code__, *defaults, kept)))
        if isinstance(value, CodeType):
            return _sum("code", all_of((value.co_code, value.co_consts, value.co_names)))
        if isinstance(value, MethodType):
            return _sum("method", all_of((value.__func__, value.__self__)))
        if hasattr(value, "__qualname__"):  # classes, and functions that are not Python's
            return _sum("name", [_name(value).encode()])
        if hasattr(value, "to_numpy"):  # data frames and series
            return _sum("frame", all_of((list(getattr(value, "columns", ())), value.to_numpy())))
        try:
            reduced = value.__reduce_ex__(4)
        except RecursionError:
            raise
        except Exception:  # what cannot be copied, such as an open file, tells only its kind
            return _sum("opaque", [kind.encode()])
        if isinstance(reduced, str):
            return _sum("name", [reduced.encode()])
        made_by, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
        contents = [made_by, arguments, state, list(items or ()), list(pairs or ())]
        return _sum(kind, all_of(contents))

    def _of_array(self, value: Any, inside: tuple[int, ...]) -> bytes:
        host = to_host(value)
        if host.dtype.names:  # field by field: what lies between them in memory is undefined
            fields = [[name, self.of(host[name], inside)] for name in host.dtype.names]
            return _sum("fields", [self.of(fields, inside)])
        if host.dtype.kind in HOST_KINDS:
            return _sum(f"text{host.shape}", [self.of(host.tolist(), inside)])
        little = host.astype(host.dtype.newbyteorder("<"), order="C", copy=False)
        return _sum(f"{host.dtype.name}{host.shape}", [little.reshape(-1).view("uint8")])


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _sum(kind: str, parts: list[Any]) -> bytes:
    """Each part is of known length or the only one, so that no two values give the same bytes."""
    total = hashlib.sha256(f"{kind}|{len(parts)}|".encode())
    for part in parts:
        total.update(part)
    return total.digest()


def _name(thing: Any) -> str:
    return f"{getattr(thing, '__module__', '')}.{thing.__qualname__}"
