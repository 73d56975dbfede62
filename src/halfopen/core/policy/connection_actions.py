"""The actions on existing connections and their outcome: keepalive, probes, an orderly end, a reset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct, field

from halfopen.core.where import Namespace

if TYPE_CHECKING:
    from halfopen.core.closing_filter import ClosingFilter


class KeepaliveOptions(Struct, frozen=True):
    """Options of a connection; None: leave. Times in seconds, user_timeout_ms in milliseconds (0: off)."""

    on: bool | None = True
    idle_s: int | None = None
    interval_s: int | None = None
    probes: int | None = None
    user_timeout_ms: int | None = None

    def as_record(self) -> dict[str, Any]:
        """The options that are set, by name."""
        named = ("keepalive", self.on), *((name, getattr(self, name)) for name in _NUMBERS)
        return {name: value for name, value in named if value is not None}


_NUMBERS: Final = ("idle_s", "interval_s", "probes", "user_timeout_ms")
# The ways to change existing connections, the gentlest first.
KEEPALIVE_ON: Final = "keepalive"
PROBE_PEERS: Final = "probe"
SHUT_DOWN: Final = "shutdown"
DESTROY: Final = "destroy"


# Connections that one action touches at most, unless more are asked for.
USUAL_MOST: Final = 1000


class ChangeConnections(Struct, frozen=True):
    """Change or end the connections of a namespace that a filter lets through, `most` at most.

    how: KEEPALIVE_ON sets `options` (undo: the record of what they were); PROBE_PEERS asks each peer whether it is
    there; SHUT_DOWN ends those in CLOSE_WAIT in order; DESTROY ends them with an RST. The last two have no undo.
    """

    where: Namespace
    how: str
    filter: ClosingFilter
    reason: str
    most: int
    options: KeepaliveOptions | None = None

    @property
    def netns(self) -> str:
        """The namespace's name, as --netns takes it."""
        return self.where.name


class RestoreOptions(Struct, frozen=True):
    """Undo a KEEPALIVE_ON by the id of its record: options as they were, of the connections that still exist."""

    id: str
    reason: str = ""


class ChangedConnections(Struct, frozen=True):
    """The outcome of a ChangeConnections or RestoreOptions.

    matched: connections that the filter selected. done: changed or ended. spared: left alone because they were no
    longer as at the look, or gone. failed: refused by the kernel. way: "bpf" (each was checked under its lock),
    "descriptor" (a duplicate of the program's descriptor) or "netlink". window_ms: the longest time between look and
    change; 0 under the lock. answered, silent, forgotten: after a probe, the peers that answered, did not answer, or
    answered with an RST. record: the id that an undo takes; empty if there is none.
    """

    how: str
    netns: str
    filter: str
    matched: int = 0
    done: int = 0
    spared: int = 0
    failed: int = 0
    way: str = ""
    window_ms: float = 0.0
    answered: int | None = None
    silent: int | None = None
    forgotten: int | None = None
    record: str = ""
    dry_run: bool = False
    seconds: float = 0.0
    problems: tuple[str, ...] = field(default=())
    notes: tuple[str, ...] = field(default=())

    def as_record(self) -> dict[str, Any]:
        """The outcome for the audit log; that of an undo names the record that it used."""
        left_out = ("netns", "filter", "how", *(() if self.record else ("record",)))
        return {name: getattr(self, name) for name in self.__struct_fields__ if name not in left_out}
