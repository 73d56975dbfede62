"""What is seen in passing of open and closing connections, by commands that are about half-open ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from halfopen.core.findings.finding import Level
from halfopen.core.findings.verdict import Verdict
from halfopen.core.model.closing_glance import ClosingGlance

if TYPE_CHECKING:  # few hosts have such trouble, and the others should not wait for the import
    from halfopen.core.model.closing import ClosingModel


class ClosingSeen(Struct, frozen=True, eq=False):
    """The glance, and where that was reason for it, the connections and the verdict of `closing` on them.

    model, verdict: None where there was no reason, or no look was possible.
    """

    glance: ClosingGlance
    model: ClosingModel | None = None
    verdict: Verdict | None = None

    @property
    def level(self) -> Level:
        """How bad the connections are, by their verdict."""
        return Level.OK if self.verdict is None else self.verdict.level
