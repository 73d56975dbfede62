"""A replay for a person and for a program: the lines that `watch` printed, or the screens that `status` would have."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from rich.console import Console

from halfopen.core.findings.verdict import Verdict, judge
from halfopen.core.flight import FlightReleased, FlightTold, FlightWithheld, ReplayedEntry, ReplayedReading
from halfopen.core.model.model import Model
from halfopen.present import status
from halfopen.present.findings.words import lasted
from halfopen.present.language import listed, spoken, tr
from halfopen.present.prose import beside
from halfopen.present.watchlines import Lines, TextLines


def lines(replayed: Iterable[ReplayedEntry], writer: Lines) -> Iterator[str]:
    """The lines of `watch` for what was seen and told."""
    model: Model | None = None
    verdict: Verdict | None = None
    for one in replayed:
        if isinstance(one, ReplayedReading):
            model, verdict = one.model, one.verdict
            if not one.glance:
                yield from writer.reading(model)
        elif isinstance(one, FlightTold) and model is not None:
            yield from writer.told(model, one.telling, verdict)
        elif isinstance(one, FlightReleased):
            yield from writer.released(one.outcome, one.wall_s)
        elif isinstance(one, FlightWithheld) and model is not None:
            yield from writer.withheld(model, one.action)


def text_lines(out: Console, *, every: bool) -> Lines:
    """The writer of lines for a person."""
    return TextLines(out.is_terminal, every=every, width=out.width if out.is_terminal else None)


def screens(out: Console, replayed: Iterable[ReplayedEntry], began_s: float, at_s: float | None = None) -> bool:
    """The screen of `status` at each reading, or the one that was seen last by at_s (since 1970).

    began_s: the first sign. Returns: whether there was any.
    """
    verdict: Verdict | None = None
    chosen: tuple[ReplayedReading, Verdict] | None = None
    for one in replayed:
        if not isinstance(one, ReplayedReading):
            continue
        if at_s is not None and chosen is not None and one.model.sample.wall_s > at_s:
            break
        # If a reading was not judged anew, the former verdict stood.
        verdict = one.verdict or verdict or judge(one.model)
        chosen = one, verdict
        if at_s is None:
            _screen(out, one, verdict, began_s)
    if chosen is None:
        return False
    if at_s is not None:
        _screen(out, *chosen, began_s)
    return True


def _screen(out: Console, one: ReplayedReading, verdict: Verdict, began_s: float) -> None:
    with spoken():
        out.print(beside(_seen(one, began_s), out.width), style="dim")
    status.status(out, one.model, verdict, taken=1)
    out.print()


def _seen(one: ReplayedReading, began_s: float) -> str:
    """When it was seen, and how it differs from what was seen then."""
    wall_s = one.model.sample.wall_s
    after = wall_s - began_s
    time_ = lasted(round(abs(after), 1))
    sign = (
        tr("{time} after the first sign", time=time_) if after >= 0 else tr("{time} before the first sign", time=time_)
    )
    said = tr("Seen at {clock}, {when}", clock=time.strftime("%H:%M:%S", time.localtime(wall_s)), when=sign)
    if one.left_out:
        left_out = tr("without {parts}: there were too many to be recorded", parts=", ".join(one.left_out))
        return tr("{sentence}.", sentence=listed([said, left_out]))
    # It may have rested on more than a record has, as on an earlier reading.
    other = "" if one.again else tr("judged again from the record, the verdict would differ: this is that of then")
    return tr("{sentence}.", sentence=listed([said, other]))
