"""The sink that passes the page to the face: reports of a watch, put together as for a screen."""

from __future__ import annotations

import os
import time
from typing import Final

import msgspec

from halfopen.core.reports import Begun, Ended, Report, Round, Trouble
from halfopen.core.sections.web import WebSettings
from halfopen.linux.served_address import ServedAddress
from halfopen.ops.top.kept import KeptLive
from halfopen.present.web.state import state
from halfopen.present.web.words import LANGUAGES
from halfopen.service import parts
from halfopen.service.running import RunningService
from halfopen.service.web import passes
from halfopen.service.web.part import settings_of
from halfopen.service.web.site import PageState

_BACKLOG: Final = 128
# How often the page is put together while no browser has it open.
_IDLE_S: Final = 10.0
# The largest share of the time for putting the page together.
_SHARE: Final = 0.05


class ServedPage:
    """Takes the reports of a watch, and passes the page to the face."""

    def __init__(self, settings: WebSettings, service: RunningService, history: str) -> None:
        """history: the file or directory of the service's history; "" for none. Raises: UsageError, HalfopenError."""
        self._service = service
        self._key = os.urandom(passes.KEY_BYTES)
        self._settings = settings
        self._address = ServedAddress(
            settings.listen,
            _BACKLOG,
            id="web-listen",
            option="[web] listen",
            permit="listen_anywhere = true",
            anywhere=settings.listen_anywhere,
            group=service.group,
        )
        fd = self._address.socket.fileno()
        # The face stands at /.
        place = os.path.abspath(history) + "/" * history.endswith("/") if history else ""
        self._first = os.eventfd(1, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        of_part = settings_of(fd, self._first, self._key, _names(settings), settings.session_s, place)
        self._face = service.part(parts.WEB, of_part, fd, self._first)
        self._kept = KeptLive(1.0)
        self._rests_until = self._fresh_until = 0.0
        service.page = self

    def link(self, *, session: bool = False) -> dict[str, object]:
        """A new link with its address, or a session, for a program. For the thread of the control socket."""
        kind = passes.PassKind.SESSION if session else passes.PassKind.LINK
        lasts_s = self._settings.session_s if session else passes.LINK_S
        made = passes.make(self._key, kind, lasts_s)
        return {
            "listen": self._settings.listen,
            "hosts": list(self._settings.hosts),
            "session" if session else "link": made,
            "lasts_s": lasts_s,
            "session_s": self._settings.session_s,
        }

    def take(self, event: Report) -> Trouble | None:
        """Take in a report."""
        self._kept.take(event)
        match event:
            case Begun() | Round():
                now = time.monotonic()
                if now >= self._rests_until and (self._face.health.watched or now >= self._fresh_until):
                    self._hand_over(now)
            case Ended():
                self._kept.close()
                self._address.close()
                os.close(self._first)
        return None

    def _hand_over(self, now: float) -> None:
        live = self._kept.live
        at_s = max((one.model.sample.monotonic_s for one in live.spaces), default=now)
        used_s = time.thread_time()
        wanted = self._face.health.watched or LANGUAGES
        made = PageState(at_s, {name: msgspec.json.encode(state(live, name)) for name in LANGUAGES if name in wanted})
        self._face.latest(parts.WEB, msgspec.msgpack.encode(made))
        used_s = time.thread_time() - used_s
        self._rests_until = now + used_s * (1 / _SHARE - 1)
        self._fresh_until = now + _IDLE_S if live.spaces else now


def _names(settings: WebSettings) -> list[str]:
    """The names, other than those of the loopback, by which browsers may address the page."""
    own = [] if "/" in settings.listen else [settings.listen.rpartition(":")[0].lower()]
    return [*settings.hosts, *own]
