"""The state of the screen: the page, what is selected, the filter, what is asked. Frozen; keys make the next one."""

from __future__ import annotations

from enum import Enum
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from halfopen.core.where import ListenerKey
from halfopen.present.screen.styled import StyledLine


class Page(Enum):
    """What the screen shows."""

    LISTENERS = "listeners"
    NAMESPACES = "namespaces"
    DETAILS = "details"
    TEXT = "text"


SORTS: Final = ("half-open", "SYN queue", "accept queue", "oldest", "drops", "port")
"""The orders of the listeners, in the order in which keys go through them."""


NOTICE_MOST: Final = 3
"""The most lines of a notice."""


class Wish(Enum):
    """What a key asks of the program behind the screen."""

    QUIT = "quit"
    REDRAW = "redraw"
    DETAILS = "details"
    NAMESPACES = "namespaces"
    DIAGNOSE = "diagnose"
    RELEASE = "release"
    OTHER_AGE = "other-age"
    TUNE = "tune"
    CONFIRMED = "confirmed"
    CANCELLED = "cancelled"


class TextShown(Struct, frozen=True):
    """A text that fills the screen, and the page to go back to."""

    title: str
    lines: tuple[StyledLine, ...]
    back: Page


class Question(Struct, frozen=True):
    """A change that waits for a yes. lines: what it would do; ages: whether another age can be chosen; nothing: there
    is nothing to say yes to.
    """

    words: str
    lines: tuple[StyledLine, ...] = ()
    ages: bool = False
    nothing: bool = False


class ScreenState(Struct, frozen=True):
    """several: namespaces are watched. wider: one is watched, and the others can be asked for. replay: a record is
    shown, and nothing is read. space: the inode of the one that is shown, None: the first there is. listener: the key
    of the selected one, None: the first row. top: the first line of a text that is shown. typing: keys go into the
    filter. reverse: the last row of the order comes first. working: what is being done, notice: what came of it, each
    in a line. late_s: the age of the last reading where the next one is late, else 0.
    """

    several: bool = False
    wider: bool = False
    replay: bool = False
    page: Page = Page.LISTENERS
    space: int | None = None
    listener: ListenerKey | None = None
    top: int = 0
    filter: str = ""
    typing: bool = False
    sort: str = SORTS[0]
    reverse: bool = False
    paused: bool = False
    shown: TextShown | None = None
    question: Question | None = None
    working: str = ""
    notice: str = ""
    late_s: float = 0.0

    def with_text(self, title: str, lines: tuple[StyledLine, ...]) -> ScreenState:
        """A text instead of the page, with a way back to it."""
        back = self.shown.back if self.page is Page.TEXT and self.shown is not None else self.page
        return replace(
            self, page=Page.TEXT, shown=TextShown(title, lines, back), top=0, working="", question=None, notice=""
        )

    def with_question(self, question: Question) -> ScreenState:
        """A question over the page."""
        return replace(self, question=question, working="", notice="")

    def with_notice(self, words: str) -> ScreenState:
        """A line that says what came of something."""
        return replace(self, notice=words, working="", question=None)
