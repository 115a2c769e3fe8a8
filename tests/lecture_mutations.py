"""What the tests of the lecture's claims break, and how they look at it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from xpcls.lecture import CLAIMS, ClaimFailed
from xpcls_backends import get_backend

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
        with pytest.raises(ClaimFailed, match=f"failed: {re.escape(self.seen_by)}") as caught:
            CLAIMS[self.claim].run(get_backend("numpy"))
        assert "\n" not in str(caught.value)


class Mutations(list[Mutation]):
    """A list that functions enter themselves into."""

    def enter(self, claim: str, what: str, seen_by: str) -> Callable[[Break], Break]:
        def entered(apply: Break) -> Break:
            self.append(Mutation(claim, what, seen_by, apply))
            return apply

        return entered
