#!/usr/bin/env python3
"""The pictures of README and docs (docs/pictures), made of the real program and a flood in a private network namespace.

build_pictures.py [DIR]     make them all, as root or where user namespaces are allowed; it takes about two minutes

Screens of a terminal are SVG. Pages are PNG, by Chromium (apt install chromium) where it is installed.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import io
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import unescape
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
DIRECTORY: Final = ROOT / "docs/pictures"
sys.path.insert(0, str(ROOT / "src"))

from rich.cells import cell_len  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.terminal_theme import MONOKAI  # noqa: E402
from rich.text import Text  # noqa: E402

from halfopen.cli.demo import until  # noqa: E402
from halfopen.core.errors import HalfopenError  # noqa: E402
from halfopen.lab import Lab, enter_user_namespace  # noqa: E402
from halfopen.service import client  # noqa: E402

if TYPE_CHECKING:
    from halfopen.lab import LabListener
    from halfopen.lab.host import LabHost

COLUMNS: Final = 100
ROWS: Final = 30
# No picture weighs more.
BYTES_MOST: Final = 150_000
LANGUAGES: Final = {"": "C.UTF-8", ".zh-CN": "zh_CN.UTF-8"}
CALM_S: Final = 12.0
FLOOD_S: Final = 40.0
# From the beginning of the flood until its screens are taken.
SEEN_S: Final = 16.0
RATE: Final = 150
HONEST_A_SECOND: Final = 15
BACKLOG: Final = 512
_BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")
# The page that a report is cut to, in pixels.
_PAGE: Final = (780, 1000)
# The screen that the page of the service is shown on.
_SCREEN: Final = (1100, 780)
_PORT: Final = 9765
_PAGE_S: Final = 6.0
_HEADLESS: Final = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")
_FONTS: Final = 'ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", "Noto Sans Mono CJK SC", monospace'
_PATIENCE_S: Final = 60.0


def main(words: Sequence[str]) -> int:
    """Make the pictures. Returns: the exit code."""
    directory = Path(words[0]) if words else DIRECTORY
    directory.mkdir(parents=True, exist_ok=True)
    enter_user_namespace()
    made = [_demo(directory)]
    with tempfile.TemporaryDirectory() as temporary, Lab() as lab:
        made += [*_during_a_flood(lab, Path(temporary), directory), *_reports(Path(temporary), directory)]
    for path in made:
        size = path.stat().st_size
        print(f"{path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}  {size / 1000:.0f} kB")
        if size > BYTES_MOST:
            print(f"{path.name} has more than {BYTES_MOST / 1000:.0f} kB", file=sys.stderr)
            return 1
    return 0


# --- the demo ---------------------------------------------------------------------------------------------------------

# The steps that a newcomer sees the point by; of the others a line says that they are left out.
_STEPS: Final = ("Meanwhile", "Why?", "The flood goes on", "Before and after")
_DEMO_S: Final = 180.0


def _demo(directory: Path) -> Path:
    """Some steps of `make demo`, as it ran here. Raises: HalfopenError when it did not end well."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    words = [sys.executable, "-m", "halfopen.cli.demo"]
    demo = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=slave, stderr=slave, env=_environment("C.UTF-8"))
    os.close(slave)
    written = bytearray()
    with contextlib.suppress(OSError):  # the other end is closed
        while select.select([master], [], [], _DEMO_S)[0]:
            written += os.read(master, 65536)
    os.close(master)
    if demo.wait(_PATIENCE_S):
        raise HalfopenError("pictures", "the demo did not end well: make demo shows why")
    steps = re.split(r"\n(?=\x1b\[1m# )", written.decode("utf-8", "replace").replace("\r\n", "\n"))
    lines = ["$ make demo"]
    for step in steps:
        plain = re.sub(r"\x1b\[[0-9;]*m", "", step)
        if plain.startswith(tuple(f"# {name}" for name in _STEPS)):
            lines += ["", *(line for line in step.strip("\n").split("\n") if "  watch | " not in line)]
        elif lines[-1] != "…":
            lines += ["", "…"]
    return _svg(directory / "demo.svg", lines)


# --- the story --------------------------------------------------------------------------------------------------------


