"""The sink that sends notices of incidents to receivers, by a process without capabilities: the service's face, or one
that a watch in the foreground starts only for this.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Final

from halfopen.core.errors import HalfopenError
from halfopen.core.notice import Notice, encode
from halfopen.core.reports import Begun, Ended, Reloaded, Report, Round, Trouble
from halfopen.core.sections.notify import NotifySettings
from halfopen.linux import files, state
from halfopen.ops.watch.notices import Notices
from halfopen.service import parts
from halfopen.service.face_keeper import FaceKeeper, face_user
from halfopen.service.notify_part import settings_of
from halfopen.service.running import RunningService

_FILE: Final = "notify.db"


class Notifying:
    """Takes the reports of a watch. service: its face delivers; None: a face of its own."""

    def __init__(self, receivers: Sequence[NotifySettings], service: RunningService | None) -> None:
        """Raises: HalfopenError if the directory of the spool cannot be created."""
        self._receivers, self._service = tuple(receivers), service
        self._own: FaceKeeper | None = None
        self._to: FaceKeeper | None = None
        if service is not None and receivers:
            self._to = service.part(parts.NOTIFY, self._settings())
        elif receivers:
            self._own = self._to = FaceKeeper()
        self._notices = Notices(self._send)

    def _settings(self) -> dict[str, Any]:
        return settings_of(self._receivers, spool_path())

    def _send(self, notice: Notice) -> None:
        if self._to is not None:
            self._to.send(parts.NOTIFY, encode(notice))

    def take(self, event: Report) -> Trouble | None:
        """Process a report. Returns a trouble of delivery, if no one else reports it."""
        if self._own is not None and isinstance(event, Begun):
            self._own.begin({parts.NOTIFY: self._settings()})
        self._notices.take(event)
        try:
            if isinstance(event, Reloaded) and event.settings.notify != self._receivers:
                self._changed(event.settings.notify)
        except HalfopenError as e:
            return Trouble(parts.NOTIFY, e)
        if self._own is None:
            return None
        if isinstance(event, Ended):
            self._own.close()
        if isinstance(event, Round | Ended) and (troubles := self._own.told()):
            lines = [line.removeprefix(f"{parts.NOTIFY}: ") for line in troubles]
            return Trouble(parts.NOTIFY, HalfopenError("notify", "; ".join(lines)))
        return None

    def _changed(self, receivers: tuple[NotifySettings, ...]) -> None:
        """Apply changed receivers: replace the face by one that continues with the spool. Raises: HalfopenError."""
        self._receivers = receivers
        settings = self._settings() if receivers else None
        if self._service is not None:
            self._to = self._service.change_part(parts.NOTIFY, settings)
        elif self._own is not None:
            self._own.renew({} if settings is None else {parts.NOTIFY: settings})
        elif settings is not None:
            self._own = self._to = FaceKeeper()
            self._own.begin({parts.NOTIFY: settings})


def spool_path() -> str:
    """The path of the spool: in the state directory, or, if this is root and the face runs as another user, in a
    directory of that user beside it. Raises: HalfopenError.
    """
    directory = state.state_directory()
    user = face_user()
    if user is None:
        return os.path.join(directory, _FILE)
    directory = f"{directory.rstrip('/')}-notify"
    try:
        files.make_directory_of(directory, *user)
    except (OSError, files.Unsafe) as e:
        what, remedy = files.what_and_remedy(e, directory)
        raise HalfopenError("spool", f"{directory}: {what}", hint=remedy) from None
    return os.path.join(directory, _FILE)
