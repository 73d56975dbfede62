"""`halfopen notify test`: sends each receiver a message marked as a test, and tells what each answered."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence

from msgspec import Struct

from halfopen.core.errors import HalfopenError, UsageError
from halfopen.core.notice import Notice, NoticeState
from halfopen.core.sections.notify import NotifySettings
from halfopen.notify.kinds import receiver
from halfopen.notify.receiver import Message
from halfopen.present.notice import test_message


class ReceiverTried(Struct, frozen=True):
    """What came of the test message to a receiver. answer: the receiver's; where it was not delivered, why."""

    name: str
    kind: str
    delivered: bool
    answer: str
    seconds: float


def chosen(receivers: Sequence[NotifySettings], names: Sequence[str]) -> list[NotifySettings]:
    """The receivers with these names; all of them where no name is given. Raises: UsageError."""
    known = {one.called: one for one in receivers}
    for name in names:
        if name not in known:
            hint = f"there are {', '.join(known)}" if known else "the configuration has no [[notify]] section"
            raise UsageError(f"no receiver is called {name!r}", hint=hint)
    return [known[name] for name in dict.fromkeys(names)] if names else list(receivers)


def try_all(receivers: Sequence[NotifySettings]) -> Iterator[ReceiverTried]:
    """Send each receiver a test message, one after another; yields what came of each."""
    for one in receivers:
        began = time.monotonic()
        try:
            answer = receiver(one).send([_message()], one.timeout_s)
            delivered = True
        except HalfopenError as e:
            answer, delivered = e.line(), False
        yield ReceiverTried(one.called, one.kind, delivered, answer, time.monotonic() - began)


def _message() -> Message:
    now_s = time.time()
    host = os.uname().nodename
    title, text = test_message(host)
    notice = Notice(
        incident=f"test-{round(now_s * 1000):x}",
        state=NoticeState.FIRING,
        host=host,
        netns="self",
        at_s=now_s,
        began_s=now_s,
        level="warning",
        title=title,
        log=title,
        summary=text[0],
        text=text,
        test=True,
    )
    return Message(f"msg_{notice.incident}", notice)
