"""What `status` and `release` say to a person: the answer on the first line, the command to paste on the last."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from halfopen.core.fields.listener import LISTENER
from halfopen.core.fields.source import SOURCE
from halfopen.core.findings.finding import Level
from halfopen.core.findings.verdict import Verdict
from halfopen.core.model.model import Model
from halfopen.core.policy.actions import Released
from halfopen.core.units import plural, printable, show_duration
from halfopen.present import columns, commands
from halfopen.present.findings.cures import next_commands
from halfopen.present.findings.headline import counted, headline, leading
from halfopen.present.findings.sentences import listener_name, say
from halfopen.present.findings.words import LEADS

_UNPRINTABLE = re.compile(r"[^\n\x20-\x7e]")
STYLE = {Level.OK: "bold green", Level.NOTICE: "bold cyan", Level.WARNING: "bold yellow", Level.CRITICAL: "bold red"}
_PLAIN_WIDTH = 200
_AT_LINE_END = re.compile(r"[ ]+$", re.MULTILINE)
MAX_LISTENERS = 12
STANDS_OUT = 0.02


class _Trimmed(io.TextIOBase):
    """Standard output without the spaces that tables leave at the ends of lines."""

    def write(self, text: str) -> int:
        sys.stdout.write(_AT_LINE_END.sub("", text))
        return len(text)

    def flush(self) -> None:
        sys.stdout.flush()


class _Console(Console):
    def render(self, *arguments: Any, **options: Any) -> Iterator[Segment]:
        """As rich does it, but of the text itself a terminal obeys nothing: anybody may choose names."""
        for piece in super().render(*arguments, **options):
            text, style, control = piece
            yield piece if control or _plain(text) else Segment(_printable_lines(text), style)

    def on_broken_pipe(self) -> None:
        # rich would end the process, and with 1; the command line decides that, for every command alike.
        raise BrokenPipeError


def _plain(text: str) -> bool:
    return _UNPRINTABLE.search(text) is None


def _printable_lines(text: str) -> str:
    return "\n".join(map(printable, text.split("\n")))


def console() -> Console:
    """A console that is plain and wide where nobody looks, coloured and as wide as the terminal where somebody does."""
    if sys.stdout.isatty():
        return _Console(highlight=False, markup=False, emoji=False)
    out: Any = _Trimmed()
    return _Console(file=out, width=_PLAIN_WIDTH, highlight=False, markup=False, emoji=False)


def _release_time_line(model: Model) -> str:
    line = f"Release time  {show_duration(model.release_time_s)}: tcp_synack_retries = {model.retries}"
    cookies = {0: "off", 1: "when a queue is full", 2: "always"}.get(model.sample.settings.get("tcp_syncookies", -1))
    if cookies is not None:
        line += f"; SYN cookies {cookies} (tcp_syncookies = {model.sample.settings['tcp_syncookies']})"
    for view in model.listeners:
        if view.effective_release_time_s < view.release_time_s and view.half_open:
            line += f"; {listener_name(view)}: {show_duration(view.effective_release_time_s)} while more than half full"
    return line


def status(out: Console, model: Model, verdict: Verdict) -> None:
    """One namespace on one screen."""
    level = Text(f"{verdict.level.name:<8}  ", style=STYLE[verdict.level])
    if model.sample.where.name != "self":
        level.append(f"[{printable(model.sample.where.name)}] ")
    out.print(level.append(Text(printable(headline(model, verdict)), style="bold")))
    _reasons(out, model, verdict)
    busy = [v for v in model.listeners if v.half_open or v.deferred or v.accept_queue or v.drops]
    shown = (busy or list(model.listeners))[:MAX_LISTENERS]
    if shown:
        out.print()
        seen = columns.show(out, LISTENER, shown)
        if any(v.overridden for v in shown) and "release_time_s" in seen:
            out.print(
                Text("* has a release time of its own (TCP_SYNCNT), which overrides tcp_synack_retries", style="dim")
            )
        idle = len(model.listeners) - len(shown)
        if idle:
            out.print(Text(f"and {plural(idle, 'more listener', 'more listeners')}", style="dim"))
    if model.orphans:
        out.print(f"{plural(model.orphans, 'half-open connection')} of listeners that are gone")
    if model.full:
        out.print(
            f"{plural(model.full, 'full socket')} in SYN_RECV (Fast Open or simultaneous open), not counted above"
        )
    if model.sources:
        out.print()
        # Where no prefix stands out, three lines show that as well as ten.
        top = [s for s in model.sources if s.share >= STANDS_OUT and s.half_open > 1] or model.sources[:3]
        columns.show(out, SOURCE, top)
        if model.distinct_sources > 1:
            out.print(Text(f"{model.distinct_sources:,} distinct sources in all", style="dim"))
    out.print()
    out.print(_release_time_line(model))
    best, *others = next_commands(verdict)
    for command in others[:2]:
        propose(out, "Also", command)
    propose(out, "Next", best)


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


def propose(out: Console, label: str, command: str) -> None:
    """A command to paste, as it works for this user; on a screen no word of it is broken."""
    width = out.width if out.is_terminal else None
    line = commands.filled(f"{label}  ", commands.runnable(command), width)
    style = "bold" if label == "Next" else ""
    out.print(Text(label, style=style) + Text(line.removeprefix(label), style="cyan" if style else ""), soft_wrap=True)


def summary(out: Console, models: list[Model], verdicts: list[Verdict], skipped: list[str]) -> None:
    """The first lines when several namespaces are shown: all of them, and the worst."""
    worst = max(verdicts, key=lambda v: v.level)
    total = sum(m.half_open for m in models)
    head = Text(f"{worst.level.name:<8}  ", style=STYLE[worst.level])
    out.print(
        head.append(Text(f"{plural(total, 'half-open connection')} in {plural(len(models), 'network namespace')}"))
    )
    for line in skipped:
        out.print(Text(f"  - {printable(line)}", style="dim"))


def _way(outcome: Released) -> str:
    """How sure it is that nothing else was hit; nothing to say where nothing was meant to be."""
    if not outcome.matched:
        return ""
    if outcome.held:
        return ", with the door held: their packets were dropped, so none could complete"
    return f", {outcome.window_ms:.1f} ms between look and release (at most {outcome.window_max_ms:.1f} ms)"


def released(out: Console, outcome: Released) -> None:
    """What a release came to, or what it would."""
    what = outcome.action.filter.describe()
    if outcome.dry_run:
        out.print(f"{plural(outcome.matched, 'half-open connection')} would be released ({what}); nothing was changed")
    else:
        out.print(f"{plural(outcome.released, 'half-open connection')} released ({what})")
        out.print(
            f"matched {outcome.matched:,}, gone meanwhile {outcome.gone:,}, failed {outcome.failed:,}, "
            f"left {outcome.left:,}; {outcome.seconds:.2f} s{_way(outcome)}"
        )
        if outcome.resets:
            out.print(
                f"The namespace sent {plural(outcome.resets, 'RST')} meanwhile: at most that many "
                "connections that had just completed can have been reset"
            )
    deferred = outcome.spared - outcome.may_have_answered
    if deferred:
        out.print(f"{deferred:,} left alone: they answered, or may have")
    for line in (*outcome.problems, *outcome.notes):
        out.print(printable(line))
