"""The sink that has receivers told of incidents, by a process without capabilities: the service's face, or one that a
watch in the foreground has for this alone.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from halfopen.core.errors import HalfopenError
from halfopen.core.notice import Notice, encode
from halfopen.core.reports import Begun, Ended, Report, Round, Trouble
from halfopen.core.sections.notify import NotifySettings
from halfopen.linux import files, state
from halfopen.ops.watch.notices import Notices
from halfopen.service import parts
from halfopen.service.face_keeper import FaceKeeper, face_user
from halfopen.service.notify_part import settings_of
from halfopen.service.running import RunningService

_ENVIRONMENT: Final = "HALFOPEN_STATE_DIR"
_OF_ROOT: Final = "/var/lib/halfopen"
_FILE: Final = "notify.db"


class Notifying:
    """Takes the reports of a watch. service: whose face does the telling; None: one of its own."""

    def __init__(self, receivers: Sequence[NotifySettings], service: RunningService | None) -> None:
        """Raises: HalfopenError where the directory of the spool cannot be made."""
        settings = settings_of(receivers, spool_path())
        self._own: FaceKeeper | None = None
        if service is None:
            self._keeper = self._own = FaceKeeper()
        else:
            self._keeper = service.part(parts.NOTIFY, settings)
        self._settings = {parts.NOTIFY: settings}
        self._notices = Notices(self._send)

    def _send(self, notice: Notice) -> None:
        self._keeper.send(parts.NOTIFY, encode(notice))

    def take(self, event: Report) -> Trouble | None:
        """Take in a report. Returns what went wrong with the telling, where nobody else says so."""
        if self._own is not None and isinstance(event, Begun):
            self._own.begin(self._settings)
        self._notices.take(event)
        if self._own is None:
            return None
        if isinstance(event, Ended):
            self._own.close()
        if isinstance(event, Round | Ended) and (troubles := self._own.told()):
            return Trouble("alarms", HalfopenError("notify", "; ".join(troubles)))
        return None


def spool_path() -> str:
    """Where the spool is: in the state directory, or where root's process is told by another user, in a directory of
    that user beside it. Raises: HalfopenError.
    """
    directory = os.environ.get(_ENVIRONMENT) or state.directory(_OF_ROOT)
    user = face_user()
    if user is None:
        return os.path.join(directory, _FILE)
    directory = f"{directory.rstrip('/')}-notify"
    try:
        files.make_directory(directory)
        os.chown(directory, *user)
    except (OSError, files.Unsafe) as e:
        what, remedy = files.what_and_remedy(e, directory)
        raise HalfopenError("spool", f"{directory}: {what}", hint=remedy) from None
    return os.path.join(directory, _FILE)
