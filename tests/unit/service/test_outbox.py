"""What waits for the face: bounded, in order, and nothing lost that the face did not say it has."""

from __future__ import annotations

from halfopen.service.messages import Parcel
from halfopen.service.outbox import Outbox


def everything(box: Outbox) -> list[Parcel]:
    return list(iter(box.next, None))


def test_of_the_latest_only_the_newest_is_sent_and_notices_come_first() -> None:
    box = Outbox()
    for text in (b"1", b"2", b"3"):
        box.put_latest("metrics", text)
    assert box.put("notice", b"a")
    assert everything(box) == [Parcel(1, "notice", b"a"), Parcel(0, "metrics", b"3")]
    assert not box.waiting
    assert box.next() is None
    box.taken(1)
    box.again()
    assert everything(box) == [Parcel(0, "metrics", b"3")], "another face has no text yet"


def test_what_a_face_did_not_take_goes_to_the_next_one() -> None:
    box = Outbox()
    for text in (b"a", b"b", b"c"):
        box.put("notice", text)
    assert [p.body for p in everything(box)] == [b"a", b"b", b"c"]
    box.taken(1)
    assert not box.waiting
    box.again()
    assert box.waiting
    assert [p.body for p in everything(box)] == [b"b", b"c"]
    box.taken(3)
    box.again()
    assert everything(box) == []
    assert box.waits_s() == 0.0
    box.put("notice", b"d")
    assert everything(box) == [Parcel(4, "notice", b"d")]


def test_the_oldest_makes_room_and_is_counted() -> None:
    box = Outbox(parcels_most=3)
    assert [box.put("notice", bytes([i])) for i in range(5)] == [True, True, True, False, False]
    assert box.dropped == 2
    assert [p.number for p in everything(box)] == [3, 4, 5]
    assert [box.put("notice", b"x") for _ in range(2)] == [False, False]
    assert [p.number for p in everything(box)] == [6, 7]


def test_large_ones_are_bounded_by_their_bytes() -> None:
    box = Outbox(bytes_most=1000)
    for _ in range(10):
        box.put("notice", b"x" * 400)
    assert box.dropped == 8
    box.put("notice", b"x" * 5000)
    assert [len(p.body) for p in everything(box)] == [5000], "one alone is never dropped"
    assert box.waits_s() > 0.0
