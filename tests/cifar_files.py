"""For the tests of CIFAR-10: its files as Python 2 wrote them, byte by byte, and mutants."""

from __future__ import annotations

import struct

import numpy as np


def text(value: bytes) -> bytes:
    return b"U" + bytes([len(value)]) + value  # SHORT_BINSTRING


def integer(value: int) -> bytes:
    return b"K" + bytes([value]) if value < 256 else b"M" + struct.pack("<H", value)


def array(rows: np.ndarray, dtype: bytes = b"u1", shape: bytes | None = None) -> bytes:
    raw = rows.tobytes()
    shape = shape or integer(rows.shape[0]) + integer(rows.shape[1]) + b"\x86"
    return (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08K\x00\x85q\x09"
        + text(b"b")
        + b"\x87Rq\x0a(K\x01"
        + shape
        + b"cnumpy\ndtype\nq\x0b"
        + text(dtype)
        + b"K\x00K\x01\x87Rq\x0c(K\x03"
        + text(b"|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
        + struct.pack("<i", len(raw))
        + raw
        + b"tb"
    )


def batch(data: bytes, labels: bytes, extra: bytes = b"") -> bytes:
    return (
        b"\x80\x02}q\x01("
        + text(b"batch_label")
        + text(b"training batch 1 of 5")
        + text(b"labels")
        + labels
        + extra
        + text(b"data")
        + data
        + text(b"filenames")
        + b"](U\x05a.pngU\x05b.pngeu."
    )


def label_list(labels: np.ndarray | list[int]) -> bytes:
    return b"](" + b"".join(integer(int(label)) for label in labels) + b"e"


def python2(rows: np.ndarray, labels: np.ndarray | list[int]) -> bytes:
    return batch(array(rows), label_list(labels))


def meta(names: list[bytes]) -> bytes:
    listed = b"".join(map(text, names))
    return b"\x80\x02}q\x01(U\x0blabel_namesq\x02]q\x03(" + listed + b"eU\x07num_visM\x00\x0cu."


def protocol_0_meta(names: list[bytes]) -> bytes:
    listed = b"".join(b"S'" + name + b"'\np3\na" for name in names)
    return b"(dp1\nS'num_vis'\nI3072\nsS'label_names'\n(lp2\n" + listed + b"s."


def mutants(content: bytes, count: int, seed: int) -> list[bytes]:
    """Copies with bytes changed, cut out, doubled or cut off."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        changed = bytearray(content)
        for _ in range(rng.integers(1, 6)):
            # Half of the changes near either end, where the structure is.
            span = len(changed) if rng.random() < 0.5 else min(400, len(changed))
            at = int(rng.integers(span))
            at = at if rng.random() < 0.5 else len(changed) - 1 - at
            change = rng.integers(4)
            if change == 0:
                changed[at] = rng.integers(256)
            elif change == 1:
                del changed[at : at + int(rng.integers(1, 9))]
            elif change == 2:
                changed[at:at] = changed[at : at + int(rng.integers(1, 40))]
            elif rng.random() < 0.2:
                del changed[at:]
            if not changed:
                break
        made.append(bytes(changed))
    return made
