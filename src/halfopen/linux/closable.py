"""What is closed at the end of a `with`."""

from __future__ import annotations

from typing import Self


class Closable:
    """A base class: something with `close`, as a context manager."""

    def close(self) -> None:
        """Let go of what is held; a second call does nothing more."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
