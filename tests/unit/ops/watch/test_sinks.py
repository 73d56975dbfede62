"""Sinks of a watch: a new kind is a class and an entry in KINDS, and none ends the watch."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from halfopen.core import config
from halfopen.core.errors import ConfigError, HalfopenError
from halfopen.core.model.model import build
from halfopen.core.policy.alarms import Alarm, Clear
from halfopen.core.policy.policy import Policy
from halfopen.core.reports import Begun, Decided, Ended, Reading, Report, Trouble
from halfopen.ops.watch import sinks
from halfopen.present.watchjson import JsonLines
from halfopen.present.watchlines import TextLines
from rows import SELF, listener, request, sample


class Remembering:
    def __init__(self, target: str = "", trouble: Trouble | None = None) -> None:
        self.target, self.trouble = target, trouble
        self.taken: list[Report] = []

    def take(self, event: Report) -> Trouble | None:
        self.taken.append(event)
        return self.trouble if isinstance(event, Ended) else None


def test_every_sink_takes_every_report_and_the_others_tell_of_one_that_fails() -> None:
    trouble = Trouble("mail", HalfopenError("mail", "nobody answers"))
    first, failing, last = Remembering(), Remembering(trouble=trouble), Remembering()
    for event in (Begun(1.0, Policy()), Ended(3)):
        sinks.tell([first, failing, last], event)
    assert first.taken == [Begun(1.0, Policy()), Ended(3), trouble]
    assert failing.taken == [Begun(1.0, Policy()), Ended(3)]
    assert set(map(type, last.taken)) == {Begun, Ended, Trouble}


def test_a_new_kind_needs_no_more_than_its_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    options = (sinks.SinkOption("--mail-to", "ADDRESS", "Send a mail."), sinks.SinkOption("--mail-now", "", "At once."))
    kind = sinks.SinkKind(options, lambda targets, version, world: Remembering(str(targets["mail_to"])))
    monkeypatch.setattr(sinks, "KINDS", (*sinks.KINDS, kind))
    parsed = config.parse('mail_to = "ops@example.org"\n', "w.toml", sinks.keys())
    [made] = sinks.wanted(parsed.sinks)
    assert isinstance(made, Remembering)
    assert made.target == "ops@example.org"
    assert sinks.wanted({"mail_to": None}) == []
    with pytest.raises(ConfigError, match="mail_to"):
        config.parse("mail_to = 3\n", "w.toml", sinks.keys())
    with pytest.raises(ConfigError, match="unknown key"):
        config.parse('mail_to = "x"\n', "w.toml")


def test_a_key_of_a_sink_may_begin_like_a_section() -> None:
    """`--alarm-file` once made every key of [alarm] unknown."""
    parsed = config.parse('[alarm]\nminimum = 7\nfile = "/a"\n', "w.toml", {"alarm_file": str})
    assert (parsed.alarm.minimum, parsed.sinks) == (7, {"alarm_file": "/a"})
    with pytest.raises(ConfigError, match=r"alarm\.minimun: unknown key"):
        config.parse("[alarm]\nminimun = 7\n", "w.toml", {"alarm_file": str})


def test_a_key_of_a_sink_may_stand_in_a_section() -> None:
    known = {"mail_to": str, "mail_now": bool}
    parsed = config.parse('[mail]\nto = "ops@example.org"\nnow = true\n', "w.toml", known)
    assert parsed.sinks == {"mail_to": "ops@example.org", "mail_now": True}
    for text, said in (
        ("[mail]\nfrom = 1\n", "mail.from: unknown key; known here: to, now"),
        ('mail_to = "a"\n[mail]\nto = "b"\n', "mail.to: is given twice, also as mail_to"),
        ("[mail]\nnow = 1\n", "mail.now: is not true or false"),
        ("mail_to = true\n", "mail_to: is not a text"),
        ('mail = "x"\n', "mail: unknown key"),
    ):
        with pytest.raises(ConfigError) as e:
            config.parse(text, "w.toml", known)
        assert said in e.value.line()


def test_every_kind_has_its_option() -> None:
    from halfopen.cli.watch import command

    shown = CliRunner().invoke(command, ["--help"]).output
    for option in sinks.options():
        assert f"{option.option} {option.metavar}".strip() in shown


@pytest.mark.parametrize("writer", [TextLines(False, several=True), JsonLines()])
def test_a_line_says_that_the_namespace_of_an_alarm_is_gone(
    writer: TextLines | JsonLines, capsys: pytest.CaptureFixture[str]
) -> None:
    model = build(sample([request()], [listener()]))
    events = (
        Begun(1.0, Policy()),
        Reading(model),
        Decided(model, Alarm(SELF, None, 700, 700, 900, 3, 50, "unanswered")),
        Decided(model, Clear(SELF, None, 0, 4, 700, gone="namespace")),
        Ended(1),
    )
    for event in events:
        writer.take(event)
    lines = capsys.readouterr().out.splitlines()
    [line] = [line for line in lines if "CLEAR" in line or '"clear"' in line]
    assert "the network namespace self is gone, after 4 s with a peak of 700" in line or '"gone":true' in line


def test_a_line_tells_what_waits_to_be_accepted_and_that_it_is_gone() -> None:
    text = TextLines(False, several=True)
    idle, waiting = (build(sample([], [listener(accept_queue=n)])) for n in (0, 3))
    assert text.reading(idle) == []
    assert "3 in accept queues" in text.reading(waiting)[0]
    assert text.reading(waiting) == []
    assert "in accept queues" not in text.reading(idle)[0]
