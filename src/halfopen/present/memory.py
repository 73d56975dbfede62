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
from halfopen.present.language import listed, spoken, tr
from halfopen.present.level_style import STYLE
from halfopen.present.prose import bullets, headed, paragraph
from halfopen.present.text import propose, verdict_line
from halfopen.present.told import told

_MOST: Final = 8
COUNTERS: Final = ("PruneCalled", "RcvPruned", "OfoPruned", "TCPRcvQDrop", "TCPAbortOnMemory", "TCPMemoryPressures")


def show(out: Console, sample: Sample, model: MemoryModel, verdict: Verdict) -> None:
    """The screen of `memory`, in the language of the reader."""
    with spoken():
        _show(out, sample, model, verdict)


def _show(out: Console, sample: Sample, model: MemoryModel, verdict: Verdict) -> None:
    first = next((one for one in verdict.findings if one.id in LEADS and one.level > Level.OK), None)
    verdict_line(out, verdict.level, sample.where, LEADS[first.id](first)[0] if first else _calm(model))
    for finding in verdict.findings:
        text = LEADS[finding.id](finding)[1] if finding is first else say(finding)
        if text:
            bullets(out, [(STYLE[finding.level], printable(text))])
    if first:
        bullets(out, [(STYLE[Level.OK], printable(_calm(model)))])
    for note in (*sample.completeness.problems, *sample.completeness.notes):
        headed(out, Text("  - ", style="dim"), told(note), "dim")
    out.print()
    columns.show(out, USE, [use for use in model.uses if use.count])
    if model.by_process:
        out.print()
        columns.show(out, MEMORY_OF_PROCESS, model.by_process[:_MOST])
    if model.by_listener:
        out.print()
        columns.show(out, MEMORY_OF_LISTENER, model.by_listener[:_MOST])
    out.print()
    _limits(out, sample, model)
    _page_cache(out, model)
    propose(out, tr("Next"), next_commands(verdict)[0])


def _limits(out: Console, sample: Sample, model: MemoryModel) -> None:
    """What is held against the limits, and what was thrown away."""
    reading = model.reading
    low, pressure, high = reading.limits
    limits = tr("its limits are not shown here")
    if high:
        limits = tr("low {low:,}, pressure {pressure:,}, high {high:,}", low=low, pressure=pressure, high=high)
    used = tr("{n:,} pages of {kib} KiB in use on the machine", n=reading.pages, kib=reading.page_bytes // 1024)
    paragraph(out, "tcp_mem", listed([used, limits]))
    most = f"{reading.most_orphans:,}" if reading.most_orphans else "?"
    paragraph(out, tr("Orphans"), tr("{n:,} of {most} on the machine", n=reading.orphans, most=most))
    counted = [f"{name} {sample.counters[name]:,}" for name in COUNTERS if sample.counters.get(name)]
    nothing = tr("nothing was discarded since the namespace was made")
    paragraph(out, tr("Counters"), tr(", ").join(counted) or nothing)
    if reading.cgroup_limit is not None and reading.cgroup_used is not None:
        values = {"used": show_bytes(reading.cgroup_used), "limit": show_bytes(reading.cgroup_limit)}
        paragraph(out, tr("Cgroup"), tr("{used} of {limit}, the one that halfopen runs in", **values))


def _calm(model: MemoryModel) -> str:
    reading = model.reading
    size = show_bytes(reading.pages * reading.page_bytes)
    if not reading.limits[1]:
        return tr("TCP holds {size} of buffers", size=size)
    share = f"{reading.share:.1%}"
    return tr("TCP holds {size} of buffers, {share} of the threshold of memory pressure", size=size, share=share)


def _page_cache(out: Console, model: MemoryModel) -> None:
    machine = model.reading.machine
    if "Cached" not in machine:
        return
    told = [
        tr(
            "{size} on the machine, which the kernel frees of its own accord when memory is needed; "
            "dropping it frees no socket",
            size=show_bytes(machine["Cached"]),
        )
    ]
    if model.pinned_bytes >= 1024 * 1024:
        pinned = show_bytes(model.pinned_bytes)
        told.append(
            tr(
                "{size} of inodes and dentries belong to open sockets: they count as "
                "reclaimable, but cannot be reclaimed",
                size=pinned,
            )
        )
    paragraph(out, tr("Page cache"), listed(told))


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
