"""The lab feeds the live screen, the page and the report: they show the cause of one scene, as docs/web.md says."""

from __future__ import annotations

import fcntl
import json
import re
import shlex
import signal
import struct
import subprocess
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from halfopen.service import client
from page import Browser
from peers import until
from run import command, environment
from run import halfopen as run
from screens import screen
from terminal import Terminal, terminal

pytestmark = [pytest.mark.root, pytest.mark.slow]

DOCS = Path(__file__).resolve().parents[2] / "docs/web.md"
CAUSE = "few-sources-flood"


def documented(start: str) -> list[str]:
    """The words of the command of docs/web.md that begins so, without sudo and comment."""
    section = DOCS.read_text("utf-8").split("## Try it", 1)[1].split("\n## ", 1)[0]
    [line] = [line for line in section.splitlines() if line.startswith(start)]
    return shlex.split(line, comments=True)[2:]


@contextmanager
def running(*words: str, **env: str) -> Iterator[subprocess.Popen[str]]:
    """A command until the end of the block, which ends it as Ctrl-C does."""
    process = subprocess.Popen(command(*words), env=environment(**env), stdout=subprocess.PIPE, text=True, cwd="/")
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def seen(t: Terminal, columns: int, rows: int) -> list[str]:
    """The screen of another size, once it is drawn whole."""
    fcntl.ioctl(t.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    t.text = ""
    t.process.send_signal(signal.SIGWINCH)
    until(lambda: screen(t.read(), columns, rows)[-1].endswith("q quit"))
    return screen(t.read(), columns, rows)


def test_a_scene_is_seen_on_the_screen_on_the_page_and_in_the_report(tmp_path: Path) -> None:
    control, places = str(tmp_path / "control.sock"), {"page.toml": str(tmp_path / "page.toml")}
    (tmp_path / "page.toml").write_text(f'[web]\nlisten = "{tmp_path}/page.sock"\n')
    with running(*documented("sudo halfopen lab")) as lab:
        assert lab.stdout is not None
        told = ""
        for line in lab.stdout:
            told += line
            if line.startswith("Look"):
                break
        assert CAUSE in told
        [path] = re.findall(r"--netns (\S+)", told)
        places |= {"/proc/4711/fd/3": path, "/tmp/lab-history/": f"{tmp_path}/history/"}
        watch = [places.get(word, word) for word in documented("sudo halfopen watch")]
        env = {"HALFOPEN_CONTROL": control, "HALFOPEN_STATE_DIR": str(tmp_path / "state")}
        with running(*watch, "--audit-log", str(tmp_path / "audit"), **env):
            with terminal("top", "--netns", path, columns=140) as t:
                until(lambda: CAUSE in "\n".join(screen(t.read(), 140, 40)))
                for columns, rows in ((80, 24), (140, 40)):
                    lines = seen(t, columns, rows)
                    assert lines[0].startswith("halfopen top")
                    assert lines[1].startswith(("WARNING", "CRITICAL"))
                    # First a look at its packets (nsenter … tcpdump), while these may be clients whose ACKs are lost.
                    assert any(line.startswith(("Next  halfopen ", "Next  nsenter ")) for line in lines), lines
                    assert [line.split()[0] for line in lines if "  STAGE" in line] == ["LISTENER"]
                    assert any(CAUSE in line for line in lines)
                t.answer("q")
                assert t.wait() == 0
            until(lambda: (client.ask(control, {"command": "incidents"}) or {}).get("incidents"))
            asked = subprocess.run(
                command("web", "--token"),
                env=environment(HALFOPEN_CONTROL=control),
                capture_output=True,
                text=True,
                check=True,
            )
            browser = Browser(str(tmp_path / "page.sock"))
            browser.session = asked.stdout.strip()
            until(lambda: CAUSE in json.dumps(browser.json("/state")))
            until(lambda: CAUSE in json.dumps(client.ask(control, {"command": "incidents"})))
        report = [places.get(word, word) for word in documented("sudo halfopen report")]
        done = run(*[str(tmp_path / "report.html") if word == "report.html" else word for word in report])
        assert done.returncode == 0, done.stderr
        assert "<svg" in (tmp_path / "report.html").read_text("utf-8")
        assert CAUSE in (tmp_path / "report.html").read_text("utf-8")
