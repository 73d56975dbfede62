"""The help of the screen."""

from __future__ import annotations

from collections.abc import Iterator

from halfopen.present.language import cell_width, tr, wrapped
from halfopen.present.screen.styled import StyledLine, styled

_NAMES_WIDE = 22
_TEXT_WIDE = 76


def help_lines(*, replay: bool = False) -> tuple[StyledLine, ...]:
    """The keys and what the screen shows; replay: of a record."""
    keys = [*_moving(), *(_of_replay() if replay else _acting()), *_leaving()]
    named = (styled((f"  {key}{' ' * (_NAMES_WIDE - cell_width(key))}", "bold"), does) for key, does in keys)
    notes = [line for note in _notes() for line in (*wrapped(note, _TEXT_WIDE, ""), "")]
    return (*named, (), *(styled(f"  {line}") if line else () for line in notes))


def _moving() -> Iterator[tuple[str, str]]:
    yield tr("up, down, PgUp, PgDn"), tr("choose a row; scroll a text")
    yield "Home, End", tr("the first, the last")
    yield "Enter", tr("details of a listener; listeners of a namespace")
    yield "/", tr("filter: rows with this text in name or process")
    yield "s S", tr("sort by the next column, by the one before")
    yield "I", tr("invert the order")


def _acting() -> Iterator[tuple[str, str]]:
    yield "n", tr("the namespaces, with --netns all or with the service")
    yield "d", tr("diagnose: look for five seconds, say what is wrong")
    yield "r", tr("release half-open connections: counts, then asks")
    yield "t", tr("tune: the change that would help; shows it, then asks")
    yield "p", tr("pause the screen; readings go on")


def _of_replay() -> Iterator[tuple[str, str]]:
    yield "p", tr("pause, and go on")
    yield "+ -", tr("faster, slower")
    yield "[ ]", tr("ten seconds back, forward")
    yield ", .", tr("one reading back, forward")
    yield "b e", tr("to the beginning, to the end")
    yield "d", tr("what diagnose would have said of this reading")


def _leaving() -> Iterator[tuple[str, str]]:
    yield "Ctrl-L, Ctrl-Z", tr("redraw the screen; suspend")
    yield "Esc, Backspace", tr("back")
    yield "q", tr("back; from the first page, quit")


def _notes() -> Iterator[str]:
    yield tr(
        "A bar shows how full a queue is. SYN QUEUE: half-open connections and the most it takes. ACCEPT QUEUE: "
        "finished connections that no accept() took yet."
    )
    yield tr(
        "Rates are those of the last second, drawn over the last minute. SYNs with a ~ are worked out: finished + new "
        "half-open + cookies + drops. Without it, eBPF counted packets, which it does while there is something to "
        "decide."
    )
    yield tr("COMPLETE/S: handshakes from that prefix that finish; -: they were not counted in the last minute.")
