"""What programs import and the command line uses: `snapshot()`, `release()`, `tune_plan()` and so on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

from halfopen.core.errors import UsageError
from halfopen.core.filters import Filter
from halfopen.core.model.listing import Collecting, Listed, Listing
from halfopen.core.model.model import Model, build
from halfopen.core.model.narrowed import only
from halfopen.core.policy.actions import Release, Released
from halfopen.core.sample import Sample
from halfopen.core.units import duration_s, endpoint, prefix
from halfopen.linux.identity import identify
from halfopen.linux.netns import Netns, current, resolve
from halfopen.linux.stopping import StopEvent

if TYPE_CHECKING:
    from halfopen.core.advice.advice import AdviceGiven
    from halfopen.core.findings.diagnosis import Diagnosis
    from halfopen.core.tune.outcomes import Tuned, Undid
    from halfopen.core.tune.plan import Plan
    from halfopen.read.probe import Probe

T = TypeVar("T")
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
    return checked(
        Filter(older_than, retransmits, tuple(endpoint(x) for x in listeners), tuple(prefix(x) for x in sources))
    )


def checked(made: Filter) -> Filter:
    """The filter, unless no connection can meet all its conditions; one that stands there twice counts once.

    Raises: UsageError.
    """
    listeners, sources = tuple(dict.fromkeys(made.listeners)), tuple(dict.fromkeys(made.sources))
    made = replace(made, listeners=listeners, sources=sources)
    if both := made.contradiction():
        raise UsageError(f"no connection is of {both}: all conditions must hold", hint="use one of them at a time")
    return made


def namespace(netns: str | Netns | None) -> Netns | None:
    """The namespace meant by NAME, PATH or pid:N; None for the process's own. Raises: UsageError, UnknownTarget."""
    if isinstance(netns, str):
        if netns == "all":
            raise UsageError("--netns all is not possible here", hint="name one namespace: NAME, PATH or pid:N")
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
    source: str = "auto",
) -> Sample:
    """Read one namespace as it is, with a row of 56 bytes for every request socket.

    `filter`: leave out the requests that its listeners and sources rule out. `owners=False` leaves out the search for
    processes (milliseconds). `options=True` with it makes an exception for what programs set on listeners
    (TCP_DEFER_ACCEPT): where eBPF did not read it, the processes are looked for to ask the listeners themselves. Unset,
    it is as `owners`. `source`: "bpf", "diag" or "proc" to insist on one way to read; "auto" takes the best that
    answers, in that order.

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
    /64). The rows behind the Model: `.sample.requests` (dtype `halfopen.core.sample.REQUEST`), with `.ages_s` and
    `.is_deferred` beside them; with `rows=False` they are not kept, and a connection takes 15 bytes instead of 71.
    `owners`, `options` and `source` as for `sample`.

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
    """A Model of every namespace of the machine, and a line for each that vanished or refused meanwhile."""
    from halfopen.core.model.columns import Builder
    from halfopen.read import before_tcp, requests

    def asked() -> tuple[list[Probe], Builder]:
        builder = Builder()
        return [before_tcp.probe(), requests.probe(builder, rows=rows)], builder

    found, skipped = _How(source, owners, options).read_all(asked)
    return [build(read, columns=builder.take(), top=top) for read, builder in found], skipped


@dataclass(frozen=True, slots=True)
class _How:
    """How to read: as the arguments of `sample`."""

    source: str
    owners: bool = True
    options: bool | None = None

    def __post_init__(self) -> None:
        from halfopen.read.probe import WAYS

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


def diagnose(
    netns: str | Netns | None = None,
    *,
    seconds: str | float = 5.0,
    listener: str | Iterable[str] = (),
    source: str = "auto",
    stop: threading.Event | None = None,
) -> Diagnosis:
    """Look at a namespace for some seconds and judge what is wrong, by the rules of `status` over a longer time.

    `.causes`: each `.finding` (`id`, `level`, `facts`, `listener`, `cures`) with its `.confidence` and the `.rivals`
    that are not ruled out; `.ruled_out`: `ids` and the `facts` that exclude them; `.undecided`: ids. `seconds`: "10s"
    or a number; `stop`, once set, ends the look early. `listener`: without the findings about other listeners.
    `source` as for `sample`.

    Raises: UsageError, UnknownTarget, NotPermitted, Unsupported, KernelError.
    """
    from halfopen.ops.diagnose import diagnose_on

    time_s = _seconds(seconds, "seconds") or 0.0
    chosen = make_filter(listener=listener)

    def read() -> list[Model]:
        return [snapshot(netns, rows=False, source=source)]

    [found] = diagnose_on(read, time_s, way=source, filter=chosen, stop=stop)
    return found


def advise(
    netns: str | Netns | None = None,
    *,
    seconds: str | float = 60.0,
    listener: str | Iterable[str] = (),
    stop: threading.Event | None = None,
) -> AdviceGiven:
    """Watch handshakes and queues of a namespace by eBPF, and say what each listener needs. Nothing is changed.

    `.listeners`: each with `choices` of a release time (`share`: upper bound of the share of clients that it costs),
    `release` (the shortest that is proved harmless, or None), `syn_queue`, `accept_queue` and `needed_backlog`, and
    `cures`. `seconds`: "10m" or a number; `stop`, once set, ends the look early.

    Raises: UsageError, UnknownTarget, NotPermitted, Unsupported, KernelError.
    """
    from halfopen.ops.advise import advise_on

    time_s = _seconds(seconds, "seconds") or 0.0
    return advise_on(namespace(netns), time_s, make_filter(listener=listener), stop or StopEvent())


def listed(
    listing: Listing, netns: str | Netns | None = None, *, source: str = "auto"
) -> tuple[list[Listed], list[str]]:
    """What is listed of a namespace, or of each ("all"), and a line for each that was skipped.

    By eBPF nothing but that is kept while the kernel's table is read. Otherwise only the whole reading tells which
    requests are deferred, and all rows are kept until then.

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
    action = Release(identify(ns), chosen, reason or "asked for")
    return Executor(audit_log, dry_run=dry_run).execute(action, ns, stop=stop)


