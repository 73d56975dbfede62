"""What `advise` shows, at any width."""

from __future__ import annotations

import io
from typing import Any

import pytest
from msgspec.structs import replace
from rich.console import Console

from halfopen.core.advice.advice import AdviceGiven, ListenerWatched, advise
from halfopen.core.advice.choices import Rests
from halfopen.core.advice.depths import Depth
from halfopen.core.fields.advice import one_in
from halfopen.core.model.model import build
from halfopen.core.sample import Process
from halfopen.core.where import Host, Namespace
from halfopen.present.advice import document, show
from rows import listener, sample
from shaken import handshakes

ENOUGH = (84_000, 0, 0.05)


def given(*kinds: tuple[int, int, float], port: int = 443, **watched: Any) -> AdviceGiven:
    owners = {1: (Process(4711, "server"),)}
    [view] = build(sample([], [listener(port=port, limit=511)], owners=owners)).views
    depths = watched.pop("depths", [Depth(i * 0.25, 4, 4, 0) for i in range(20)])
    settings = {"tcp_syncookies": 1, "somaxconn": 4096}
    one = advise(ListenerWatched(view, handshakes(*kinds), depths, **watched), "self", settings)
    where, host = Namespace("boot", 1), Host("host", "6.1")
    return AdviceGiven(where, host, 1e9, 60.0, (one,) if kinds else (), settings, missing=("give-ups: refused",))


def shown(one: AdviceGiven, width: int = 80) -> str:
    out = Console(file=io.StringIO(), width=width, highlight=False, markup=False, emoji=False)
    show(out, one)
    text = out.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in text.splitlines())


def flat(text: str) -> str:
    """Without the breaks of lines."""
    return " ".join(text.split())


@pytest.mark.parametrize("width", [80, 140])
def test_what_is_advised_and_what_is_proved(width: int) -> None:
    text = shown(given(ENOUGH, (24, 1, 1.2), rests=Rests(9000, 40_000)), width)
    assert max(map(len, text.splitlines())) <= width
    assert len(text.splitlines()) <= 24
    assert text.startswith(":443  server 4711  84,024 handshakes finished in 60 s, half within 53 ms")
    assert "7 s is proved to cost fewer than 1 in 8,3" in flat(text)
    assert "Backlog       511 is enough" in text
    assert "9,000 source prefixes, which count as 40,000 independent handshakes" in flat(text)
    assert text.splitlines()[-1] == "Next  halfopen tune listener :443 --release-time 7s"


def test_too_little_is_told_with_what_it_proves() -> None:
    text = flat(shown(given((120, 0, 0.05))))
    assert "keep 63 s: 0 of 120 handshakes later than 31 s proves only fewer than 1 in 25" in text
    assert "sources were not counted" in text
    assert text.endswith("Next halfopen advise --for 40m")


def test_what_was_censored_is_told() -> None:
    pruned = [Depth(i * 0.25, 400, 1, 0) for i in range(20)]
    text = flat(shown(replace(given(ENOUGH, depths=pruned), released=300)))
    assert "the kernel gives up after 63 s here" in text
    assert "for 4.8 s, with the queue more than half full, it gave up after 7 s" in text
    assert "halfopen released 300 meanwhile" in text
    assert "not seen" in text


def test_clients_that_hang_are_told() -> None:
    told = flat(shown(given(ENOUGH, port=22)))
    assert "probably SSH, by its port or program: the server speaks first then, so a client that is lost hangs" in told


def test_a_queue_that_grows_is_told_when_it_is_full() -> None:
    growing = [Depth(i * 0.25, 4, 4, i * 10) for i in range(20)]
    text = flat(shown(given((120, 0, 0.05), depths=growing)))
    assert "at the present growth it will be full in 8.1 s" in text


def test_connections_that_began_before_are_told_beside_the_length_that_the_rate_accounts_for() -> None:
    left = [Depth(i * 0.25, 600, 1, 0) for i in range(20)]
    text = flat(shown(given((60, 0, 0.05), depths=left)))
    assert "at most 600 seen at once" in text
    assert "in truth 600 waited on average: most of them began before this look" in text
    assert "in truth" not in flat(shown(given((6000, 0, 0.05), depths=[Depth(i * 0.25, 5, 1, 0) for i in range(20)])))


def test_a_flood_is_for_diagnose_and_needs_no_room() -> None:
    full = [Depth(i * 0.25, 512, 1, 0) for i in range(20)]
    text = flat(shown(given((60, 0, 0.05), depths=full, unanswered_per_s=80.0)))
    assert (
        "SYN queue: 560 on average, by rate x time (1/s x 50 ms a handshake + 80/s admitted and never answered x 7 s)"
        in text
    )
    assert "at most 512 seen at once, of 512; it is full" in text
    assert "unanswered connections need no room" in text
    assert text.endswith("Next halfopen diagnose")


def test_nothing_seen_is_nothing_advised() -> None:
    text = shown(given())
    assert "No handshake finished in 60 s" in text
    assert "Next  halfopen watch" in text


def test_handshakes_by_cookie_are_not_told_to_be_none() -> None:
    text = flat(shown(replace(given(), cookies_sent=900, cookies_back=12)))
    assert "Handshakes finished by SYN cookie only in 60 s (12 ACKs with a cookie): how long they took" in text
    one = given(ENOUGH)
    [listener] = one.listeners
    by_cookie = replace(listener.seen.handshakes, untimed=12)
    one = replace(one, listeners=(replace(listener, seen=replace(listener.seen, handshakes=by_cookie)),))
    assert "handshakes finished in 60 s and 12 more by SYN cookie, half within" in flat(shown(one))


