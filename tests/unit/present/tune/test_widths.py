"""Whatever the width of the terminal, `tune` breaks no word and no line is too long."""

from __future__ import annotations

import re

import pytest
from msgspec.structs import replace
from rich.console import Console

from halfopen.core.tune import false_cures, keys, settings
from halfopen.core.tune.ledger import Ledger
from halfopen.core.tune.outcomes import Applied
from halfopen.core.tune.records import Began
from halfopen.core.tune.shown import Shown
from halfopen.core.tune.spots import Place, Spot
from halfopen.present.tune import changes, history, listeners, overview, rows
from tune_made import (
    DONE,
    FILE,
    OVERRIDES,
    PLACE,
    SOCKET,
    VALUES,
    group,
    lines,
    tuned,
)


def screens(out: Console) -> list[str]:
    """Everything that `tune` shows in tables, with long names in it."""
    ledger, key = Ledger(), keys.CONNTRACK + "unacknowledged"
    place = Place("boot", 8, 2, "/run/netns/a", "a-namespace-of-a-customer-with-a-long-name")
    ledger.add(Began(1, 0.0, {"reason": "a flood on the front end that lasted"}, place, key, 300, 100, until_s=9e9))
    ledger.add(Began(2, 0.0, {}, place, key, None, 2, file=FILE))
    history.show(out, "/x", [(c, None) for c in ledger.changes.values()])
    cost = "a client whose packets are lost must send its SYN again, which takes a second or more"
    line = Applied(Spot(PLACE, key, file=FILE), 300, 100, 100, "done", "because of this and that", "so", 1)
    notes = ("tuned runs with a profile that sets it to 5, too",)
    outcome = tuned(line, replace(DONE, cost=cost), overrides=OVERRIDES, notes=notes)
    changes.applied(out, outcome, None, [SOCKET])
    there = rows.applied_rows(outcome.applied)
    changes.undone(
        out, [replace(r, state="undone", why="the kernel made 5 of 3", where="net:[4026531840]") for r in there]
    )
    values = {**VALUES, key: 300, keys.COOKIES: 0, keys.RTO_MAX: 1000}
    cures = [(false_cures.FALSE_CURES[0], 1)]
    shown = Shown("web", 7, settings.advise(values), cures, [SOCKET], needed=frozenset(), half_open=3)
    overview.show(out, shown, "halfopen tune apply")
    overview.show(out, shown, "halfopen tune apply", "halfopen tune show --all")
    listeners.show(out, "web", group(), 4096, 5)
    return lines(out)


@pytest.mark.parametrize("width", [80, 100, 140])
def test_no_word_is_broken_and_every_line_fits(width: int) -> None:
    with open("/dev/null", "w") as nowhere:
        narrow = screens(Console(record=True, width=width, file=nowhere))
        wide = screens(Console(record=True, width=1000, file=nowhere))
    words = {word.strip(";") for line in narrow for word in line.split()}
    # The log has the date without its year there.
    words = {word for word in words if not re.fullmatch(r"\d\d-\d\d|\d\d:\d\d", word)}
    # Titles of columns are shown where they fit.
    assert words <= {word.strip(";") for line in wide for word in line.split()}
    # Commands are left whole, to be pasted.
    commands = ("Next", "Also", "Undo", "More")
    assert [line for line in narrow if len(line) > width and not line.startswith(commands)] == []
