#!/usr/bin/env python3
"""The pictures of README and docs (docs/pictures), made of the real program and a flood in a private network namespace.

build_pictures.py [DIR]     make them all, as root or where user namespaces are allowed; it takes about a minute

Screens of a terminal are SVG. Pages are PNG, by Chromium (apt install chromium) where it is installed.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import pty
import re
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
from typing import TYPE_CHECKING, Final

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
SEEN_S: Final = 22.0
RATE: Final = 150
HONEST_A_SECOND: Final = 15
BACKLOG: Final = 512
_BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")
# The page that a report is cut to, in pixels.
_PAGE: Final = (820, 1180)
_FONTS: Final = 'ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", "Noto Sans Mono CJK SC", monospace'
_PATIENCE_S: Final = 60.0


def main(words: Sequence[str]) -> int:
    """Make the pictures. Returns: the exit code."""
    directory = Path(words[0]) if words else DIRECTORY
    directory.mkdir(parents=True, exist_ok=True)
    enter_user_namespace()
    with tempfile.TemporaryDirectory() as temporary, Lab() as lab:
        made = [*_during_a_flood(lab, Path(temporary), directory), *_reports(Path(temporary), directory)]
    for path in made:
        size = path.stat().st_size
        print(f"{path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}  {size / 1000:.0f} kB")
        if size > BYTES_MOST:
            print(f"{path.name} has more than {BYTES_MOST / 1000:.0f} kB", file=sys.stderr)
            return 1
    return 0


# --- the story --------------------------------------------------------------------------------------------------------


def _during_a_flood(lab: Lab, temporary: Path, directory: Path) -> list[Path]:
    """Clients come, then a flood, which a watch keeps in a history and releases; screens are taken in its midst."""
    web = lab.server.listen(8080, backlog=BACKLOG)
    with _watching(lab.server, temporary), _clients(lab, web):
        time.sleep(CALM_S)
        flood = lab.client.flood(web, RATE, FLOOD_S)
        with contextlib.ExitStack() as open_ones:
            tops = {f"top{suffix}.svg": _Screen(lab.server, ("top",), lang) for suffix, lang in LANGUAGES.items()}
            for one in tops.values():
                open_ones.callback(one.close)
            time.sleep(SEEN_S)
            shown = {name: one.frame() for name, one in tops.items()}
            once = {f"status{suffix}.svg": _Screen(lab.server, ("status",), lang) for suffix, lang in LANGUAGES.items()}
            shown |= {name: ["$ halfopen status", *one.printed()] for name, one in once.items()}
        flood.wait(_PATIENCE_S)
        until("the end of the incident", lambda: _ended(temporary))
    return [_svg(directory / name, lines) for name, lines in shown.items()]


@contextmanager
def _watching(server: LabHost, temporary: Path) -> Iterator[None]:
    words = ("watch", "--history", f"{temporary}/history/", "--release-older-than", "5s", "--json")
    with (temporary / "watch.jsonl").open("wb") as out:
        command = _command(*words, "--audit-log", f"{temporary}/audit.jsonl")
        watch = server.spawn(command, stdout=out, env=_environment("C.UTF-8"))
        try:
            yield
        finally:
            watch.send_signal(signal.SIGINT)
            watch.wait(_PATIENCE_S)


def _ended(temporary: Path) -> bool:
    return '"event":"clear"' in (temporary / "watch.jsonl").read_text(encoding="utf-8").replace(" ", "")


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

    def printed(self) -> list[str]:
        """The lines that a command printed until it ended."""
        self._end()
        return self._written.decode("utf-8", "replace").replace("\r", "").splitlines()

    def close(self) -> None:
        """End `top`."""
        os.write(self._master, b"q")
        self._end()

    def _end(self) -> None:
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


def _reports(temporary: Path, directory: Path) -> Iterator[Path]:
    """The report of the incident as a browser shows it."""
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
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
    size = ",".join(map(str, _PAGE))
    words = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={temporary}/browser")
    made = temporary / path.name
    subprocess.run(
        [browser, *words, f"--window-size={size}", f"--screenshot={made}", page.as_uri()],
        check=True, capture_output=True, timeout=_PATIENCE_S,
    )  # fmt: skip
    shutil.copyfile(made, path)
    return path


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except HalfopenError as e:
        sys.exit(e.line())
