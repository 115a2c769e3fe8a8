"""A SHA-256 by which a model, or a data set, is known again in another process."""

from __future__ import annotations

import hashlib
from typing import Any

from xpcls.base import Classifier
from xpcls.validation import HOST_KINDS
from xpcls_backends import is_array, to_host

PLAIN = (type(None), bool, int, float, complex, str, bytes)


def fingerprint(model: Any) -> str:
    """64 hexadecimal digits that stand for the class, the parameters and what was learnt.

    Of a classifier of xpcls these are its class, its parameters and what `xpcls.save` would write
    but for the history, the same whichever device it is on. Of other objects, all attributes, and
    theirs in turn; arrays count by dtype, shape and contents. It is the same in every process that
    has the same versions of the libraries; an object that counts its own use, as scikit-learn's
    search trees do, has another hash after it. It identifies, and proves nothing against someone
    who wants to deceive.
    """
    return _digest(model, ()).hex()


def _digest(value: Any, above: tuple[int, ...]) -> bytes:
    """SHA-256 of a value; `above` are the ids of the objects in which it stands."""
    if id(value) in above:
        return _sum("cycle", [str(len(above) - above.index(id(value))).encode()])
    inside = (*above, id(value))

    def all_of(values: Any) -> list[bytes]:
        return [_digest(v, inside) for v in values]

    if isinstance(value, Classifier):
        value._check_fitted()
        learnt, plain = value._learnt()
        plain.pop("history", None)  # its seconds differ from run to run
        parts = value.get_params(deep=False), value.classes_, learnt, plain
        return _sum(_name(type(value)), all_of(parts))
    if is_array(value):
        return _digest_of_array(value, inside)
    if type(value) in PLAIN:
        return _sum(type(value).__name__, [repr(value).encode("utf-8", "surrogatepass")])
    if isinstance(value, list | tuple):
        return _sum(_name(type(value)), all_of(value))
    if isinstance(value, dict):
        pairs = sorted(b"".join(all_of(item)) for item in value.items())
        return _sum(_name(type(value)), pairs)
    if isinstance(value, set | frozenset):
        return _sum(_name(type(value)), sorted(all_of(value)))
    if hasattr(value, "__qualname__"):  # classes and functions, by their names
        return _sum("name", [_name(value).encode()])
    if hasattr(value, "to_numpy"):  # data frames and series
        return _sum("frame", all_of((list(getattr(value, "columns", ())), value.to_numpy())))
    try:
        reduced = value.__reduce_ex__(4)
    except TypeError:  # what cannot be copied, such as an open file, tells nothing but its kind
        return _sum("opaque", [_name(type(value)).encode()])
    if isinstance(reduced, str):
        return _sum("name", [reduced.encode()])
    made_by, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
    contents = [made_by, arguments, state, list(items or ()), list(pairs or ())]
    return _sum(_name(type(value)), all_of(contents))


def _digest_of_array(value: Any, inside: tuple[int, ...]) -> bytes:
    host = to_host(value)
    if host.dtype.names:  # field by field: what lies between them in memory is undefined
        return _sum("fields", [_digest(host[name], inside) for name in host.dtype.names])
    if host.dtype.kind in HOST_KINDS:
        return _sum(f"text{host.shape}", [_digest(host.tolist(), inside)])
    little = host.astype(host.dtype.newbyteorder("<"), order="C", copy=False)
    return _sum(f"{host.dtype.name}{host.shape}", [little.reshape(-1).view("uint8")])


def _sum(kind: str, parts: list[Any]) -> bytes:
    """Each part is of known length or the only one, so that no two values give the same bytes."""
    total = hashlib.sha256(f"{kind}|{len(parts)}|".encode())
    for part in parts:
        total.update(part)
    return total.digest()


def _name(thing: Any) -> str:
    return f"{getattr(thing, '__module__', '')}.{thing.__qualname__}"
