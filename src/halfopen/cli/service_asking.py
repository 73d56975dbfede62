"""Asking the service, for commands that nothing else can answer."""

from __future__ import annotations

from typing import Any


def ask(request: dict[str, Any]) -> dict[str, Any]:
    """The service's answer. Raises: HalfopenError when there is none, or it refuses."""
    from halfopen.core.errors import EXIT_FAILED, EXIT_REFUSED, HalfopenError
    from halfopen.service import client
    from halfopen.service.mode import control_path

    path = control_path()
    answer = client.ask(path, request)
    if answer is None:
        raise HalfopenError("service", client.why_not(path), exit_code=EXIT_REFUSED)
    if not answer.get("ok"):
        error = answer.get("error") or {}
        code = error.get("exit_code", EXIT_FAILED)
        raise HalfopenError(
            str(error.get("id")), str(error.get("message")), exit_code=code, hint=str(error.get("hint"))
        )
    return answer
