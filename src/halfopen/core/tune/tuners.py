"""The effect of running tuned and bpftune on a setting: from the text of tuned's profiles, and by what is
known of bpftune.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct, field

from halfopen.core.tune.sysctl_d import dotted

# bpftune's tcp_buffer tuner (src/tcp_buffer_tuner.c) sets them under SYN floods and when memory is short; when somebody
# else writes one of them, its sysctl tuner disables that tuner in this namespace (bpftune-sysctl(8)).
BPFTUNE: Final = ("net.ipv4.tcp_syncookies", "net.ipv4.tcp_max_syn_backlog")


class Line(Struct, frozen=True):
    """A setting in a profile of tuned. value: as it stands there; `>` before it: at least, `<`: at most."""

    path: str
    line: int
    value: str


class Profile(Struct):
    """The settings of one profile, and the profiles it includes."""

    settings: dict[str, Line] = field(default_factory=dict)
    includes: list[str] = field(default_factory=list)


def profile(path: str, data: bytes) -> Profile:
    """A tuned.conf, whatever its bytes: the settings of its [sysctl] sections, and what [main] includes."""
    found, section, kind = Profile(), "", ""
    for number, line in enumerate(data.decode("utf-8", "replace").split("\n"), 1):
        text = line.strip()
        if not text or text[0] in "#;":
            continue
        if text.startswith("[") and text.endswith("]"):
            section = text[1:-1].strip()
            # [sysctl.web] with type=sysctl is one as well.
            kind = section.partition(".")[0]
            continue
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals:
            continue
        if section == "main" and key == "include":
            found.includes += value.replace(",", " ").split()
        elif key == "type":
            kind = value
        elif kind == "sysctl":
            found.settings[dotted(key)] = Line(path, number, value)
    return found


def flag(data: bytes, name: str, default: bool) -> bool:
    """A switch in tuned-main.conf."""
    value = default
    for line in data.decode("utf-8", "replace").split("\n"):
        key, equals, word = (part.strip() for part in line.partition("="))
        if equals and key == name:
            value = word.lower() in ("1", "true", "yes", "y", "t", "on")
    return value


class RunningTuned(Struct, frozen=True):
    """A tuned that runs: its profile's name, the settings it makes, and whether it applies sysctl.d after them.

    unread: what of its profile could not be read; empty when all was.
    """

    profile: str
    settings: Mapping[str, Line]
    reapplies: bool
    unread: str = ""


def notes(keys: list[str], tuned: RunningTuned | None, bpftune: bool, persist: bool) -> list[str]:
    """A line for each of the two that runs and may change one of these settings back."""
    lines = [] if tuned is None else _of_tuned(keys, tuned, persist)
    theirs = " and ".join(_short(key) for key in BPFTUNE if key in keys)
    if bpftune and theirs:
        again = ", and then it may overwrite the value despite the sysctl.d entry" if persist else ""
        lines.append(
            f"bpftune is running, which changes {theirs} under a flood or when memory is short; once another program"
            f" has set the value, bpftune leaves it alone until bpftune is restarted{again}"
        )
    return lines


def _of_tuned(keys: list[str], tuned: RunningTuned, persist: bool) -> list[str]:
    lines = []
    for key in keys:
        if (found := tuned.settings.get(key)) is None:
            continue
        if not persist:
            then = "it does so when it starts and when its profile is selected"
        elif tuned.reapplies:
            then = "it applies sysctl.d afterwards, so the entry takes effect"
        else:
            then = "it does so when it starts, after the entry was applied"
        lines.append(
            f"tuned is running with profile {tuned.profile}, which sets {_short(key)} to {_words(found.value)}"
            f" ({found.path}:{found.line}); {then}"
        )
    if tuned.unread:
        lines.append(f"tuned is running with profile {tuned.profile}; its settings could not be read: {tuned.unread}")
    return lines


def _words(value: str) -> str:
    if value[:1] in ("<", ">"):
        return f"{value[1:].strip()} {'at most' if value[0] == '<' else 'at least'}"
    return value


def _short(key: str) -> str:
    return key.rpartition(".")[2]
