"""What `halfopen block` and `halfopen unblock` say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from halfopen.core.policy.actions import Block, BlocksChanged
from halfopen.core.units import Network, netns_words
from halfopen.present.findings.words import lasted
from halfopen.present.language import aloud, tr


class BlockShown(Protocol):
    """A block, as change.blocks finds it."""

    @property
    def source(self) -> Network: ...
    @property
    def port(self) -> int | None: ...
    @property
    def left_s(self) -> float: ...


@aloud
def changed(outcome: BlocksChanged) -> list[str]:
    """The outcome of a block or an unblock."""
    return list(_changed(outcome))


def _changed(outcome: BlocksChanged) -> Iterator[str]:
    action, sources = outcome.action, ", ".join(outcome.sources)
    if not isinstance(action, Block):
        yield tr("{sources} no longer blocked", sources=sources)
        return
    where = "" if action.port is None else tr(" to :{port}", port=action.port)
    what, time = tr("TCP packets from {sources}{where}", sources=sources, where=where), lasted(action.for_s)
    if outcome.dry_run:
        yield tr("{what} would be dropped for {time}; nothing was changed", what=what, time=time)
        return
    yield tr("{what} are dropped for {time}", what=what, time=time)
    yield tr("Sources of SYNs are easily forged: the hosts that really have these addresses cannot connect meanwhile")
    yield f"{tr('Undo')}  halfopen unblock {' '.join(outcome.sources)}{netns_words(action.where.name)}"


@aloud
def lines(found: Sequence[BlockShown]) -> list[str]:
    """The blocks of a namespace, a line each."""
    return list(_lines(found))


def _lines(found: Sequence[BlockShown]) -> Iterator[str]:
    if not found:
        yield tr("{program} blocks no source here", program="halfopen")
    for one in found:
        where = "" if one.port is None else tr(" to :{port}", port=one.port)
        yield tr("{source}{where}, for {time} more", source=one.source, where=where, time=lasted(round(one.left_s)))


def document(outcome: BlocksChanged) -> dict[str, Any]:
    """`halfopen.block/1`, of a block or an unblock."""
    action = outcome.action
    return {
        "schema": "halfopen.block/1",
        "netns": action.where.name,
        "action": "block" if isinstance(action, Block) else "unblock",
        "sources": list(outcome.sources),
        "port": action.port if isinstance(action, Block) else None,
        "for_s": action.for_s if isinstance(action, Block) else None,
        "dry_run": outcome.dry_run,
        "problems": list(outcome.problems),
    }


def list_document(found: Sequence[BlockShown]) -> dict[str, Any]:
    """`halfopen.block-list/1`."""
    each = [{"source": str(one.source), "port": one.port, "left_s": one.left_s} for one in found]
    return {"schema": "halfopen.block-list/1", "blocks": each}
