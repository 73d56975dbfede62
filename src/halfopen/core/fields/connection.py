"""Fields of a half-open connection: the columns of `list`, its CSV and its JSON rows.

The subject is a Chunk of connections, and a field's value and cell are lists of one for each: getters work on whole
numpy columns, as a million connections may be listed.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from halfopen.core.fields.addresses import address_field, address_texts
from halfopen.core.fields.field import Field, Kind
from halfopen.core.model.listing import IS_DEFERRED, IS_DOUBTFUL, IS_WIDE


class Chunk:
    """Some connections of one namespace, in the order in which they are listed: records (n,) RECORD, and the addresses
    of the m wide ones among them (m,) WIDE.
    """

    def __init__(self, netns: str, records: NDArray[Any], wide: NDArray[Any]) -> None:
        """records: n connections as `Collected` keeps them, (n,); wide: the addresses of the IPv6 ones."""
        self.netns = netns
        self.records = records
        self._wide = wide

    @cached_property
    def local(self) -> list[str]:
        """Addresses the SYNs were sent to."""
        return self._addresses("local")

    @cached_property
    def remote(self) -> list[str]:
        """Addresses the SYNs came from."""
        return self._addresses("remote")

    @cached_property
    def age_s(self) -> list[float]:
        """Ages in seconds, to a millisecond."""
        rounded: list[float] = np.round(self.records["age_s"].astype(float), 3).tolist()
        return rounded

    @cached_property
    def expires_s(self) -> list[float]:
        """Seconds to the next expiry of the SYN-ACK timer."""
        seconds: list[float] = (self.records["expires_ms"] / 1000).tolist()
        return seconds

    def marked(self, mark: int) -> list[bool]:
        """Which of them have this bit in `form`."""
        found: list[bool] = (self.records["form"] & mark != 0).tolist()
        return found

    def deferred(self) -> list[str]:
        """`yes` for deferred ones, `?` where that cannot be told."""
        marks = zip(self.marked(IS_DEFERRED), self.marked(IS_DOUBTFUL), strict=True)
        return ["yes" if deferred else "?" if doubtful else "-" for deferred, doubtful in marks]

    def _addresses(self, side: str) -> list[str]:
        at_wide = np.flatnonzero(self.records["form"] & IS_WIDE).tolist()
        return address_texts(self.records[side], zip(at_wide, self._wide[side].tolist(), strict=True))


def _seconds(values: list[float]) -> list[str]:
    return [f"{value:.1f} s" for value in values]


LIST: Final[tuple[Field[Chunk], ...]] = (
    Field(
        "netns",
        "network namespace, as `--netns` takes it",
        lambda c: [c.netns] * len(c.records),
        "string",
        kind=Kind.LABEL,
        title="NETNS",
        spare=1,
    ),
    Field(
        "family",
        "`ipv4` or `ipv6`, as on the wire: a v4-mapped client is `ipv4`",
        lambda c: ["ipv6" if ":" in address else "ipv4" for address in c.remote],
        "string",
        kind=Kind.LABEL,
    ),
    address_field("local_address", "address the SYN was sent to", lambda c: c.local, "LOCAL", 2),
    Field("local_port", "port the SYN was sent to", lambda c: c.records["local_port"].tolist(), title="PORT", least=5),
    address_field("remote_address", "address the SYN came from", lambda c: c.remote, "REMOTE"),
    Field("remote_port", "port the SYN came from", lambda c: c.records["remote_port"].tolist(), title="PORT", least=5),
    Field(
        "age_s",
        "seconds since the SYN arrived; a lower bound when `deferred`",
        lambda c: c.age_s,
        unit="s",
        title="AGE",
        show=lambda c: _seconds(c.age_s),
        least=8,
    ),
    Field(
        "retransmits",
        "how often the SYN-ACK was retransmitted",
        lambda c: c.records["retransmits"].tolist(),
        title="RETR",
        spare=3,
    ),
    Field(
        "expires_s",
        "seconds to the next SYN-ACK, or to the release after the last one; 0: due",
        lambda c: c.expires_s,
        unit="s",
        title="TIMER",
        show=lambda c: _seconds(c.expires_s),
        least=7,
        spare=5,
    ),
    Field(
        "deferred",
        "the handshake is finished and waits for data (`TCP_DEFER_ACCEPT`) or for room in the accept queue: not "
        "half-open",
        lambda c: c.marked(IS_DEFERRED),
        "boolean",
        kind=Kind.LABEL,
        title="DEFER",
        show=Chunk.deferred,
        spare=4,
    ),
    Field(
        "may_have_answered",
        "not `deferred` as far as is known, but only eBPF could tell: an accept queue is full, or was (a `?` in the "
        "table)",
        lambda c: c.marked(IS_DOUBTFUL),
        "boolean",
        kind=Kind.LABEL,
    ),
)
