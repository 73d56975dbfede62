"""The events of `policy.step`: a namespace was read, or is gone, and at its first reading what is known of
it. The outcome of an action is an event too.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from halfopen.core.findings.verdict import Verdict
from halfopen.core.policy.actions import Release
from halfopen.core.policy.counts import ListenerCounts, Subject
from halfopen.core.policy.guard_policy import GuardStanding
from halfopen.core.policy.incidents import Incident
from halfopen.core.where import Namespace


class Seen(Struct, frozen=True):
    """A reading, in the numbers a decision needs.

    whole: every request was read, not the depths of the queues alone. may_read_whole: the time that reading every
    request may take is not used up. degraded: why the reading is not to be acted on; "" where it is good. matching: how
    many connections each release would find now, or in words why that is not known; only those that were counted.
    counts: of the listeners at which something waits or happened, and of those asked for (`State.wanted`). finished:
    handshakes since the reading before. finished_at: the same of each listener that had any; None: not told apart.
    release_s: the release time of the namespace. verdict: on the reading; None: not judged. wall_s: since 1970, for the
    ids of incidents. lasting: the verdict on open and closing connections, where looks at them found lasting trouble.
    guard: that this process armed there, or what became of it; None: none yet. guardable: a listener
    that the policy [protect] means is there.
    """

    where: Namespace
    at_s: float
    half_open: int
    whole: bool = True
    may_read_whole: bool = True
    degraded: str = ""
    matching: Mapping[Release, int | str] = field(default_factory=dict)
    counts: Mapping[Subject, ListenerCounts] = field(default_factory=dict)
    finished: int = 0
    finished_at: Mapping[Subject, int] | None = None
    release_s: float = 63.0
    verdict: Verdict | None = None
    wall_s: float = 0.0
    lasting: Verdict | None = None
    guard: GuardStanding | None = None
    guardable: bool = False


class TakeUp(Struct, frozen=True):
    """Incidents of a namespace, of which nothing was read yet, that an earlier watch did not see end: as it left them.
    wall_s: since 1970.
    """

    where: Namespace
    at_s: float
    wall_s: float
    incidents: tuple[Incident, ...]


class Gone(Struct, frozen=True):
    """The namespace does not exist any more, or is not to be found where it was."""

    where: Namespace
    at_s: float
