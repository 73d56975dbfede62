"""Every error halfopen raises on purpose: what failed, on what, what to do, and the exit code it ends in."""

from __future__ import annotations

import errno as _errno
from typing import Final

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_REFUSED: Final = 3
EXIT_INTERRUPTED: Final = 130

DAMAGED: Final = (ValueError, TypeError, KeyError, OverflowError, RecursionError)
"""What decoding raises, and building a value of what was decoded, where data is damaged or made up. msgspec and json
document ValueErrors alone, but nesting without end is a RecursionError and a number may be infinite.
"""


class HalfopenError(Exception):
    """An error with one clear line for a person and a stable `id` for a program.

    `message` says what failed and on what, `hint` what to do about it (may be empty), `exit_code` is the
    process's exit status when nothing catches it.
    """

    def __init__(self, id: str, message: str, *, exit_code: int = EXIT_FAILED, hint: str = "") -> None:
        super().__init__(message)
        self.id = id
        self.message = message
        self.exit_code = exit_code
        self.hint = hint

    def line(self) -> str:
        """One line: the message, then the hint."""
        return f"{self.message}; {self.hint}" if self.hint else self.message


class UsageError(HalfopenError):
    """The words of a command or of an API call are off. Exit code 2."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__("usage", message, exit_code=EXIT_USAGE, hint=hint)


class ConfigError(HalfopenError):
    """A configuration file cannot be used as it is: `file:line: key: message`. Exit code 2."""

    def __init__(self, file: str, key: str, message: str, *, hint: str = "", line: int | None = None) -> None:
        where = file if line is None else f"{file}:{line}"
        where = f"{where}: {key}" if key else where
        super().__init__("config", f"{where}: {message}", exit_code=EXIT_USAGE, hint=hint)
        self.file = file
        self.key = key


class Unfit(UsageError):
    """Options of a section of the configuration that do not go together: which `key`, and why. Exit code 2."""

    def __init__(self, key: str, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.key = key


class Changed(HalfopenError):
    """A value is not what it was when the plan was made. Exit code 1; nothing was changed."""

    def __init__(self, message: str) -> None:
        super().__init__("changed", f"{message}; nothing was changed", hint="run the command again: it plans anew")


class Unsupported(HalfopenError):
    """This kernel, build or machine lacks `feature`. Exit code 3."""

    def __init__(self, feature: str, message: str, *, hint: str = "") -> None:
        super().__init__("unsupported", message, exit_code=EXIT_REFUSED, hint=hint)
        self.feature = feature


class NotPermitted(HalfopenError):
    """The kernel refused for lack of a privilege; the hint is the command that grants it. Exit code 3."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__("not-permitted", message, exit_code=EXIT_REFUSED, hint=hint)


class UnknownTarget(HalfopenError):
    """A namespace (or what else was named) does not exist, or no longer. Exit code 3."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__("unknown-target", message, exit_code=EXIT_REFUSED, hint=hint)


TOO_LITTLE: Final = {
    _errno.EMFILE: "raise the limit (ulimit -n)",
    _errno.ENFILE: "raise the limit (sysctl fs.file-max)",
    _errno.ENOMEM: "free some memory",
    _errno.ENOBUFS: "free some memory",
}
"""What to do about errors that tell nothing of the kernel, only that there was too little of something."""


class KernelError(HalfopenError):
    """The kernel answered `op` with an errno nothing here knows how to soften. Exit code 1."""

    def __init__(self, op: str, errno: int, context: str = "", *, hint: str = "") -> None:
        name = _errno.errorcode.get(errno, str(errno))
        said = f"{op} failed: {name}{f' ({context})' if context else ''}"
        super().__init__("kernel", said, hint=hint or TOO_LITTLE.get(errno, ""))
        self.op = op
        self.errno = errno


class HistoryError(HalfopenError):
    """The history file cannot be used as it is. passing: a full or busy disk may be over by itself. Exit code 1."""

    def __init__(self, message: str, *, hint: str = "", passing: bool = False) -> None:
        super().__init__("history", message, hint=hint)
        self.passing = passing


class Refused(HalfopenError):
    """What is written to does not take this value; what was there is still there. Exit code 1."""

    def __init__(self, message: str) -> None:
        super().__init__("refused", message)


class JournalError(HalfopenError):
    """The journal of changed settings cannot be used as it is. Exit code 1."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__("journal", message, hint=hint)


class SysctlDError(HalfopenError):
    """Our file of sysctl.d is not as we write it, or cannot be written; it was left as it is. Exit code 1."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__("sysctl.d", message, hint=hint)


class CannotHold(HalfopenError):
    """No door can be held here, for the reason `why`; nothing has been released yet. Exit code: that of `why`."""

    def __init__(self, why: HalfopenError) -> None:
        super().__init__("cannot-hold", why.message, exit_code=why.exit_code, hint=why.hint)


class CannotGuard(HalfopenError):
    """The guard of `protect` would harm, or not help, what it was asked to guard; nothing was changed. Exit code 3."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__("cannot-guard", message, exit_code=EXIT_REFUSED, hint=hint)


class MustNotBlock(HalfopenError):
    """A source that must not be blocked; nothing was changed. Exit code 3."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__("must-not-block", message, exit_code=EXIT_REFUSED, hint=hint)


class WireError(HalfopenError):
    """Bytes that are not what the kernel's format allows; `offset` is where. Exit code 1."""

    def __init__(self, message: str, offset: int = 0) -> None:
        super().__init__(
            "wire", f"{message} at byte {offset}", hint="this is a bug in halfopen or in the kernel's reply"
        )
        self.offset = offset


class LabError(HalfopenError):
    """The lab could not make, or no longer has, what was asked of it. Exit code 1."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__("lab", message, hint=hint)


class NoReadings(HalfopenError):
    """The service does not hand its readings to this process. Exit code 1.

    expected: it does not run, or does not watch that place: nothing to speak of.
    """

    def __init__(self, message: str, hint: str = "", *, expected: bool = False) -> None:
        super().__init__("service", message, hint=hint)
        self.expected = expected


class Undelivered(HalfopenError):
    """A receiver did not take a message. Exit code 1.

    retry_after_s: not before then, if the receiver said so. hopeless: the same message will be refused again.
    """

    def __init__(
        self, message: str, *, hint: str = "", retry_after_s: float | None = None, hopeless: bool = False
    ) -> None:
        super().__init__("undelivered", message, hint=hint)
        self.retry_after_s = retry_after_s
        self.hopeless = hopeless


def privilege(euid: int, capability: str) -> str:
    """What to do where the kernel refused for lack of a capability; root cannot become root."""
    if euid != 0:
        return f"run as root (it needs {capability})"
    return f"root lacks {capability} here: run it on the host, or let the container have it"


def words(error: BaseException) -> str:
    """Any exception as one line."""
    if isinstance(error, HalfopenError):
        return error.line()
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
