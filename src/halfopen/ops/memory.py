"""A look at the memory of TCP in a namespace, and the verdict on it."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from halfopen.core.findings.all_rules import RULES
from halfopen.core.findings.concluding import verdict_on
from halfopen.core.findings.evidence import Evidence, Need
from halfopen.core.findings.judging import judged
from halfopen.core.findings.verdict import Verdict
from halfopen.core.model.columns import Builder
from halfopen.core.model.memory import MemoryModel, build_memory
from halfopen.core.model.model import build
from halfopen.core.policy.actions import Look
from halfopen.core.sample import Sample
from halfopen.core.sample.closing import ALL_STATES, OpenSockets
from halfopen.core.sample.memory import MemoryReading
from halfopen.linux.netns import Netns
from halfopen.read import closing, memory, reader, requests
from halfopen.read.probe import unshown


class MemoryLook(Struct, frozen=True, eq=False):
    """What was seen of a namespace, and the verdict on it."""

    sample: Sample
    model: MemoryModel
    verdict: Verdict


def look(ns: Netns | None) -> MemoryLook:
    """Look at the memory of a namespace (None: the process's own).

    Raises: UnknownTarget, NotPermitted, Unsupported, KernelError, WireError.
    """
    builder = Builder()
    probes = [memory.probe(), requests.probe(builder), unshown(), closing.probe(ALL_STATES)]
    sample = reader.read(ns, probes, with_owners=False)
    reading, sockets = sample.part(MemoryReading), sample.part(OpenSockets)
    if reading is None or sockets is None:
        raise ValueError("a Sample without its vital parts")
    now = build(sample, columns=builder.take())
    e = Evidence(now)
    wanted = {Need.MEMORY}
    found = [
        one
        for one in judged(e).findings
        if wanted.intersection(RULES[one.id].needs) or one.id in ("close-wait-memory", "slow-reader")
    ]
    by_port: dict[int, int] = {}
    for view in now.views:
        by_port[view.port] = by_port.get(view.port, 0) + view.held
    model = build_memory(reading, sockets, now.half_open + now.deferred, len(sample.listeners), by_port)
    verdict = verdict_on(now, found)
    if not any(one.cures for one in found):
        verdict = replace(verdict, next=((_whose(e.netns, sockets),),))
    return MemoryLook(sample, model, verdict)


def _whose(netns: str, sockets: OpenSockets) -> Look:
    if not sockets.owners_whole:
        return Look(netns, "memory", "whose connections they are", as_root=True)
    return Look(netns, "closing", "whose connections they are")
