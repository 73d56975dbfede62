"""What is to be changed: the cures of the findings as commands, each with what it is for."""

from __future__ import annotations

from collections.abc import Iterable

from halfopen.core.findings.cures import (
    ContinueProcess,
    Cure,
    CureStep,
    RaiseConntrack,
    RaiseDescriptors,
    RaiseOpenFiles,
    ThawProcess,
)
from halfopen.core.model import timing
from halfopen.core.policy.actions import ChangeListener, ChangeSetting, Look, Protect, Release
from halfopen.core.policy.connection_actions import ChangeConnections
from halfopen.core.tune.keys import BACKLOG, COOKIES, RETRIES, SOMAXCONN, SYN_BACKLOG, SYNACK
from halfopen.present.findings.cures import command
from halfopen.present.findings.words import lasted
from halfopen.present.language import tr

_LASTING = ChangeSetting | ChangeListener | RaiseConntrack | RaiseDescriptors | RaiseOpenFiles


def lasting(cures: Iterable[Cure]) -> list[tuple[str, str]]:
    """The commands that change something for the next time, with what each is for."""
    return _told(cure for cure in cures if all(isinstance(step, _LASTING) for step in cure))


def at_once(cures: Iterable[Cure]) -> list[tuple[str, str]]:
    """The commands for while it goes on."""
    return _told(cure for cure in cures if not all(isinstance(step, _LASTING) for step in cure))


def _told(cures: Iterable[Cure]) -> list[tuple[str, str]]:
    found = {command(cure): tr("; ").join(dict.fromkeys(filter(None, map(_purpose, cure)))) for cure in cures}
    return list(found.items())


def _purpose(step: CureStep) -> str:
    match step:
        case ChangeSetting():
            return _setting(step)
        case ChangeListener():
            if step.key == BACKLOG:
                return tr("both queues of the listener take up to {n:,}; the program is not restarted", n=step.value)
            return _until(step.value) if step.key == RETRIES else ""
        case RaiseConntrack():
            return tr("more connections can be tracked")
        case RaiseDescriptors():
            return tr("the process can open more files, and accept() works again")
        case RaiseOpenFiles():
            return tr("more files can be open on the whole system")
        case Release():
            return tr(
                "drops half-open connections, which makes room in the queue; a client that still wants to connect "
                "sends its SYN again"
            )
        case Protect():
            return tr("clients get in while the flood goes on: SYNs are answered without an entry in the queue")
        case ContinueProcess():
            return tr("the stopped process goes on")
        case ThawProcess() if step.file:
            return tr("the frozen processes go on")
        case ChangeConnections():
            return ""
        case Look():
            return tr("looks for longer, and changes nothing")
    return tr("shows where to look, and changes nothing")


def _setting(step: ChangeSetting) -> str:
    if step.key == SYNACK:
        return _until(step.value)
    if step.key == COOKIES:
        return tr("SYNs are answered by a cookie while a queue is full, instead of being dropped")
    if step.key in (SYN_BACKLOG, SOMAXCONN):
        return tr("queues may be as long as {n:,}", n=step.value)
    return ""


def _until(retries: int) -> str:
    return tr("the kernel gives up an unanswered connection after {time}", time=lasted(timing.release_time_s(retries)))
