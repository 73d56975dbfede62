"""A base class of objects that are closed at the end of a `with`."""

from __future__ import annotations

from typing import Self


class Closable:
    """A context manager that calls `close` at its end."""

    def close(self) -> None:
        """Release what the object holds; a second call does nothing."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
