#!/usr/bin/env python3
"""The service's page in a real browser: how long a flood in the lab takes to appear there, what axe-core finds, and
pictures of each view at 390 and 1,440 pixels, light and dark.

python scripts/page_check.py [DIR]    pictures and report.json go to DIR (default build/page)

Needs root, Chromium and node (apt-get install chromium nodejs npm). puppeteer-core and axe-core are fetched by npm into
DIR unless they are there. Ends with 1 when the flood is seen too late, or axe-core finds something serious.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from halfopen.lab import Lab  # noqa: E402
from halfopen.service import client  # noqa: E402

PORT: Final = 9765
NEEDED: Final = ("puppeteer-core", "axe-core")
SEEN_WITHIN_S: Final = 2.0
_PATIENCE_S: Final = 60.0
_CONFIG: Final = """
[alarm]
minimum = 20
calm = "3s"
[history]
path = "{place}/history/"
[[release]]
name = "old"
mode = "act"
older_than = "12s"
[web]
listen = "127.0.0.1:{port}"
"""


def main(place: Path) -> int:
    """Run the check; 0 when all is well."""
    place.mkdir(parents=True, exist_ok=True)
    if not all((place / "node_modules" / name).is_dir() for name in NEEDED):
        subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--prefix", str(place), *NEEDED], check=True)
    shutil.rmtree(place / "history", ignore_errors=True)
    (place / "halfopen.toml").write_text(_CONFIG.format(place=place, port=PORT))
    with Lab() as lab:
        web, api = lab.server.listen(8080, backlog=1024), lab.server.listen(8443, backlog=128)
        lab.server.listen(9000, backlog=16)
        with _Service(place, lab.server.netns_path) as service:
            driver = subprocess.Popen(
                ["node", str(Path(__file__).with_suffix(".mjs")), str(place), service.link(), _chromium()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )

            def do(what: str) -> None:
                if not service.do(what):
                    _do(lab, web, api, what)

            report = _talk(driver, do)
            report["face_bytes"] = service.face_bytes()
    (place / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    return _judge(report)


def _do(lab: Any, web: Any, api: Any, what: str) -> None:
    """What the driver asks for."""
    if what == "honest":
        lab.client.connect(api, 20)
    elif what == "flood":
        lab.client.half_open(web, 700)
    elif what == "more":
        lab.client.half_open(api, 100)


def _talk(driver: subprocess.Popen[str], do: Any) -> dict[str, Any]:
    """Do what each line of the driver asks for, and answer with the time; the report comes last. Raises: SystemExit."""
    assert driver.stdin is not None  # noqa: S101
    assert driver.stdout is not None  # noqa: S101
    for line in driver.stdout:
        message = json.loads(line)
        if "report" in message:
            driver.wait(timeout=_PATIENCE_S)
            return dict(message["report"])
        began = time.time()
        do(message["do"])
        driver.stdin.write(json.dumps({"at": began}) + "\n")
        driver.stdin.flush()
    raise SystemExit(f"the driver ended with {driver.wait(timeout=_PATIENCE_S)}, without a report")


class _Service:
    """halfopen's service of a namespace, with the page."""

    def __init__(self, place: Path, netns: str) -> None:
        self._control = str(place / "control.sock")
        env = {**os.environ, "HALFOPEN_CONTROL": self._control, "HALFOPEN_STATE_DIR": str(place / "state")}
        words = ["watch", "--as-service", "--config", str(place / "halfopen.toml"), "--netns", netns]
        words += ["--audit-log", str(place / "audit.jsonl")]
        env["PYTHONPATH"] = str(ROOT / "src")
        self._process = subprocess.Popen([sys.executable, "-m", "halfopen", *words], env=env)

    def __enter__(self) -> _Service:
        deadline = time.monotonic() + _PATIENCE_S
        while not (client.ask(self._control, {"command": "health"}) or {}).get("readings"):
            if time.monotonic() > deadline:
                raise SystemExit("the service did not begin")
            time.sleep(0.1)
        return self

    def link(self) -> str:
        """A link to the page."""
        answer = client.ask(self._control, {"command": "web"}) or {}
        return f"http://127.0.0.1:{PORT}/#link={answer['link']}"

    def do(self, what: str) -> bool:
        """Do what the driver asks of the service; whether that was it."""
        number = {"stop": signal.SIGSTOP, "continue": signal.SIGCONT}.get(what)
        if number is not None:
            self._process.send_signal(number)
        return number is not None

    def face_bytes(self) -> int:
        """The resident memory of the process that serves the page."""
        answer = client.ask(self._control, {"command": "health"}) or {}
        return int(answer["face"]["memory_bytes"])

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait(timeout=_PATIENCE_S)


def _chromium() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        raise SystemExit("needs Chromium: apt-get install chromium")
    return found


def _judge(report: dict[str, Any]) -> int:
    """Print what was found; 1 where something is wrong."""
    failed = False
    for seconds in report["seen_s"]:
        late = seconds > SEEN_WITHIN_S
        failed |= late
        print(f"flood to page: {seconds:.2f} s{' (too late)' * late}")
    for view, faults in report["axe"].items():
        for fault in faults:
            serious = fault["impact"] in ("serious", "critical")
            failed |= serious
            print(f"axe-core, {view}: {fault['impact']}: {fault['id']}: {fault['help']} ({', '.join(fault['nodes'])})")
    for line in report["errors"]:
        failed = True
        print(f"browser: {line}")
    print(f"the process that serves it: {report['face_bytes'] / 1e6:.0f} MB")
    print(f"axe-core looked at {len(report['axe'])} views; pictures: {', '.join(report['pictures'])}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build/page").resolve()))
