"""The subjects of metrics: what a watch knows of a namespace, and of itself."""

from __future__ import annotations

from msgspec import Struct, field

from halfopen.core.findings.verdict import Verdict
from halfopen.core.model.handshake_times import HandshakeTimes
from halfopen.core.model.model import Model
from halfopen.core.notice import ReceiverStanding
from halfopen.core.policy.counts import Subject
from halfopen.core.sample.closing import SocketCounts
from halfopen.core.sample.guard import Guards


class Watched(Struct):
    """One namespace. verdict: the last one; causes: of the alarms that are on, by their listener; alarms: raised since
    the watch began; released, failed: connections, since then; readings, readings_s: how many, and the seconds they
    took; handshakes: their times, None where they are not counted; guards: those that are armed, None where
    that was not read; name, lives_in: its latest.
    """

    name: str = ""
    lives_in: str = ""
    inode: int = 0
    model: Model | None = None
    readable: bool = True
    verdict: Verdict | None = None
    causes: dict[Subject, str] = field(default_factory=dict)
    alarms: int = 0
    released: int = 0
    failed: int = 0
    readings: int = 0
    readings_s: float = 0.0
    handshakes: HandshakeTimes | None = None
    guards: Guards | None = None
    sockets: SocketCounts | None = None

    @property
    def now(self) -> Model | None:
        """The last reading, None where the last one failed: stale numbers are not shown."""
        return self.model if self.readable else None


class Watching(Struct):
    """The watch itself. began: since 1970; interval_s: between the starts of readings; cpu_s: of its process;
    memory_bytes: resident, None where that is not known. handshakes: whether their times are counted. namespaces:
    watched; the next two: this many are not shown.

    Of the service alone, else None. spacing_s: between readings, as max_cpu allows; reading_cpu_s: of one reading.
    face_memory_bytes, face_cpu_s: of the process that talks to the world; face_restarts: how often it was replaced;
    dropped: messages to it that found no room. receivers: of notices, as they do.
    """

    version: str = ""
    kernel: str = ""
    began: float | None = None
    interval_s: float | None = None
    cpu_s: float | None = None
    memory_bytes: int | None = None
    handshakes: bool = False
    namespaces: int = 0
    namespaces_left_out: int = 0
    listeners_left_out: int = 0
    spacing_s: float | None = None
    reading_cpu_s: float | None = None
    face_memory_bytes: int | None = None
    face_cpu_s: float | None = None
    face_restarts: int | None = None
    dropped: int | None = None
    receivers: tuple[ReceiverStanding, ...] = ()
