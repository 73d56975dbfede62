"""The sections [[notify]]: one receiver of notices each; and the registry of the kinds of receivers.

A kind stands here once: its keys, how often it is told, and the class that `halfopen.notify.kinds` makes of it. What
the configuration accepts, its errors and its documents follow from the entry.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from halfopen.core.errors import Unfit, UsageError
from halfopen.core.sections.option import needed, option
from halfopen.core.sections.words import TEXT, Word, duration, nearest, one_of, quoted, whole
from halfopen.core.units import printable

# Nobody reads more.
_PEOPLE_PER_MINUTE: Final = 12
_PER_MINUTE: Final = 60
_SECRET: Final = ("secret_file", "credential")


@dataclass(frozen=True, slots=True)
class ReceiverKind:
    """A kind of receiver.

    made_by: `file.Class` below `halfopen.notify`; the class takes the settings and is a `Receiver`. doc: for the table
    in docs/notify.md, what a message becomes. keys: of the keys that only some kinds have, those that it has. needs: of
    these keys it needs at least one. lacks, hint: what is said where it has none of them. repeat_s: how often a message
    is repeated during an incident, unless the section says so; 0: never. per_minute: the most messages a minute, unless
    the section says so. linger_s: how long the end of an incident is repeated.
    """

    made_by: str
    doc: str
    keys: tuple[str, ...]
    needs: tuple[str, ...] = ()
    lacks: str = ""
    hint: str = ""
    repeat_s: float = 0.0
    per_minute: int = _PER_MINUTE
    linger_s: float = 0.0


KINDS: Final[Mapping[str, ReceiverKind]] = {
    "alertmanager": ReceiverKind(
        "alertmanager.Alertmanager",
        "an alert of an [Alertmanager](#alertmanager)",
        ("url", "user", "ca_file", *_SECRET),
        needs=("url",),
        lacks="lacks url",
        hint='add url = "http://127.0.0.1:9093"',
        repeat_s=60.0,
        linger_s=300.0,  # one that was away meanwhile learns of the end
    ),
    "webhook": ReceiverKind(
        "webhook.Webhook",
        "a signed POST request to a [webhook](#webhook)",
        ("url", "ca_file", *_SECRET),
        needs=("url", *_SECRET),
        lacks="lacks url",
        hint="add url, or secret_file with the URL where the URL itself is secret",
    ),
    "apprise": ReceiverKind(
        "by_apprise.Apprise",
        "a message in a [chat, or a mail](#chat-and-mail), sent by Apprise",
        _SECRET,
        needs=_SECRET,
        lacks="has no URL",
        hint="add secret_file or credential with the Apprise URL",
        repeat_s=4 * 3600.0,
        per_minute=_PEOPLE_PER_MINUTE,
    ),
    "journald": ReceiverKind(
        "local_log.SystemdJournal", "an entry of [systemd's journal](#journal-and-syslog), with fields", ("path",)
    ),
    "syslog": ReceiverKind("local_log.SyslogSocket", "a line of [syslog](#journal-and-syslog)", ("path",)),
    "command": ReceiverKind(
        "hook.Hook",
        "a run of [your command](#a-command), with the notice as JSON",
        ("command",),
        needs=("command",),
        lacks="lacks command",
        hint='add command = ["/path/to/program", "argument"]',
    ),
}
_SPECIAL: Final = tuple(dict.fromkeys(key for kind in KINDS.values() for key in kind.keys))
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_CREDENTIAL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,127}")
# A repetition every few seconds is a mistake.
_REPEAT_LEAST_S: Final = 10.0
MOST_RECEIVERS: Final = 32


HIDDEN: Final = "***"
"""Stands in the place of a secret."""


def url_shown(url: str) -> str:
    """A URL as it may be shown: the scheme, the host and the port; paths of webhooks hold tokens."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return HIDDEN
    host = f"[{host}]" if ":" in host else host
    shown = f"{parts.scheme}://{host}{'' if port is None else f':{port}'}"
    return printable(shown + (f"/{HIDDEN}" if parts.path.strip("/") or parts.query else ""))


def _read_url(raw: Any) -> str:
    if not isinstance(raw, str):
        raise UsageError("is not a text", hint="write it in quotes")
    return raw


URL: Final = Word(
    "a URL, shown without its path", _read_url, lambda url: quoted(url_shown(url)) if url else TEXT.write(url)
)


