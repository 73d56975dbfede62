"""The sample configuration: it can be used as it is, shows every key, and shows the defaults."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from halfopen.core.config import WatchSettings, given, parse
from halfopen.core.sections.option import options
from halfopen.ops.watch import sinks
from run import told

SAMPLE = Path(__file__).resolve().parents[2] / "contrib" / "halfopen.toml"
# A default that the sample shows another value for, because the default is nothing that could be shown.
_SHOWN_OTHERWISE = {"max_cpu", "netns", "audit_log", "listener", "source"}


def uncommented() -> str:
    """The sample with every key that stands behind a # put in force."""
    return re.sub(r"^#(?=[a-z_]+ = |\[)", "", SAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)


def test_the_sample_changes_nothing_and_can_be_checked() -> None:
    assert list(given(parse(SAMPLE.read_text("utf-8"), str(SAMPLE), sinks.keys()), WatchSettings)) == []
    done = told("watch", "--check-config", "--config", str(SAMPLE))
    assert (done.returncode, done.stderr) == (0, "")
    assert "valid; it sets nothing" in done.stdout


def missing(kind: type, document: Any, path: str = "") -> list[str]:
    found = []
    for key, one in options(kind).items():
        if key not in document:
            found.append(f"{path}{key}")
        elif one.section is not None:
            # Of several sections each shows some: what one kind has is of no use with another.
            each = document[key] if one.several else [document[key]]
            inner = {name: value for shown in each for name, value in shown.items()}
            found += missing(one.section, inner, f"{path}{key}.")
    return found


def test_the_sample_shows_every_key_and_its_default() -> None:
    document = tomllib.loads(uncommented())
    assert missing(WatchSettings, document) == []
    parsed = parse(uncommented(), "sample", sinks.keys())
    for key, one in options(WatchSettings).items():
        if one.section is None and key not in _SHOWN_OTHERWISE:
            assert getattr(parsed, one.name) == one.default, key


def test_a_check_says_what_is_set_or_the_mistake_and_its_line(tmp_path: Path) -> None:
    file = tmp_path / "halfopen.toml"
    file.write_text('interval = "1m30s"\n[metrics]\nfile = "/tmp/x.prom"\n')
    done = told("watch", "--check-config", "--config", str(file))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"{file}: valid; it sets",
        '  interval = "1m30s"',
        "  [metrics]",
        '    file = "/tmp/x.prom"',
        "Every other key has its default.",
    ]
    file.write_text("\n\n[alarm]\nminimun = 3\n")
    done = told("watch", "--check-config", "--config", str(file))
    assert (done.returncode, done.stdout) == (2, "")
    assert f'{file}:4: alarm.minimun: unknown key; did you mean "minimum"?' in done.stderr
    assert len(done.stderr.splitlines()) == 1
    done = told("watch", "--check-config")
    assert done.returncode == 2
    assert "--config FILE" in done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[metrics]\nlisten = "nonsense"\n', ":2: metrics.listen: "),
        ('[metrics]\nlisten = "0.0.0.0:9764"\n', ":2: metrics.listen: is an address that other hosts can reach; write"),
        ('interval = "1s"\nmetrics_file = "/tmp/x.txt"\n', ":2: metrics_file: does not end in .prom; "),
        ('[history]\nkeep = "1h"\n', ':2: history.keep: "1h" is out of range; give 1d to 3650d'),
        (
            '[[notify]]\nkind = "webhook"\nurl = "https://a.example/"\nsecret_file = "SECRET"\n',
            ":4: notify[1].secret_file: SECRET could be read by others; chmod 600 SECRET",
        ),
    ],
)
def test_a_check_finds_what_a_start_would_refuse(text: str, said: str, tmp_path: Path) -> None:
    file, secret = tmp_path / "halfopen.toml", tmp_path / "secret"
    secret.write_text("whsec_eA==\n")
    secret.chmod(0o644)
    file.write_text(text.replace("SECRET", str(secret)))
    done = told("watch", "--check-config", "--config", str(file))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"halfopen: {file}{said.replace('SECRET', str(secret))}")
    assert len(done.stderr.splitlines()) == 1
    if "SECRET" in text:
        secret.chmod(0o600)
        assert told("watch", "--check-config", "--config", str(file)).returncode == 0


def test_a_file_that_is_not_there_is_told_with_what_to_do(tmp_path: Path) -> None:
    absent = tmp_path / "none.toml"
    for words in (("watch", "--check-config"), ("notify", "test")):
        done = told(*words, "--config", str(absent))
        assert done.returncode == 2
        assert done.stderr.startswith(f"halfopen: {absent}: there is no such file; --config names another file")
