"""What programs import and the command line uses: `snapshot()` and `release()`."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from halfopen.core.errors import UsageError
from halfopen.core.filters import Filter
from halfopen.core.model.listing import Collected, Listed, Listing
from halfopen.core.model.model import Model, build
from halfopen.core.policy.actions import Release, Released
from halfopen.core.sample import Sample
from halfopen.core.units import duration_s, endpoint, prefix
from halfopen.linux.netns import Netns, current, resolve

if TYPE_CHECKING:
    from halfopen.read.reader import Wish

# Requests that are put into another form at a time.
_STRETCH: Final = 16 * 1024


def make_filter(
    *,
    older_than: str | float | None = None,
    retransmits: int | None = None,
    listener: str | Iterable[str] = (),
    source: str | Iterable[str] = (),
) -> Filter:
    """A Filter from words as the command line takes them: `older_than="10s"`, `listener=":443"`, `source="10.0.0.0/8"`.

    Raises: UsageError.
    """
    if isinstance(older_than, str):
        older_than = duration_s(older_than, what="--older-than")
    if older_than is not None and not older_than >= 0:  # NaN too
        raise UsageError(f"--older-than {older_than} is not possible", hint="give a number of seconds from 0 up")
    if retransmits is not None and not 0 <= retransmits <= 255:
        raise UsageError(f"--retransmits {retransmits} is not possible", hint="give a number from 0 to 255")
    listeners = (listener,) if isinstance(listener, str) else tuple(listener)
    sources = (source,) if isinstance(source, str) else tuple(source)
    listeners, sources = (tuple(dict.fromkeys(words)) for words in (listeners, sources))
    made = Filter(older_than, retransmits, tuple(endpoint(x) for x in listeners), tuple(prefix(x) for x in sources))
    if both := made.contradiction():
        raise UsageError(f"no connection is of {both}: all conditions must hold", hint="use one of them at a time")
    return made


def namespace(netns: str | Netns | None) -> Netns | None:
    """The namespace meant by NAME, PATH or pid:N; None for the process's own. Raises: UsageError, UnknownTarget."""
    if isinstance(netns, str):
        if netns == "all":
            raise UsageError("--netns all does not fit here", hint="name one namespace: NAME, PATH or pid:N")
        if netns == "self":
            return current()
        return resolve(netns)
    return netns


def sample(
    netns: str | Netns | None = None,
    *,
    filter: Filter | None = None,
    owners: bool = True,
    options: bool | None = None,
    rows: bool = True,
    source: str = "auto",
) -> Sample:
    """Read one namespace as it is. `owners=False` leaves out the search for processes (milliseconds).

    `options=True` with it makes an exception for what programs set on listeners (TCP_DEFER_ACCEPT): where eBPF did not
    read it, the processes are looked for to ask the listeners themselves. Unset, it is as `owners`.

    `rows=False` keeps no row per request (56 bytes each) but what the Model needs of them (15). `source`: "bpf", "diag"
    or "proc" to insist on one way to read; "auto" takes the best that answers, in that order.

    Raises: UsageError, UnknownTarget, NotPermitted, Unsupported, KernelError.
    """
    from halfopen.read import reader

    wish = _wish(filter, rows, source)
    return reader.read(namespace(netns), wish, with_owners=owners, with_options=owners if options is None else options)


def _wish(filter: Filter | None, rows: bool, source: str) -> Wish:
    from halfopen.read import reader

    if source not in ("auto", *reader.SOURCES):
        raise UsageError(f"source {source!r} is not known", hint=f"give auto, {', '.join(reader.SOURCES)}")
    return reader.Wish(filter, rows, source)


def snapshot(
    netns: str | Netns | None = None, *, top: int = 10, owners: bool = True, rows: bool = True, source: str = "auto"
) -> Model:
    """Read one namespace and compute what is shown of it: half-open connections by listener and by source prefix.

    `top`: how many source prefixes (IPv4 /24, IPv6 /64). The rows behind it: `.sample.requests` (dtype
    `halfopen.core.sample.REQUEST`; empty with `rows=False`), with `.ages_s` and `.is_deferred` beside them. `owners`,
    `rows` and `source` as for `sample`.

    Raises: UsageError, UnknownTarget, NotPermitted, Unsupported, KernelError.
    """
    return build(sample(netns, owners=owners, rows=rows, source=source), top=top)


def snapshots(
    *, top: int = 10, owners: bool = True, options: bool | None = None, rows: bool = True, source: str = "auto"
) -> tuple[list[Model], list[str]]:
    """A Model of every namespace of the machine, and a line for each that vanished or refused meanwhile."""
    from halfopen.read import reader

    with_options = owners if options is None else options
    samples, skipped = reader.read_all(_wish(None, rows, source), with_owners=owners, with_options=with_options)
    return [build(s, top=top) for s in samples], skipped


def listed(
    listing: Listing, netns: str | Netns | None = None, *, source: str = "auto"
) -> tuple[list[Listed], list[str]]:
    """What is listed of a namespace, or of each ("all"), and a line for each that was skipped.

    By eBPF nothing but that is kept while the kernel's table is read. Otherwise only the whole reading tells which
    requests are deferred, and all rows are kept until then.

    Raises: UsageError, UnknownTarget, NotPermitted, Unsupported, KernelError.
    """
    from dataclasses import replace

    from halfopen.read import reader

    everywhere = netns == "all"
    wish = replace(_wish(None if everywhere else listing.filter, True, source), listing=listing)
    if everywhere:
        samples, skipped = reader.read_all(wish, with_owners=False, with_options=True)
    else:
        samples, skipped = [reader.read(namespace(netns), wish, with_owners=False, with_options=True)], []
    found = []
    while samples:
        # One is let go before the next is taken.
        found.append(_collected(samples.pop(0), listing))
    return found, skipped


def _collected(sample: Sample, listing: Listing) -> Listed:
    collected, doubt = sample.collected, ""
    if collected is None:
        collected = Collected(listing)
        model = build(sample)
        doubt = model.doubt
        for start in range(0, len(sample.requests), _STRETCH):
            part = slice(start, start + _STRETCH)
            is_doubtful = model.doubtful(part) if doubt else None
            collected.add(sample.requests[part], model.ages_s[part], model.is_deferred[part], is_doubtful)
    return Listed(sample.where.name, sample.wall_s, sample.completeness.problems, collected, doubt)


def release(
    filter: Filter | None = None,
    *,
    all: bool = False,
    netns: str | Netns | None = None,
    dry_run: bool = False,
    reason: str = "",
    audit_log: str | None = None,
    stop: threading.Event | None = None,
    **conditions: Any,
) -> Released:
    """Drop the half-open connections a filter lets through; conditions may be given as to `make_filter` instead.

    Nothing goes without a filter or `all=True`. Deferred-accept requests and full sockets are never touched. Every
    release is written to the audit log before and after; if that cannot be done, nothing is released.

    Raises: UsageError, UnknownTarget, NotPermitted, Unsupported, HalfopenError "audit".
    """
    from halfopen.ops.executor import Executor

    if filter is not None and conditions:
        raise UsageError("a filter and conditions beside it", hint="put all conditions into one of them")
    chosen = filter if filter is not None else make_filter(**conditions)
    if chosen.empty and not all:
        raise UsageError(
            "a release needs a filter", hint="give --older-than, --listener, --source, --retransmits or --all"
        )
    ns = namespace(netns) or current()
    action = Release(ns.name, chosen, reason or "asked for")
    return Executor(audit_log, dry_run=dry_run).release(action, ns, stop=stop)
