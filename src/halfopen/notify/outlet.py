"""One receiver and the incidents that it must be told of: when each is due, and whether it was delivered.

A message gives the present state of an incident: a receiver that was away gets one message, not every change that it
missed. Pure, except for the receiver itself; monotonic seconds are arguments.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from msgspec import Struct, field

from halfopen.core.errors import HalfopenError, Undelivered
from halfopen.core.notice import Notice, NoticeState
from halfopen.core.sections.notify import NotifySettings
from halfopen.notify.pace import GIVE_UP_S, HOPELESS_S, SendPace
from halfopen.notify.receiver import Message, Receiver

MOST_INCIDENTS: Final = 2_000
"""How many incidents are kept for a receiver that does not answer; the oldest make room."""
LOST_S: Final = 600.0
"""If nothing is heard of an incident for this long, s, it is reported as over: its watch must have ended."""


class OutletEntry(Struct):
    """An incident for one receiver. told: the notice it was told last. sent: how often it was told. first_s: the at_s
    of the first notice.

    changed_s: since when there is news. heard_s: when a notice came last. told_s: when it was told last. not_before_s:
    a refused message is not tried again until then. over_s: since when it is over; None: it lasts.
    """

    notice: Notice
    heard_s: float
    changed_s: float
    first_s: float
    told: Notice | None = None
    sent: int = 0
    told_s: float = 0.0
    not_before_s: float = 0.0
    over_s: float | None = None

    @property
    def news(self) -> bool:
        """Whether something has changed since the receiver was told last."""
        return self.told is None or self.told.tells != self.notice.tells


class Outlet(Struct):
    """A receiver, its settings, its pace, and its incidents by id. linger_s: an end is told again for this long.

    busy: messages are under way. changed: incidents that are not in the spool as they are here. The counts: messages
    delivered, tries that failed, incidents dropped, and how many of them the operator was told.
    """

    settings: NotifySettings
    receiver: Receiver
    pace: SendPace
    linger_s: float = 0.0
    entries: dict[str, OutletEntry] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)
    busy: bool = False
    delivered: int = 0
    failed: int = 0
    dropped: int = 0
    dropped_told: int = 0
    trouble: str = ""

    @property
    def name(self) -> str:
        """The name of the receiver."""
        return self.settings.called

    def wants(self, notice: Notice) -> bool:
        """Whether the receiver's settings select such an incident."""
        s = self.settings
        if not notice.alarmed:
            return s.rising
        return (not s.causes or notice.cause in s.causes) and (not s.levels or notice.level in s.levels)

    def take(self, notice: Notice, now_s: float) -> None:
        """Accept a notice."""
        entry = self.entries.get(notice.incident)
        if entry is None:
            # The end of a rise that the receiver was never told of is no news.
            if not self.wants(notice) or (notice.over and not notice.alarmed) or notice.silenced:
                return
            if len(self.entries) >= MOST_INCIDENTS:
                self._make_room()
            self.entries[notice.incident] = OutletEntry(
                notice, now_s, now_s, notice.at_s, over_s=now_s if notice.over else None
            )
        elif entry.over_s is not None or notice.number < entry.notice.number:
            return  # late: an incident that is over does not begin again with the same id
        elif not self._changed(entry, notice, now_s):
            return
        self.changed.add(notice.incident)

    def _changed(self, entry: OutletEntry, notice: Notice, now_s: float) -> bool:
        """Update an incident. Returns whether more than its numbers has changed."""
        had_news, changed = entry.news, notice.tells != entry.notice.tells
        hushed = notice.silenced != entry.notice.silenced
        entry.notice, entry.heard_s = notice, now_s
        if changed and not had_news:
            entry.changed_s = now_s
        if notice.over:
            entry.over_s = now_s
            if entry.told is None and not notice.alarmed:
                del self.entries[notice.incident]
        return changed or hushed

    def _make_room(self) -> None:
        over = (incident for incident, entry in self.entries.items() if entry.over_s is not None)
        self._drop(next(over, next(iter(self.entries))))

    def _drop(self, incident: str) -> None:
        del self.entries[incident]
        self.changed.add(incident)
        self.dropped += 1

    def due_s(self, entry: OutletEntry) -> float | None:
        """When the next message about the incident is due; None: there is none."""
        every_s = self.settings.repeat()
        if entry.notice.silenced and not (entry.over_s is not None and entry.told is not None):
            # Silenced: a receiver that was told of the incident is still told of its end, and one that takes silence
            # for the end (Alertmanager) gets the last message again.
            if entry.told is None or not every_s or not self.linger_s:
                return None
            due_s = entry.told_s + every_s
        elif entry.news:
            due_s = entry.changed_s + self.settings.wait_s
        elif entry.over_s is not None:
            if not every_s or entry.told_s + every_s > entry.over_s + self.linger_s:
                return None
            due_s = entry.told_s + every_s
        elif every_s:
            due_s = entry.told_s + every_s
        else:
            return None
        return max(due_s, entry.not_before_s)

    def next_s(self, now_s: float) -> float | None:
        """When something is due next; None: nothing, unless a notice comes."""
        if self.busy:
            return None
        times = [due for due in map(self.due_s, self.entries.values()) if due is not None]
        return max(min(times), self.pace.may_at_s(now_s)) if times else None

    def messages(self, now_s: float, *, at_once: bool = False) -> list[Message]:
        """The messages to send now: as many as the receiver takes at once, the most overdue first. at_once: do not wait
        for further news (`wait`).
        """
        if self.busy or self.pace.may_at_s(now_s) > now_s:
            return []
        due = []
        for entry in self.entries.values():
            at_s = self.due_s(entry)
            if at_once and at_s is not None and entry.news:
                at_s = max(entry.changed_s, entry.not_before_s)
            if at_s is not None and at_s <= now_s:
                due.append((at_s, entry))
        due.sort(key=lambda pair: pair[0])
        return [self._message(entry) for _, entry in due[: self.receiver.batch]]

    def _message(self, entry: OutletEntry) -> Message:
        # The same id for each try of a message, and another for each repetition.
        about = f"{self.name} {entry.notice.incident} {entry.first_s} {entry.sent} {entry.notice.tells}"
        notice = entry.notice
        if notice.silenced and entry.over_s is None and entry.told is not None:
            notice = entry.told
        if notice.state is NoticeState.UPDATED and (entry.told is None or not entry.told.alarmed):
            # For a receiver that was not told of the alarm, it is no update but the first message.
            notice = msgspec.structs.replace(notice, state=NoticeState.FIRING)
        return Message(f"msg_{hashlib.sha256(about.encode()).hexdigest()[:32]}", notice, entry.told)

    def went_out(self, now_s: float) -> None:
        """Note that messages are being sent."""
        self.busy = True
        self.pace = self.pace.sent(now_s)

    def delivered_all(self, messages: Sequence[Message], now_s: float) -> None:
        """Note that the receiver accepted them."""
        self.busy, self.trouble = False, ""
        self.delivered += len(messages)
        self.pace = self.pace.worked()
        for message in messages:
            entry = self.entries.get(message.notice.incident)
            if entry is not None:
                entry.told, entry.told_s, entry.sent = message.notice, now_s, entry.sent + 1
                entry.not_before_s = 0.0
                self.changed.add(message.notice.incident)
                if entry.news:
                    entry.changed_s = now_s

    def refused(
        self, messages: Sequence[Message], error: HalfopenError, now_s: float, chance: Callable[[], float]
    ) -> None:
        """Note that the receiver rejected them or could not be reached."""
        self.busy, self.trouble = False, error.line()
        self.failed += 1
        if isinstance(error, Undelivered) and error.hopeless:
            for message in messages:
                entry = self.entries.get(message.notice.incident)
                if entry is not None:
                    entry.not_before_s = now_s + HOPELESS_S
            return
        retry_after_s = error.retry_after_s if isinstance(error, Undelivered) else None
        self.pace = self.pace.failed(now_s, retry_after_s, chance)

    def stood_still(self, seconds: float) -> None:
        """Allow for a time in which this process could not hear of any incident."""
        for entry in self.entries.values():
            entry.heard_s += seconds

    def expire(self, now_s: float) -> None:
        """End incidents that are no longer watched, and drop those about which there is nothing more to send."""
        if self.busy:
            return
        for incident, entry in list(self.entries.items()):
            if entry.over_s is None and now_s - entry.heard_s > LOST_S:
                self._changed(entry, lost(entry.notice), now_s)
                self.changed.add(incident)
            elif entry.over_s is not None and self.due_s(entry) is None:
                del self.entries[incident]
                self.changed.add(incident)
            elif entry.news and not entry.notice.silenced and now_s - entry.changed_s > GIVE_UP_S:
                self._drop(incident)


def lost(notice: Notice) -> Notice:
    """The notice that ends an incident which is no longer watched: whether it goes on is not known."""
    at_s = notice.at_s
    place = " ".join(word for word in (notice.host, notice.listener) if word)
    title = f"CLEAR {place}: not watched any more, so whether the incident goes on is not known"
    return msgspec.structs.replace(
        notice,
        state=NoticeState.RESOLVED,
        at_s=at_s + 0.001,
        ended_s=at_s,
        title=title,
        log=title,
        text=(f"{title}.", *(line for line in notice.text if not line.startswith("Next: "))),
        cures=(),
    )
