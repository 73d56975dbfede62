"""The section [web]: what is refused, and where."""

from __future__ import annotations

import pytest

from halfopen.core.config import parse
from halfopen.core.errors import ConfigError


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as refused:
        parse(f"[web]\n{text}", "f.toml")
    return refused.value.line()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('listen = "0.0.0.0:9765"', "other hosts can reach"),
        ('listen = "192.0.2.1:9765"', "ssh -L"),
        ('listen = ":9765"', "names no address"),
        ('listen = "localhost:9765"', "is not an address"),
        ('listen = "run/web.sock"', "not an absolute path"),
        ('listen = "/run/web.sock"\nlisten_anywhere = true', "has no effect with a Unix socket"),
        ('listen = "0.0.0.0:9765"\nlisten_anywhere = true', "name.in.the.browser"),
        ("listen_anywhere = true", "lacks listen"),
        ('listen = "127.0.0.1:9765"\nhosts = ["Panel:80"]', "not a host name"),
        ('listen = "127.0.0.1:9765"\nsession = "1s"', "out of range"),
        ('listen = "127.0.0.1:9765"\ntoken = "x"', "unknown key"),
    ],
)
def test_what_is_refused_names_the_line(text: str, said: str) -> None:
    line = refusal(text)
    assert said in line
    assert line.startswith("f.toml")


def test_what_is_allowed() -> None:
    for listen in ("127.0.0.1:9765", "[::1]:9765", "/run/halfopen/web.sock"):
        assert parse(f'[web]\nlisten = "{listen}"', "f.toml").web.listen == listen
    settings = parse(
        '[web]\nlisten = "0.0.0.0:80"\nlisten_anywhere = true\nhosts = ["panel.example.org"]', "f.toml"
    ).web
    assert settings.listen_anywhere
    assert settings.session_s == 43200.0
