"""The service around a watch: its face, its control socket, and messages to systemd. The last sink of the watch."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from halfopen.core.errors import HalfopenError
from halfopen.core.fields.field import json_object
from halfopen.core.fields.history import INCIDENT, SILENCE, clock
from halfopen.core.fields.watched import Watching
from halfopen.core.findings.finding import Level
from halfopen.core.metrics_text import MetricsText
from halfopen.core.policy.incidents import Incident
from halfopen.core.policy.silence import Unsilence
from halfopen.core.reports import Begun, Ended, Reading, Report, Round, Trouble
from halfopen.core.units import plural
from halfopen.core.where import Namespace
from halfopen.linux import privileges, sd_notify
from halfopen.linux.served_address import ServedAddress
from halfopen.linux.unix_listener import unix_listener
from halfopen.ops.watch import metrics_server
from halfopen.ops.watch.loop import Watch
from halfopen.ops.watch.reloading import Reloading
from halfopen.service import parts, silencing
from halfopen.service.control import Control
from halfopen.service.face_keeper import FaceKeeper
from halfopen.service.feed import ReadingsFeed
from halfopen.service.mode import CONTROL, control_path
from halfopen.service.output import PatientOutput
from halfopen.service.requests import AskAcknowledge, AskSilence, AskUnsilence

"""The group whose members may ask the service."""
# If a parcel waits for longer than this, no WATCHDOG=1 is sent. A face that does not take its parcels is replaced
# before.
_STUCK_S: Final = 60.0
_CONTROL_BACKLOG: Final = 64


class Linking(Protocol):
    """A page for people who have a link."""

    def link(self, *, session: bool = False) -> dict[str, Any]:
        """A new link with its address, or a session, for a program."""


class FaceMetrics:
    """Passes the text of the metrics to the face, which serves it at an address that is opened here."""

    def __init__(self, keeper: FaceKeeper, listener: ServedAddress) -> None:
        self._keeper, self._listener = keeper, listener
        self._listeners: bytes | None = None

    def write(self, text: MetricsText) -> None:
        """Pass on the parts of the text that have changed. Raises: nothing."""
        if text.listeners is not self._listeners:
            self._listeners = text.listeners
            self._keeper.latest(parts.METRICS_LISTENERS, text.listeners)
        self._keeper.latest(parts.METRICS, text.head)

    def close(self) -> None:
        """Close the address; the face goes on until the service ends."""
        self._listener.close()


class RunningService:
    """Call `begin` once every other sink is made; it must take each report after them; `close` it at the end."""

    def __init__(self, watch: Watch, version: str) -> None:
        """version: of halfopen. group: whose members may ask; page: what makes links, where a page is served."""
        self._watch, self._version = watch, version
        self._keeper = FaceKeeper()
        self.group = _group()
        self.page: Linking | None = None
        self._settings: dict[str, Any] = {}
        self._descriptors: list[int] = []
        self._notifier = sd_notify.SystemdNotifier()
        self._feed = ReadingsFeed(version)
        self._control: Control | None = None
        self._path = ""
        self._stdout = sys.stdout
        self._output: PatientOutput | None = None
        self._of: dict[Namespace, tuple[int, Level]] = {}
        self._incidents: dict[Namespace, tuple[Incident, ...]] = {}
        # Read by other threads, so it is replaced as a whole, once a round.
        self._on: tuple[Incident, ...] = ()
        self._line = "reading for the first time"
        self._news: deque[str] = deque()
        self._began = time.time()
        self._rounds, self._troubled, self._at, self._notify_at = 0, 0, 0.0, 0.0
        # When the first reading was done, and the processor time until then.
        self._ready_at, self._start_cpu_s = 0.0, 0.0
        self._dropped = 0

    # --- what talks to the world, for the sinks -----------------------------------------------------------------------

    def serve_metrics(self, where: str, *, anywhere: bool) -> FaceMetrics:
        """Make the face serve metrics at an address. Raises: UsageError, HalfopenError."""
        listener = metrics_server.listen(where, anywhere=anywhere)
        self._settings[parts.METRICS] = {"fd": listener.socket.fileno()}
        self._descriptors.append(listener.socket.fileno())
        return FaceMetrics(self._keeper, listener)

    def part(self, kind: str, settings: Mapping[str, Any], *descriptors: int) -> FaceKeeper:
        """Add a part with these settings to the face, and return the keeper by which parcels are sent to it.
        descriptors: to be inherited by the face, with the same numbers.
        """
        self._settings[kind] = dict(settings)
        self._descriptors += descriptors
        return self._keeper

    def change_part(self, kind: str, settings: Mapping[str, Any] | None) -> FaceKeeper:
        """As `part`, while the face runs: it is replaced. None: remove the part."""
        self._settings.pop(kind, None)
        if settings is not None:
            self._settings[kind] = dict(settings)
        self._keeper.renew(self._settings)
        return self._keeper

    def tell_of_itself(self, watching: Watching) -> None:
        """Fill in the metrics about the service."""
        spacing, health = self._watch.spacing, self._keeper.health
        watching.spacing_s, watching.reading_cpu_s = spacing.now_s, spacing.average_s
        watching.face_memory_bytes = health.memory_bytes if health.pid else None
        watching.face_cpu_s = health.cpu_before_s + health.cpu_s
        watching.face_restarts, watching.dropped = health.restarts, self._keeper.dropped
        watching.receivers = health.receivers

    # --- its life -----------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Start the face, the control socket and the thread that prints. Raises: HalfopenError."""
        path = control_path()
        try:
            Path(path).parent.mkdir(mode=0o755, exist_ok=True)
        except OSError as e:
            hint = f"run as root, or name another place for the control socket with {CONTROL}"
            raise HalfopenError("control", f"{Path(path).parent}: {e.strerror}", hint=hint) from None
        listener = unix_listener(path, _CONTROL_BACKLOG, id="control", group=self.group)
        self._path = path
        one = self._watch.ns
        self._control = Control(
            listener,
            self,
            group=self.group,
            everywhere=self._watch.everywhere,
            watched=None if one is None else one.inode,
            feed=self._feed,
        )
        self._keeper.begin(self._settings, self._descriptors)
        self._output = PatientOutput(sys.stdout.fileno())
        sys.stdout = self._output

    def take(self, event: Report) -> Trouble | None:
        """Process a report, after all other sinks. Returns a trouble of the service itself."""
        self._feed.take(event)
        match event:
            case Begun():
                self._notifier.send("STATUS=reading for the first time")
            case Reading():
                before = self._of.get(event.model.sample.where)
                level = event.verdict.level if event.verdict else before[1] if before else Level.OK
                self._of[event.model.sample.where] = event.model.half_open, level
                self._incidents[event.model.sample.where] = event.incidents
            case Round():
                return self._round(event)
            case Ended():
                self._notifier.send("STOPPING=1", f"STATUS=ended after {plural(event.readings, 'reading')}")
        return None

    def _round(self, event: Round) -> Trouble | None:
        self._rounds, self._troubled, self._at = self._rounds + 1, len(event.troubled), time.monotonic()
        self._of = {where: known for where, known in self._of.items() if where in event.watched}
        self._incidents = {where: on for where, on in self._incidents.items() if where in event.watched}
        on = tuple(one for on in self._incidents.values() for one in on)
        if self._watch.silences is not None and self._on != on:
            self._watch.silences.over(frozenset({one.id for one in self._on} - {one.id for one in on}))
        self._on = on
        before, self._line = self._line, self._status()
        if self._line == before and time.monotonic() < self._notify_at:
            return self._trouble()
        self._notify_at = time.monotonic() + self._notifier.often_s
        lines = [f"STATUS={self._line}"]
        if self._rounds == 1:
            lines.insert(0, "READY=1")
            self._ready_at, self._start_cpu_s = time.monotonic(), time.process_time()
        # All sinks have taken the round, and no parcel waits for the face for long. A face that hangs is replaced
        # before that; if the queue is still not drained, it is a bug, and the watchdog makes systemd restart the
        # service.
        at_work = self._keeper.alive and self._control is not None and self._control.alive
        if at_work and self._keeper.outbox.waits_s() < _STUCK_S:
            lines.append("WATCHDOG=1")
        self._notifier.send(*lines)
        return self._trouble()

    def _trouble(self) -> Trouble | None:
        troubles = [*(self._news.popleft() for _ in range(len(self._news))), *self._keeper.told()]
        if self._keeper.dropped > self._dropped:
            lost = self._keeper.dropped - self._dropped
            self._dropped = self._keeper.dropped
            troubles.append(f"{plural(lost, 'message')} to the outside dropped: too many came at once")
        return Trouble("service", HalfopenError("service", "; ".join(troubles))) if troubles else None

    def _status(self) -> str:
        """The state of the watch in a line."""
        worst = max((level for _, level in self._of.values()), default=Level.OK)
        count = sum(half_open for half_open, _ in self._of.values())
        line = f"{worst.name}: {plural(count, 'half-open connection')}"
        if self._watch.everywhere:
            line += f" in {plural(len(self._of), 'network namespace')}"
        if alarms := sum(one.alarm_s is not None for one in self._on):
            line += f", {plural(alarms, 'alarm')}"
        if self._observes:
            line += ", releases only observed"
        if self._troubled:
            line += f", {plural(self._troubled, 'namespace')} could not be read"
        if self._watch.spacing.now_s > self._watch.interval_s:
            line += f", readings spaced out to {self._watch.spacing.now_s:.1f} s (max_cpu)"
        return line

    # --- asked by the thread of the control socket --------------------------------------------------------------------

    def health(self) -> dict[str, Any]:
        """The state of the service, as `halfopen service status` shows it."""
        health, spacing = self._keeper.health, self._watch.spacing
        silences = () if self._watch.silences is None else self._watch.silences.now()
        return {
            "version": self._version,
            "began": self._began,
            "status": self._line,
            "everywhere": self._watch.everywhere,
            "netns": "self" if self._watch.ns is None else self._watch.ns.name,
            "readings": self._watch.done,
            "last_reading_s": round(time.monotonic() - self._at, 3) if self._rounds else None,
            "interval_s": spacing.interval_s,
            "spacing_s": round(spacing.now_s, 3),
            "reading_cpu_s": round(spacing.average_s, 6),
            "cpu_s": round(time.process_time(), 3),
            "cpu_share": self._cpu_share(),
            "releases": self._watch.policy.acts,
            "mode": "observe" if self._observes else "configured",
            "face": {
                "pid": health.pid,
                "restarts": health.restarts,
                "memory_bytes": health.memory_bytes,
                "cpu_s": round(health.cpu_before_s + health.cpu_s, 3),
                "dropped": self._keeper.dropped,
            },
            "silences": [json_object(SILENCE, one) for one in silences],
            "receivers": [msgspec.structs.asdict(one) for one in health.receivers],
        }

    def incidents(self) -> dict[str, Any]:
        """The incidents that are on, each as in halfopen.history/1."""
        return {"incidents": [json_object(INCIDENT, one) for one in self._on]}

    def link(self, *, session: bool = False) -> dict[str, Any]:
        """A new link to the page, or a session of it. Raises: HalfopenError if there is no page."""
        if self.page is None:
            hint = 'write [web] and listen = "127.0.0.1:9765" into its configuration, and restart it'
            raise HalfopenError("web", "the service serves no page", hint=hint)
        return self.page.link(session=session)

    def reload(self) -> dict[str, Any]:
        """Have the configuration read before the next reading. Raises: HalfopenError."""
        self._reloading().ask()
        return {"asked": True}

    def set_mode(self, *, observe: bool) -> dict[str, Any]:
        """Let policies only observe, or act as configured, from the next reading on. Raises: HalfopenError."""
        reloading = self._reloading()
        reloading.observes = observe
        word = "only observe" if observe else "do what is configured"
        self._news.append(f"release policies {word} from now on: asked for at the control socket")
        reloading.ask()
        return {"mode": "observe" if observe else "configured"}

    def silence(self, request: AskAcknowledge | AskSilence | AskUnsilence, uid: int) -> dict[str, Any]:
        """Begin or end a silence, as a user requests. Raises: HalfopenError."""
        silences, by = self._watch.silences, request.by or silencing.user(uid)
        if silences is None:
            raise HalfopenError("silence", "this watch keeps no silences")
        if isinstance(request, AskUnsilence):
            ended = silences.end(Unsilence(silencing.named(request.name), by))
            self._news.append(f"notices of alarms of {ended.name} are sent again: asked for by {by}")
            return {"name": ended.name, "until": None}
        action = silencing.wanted(request, self._on, by, time.time())
        silences.begin(action)
        until = "it is over" if action.until_s is None else f"{clock(action.until_s)}"
        why = f": {action.reason}" if action.reason else ""
        self._news.append(f"no notices of alarms of {action.name} are sent until {until}: asked for by {by}{why}")
        return {"name": action.name, "until": action.until_s}

    @property
    def _observes(self) -> bool:
        return self._watch.reloading is not None and self._watch.reloading.observes

    def _reloading(self) -> Reloading:
        if self._watch.reloading is None:
            raise HalfopenError("reload", "this service was started without a configuration", hint="restart it")
        return self._watch.reloading

    def _cpu_share(self) -> float | None:
        """The share of one processor that both processes used since the first reading."""
        since_s = time.monotonic() - self._ready_at
        if not self._rounds or since_s < 1.0:
            return None
        face = self._keeper.health
        used_s = time.process_time() - self._start_cpu_s + face.cpu_before_s + face.cpu_s
        return round(float(used_s / since_s), 6)

    def close(self) -> None:
        """End the face and the control socket."""
        if self._control is not None:
            self._control.close()
            try:
                os.unlink(self._path)
            except OSError:  # the next one replaces it
                pass
        self._keeper.close()
        if self._output is not None:
            sys.stdout = self._stdout
            self._output.end()
        self._notifier.close()


def _group() -> int | None:
    gid = privileges.members()
    if gid is None:
        return None
    # Only root may give a file to a group that it is not a member of.
    return gid if os.geteuid() == 0 or gid in (os.getegid(), *os.getgroups()) else None