def tune_plan(
    netns: str | Netns | None = None,
    *,
    release_time: str | float | None = None,
    cookies: str | None = None,
    half_open: int | None = None,
    settings: Mapping[str, int] | None = None,
    only: Iterable[str] = (),
    for_time: str | float | None = None,
    persist: bool = False,
    reason: str = "",
    audit_log: str | None = None,
) -> Plan:
    """The changes of kernel settings that goals take (as `halfopen tune apply`), made of the values as they are now.

    Goals: `release_time="7s"`, `cookies="on"`, "off" or "always", `half_open=4096`; `settings` sets values outright
    ({"tcp_synack_retries": 2}); without either, what is recommended. `only`: no other setting. `for_time`: revert it
    after so long. `persist`: keep it over a boot. `plan.changes`: each with `key`, `found.value`, `value`, `reason` and
    `cost`; `plan.todo`: those that change something. Nothing is changed.

    Raises: UsageError, UnknownTarget, NotPermitted, Unsupported, JournalError, KernelError, HalfopenError "audit".
    """
    from halfopen.core.tune.goals import COOKIE_WORDS, Goals
    from halfopen.core.tune.plan import Request
    from halfopen.core.tune.wanted_settings import assignment, full_key
    from halfopen.ops.tune.plan import make_plan

    if cookies is not None and cookies not in COOKIE_WORDS:
        raise UsageError(f"cookies = {cookies!r} is not possible", hint=f"give {', '.join(COOKIE_WORDS)}")
    if half_open is not None and not 1 <= half_open <= 2**30:
        raise UsageError(f"half_open = {half_open} is not possible", hint="give a number from 1 to 2**30")
    request = Request(
        Goals(_seconds(release_time, "release_time"), cookies, half_open),
        tuple(assignment(f"{key}={value}") for key, value in (settings or {}).items()),
        tuple(map(full_key, (only,) if isinstance(only, str) else only)),
        _seconds(for_time, "for_time"),
        persist,
        reason,
    )
    return make_plan(namespace(netns) or current(), request, audit_log=audit_log)


def _seconds(time: str | float | None, name: str) -> float | None:
    seconds = duration_s(time, what=name) if isinstance(time, str) else time
    if seconds is not None and not 0 < seconds <= 365 * 86400:  # NaN too
        raise UsageError(f"{name} = {time} is not possible", hint="give a time as 10s or 2h, or a number of seconds")
    return seconds


def tune_apply(plan: Plan, *, dry_run: bool = False, audit_log: str | None = None) -> Tuned:
    """Carry out a plan of `tune_plan`: all its changes but those the kernel refuses, or none.

    Each change is in the journal (`halfopen tune log`) and undone by its id: `outcome.applied`, each with `state`,
    `value`, `why` and `id`. The audit log has a line before and after; what cannot be recorded is not done.

    Raises: HalfopenError "changed" when a value is another one than was planned for, and nothing was changed; else as
    `tune_plan`.
    """
    from halfopen.ops.executor import Executor

    return Executor(audit_log, dry_run=dry_run).execute(plan)


def tune_undo(
    ids: int | Iterable[int] = (), *, all: bool = False, reason: str = "", audit_log: str | None = None
) -> Undid:
    """Undo changes by their ids, in any order, or `all` that are in force; recorded as in `tune_apply`.

    `outcome.undone`: each with `state` ("undone", "left": somebody else set the value, "gone", "failed", "already"),
    `value`, `why` and `error`.

    Raises: UsageError, UnknownTarget for an id that the journal does not have, NotPermitted, JournalError,
    HalfopenError "audit".
    """
    from halfopen.core.policy.actions import Undo
    from halfopen.ops.executor import Executor

    chosen = (ids,) if isinstance(ids, int) else tuple(ids)
    if bool(chosen) == all:
        raise UsageError("an undo needs ids, or all", hint="halfopen tune log lists the changes")
    return Executor(audit_log).execute(Undo(None if all else chosen, reason))
