"""Whole screens of `halfopen top`, of scenes that the lab plays: both sizes and both languages of one reading."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from difflib import ndiff
from pathlib import Path

import pytest
from rich.cells import cell_len

import live as made
from halfopen.core.live import Live, LiveNamespace
from halfopen.present.language import spoken
from halfopen.present.screen.drawing import draw
from halfopen.present.screen.state import Page, ScreenState
from halfopen.present.screen.styled import plain
from halfopen.read import owners
from played import Play, Stable, found, play

# One worker plays the scenes for all of them.
pytestmark = [pytest.mark.root, pytest.mark.xdist_group("top-screens")]

HERE = Path(__file__).parent
SIZES = ((80, 24), (140, 40))
LANGUAGES = {"en": "", "zh": "-zh"}
WRITE = bool(os.environ.get("HALFOPEN_WRITE_SCREENS"))
# A reading may also show what the rest of the machine does; another one does not.
READINGS_MOST = 40


@pytest.fixture(scope="module")
def scenes() -> Iterator[dict[str, Play]]:
    """A quiet host, a flood, a program that does not accept, and a host whose second listener was flooded."""
    with ExitStack() as stack:
        # A busy machine does not keep the search for who listens from its end.
        stack.enter_context(pytest.MonkeyPatch.context()).setattr(owners, "BUDGET_S", 60.0)
        on = {name: stack.enter_context(play(name)) for name in ("db", "shop", "mail", "api")}
        server = {name: one.lab.server for name, one in on.items()}
        shop = server["shop"].listen(8080, backlog=9000, other_process=True)
        server["shop"].listen(443, other_process=True)
        mail = server["mail"].listen(25, backlog=16, mode="never", other_process=True)
        web = server["api"].listen(443, other_process=True)
        server["api"].listen(8443, backlog=200, other_process=True)
        calm = [server["db"].listen(port, other_process=True) for port in (5432, 22)]
        on["shop"].lab.client.flood(shop, 100, 300, sources="few")
        on["mail"].lab.client.connect(mail, 17)
        on["api"].lab.client.connect(web, 10)
        on["db"].lab.client.connect(calm[0], 5)
        yield on


@pytest.fixture
def patch(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The same privileges everywhere."""
    monkeypatch.setattr("halfopen.present.commands.may_change", lambda: True)
    monkeypatch.setattr("halfopen.present.commands.may_load", lambda: True)
    return monkeypatch


def screens(live: Live, state: ScreenState) -> dict[str, str]:
    """Every screen of one reading, by the end of its file's name; all are filled, and none is exceeded."""
    shown = {}
    for language, end in LANGUAGES.items():
        with spoken(language):
            for columns, rows in SIZES:
                lines = draw(live, state, columns, rows)
                assert len(lines) == rows
                assert max(cell_len(plain(line)) for line in lines) <= columns
                shown[f"{columns}x{rows}{end}"] = made.shown(lines)
    return shown


def come_to_show(
    name: str,
    patch: pytest.MonkeyPatch,
    stable: Stable,
    readings: Callable[[], Live],
    state: ScreenState = ScreenState(),  # noqa: B008
) -> None:
    """Hold that a reading shows the screens that are kept. HALFOPEN_WRITE_SCREENS=1 writes them anew: look at them."""
    live = readings()
    files = {size: HERE / "screens" / f"{name}-{size}.txt" for size in screens(live, state)}
    stable.steady(patch)
    for _ in range(READINGS_MOST):
        shown = {size: stable.screen(text) for size, text in screens(live, state).items()}
        if WRITE:
            for size, text in shown.items():
                files[size].write_text(text, "utf-8")
        wanted = {size: path.read_text("utf-8") for size, path in files.items()}
        if shown == wanted:
            return
        live = readings()
    differs = [size for size in files if shown[size] != wanted[size]]
    lines = (ndiff(wanted[size].splitlines(), shown[size].splitlines()) for size in differs)
    raise AssertionError("\n".join((name, *differs, *(x for one in lines for x in one if x[:1] in "+-"))))


def is_flooded(space: LiveNamespace) -> bool:
    """Its cause is known, and the alarm tells it."""
    told = [cause.id for one in space.incidents if one.alarm_s is not None for cause in one.causes]
    return "few-sources-flood" in found(space.verdict) and "few-sources-flood" in told


def is_stuck(space: LiveNamespace) -> bool:
    return "app-not-accepting" in found(space.verdict) and bool(space.incidents)


def stable(plays: Iterable[Play], *, counts: bool = False) -> Stable:
    return Stable((pid for one in plays for pid in one.pids), counts=counts)


def test_quiet(scenes: dict[str, Play], patch: pytest.MonkeyPatch) -> None:
    quiet = scenes["db"]
    quiet.until(lambda space: len(space.minute) > 2)
    come_to_show("quiet", patch, stable([quiet]), quiet.live)


def test_an_accept_queue_that_is_full(scenes: dict[str, Play], patch: pytest.MonkeyPatch) -> None:
    stuck = scenes["mail"]
    stuck.until(is_stuck)
    come_to_show("not-accepting", patch, stable([stuck]), stuck.live)


def test_two_listeners_one_of_them_in_trouble(scenes: dict[str, Play], patch: pytest.MonkeyPatch) -> None:
    two = scenes["api"]
    if not two.lab.server.half_open(8443):
        # Only now: they stay for a minute, which other tests may take on a busy machine.
        api = next(one for one in two.lab.server.listeners if one.port == 8443)
        two.lab.client.half_open(api, 90).settled()
    two.until(lambda space: "spoofed-flood" in found(space.verdict) and bool(space.incidents))
    come_to_show("two-listeners", patch, stable([two]), two.live)


def test_a_flood(scenes: dict[str, Play], patch: pytest.MonkeyPatch) -> None:
    flooded = scenes["shop"]
    flooded.until(is_flooded)
    come_to_show("flood", patch, stable([flooded], counts=True), flooded.live)


def test_many_namespaces(scenes: dict[str, Play], patch: pytest.MonkeyPatch) -> None:
    plays = [scenes[name] for name in ("db", "shop", "mail")]
    scenes["shop"].until(is_flooded)
    scenes["mail"].until(is_stuck)

    def readings() -> Live:
        lives = [one.live() for one in plays]
        return Live(tuple(live.spaces[0] for live in lives), lives[0].wall_s)

    state = ScreenState(several=True, page=Page.NAMESPACES)
    come_to_show("namespaces", patch, stable(plays, counts=True), readings, state)