@dataclass(frozen=True, slots=True)
class NotifySettings:
    """A receiver of incidents ([notify](notify.md)): an Alertmanager, a webhook, a chat, mail, a log, a command."""

    kind: Annotated[str, one_of(KINDS)] = needed("the kind of receiver")
    name: str = option("", "its name in messages and for `halfopen notify test` (default: the kind)")
    url: Annotated[str, URL] = option(
        "", "of an Alertmanager (without `/api/v2/alerts`) or a webhook; no password or token in it"
    )
    command: tuple[str, ...] = option((), "the command and its arguments, run without a shell")
    path: str = option("", "the socket of the log, if it is not the usual one")
    user: str = option(
        "", "the user for basic authentication, with the secret as password; without it the secret is a bearer token"
    )
    secret_file: str = option("", "the file with the secret, readable only by its owner (0600)")
    credential: str = option("", "the systemd credential with the secret (`LoadCredential=`), instead of a file")
    ca_file: str = option("", "certificates of trusted authorities, in PEM (default: those of the system)")
    causes: tuple[str, ...] = option((), "only incidents with these causes ([verdicts](verdicts.md)); all if empty")
    levels: tuple[Literal["warning", "critical"], ...] = option((), "only incidents of these levels; all if empty")
    rising: bool = option(False, "also send the first sign of an incident")
    wait_s: Annotated[float, duration(0, 600)] = option(
        1.0, "what happens to an incident within this time goes into one message"
    )
    repeat_s: Annotated[float, duration(0, 7 * 86400)] = option(
        0.0, "how often a message is repeated during an incident; `0s`: the default of its kind"
    )
    timeout_s: Annotated[float, duration(1, 120)] = option(10.0, "how long one attempt to deliver may take")
    per_minute: Annotated[int, whole(0, 600)] = option(
        0,
        "at most this many messages a minute; further ones wait, and those of one incident become one; `0`: the "
        "default of its kind",
    )

    @property
    def called(self) -> str:
        """Its name."""
        return self.name or self.kind

    def repeat(self) -> float:
        """The seconds between repetitions; 0: there are none."""
        return self.repeat_s or KINDS[self.kind].repeat_s

    def rate(self) -> int:
        """The messages a minute."""
        return self.per_minute or KINDS[self.kind].per_minute

    def check(self) -> None:
        """See that the options go together. Raises: Unfit."""
        self._keys()
        if self.name and not _NAME.fullmatch(self.name):
            raise Unfit("name", "is not a name", hint="letters, digits and . _ -, at most 63")
        if self.secret_file and self.credential:
            raise Unfit("credential", "is given together with secret_file", hint="keep one of them")
        if self.secret_file and not self.secret_file.startswith("/"):
            raise Unfit("secret_file", "is not an absolute path", hint='as in "/etc/halfopen/secrets/chat"')
        if self.credential and not _CREDENTIAL.fullmatch(self.credential):
            raise Unfit(
                "credential",
                "is not the name of a credential",
                hint="give its name, not a path: LoadCredential=NAME:PATH",
            )
        if self.url:
            _check_url(self.url, bool(self.secret_file or self.credential) and self.kind == "alertmanager")
        if self.command and not self.command[0].startswith("/"):
            raise Unfit("command", f"{self.command[0]!r} is not an absolute path")
        if self.user and not (self.secret_file or self.credential):
            raise Unfit("user", "has no password", hint="add secret_file or credential")
        if self.repeat_s and self.repeat_s < _REPEAT_LEAST_S:
            raise Unfit("repeat", "is too often", hint=f"give {_REPEAT_LEAST_S:g}s or more")
        if self.causes:
            _check_causes(self.causes)

    def _keys(self) -> None:
        kind = KINDS[self.kind]
        for key in _SPECIAL:
            if getattr(self, key) and key not in kind.keys:
                raise Unfit(key, f"has no effect with kind {self.kind}", hint=f"that has {', '.join(kind.keys)}")
        if kind.needs and not any(getattr(self, key) for key in kind.needs):
            raise Unfit("", kind.lacks, hint=kind.hint)


def _check_causes(causes: Iterable[str]) -> None:
    # Here, because the process that delivers has these settings too, and no use for the rules and numpy.
    from halfopen.core.findings import rules as _rules  # noqa: F401  (fills the registry)
    from halfopen.core.findings.registry import RULES

    for cause in causes:
        if cause not in RULES:
            hint = f"{nearest(cause, RULES)}docs/verdicts.md has the causes"
            raise Unfit("causes", f'"{cause}" is not a cause', hint=hint)


def _check_url(url: str, authorized: bool) -> None:
    """Refuse what is no URL of http or https, without repeating it: a token may be in it."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host = ""
    if not host or parts.scheme not in ("http", "https") or not url.isprintable() or " " in url or not url.isascii():
        raise Unfit("url", "is not a URL of http or https", hint='as in "https://alerts.example.org/hook"')
    if parts.username is not None or parts.password is not None:
        raise Unfit("url", "holds a password", hint="put it into secret_file, and the user into user")
    if parts.fragment:
        raise Unfit("url", "has a part after #")
    local = host in ("localhost", "127.0.0.1", "::1")
    if authorized and parts.scheme == "http" and not local:
        raise Unfit("url", "would send the secret unencrypted", hint="use https")


def check_all(receivers: Iterable[NotifySettings]) -> None:
    """See that the receivers of a file go together: not too many, and none named like another. Raises: Unfit."""
    names = [one.called for one in receivers]
    if len(names) > MOST_RECEIVERS:
        raise Unfit("", f"{len(names)} receivers are too many", hint=f"at most {MOST_RECEIVERS}")
    for name in names:
        if names.count(name) > 1:
            raise Unfit("", f"two receivers are called {name}", hint="give each a name")
