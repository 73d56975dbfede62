"""Times of handshakes that a watch adds up, for as long as it goes on."""

from __future__ import annotations

import pytest

from halfopen.core.errors import HalfopenError
from halfopen.lab import Lab
from halfopen.ops.watch import handshake_times as watched
from halfopen.ops.watch.handshake_times import WatchedTimes
from halfopen.read.bpf.handshakes import HandshakePrograms
from peers import until

pytestmark = pytest.mark.root


def total(times: WatchedTimes, lab: Lab) -> int:
    found = times.read().get(lab.server.inode)
    return 0 if found is None else found.count


def test_what_is_forgotten_to_make_room_stays_counted(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "ROOM", 4)
    web = [lab.server.listen(port) for port in range(8080, 8085)]
    times = WatchedTimes()
    times.watch({lab.server.inode})
    if not times.counting:
        pytest.skip("eBPF is refused")
    try:
        for round_ in range(1, 4):
            for one in web:
                lab.client.connect(one, 3)
            until(lambda n=round_: total(times, lab) == 15 * n)  # type: ignore[misc]
        assert times._programs is not None
        until(lambda: not len(times._programs.read().keys))  # type: ignore[union-attr]
        assert total(times, lab) == 45
    finally:
        times.close()


def test_of_several_namespaces_each_has_its_own_and_others_take_no_room(lab: Lab) -> None:
    with Lab() as other, Lab() as stranger:
        times = WatchedTimes()
        times.watch({lab.server.inode})
        if not times.counting:
            pytest.skip("eBPF is refused")
        try:
            times.watch({lab.server.inode, other.server.inode})
            for one, n in ((lab, 3), (other, 5), (stranger, 7)):
                one.client.connect(one.server.listen(8080), n)
            until(lambda: (total(times, lab), total(times, other)) == (3, 5))
            assert set(times.read()) == {lab.server.inode, other.server.inode}
            assert times._programs is not None
            keys = times._programs.read().keys
            assert stranger.server.inode not in keys["netns"].tolist()
            times.watch({other.server.inode})
            assert set(times.read()) == {other.server.inode}
        finally:
            times.close()


def test_programs_that_run_for_every_syn_are_not_attached(lab: Lab) -> None:
    try:
        programs = HandshakePrograms(lab.server.inode, arrivals=False)
    except HalfopenError as e:
        pytest.skip(e.message)
    with programs:
        assert not any("arrivals" in why or "give-ups" in why for why in programs.missing)
        lab.client.connect(lab.server.listen(8080), 4)
        until(lambda: int(programs.read().counters["by_retransmits"].sum()) == 4)
        reading = programs.read()
        assert (reading.arrivals, reading.given_up) == (False, False)
        assert int(reading.counters["arrivals"].sum()) == 0
