"""Output of `advise`: the needs of each listener, and on what that rests; and `halfopen.advise/1`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from halfopen.core.advice.advice import AdviceGiven, ListenerAdvice
from halfopen.core.advice.room import MOST, backlog
from halfopen.core.fields.advice import ADVICE, CHOICE, LISTENER, shown_choices
from halfopen.core.fields.field import json_object
from halfopen.core.fields.namespace import PLACE
from halfopen.core.fields.process import processes_cell
from halfopen.core.model import timing
from halfopen.core.model.listeners import ListenerView
from halfopen.core.units import listener_text, netns_words, printable
from halfopen.present import columns, prose
from halfopen.present.advice_remarks import ago, remarks, share_words
from halfopen.present.findings.cures import command
from halfopen.present.findings.words import lasted, timed
from halfopen.present.language import aloud, tr, tr_n
from halfopen.present.prose import capital
from halfopen.present.text import propose
from halfopen.present.told import told

MAX_LISTENERS: Final = 8
MAX_PROPOSED: Final = 3
# Nobody watches longer before the next command.
_PATIENCE_S: Final = 3600.0


@aloud
def show(out: Console, given: AdviceGiven) -> None:
    """The advice, the busiest listener last, next to the commands."""
    for line in _about_all(given):
        out.print(Text(line, style="dim"))
    if not given.listeners:
        out.print(Text(_nothing(given), style="bold"))
    shown = given.listeners[:MAX_LISTENERS]
    if len(given.listeners) > len(shown):
        out.print(
            Text(
                tr(
                    "{listeners} not shown",
                    listeners=tr_n(
                        "{n:,} less busy listener", "{n:,} less busy listeners", len(given.listeners) - len(shown)
                    ),
                ),
                style="dim",
            )
        )
    for one in reversed(shown):
        if one is not shown[-1] or _about_all(given):
            out.print()
        _listener(out, one, given)
    out.print()
    commands = _commands(given)
    for line in commands[:-1][-(MAX_PROPOSED - 1) :]:
        propose(out, tr("Also"), line)
    propose(out, tr("Next"), commands[-1] if commands else _otherwise(given))


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
    time = lasted(round(given.seconds, 1))
    if given.cookies_back:
        # An ACK that meets a full accept queue comes again, and counts again.
        cookies = tr("{ACKs} with a cookie", ACKs=tr_n("{n:,} ACK", "{n:,} ACKs", given.cookies_back))
        return tr(
            "Handshakes finished by SYN cookie only in {time} ({cookies}): how long they took is not known, "
            "so there is nothing to base advice on",
            time=time,
            cookies=cookies,
        )
    if given.gone:
        return tr(
            "{handshakes} finished in {time} at listeners that are gone now: run it again while their "
            "program is not stopped or restarted",
            handshakes=tr_n("{n:,} handshake", "{n:,} handshakes", given.gone),
            time=time,
        )
    opened = tr(", ").join(
        tr("{view} was opened {ago_s}", view=_name(view), ago_s=ago(ago_s)) for view, ago_s in given.opened
    )
    return tr(
        "No handshake finished in {time}{more}: there is nothing to base advice on",
        time=time,
        more=opened and tr(" ({reasons})", reasons=opened),
    )


def _name(view: ListenerView) -> str:
    return listener_text(view.address, view.port)


def _about_all(given: AdviceGiven) -> list[str]:
    """The remarks that hold for every listener of the namespace."""
    # Arrivals and give-ups are not needed here; how a handshake by cookie is told from others is, where there are any.
    lines = [capital(told(line)) for line in given.missing] if given.cookies_back else []
    if given.where.name != "self":
        lines.insert(0, tr("Network namespace {name}", name=printable(given.where.name)))
    if given.quiet and given.listeners:
        lines.append(
            tr(
                "Not shown: {listeners} at which nothing finished and nothing waits",
                listeners=tr_n("{n:,} listener", "{n:,} listeners", given.quiet),
            )
        )
    if given.capped is None:
        lines.append(tr("Could not tell whether this kernel lets TCP_RTO_MAX_MS cap the wait between SYN-ACKs"))
    return lines


def _listener(out: Console, one: ListenerAdvice, given: AdviceGiven) -> None:
    view = one.seen.view
    head = Text(f"{listener_text(view.address, view.port)}  ", style="bold")
    if view.processes:
        head.append(Text(f"{printable(processes_cell(view.processes))}  ", style="not bold"))
    out.print(head.append(Text(_finished(one), style="not bold")))
    needs = list(_needs(one, given))
    widest = max(cell_len(title) for title, _ in needs)
    for title, text in needs:
        prose.headed(out, Text(f"  {title}{' ' * (widest - cell_len(title))}  "), text, "bold")
    out.print()
    columns.show(out, CHOICE, shown_choices(one))
    prose.bullets(out, (("", line) for line in remarks(one, given)))


def _finished(one: ListenerAdvice) -> str:
    shakes = one.seen.handshakes
    text = tr(
        "{handshakes} finished in {time}",
        handshakes=tr_n("{n:,} handshake", "{n:,} handshakes", one.finished),
        time=lasted(round(shakes.seconds, 1)),
    )
    if shakes.untimed:
        text += tr(" and {untimed:,} more by SYN cookie", untimed=shakes.untimed)
    if shakes.times.total:
        text += tr(", half within {time}", time=timed(shakes.times.quantile_s(0.5)))
        text += tr(", the slowest after {time}", time=timed(shakes.times.max_s))
    return text


def _needs(one: ListenerAdvice, given: AdviceGiven) -> Iterator[tuple[str, str]]:
    yield tr("Release time"), _release(one)
    yield tr("Backlog"), _backlog(one)
    yield tr("SYN cookies"), _cookies(given)


def _release(one: ListenerAdvice) -> str:
    now_s = timing.release_time_s(one.seen.view.retries, one.seen.rto_max_s)
    now = lasted(now_s)
    if one.too_short:
        return tr(
            "longer than {now}: 1 in {too_short} or more finished only after the last SYN-ACK, and others "
            "may come too late",
            now=now,
            too_short=_at_least(one.too_short),
        )
    if one.release is not None:
        proved = share_words(one.release.proved or 0.0)
        than = tr(
            "{time} is proved to cost fewer than {proved} clients",
            time=lasted(one.release.release_time_s),
            proved=proved,
        )
        return (
            tr("{than} ({now} now)", than=than, now=now)
            if one.release.retries < one.seen.view.retries
            else tr("{than}, as it is", than=than)
        )
    return tr("keep {now}: {one}", now=now, one=_too_little(one))


def _at_least(share: float) -> str:
    return f"{math.ceil(1 / share):,}"


def _too_little(one: ListenerAdvice) -> str:
    """Why no shorter one is advised."""
    best = max((c for c in one.choices if c.share is not None), key=lambda c: c.retries, default=None)
    if best is None:
        return tr("the kernel gives up too early here for anything shorter to be judged")
    if not one.finished:
        return tr("no handshake was timed, so nothing can be proved")
    rests = one.seen.rests
    n = one.finished if rests is None else min(rests.independent, one.finished)
    kind = tr("handshakes") if rests is None else tr("independent handshakes")
    lost = math.ceil((best.lost or 0) * n / one.finished)
    proved = tr(
        "{lost} of {n:,} {kind} later than {time} proves only",
        lost=lost,
        n=n,
        kind=kind,
        time=lasted(best.release_time_s),
    )
    text = tr("{proved} fewer than {more}", proved=proved, more=share_words(best.proved or 1.0))
    text += tr(", and {tolerated} is required", tolerated=share_words(one.tolerated))
    if rests is not None and rests.exhausted:
        text += tr("; handshakes of other sources would prove more, a longer look at these would not")
    return text


def _backlog(one: ListenerAdvice) -> str:
    need, view = tr("{needed_backlog:,} needed", needed_backlog=one.needed_backlog), one.seen.view
    if one.backlog is None:
        return tr("{need}; what it has could not be read", need=need)
    if view.syn_queue_limit is not None and view.syn_queue_limit < (view.accept_queue_limit or 0):
        # Cookies are off.
        most = one.syn_queue.needed / view.members
        enough = "" if one.syn_queue.enough else tr(", and {most:,} needed,", most=math.ceil(most))
        return tr(
            "{backlog:,} for connections that wait to be accepted, but only {syn_queue_limit:,} may be "
            "half-open{enough} while SYN cookies are off: tcp_max_syn_backlog keeps its last quarter back",
            backlog=one.backlog,
            syn_queue_limit=view.syn_queue_limit,
            enough=enough,
        )
    each = tr(" for each socket") if view.members > 1 else ""
    if one.backlog < one.seen.longest:
        each = tr(
            " at the shortest of its {members} sockets ({longest:,} at the longest)",
            members=view.members,
            longest=one.seen.longest,
        )
    if one.stays_full and one.needed_backlog <= one.backlog:
        return tr(
            "keep {backlog:,}{each}: an accept queue stays full, because the program does not accept fast "
            "enough, and a longer one would fill as well",
            backlog=one.backlog,
            each=each,
        )
    if one.falls_behind and one.needed_backlog <= one.backlog:
        return tr(
            "keep {backlog:,}{each}: connections wait {time} to be accepted, because the program accepts "
            "fewer than come, and a longer queue would have more of them wait",
            backlog=one.backlog,
            each=each,
            time=timed(one.accept_wait_s or 0.0),
        )
    if one.needed_backlog <= one.backlog and one.seen.overflows:
        return tr(
            "{backlog:,}{each} is too short, or the program stalls: up to {connections} found an accept "
            "queue full; between such moments {needed_backlog:,} would do",
            backlog=one.backlog,
            each=each,
            connections=tr_n("{n:,} connection", "{n:,} connections", one.seen.overflows),
            needed_backlog=one.needed_backlog,
        )
    if one.needed_backlog <= one.backlog:
        return tr("{backlog:,}{each} is enough, {need}", backlog=one.backlog, each=each, need=need)
    if one.needed_backlog > MOST:
        return tr(
            "no backlog holds {needed_backlog:,}: SYN cookies do, {backlog:,} now",
            needed_backlog=one.needed_backlog,
            backlog=one.backlog,
        )
    return tr(
        "{needed_backlog:,}{each}: {need}, {backlog:,} now",
        needed_backlog=backlog(one.needed_backlog),
        each=each,
        need=need,
        backlog=one.backlog,
    )


def _cookies(given: AdviceGiven) -> str:
    value = given.settings.get("tcp_syncookies")
    if value is None:
        return tr("this kernel has none: the backlog alone is the room")
    text = tr(
        "when a queue is full, {more}",
        more=tr("as it is") if value == 1 else tr("not {value}", value=_cookies_are(value)),
    )
    if given.cookies_sent:
        text += tr(
            " ({cookies_sent:,} sent meanwhile, {ACKs} brought one back)",
            cookies_sent=given.cookies_sent,
            ACKs=tr_n("{n:,} ACK", "{n:,} ACKs", given.cookies_back),
        )
    return text


def _cookies_are(value: int) -> str:
    if value == 1:
        return tr("sent when a queue is full")
    return tr("off") if value == 0 else tr("sent always") if value == 2 else str(value)


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
