"""Fields of the outcome of a release: in `release --json`, in a line of `watch --json` and in the audit log."""

from __future__ import annotations

from typing import Any, Final

from halfopen.core.fields.field import Field, Kind, chosen, json_object
from halfopen.core.policy.actions import Released

RELEASED: Final[tuple[Field[Released], ...]] = (
    Field("netns", "network namespace", lambda o: o.action.netns, "string", kind=Kind.LABEL),
    Field(
        "matched",
        "half-open connections that halfopen tried to release; in a dry run, that it would try to release",
        lambda o: o.matched,
    ),
    Field("released", "dropped", lambda o: o.released),
    Field("gone", "completed or expired between the last look and the release", lambda o: o.gone),
    Field(
        "failed",
        "refused by the kernel; except in a dry run, `matched` = `released` + `gone` + `failed`",
        lambda o: o.failed,
    ),
    Field(
        "resets",
        "RSTs that the namespace sent meanwhile, for whatever reason; at most that many completed "
        "connections were reset. Null where this cannot be read",
        lambda o: o.resets,
        "number or null",
    ),
    Field("left", "matching connections that the last look still saw", lambda o: o.left),
    Field(
        "spared",
        "matching connections left alone because their clients answered, or may have: deferred ones, "
        "and those of a full accept queue",
        lambda o: o.spared,
    ),
    Field(
        "untouched",
        "matching connections left alone because `watch` is to spare them: those of `[never]`, and "
        "of sources known to be clients",
        lambda o: o.untouched,
    ),
    Field(
        "may_have_answered",
        "of `spared`, those whose clients may have answered while an accept queue was full, which only eBPF can tell; "
        "`notes` say whose",
        lambda o: o.may_have_answered,
    ),
    Field("dry_run", "nothing was changed", lambda o: o.dry_run, "boolean"),
    Field(
        "held",
        "the door was held: packets of the selected connections were dropped during the release, so none could "
        "complete and be reset ([how](how-it-reads.md#release))",
        lambda o: o.held,
        "boolean",
    ),
    Field(
        "incidents",
        "ids of the incidents that were on when `watch` released; empty for any other release",
        lambda o: list(o.action.incidents),
        "array of strings",
    ),
    Field("seconds", "how long it took", lambda o: round(o.seconds, 4), unit="s"),
    Field(
        "window_ms",
        "the median time between the last look and the release; 0 with the door held and in a dry run",
        lambda o: round(o.window_ms, 3),
        unit="ms",
    ),
    Field("window_max_ms", "the longest such time", lambda o: round(o.window_max_ms, 3), unit="ms"),
    Field(
        "problems",
        "what could not be done; the exit code is then 1",
        lambda o: list(o.problems),
        "array of strings",
    ),
    Field(
        "notes",
        "what was done in another way than usual, and what follows from it",
        lambda o: list(o.notes),
        "array of strings",
    ),
)
# In `release --json` also over all namespaces.
TOTALS: Final = chosen(
    RELEASED, "matched", "released", "gone", "failed", "resets", "left", "spared", "may_have_answered", "dry_run"
)


def released(outcome: Released) -> dict[str, Any]:
    """The JSON object of an outcome."""
    return json_object(RELEASED, outcome)
