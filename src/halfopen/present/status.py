"""Output of `status`: the answer on the first line, the command to paste on the last; one screen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from rich.console import Console
from rich.text import Text

from halfopen.core.fields.everywhere import EVERYWHERE, JudgedNamespace
from halfopen.core.fields.listener import LISTENER
from halfopen.core.fields.source import SOURCE
from halfopen.core.findings.closing_seen import ClosingSeen
from halfopen.core.findings.finding import Level
from halfopen.core.findings.verdict import Verdict
from halfopen.core.model.beside import Beside
from halfopen.core.model.closing_glance import ClosingGlance
from halfopen.core.model.listeners import ListenerView
from halfopen.core.model.model import Model
from halfopen.core.model.sources import standing_out
from halfopen.core.units import netns_words, printable
from halfopen.present import columns
from halfopen.present.findings.cures import next_commands
from halfopen.present.findings.headline import headline
from halfopen.present.findings.reasons import reasons
from halfopen.present.findings.words import lasted, listener_name
from halfopen.present.language import listed, spoken, tr, tr_n
from halfopen.present.level_style import STYLE
from halfopen.present.prose import bullets, headed, titled
from halfopen.present.sources import spread
from halfopen.present.text import level_head, propose, verdict_line
from halfopen.present.told import told

if TYPE_CHECKING:
    from halfopen.core.sample.guard import FoundGuard

MAX_LISTENERS: Final = 12
MAX_NAMESPACES: Final = 8


class ScreenRows(Struct, frozen=True):
    """How many listeners, source prefixes and further commands a screen shows at most."""

    listeners: int = MAX_LISTENERS
    sources: int = 10
    commands: int = 2


# The parts that a screen with few lines gives up, step by step.
_LOWER: Final = (
    ScreenRows(),
    ScreenRows(12, 3),
    ScreenRows(8, 3),
    ScreenRows(8, 0),
    ScreenRows(5, 0),
    ScreenRows(3, 0, 1),
    ScreenRows(1, 0, 1),
)


def status(
    out: Console,
    model: Model,
    verdict: Verdict,
    *,
    taken: int = 0,
    beside: Beside | None = None,
    closing: ClosingSeen | None = None,
    guards: Sequence[FoundGuard] = (),
) -> None:
    """One namespace; on a terminal with no more lines than it has, of which `taken` are used already.

    beside: what a glance at the other namespaces shows; closing: what is seen of connections that are open or closing;
    guards: those armed in this one.
    """
    with spoken():
        rows = ScreenRows()
        lines = (
            *map(guard_line, guards),
            "" if closing is None else closing_line(closing, model.sample.where.name),
            "" if beside is None else beside_line(beside),
        )
        elsewhere = "\n".join(filter(None, lines))
        if out.is_terminal:
            room = out.height - taken
            rows = next((one for one in _LOWER if _height(out, model, verdict, one, elsewhere) < room), _LOWER[-1])
        _screen(out, model, verdict, rows, elsewhere)


def guard_line(guard: FoundGuard) -> str:
    """The activity of a guard of `protect` in this namespace."""
    from halfopen.present.guards import answers, summary  # hardly a host has one

    counts = summary(guard.counts)
    return tr("Guard  {does}: {counts} (halfopen protect status)", does=answers(guard), counts=counts)


def _height(out: Console, model: Model, verdict: Verdict, lines: ScreenRows, elsewhere: str) -> int:
    with out.capture() as captured:
        _screen(out, model, verdict, lines, elsewhere)
    return captured.get().count("\n")


def closing_line(closing: ClosingSeen, netns: str) -> str:
    """The verdict on open and closing connections, or numbers that are worth a closer look; empty where none are."""
    command = f"halfopen closing{netns_words(netns)}"
    if closing.verdict is None:
        told = _glanced(closing.glance)
    elif closing.level is Level.OK:
        told = ""
    else:
        # Hardly a host has such trouble.
        from halfopen.core.findings.all_rules import is_note
        from halfopen.present.closing import headline

        told = "" if closing.model is None else headline(closing.model, closing.verdict)
        if all(is_note(one) for one in closing.verdict.findings if one.level > Level.OK):
            # One look could not tell.
            told, command = _glanced(closing.glance), f"{command} --for 10s"
    return tr("Closing  {told}: {command}", told=told, command=command) if told else ""


def _glanced(glance: ClosingGlance) -> str:
    told = []
    if glance.leaks:
        told.append(tr("{n:,} connections are in CLOSE_WAIT", n=glance.close_wait))
    if glance.ports_run_out:
        values = {"n": glance.waiting, "ports": glance.ports}
        told.append(tr("{n:,} are in TIME_WAIT ({ports:,} local ports)", **values))
    return tr(", ").join(told)


def beside_line(beside: Beside) -> str:
    """Which other namespaces have trouble; empty where none is seen to have."""
    if not beside.accept_full and not beside.syn_full:
        return ""
    told = []
    if n := beside.accept_full:
        told.append(tr_n("{n} has a full accept queue", "{n} have a full accept queue", n))
    if n := beside.syn_full:
        told.append(tr_n("{n} has a full SYN queue", "{n} have a full SYN queue", n))
    return tr_n(
        "Elsewhere  of {n:,} other network namespace, {told} ({first}): halfopen status --netns all",
        "Elsewhere  of {n:,} other network namespaces, {told} ({first}): halfopen status --netns all",
        beside.others - beside.unseen,
        told=tr(" and ").join(told),
        first=beside.first,
    )


def _screen(out: Console, model: Model, verdict: Verdict, lines: ScreenRows, elsewhere: str) -> None:
    verdict_line(out, verdict.level, model.sample.where, headline(model, verdict))
    _reasons(out, model, verdict)
    _listeners(out, model, lines.listeners)
    if model.orphans:
        out.print(
            tr_n(
                "{n:,} half-open connection of listeners that are gone",
                "{n:,} half-open connections of listeners that are gone",
                model.orphans,
            )
        )
    if model.full:
        out.print(
            tr_n(
                "{n:,} full socket in SYN_RECV (Fast Open or simultaneous open), not counted above",
                "{n:,} full sockets in SYN_RECV (Fast Open or simultaneous open), not counted above",
                model.full,
            )
        )
    if model.sources:
        out.print()
        _sources(out, model, lines.sources)
    out.print()
    titled(out, _release_time_line(model))
    for line in filter(None, elsewhere.split("\n")):
        titled(out, printable(line), STYLE[Level.WARNING])
    best, *others = next_commands(verdict)
    for command in others[: lines.commands]:
        propose(out, tr("Also"), command)
    propose(out, tr("Next"), best)


def _listeners(out: Console, model: Model, most: int) -> None:
    busy = [v for v in model.listeners if v.half_open or v.deferred or v.accept_queue or v.drops]
    shown = (busy or list(model.listeners))[:most]
    if not shown:
        return
    out.print()
    seen = columns.show(out, LISTENER, shown)
    if any(v.overridden for v in shown) and "release_time_s" in seen:
        own = tr("* has a release time of its own (TCP_SYNCNT), which overrides tcp_synack_retries")
        out.print(Text(own, style="dim"))
    if not all(v.retries_known for v in shown) and "release_time_s" in seen:
        unknown = tr("? could not be read: a listener may have a release time of its own (TCP_SYNCNT)")
        out.print(Text(unknown, style="dim"))
    idle = len(model.listeners) - len(shown)
    if idle:
        out.print(Text(tr_n("and {n:,} more listener", "and {n:,} more listeners", idle), style="dim"))


def _sources(out: Console, model: Model, most: int) -> None:
    top = standing_out(model.sources)
    if not top or not most:
        largest = model.sources[0]
        values = {"share": f"{largest.share:.1%}", "prefix": largest.prefix}
        if largest.half_open == 1 and model.distinct_sources > 1:
            more = tr("no two share an IPv4 /24 or an IPv6 /64")
        elif model.distinct_sources == 1:
            more = tr("all from {prefix}", prefix=largest.prefix)
        elif top:
            more = tr("most from one prefix: {share} from {prefix}", **values)
        else:
            more = spread(largest)
        text = tr_n("{n:,} distinct source", "{n:,} distinct sources", model.distinct_sources)
        out.print(Text(listed([text, more]), style="dim"))
        return
    columns.show(out, SOURCE, top[:most])
    if model.distinct_sources > 1:
        out.print(Text(tr("{n:,} distinct sources in all", n=model.distinct_sources), style="dim"))


def _pruned(model: Model) -> list[ListenerView]:
    """Listeners where the kernel gives up sooner than configured, as their queue is more than half full."""
    known = (v for v in model.listeners if v.retries_known and v.half_open)
    return [v for v in known if v.effective_release_time_s < v.release_time_s]


def _release_time_line(model: Model) -> str:
    """One release time: the one in force where the half-open connections are, and the setting it comes from."""
    pruned, configured = _pruned(model), lasted(model.release_time_s)
    if len(pruned) == 1 and pruned[0].half_open * 2 > model.half_open:
        [view] = pruned
        values = {
            "now": lasted(view.effective_release_time_s),
            "at": listener_name(view),
            "time": lasted(view.release_time_s),
            "n": model.retries,
        }
        if view.overridden:
            line = tr("Release time  {now} on {at} while its queue is more than half full, else {time}", **values)
        else:
            line = tr(
                "Release time  {now} on {at} while its queue is more than half full, else {time} (tcp_synack_retries = "
                "{n})",
                **values,
            )
        return listed([line, _cookies(model)])
    parts = [tr("Release time  {time}: tcp_synack_retries = {n}", time=configured, n=model.retries)]
    parts += [
        tr("{at}: {time} while more than half full", at=listener_name(view), time=lasted(view.effective_release_time_s))
        for view in pruned
    ]
    return listed([*parts, _cookies(model)])


def _cookies(model: Model) -> str:
    """Whether SYN cookies are on."""
    value = model.sample.settings.get("tcp_syncookies", -1)
    if value == 0:
        return tr("SYN cookies off (tcp_syncookies = 0)")
    if value == 1:
        return tr("SYN cookies when a queue is full (tcp_syncookies = 1)")
    return tr("SYN cookies always (tcp_syncookies = 2)") if value == 2 else ""


def _reasons(out: Console, model: Model, verdict: Verdict) -> None:
    """A line for each finding, and whatever the first line has no room for."""
    lines = reasons(model, verdict)
    if lines:
        bullets(out, [(STYLE[level], printable(line)) for level, line in lines])


def everywhere(out: Console, found: Sequence[JudgedNamespace], skipped: Sequence[str]) -> None:
    """Several namespaces: a line about all, a row for each with the worst last, and the screen of the worst."""
    with spoken():
        with out.capture() as captured:
            _table(out, found, skipped)
        _table(out, found, skipped)
        worst = max(found, key=_badness)
        if not worst.quiet:
            out.print()
            status(out, worst.model, worst.verdict, taken=captured.get().count("\n") + 1)


def _badness(one: JudgedNamespace) -> tuple[Level, int]:
    return one.verdict.level, one.model.half_open


def _table(out: Console, found: Sequence[JudgedNamespace], skipped: Sequence[str]) -> None:
    level = max(one.verdict.level for one in found)
    total = sum(one.model.half_open for one in found)
    text = tr_n("{n:,} half-open connection", "{n:,} half-open connections", total)
    many = tr_n("{n:,} network namespace", "{n:,} network namespaces", len(found))
    headed(out, level_head(level), tr("{text} in {place}", text=text, place=many))
    for line in skipped:
        headed(out, Text("  - ", style="dim"), told(line), "dim")
    rows = sorted((one for one in found if not one.quiet), key=_badness)
    if rows:
        out.print()
        columns.show(out, EVERYWHERE, rows[-MAX_NAMESPACES:])
    if len(rows) > MAX_NAMESPACES:
        less = tr_n(
            "{n:,} less severe one is not shown", "{n:,} less severe ones are not shown", len(rows) - MAX_NAMESPACES
        )
        out.print(Text(less, style="dim"))
    if quiet := len(found) - len(rows):
        none = tr_n("{n:,} of them has no half-open connections", "{n:,} of them have no half-open connections", quiet)
        out.print(none)
    for line in filter(None, map(_closing_there, found)):
        titled(out, printable(line), STYLE[Level.WARNING])


def _closing_there(one: JudgedNamespace) -> str:
    return "" if one.closing is None else closing_line(one.closing, one.model.sample.where.name)
