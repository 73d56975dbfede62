"""A cure as the command that carries it out."""

from __future__ import annotations

from typing import assert_never

from halfopen.core.findings.cures import Action, ChangeListener, ChangeSetting, Cure, Look
from halfopen.core.findings.verdict import Verdict
from halfopen.core.model import timing
from halfopen.core.policy.actions import Release
from halfopen.core.tune.keys import COOKIES, SYN_BACKLOG, SYNACK
from halfopen.core.units import listener_text, netns_words

_COOKIES = {0: "off", 1: "on", 2: "always"}


def command(cure: Cure) -> str:
    """The command line of a cure, with `&&` where it takes several."""
    return " && ".join(map(_command, cure))


def next_commands(verdict: Verdict) -> list[str]:
    """What to do next, as command lines, the best first."""
    return list(dict.fromkeys(map(command, verdict.next)))


def _command(action: Action) -> str:
    if isinstance(action, Release):
        return _release(action)
    if isinstance(action, ChangeSetting):
        return f"halfopen tune apply{netns_words(action.netns)} {_setting(action)}"
    if isinstance(action, ChangeListener):
        return _listener(action)
    if isinstance(action, Look):
        return f"halfopen {action.command}" + ("" if action.everywhere else netns_words(action.netns))
    assert_never(action)


def _setting(action: ChangeSetting) -> str:
    """In the words of `tune apply`, where it has some for the setting."""
    if action.key == SYNACK:
        return f"--release-time {timing.release_time_s(action.value):g}s"
    if action.key == COOKIES:
        return f"--cookies {_COOKIES[action.value]}"
    if action.key == SYN_BACKLOG:
        return f"--half-open {action.value}"
    return f"--set {action.key.rpartition('.')[2]}={action.value}"


def _listener(action: ChangeListener) -> str:
    words = f"halfopen tune listener {listener_text(action.address, action.port)}"
    if action.backlog is not None:
        words += f" --backlog {action.backlog}"
    if action.release_time_s is not None:
        words += f" --release-time {action.release_time_s:g}s"
    return words + netns_words(action.netns)


def _release(action: Release) -> str:
    return f"halfopen release{netns_words(action.netns)}{action.filter.arguments() or ' --all'}"
