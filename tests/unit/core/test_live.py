"""What a live screen shows of a Model beside the Model itself."""

from __future__ import annotations

from msgspec.structs import replace

from halfopen.core.fields.field import cell, chosen
from halfopen.core.fields.listener import LISTENER
from halfopen.core.live import AGE_EDGES_S, ages_of, finished_by_prefix, with_ages
from halfopen.core.model.model import build
from rows import listener, request, sample
from verdicts import arrivals, many, silent

KEY = (2, "0.0.0.0", 8080, 0)


def test_ages_of_one_listener_alone() -> None:
    rows = [*silent(20), *many(5), *(request(port=443, cookie=900 + i, source_port=i + 1) for i in range(7))]
    model = build(sample(rows, [listener(), listener(port=443, inode=2)]))
    # 6.5 s and 0.5 s old.
    assert ages_of(model, KEY) == (5, 0, 20, 0, 0, 0, 0)
    assert len(ages_of(model, KEY) or ()) == len(AGE_EDGES_S)
    assert ages_of(model, (2, "0.0.0.0", 443, 0)) == (7, 0, 0, 0, 0, 0, 0)


def test_ages_that_were_not_read_are_not_known() -> None:
    model = build(sample(silent(20), [listener()]))
    assert ages_of(model.bare(), KEY) is None
    assert ages_of(model, (2, "0.0.0.0", 81, 0)) is None
    assert ages_of(build(sample([], [listener()], depths=True)), KEY) is None


def test_what_finishes_from_a_prefix() -> None:
    now = sample(silent(20), [listener(limit=1000)])
    model = build(now)
    assert finished_by_prefix(model) is None
    [first, *_] = [one.prefix for one in model.sources]
    inside = first.replace("0/24", "9")
    part = arrivals({inside: {"finished": 3}, "203.0.113.5": {"finished": 50}})
    found = finished_by_prefix(build(replace(now, parts=(*now.parts, part))))
    assert found is not None
    assert found[first] == 3 / part.seconds
    assert sum(found.values()) == found[first]


def test_depths_take_the_ages_of_the_last_whole_reading() -> None:
    whole = build(sample(silent(20), [listener(limit=1000)]))
    depths = replace(build(sample([], [listener(limit=1000)], depths=True)), half_open=20)
    depths = replace(depths, listeners=(replace(depths.listeners[0], half_open=20),))
    aged = with_ages(depths, whole)
    assert (aged.oldest_s, aged.listeners[0].ages) == (whole.oldest_s, whole.listeners[0].ages)
    assert with_ages(whole, whole) is whole
    assert with_ages(depths, None) is depths


def test_connections_that_had_answered_are_not_half_open_because_the_queue_holds_them() -> None:
    """The page showed 9 half-open connections, the oldest 0.0 s, where status showed none and 9 that answered."""
    whole = build(sample(silent(20), [listener(limit=40)]))
    [view] = whole.listeners
    whole = replace(whole, listeners=(replace(view, half_open=12, deferred=8, defers=False),))
    depths = build(sample([], [listener(limit=40)], depths=True))
    later = replace(depths, half_open=21, listeners=(replace(depths.listeners[0], half_open=21),))
    shown = with_ages(later, whole)
    [now] = shown.listeners
    assert (shown.half_open, shown.deferred) == (13, 8)
    assert (now.half_open, now.deferred, now.defers) == (13, 8, False)
    cells = {field.name: cell(field, now) for field in chosen(LISTENER, "half_open", "oldest")}
    assert cells == {"half_open": "13 (+8 answered)", "oldest": "6.5 s"}
    # Whose ages were never read have none.
    [unread] = with_ages(later, replace(whole, listeners=())).listeners
    assert cell(chosen(LISTENER, "oldest")[0], unread) == "-"
