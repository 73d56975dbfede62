"""The door: held, its victims cannot finish their handshake, everybody else can; it goes with the process."""

from __future__ import annotations

import contextlib
import ctypes
import json
import socket
import struct
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

import halfopen
from doorway import connected, connecting, established_resets, holding, row_of
from halfopen.change import destroy
from halfopen.change.door import Door, hashes
from halfopen.core.errors import HalfopenError
from halfopen.core.sample import REQUEST
from halfopen.ops.release import behind_door
from halfopen.read.bpf import programs as eyes
from peers import until

if TYPE_CHECKING:
    from halfopen.lab import Lab


pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "audit.jsonl"
    monkeypatch.setenv("HALFOPEN_AUDIT_LOG", str(path))
    return path


@pytest.mark.parametrize("family", [4, 6])
def test_held_ones_wait_and_others_finish(lab: Lab, family: int) -> None:
    web = lab.server.listen(8080, address="::", backlog=1000)
    with Door() as door:
        late = lab.client.slow(web, 40, delay_s=60.0, family=family)
        until(lambda: lab.server.half_open() == 40)
        rows = lab.server.requests()
        some = hashes(rows[:15])
        with holding(lab, door, some):
            late.answer_at_once()
            until(lambda: lab.server.half_open() == 15)
            good = lab.client.connect(web, 20, family=family)
            assert good.alive() == 20
            assert lab.server.half_open() == 15
            assert door.turned_away >= 15
            assert door.holds(hashes(rows)).tolist() == [True] * 15 + [False] * 25
        assert not door.holds(some).any()
        assert set(hashes(lab.server.requests()).tolist()) == set(some.tolist())
    late.stop()


def test_every_member_of_a_reuseport_group_and_other_processes(lab: Lab) -> None:
    web = lab.server.listen(8080, reuseport=3, other_process=True)
    with Door() as door:
        late = lab.client.slow(web, 60, delay_s=60.0)
        until(lambda: lab.server.half_open() == 60)
        rows = lab.server.requests()
        with holding(lab, door, hashes(rows)):
            late.answer_at_once()
            until(lambda: late.completed == 60)
            assert lab.server.half_open() == 60
    assert web.accepted == 0


def test_a_filter_of_the_application_stays(lab: Lab) -> None:
    web = lab.server.listen(8080)
    with lab.server.run(lambda: socket.socket()) as own:
        pass_all = ctypes.create_string_buffer(struct.pack("=HBBI", 6, 0, 0, 0xFFFFFFFF))
        own.setsockopt(socket.SOL_SOCKET, 26, struct.pack("@HP", 1, ctypes.addressof(pass_all)))
        own.bind((lab.server.v4, 8081))
        own.listen(64)
        lab.client.half_open(web, 30).settled()
        assert halfopen.release(all=True, netns=lab.server.netns_path).held
        # SO_GET_FILTER counts in instructions: one, of which one byte is handed on to us.
        assert own.getsockopt(socket.SOL_SOCKET, 26, 8) == pass_all.raw[:1]


@pytest.mark.slow
def test_no_completed_connection_is_hit_while_releasing_without_end(lab: Lab) -> None:
    web = lab.server.listen(8080, backlog=20_000)
    before = established_resets(lab)
    late = lab.client.slow(web, 6000, delay_s=0.8, spread_s=2.4, rate=2500)
    outcomes = []
    while late.wait(0) < 6000:
        outcomes.append(halfopen.release(older_than=1.0, netns=lab.server.netns_path))
    released = sum(o.released for o in outcomes)
    assert all(o.held for o in outcomes if o.matched)
    assert released > 500
    until(lambda: web.accepted + released == 6000)
    assert established_resets(lab) == before


@pytest.mark.parametrize("few", [True, False])
def test_one_that_is_gone_before_it_is_destroyed_costs_nobody_anything(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, few: bool
) -> None:
    """Without its cookie the kernel would find its listener in its place, and close that."""
    web, other = lab.server.listen(8080), lab.server.listen(8081, backlog=4000)
    lab.client.half_open(web, 20)
    lab.client.half_open(other, 2000 if few else 1)
    lab.settle(2020 if few else 21)
    plain = destroy.destroy

    def twice(s: socket.socket, requests: NDArray[Any], counts: destroy.Counts | None = None) -> destroy.Counts:
        assert plain(s, requests).released == len(requests)
        return plain(s, requests, counts)

    monkeypatch.setattr(destroy, "destroy", twice)
    done = halfopen.release(listener=":8080", netns=lab.server.netns_path)
    assert done.held
    assert (done.released, done.gone, done.left) == (0, 20, 0)
    assert lab.client.connect(web, 3).alive() == 3
    row = np.zeros(1, dtype=REQUEST)
    row["cookie"] = destroy.NO_COOKIE
    with lab.server.run(destroy.open_socket) as s, pytest.raises(ValueError, match="without a cookie"):
        plain(s, row)


