"""Keeps a face running beside the loop, and sends it parcels.

It runs in a thread of its own, and the loop only puts parcels into an outbox, whatever happens to the face. A face that
dies or does not answer is replaced, after a pause that doubles as long as faces keep dying.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from msgspec import Struct, field

from halfopen.core.errors import WireError
from halfopen.core.notice import ReceiverStanding
from halfopen.linux import files, privileges, threads
from halfopen.linux.own_code import python_path
from halfopen.service.messages import PING, SETTINGS, FaceReport, Frames, Parcel, encode
from halfopen.service.outbox import Outbox
from halfopen.service.parts import METRICS

# How often the face is asked for a report; a face that only serves metrics has little to report and is asked less
# often: waking both processes is a tenth of the cost of an idle service.
_TICK_S: Final = 1.0
_QUIET_TICK_S: Final = 5.0
# A face that does not report for this long, though it is asked at each tick, hangs. The time is counted in ticks, so
# that the time in which this process itself was stopped (SIGSTOP, a suspended machine) does not count.
_SILENT_S: Final = 15.0
# The limit before the first report: under heavy load a process takes long to start, and so would its replacement.
_STARTS_WITHIN_S: Final = 120.0
# The same at the end of the service.
_SILENT_AT_END_S: Final = 2.0
_FIRST_PAUSE_S: Final = 0.25
_LONGEST_PAUSE_S: Final = 60.0
# If a face lived for this long, its replacement is started after the shortest pause.
_LIVED_S: Final = 60.0
# How long a face may take to end: one that hangs, and one that has news to deliver at the end of the service.
_HANGING_S: Final = 1.0
_LAST_WORDS_S: Final = 4.0
_PIECE: Final = 64 * 1024
_MODULE: Final = "halfopen.service.face"
# Users for the face if the eyes run as root; the first that exists.
_USERS: Final = ("halfopen", "nobody")


class FaceHealth(Struct):
    """The state of the face. pid: 0: there is none now. restarts: since the service began. memory_bytes, cpu_s: of the
    running face; cpu_before_s: of the earlier ones. receivers: of notices. watched: the languages of open pages.
    troubles: lines that were not printed yet.
    """

    pid: int = 0
    restarts: int = 0
    memory_bytes: int = 0
    cpu_s: float = 0.0
    cpu_before_s: float = 0.0
    receivers: tuple[ReceiverStanding, ...] = ()
    watched: tuple[str, ...] = ()
    troubles: deque[str] = field(default_factory=lambda: deque(maxlen=16))


class FaceKeeper:
    """Starts the face at `begin` and keeps one running until `close`."""

    def __init__(self) -> None:
        self.outbox = Outbox()
        self.health = FaceHealth()
        self._settings, self._quiet = b"{}", True
        self._descriptors: tuple[int, ...] = ()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._ends = self._renewed = False
        self._dropped_before = self._dropped_there = 0
        self._thread: threading.Thread | None = None

    def begin(self, settings: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Start the face. settings: of each part, by kind. descriptors: to be inherited by the face, with the same
        numbers.

        Raises: KernelError if no thread can be started.
        """
        self._set(settings)
        self._descriptors = tuple(descriptors)
        thread = threading.Thread(target=self._run, name="halfopen-face", daemon=True)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            threads.start(thread)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._thread = thread

    def renew(self, settings: Mapping[str, Any]) -> None:
        """Replace the face by one with these settings; the old one ends in order."""
        self._set(settings)
        self._renewed = True
        os.eventfd_write(self._wake, 1)

    def _set(self, settings: Mapping[str, Any]) -> None:
        self._settings, self._quiet = json.dumps(settings).encode(), settings.keys() <= {METRICS}

    def latest(self, kind: str, body: bytes) -> None:
        """Send this instead of an unsent parcel of the same kind."""
        self.outbox.put_latest(kind, body)
        os.eventfd_write(self._wake, 1)

    def send(self, kind: str, body: bytes) -> bool:
        """Send this, and again if the face is replaced before it took it. Returns False if an older parcel
        was dropped.
        """
        whole = self.outbox.put(kind, body)
        os.eventfd_write(self._wake, 1)
        return whole

    def told(self) -> list[str]:
        """The troubles since the last call, a line each."""
        # The thread appends at the other end meanwhile.
        return [self.health.troubles.popleft() for _ in range(len(self.health.troubles))]

    @property
    def alive(self) -> bool:
        """Whether the thread that keeps the face is running."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def dropped(self) -> int:
        """How many parcels were dropped for lack of room, here or in a face, since the service began."""
        return self.outbox.dropped + self._dropped_before + self._dropped_there

    def close(self, patience_s: float = 3.0) -> None:
        """Give the face some time to take the parcels that wait, and end it."""
        if self._wake < 0:
            return
        self._ends = True
        os.eventfd_write(self._wake, 1)
        if self._thread is not None:
            self._thread.join(timeout=patience_s + _LAST_WORDS_S)
        if not self.alive:
            os.close(self._wake)
            self._wake = -1

    # --- in the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            began = time.monotonic()
            try:
                why = self._one_face()
            except OSError as e:
                why = f"cannot be started: {e.strerror or e}"
            self.health.pid, self.health.memory_bytes, self.health.watched = 0, 0, ()
            self.health.cpu_before_s += self.health.cpu_s
            self.health.cpu_s = 0.0
            if self._ends:
                return
            if self._renewed:
                self._renewed = False
                continue
            if time.monotonic() - began > _LIVED_S:
                pause_s = _FIRST_PAUSE_S
            self._trouble(f"the process that serves metrics and sends notifications {why}; another one is started")
            if not self._rest(pause_s):
                return
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
            self.health.restarts += 1

    def _rest(self, pause_s: float) -> bool:
        """Pause. Returns whether to go on."""
        until = time.monotonic() + pause_s
        while not self._ends and (left := until - time.monotonic()) > 0:
            poll = select.poll()
            poll.register(self._wake, select.POLLIN)
            if poll.poll(left * 1000):
                os.eventfd_read(self._wake)
        return not self._ends

    def _trouble(self, line: str) -> None:
        self.health.troubles.append(line)

    def _one_face(self) -> str:
        """Start a face and talk to it until it ends. Returns why it ended. Raises: OSError."""
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                process = self._started(theirs)
            self.health.pid = process.pid
            self.outbox.again()
            self._dropped_before, self._dropped_there = self._dropped_before + self._dropped_there, 0
            try:
                conversation = _Conversation(self, ours, process)
                why = conversation.hold()
            finally:
                ours.close()
                _end(process, _LAST_WORDS_S if self._ends or self._renewed else _HANGING_S)
        return why or _how(process.returncode)

    def _started(self, theirs: socket.socket) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-P", "-m", _MODULE, str(theirs.fileno()), str(os.getpid())]
        words += map(str, face_user() or ())
        # The face inherits only these descriptors: all others are close-on-exec.
        return subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": python_path()},
            cwd="/",
            pass_fds=(theirs.fileno(), *self._descriptors),
        )

    def first(self) -> bytes:
        """The first frame for a face."""
        return encode(Parcel(0, SETTINGS, self._settings))

    def reported(self, report: FaceReport) -> None:
        """Take in a report of the face."""
        self.outbox.taken(report.taken)
        self.health.memory_bytes, self.health.cpu_s = report.memory_bytes, report.cpu_s
        self._dropped_there = report.dropped
        self.health.receivers, self.health.watched = report.receivers, report.watched
        for line in report.troubles:
            self._trouble(line)

    @property
    def tick_s(self) -> float:
        """How often the face is asked for a report, s."""
        return _QUIET_TICK_S if self._quiet and not self._ends else _TICK_S

    @property
    def ends(self) -> bool:
        """Whether the service ends."""
        return self._ends

    @property
    def renewed(self) -> bool:
        """Whether this face is to be replaced."""
        return self._renewed

    @property
    def wake(self) -> int:
        """A descriptor that is readable when there is something to do."""
        return self._wake


class _Conversation:
    """The exchange of messages with one face."""

    def __init__(self, keeper: FaceKeeper, link: socket.socket, process: subprocess.Popen[bytes]) -> None:
        self._keeper, self._link, self._process = keeper, link, process
        self._frames = Frames(FaceReport)
        self._rest: memoryview = memoryview(keeper.first())
        self._silent_s, self._heard = 0.0, False
        link.setblocking(False)

    def hold(self) -> str:
        """Exchange messages until the end. Returns the reason; "": the face ended by itself. Raises: OSError."""
        poll = select.poll()
        poll.register(self._keeper.wake, select.POLLIN)
        poll.register(self._link, select.POLLIN)
        next_tick = time.monotonic() + self._keeper.tick_s
        while True:
            wants_out = bool(self._rest) or self._keeper.outbox.waiting
            if self._keeper.ends and not wants_out:
                return "ended"
            if self._keeper.renewed and not self._rest:
                return "renewed"  # later parcels are for the next face
            poll.modify(self._link, select.POLLIN | (select.POLLOUT if wants_out else 0))
            ready = dict(poll.poll(max(0.0, next_tick - time.monotonic()) * 1000))
            if self._keeper.wake in ready:
                os.eventfd_read(self._keeper.wake)
                next_tick = min(next_tick, time.monotonic() + self._keeper.tick_s)
            events = ready.get(self._link.fileno(), 0)
            if events & (select.POLLIN | select.POLLHUP | select.POLLERR) and not self._hear():
                return ""
            if events & select.POLLOUT and not self._say():
                return ""
            if time.monotonic() >= next_tick:
                self._silent_s += self._keeper.tick_s
                next_tick = time.monotonic() + self._keeper.tick_s
                if self._silent_s > (patience_s := self._patience_s()):
                    return f"did not answer for {patience_s:g} s"
                if not self._rest:
                    self._rest = memoryview(encode(Parcel(0, PING, b"")))

    def _patience_s(self) -> float:
        if self._keeper.ends:
            return _SILENT_AT_END_S
        return _SILENT_S if self._heard else _STARTS_WITHIN_S

    def _hear(self) -> bool:
        try:
            data = self._link.recv(_PIECE)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not data:
            return False
        try:
            for report in self._frames.take(data):
                self._silent_s, self._heard = 0.0, True
                self._keeper.reported(report)
        except WireError:
            return False
        return True

    def _say(self) -> bool:
        if not self._rest:
            parcel = self._keeper.outbox.next()
            if parcel is None:
                return True
            try:
                self._rest = memoryview(encode(parcel))
            except ValueError:  # too long for a frame; the next one may be shorter
                return True
        try:
            self._rest = self._rest[self._link.send(self._rest) :]
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True


def _end(process: subprocess.Popen[bytes], patience_s: float) -> None:
    """Wait for the face, which ends when its socket is closed; kill it if it hangs."""
    try:
        process.wait(timeout=patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def face_user() -> tuple[int, int] | None:
    """The uid and gid for a face; None: those of this process, if it is not root, or no other user could read the
    program.
    """
    return privileges.user_of(_USERS) if files.is_root() and _reachable_by_others() else None


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        return f"was killed ({signal.Signals(-code).name})"
    return f"ended (exit code {code})"


def _reachable_by_others() -> bool:
    """Whether other users can read this program and its Python: the face imports modules after it has changed
    its user.
    """
    for path in (Path(__file__), Path(os.__file__), Path(sys.executable).resolve()):
        if not all(one.stat().st_mode & 0o001 for one in path.resolve().parents):
            return False
        if not path.stat().st_mode & 0o004:
            return False
    return True
