"""The processes that hold listeners, and the options they set on the listeners' sockets."""

from __future__ import annotations

import os
from collections.abc import Mapping

from msgspec.structs import replace

from halfopen.core.sample import ListenerOptions, Process, Requests, Sample
from halfopen.core.units import netns_words, plural
from halfopen.linux import proc
from halfopen.read.owners import Holders


def add_owners(samples: list[Sample], *, names: bool) -> list[Sample]:
    """The Samples with the owners of their listeners (names), and the listeners' options if eBPF did not read them:
    found by one search through all processes.
    """
    asking = [s for s in samples if len(s.listeners) and (names or _wants_options(s))]
    if not asking:
        return samples
    from halfopen.read import owners

    found = owners.holders(inode for s in asking for inode in s.listeners["inode"].tolist())
    processes = owners.owners(found) if names else {}
    meant = {id(s) for s in asking}
    return [_told(s, found, processes) if id(s) in meant else s for s in samples]


def _wants_options(sample: Sample) -> bool:
    """Whether it is open which connections are deferred, because eBPF did not read the listeners' options."""
    part = sample.part(Requests)
    return not _known(sample) and sample.completeness.source != "bpf" and part is not None and part.count > 0


def _known(sample: Sample) -> bool:
    return sample.queues is not None and bool(sample.queues["known"].all())


def _told(sample: Sample, found: Holders, processes: Mapping[int, tuple[Process, ...]]) -> Sample:
    """The Sample with owners and options from `found`, and notes on what is hidden or was not searched to the end."""
    inodes = sample.listeners["inode"].tolist()
    missing = len(set(inodes) - found.by_inode.keys())
    notes = list(sample.completeness.notes)
    hidden = False
    of = f"{missing} of {plural(len(inodes), 'listener')}"
    if found.broken_off:
        found_none = f"{of} without a name, and " if missing else ""
        rest = "the rest" if missing else "the listeners"
        notes.append(
            f"the search for the processes that listen took too long and was stopped: {found_none}"
            f"other processes may hold {rest} as well"
        )
    elif missing and (found.refused or proc.lacking(("CAP_SYS_PTRACE",))):
        # With hidepid nothing is refused: other users' processes do not appear at all.
        hidden = True
        notes.append(f"the listening process is hidden for {of}{_shown_by(sample)}")
    options: dict[int, ListenerOptions] = {}
    if not _known(sample):
        from halfopen.read import listener_options

        mine = Holders({inode: found.by_inode[inode] for inode in inodes if inode in found.by_inode})
        options, refused = listener_options.read_options(mine, sample.settings)
        if refused:
            n = plural(refused, "listener")
            notes.append(f"the release time of {n} is taken from tcp_synack_retries{_shown_by(sample)}")
    mine_owners = {inode: processes[inode] for inode in inodes if inode in processes}
    problems = list(sample.completeness.problems)
    if missing and found.broken_off and _wants_options(sample):
        problems.append(
            f"the search for deferred-accept listeners was stopped early: deferred connections of {missing} of "
            f"{plural(len(inodes), 'listener')} may be shown as half-open"
        )
    completeness = replace(sample.completeness, problems=tuple(problems), notes=tuple(notes), hidden=hidden)
    completeness = replace(completeness, stopped=bool(missing) and found.broken_off)
    return replace(sample, owners=mine_owners, options=options, completeness=completeness)


def _shown_by(sample: Sample) -> str:
    if os.geteuid() == 0:
        return ""
    return f": run as root to see it (sudo halfopen status{netns_words(sample.where.name)})"
