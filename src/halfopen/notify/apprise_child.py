"""The process that imports Apprise and sends one message: reads an order from standard input, writes the outcome."""

from __future__ import annotations

import importlib
import json
import logging
import sys
from typing import Any


class _Words(logging.Handler):
    """Keeps the last error message: Apprise only logs the reason of a failure."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.last = record.getMessage()


def send(order: dict[str, str]) -> dict[str, Any]:
    """Send {"url", "title", "body", "kind"}. Returns {"sent", "why", "version"}."""
    apprise = importlib.import_module("apprise")
    words = _Words()
    logger = logging.getLogger("apprise")
    logger.handlers, logger.propagate = [words], False
    logger.setLevel(logging.WARNING)
    # No plugins from files, no storage on the disk, no thread pool for a single service.
    asset = apprise.AppriseAsset(
        app_id="halfopen", app_desc="half-open connections", async_mode=False, secure_logging=True, plugin_paths=[]
    )
    one = apprise.Apprise(asset=asset)
    if not one.add(order["url"]):
        return {"sent": False, "why": words.last or "not an Apprise URL", "version": apprise.__version__}
    sent = one.notify(title=order["title"], body=order["body"], notify_type=order["kind"], body_format="text")
    return {"sent": bool(sent), "why": words.last, "version": apprise.__version__}


def main() -> None:
    """Carry out the order on standard input."""
    # Keep a library's prints out of the answer on standard output.
    answer, sys.stdout = sys.stdout, sys.stderr
    order = json.loads(sys.stdin.read())
    try:
        outcome = send(order)
    except Exception as e:
        outcome = {"sent": False, "why": f"{type(e).__name__}: {e}", "version": ""}
    answer.write(json.dumps(outcome) + "\n")
    answer.flush()


if __name__ == "__main__":
    main()
