"""The smallest entries of rows that come in parts."""

from __future__ import annotations

import threading
from typing import Any

import array_api_compat

from ._ops import flatnonzero, smallest_k_unordered
from ._place import Array, device_of, namespace_of


class SmallestEntries:
    """The m smallest entries of each row of a matrix whose columns come in parts.

    On NumPy a part is compared with the largest entry kept of each row, and the few entries below
    it wait until they are worth a sort. Elsewhere, where counting them would wait for the device,
    each part is selected from. Never reads the host. Threads may add parts at the same time.
    """

    def __init__(self, m: int) -> None:
        self._m = m
        self._values: Array = None
        self._columns: Array = None
        self._largest: Array = None  # (n, 1), of those kept
        self._waiting: list[tuple[Any, Any, Any]] = []  # rows, values, columns
        self._n_waiting = 0
        self._lock = threading.Lock()

    def add(self, part: Array, first: int, of_columns: Array) -> None:
        """Take part + of_columns, (n, across) + (across,), floating, without NaN.

        Its columns are first, first + 1, ... The part may be changed.
        """
        xp = namespace_of(part)
        largest = self._largest
        if not array_api_compat.is_numpy_namespace(xp):
            values, columns = smallest_k_unordered(part, min(self._m, part.shape[1]), of_columns)
            self._join(xp, values, xp.astype(columns, xp.int64) + first)
            return
        part += of_columns
        if largest is not None:
            below = flatnonzero(part < largest)
            if 8 * below.shape[0] < part.shape[0] * part.shape[1]:
                rows, columns = xp.divmod(below, part.shape[1])
                entries = rows, xp.take(part, below), columns + first
                with self._lock:
                    self._wait(xp, entries)
                return
        values, columns = smallest_k_unordered(part, min(self._m, part.shape[1]))
        columns = xp.astype(columns, xp.int64) + first
        with self._lock:
            self._join(xp, values, columns)

    def found(self) -> tuple[Array, Array]:
        """Values (n, m) and columns (n, m) int64, in any order; fewer if there were fewer columns.

        Every entry left out is at least as large as every entry returned.
        """
        if self._waiting:
            self._merge(namespace_of(self._values))
        return self._values, self._columns

    def _join(self, xp: Any, values: Array, columns: Array) -> None:
        if self._values is not None:
            kept, places = self.found()
            values = xp.concat((kept, values), axis=1)
            columns = xp.concat((places, columns), axis=1)
            values, chosen = smallest_k_unordered(values, min(self._m, values.shape[1]))
            columns = xp.take_along_axis(columns, chosen, axis=1)
        self._keep(xp, values, columns)

    def _keep(self, xp: Any, values: Array, columns: Array) -> None:
        self._values, self._columns = values, columns
        if array_api_compat.is_numpy_namespace(xp) and values.shape[1] == self._m:
            self._largest = xp.max(values, axis=1, keepdims=True)

    def _wait(self, xp: Any, entries: tuple[Any, Any, Any]) -> None:
        if entries[0].shape[0] == 0:
            return
        self._waiting.append(entries)
        self._n_waiting += entries[0].shape[0]
        if 2 * self._n_waiting >= self._values.size:
            self._merge(xp)

    def _merge(self, xp: Any) -> None:
        device, (n, m) = device_of(self._values), self._values.shape
        own = (
            xp.repeat(xp.arange(n, device=device), m),
            self._values.reshape(-1),
            self._columns.reshape(-1),
        )
        rows, values, columns = (
            xp.concat(parts) for parts in zip(own, *self._waiting, strict=True)
        )
        self._waiting, self._n_waiting = [], 0
        order = xp.argsort(values, stable=False)
        order = order[xp.argsort(rows[order].astype(self._narrow(xp, n)), stable=True)]
        counts = xp.bincount(rows, minlength=n)
        starts = xp.cumulative_sum(counts, include_initial=True)[:-1]
        chosen = order[starts[:, None] + xp.arange(m, device=device)]
        self._keep(xp, values[chosen], columns[chosen])

    @staticmethod
    def _narrow(xp: Any, n: int) -> Any:
        return xp.uint16 if n <= 2**16 else xp.int64  # which NumPy sorts in two passes
