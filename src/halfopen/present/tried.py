"""What receivers answered to a test message, as lines."""

from __future__ import annotations

from collections.abc import Sequence

from halfopen.present.findings.words import timed
from halfopen.present.language import aloud, tr
from halfopen.present.told import told


@aloud
def tried_line(name: str, kind: str, delivered: bool, answer: str, seconds: float, names: Sequence[str]) -> str:
    """The line of one receiver; names: of all, so that the lines stand below each other."""
    width = max(map(len, names), default=0)
    of_kind = "" if kind == name else tr(" ({reasons})", reasons=kind)
    said, time = told(answer), timed(seconds)
    if delivered:
        return tr("{name}  ok: {said}{kind}, {time}", name=f"{name:<{width}}", said=said, kind=of_kind, time=time)
    return tr("{name}  FAILED: {said}{kind}, {time}", name=f"{name:<{width}}", said=said, kind=of_kind, time=time)
