"""Read namespaces: `sample()`, `snapshot()`, `snapshots()`, and what `list` shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from halfopen.api.chosen import namespace
from halfopen.core.errors import UsageError
from halfopen.core.filters import Filter
from halfopen.core.model.listing import Collecting, Listed, Listing
from halfopen.core.model.model import Model, build
from halfopen.core.model.narrowed import only
from halfopen.core.sample import Sample
from halfopen.linux.netns import Netns

if TYPE_CHECKING:
    from halfopen.read.probe import Probe

T = TypeVar("T")
# Requests that are put into another form at a time.
_STRETCH: Final = 16 * 1024


def sample(
    netns: str | Netns | None = None,
    *,
    filter: Filter | None = None,
    owners: bool = True,
    options: bool | None = None,
    source: str = "auto",
) -> Sample:
    """Read one namespace as the kernel shows it, with a row of 56 bytes for each of its N request sockets.

    `.requests`: shape (N,), dtype `halfopen.core.sample.REQUEST`. `netns`: NAME, PATH or pid:N; None: the process's
    own. `filter`: only requests to its listeners and from its sources; an age or a number of retransmissions in it is
    ignored. `owners=False`: do not look for the processes that listen. `options`: learn what programs set on their
    listeners (TCP_DEFER_ACCEPT), which without eBPF takes looking for the processes too; None: as `owners`. `source`:
    "bpf", "diag" or "proc" insists on one way to read; "auto" takes the first of these that works.

    Raises: UsageError, UnknownTarget, NotPermitted, Unsupported, KernelError.
    """
    from halfopen.read import requests

    how = _How(source, owners, options)
    return how.read(netns, requests.probe(chosen=filter, rows=True))


def snapshot(
    netns: str | Netns | None = None,
    *,
    filter: Filter | None = None,
    top: int = 10,
    owners: bool = True,
    options: bool | None = None,
    rows: bool = True,
    source: str = "auto",
) -> Model:
    """Read one namespace and compute what is shown of it: half-open connections by listener and by source prefix.

    `filter`: only connections to its listeners and from its sources. `top`: how many source prefixes (IPv4 /24, IPv6
    /64). Beside the N rows of `.sample.requests` (dtype `halfopen.core.sample.REQUEST`) stand `.ages_s` (shape (N,), in
    seconds) and `.is_deferred` (shape (N,)); with `rows=False` the rows are not kept, and a connection takes 15 bytes
    instead of 71. `netns`, `owners`, `options` and `source` as for `sample`.

    Raises: UsageError (also for a filter by age or retransmissions), UnknownTarget, NotPermitted, Unsupported,
    KernelError.
    """
    from halfopen.core.model.columns import Builder
    from halfopen.read import before_tcp, requests

    if filter is not None and filter != filter.endpoints:
        raise UsageError(
            "a snapshot cannot be limited by age or retransmissions", hint="choose by listener and source, or use list"
        )
    how, builder = _How(source, owners, options), Builder()
    read = how.read(netns, before_tcp.probe(), requests.probe(builder, chosen=filter, rows=rows))
    model = build(read, columns=builder.take(), top=top)
    return model if filter is None else only(model, filter)


def snapshots(
    *, top: int = 10, owners: bool = True, options: bool | None = None, rows: bool = True, source: str = "auto"
) -> tuple[list[Model], list[str]]:
    """A Model of every namespace of the machine, and a line for each that could not be read.

    The arguments are those of `snapshot`. A namespace that vanishes or refuses meanwhile is no error.

    Raises: UsageError for an unknown `source`.
    """
    from halfopen.core.model.columns import Builder
    from halfopen.read import before_tcp, requests

    def asked() -> tuple[list[Probe], Builder]:
        builder = Builder()
        return [before_tcp.probe(), requests.probe(builder, rows=rows)], builder

    found, skipped = _How(source, owners, options).read_all(asked)
    return [build(read, columns=builder.take(), top=top) for read, builder in found], skipped


class _How(Struct, frozen=True):
    """How to read: as the arguments of `sample`."""

    source: str
    owners: bool = True
    options: bool | None = None

    def __post_init__(self) -> None:
        from halfopen.core.reading_ways import WAYS

        if self.source not in ("auto", *WAYS):
            raise UsageError(f"source {self.source!r} is not known", hint=f"give auto, {', '.join(WAYS)}")

    @property
    def with_options(self) -> bool:
        return self.owners if self.options is None else self.options

    def read(self, netns: str | Netns | None, *probes: Probe) -> Sample:
        from halfopen.read import reader

        ns = namespace(netns)
        return reader.read(ns, probes, way=self.source, with_owners=self.owners, with_options=self.with_options)

    def read_all(self, asked: Callable[[], tuple[list[Probe], T]]) -> tuple[list[tuple[Sample, T]], list[str]]:
        from halfopen.read import reader

        return reader.read_all(asked, way=self.source, with_owners=self.owners, with_options=self.with_options)


def listed(
    listing: Listing, netns: str | Netns | None = None, *, source: str = "auto"
) -> tuple[list[Listed], list[str]]:
    """The connections that `listing` asks for in one namespace or in each ("all"), and a line for each skipped one.

    Read by eBPF, only these connections are kept in memory (22 bytes each). Otherwise the whole reading is needed to
    tell which requests are deferred, and every row (56 bytes) is kept until then.

    Raises: UsageError, UnknownTarget, NotPermitted, Unsupported, KernelError.
    """
    from halfopen.read import requests

    how = _How(source, owners=False, options=True)
    if netns != "all":
        one = Collecting(listing)
        return [_listed(how.read(netns, requests.probe(one, chosen=listing.filter)), one, listing)], []

    def asked() -> tuple[list[Probe], Collecting]:
        collecting = Collecting(listing)
        return [requests.probe(collecting)], collecting

    read, skipped = how.read_all(asked)
    found = []
    while read:
        # One is let go before the next is taken.
        found.append(_listed(*read.pop(0), listing))
    return found, skipped


def _listed(read: Sample, collecting: Collecting, listing: Listing) -> Listed:
    collected, doubt, ages_are = collecting.collected, "", "exact"
    if len(collecting.rows):
        read = replace(read, parts=(collecting.rows.take(),))
        model = build(read)
        doubt = model.doubt
        if read.requests["retransmits"].any():
            # A count of timeouts leaves out answers to repeated SYNs; a count of SYN-ACKs takes them for timeouts.
            by_timeouts = model.ages_from == "timeouts" or read.completeness.source == "proc"
            ages_are = "lower" if by_timeouts else "upper"
        for start in range(0, len(read.requests), _STRETCH):
            part = slice(start, start + _STRETCH)
            is_doubtful = model.doubtful(part) if doubt else None
            collected.add(read.requests[part], model.ages_s[part], model.is_deferred[part], is_doubtful)
    return Listed(read.where.name, read.wall_s, read.completeness.problems, collected, doubt, ages_are)
