"""The way to other people's servers on a caller's behalf: names are resolved, and sockets made, for those addresses
alone that may be gone to.

Each address is checked where its socket is made: nothing stands between the check and the connection that could name
another one. What is here are hooks of aiohttp's connector.
"""

import errno
import socket
from collections.abc import Callable, Sequence
from typing import TypeAlias

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from lowcloud.core.threads import Threads

MAX_LOOKUPS = 16  # at once
Lookup: TypeAlias = Callable[[str], Sequence[str]]


class ForbiddenAddressError(OSError):
    """An address or a port that isn't gone to. It comes within aiohttp's own errors: ``forbidden`` finds it there."""

    def __init__(self, reason: str) -> None:
        super().__init__(errno.EACCES, reason)


def addresses_of(host: str) -> list[str]:
    """What the system's resolver says. Blocking. Raises OSError, ValueError."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


def forbidden(error: BaseException | None) -> ForbiddenAddressError | None:
    """The refusal that is behind an error; None where none is."""
    while error is not None and not isinstance(error, ForbiddenAddressError):
        error = error.__cause__ or getattr(error, "os_error", None)
    return error


class Gate(AbstractResolver):
    """Where names are resolved and sockets are made. A name with one address that isn't allowed is refused whole.

    ``lookup`` gives the addresses of a name, blocking; ``allows`` judges them; ``ports``: None for any.
    """

    def __init__(self, lookup: Lookup, allows: Callable[[str], bool], ports: Sequence[int] | None = None) -> None:
        self._lookup, self._allows, self._ports = lookup, allows, ports
        self._threads = Threads(MAX_LOOKUPS, "lowcloud.names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """In threads of its own: the event loop's are few, and a slow name server mustn't keep others from them."""
        addresses = await self._threads.run(lambda: self._lookup(host))
        for address in addresses:
            self._check(address)
        return [
            ResolveResult(hostname=host, host=each, port=port, family=family, proto=0, flags=0) for each in addresses
        ]

    async def close(self) -> None:
        """Nothing is open."""

    def socket(self, info: aiohttp.AddrInfoType) -> socket.socket:
        """For one connection, also to an address that stood in the URL itself. Raises ForbiddenAddressError."""
        family, kind, protocol, _, address = info
        self._check(address[0])
        if self._ports is not None and address[1] not in self._ports:
            raise ForbiddenAddressError(f"nothing is fetched from port {address[1]}")
        return socket.socket(family, kind, protocol)

    def _check(self, address: str) -> None:
        if not self._allows(address):
            raise ForbiddenAddressError(f"nothing is fetched from {address}")
