"""The features of this machine that halfopen can use, what would grant the rest, and a summary in one sentence."""

from __future__ import annotations

from enum import Enum
from typing import Final

from msgspec import Struct

from halfopen.core.where import Host

EBPF: Final = "bpf:"
RELEASE: Final = "release"


class Outcome(Enum):
    """Whether a feature works here."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


class Grant(Struct, frozen=True):
    """One thing that would make a feature work. kind: capability, package, setting, kernel or host.

    command: what to run for it, where there is one.
    """

    kind: str
    name: str
    command: str = ""


class Feature(Struct, frozen=True):
    """One thing halfopen uses. id is stable; needs: the capabilities it takes, held or not.

    why: the reason it is unavailable; if it is available, an optional detail. grants: what is missing, all of it.
    """

    id: str
    purpose: str
    outcome: Outcome
    why: str = ""
    needs: tuple[str, ...] = ()
    grants: tuple[Grant, ...] = ()


class Checkup(Struct, frozen=True):
    """Every feature, and who asked: the user, in a user namespace or not, on which host and kernel."""

    host: Host
    uid: int
    user_namespace: bool
    features: tuple[Feature, ...]

    def works(self, id: str) -> bool:
        """Whether a feature is there."""
        return any(f.id == id and f.outcome is Outcome.YES for f in self.features)


def answer(checkup: Checkup) -> str:
    """The features that work here, in one sentence."""
    programs = [f for f in checkup.features if f.id.startswith(EBPF)]
    loaded = sum(f.outcome is Outcome.YES for f in programs)
    if not lacking(checkup):
        return f"Everything works here, with all {len(programs)} eBPF programs."
    release = checkup.works(RELEASE)
    if checkup.works("sock_diag"):
        does = "are read and released here" if release else "are read here, not released"
    elif checkup.works("proc_net_tcp"):
        does = (
            "are read from /proc alone and released here" if release else "are read from /proc alone here, not released"
        )
    else:
        does = "cannot be read and released here" if release else "cannot be read here, not released"
    load = f"all {loaded} eBPF programs load"
    if loaded != len(programs):
        load = f"{loaded} of {len(programs)} eBPF programs load"
    return f"Half-open connections {does}; {load}."


def lacking(checkup: Checkup) -> tuple[Feature, ...]:
    """The features that are missing or could not be determined."""
    return tuple(f for f in checkup.features if f.outcome is not Outcome.YES)


def capabilities(checkup: Checkup) -> tuple[str, ...]:
    """Every capability that halfopen can make use of; empty when none of them is missing."""
    missing = any(g.kind == "capability" for f in checkup.features for g in f.grants)
    return tuple(sorted({name for f in checkup.features for name in f.needs})) if missing else ()


def next_command(checkup: Checkup) -> str:
    """The command that grants most of what is missing; `halfopen status` where no command would."""
    missing = lacking(checkup)
    commands: dict[str, int] = {}
    for feature in missing:
        for grant in feature.grants:
            command = "sudo halfopen doctor" if grant.kind == "capability" and checkup.uid else grant.command
            if command:
                commands[command] = commands.get(command, 0) + 1
    return max(commands, key=lambda c: commands[c], default="halfopen status")
