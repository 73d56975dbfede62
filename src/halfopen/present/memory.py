"""Output of `memory`: whether TCP is short of memory, what holds it, and what would not help."""

from __future__ import annotations

from typing import Any, Final

from rich.console import Console
from rich.text import Text

from halfopen.core.fields.field import json_object
from halfopen.core.fields.memory import MEMORY, MEMORY_OF_LISTENER, MEMORY_OF_PROCESS, USE
from halfopen.core.fields.namespace import PLACE
from halfopen.core.findings.finding import Level
from halfopen.core.findings.verdict import Verdict
from halfopen.core.model.memory import MemoryModel
from halfopen.core.sample import Sample
from halfopen.core.units import printable, show_bytes
from halfopen.present import columns
from halfopen.present.findings.cures import next_commands
from halfopen.present.findings.sentences import say
from halfopen.present.findings.words import LEADS
from halfopen.present.prose import paragraph
from halfopen.present.text import STYLE, propose

_MOST: Final = 8
COUNTERS: Final = ("PruneCalled", "RcvPruned", "OfoPruned", "TCPRcvQDrop", "TCPAbortOnMemory", "TCPMemoryPressures")


def show(out: Console, sample: Sample, model: MemoryModel, verdict: Verdict) -> None:
    """The screen of `memory`."""
    reading = model.reading
    level = Text(f"{verdict.level.name:<8}  ", style=STYLE[verdict.level])
    if sample.where.name != "self":
        level.append(f"[{printable(sample.where.name)}] ")
    first = next((one for one in verdict.findings if one.id in LEADS and one.level > Level.NOTICE), None)
    out.print(level.append(Text(printable(LEADS[first.id](first)[0] if first else _calm(model)), style="bold")))
    for finding in verdict.findings:
        text = LEADS[finding.id](finding)[1] if finding is first else say(finding)
        if text:
            out.print(Text(f"  - {printable(text)}", style=STYLE[finding.level]))
    for note in (*sample.completeness.problems, *sample.completeness.notes):
        out.print(Text(f"  - {printable(note)}", style="dim"))
    out.print()
    columns.show(out, USE, [use for use in model.uses if use.count])
    if model.by_process:
        out.print()
        columns.show(out, MEMORY_OF_PROCESS, model.by_process[:_MOST])
    if model.by_listener:
        out.print()
        columns.show(out, MEMORY_OF_LISTENER, model.by_listener[:_MOST])
    out.print()
    low, pressure, high = reading.limits
    used = f"{reading.pages:,} pages of {reading.page_bytes // 1024} KiB in use on the machine"
    limits = f"low {low:,}, pressure {pressure:,}, high {high:,}"
    paragraph(out, "tcp_mem", f"{used}; {limits if high else 'its limits are not shown here'}")
    paragraph(
        out,
        "Orphans",
        f"{reading.orphans:,} of {f'{reading.most_orphans:,}' if reading.most_orphans else '?'} on the machine",
    )
    counted = [f"{name} {sample.counters[name]:,}" for name in COUNTERS if sample.counters.get(name)]
    paragraph(out, "Counters", ", ".join(counted) or "nothing was thrown away since the namespace was made")
    if reading.cgroup_limit is not None and reading.cgroup_used is not None:
        used, limit = show_bytes(reading.cgroup_used), show_bytes(reading.cgroup_limit)
        paragraph(out, "Cgroup", f"{used} of {limit}, the one that halfopen runs in")
    _page_cache(out, model)
    propose(out, "Next", next_commands(verdict)[0])


def _calm(model: MemoryModel) -> str:
    reading = model.reading
    held = show_bytes(reading.pages * reading.page_bytes)
    share = f", {reading.share:.1%} of what begins memory pressure" if reading.limits[1] else ""
    return f"TCP holds {held} of buffers{share}"


def _page_cache(out: Console, model: MemoryModel) -> None:
    machine = model.reading.machine
    if "Cached" not in machine:
        return
    text = (
        f"{show_bytes(machine['Cached'])} on the machine, given up by itself where memory is needed; dropping it frees "
        "no socket"
    )
    if model.pinned_bytes >= 1024 * 1024:
        pinned = show_bytes(model.pinned_bytes)
        text += f". {pinned} of inodes and dentries of open sockets count as reclaimable and are not"
    paragraph(out, "Page cache", text)


def document(sample: Sample, model: MemoryModel, verdict: Verdict) -> dict[str, Any]:
    """`halfopen.memory/1`."""
    return {
        "schema": "halfopen.memory/1",
        "time": sample.wall_s,
        "host": sample.host.name,
        "kernel": sample.host.kernel,
        **json_object(PLACE, sample.where),
        "verdict": {
            "level": verdict.level.name.lower(),
            "reasons": [{"id": one.id, "level": one.level.name.lower(), "text": say(one)} for one in verdict.findings],
            "next": next_commands(verdict),
        },
        **json_object(MEMORY, model),
        "uses": [json_object(USE, use) for use in model.uses],
        "processes": [json_object(MEMORY_OF_PROCESS, one) for one in model.by_process],
        "listeners": [json_object(MEMORY_OF_LISTENER, one) for one in model.by_listener],
        "counters": {name: sample.counters[name] for name in COUNTERS if name in sample.counters},
        "notes": [*sample.completeness.problems, *sample.completeness.notes],
    }
