"""Sections [[notify]]: whatever the file holds, it is a receiver or one refusal that names the key."""

from __future__ import annotations

import tomllib

import pytest

from halfopen.core.errors import ConfigError, UsageError
from halfopen.core.sections.lines import lines_of
from halfopen.core.sections.notify import MOST_RECEIVERS, NotifySettings, check_all
from halfopen.core.sections.reading import KeyPlace, read

SECRET = 'secret_file = "/etc/halfopen/secret"\n'
RIGHT = {
    "alertmanager": 'url = "http://127.0.0.1:9093"\n',
    "webhook": 'url = "https://alerts.example.org/hook"\n' + SECRET,
    "apprise": 'credential = "chat"\n',
    "journald": "",
    "syslog": 'path = "/run/log"\n',
    "command": 'command = ["/usr/local/bin/page", "--now"]\n',
}


def section(text: str) -> NotifySettings:
    return read(NotifySettings, tomllib.loads(text), KeyPlace("w.toml", lines_of(text)))


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as e:
        section(text)
    return e.value.line()


@pytest.mark.parametrize("kind", RIGHT)
def test_every_kind(kind: str) -> None:
    one = section(f'kind = "{kind}"\n{RIGHT[kind]}')
    assert one.called == kind
    assert one.repeat() == {"alertmanager": 60.0, "apprise": 14400.0}.get(kind, 0.0)
    assert one.rate() == {"apprise": 12}.get(kind, 60)
    named = section(f'kind = "{kind}"\nname = "night.shift-2"\nrepeat = "30s"\n{RIGHT[kind]}')
    assert (named.called, named.repeat()) == ("night.shift-2", 30.0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "lacks kind"),
        ('kind = "alertmanger"', 'kind: "alertmanger" is not known; did you mean "alertmanager"?'),
        ('kind = "webhook"', "lacks url"),
        ('kind = "alertmanager"', "lacks url"),
        ('kind = "apprise"', "has no URL"),
        ('kind = "command"', "lacks command"),
        ('kind = "command"\ncommand = ["page"]', "command: 'page' is not an absolute path"),
        ('kind = "command"\ncommand = "page"', "command: is not a list"),
        ('kind = "journald"\nurl = "http://x"', "url: has no effect with kind journald; that has path"),
        ('kind = "syslog"\n' + SECRET, "secret_file: has no effect with kind syslog"),
        ('kind = "webhook"\nurl = "ftp://x"', "url: is not a URL of http or https"),
        ('kind = "webhook"\nurl = "https:///x"', "url: is not a URL"),
        ('kind = "webhook"\nurl = "http://a:99999/"', "url: is not a URL"),
        ('kind = "webhook"\nurl = "http://a b/"', "url: is not a URL"),
        ('kind = "webhook"\nurl = "https://me:hunter22@x/"', "url: holds a password"),
        ('kind = "webhook"\nurl = "https://x/#y"', "url: has a part after #"),
        ('kind = "alertmanager"\nurl = "http://am.example:9093"\n' + SECRET, "url: would send the secret unencrypted"),
        ('kind = "alertmanager"\nurl = "https://am.example"\nuser = "me"', "user: has no password"),
        ('kind = "apprise"\nsecret_file = "secret"', "secret_file: is not an absolute path"),
        ('kind = "apprise"\ncredential = "../secret"', "credential: is not the name"),
        ('kind = "apprise"\ncredential = "a"\n' + SECRET, "credential: is given together with secret_file"),
        ('kind = "journald"\nname = "a b"', "name: is not a name"),
        ('kind = "journald"\ncauses = ["syn-flod"]', 'causes: "syn-flod" is not a cause; did you mean'),
        ('kind = "journald"\nlevels = ["bad"]', "levels"),
        ('kind = "journald"\nrising = "yes"', "rising: "),
        ('kind = "journald"\nwait = 5', 'wait: 5 has no unit; write "5s"'),
        ('kind = "journald"\nrepeat = "1s"', "repeat: is too often"),
        ('kind = "journald"\ntimeout = "1h"', "timeout: "),
        ('kind = "journald"\nper_minute = 601', "per_minute: out of range"),
        ('kind = "journald"\nlevel = []', "level: unknown key; did you mean"),
    ],
    ids=lambda text: ascii(text[:50]),
)
def test_what_a_receiver_cannot_be(text: str, says: str) -> None:
    line = refused(text)
    assert says in line
    assert "hunter22" not in line


def test_receivers_together() -> None:
    one, other = section('kind = "journald"'), section('kind = "journald"\nname = "other"')
    check_all([one, other])
    with pytest.raises(UsageError, match="two receivers are called journald"):
        check_all([one, other, one])
    with pytest.raises(UsageError, match="too many"):
        check_all([section(f'kind = "journald"\nname = "n{n}"') for n in range(MOST_RECEIVERS + 1)])


def test_a_secret_may_go_unencrypted_to_this_machine() -> None:
    assert section('kind = "alertmanager"\nurl = "http://127.0.0.1:9093"\n' + SECRET).secret_file