def _during_a_flood(lab: Lab, temporary: Path, directory: Path) -> list[Path]:
    """Clients come, then a flood, which a service keeps in its history and releases; pictures are made in its midst."""
    web = lab.server.listen(8080, backlog=BACKLOG)
    with _serving(lab.server, temporary), _clients(lab, web), contextlib.ExitStack() as screens:
        tops = {f"top{suffix}.svg": _Screen(lab.server, ("top",), lang) for suffix, lang in LANGUAGES.items()}
        for one in tops.values():
            screens.callback(one.close)
            one.until_it_shows(":8080")
        time.sleep(CALM_S)
        flood = lab.client.flood(web, RATE, FLOOD_S)
        time.sleep(SEEN_S)
        for one in tops.values():
            # The id of the cause, which is the same in every language.
            one.until_it_shows("-flood")
        made = [_svg(directory / name, one.frame()) for name, one in tops.items()]
        made += _service_page(lab.server, temporary, directory)
        flood.wait(_PATIENCE_S)
        until("the end of the incident", lambda: not _asked(temporary, "incidents").get("incidents"))
    return made


@contextmanager
def _serving(server: LabHost, temporary: Path) -> Iterator[None]:
    """A service with history and page."""
    config = f'interval = "1s"\n[history]\npath = "{temporary}/history/"\n[web]\nlisten = "127.0.0.1:{_PORT}"\n'
    (temporary / "halfopen.toml").write_text(config, encoding="utf-8")
    words = ("watch", "--as-service", "--config", f"{temporary}/halfopen.toml", "--release-older-than", "6s")
    service = server.spawn(
        _command(*words, "--audit-log", f"{temporary}/audit.jsonl"),
        stdout=subprocess.DEVNULL,
        env={
            **_environment("C.UTF-8"),
            "HALFOPEN_CONTROL": f"{temporary}/control.sock",
            "HALFOPEN_STATE_DIR": str(temporary),
        },
    )
    try:
        until("the service", lambda: bool(_asked(temporary, "health").get("readings")))
        yield
    finally:
        service.send_signal(signal.SIGINT)
        service.wait(_PATIENCE_S)


def _asked(temporary: Path, command: str) -> dict[str, Any]:
    return client.ask(f"{temporary}/control.sock", {"command": command}) or {}


@contextmanager
def _clients(lab: Lab, web: LabListener) -> Iterator[None]:
    """Clients that connect, one after another."""
    over = threading.Event()

    def connect() -> None:
        while not over.wait(1.0):
            try:
                lab.client.connect(web, HONEST_A_SECOND, timeout=1.0).close()
            except HalfopenError:
                continue

    thread = threading.Thread(target=connect)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _command(*words: str) -> list[str]:
    return [sys.executable, "-m", "halfopen", *words]


def _environment(language: str) -> Mapping[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("LC_ALL", "LANGUAGE", "NO_COLOR")}
    source = {"PYTHONPATH": str(ROOT / "src"), "PYTHONUTF8": "1"}
    return {**kept, **source, "LANG": language, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS)}


# --- screens of a terminal --------------------------------------------------------------------------------------------


class _Screen:
    """A command on a terminal of its own, in the namespace of a host, and what that shows."""

    def __init__(self, host: LabHost, words: Sequence[str], language: str) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self._process = host.spawn(
            _command(*words), stdin=slave, stdout=slave, stderr=slave, env=_environment(language)
        )
        os.close(slave)
        self._written = bytearray()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while True:
            try:
                self._written += os.read(self._master, 65536)
            except OSError:  # the other end is closed
                return

    def frame(self) -> list[str]:
        """The rows of the screen of `top` now, with their colours."""
        return _frame(self._written.decode("utf-8", "replace"))

    def until_it_shows(self, words: str) -> None:
        """Wait until a row has these words. Raises: HalfopenError when none has in time."""
        until(words, lambda: any(words in line for line in self.frame()))

    def close(self) -> None:
        """End `top`."""
        os.write(self._master, b"q")
        self._process.wait(_PATIENCE_S)
        self._thread.join(_PATIENCE_S)
        os.close(self._master)


_ROW: Final = re.compile(r"\x1b\[(\d+);1H")


def _frame(written: str) -> list[str]:
    """The rows of the screen of `top`, which writes each row that changed as a whole."""
    rows = [""] * ROWS
    _, *pieces = _ROW.split(written)
    for number, text in zip(pieces[::2], pieces[1::2], strict=True):
        rows[int(number) - 1] = re.sub(r"\x1b\[(?:\?\d+[hl]|[KJ]|\d+J)", "", text).rstrip("\r\n")
    return rows


