"""A Sample: one frozen reading of one network namespace, with nothing in it but what the kernel said.

It is what is stored; everything shown is computed from it (`core.model.model`), so live, history and replay agree.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from halfopen.core.sample.head import Head
from halfopen.core.sample.requests import REQUEST, Requests

P = TypeVar("P")


class Sample(Head, frozen=True, eq=False, kw_only=True):
    """A head, and the parts that were asked for: one for each subject, of a class of its own (`core.sample`)."""

    parts: tuple[object, ...] = ()

    def part(self, kind: type[P]) -> P | None:
        """The part of this class; None when it was not asked for, or could not be read."""
        # Asked many times in each reading of an idle namespace: a generator would take longer than the rest.
        for part in self.parts:
            if isinstance(part, kind):
                return part
        return None

    def with_part(self, part: object) -> Sample:
        """The Sample with this part, in place of the one of its class."""
        return replace(self, parts=(*(one for one in self.parts if type(one) is not type(part)), part))

    @property
    def requests(self) -> NDArray[Any]:
        """The rows of the request sockets, (N,) REQUEST; empty where they were not kept."""
        part = self.part(Requests)
        return np.empty(0, dtype=REQUEST) if part is None else part.rows

    @property
    def depths(self) -> bool:
        """Whether no request socket was read: the queues of the listeners alone tell how many there are."""
        return self.part(Requests) is None

    def bare(self) -> Sample:
        """The head alone."""
        return replace(self, parts=()) if self.parts else self
