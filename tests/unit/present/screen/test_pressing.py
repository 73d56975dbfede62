"""Keys change the state of the screen, and ask for what only the program behind can do."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

import live as made
from halfopen.present.screen.drawing import draw
from halfopen.present.screen.pressing import press
from halfopen.present.screen.state import SORTS, Page, Question, ScreenState, Wish

LIVE = made.live()
SEVERAL = made.live(made.calm("db"), made.space(made.flooded(where=made.named("web"))))


def after(state: ScreenState, *keys: str, several: bool = False) -> tuple[ScreenState, list[Wish]]:
    wishes = []
    for key in keys:
        state, wish = press(state, key, SEVERAL if several else LIVE, 24)
        wishes += [wish] if wish is not None else []
    return state, wishes


@pytest.mark.parametrize(
    ("keys", "port"),
    [
        ((), None),
        (("down",), 9000),
        (("down", "down"), 443),
        (("down", "down", "down", "down"), 443),
        (("end",), 443),
        (("end", "home"), 8080),
        (("page down", "up"), 9000),
    ],
)
def test_a_row_is_selected(keys: tuple[str, ...], port: int | None) -> None:
    state, wishes = after(ScreenState(), *keys)
    assert (state.listener and state.listener[2]) == port
    assert wishes == []


def test_a_selected_row_stays_selected_when_the_order_changes() -> None:
    state, _ = after(ScreenState(), "down")
    assert state.listener == (2, "192.0.2.7", 9000, 0)
    again, _ = after(replace(state, sort="port"), "up")
    assert again.listener is not None
    assert again.listener[2] == 8080


def test_enter_opens_details_and_q_leads_back() -> None:
    state, wishes = after(ScreenState(), "enter")
    assert (state.page, state.listener, wishes) == (Page.DETAILS, made.KEY, [Wish.DETAILS])
    state, wishes = after(state, "q")
    assert (state.page, wishes) == (Page.LISTENERS, [Wish.DETAILS])
    assert after(state, "q")[1] == [Wish.QUIT]


def test_a_filter_is_typed_kept_and_cleared() -> None:
    state, _ = after(ScreenState(), "/", "n", "g", "q", "backspace", "enter")
    assert (state.filter, state.typing) == ("ng", False)
    assert after(state, "escape")[0].filter == ""
    assert after(state, "/", "escape")[0].filter == ""
    assert len(after(ScreenState(typing=True), *"x" * 500)[0].filter) < 100


def test_keys_that_are_typed_into_a_filter_do_nothing_else() -> None:
    assert after(ScreenState(typing=True), *"qrtdpn?")[1] == []


@pytest.mark.parametrize(("key", "wish"), [("d", Wish.DIAGNOSE), ("r", Wish.RELEASE), ("t", Wish.TUNE)])
def test_wishes(key: str, wish: Wish) -> None:
    for page in (Page.LISTENERS, Page.DETAILS):
        assert after(ScreenState(page=page, listener=made.KEY), key) == (
            ScreenState(page=page, listener=made.KEY),
            [wish],
        )


@pytest.mark.parametrize("key", ["n", "N", "enter", "escape", "q"])
def test_only_a_y_is_a_yes(key: str) -> None:
    asked = ScreenState().with_question(Question("Release 3?"))
    state, wishes = after(asked, key)
    assert (state.question, wishes) == (None, [Wish.CANCELLED])


@pytest.mark.parametrize("key", ["x", " ", "up", "r", "a", "1"])
def test_any_other_key_leaves_the_question(key: str) -> None:
    asked = ScreenState().with_question(Question("Release 3?"))
    assert after(asked, key) == (asked, [])


def test_yes_and_another_age() -> None:
    asked = ScreenState().with_question(Question("Release 3?", ages=True))
    assert after(asked, "y") == (ScreenState(), [Wish.CONFIRMED])
    assert after(asked, "a") == (ScreenState(), [Wish.OTHER_AGE])


def test_sort_goes_round() -> None:
    state, seen = ScreenState(), []
    for _ in SORTS:
        seen.append(state.sort)
        state, _wishes = after(state, "s")
    assert tuple(seen) == SORTS
    assert state.sort == SORTS[0]


def test_sort_goes_back_and_the_order_can_be_inverted() -> None:
    assert after(ScreenState(), "S")[0].sort == after(ScreenState(), "<")[0].sort == SORTS[-1]
    assert after(ScreenState(), "s", "S")[0].sort == after(ScreenState(), ">", "<")[0].sort == SORTS[0]
    state, _ = after(ScreenState(), "s", "I")
    assert (state.sort, state.reverse, state.notice) == (SORTS[1], True, f"Sorted by {SORTS[1]}, inverted")
    assert not after(state, "I")[0].reverse
    # Another column begins in its own order.
    assert not after(state, "s")[0].reverse
    assert "worst first" in after(ScreenState(several=True, page=Page.NAMESPACES), "s", several=True)[0].notice


def test_n_asks_for_every_namespace_where_there_are_more() -> None:
    state, wishes = after(ScreenState(wider=True), "n")
    assert (state.page, state.several, state.wider, wishes) == (Page.NAMESPACES, True, False, [Wish.NAMESPACES])


def test_namespaces() -> None:
    state = ScreenState(several=True, page=Page.NAMESPACES)
    state, _ = after(state, "enter", several=True)
    # The worst one is the first.
    assert state.page is Page.LISTENERS
    assert state.space == SEVERAL.spaces[1].model.sample.where.inode
    state, _ = after(state, "n", "down", "enter", several=True)
    assert state.space == SEVERAL.spaces[0].model.sample.where.inode
    assert after(state, "escape", several=True)[0].page is Page.NAMESPACES


def test_n_says_what_to_do_where_one_namespace_is_watched() -> None:
    state, _ = after(ScreenState(), "n")
    assert "--netns all" in state.notice
    assert after(state, "up")[0].notice == ""


def test_help_pause_and_redraw() -> None:
    state, _ = after(ScreenState(), "?")
    assert state.page is Page.TEXT
    assert after(state, "down", "down")[0].top == 2
    assert after(state, "q")[0] == ScreenState()
    assert after(ScreenState(), "p")[0].paused
    assert not after(ScreenState(), "p", "p")[0].paused
    assert after(ScreenState(), "redraw")[1] == [Wish.REDRAW]


def test_a_text_over_a_text_leads_back_to_the_page() -> None:
    state = ScreenState(page=Page.DETAILS).with_text("one", ()).with_text("two", ())
    assert after(state, "q") == (ScreenState(page=Page.DETAILS), [Wish.DETAILS])


def test_a_question_that_found_nothing_takes_no_yes() -> None:
    state = ScreenState().with_question(
        Question("No half-open connection matches; another age?", ages=True, nothing=True)
    )
    assert press(state, "y", made.live(), 24) == (state, None)
    assert press(state, "a", made.live(), 24)[1] is Wish.OTHER_AGE
    assert "yes" not in made.shown(draw(made.live(), state, 80, 24)).splitlines()[-1]
