"""Fields of a row of `status --netns all`: one network namespace."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from halfopen.core.fields.field import Field, Kind
from halfopen.core.findings.closing_seen import ClosingSeen
from halfopen.core.findings.finding import Level
from halfopen.core.findings.verdict import Verdict
from halfopen.core.model.listeners import ListenerView
from halfopen.core.model.model import Model
from halfopen.core.units import listener_text


class JudgedNamespace(Struct, frozen=True, eq=False):
    """A namespace, the verdict on it, and what was seen of its open and closing connections."""

    model: Model
    verdict: Verdict
    closing: ClosingSeen | None = None

    @property
    def quiet(self) -> bool:
        """Whether there is nothing to say of it."""
        return not self.model.half_open and not self.verdict.findings


def _fill(held: int, limit: int | None, view: ListenerView) -> str:
    # A queue takes one more than its limit says.
    most = "?" if limit is None else f"{max(held, limit):,}"
    return f"{held:,}/{most} {listener_text(view.address, view.port)}"


def _syn_queue(one: JudgedNamespace) -> str:
    """The fullest SYN queue and whose it is."""
    views = [view for view in one.model.listeners if view.held]
    fullest = max(views, key=lambda view: view.fill or 0.0, default=None)
    return "-" if fullest is None else _fill(fullest.held, fullest.syn_queue_limit, fullest)


def _accept_queue(one: JudgedNamespace) -> str:
    views = [view for view in one.model.listeners if view.accept_queue]
    fullest = max(views, key=lambda view: view.accept_queue / (view.accept_queue_cap or 1), default=None)
    return "-" if fullest is None else _fill(fullest.accept_queue, fullest.accept_queue_limit, fullest)


def _why(one: JudgedNamespace) -> str:
    if not one.verdict.findings:
        return "-"
    from halfopen.core.findings.all_rules import is_note

    causes = [finding.id for finding in one.verdict.findings if not is_note(finding)]
    more = f" +{len(causes) - 1}" if len(causes) > 1 else ""
    return f"{causes[0]}{more}" if causes else "-"


EVERYWHERE: Final[tuple[Field[JudgedNamespace], ...]] = (
    Field("netns", "", kind=Kind.LABEL, title="NAMESPACE", show=lambda j: j.model.sample.where.name),
    Field(
        "lives_in",
        "",
        kind=Kind.LABEL,
        title="LIVES IN",
        show=lambda j: j.model.sample.where.lives_in or "-",
        spare=2,
    ),
    Field("half_open", "", title="HALF-OPEN", show=lambda j: f"{j.model.half_open:,}"),
    Field("syn_queue", "", title="SYN QUEUE", show=_syn_queue, spare=3),
    Field("accept_queue", "", title="ACCEPT QUEUE", show=_accept_queue, spare=4),
    Field("drops", "", title="DROPS", show=lambda j: f"{j.model.sample.counters.get('ListenDrops', 0):,}", spare=1),
    Field(
        "level",
        "",
        kind=Kind.LABEL,
        title="VERDICT",
        show=lambda j: j.verdict.level.name,
        words=tuple(Level.__members__),
    ),
    Field("why", "", kind=Kind.LABEL, title="WHY", show=_why),
)
"""Table columns alone: the JSON has each namespace whole."""
