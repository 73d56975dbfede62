"""Completion of listeners: from the head of /proc/net/tcp, which may be cut off in the middle of a line."""

from __future__ import annotations

import pytest
from click.shell_completion import ShellComplete

from halfopen.cli import completing
from halfopen.cli.main import cli

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue\n"
LINE = "   0: {address}:{port:04X} 00000000:0000 {state} 00000000:00000000 00:00000000\n"


def listening(monkeypatch: pytest.MonkeyPatch, text: str) -> list[str]:
    monkeypatch.setattr(
        completing.small_files, "read", lambda file, most: text.encode() if file.endswith("tcp") else None
    )
    return list(completing._listening())


def test_listeners_are_offered_up_to_the_first_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        LINE.format(address="00000000", port=port, state=state) for port, state in ((80, "0A"), (443, "0A"), (9, "01"))
    ]
    assert listening(monkeypatch, HEAD + "".join(lines)) == [":80", ":443"]
    assert listening(monkeypatch, HEAD + "".join(lines[:2])) == [":80", ":443"]


def test_a_line_that_is_cut_off_is_no_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    line = LINE.format(address="00000000", port=8080, state="0A")
    assert listening(monkeypatch, HEAD + line + line[:14]) == [":8080"]
    assert listening(monkeypatch, "") == []


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("tune", "listener", ":4"), [":443"]),
        (("service", "silence", ":4"), [":443"]),
        (("protect", ":4"), [":443"]),
        (("lab", "--scene", "flood-cook"), ["flood-cookies"]),
        (("lab", "--scene", "scan+flood-cook"), ["scan+flood-cookies"]),
    ],
    ids=lambda words: " ".join(words),
)
def test_listeners_and_scenes_are_offered_where_they_are_taken(
    words: tuple[str, ...], offered: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completing, "_listening", lambda: iter([":80", ":443"]))
    *before, begun = words
    completion = ShellComplete(cli, {}, "halfopen", "_COMPLETE")
    assert [one.value for one in completion.get_completions(before, begun)] == offered
