"""Links and sessions of the page: once, in time, signed, and none of before."""

from __future__ import annotations

import pytest

from halfopen.service.web import passes
from halfopen.service.web.passes import PassControl, PassKind, make

KEY = bytes(range(32))


def link(lasts_s: float = 60.0) -> str:
    return make(KEY, PassKind.LINK, lasts_s)


def test_a_link_opens_one_session() -> None:
    control = PassControl(KEY, 60.0)
    made = link()
    session = control.opened(made)
    assert session is not None
    assert control.admits(session)
    assert 0 < control.left_s(session) <= 60
    assert control.opened(made) is None
    assert control.opened(link()) not in (None, session)


def test_a_link_is_no_session_and_a_session_is_no_link() -> None:
    control = PassControl(KEY, 60.0)
    session = control.opened(link())
    assert session is not None
    assert not control.admits(link())
    assert control.opened(session) is None


def test_what_is_too_old_opens_nothing() -> None:
    control = PassControl(KEY, 60.0)
    assert control.opened(link(lasts_s=-1)) is None
    assert not control.admits(make(KEY, PassKind.SESSION, -1))


def test_only_the_first_face_honours_links_of_before_but_each_every_session() -> None:
    made, session = link(), make(KEY, PassKind.SESSION, 60.0)
    assert PassControl(KEY, 60.0).opened(made) is not None
    control = PassControl(KEY, 60.0, first=False)
    assert control.opened(made) is None, "it may have been used"
    assert control.admits(session)


@pytest.mark.parametrize("text", ["", "=", "A" * 54 + "==", "A" * 56, "é" * 56, "A" * 1000, "a b", "\0"])
def test_what_is_no_pass_is_none(text: str) -> None:
    control = PassControl(KEY, 60.0)
    assert control.opened(text) is None
    assert not control.admits(text)


def test_one_bit_makes_it_another() -> None:
    control = PassControl(KEY, 60.0)
    session = make(KEY, PassKind.SESSION, 60.0)
    for at in range(len(session.rstrip("="))):
        other = session[:at] + ("A" if session[at] != "A" else "Q") + session[at + 1 :]
        assert not control.admits(other)
    assert not PassControl(bytes(32), 60.0).admits(session)


def test_used_links_are_forgotten_when_they_are_over(monkeypatch: pytest.MonkeyPatch) -> None:
    control = PassControl(KEY, 60.0)
    first = passes.now_ns()
    for _ in range(10):
        control.opened(link())
    assert len(control._used) == 10
    monkeypatch.setattr(passes, "now_ns", lambda: first + 100 * 10**9)
    control.opened(link())
    assert len(control._used) == 1
