"""Flight records: what goes in comes out, and a torn or damaged end costs no more than itself."""

from __future__ import annotations

import ipaddress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from examples import examples
from halfopen.core.errors import WireError
from halfopen.core.filters import Filter
from halfopen.core.findings.finding import Fact, Level
from halfopen.core.flight import (
    FlightHead,
    FlightReading,
    FlightReleased,
    FlightTold,
    FlightWithheld,
    RecordedFinding,
    flight_reading,
)
from halfopen.core.model import answered
from halfopen.core.model.model import build
from halfopen.core.policy.actions import Release, Released, Withheld, Withholding
from halfopen.core.policy.alarms import Alarm, CauseChanged, Clear, Passed, Rising
from halfopen.core.sample import LISTENER, QUEUES, ListenerOptions, Process
from halfopen.core.sample.arrivals import SOURCE, Arrivals
from halfopen.core.sample.before_tcp import BeforeTcp, Conntrack, Softnet
from halfopen.core.sample.peers import PEER, Peers
from halfopen.core.sample.ways import WayBack, WaysBack
from halfopen.core.sample.workers import Quota, Workers, WorkerState
from halfopen.core.where import Namespace
from halfopen.wire import flight
from halfopen.wire.bpf_records import ARRIVALS_COUNTERS, HANDSHAKE_KEY
from rows import SELF, listener, request, sample

QUEUE = np.ones(1, dtype=QUEUES)


def reading() -> FlightReading:
    """A reading with everything there may be."""
    rows = [
        request(source="2001:db8::1", family=10, cookie=2),
        request(cookie=3, retransmits=2),
        request(port=9, cookie=4),
    ]
    state = WorkerState(7, 1, "S", ("inet_csk_accept", ""), quotas=(Quota("/a", 1, 2),), cpu_stalled_s=1.5)
    workers = Workers(9.0, {7: state}, 1, Workers(8.0, {7: state}))
    model = build(
        sample(
            rows,
            [listener("::", inode=4, accept_queue=3)],
            queues=QUEUE,
            where=Namespace("boot", 5, 6, "w\udcffb", "/run/netns/web", "nginx.service"),
            owners={4: (Process(7, "n\udcffinx", "nginx.service", None),)},
            options={4: ListenerOptions(3, 30)},
            counters={"ListenDrops": 3, "PassiveOpens": 2**40},
        )
    )
    extra = (
        Arrivals(1.5, np.ones(2, HANDSHAKE_KEY), np.ones(2, ARRIVALS_COUNTERS), np.ones(3, SOURCE), why="why"),
        Peers(np.ones(2, PEER), False),
        workers,
        BeforeTcp(1.0, Conntrack(1, 2), (Softnet(1, 2, 3),), earlier=BeforeTcp(0.5)),
        WaysBack((WayBack(2**60, "eth1", "eth0"), WayBack(3, error=101))),
    )
    [requests] = model.sample.parts
    whole = replace(model.sample, parts=(replace(requests, took_s=0.25),))  # type: ignore[type-var]
    for part in extra:
        whole = whole.with_part(part)
    calm = answered.calm(whole.listeners, {"ListenOverflows": 4}, 99.0)
    findings = (
        RecordedFinding("slow-path", Level.WARNING, (Fact("rtt_s", 0.25, 1.0, "s"), Fact("why", "x"), Fact("n", 3))),
    )
    one = flight_reading(build(whole, columns=model.columns), None, calm)
    return FlightReading(one.sample, one.columns, one.calm, findings, True, ("peers",))


AT = (2, "0.0.0.0", 443, 0)
CHOSEN = Filter(
    1.25, 3, ((None, 443), (ipaddress.ip_address("2001:db8::1"), 80)), (ipaddress.ip_network("10.0.0.0/8"),)
)
RELEASE = Release(SELF, CHOSEN, "why", ("x",), policy="old", decided_by=(("queue", 0.5), ("cause", "spoofed-flood")))
OTHERS = [
    FlightHead("20261126T004501Z-3f9c1a", "0.1.0", " --listener :443"),
    FlightTold(1e9, Rising(SELF, AT, 5, incident="x")),
    FlightTold(1e9, Passed(SELF, None, 5, 1.5, "x")),
    FlightTold(1e9, Alarm(SELF, AT, 5, 4, 9, 1.0, 50.0, "drops", "spoofed-flood", True, "x")),
    FlightTold(1e9, CauseChanged(SELF, AT, 5, "b", "a", "x")),
    FlightTold(1e9, Clear(SELF, AT, 0, 9.0, 5, "b", "listener", "x")),
    FlightReleased(1e9, Released(RELEASE, 3, 2, 1, resets=None, held=True, window_ms=0.5, problems=("it was late",))),
    FlightWithheld(Withheld(RELEASE, AT, Withholding.OBSERVES, 5, "mode")),
]


