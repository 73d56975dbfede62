"""The console of every command, proposals to paste, and what `release` says to a person."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.segment import Segment
from rich.text import Text

from halfopen.core.findings.finding import Level
from halfopen.core.units import printable
from halfopen.present import commands, terminal
from halfopen.present.chosen_words import chosen
from halfopen.present.language import tr, tr_n
from halfopen.present.level_style import STYLE, level_column
from halfopen.present.prose import beside, headed
from halfopen.present.told import told

if TYPE_CHECKING:
    from halfopen.core.filters import Filter
    from halfopen.core.policy.actions import Released
    from halfopen.core.where import Namespace

_UNPRINTABLE = re.compile(r"[^\n\x20-\x7e]")
_PLAIN_WIDTH = 200
_AT_LINE_END = re.compile(r"[ ]+$", re.MULTILINE)


class _Trimmed:
    """Standard output without the spaces that tables leave at the ends of lines.

    No class of `io`: those flush when they are collected, which may be after this module's names are gone.
    """

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
    """A console: plain and wide in a pipe or file, coloured and as wide as the terminal on one."""
    if sys.stdout.isatty():
        return _Console(highlight=False, markup=False, emoji=False)
    out: Any = _Trimmed()
    if (width := terminal.others_width()) is not None:
        return _Console(file=out, width=width, force_terminal=True, highlight=False, markup=False, emoji=False)
    return _Console(file=out, width=_PLAIN_WIDTH, highlight=False, markup=False, emoji=False)


def level_head(level: Level) -> Text:
    """The level as the first word of a screen, in a column of its own."""
    return Text(level_column(level), style=STYLE[level])


def verdict_line(out: Console, level: Level, where: Namespace, words: str) -> None:
    """The first line of a screen: the level, the namespace where it is not one's own, and the verdict."""
    place = "" if where.name == "self" else f"[{printable(where.name)}] "
    headed(out, level_head(level), printable(words), "bold", first=Text(place, style=STYLE[level]))


def console_on(file: io.StringIO, width: int) -> Console:
    """A console that prints into a text, for a terminal so wide that shows the colours of every terminal."""
    return _Console(
        file=file, width=width, force_terminal=True, color_system="standard", highlight=False, markup=False, emoji=False
    )


def propose(out: Console, label: str, command: str) -> None:
    """A command to paste, as it works for this user; on a screen no word of it is broken."""
    width = out.width if out.is_terminal else None
    line = commands.filled(f"{label}  ", commands.runnable(command), width)
    style = "bold" if label == tr("Next") else ""
    out.print(Text(label, style=style) + Text(line.removeprefix(label), style="cyan" if style else ""), soft_wrap=True)


def _way(outcome: Released) -> str:
    """How sure it is that nothing else was hit; nothing to say where nothing was meant to be."""
    if not outcome.matched:
        return ""
    if outcome.held:
        return tr(", with the door held: their packets were dropped, so none could complete")
    window, most = f"{outcome.window_ms:.1f} ms", f"{outcome.window_max_ms:.1f} ms"
    return tr(", {window} between look and release (at most {most})", window=window, most=most)


def _done(outcome: Released, what: str) -> Iterator[str]:
    yield tr_n(
        "{n:,} half-open connection released ({filter})",
        "{n:,} half-open connections released ({filter})",
        outcome.released,
        filter=what,
    )
    yield tr(
        "matched {matched:,}, gone meanwhile {gone:,}, failed {failed:,}, left {left:,}; {seconds} s{way}",
        matched=outcome.matched,
        gone=outcome.gone,
        failed=outcome.failed,
        left=outcome.left,
        seconds=f"{outcome.seconds:.2f}",
        way=_way(outcome),
    )
    if outcome.resets:
        yield tr_n(
            "The namespace sent {n:,} RST meanwhile: at most that many connections that had just completed may have "
            "been reset",
            "The namespace sent {n:,} RSTs meanwhile: at most that many connections that had just completed may have "
            "been reset",
            outcome.resets,
        )


def release_question(n: int, filter: Filter) -> tuple[str, str]:
    """The question before a release of n connections, and what is said after a no."""
    question = tr_n(
        "Release {n:,} half-open connection ({filter})?",
        "Release {n:,} half-open connections ({filter})?",
        n,
        filter=chosen(filter),
    )
    return question, tr("nothing was released")


def released_nowhere(out: Console) -> None:
    """The outcome of a release in several namespaces of which none has such connections."""
    out.print(tr("no half-open connection matches in any namespace"))


def released(out: Console, outcome: Released) -> None:
    """The outcome of a release or of its dry run."""
    what = chosen(outcome.action.filter)
    if outcome.dry_run:
        out.print(
            tr_n(
                "{n:,} half-open connection would be released ({filter}); nothing was changed",
                "{n:,} half-open connections would be released ({filter}); nothing was changed",
                outcome.matched,
                filter=what,
            )
        )
    else:
        for line in _done(outcome, what):
            out.print(beside(line, out.width))
    deferred = outcome.spared - outcome.may_have_answered
    if deferred:
        out.print(tr("{n:,} spared: their clients answered, or may have", n=deferred))
    for line in (*outcome.problems, *outcome.notes):
        out.print(beside(told(line), out.width))