def _svg(path: Path, lines: Sequence[str]) -> Path:
    """Draw lines with their colours, by rich; without the font that it would have fetched from elsewhere."""
    from rich._export_format import CONSOLE_SVG_FORMAT

    out = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="standard")
    for line in lines:
        out.print(Text.from_ansi(line), no_wrap=True, overflow="crop", crop=True)
    plain = re.sub(r"@font-face \{\{.*?\}\}\n", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    plain = plain.replace("font-family: Fira Code, monospace", f"font-family: {_FONTS}")
    svg = out.export_svg(title="halfopen", theme=MONOKAI, code_format=plain, unique_id=path.name.partition(".")[0])
    svg = re.sub(r'textLength="([\d.]+)"([^>]*)>([^<]*)', _measured, svg)
    path.write_text(re.sub(r"[ \t]+$", "", svg, flags=re.MULTILINE), encoding="utf-8")
    return path


def _measured(found: re.Match[str]) -> str:
    """The text with its width in cells: rich takes each character for one."""
    length, others, text = float(found[1]), found[2], unescape(found[3])
    wide = length * cell_len(text) / len(text) if text else length
    return f'textLength="{wide:.1f}"{others}>{found[3]}'


# --- pages ------------------------------------------------------------------------------------------------------------


def _browser() -> str | None:
    return next(filter(None, map(shutil.which, _BROWSERS)), None)


def _service_page(server: LabHost, temporary: Path, directory: Path) -> Iterator[Path]:
    """The page of the service as a browser in the same namespace shows it after some seconds."""
    browser, link = _browser(), _asked(temporary, "web").get("link")
    if browser is None or link is None:
        return
    size = f"--window-size={_SCREEN[0]},{_SCREEN[1]}"
    words = [browser, *_HEADLESS, size, f"--user-data-dir={temporary}/page", "--remote-debugging-pipe"]
    asks, answers = os.pipe(), os.pipe()
    # Chromium reads what it is asked from descriptor 3, and answers at 4.
    shell = 'exec "$@" 3<&"$ASKS" 4>&"$ANSWERS"'
    for fd in (asks[0], answers[1]):
        os.set_inheritable(fd, True)
    env = {**os.environ, "ASKS": str(asks[0]), "ANSWERS": str(answers[1])}
    chromium = server.start(
        ["exec", "bash", "-c", shell, "bash", *words],
        env=env, pass_fds=(asks[0], answers[1]), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(asks[0])
    os.close(answers[1])
    try:
        with open(asks[1], "wb", buffering=0) as out, open(answers[0], "rb", buffering=0) as back:
            path = directory / "page.png"
            path.write_bytes(_seen_by(out, back, f"http://127.0.0.1:{_PORT}/#link={link}"))
            yield path
    finally:
        server.end(chromium)


def _seen_by(out: IO[bytes], back: IO[bytes], address: str) -> bytes:
    """What a browser shows of an address once it has been open for some seconds: a PNG."""
    target = _told(out, back, "Target.createTarget", url="about:blank")["targetId"]
    session = _told(out, back, "Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    _told(out, back, "Page.navigate", session, url=address)
    time.sleep(_PAGE_S)
    return base64.b64decode(_told(out, back, "Page.captureScreenshot", session)["data"])


def _told(out: IO[bytes], back: IO[bytes], method: str, session: str = "", **params: object) -> dict[str, Any]:
    """The answer of Chromium to one request (Chrome DevTools Protocol: JSON that ends with a zero byte)."""
    asked = {"id": 1, "method": method, "params": params, **({"sessionId": session} if session else {})}
    out.write(json.dumps(asked).encode() + b"\0")
    data = b""
    while select.select([back], [], [], _PATIENCE_S)[0]:
        data += os.read(back.fileno(), 1 << 20)
        *whole, data = data.split(b"\0")
        for answer in map(json.loads, whole):
            if answer.get("id") == 1:
                return dict(answer.get("result", {}))
    raise HalfopenError("pictures", f"Chromium did not answer to {method}")


def _reports(temporary: Path, directory: Path) -> Iterator[Path]:
    """The report of the incident as a browser shows it."""
    browser = _browser()
    if browser is None:
        print("No Chromium is installed: the pictures of pages are left as they are (apt install chromium)")
        return
    history = f"{temporary}/history/"
    [record] = (Path(history) / "incidents").glob("*.flight")
    for suffix, language in (("", "en"), (".zh-CN", "zh")):
        page = temporary / f"report{suffix}.html"
        words = ("report", "--incident", record.stem, "--file", history, "-o", str(page), "--language", language)
        subprocess.run(_command(*words), check=True, env=_environment("C.UTF-8"), stdout=subprocess.DEVNULL)
        yield _png(browser, page, directory / f"report{suffix}.png", temporary)


def _png(browser: str, page: Path, path: Path, temporary: Path) -> Path:
    made = temporary / path.name
    words = (*_HEADLESS, f"--user-data-dir={temporary}/browser", f"--window-size={_PAGE[0]},{_PAGE[1]}")
    subprocess.run(
        [browser, *words, f"--screenshot={made}", page.as_uri()],
        check=True, capture_output=True, timeout=_PATIENCE_S,
    )  # fmt: skip
    shutil.copyfile(made, path)
    return path


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except HalfopenError as e:
        sys.exit(e.line())
