"""Made-up history: values, an incident, and what puts them into a file."""

from __future__ import annotations

import sqlite3

from halfopen.core.findings.finding import Fact
from halfopen.core.history import HALF_OPEN, ValueSeen
from halfopen.core.policy.counts import Subject
from halfopen.core.policy.incidents import CauseFound, Incident, Peak, ReleasesMade
from halfopen.core.policy.stages import AlarmStage
from halfopen.store.batch import HistoryBatch, RowWriter
from halfopen.store.reader import HistoryWanted
from rows import SELF

WEB: Subject = (2, "0.0.0.0", 443, 0)
OTHER: Subject = (10, "2001:db8::1", 80, 3)
ALL = HistoryWanted(0, 2e9)
# A minute and an hour begin.
T0 = 1_700_002_800


def incident(id: str, began_s: float, *, over: bool = True, listener: Subject = WEB) -> Incident:
    """An incident of twenty seconds, or one that goes on, with a cause and its releases."""
    return Incident(
        id,
        SELF,
        listener,
        began_s,
        AlarmStage.QUIET if over else AlarmStage.INCIDENT,
        "unanswered",
        began_s + 1,
        began_s + 20 if over else None,
        20.0,
        "",
        500,
        900,
        7,
        Peak(3000, 0.75, 12.5),
        (
            CauseFound(
                began_s + 1, "spoofed-flood", "critical", (Fact("half_open", 3000), Fact("prefix", "10.0.0.0/8"))
            ),
        ),
        (ReleasesMade("older than 3 s", "why", 2, began_s + 2, began_s + 3, 9, 8, 1),),
    )


def seconds(*values: int, at: int = T0, listener: Subject = None, magnitude: int = HALF_OPEN) -> list[ValueSeen]:
    """A value for each second from `at` on."""
    return [ValueSeen(SELF, listener, magnitude, at + i + 0.4, value) for i, value in enumerate(values)]


def write(db: sqlite3.Connection, *batches: HistoryBatch) -> RowWriter:
    """Write each batch in a transaction of its own."""
    rows = RowWriter(db, "1.0", T0)
    for batch in batches:
        db.execute("BEGIN IMMEDIATE")
        rows.write(batch)
        db.execute("COMMIT")
    return rows
