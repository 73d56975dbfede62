"""Output of `advise`: the needs of each listener, and on what that rests; and `halfopen.advise/1`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from halfopen.core.advice import choices
from halfopen.core.advice.advice import AdviceGiven, ListenerAdvice
from halfopen.core.advice.room import MOST, Room, backlog
from halfopen.core.fields.advice import ADVICE, CHOICE, LISTENER, one_in, shown_choices
from halfopen.core.fields.field import json_object
from halfopen.core.fields.namespace import PLACE
from halfopen.core.fields.process import processes_cell
from halfopen.core.model import timing
from halfopen.core.model.listeners import ListenerView
from halfopen.core.units import listener_text, netns_words, plural, printable, show_duration, show_time
from halfopen.present import columns
from halfopen.present.findings.cures import command
from halfopen.present.text import propose

MAX_LISTENERS: Final = 8
MAX_PROPOSED: Final = 3
# Nobody watches longer before the next command.
_PATIENCE_S: Final = 3600.0
_COOKIES: Final = {0: "off", 1: "sent when a queue is full", 2: "sent always"}


def show(out: Console, given: AdviceGiven) -> None:
    """The advice, the busiest listener last, next to the commands."""
    for line in _about_all(given):
        out.print(Text(line, style="dim"))
    if not given.listeners:
        out.print(Text(_nothing(given), style="bold"))
    shown = given.listeners[:MAX_LISTENERS]
    if len(given.listeners) > len(shown):
        out.print(Text(f"{plural(len(given.listeners) - len(shown), 'less busy listener')} not shown", style="dim"))
    for one in reversed(shown):
        if one is not shown[-1] or _about_all(given):
            out.print()
        _listener(out, one, given)
    out.print()
    commands = _commands(given)
    for line in commands[:-1][-(MAX_PROPOSED - 1) :]:
        propose(out, "Also", line)
    propose(out, "Next", commands[-1] if commands else _otherwise(given))


def _commands(given: AdviceGiven) -> list[str]:
    """The best last: where an accept queue overflows, the one that looks for the cause."""
    unclear = any(one.stays_full or one.falls_behind or one.seen.overflows for one in given.listeners)
    return [*(command(cure) for cure in given.cures), *([_diagnose(given)] if unclear else [])]


def _diagnose(given: AdviceGiven) -> str:
    return f"halfopen diagnose{netns_words(given.where.name)}"


def _otherwise(given: AdviceGiven) -> str:
    """The proposal where there is nothing to change: watch for longer, where that would prove more."""
    where = netns_words(given.where.name)
    finished = sum(one.seen.handshakes.per_s(one.finished) or 0.0 for one in given.listeners)
    if given.unanswered_cookies_per_s > finished:
        return _diagnose(given)
    if any(one.seen.unanswered_per_s > (one.seen.handshakes.per_s(one.finished) or 0.0) for one in given.listeners):
        return _diagnose(given)
    times = [one.proof_s for one in given.listeners if one.release is None and one.proof_s is not None]
    if not times or min(times) > _PATIENCE_S:
        return f"halfopen watch{where}"
    return f"halfopen advise{where} --for {math.ceil(max(min(times), 2 * given.seconds) / 60)}m"


def _nothing(given: AdviceGiven) -> str:
    time = show_duration(round(given.seconds, 1))
    if given.cookies_back:
        # An ACK that meets a full accept queue comes again, and counts again.
        cookies = f"{plural(given.cookies_back, 'ACK')} with a cookie"
        return (
            f"Handshakes finished by SYN cookie only in {time} ({cookies}): how long they took is not known, so there "
            "is nothing to base advice on"
        )
    if given.gone:
        return (
            f"{plural(given.gone, 'handshake')} finished in {time} at listeners that are gone now: run it again while "
            "their program is not stopped or restarted"
        )
    opened = ", ".join(f"{_name(view)} was opened {_ago(ago_s)}" for view, ago_s in given.opened)
    return f"No handshake finished in {time}{opened and f' ({opened})'}: there is nothing to base advice on"


def _name(view: ListenerView) -> str:
    return listener_text(view.address, view.port)


def _ago(seconds: float) -> str:
    return f"{show_duration(round(seconds, 1))} before the end"


def _about_all(given: AdviceGiven) -> list[str]:
    """The remarks that hold for every listener of the namespace."""
    # Arrivals and give-ups are not needed here; how a handshake by cookie is told from others is, where there are any.
    lines = [f"{line[0].upper()}{line[1:]}" for line in given.missing] if given.cookies_back else []
    if given.where.name != "self":
        lines.insert(0, f"Network namespace {printable(given.where.name)}")
    if given.quiet and given.listeners:
        lines.append(f"Not shown: {plural(given.quiet, 'listener')} at which nothing finished and nothing waits")
    if given.capped is None:
        lines.append("Could not tell whether this kernel lets TCP_RTO_MAX_MS cap the wait between SYN-ACKs")
    return lines


def _listener(out: Console, one: ListenerAdvice, given: AdviceGiven) -> None:
    view = one.seen.view
    head = Text(f"{listener_text(view.address, view.port)}  ", style="bold")
    if view.processes:
        head.append(Text(f"{printable(processes_cell(view.processes))}  ", style="not bold"))
    out.print(head.append(Text(_finished(one), style="not bold")))
    needs = Table.grid(padding=(0, 2, 0, 0))
    for title, text in _needs(one, given):
        needs.add_row(f"  {title}", Text(text, style="bold"))
    out.print(needs)
    out.print()
    columns.show(out, CHOICE, shown_choices(one))
    remarks = Table.grid(padding=(0, 1, 0, 0))
    for line in _remarks(one, given):
        remarks.add_row("  -", Text(line))
    out.print(remarks)


def _finished(one: ListenerAdvice) -> str:
    shakes = one.seen.handshakes
    text = f"{plural(one.finished, 'handshake')} finished in {show_duration(round(shakes.seconds, 1))}"
    if shakes.untimed:
        text += f" and {shakes.untimed:,} more by SYN cookie"
    if shakes.times.total:
        text += f", half within {show_time(shakes.times.quantile_s(0.5))}"
        text += f", the slowest after {show_time(shakes.times.max_s)}"
    return text


def _needs(one: ListenerAdvice, given: AdviceGiven) -> Iterator[tuple[str, str]]:
    yield "Release time", _release(one)
    yield "Backlog", _backlog(one)
    yield "SYN cookies", _cookies(given)


def _release(one: ListenerAdvice) -> str:
    now_s = timing.release_time_s(one.seen.view.retries, one.seen.rto_max_s)
    now = show_duration(now_s)
    if one.too_short:
        return (
            f"longer than {now}: 1 in {_at_least(one.too_short)} or more finished only after the last SYN-ACK, and "
            "others may come too late"
        )
    if one.release is not None:
        proved = one_in(one.release.proved or 0.0)
        than = f"{show_duration(one.release.release_time_s)} is proved to cost fewer than {proved} clients"
        return f"{than} ({now} now)" if one.release.retries < one.seen.view.retries else f"{than}, as it is"
    return f"keep {now}: {_too_little(one)}"


def _at_least(share: float) -> str:
    return f"{math.ceil(1 / share):,}"


def _too_little(one: ListenerAdvice) -> str:
    """Why no shorter one is advised."""
    best = max((c for c in one.choices if c.share is not None), key=lambda c: c.retries, default=None)
    if best is None:
        return "the kernel gives up too early here for anything shorter to be judged"
    if not one.finished:
        return "no handshake was timed, so nothing can be proved"
    rests = one.seen.rests
    n = one.finished if rests is None else min(rests.independent, one.finished)
    kind = "handshakes" if rests is None else "independent handshakes"
    lost = math.ceil((best.lost or 0) * n / one.finished)
    proved = f"{lost} of {n:,} {kind} later than {show_duration(best.release_time_s)} proves only"
    text = f"{proved} fewer than {one_in(best.proved or 1.0)}"
    text += f", and {one_in(one.tolerated)} is required"
    if rests is not None and rests.exhausted:
        text += "; handshakes of other sources would prove more, a longer look at these would not"
    return text


def _backlog(one: ListenerAdvice) -> str:
    need, view = f"{one.needed_backlog:,} needed", one.seen.view
    if one.backlog is None:
        return f"{need}; what it has could not be read"
    if view.syn_queue_limit is not None and view.syn_queue_limit < (view.accept_queue_limit or 0):
        # Cookies are off.
        most = one.syn_queue.needed / view.members
        enough = "" if one.syn_queue.enough else f", and {math.ceil(most):,} needed,"
        return (
            f"{one.backlog:,} for connections that wait to be accepted, but only {view.syn_queue_limit:,} may be "
            f"half-open{enough} while SYN cookies are off: tcp_max_syn_backlog keeps its last quarter back"
        )
    each = " for each socket" if view.members > 1 else ""
    if one.backlog < one.seen.longest:
        each = f" at the shortest of its {view.members} sockets ({one.seen.longest:,} at the longest)"
    if one.stays_full and one.needed_backlog <= one.backlog:
        return (
            f"keep {one.backlog:,}{each}: an accept queue stays full, because the program does not accept fast "
            "enough, and a longer one would fill as well"
        )
    if one.falls_behind and one.needed_backlog <= one.backlog:
        return (
            f"keep {one.backlog:,}{each}: connections wait {show_time(one.accept_wait_s or 0.0)} to be accepted, "
            "because the program accepts fewer than come, and a longer queue would have more of them wait"
        )
    if one.needed_backlog <= one.backlog and one.seen.overflows:
        return (
            f"{one.backlog:,}{each} is too short, or the program stalls: up to "
            f"{plural(one.seen.overflows, 'connection')} found an accept queue full; between such moments "
            f"{one.needed_backlog:,} would do"
        )
    if one.needed_backlog <= one.backlog:
        return f"{one.backlog:,}{each} is enough, {need}"
    if one.needed_backlog > MOST:
        return f"no backlog holds {one.needed_backlog:,}: SYN cookies do, {one.backlog:,} now"
    return f"{backlog(one.needed_backlog):,}{each}: {need}, {one.backlog:,} now"


def _cookies(given: AdviceGiven) -> str:
    value = given.settings.get("tcp_syncookies")
    if value is None:
        return "this kernel has none: the backlog alone is the room"
    text = f"when a queue is full, {'as it is' if value == 1 else f'not {_COOKIES.get(value, str(value))}'}"
    if given.cookies_sent:
        text += f" ({given.cookies_sent:,} sent meanwhile, {plural(given.cookies_back, 'ACK')} brought one back)"
    return text


def _remarks(one: ListenerAdvice, given: AdviceGiven) -> Iterator[str]:
    if one.finished:
        yield _rests(one)
    yield _censored(one, given)
    if one.seen.opened_s is not None:
        yield f"the listener was opened {_ago(one.seen.opened_s)}: its drops count since then"
    if one.silent:
        yield (
            f"probably {one.silent}, by its port or program: the server speaks first then, so a client that is lost "
            "hangs and sees no error; "
            f"{one_in(choices.TOLERATED_SILENT)} is required here, not {one_in(choices.TOLERATED)}"
        )
    under_way = _under_way(one)
    yield _queue("SYN queue", one.syn_queue, under_way and f" by rate x time ({under_way})")
    if one.seen.unanswered_per_s and given.settings.get("tcp_syncookies"):
        more = _more(given)
        yield f"unanswered connections need no room: SYN cookies let clients in while the queue is full{more}"
    wait = "" if not one.accept_wait_s else f" (a connection waits {show_time(one.accept_wait_s)} to be accepted)"
    yield _queue("accept queue", one.accept_queue, wait)


def _rests(one: ListenerAdvice) -> str:
    rests = one.seen.rests
    if rests is None:
        return "sources were not counted: handshakes of a few clients prove less than the table says"
    count = "which counts" if rests.prefixes == 1 else "which count"
    # The sources are counted for a moment longer.
    independent = plural(min(rests.independent, one.finished), "independent handshake")
    return (
        f"rests on {plural(rests.prefixes, 'source prefix', 'source prefixes')}, {count} as {independent} "
        f"(at most {choices.MOST_OF_ONE} of one prefix)"
    )


def _censored(one: ListenerAdvice, given: AdviceGiven) -> str:
    after = show_duration(timing.release_time_s(one.seen.view.retries, one.seen.rto_max_s))
    text = (
        f"the kernel gives up after {after} here, so clients that need longer are lost already and not seen: the table "
        "counts further losses alone"
    )
    if one.pruned_s:
        sooner = show_duration(timing.release_time_s(one.in_force, one.seen.rto_max_s))
        pruned = show_duration(round(one.pruned_s, 1))
        text += f"; for {pruned}, with the queue more than half full, it gave up after {sooner}"
    if given.released:
        text += f"; halfopen released {given.released:,} meanwhile, which may have been clients"
    return text


def _more(given: AdviceGiven) -> str:
    """The flood that no queue shows."""
    if given.unanswered_cookies_per_s < 1:
        return ""
    return (
        f"; in the whole namespace, {_rate(given.unanswered_cookies_per_s)} more got a cookie and did not send it back"
    )


def _under_way(one: ListenerAdvice) -> str:
    """The parts of the length of the SYN queue."""
    shakes = one.seen.handshakes
    parts = []
    if one.finished:
        parts.append(f"{_rate(shakes.per_s(one.finished) or 0.0)} x {show_time(shakes.times.mean_s)} a handshake")
    if one.seen.unanswered_per_s:
        now = show_duration(one.given_up_s)
        parts.append(f"{_rate(one.seen.unanswered_per_s)} admitted and never answered x {now}")
    return " + ".join(parts)


def _rate(per_s: float) -> str:
    return f"{per_s:,.0f}/s" if per_s >= 10 else f"{per_s:.2g}/s"


def _length(length: float) -> str:
    return f"{length:,.0f}" if length >= 10 or length == 0 else f"{length:.1g}"


def _queue(name: str, queue: Room, why: str) -> str:
    usual = why if why.startswith(" by") else f" on average{why}"
    text = f"{name}: {_length(queue.length)}{usual}, at most {queue.peak:,} seen"
    if queue.limit is not None:
        # A SYN queue takes one more than its limit, for a moment.
        text += f" of {max(queue.limit, queue.peak):,}"
    if queue.full_in_s == 0:
        return f"{text}; it is full"
    if queue.full_in_s is not None:
        return f"{text}; at the present growth it will be full in {show_duration(queue.full_in_s)}"
    if queue.levels_off is not None:
        return f"{text}; it grows and levels off at {queue.levels_off:,}"
    return text


def document(given: AdviceGiven) -> dict[str, Any]:
    """`halfopen.advise/1`."""
    return {
        "schema": "halfopen.advise/1",
        "time": round(given.time, 3),
        "host": given.host.name,
        "kernel": given.host.kernel,
        **json_object(PLACE, given.where),
        **json_object(ADVICE, given),
        "listeners": [
            {**json_object(LISTENER, one), "cures": [command(cure) for cure in one.cures]} for one in given.listeners
        ],
        "next": _commands(given)[::-1],
    }
