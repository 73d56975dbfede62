"""The content at the page's address, and access to it.

The page itself, its script and its style contain no data and need no session; everything else does. A session is sent
in a header that only our own script sets. The browser sends nothing by itself, so neither another site nor a server on
another port of this host gets it, and there is no cookie to be forged or stolen.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.resources import files
from typing import Final
from urllib.parse import parse_qs

import msgspec
from msgspec import Struct

from halfopen.core.errors import HalfopenError, UnknownTarget, UsageError
from halfopen.present.language import ENGLISH, spoken
from halfopen.present.told import told_error
from halfopen.present.web.words import LANGUAGES
from halfopen.service.web.http_request import HttpRefusal, HttpRequest, host_of
from halfopen.service.web.passes import PassControl
from halfopen.service.web.server import EventStream, HttpAnswer

_SCRIPTS: Final = ("page", "now", "past", "incident", "settings", "parts", "words", "draw", "charts", "service")

STATIC: Final[Mapping[str, tuple[str, str]]] = {
    "/": ("page.html", "text/html; charset=utf-8"),
    **{f"/{name}.js": (f"{name}.js", "text/javascript; charset=utf-8") for name in _SCRIPTS},
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/uplot.js": ("uplot.js", "text/javascript; charset=utf-8"),
    "/uplot.css": ("uplot.css", "text/css; charset=utf-8"),
    "/uplot.LICENSE": ("uplot.LICENSE", "text/plain; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
"""The files of the page, by their paths, with their types."""
# Names by which a browser on this host, or at the other end of ssh -L, may address the page.
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
# How often a stream sends a sign of life while there is nothing new.
_ALIVE_S: Final = 5.0
# How long an answer from history is reused for the same request.
_KEPT_S: Final = 2.0
_KEPT_MOST: Final = 32
_ASKING_MOST: Final = 8
_HISTORY_S: Final = 20.0
_QUERY_MOST: Final = 4


class PageState(msgspec.Struct, array_like=True, frozen=True):
    """The present state, as the eyes send it: the time of the reading (CLOCK_MONOTONIC, which both processes share),
    and a document in each language of an open page.
    """

    at_s: float
    documents: dict[str, bytes]


class _Shown(Struct, frozen=True):
    """A document, and the time of the reading that it shows."""

    at_s: float
    document: bytes


# Makes the answer to a path of history, from its query and a language; called in another thread.
Kept = Callable[[Mapping[str, str], str], bytes]


class _Remembered(Struct):
    until: float
    body: bytes


class PageSite:
    """The site of the page. All methods but `put` are only for the loop of its server."""

    def __init__(self, passes: PassControl, hosts: Collection[str], kept: Mapping[str, Kept], words: Kept) -> None:
        """hosts: further names of the page. kept: answers from history, by path. words: texts of the page, by
        language.
        """
        self._passes, self._kept, self._words = passes, kept, words
        self._hosts = _LOOPBACK | {host.lower() for host in hosts}
        self._shown: dict[str, _Shown] = {}
        self._watching: Counter[str] = Counter()
        self._changed = asyncio.Event()
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="halfopen-kept")
        self._waiting = 0
        self._remembered: dict[str, _Remembered] = {}

    def put(self, state: PageState) -> None:
        """Set the state to show; call `changed` to send it to the streams."""
        self._shown = {**self._shown, **{name: _Shown(state.at_s, text) for name, text in state.documents.items()}}

    @property
    def watched(self) -> tuple[str, ...]:
        """The languages of the pages that are open."""
        return tuple(sorted(+self._watching))

    def changed(self) -> None:
        """Send the new state to every stream."""
        event, self._changed = self._changed, asyncio.Event()
        event.set()

    async def answer(self, request: HttpRequest) -> HttpAnswer | EventStream:
        """The answer to a request. Raises: HttpRefusal."""
        # Check the name first, so that a site whose own name resolves to this host (DNS rebinding) learns nothing.
        if host_of(request.fields["host"]) not in self._hosts:
            raise HttpRefusal(421, "this page is not known by that name")
        if request.method != "GET":
            raise HttpRefusal(405, "only GET")
        _same_site(request)
        if (static := STATIC.get(request.path)) is not None:
            return HttpAnswer(_file(static[0]), static[1])
        query = _query(request.query)
        language = query.pop("lang", ENGLISH)
        if language not in LANGUAGES:
            language = ENGLISH
        if request.path == "/words":
            return HttpAnswer(self._words(query, language))
        if request.path == "/session":
            return self._session(request)
        session = _credential(request, "Bearer")
        if not self._passes.admits(session):
            raise HttpRefusal(401, "no session, or one that is over; halfopen web makes a link")
        if request.path == "/state":
            return HttpAnswer(self._now(language))
        if request.path == "/stream":
            return EventStream(self._events(language, session))
        if (kept := self._kept.get(request.path)) is not None:
            return await self._of_history(f"{request.path}?{request.query}", partial(kept, query, language), language)
        raise HttpRefusal(404, "there is no such thing here")

    def _session(self, request: HttpRequest) -> HttpAnswer:
        session = self._passes.opened(_credential(request, "Link"))
        if session is None:
            raise HttpRefusal(401, "the link is too old or was opened before; halfopen web makes another")
        return HttpAnswer(msgspec.json.encode({"session": session, "lasts_s": self._passes.session_s}))

    def _now(self, language: str) -> bytes:
        """The newest document with its age."""
        shown = self._shown.get(language)
        if shown is None:
            return b'{"age_s":null,"state":null}'
        return b'{"age_s":%.3f,"state":%s}' % (time.monotonic() - shown.at_s, shown.document)

    async def _events(self, language: str, session: str) -> AsyncGenerator[bytes, None]:
        shown: _Shown | None = None
        self._watching[language] += 1
        try:
            while self._passes.admits(session):
                changed, newest = self._changed, self._shown.get(language)
                if newest is not shown:
                    shown = newest
                    yield b"event: state\ndata: " + self._now(language) + b"\n\n"
                else:
                    yield b": alive\n\n"
                try:
                    async with asyncio.timeout(_ALIVE_S):
                        await changed.wait()
                except TimeoutError:
                    pass
            yield b"event: over\ndata: {}\n\n"
        finally:
            self._watching[language] -= 1

    async def _of_history(self, key: str, make: Callable[[], bytes], language: str) -> HttpAnswer:
        now = time.monotonic()
        known = self._remembered.get(key)
        if known is not None and known.until > now:
            return HttpAnswer(known.body)
        if self._waiting >= _ASKING_MOST:
            raise _refusal(503, HalfopenError("web", "too many ask for history at once"), language)
        self._waiting += 1
        try:
            async with asyncio.timeout(_HISTORY_S):
                body = await asyncio.get_running_loop().run_in_executor(self._threads, make)
        except TimeoutError:
            raise _refusal(503, HalfopenError("web", "history takes too long to read"), language) from None
        except UsageError as e:
            raise _refusal(400, e, language) from None
        except UnknownTarget as e:
            raise _refusal(404, e, language) from None
        except HalfopenError as e:
            raise _refusal(503, e, language) from None
        finally:
            self._waiting -= 1
        self._remembered = {one: r for one, r in self._remembered.items() if r.until > now}
        if len(self._remembered) < _KEPT_MOST:
            self._remembered[key] = _Remembered(time.monotonic() + _KEPT_S, body)
        return HttpAnswer(body)


def _refusal(status: int, error: HalfopenError, language: str) -> HttpRefusal:
    """What a view of the page shows in the place of what it asked for."""
    with spoken(language):
        return HttpRefusal(status, told_error(error))


def _same_site(request: HttpRequest) -> None:
    """Refuse a request that the page of another site makes. Raises: HttpRefusal."""
    # https://www.w3.org/TR/fetch-metadata/: a navigation, as when a person opens a link, may come from another site,
    # but only to the page itself.
    site = request.fields.get("sec-fetch-site", "none")
    opened = request.path == "/" and request.fields.get("sec-fetch-mode") == "navigate"
    if site not in ("same-origin", "none") and not opened:
        raise HttpRefusal(403, "asked for by another site")
    origin = request.fields.get("origin")
    if origin is not None and origin.partition("://")[2] != request.fields["host"]:
        raise HttpRefusal(403, "asked for by another site")


def _credential(request: HttpRequest, scheme: str) -> str:
    """The credential of this scheme in a request; empty if there is none."""
    given, _, credential = request.fields.get("authorization", "").partition(" ")
    return credential.strip() if given.lower() == scheme.lower() else ""


def _query(text: str) -> dict[str, str]:
    """The parameters of a query. Raises: HttpRefusal."""
    try:
        found = parse_qs(text, keep_blank_values=True, strict_parsing=bool(text), max_num_fields=_QUERY_MOST)
    except ValueError:
        raise HttpRefusal(400, "a query that is none") from None
    return {name: values[-1] for name, values in found.items()}


def _file(name: str) -> bytes:
    return (files("halfopen.service.web") / "static" / name).read_bytes()