@pytest.mark.parametrize("cookies", ["one by one", "by a dump", "by a census"])
@pytest.mark.parametrize("full", [False, True], ids=["defers", "accept queue full"])
def test_who_answers_between_the_look_and_the_door_is_left_alone(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, cookies: str, full: bool
) -> None:
    """Its ACK was taken in, and it stays a request: only `acked`, read with the door held, tells it from a victim."""
    if full:
        web = lab.server.listen(8080, backlog=128, mode="never")
    else:
        web = lab.server.listen(8080, backlog=128, defer_accept_s=60)
    lab.client.half_open(lab.server.listen(8081, backlog=4000), 1000 if cookies == "one by one" else 1)
    if cookies == "by a census":
        monkeypatch.setattr(behind_door, "_FEW", 20)
        with contextlib.suppress(HalfopenError):  # before Linux 6.17: by a dump
            eyes.naming()
    late = lab.client.slow(web, 50, delay_s=60.0)
    until(lambda: lab.server.half_open(8080) == 50)
    if full:
        # From now on there is no room for those that finish.
        assert lab.client.connect(web, 129).connected == 129
    plain = behind_door._give_cookies

    def and_then_they_answer(*arguments: Any) -> None:
        plain(*arguments)
        late.answer_at_once()
        assert late.wait(60) == 50
        until(lambda: acked(lab) == 50)

    monkeypatch.setattr(behind_door, "_give_cookies", and_then_they_answer)
    done = halfopen.release(listener=":8080", netns=lab.server.netns_path)
    assert done.held
    assert (done.matched, done.released, done.gone, done.left) == (50, 0, 50, 0)
    assert lab.server.half_open(8080) == 50


def acked(lab: Lab) -> int:
    """How many requests had their ACK taken in and stay requests."""

    def read() -> int:
        return sum(int(np.count_nonzero(part.is_deferred)) for part in eyes.census().read())

    return int(lab.server.run(read))


def test_the_same_addresses_in_another_namespace_pass(lab: Lab) -> None:
    from halfopen.lab import Lab as Another

    port = 40_000
    with Another() as other, Door() as door:
        for each in (lab, other):
            each.server.listen(8080)
        assert (other.server.v4, other.client.v4) == (lab.server.v4, lab.client.v4)
        with (
            holding(lab, door, hashes(row_of(lab, port))),
            connecting(lab, port) as held_one,
            connecting(other, port) as passes,
        ):
            until(lambda: connected(passes))
            assert not connected(held_one)


def test_release_is_recorded_with_the_way_it_went(lab: Lab, audit: Path) -> None:
    web = lab.server.listen(8080)
    lab.client.half_open(web, 3).settled()
    assert halfopen.release(all=True, netns=lab.server.netns_path).released == 3
    assert [json.loads(line).get("held") for line in audit.read_text().splitlines()] == [None, True]


def test_two_releases_at_once_hold_two_doors(lab: Lab) -> None:
    web = lab.server.listen(8080, backlog=8192)
    lab.client.half_open(web, 4000).settled()
    outcomes = []
    threads = [
        threading.Thread(target=lambda: outcomes.append(halfopen.release(all=True, netns=lab.server.netns_path)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sum(o.released for o in outcomes) == 4000
    assert lab.server.half_open() == 0


@pytest.mark.parametrize("headers", [1, 7, 8, 12])
def test_behind_extension_headers_as_well(lab: Lab, monkeypatch: pytest.MonkeyPatch, headers: int) -> None:
    """The last ACK of an IPv6 client may carry options between the IPv6 and the TCP header; more than the program looks
    through do not get through.
    """
    from halfopen.lab.frames import Path as Frames

    plain = Frames.acks
    ethernet, ipv6, pad = 14, 40, bytes([0, 1, 4, 0, 0, 0, 0])  # PadN
    options = (bytes([60]) + pad) * (headers - 1) + bytes([6]) + pad  # TCP is last

    def behind_options(self: Frames, *args: Any) -> np.ndarray[Any, Any]:
        frames = plain(self, *args)
        cut = ethernet + ipv6
        middle = np.tile(np.frombuffer(options, dtype=np.uint8), (len(frames), 1))
        longer = np.concatenate([frames[:, :cut], middle, frames[:, cut:]], axis=1)
        longer[:, ethernet + 5] += len(options)  # the payload's length
        longer[:, ethernet + 6] = 60  # destination options
        return longer

    monkeypatch.setattr(Frames, "acks", behind_options)
    web = lab.server.listen(8080, address="::")
    with Door() as door:
        late = lab.client.slow(web, 20, delay_s=60.0, family=6)
        until(lambda: lab.server.half_open() == 20)
        rows = lab.server.requests()
        with holding(lab, door, hashes(rows[:10])):
            late.answer_at_once()
            until(lambda: late.completed == 20)
            waiting = 10 if headers <= 8 else 20
            until(lambda: door.turned_away >= waiting)
            until(lambda: lab.server.half_open() == waiting)
            until(lambda: web.accepted == 20 - waiting)
