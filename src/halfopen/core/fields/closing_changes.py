"""Fields of the outcome of a change of existing connections, in `closing keepalive --json` and its like."""

from __future__ import annotations

from typing import Final

from halfopen.core.fields.field import Field, Kind
from halfopen.core.policy.connection_actions import ChangedConnections

CHANGED: Final[tuple[Field[ChangedConnections], ...]] = (
    Field("netns", "network namespace", lambda o: o.netns, "string", kind=Kind.LABEL),
    Field("how", "`keepalive`, `probe`, `shutdown`, `destroy` or `undo`", lambda o: o.how, "string", kind=Kind.LABEL),
    Field("filter", "which connections were selected, in words", lambda o: o.filter, "string", kind=Kind.LABEL),
    Field(
        "matched", "connections that the filter selected; in a dry run, those that it would select", lambda o: o.matched
    ),
    Field("done", "changed or ended", lambda o: o.done),
    Field(
        "spared",
        "no longer as they were at the look, or gone: left alone",
        lambda o: o.spared,
    ),
    Field("failed", "refused by the kernel", lambda o: o.failed),
    Field(
        "way",
        "`bpf`: each was checked under its lock; `descriptor`: by a duplicate of the program's descriptor; `netlink`; "
        "empty where nothing was done",
        lambda o: o.way,
        "string",
        kind=Kind.LABEL,
    ),
    Field(
        "window_ms",
        "the longest time between the last look and the change; 0 under the lock",
        lambda o: round(o.window_ms, 3),
        unit="ms",
    ),
    Field("answered", "of a probe: peers that answered; else null", lambda o: o.answered, "number or null"),
    Field("silent", "of a probe: peers that did not answer; else null", lambda o: o.silent, "number or null"),
    Field(
        "forgotten",
        "of a probe: connections that ended, as the peer did not know them; else null",
        lambda o: o.forgotten,
        "number or null",
    ),
    Field("undo", "the id that `--undo` takes; empty where there is none", lambda o: o.record, "string"),
    Field("dry_run", "nothing was changed", lambda o: o.dry_run, "boolean"),
    Field("seconds", "how long it took", lambda o: round(o.seconds, 4), unit="s"),
    Field(
        "problems", "what could not be done; the exit code is then 1", lambda o: list(o.problems), "array of strings"
    ),
    Field("notes", "further remarks", lambda o: list(o.notes), "array of strings"),
)
