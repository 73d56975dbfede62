"""The section [web]: where the service serves its page."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Final

from halfopen.core.errors import Unfit, UsageError
from halfopen.core.sections.option import option
from halfopen.core.sections.served import served_address
from halfopen.core.sections.words import Word, duration, quoted

_HOST: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}\.)*[a-z0-9-]{0,62}|\[[0-9a-f:.]{2,45}\]")
_LONGEST_S: Final = 30 * 86400.0


def _read_host(raw: Any) -> str:
    if not isinstance(raw, str):
        raise UsageError("is not a text", hint="write it in quotes")
    if not _HOST.fullmatch(raw):
        raise UsageError(f"{quoted(raw)} is not a host name", hint='as in "halfopen.example.org", without a port')
    return raw


HOST: Final = Word("a host name in lower case, without a port", _read_host, quoted)


@dataclass(frozen=True, slots=True)
class WebSettings:
    """A page to look at, for people who have a link ([the page](web.md)); it changes nothing."""

    listen: str = option(
        "", "an address and port, as in `127.0.0.1:9765`, or the path of a Unix socket; empty: no page", restart=True
    )
    listen_anywhere: bool = option(
        False, "allow an address that other hosts can reach; the page is not encrypted", restart=True
    )
    hosts: tuple[Annotated[str, HOST], ...] = option(
        (), "further names that a browser may know the page by, as behind a proxy; `localhost` needs none", restart=True
    )
    session_s: Annotated[float, duration(60, _LONGEST_S)] = option(
        43200.0, "how long a browser that opened a link may look", restart=True
    )

    def check(self) -> None:
        """See that the options go together. Raises: Unfit."""
        if not self.listen:
            if self.listen_anywhere or self.hosts:
                raise Unfit("", "lacks listen", hint='add listen = "127.0.0.1:9765"')
            return
        if "/" in self.listen:
            if not self.listen.startswith("/"):
                raise Unfit("listen", "is not an absolute path", hint='as in "/run/halfopen/web.sock"')
            if self.listen_anywhere:
                raise Unfit("listen_anywhere", "has no effect with a Unix socket")
            return
        address = served_address(self.listen, anywhere=self.listen_anywhere)
        if address.is_unspecified and not self.hosts:
            raise Unfit("hosts", "is empty, and listen names no address", hint='add hosts = ["name.in.the.browser"]')
