"""Fields of a process that holds a listening socket."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from halfopen.core.fields.field import Field, Kind, json_object
from halfopen.core.sample import Process

PROCESS: Final[tuple[Field[Process], ...]] = (
    Field("pid", "process id", lambda p: p.pid),
    Field("name", "command name", lambda p: p.name, "string", kind=Kind.LABEL),
    Field("unit", "systemd unit; null outside one", lambda p: p.unit, "string or null", kind=Kind.LABEL),
    Field(
        "container",
        "container id (12 characters) or LXC name; null outside one",
        lambda p: p.container,
        "string or null",
        kind=Kind.LABEL,
    ),
    Field(
        "container_name",
        "name of the container, as its runtime wrote it down (`pod/container` in Kubernetes); null where not at hand",
        lambda p: p.container_name,
        "string or null",
        kind=Kind.LABEL,
    ),
)


def processes(those: Sequence[Process]) -> list[dict[str, Any]]:
    """The array `processes` of a listener."""
    return [json_object(PROCESS, one) for one in those]


def processes_cell(those: Sequence[Process]) -> str:
    """The column PROCESS: the first process with its unit or container, and how many more there are; `-` for none."""
    if not those:
        return "-"
    first = those[0]
    inside = first.inside
    more = f" +{len(those) - 1}" if len(those) > 1 else ""
    return f"{first.name} {first.pid}{more}" + (f" ({inside})" if inside else "")
