"""What a request may know of the connection that it came on, beside ASGI: to ask costs nothing, to find out costs tasks
and timers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from starlette.types import Scope

LINK = "lowcloud.link"  # in the scopes of connections that have one


class Link:
    """One connection."""

    def __init__(self) -> None:
        self.is_blocked = False  # a write would wait for the client
        self.is_read = False  # all of the last request is there, so that receiving it doesn't wait
        self._is_lost = False
        self._tell: Callable[[], object] | None = None

    def lost(self) -> None:
        """The connection is."""
        self._is_lost = True
        if self._tell is not None:
            self._tell()

    @contextmanager
    def told_to(self, tell: Callable[[], object]) -> Iterator[None]:
        """Have ``tell`` called when it is lost, also if it is already."""
        self._tell = tell
        if self._is_lost:
            tell()
        try:
            yield
        finally:
            if self._tell is tell:  # else the next request has come already
                self._tell = None


def link_of(scope: Scope) -> Link | None:
    """None: nothing is known of the connection."""
    link = scope.get(LINK)
    return link if isinstance(link, Link) else None
