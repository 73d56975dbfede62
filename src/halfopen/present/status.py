"""Output of `status`: the answer on the first line, the command to paste on the last; one screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from halfopen.core.fields.everywhere import EVERYWHERE, JudgedNamespace
from halfopen.core.fields.listener import LISTENER
from halfopen.core.fields.source import SOURCE
from halfopen.core.findings.finding import Level
from halfopen.core.findings.verdict import Verdict
from halfopen.core.model.beside import Beside
from halfopen.core.model.listeners import ListenerView
from halfopen.core.model.model import Model
from halfopen.core.model.sources import SourceView
from halfopen.core.units import plural, printable, show_duration
from halfopen.present import columns
from halfopen.present.findings.cures import next_commands
from halfopen.present.findings.headline import counted, headline, leading
from halfopen.present.findings.sentences import say
from halfopen.present.findings.words import LEADS, listener_name
from halfopen.present.text import STYLE, propose

MAX_LISTENERS: Final = 12
MAX_NAMESPACES: Final = 8
# A prefix of a smaller share is one of many, and so is one beside others of about the same share.
STANDS_OUT: Final = 0.02
_ALONE: Final = 0.05
_COOKIES: Final = {0: "off", 1: "when a queue is full", 2: "always"}


@dataclass(frozen=True, slots=True)
class ScreenRows:
    """How many listeners, source prefixes and further commands a screen shows at most."""

    listeners: int = MAX_LISTENERS
    sources: int = 10
    commands: int = 2


# What a low screen gives up, step by step.
_LOWER: Final = (
    ScreenRows(),
    ScreenRows(12, 3),
    ScreenRows(8, 3),
    ScreenRows(8, 0),
    ScreenRows(5, 0),
    ScreenRows(3, 0, 1),
    ScreenRows(1, 0, 1),
)


def status(out: Console, model: Model, verdict: Verdict, *, taken: int = 0, beside: Beside | None = None) -> None:
    """One namespace; on a terminal with no more lines than it has, of which `taken` are used already.

    beside: what a glance at the other namespaces shows.
    """
    rows, elsewhere = ScreenRows(), "" if beside is None else beside_line(beside)
    if out.is_terminal:
        room = out.height - taken
        rows = next((one for one in _LOWER if _height(out, model, verdict, one, elsewhere) < room), _LOWER[-1])
    _screen(out, model, verdict, rows, elsewhere)


def _height(out: Console, model: Model, verdict: Verdict, lines: ScreenRows, elsewhere: str) -> int:
    with out.capture() as captured:
        _screen(out, model, verdict, lines, elsewhere)
    return captured.get().count("\n")


def beside_line(beside: Beside) -> str:
    """Which other namespaces have trouble; empty where none is seen to have."""
    if not beside.accept_full and not beside.syn_full:
        return ""
    full = [(beside.accept_full, "a full accept queue"), (beside.syn_full, "a full SYN queue")]
    told = " and ".join(f"{n} {'has' if n == 1 else 'have'} {what}" for n, what in full if n)
    others = plural(beside.others - beside.unseen, "other network namespace")
    return f"Beside  of {others}, {told} ({beside.first}): halfopen status --netns all"


def _screen(out: Console, model: Model, verdict: Verdict, lines: ScreenRows, elsewhere: str) -> None:
    level = Text(f"{verdict.level.name:<8}  ", style=STYLE[verdict.level])
    if model.sample.where.name != "self":
        level.append(f"[{printable(model.sample.where.name)}] ")
    out.print(level.append(Text(printable(headline(model, verdict)), style="bold")))
    _reasons(out, model, verdict)
    _listeners(out, model, lines.listeners)
    if model.orphans:
        out.print(f"{plural(model.orphans, 'half-open connection')} of listeners that are gone")
    if model.full:
        out.print(
            f"{plural(model.full, 'full socket')} in SYN_RECV (Fast Open or simultaneous open), not counted above"
        )
    if model.sources:
        out.print()
        _sources(out, model, lines.sources)
    out.print()
    out.print(_release_time_line(model))
    if elsewhere:
        out.print(Text(printable(elsewhere), style=STYLE[Level.WARNING]))
    best, *others = next_commands(verdict)
    for command in others[: lines.commands]:
        propose(out, "Also", command)
    propose(out, "Next", best)


def _listeners(out: Console, model: Model, most: int) -> None:
    busy = [v for v in model.listeners if v.half_open or v.deferred or v.accept_queue or v.drops]
    shown = (busy or list(model.listeners))[:most]
    if not shown:
        return
    out.print()
    seen = columns.show(out, LISTENER, shown)
    if any(v.overridden for v in shown) and "release_time_s" in seen:
        out.print(Text("* has a release time of its own (TCP_SYNCNT), which overrides tcp_synack_retries", style="dim"))
    idle = len(model.listeners) - len(shown)
    if idle:
        out.print(Text(f"and {plural(idle, 'more listener', 'more listeners')}", style="dim"))


def standing_out(sources: Sequence[SourceView]) -> list[SourceView]:
    """The prefixes worth a line: those with a large share, or a share that is twice that of the last of the ten."""
    large = [one for one in sources if one.share >= STANDS_OUT and one.half_open > 1]
    if len(sources) < 10:
        return large
    usual = sources[-1].share
    return [one for one in large if one.share >= _ALONE or one.share >= 2 * usual]


def _sources(out: Console, model: Model, most: int) -> None:
    top = standing_out(model.sources)
    if not top or not most:
        largest = model.sources[0]
        text = plural(model.distinct_sources, "distinct source")
        if largest.half_open == 1 and model.distinct_sources > 1:
            text += "; no two are of one prefix"
        else:
            what = "no prefix stands out: at most" if not top else "most from one prefix:"
            text += f"; {what} {largest.share:.1%} from {largest.prefix}"
        out.print(Text(text, style="dim"))
        return
    columns.show(out, SOURCE, top[:most])
    if model.distinct_sources > 1:
        out.print(Text(f"{model.distinct_sources:,} distinct sources in all", style="dim"))


def _pruned(model: Model) -> list[ListenerView]:
    """Listeners where the kernel gives up sooner than configured, as their queue is more than half full."""
    return [v for v in model.listeners if v.effective_release_time_s < v.release_time_s and v.half_open]


def _release_time_line(model: Model) -> str:
    """One release time: the one in force where the half-open connections are, and the setting it comes from."""
    setting = f"tcp_synack_retries = {model.retries}"
    pruned = _pruned(model)
    if len(pruned) == 1 and pruned[0].half_open * 2 > model.half_open:
        [view] = pruned
        line = f"Release time  {show_duration(view.effective_release_time_s)} on {listener_name(view)} while its queue "
        line += f"is more than half full, else {show_duration(view.release_time_s)}"
        line += "" if view.overridden else f" ({setting})"
    else:
        line = f"Release time  {show_duration(model.release_time_s)}: {setting}"
        for view in pruned:
            line += f"; {listener_name(view)}: {show_duration(view.effective_release_time_s)} while more than half full"
    cookies = _COOKIES.get(model.sample.settings.get("tcp_syncookies", -1))
    if cookies is not None:
        line += f"; SYN cookies {cookies} (tcp_syncookies = {model.sample.settings['tcp_syncookies']})"
    return line


def _reasons(out: Console, model: Model, verdict: Verdict) -> None:
    """A line for each finding, and whatever the first line has no room for."""
    lead = leading(model, verdict)
    lines = []
    if lead is not None:
        lines.append((lead.level, LEADS[lead.id](lead)[1]))
        if model.half_open:
            lines.append((Level.OK, counted(model)))
    lines += [(finding.level, say(finding)) for finding in verdict.findings if finding is not lead]
    if lines:
        reasons = Table.grid(padding=(0, 1, 0, 0))
        for level, line in lines:
            if line:
                reasons.add_row(Text("  -", style=STYLE[level]), Text(printable(line)))
        out.print(reasons)


def everywhere(out: Console, found: Sequence[JudgedNamespace], skipped: Sequence[str]) -> None:
    """Several namespaces: all in one line, each in a row of which the worst is the last, and that one as a screen."""
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
    many = plural(len(found), "network namespace")
    head = Text(f"{level.name:<8}  ", style=STYLE[level])
    out.print(head.append(Text(f"{plural(total, 'half-open connection')} in {many}")))
    for line in skipped:
        out.print(Text(f"  - {printable(line)}", style="dim"))
    rows = sorted((one for one in found if not one.quiet), key=_badness)
    if rows:
        out.print()
        columns.show(out, EVERYWHERE, rows[-MAX_NAMESPACES:])
    if len(rows) > MAX_NAMESPACES:
        more = plural(len(rows) - MAX_NAMESPACES, "less bad one is", "less bad ones are")
        out.print(Text(f"{more} not shown", style="dim"))
    if quiet := len(found) - len(rows):
        out.print(f"{quiet} of them {'has' if quiet == 1 else 'have'} no half-open connections")
