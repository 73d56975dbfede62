"""Fields of open and closing connections: of a group (`closing`), of a single one (`closing list`), of the whole."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from halfopen.core.fields.addresses import address_field, address_texts
from halfopen.core.fields.field import Field, Kind, json_object
from halfopen.core.fields.process import PROCESS
from halfopen.core.model.closing import ClosingModel, SocketGroup
from halfopen.core.model.closing_kinds import Signature
from halfopen.core.model.closing_ports import Destination
from halfopen.core.sample.closing import KEEPALIVE, ORPHAN, STATE_NAMES, WIDE
from halfopen.core.units import show_age


def _owner(g: SocketGroup) -> str:
    if g.process is None:
        return "-" if not g.pid else str(g.pid)
    inside = g.process.inside
    return f"{g.process.name} {g.pid}" + (f" ({inside})" if inside else "")


def _growth(g: SocketGroup) -> str:
    if g.came is not None and g.left is not None:
        return f"+{g.came} -{g.left}"
    return f"{g.per_s:.1f}/s" if g.new and g.grows is not False else "-"


GROUP: Final[tuple[Field[SocketGroup], ...]] = (
    Field(
        "process",
        "the process that holds them: `pid`, `name`, `unit`, `container`, `container_name`; null where none was found",
        lambda g: None if g.process is None else json_object(PROCESS, g.process),
        "object or null",
        kind=Kind.LABEL,
        title="PROCESS",
        show=_owner,
    ),
    Field("state", "as the kernel names it", lambda g: g.state_name, "string", kind=Kind.LABEL, title="STATE"),
    Field(
        "kind",
        "the signature: see [docs/closing.md](closing.md)",
        lambda g: g.signature.word,
        "string",
        kind=Kind.LABEL,
        title="KIND",
        spare=1,
    ),
    Field(
        "peer",
        "remote address and port; for connections that came to a listener, the port that they came "
        "to; `212 peers` where the process has few connections to each of 212 peers",
        lambda g: g.peer,
        "string",
        kind=Kind.LABEL,
        title="PEER",
    ),
    Field(
        "incoming",
        "whether they came to a listener; else the process opened them",
        lambda g: g.incoming,
        "boolean",
        kind=Kind.LABEL,
    ),
    Field("count", "connections", lambda g: g.count, title="COUNT", show=lambda g: f"{g.count:,}"),
    Field(
        "growth_per_s",
        "connections that came in the last 10 s (or since the oldest came), per second: the rate of a leak, as none of "
        "its connections go",
        lambda g: round(g.per_s, 3),
        unit="1/s",
        title="GROWTH",
        show=_growth,
        spare=3,
    ),
    Field(
        "oldest_s",
        "the longest time in the state; for ESTABLISHED, the longest time without data in either direction",
        lambda g: round(g.oldest_s, 3),
        unit="s",
        title="OLDEST",
        show=lambda g: ("" if g.exact else ">") + show_age(g.oldest_s),
    ),
    Field("youngest_s", "the shortest such time", lambda g: round(g.youngest_s, 3), unit="s"),
    Field(
        "ages_exact",
        "false where ages are lower bounds: answers to keepalive probes, and ACKs of data, hide when the FIN came",
        lambda g: g.exact,
        "boolean",
    ),
    Field("ages_even", "whether ages are spread evenly, as those of a leak are", lambda g: g.even, "boolean"),
    Field("unread_bytes", "bytes that wait for the program; a FIN counts as one", lambda g: g.unread, unit="bytes"),
    Field("unacked_bytes", "bytes that the peers have not acknowledged", lambda g: g.unacked, unit="bytes"),
    Field("pages", "pages of TCP's memory that they hold", lambda g: g.pages),
    Field("keepalive", "how many have keepalive on", lambda g: g.keepalive),
    Field("retransmits", "the most retransmissions of one of them", lambda g: g.retransmits),
    Field("came", "since the first look; null after one look", lambda g: g.came, "number or null"),
    Field("left", "since the first look; null after one look", lambda g: g.left, "number or null"),
)

DESTINATION: Final[tuple[Field[Destination], ...]] = (
    Field("peer", "remote address and port", lambda d: d.peer, "string", kind=Kind.LABEL),
    Field("local_address", "our address", lambda d: d.local, "string", kind=Kind.LABEL),
    Field("ports_used", "local ports taken towards it, in any state", lambda d: d.used),
    Field("ports", "local ports there are: `ip_local_port_range` without reserved ones", lambda d: d.room),
    Field("time_wait", "of `ports_used`, those in TIME_WAIT", lambda d: d.waiting),
)

CLOSING: Final[tuple[Field[ClosingModel], ...]] = (
    Field(
        "read_by",
        "`walk` (eBPF, without the kernel's locks), `iterator` (eBPF), `diag` (sock_diag)",
        lambda m: m.sockets.way,
        "string",
        kind=Kind.LABEL,
    ),
    Field("seconds", "between the two looks; null after one", lambda m: m.seconds, "number or null", "s"),
    Field("connections", "connections that are open or closing", lambda m: len(m.sockets.rows)),
    Field(
        "by_state",
        "how many are in each state, by its name",
        lambda m: {name: m.by_state[state] for state, name in STATE_NAMES.items()},
        "object",
    ),
    Field(
        "owners_whole",
        "false where the search for processes was stopped early or refused",
        lambda m: m.sockets.owners_whole,
        "boolean",
    ),
    Field("owners_s", "how long that search took", lambda m: round(m.sockets.owners_s, 4), unit="s"),
)


class SocketChunk:
    """Some connections of a Model, by their places, in the order in which they are listed."""

    def __init__(self, netns: str, model: ClosingModel, places: NDArray[np.intp]) -> None:
        """The connections of a Model at these places (n,)."""
        self.netns = netns
        self.model = model
        self.places = places

    @cached_property
    def rows(self) -> NDArray[Any]:
        """Their rows, (n,) dtype SOCKET."""
        return self.model.sockets.rows[self.places]

    @cached_property
    def local(self) -> list[str]:
        """Their local addresses as text."""
        return self._addresses("local")

    @cached_property
    def remote(self) -> list[str]:
        """Their peers as text."""
        return self._addresses("remote")

    def _addresses(self, side: str) -> list[str]:
        rows, wide = self.rows, self.model.sockets.wide[side]
        at_wide = np.flatnonzero(rows["flags"] & WIDE).tolist()
        return address_texts(rows[side], ((at, bytes(wide[rows["remote"][at]])) for at in at_wide))

    @cached_property
    def pids(self) -> list[int | None]:
        """The process that holds each; None where none does, or none was looked for."""
        pids = self.model.sockets.pids
        return [None] * len(self.rows) if pids is None else [pid or None for pid in pids[self.places].tolist()]

    @cached_property
    def names(self) -> list[str | None]:
        """The name of that process; None where it is not known."""
        known = self.model.sockets.processes
        return [known[pid].name if pid is not None and pid in known else None for pid in self.pids]

    def of_rows(self, name: str) -> list[Any]:
        """A column of the rows."""
        found: list[Any] = self.rows[name].tolist()
        return found

    def seconds(self, name: str) -> list[float]:
        """A column of milliseconds, in seconds."""
        found: list[float] = np.round(self.rows[name] / 1000, 3).tolist()
        return found

    def ages(self, *, most: bool) -> list[float]:
        """Ages in seconds, to a millisecond: the most or the least they can be."""
        column = self.model.ages.at_most_s if most else self.model.ages.at_least_s
        found: list[float] = np.round(column[self.places].astype(float), 3).tolist()
        return found

    def marked(self, mark: int) -> list[bool]:
        """Which of them have this mark."""
        found: list[bool] = (self.rows["flags"] & mark != 0).tolist()
        return found

    @cached_property
    def processes(self) -> list[str]:
        """Name and number of that process as text, `-` where there is none."""
        pairs = zip(self.names, self.pids, strict=True)
        return ["-" if pid is None else f"{name} {pid}" if name else str(pid) for name, pid in pairs]


_WORDS: Final = [one.word for one in Signature]


def _bytes(name: str, help: str, title: str, spare: int) -> Field[SocketChunk]:
    return Field(
        name,
        help,
        lambda c: c.of_rows(name.removesuffix("_bytes")),
        unit="bytes",
        title=title,
        least=6,
        spare=spare,
    )


SOCKETS: Final[tuple[Field[SocketChunk], ...]] = (
    Field("netns", "network namespace", lambda c: [c.netns] * len(c.rows), "string", kind=Kind.LABEL),
    Field(
        "state",
        "as the kernel names it",
        lambda c: [STATE_NAMES.get(one, str(one)) for one in c.of_rows("state")],
        "string",
        kind=Kind.LABEL,
        title="STATE",
        most=11,
    ),
    Field(
        "kind",
        "the signature: see [docs/closing.md](closing.md)",
        lambda c: [_WORDS[one] for one in c.model.signatures[c.places].tolist()],
        "string",
        kind=Kind.LABEL,
        title="KIND",
        most=16,
        spare=2,
    ),
    address_field("local_address", "our address", lambda c: c.local, "LOCAL", 5),
    Field("local_port", "our port", lambda c: c.of_rows("local_port"), title="PORT", least=5),
    address_field("remote_address", "the peer's address", lambda c: c.remote, "REMOTE"),
    Field("remote_port", "the peer's port", lambda c: c.of_rows("remote_port"), title="PORT", least=5),
    Field("pid", "the process that holds it; null where none was found", lambda c: c.pids, "number or null"),
    Field(
        "process",
        "its name; null where none was found",
        lambda c: c.names,
        "string or null",
        kind=Kind.LABEL,
        title="PROCESS",
        show=lambda c: c.processes,
        most=24,
        spare=1,
    ),
    Field(
        "age_s",
        "seconds in the state, at least; for ESTABLISHED, seconds without data in either direction",
        lambda c: c.ages(most=False),
        unit="s",
        title="AGE",
        show=lambda c: [show_age(one) for one in c.ages(most=False)],
        least=8,
    ),
    Field(
        "age_at_most_s",
        "the same, at most; `age_s` where that is exact",
        lambda c: c.ages(most=True),
        unit="s",
    ),
    _bytes("unread_bytes", "bytes that wait for the program; a FIN counts as one", "UNREAD", 3),
    _bytes("unacked_bytes", "bytes that the peer has not acknowledged", "UNACKED", 4),
    Field("received_s", "seconds since data came", lambda c: c.seconds("received_ms"), unit="s"),
    Field("sent_s", "seconds since data was sent", lambda c: c.seconds("sent_ms"), unit="s"),
    Field("heard_s", "seconds since an ACK came", lambda c: c.seconds("heard_ms"), unit="s"),
    Field("retransmits", "retransmissions of the data being sent now", lambda c: c.of_rows("retransmits")),
    Field("keepalive", "whether keepalive is on", lambda c: c.marked(KEEPALIVE), "boolean"),
    Field("orphan", "whether no process holds it any more", lambda c: c.marked(ORPHAN), "boolean"),
    Field("pages", "pages of TCP's memory that it holds", lambda c: c.of_rows("pages")),
    Field("inode", "inode of the socket; 0 where no process holds it", lambda c: c.of_rows("inode")),
    Field("uid", "user of the socket", lambda c: c.of_rows("uid")),
    Field("cookie", "socket cookie; 0 where the kernel has not assigned one yet", lambda c: c.of_rows("cookie")),
)
