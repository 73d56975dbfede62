"""`tune show`: first the answer, last the command."""

from __future__ import annotations

import pytest
from rich.console import Console

from halfopen.core.tune import false_cures, keys, settings
from halfopen.core.tune.shown import Shown
from halfopen.present.tune import overview
from tune_made import (
    SOCKET,
    UNREAD,
    VALUES,
    lines,
)


def test_show_begins_with_the_answer_and_ends_with_the_command(out: Console) -> None:
    shown = Shown("web", 7, settings.advise(VALUES), [], [SOCKET], 4096)
    overview.show(out, shown, "halfopen tune apply", "halfopen tune show --all")
    first, *rest, last = lines(out)
    assert first == "1 setting in web should change: tcp_synack_retries"
    assert last == "Next  halfopen tune apply"
    assert any("63 s" in line for line in rest)
    assert any("[::]:443" in line and "as much as somaxconn allows" in line for line in rest)


def test_what_could_not_be_read_is_said(out: Console) -> None:
    shown = Shown("self", 7, settings.advise({keys.SYNACK: 2}), unread=UNREAD)
    overview.show(out, shown, "halfopen tune apply")
    first, *rest = lines(out)
    assert first == "Nothing to change: every setting that was read is as it should be; 1 could not be read"
    [row] = [line.split() for line in rest if "tcp_abort_on_overflow" in line]
    assert row[1:] == ["?", "could", "not", "be", "read:", "reading", "it", "is", "refused;", "run", "as", "root"]


def test_nothing_to_change_has_no_command(out: Console) -> None:
    overview.show(out, Shown("self", 7, settings.advise({keys.SYNACK: 2})), "halfopen tune apply")
    first, *rest = lines(out)
    assert first == "Nothing to change: every setting is as it should be"
    assert not any(line.startswith(("Next", "Also")) for line in rest)


@pytest.mark.parametrize(
    ("values", "many", "first", "last"),
    [
        (VALUES, False, "Nothing has to change (3 half-open connections now); worth changing before a flood: ", "Also"),
        (VALUES, True, "1 setting should change: ", "Next"),
        ({**VALUES, keys.COOKIES: 0}, False, "1 setting should change: tcp_syncookies; worth changing", "Next"),
    ],
)
def test_one_judgement_on_one_screen(out: Console, values: dict[str, int], many: bool, first: str, last: str) -> None:
    needed = frozenset(settings.needed(values, many))
    shown = Shown("self", 7, settings.advise(values), needed=needed, half_open=3)
    overview.show(out, shown, "halfopen tune apply")
    text = lines(out)
    assert text[0].startswith(first)
    assert "tcp_synack_retries" in text[0]
    assert text[-1] == f"{last}  halfopen tune apply"
    assert sum("should change" in line or "to change" in line.lower() for line in text) <= 1


def test_what_does_nothing_is_left_out_and_counted(out: Console) -> None:
    values = {**VALUES, keys.SYN_BACKLOG: 512, keys.FIN_TIMEOUT: 60, keys.CONNTRACK + "close": 10}
    cures = [(false_cures.FALSE_CURES[0], None)]
    shown = Shown("self", 7, settings.advise(values), cures, needed=frozenset())
    overview.show(out, shown, "halfopen tune apply", "halfopen tune show --all")
    brief = "\n".join(lines(out))
    assert "tcp_syncookies" in brief
    assert not any(word in brief for word in ("tcp_fin_timeout", "tcp_max_syn_backlog", "conntrack", "tcp_tw_recycle"))
    assert "3 settings that do nothing for half-open connections here are left out" in brief
    assert "More  halfopen tune show --all" in brief
    overview.show(out, shown, "halfopen tune apply")
    whole = "\n".join(lines(out))
    assert all(word in whole for word in ("tcp_fin_timeout", "tcp_max_syn_backlog", "conntrack", "tcp_tw_recycle"))
    assert "--all" not in whole
