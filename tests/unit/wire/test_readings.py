"""A stream of readings: whatever pieces it comes in, every entry comes out once, and damage ends it."""

from __future__ import annotations

import zlib

import pytest

from halfopen.core.errors import WireError
from halfopen.core.findings.verdict import judge
from halfopen.core.flight import (
    REQUESTS_MOST,
    TO_SCREENS,
    FlightHead,
    FlightReading,
    FlightRound,
    TroubleTold,
    flight_reading,
)
from halfopen.core.model.model import build
from halfopen.wire import flight, readings
from live import flooded, incident
from rows import listener, request, sample


def entries() -> list[FlightHead | FlightReading | FlightRound]:
    model = flooded()
    on = incident(model)
    one = flight_reading(model, judge(model), None, room=TO_SCREENS)
    trouble = TroubleTold("web", "gone", "it is gone", "look again", on.where)
    return [FlightHead("", "1", " --listener :443"), one, FlightRound(2.0, (on.where,), (), (on,), (trouble,))]


@pytest.mark.parametrize("size", [1, 7, 1000, 10**9])
def test_every_entry_comes_out_once(size: int) -> None:
    given = entries()
    data = b"".join(map(readings.encode, given))
    taker = readings.FrameTaker()
    head, one, round = (e for i in range(0, len(data), size) for e in taker.take(data[i : i + size]))
    assert head == given[0]
    assert round == given[2]
    assert isinstance(one, FlightReading)
    assert isinstance(given[1], FlightReading)
    assert one.findings == given[1].findings
    assert one.cures == given[1].cures
    assert any(one.cures)
    assert one.sample.where == given[1].sample.where


def test_a_flood_that_no_record_has_room_for_reaches_a_screen() -> None:
    rows = [request(cookie=i, source=f"10.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}") for i in range(REQUESTS_MOST + 1)]
    model = build(sample(rows, [listener(limit=40_000)]))
    assert flight_reading(model, None, None).left_out == ("requests",)
    one = flight_reading(model, None, None, room=TO_SCREENS)
    assert not one.left_out
    [back] = readings.FrameTaker().take(readings.encode(one))
    assert isinstance(back, FlightReading)
    assert back.columns is not None
    assert len(back.columns.ages_s) == len(rows)


def test_what_cannot_be_unpacked_ends_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small frame that unpacks to very much, or that is nested without end."""
    bomb, nested = zlib.compress(bytes(4 * 1024 * 1024), 9), zlib.compress(b"\x91" * 1_000_000)
    monkeypatch.setattr(readings, "FRAME_MOST", 2 * 1024 * 1024)
    for payload, says in ((bomb, "too large"), (nested, "as halfopen writes it")):
        for kind in (1, 2, 3, 128):
            data = flight.FRAME.pack(len(payload), flight.checksum_of(kind, payload), kind) + payload
            with pytest.raises(WireError, match=says):
                list(readings.FrameTaker().take(data))


def test_what_is_damaged_or_endless_ends_the_stream() -> None:
    data = bytearray(readings.encode(entries()[1]))
    data[-1] ^= 1
    with pytest.raises(WireError, match="checksum"):
        list(readings.FrameTaker().take(bytes(data)))
    with pytest.raises(WireError, match="too long"):
        list(readings.FrameTaker().take(flight.FRAME.pack(readings.FRAME_MOST + 1, 0, 2)))
    with pytest.raises(WireError, match="round"):
        list(readings.FrameTaker().take(flight.frame(128, {"interval_s": "x"})))
