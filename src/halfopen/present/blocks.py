"""What `halfopen block` and `halfopen unblock` say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from halfopen.core.policy.actions import Block, BlocksChanged
from halfopen.core.units import Network, netns_words, show_duration


class BlockShown(Protocol):
    """A block, as change.blocks finds it."""

    @property
    def source(self) -> Network: ...
    @property
    def port(self) -> int | None: ...
    @property
    def left_s(self) -> float: ...


def changed(outcome: BlocksChanged) -> Iterator[str]:
    """The outcome of a block or an unblock."""
    action, sources = outcome.action, ", ".join(outcome.sources)
    if not isinstance(action, Block):
        yield f"{sources} no longer blocked"
        return
    where = "" if action.port is None else f" to :{action.port}"
    what, time = f"TCP packets from {sources}{where}", show_duration(action.for_s)
    if outcome.dry_run:
        yield f"{what} would be dropped for {time}; nothing was changed"
        return
    yield f"{what} are dropped for {time}"
    yield "Sources of SYNs are easily forged: whoever has these addresses cannot connect meanwhile"
    yield f"Undo  halfopen unblock {' '.join(outcome.sources)}{netns_words(action.where.name)}"


def lines(found: Sequence[BlockShown]) -> Iterator[str]:
    """The blocks of a namespace, a line each."""
    if not found:
        yield "halfopen blocks no source here"
    for one in found:
        where = "" if one.port is None else f" to :{one.port}"
        yield f"{one.source}{where}, for {show_duration(round(one.left_s))} more"


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
