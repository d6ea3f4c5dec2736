"""Which Host and Origin headers are let in, and what browsers are told. Pure."""

import re
from collections.abc import Sequence
from ipaddress import IPv6Address, ip_address

from starlette.datastructures import Headers
from starlette.types import Scope

from lowcloud.core.errors import Forbidden
from lowcloud.http.settings import HttpSettings

_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
_HOST = re.compile(r"(?P<name>\[[0-9a-fA-F:.]+\]|[^:\[\]/@\s]+)(?::\d{1,5})?")
_LOOPBACK_ORIGIN = re.compile(r"https?://(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?", re.IGNORECASE)
_HEADER_NAMES = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~, -]{1,2000}")
_EXPOSED = (
    "x-request-id, cf-ai-req-id, cf-ai-neurons, retry-after, "
    "lowcloud-ignored, lowcloud-loosened, lowcloud-stand-in, lowcloud-default-max-tokens, "
    "cf-aig-cache-status, cf-aig-log-id, cf-aig-request-id, cf-aig-event-id, cf-aig-step"
)


def check_host(headers: Headers, settings: HttpSettings) -> None:
    """Raises Forbidden for a Host that is neither the loopback's nor in ``server.allowed_hosts``.

    This stops DNS rebinding: a page whose name resolves to this machine sends its own name.
    """
    allowed = (*_LOOPBACK_NAMES, *map(_one_spelling, settings.allowed_hosts))
    if "*" not in allowed and _name(headers) not in allowed:
        host = headers.get("host", "")[:200] or "(none)"
        raise Forbidden(f"The Host {host} is not allowed here; add it to server.allowed_hosts.")


def _name(headers: Headers) -> str | None:
    """The Host without its port; None where there is none, or something else."""
    found = _HOST.fullmatch(headers.get("host", ""))
    return _one_spelling(found["name"]) if found else None


def _one_spelling(name: str) -> str:
    """In lower case; an IPv6 address, which has many spellings, as its shortest, in brackets and without a zone."""
    if ":" not in name:
        return name.lower()
    try:
        address = IPv6Address(name.removeprefix("[").removesuffix("]").partition("%")[0])
    except ValueError:
        return name.lower()
    return f"[{address.compressed}]"


def is_from_here(scope: Scope, headers: Headers) -> bool:
    """Whether a caller on this machine asks this machine: its address and the Host are the loopback's.

    The Host counts too, since a proxy on this machine passes the world's requests on from the loopback address.
    """
    return is_of_this_machine(scope) and _name(headers) in _LOOPBACK_NAMES


def is_of_this_machine(scope: Scope) -> bool:
    """Whether the connection comes from a loopback address, or over a Unix socket, which has none."""
    client = scope.get("client")
    try:
        return client is None or ip_address(client[0]).is_loopback
    except ValueError:  # a proxy on this machine calls its own client something else, "unknown" say
        return False


def check_origin(headers: Headers, settings: HttpSettings) -> str | None:
    """The Origin, if there is one and it is allowed. Raises Forbidden for any other, and for ``null``."""
    origin = headers.get("origin")
    if origin is None:
        return None
    listed = [entry.lower().rstrip("/") for entry in settings.cors_origins]
    is_allowed = origin.lower() in listed or ("*" in listed and origin != "null")
    if not is_allowed and not _LOOPBACK_ORIGIN.fullmatch(origin):
        raise Forbidden(f"The Origin {origin[:200]} is not allowed here; add it to server.cors_origins.")
    return origin


def is_preflight(method: str, headers: Headers) -> bool:
    """Whether a browser asks for leave to send a request of another origin."""
    return method == "OPTIONS" and "origin" in headers and "access-control-request-method" in headers


def cors_headers(origin: str | None) -> list[tuple[bytes, bytes]]:
    """What each answer to an allowed origin carries."""
    if origin is None:
        return []
    return [
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-expose-headers", _EXPOSED.encode()),
        (b"vary", b"origin"),
    ]


def preflight_headers(headers: Headers, allow: Sequence[str]) -> dict[str, str]:
    """The answer to a preflight of a path that takes the methods in ``allow``."""
    answer = {"access-control-allow-methods": ", ".join(allow), "access-control-max-age": "600"}
    asked = headers.get("access-control-request-headers", "")
    if asked and _HEADER_NAMES.fullmatch(asked):
        answer["access-control-allow-headers"] = asked
    if headers.get("access-control-request-private-network") == "true":
        answer["access-control-allow-private-network"] = "true"
    return answer