def test_the_document() -> None:
    written = document(given(ENOUGH))
    assert (written["schema"], written["missing"]) == ("halfopen.advise/1", ["give-ups: refused"])
    [one] = written["listeners"]
    assert one["release_time_s"] == 7
    assert [choice["advised"] for choice in one["choices"][:3]] == [False, False, True]
    assert one["choices"][0]["share_at_most"] == pytest.approx(1 / 17_546, rel=1e-4)
    assert (one["prefixes"], one["choices"][0]["independent_share_at_most"]) == (None, None)
    assert written["next"] == ["halfopen tune listener :443 --release-time 7s"]


def test_a_share_is_never_told_smaller_than_it_is() -> None:
    assert (one_in(1 / 999.9), one_in(1.0), one_in(0.6)) == ("1 in 999", "any", "1 in 1")


def test_a_program_that_does_not_keep_up_is_for_diagnose() -> None:
    stuck = [Depth(i * 0.25, 0, 0, 512, True) for i in range(20)]
    one = given(ENOUGH, depths=stuck)
    text = flat(shown(one))
    assert "keep 511: an accept queue stays full, because the program does not accept fast enough" in text
    assert "waits" not in text
    assert text.endswith("Next halfopen diagnose")
    assert document(one)["next"][0] == "halfopen diagnose"


def test_a_program_that_falls_behind_is_for_diagnose_however_long_its_queue_is() -> None:
    behind = [Depth(i * 0.25, 0, 0, 300 + i, False) for i in range(20)]
    text = flat(shown(given((2400, 0, 0.05), depths=behind)))
    assert "to be accepted, because the program accepts fewer than come" in text
    assert "is enough" not in text
    assert text.endswith("Next halfopen diagnose")


def test_no_more_handshakes_are_independent_than_finished() -> None:
    """The sources are counted for a moment longer."""
    text = flat(shown(given((503, 0, 0.05), rests=Rests(217, 568))))
    assert "217 source prefixes, which count as 503 independent handshakes" in text


def test_a_backlog_that_overflowed_between_the_readings_is_not_enough() -> None:
    one = given(ENOUGH, overflows=744)
    text = flat(shown(one))
    assert "511 is too short, or the program stalls: up to 744 connections found an accept queue full" in text
    assert "is enough" not in text
    assert text.endswith("Next halfopen diagnose")


def test_a_flood_that_cookies_answer_is_told_beside_what_finds_room() -> None:
    """A full queue holds what it can: the SYNs that get a cookie are in no queue, and were left out of every rate."""
    one = replace(given((60, 0, 0.05), unanswered_per_s=5.0), cookies_sent=60_100, cookies_back=100)
    text = flat(shown(one))
    assert "5/s admitted and never answered x 63 s" in text
    assert "in the whole namespace, 1,000/s more got a cookie and did not send it back" in text
    assert text.endswith("Next halfopen diagnose")


def test_half_open_ones_have_less_room_while_cookies_are_off() -> None:
    off = {"tcp_syncookies": 0, "tcp_max_syn_backlog": 64, "somaxconn": 4096}
    [view] = build(sample([], [listener(port=443, limit=1024)], settings=off)).views
    one = advise(ListenerWatched(view, handshakes((60, 0, 0.05)), []), "self", off)
    text = flat(shown(replace(given((60, 0, 0.05)), listeners=(one,), settings=off)))
    assert (
        "1,024 for connections that wait to be accepted, but only 48 may be half-open while SYN cookies are off" in text
    )
    assert "is enough" not in text
    slow = advise(ListenerWatched(view, handshakes((6000, 0, 0.9)), []), "self", off)
    assert f"only 48 may be half-open, and {slow.syn_queue.needed} needed, while" in flat(
        shown(replace(given((60, 0, 0.05)), listeners=(slow,), settings=off))
    )


def test_of_several_sockets_the_shortest_backlog_counts() -> None:
    """The kernel gives each its share of the clients, whatever the others have room for."""
    rows = [listener(limit=limit, inode=inode, cookie=inode) for inode, limit in ((1, 4), (2, 1024), (3, 1024))]
    [view] = build(sample([], rows)).views
    settings = {"tcp_syncookies": 1, "somaxconn": 4096}
    seen = ListenerWatched(view, handshakes((6000, 0, 0.001)), [], overflows=9, backlogs=[4, 1024, 1024])
    one = advise(seen, "self", settings)
    assert one.backlog == 4
    text = flat(shown(replace(given((60, 0, 0.05)), listeners=(one,))))
    assert "4 at the shortest of its 3 sockets (1,024 at the longest) is too short" in text
    assert "halfopen tune listener :8080 --backlog 1024" in text


def test_a_listener_opened_meanwhile_is_said_to_be() -> None:
    quiet = given()
    [view] = build(sample([], [listener(port=443)])).views
    assert ":443 was opened 3 s before the end" in flat(shown(replace(quiet, opened=((view, 3.0),))))
    gone = flat(shown(replace(quiet, gone=120)))
    assert "No handshake finished" not in gone
    assert "120 handshakes finished in 60 s at listeners that are gone now" in gone
    one = flat(shown(given((60, 0, 0.05), opened_s=3.0)))
    assert "the listener was opened 3 s before the end: its drops count since then" in one