def plain(value: Any) -> Any:
    """A value with arrays, and surrogates, in a form that can be compared."""
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.tobytes()
    if isinstance(value, Struct):
        return type(value).__name__, {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        return [plain(inner) for inner in value]
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def test_everything_comes_back() -> None:
    entries = [OTHERS[0], reading(), *OTHERS[1:]]
    data = flight.MAGIC + b"".join(map(flight.encode, entries))
    assert plain(list(flight.decode(data))) == plain(entries)


def test_columns_of_an_earlier_layout_are_taken_over_by_name() -> None:
    one = reading()
    fewer = np.zeros(1, dtype=[("family", "u1"), ("port", "u2"), ("address", "V16"), ("gone", "u4")])
    fewer["family"], fewer["port"], fewer["gone"] = 2, 443, 9
    raw = flight._raw(one)
    raw.listeners, raw.columns = flight._array(fewer), None
    [back] = flight.decode(flight.MAGIC + flight.frame(flight._READING, raw))
    assert isinstance(back, FlightReading)
    assert back.sample.listeners.dtype == LISTENER
    assert (back.sample.listeners["port"][0], back.sample.listeners["inode"][0]) == (443, 0)


def readable(data: bytes) -> tuple[int, str]:
    """How many entries there are before the first that is not whole, and what is wrong with that."""
    count = 0
    try:
        for _ in flight.decode(data):
            count += 1
    except WireError as e:
        return count, e.message
    return count, ""


FRAMES = [flight.encode(one) for one in (OTHERS[0], reading(), OTHERS[3])]
RECORD = flight.MAGIC + b"".join(FRAMES)


@pytest.mark.parametrize("cut", [1, 8, 9, 60])
def test_a_torn_end_costs_the_last_entry(cut: int) -> None:
    whole = len(RECORD) - len(FRAMES[-1])
    assert readable(RECORD[: whole + cut]) == (2, f"the last entry is torn at byte {whole}")
    assert readable(RECORD[:whole]) == (2, "")
    assert readable(RECORD) == (3, "")


@given(st.integers(0, len(RECORD) - 1), st.integers(1, 255))
@examples(150)
def test_no_bit_is_changed_unseen(place: int, mask: int) -> None:
    data = bytearray(RECORD)
    data[place] ^= mask
    count, problem = readable(bytes(data))
    assert problem
    assert count < 3


@given(st.binary(max_size=300))
@examples(100)
def test_bytes_of_anybody_end_in_one_line(payload: bytes) -> None:
    frame = flight.FRAME.pack(len(payload), flight.checksum_of(2, payload), 2) + payload
    for data in (payload, flight.MAGIC + payload, flight.MAGIC + frame):
        count, problem = readable(data)
        assert count == 0
        assert "\n" not in problem


def test_a_bomb_is_refused() -> None:
    import zlib

    payload = zlib.compress(bytes(40 * 1024 * 1024), 9)
    frame = flight.FRAME.pack(len(payload), flight.checksum_of(2, payload), 2) + payload
    assert readable(flight.MAGIC + frame)[1].startswith("an entry is too large")


@pytest.mark.parametrize("wrong", ["group_of", "retransmits", "high"])
def test_columns_that_cannot_be_are_refused(wrong: str) -> None:
    raw = flight._raw(reading())
    assert raw.columns is not None
    bad = np.array([7, 7, 7], dtype=np.int32) if wrong == "group_of" else np.zeros(9, dtype=np.uint8)
    setattr(raw.columns, wrong, flight._array(bad))
    assert readable(flight.MAGIC + flight.frame(flight._READING, raw))[1].startswith(
        "an entry is not as halfopen writes it"
    )
