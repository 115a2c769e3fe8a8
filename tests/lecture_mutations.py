"""What the tests of the lecture's claims break, and how they look at it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

import xpcls.neighbors
from xpcls.distances import Index
from xpcls.lecture import CLAIMS, ClaimFailed
from xpcls_backends import get_backend
from xpcls_backends.kernels import asking_for_kernels

Patch = pytest.MonkeyPatch
Break = Callable[[Patch], None]

TRAINED = {"bias", "two-headed-horse", "parity", "margin", "one-dial", "mini-batches"}


@dataclass(frozen=True)
class Mutation:
    """What is broken, and the assertion of the claim that has to see it first."""

    claim: str
    what: str
    seen_by: str
    apply: Break

    def check(self, patch: Patch) -> None:
        """Break it, and see the claim fail by that assertion."""
        self.apply(patch)
        # Plain versions are what is broken here; kernels are compared with them elsewhere.
        failed = pytest.raises(ClaimFailed, match=f"failed: {re.escape(self.seen_by)}")
        with failed as caught, asking_for_kernels(False):
            CLAIMS[self.claim].run(get_backend("numpy"))
        assert "\n" not in str(caught.value)


class Mutations(list[Mutation]):
    """A list that functions enter themselves into."""

    def enter(self, claim: str, what: str, seen_by: str) -> Callable[[Break], Break]:
        def entered(apply: Break) -> Break:
            self.append(Mutation(claim, what, seen_by, apply))
            return apply

        return entered


def replace_search(patch: Patch, search: Callable[..., Any]) -> None:
    """Models search by `search(queries, points, k, metric, memory_budget)`."""

    class Replaced(Index):
        def nearest(self, queries: Any, *options: Any) -> Any:
            return search(queries, self.points, *options)

    patch.setattr(xpcls.neighbors, "Index", Replaced)
