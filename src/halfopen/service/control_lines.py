"""The answers of the control socket, as lines of JSON."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from halfopen.core.errors import HalfopenError
from halfopen.service.answers import Answered
from halfopen.service.requests import SCHEMA, AskedToShow


def done(command: str, facts: Mapping[str, Any]) -> bytes:
    """The answer to a request that was carried out."""
    return _line({"schema": SCHEMA, "ok": True, "command": command, "pid": os.getpid(), **facts})


def shown(request: AskedToShow, made: Answered) -> bytes:
    """The answer with the output of a command."""
    facts = {
        "exit_code": made.exit_code,
        "output": made.output,
        "errors": made.errors,
        "age_s": round(time.monotonic() - made.at, 3),
    }
    return done(str(request.__struct_config__.tag), facts)


def failed(error: HalfopenError) -> bytes:
    """The answer to a request that failed."""
    facts = {"id": error.id, "message": error.message, "hint": error.hint, "exit_code": error.exit_code}
    return _line({"schema": SCHEMA, "ok": False, "pid": os.getpid(), "error": facts})


def _line(document: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(document) + b"\n"
