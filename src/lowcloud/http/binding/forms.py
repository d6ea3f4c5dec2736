"""The forms that a request of a Worker's ``env.AI`` comes in, and the request that is in each of them. Pure.

- direct: workerd's external server, or a shim. The path is what the class asks for; the Host is ``workers-binding.ai``,
  or whatever ``env.AI.fetch`` was told.
- envelope: Miniflare's remote proxy, sent to ``/binding/<secret>/``. The URL is in ``MF-URL``, headers are prefixed.
- proxy: older wranglers, which sent it to the REST API. The URL is in ``X-Forwarded``.
- api: what wrangler asks of the REST API before it opens a remote session.
"""

import re
from dataclasses import dataclass, field
from typing import Literal, TypeAlias
from urllib.parse import unquote, urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

from lowcloud.core.errors import BadRequest, NotFound

Form: TypeAlias = Literal["direct", "envelope", "proxy", "api"]
SECRET_HEADER = "lowcloud-binding-secret"  # noqa: S105 - a header's name
HOST = "workers-binding.ai"
PREVIEW_PATHS = (
    "/client/v4/accounts/{account}/workers/subdomain",
    "/client/v4/accounts/{account}/workers/subdomain/edge-preview",
    "/client/v4/accounts/{account}/workers/scripts/{script}/edge-preview",
)
_ENVELOPE = re.compile(r"/binding/(?P<secret>[^/]*)(/.*)?")
_PROXY = re.compile(r"/client/v4/accounts/[^/]+/ai/run/proxy/?")
_API = re.compile("|".join(re.sub(r"\{\w+\}", "[^/]+", path) for path in PREVIEW_PATHS))
_MF_PREFIX = b"mf-header-"
# Of the connection that the envelope came on, not of the request inside.
_OF_THE_CONNECTION = frozenset({b"connection", b"content-length", b"expect", b"transfer-encoding", b"upgrade"})


@dataclass(frozen=True, slots=True)
class Presented:
    """A request that comes as one of a binding. ``secret`` is the one that it bears."""

    form: Form
    secret: str = field(repr=False)


def presented(path: str, headers: Headers) -> Presented | None:
    """The form of a request; None for one that has nothing to do with bindings."""
    if SECRET_HEADER in headers:
        return Presented("direct", headers[SECRET_HEADER])
    if found := _ENVELOPE.fullmatch(path):
        return Presented("envelope", found["secret"])
    if _PROXY.fullmatch(path):
        return Presented("proxy", _bearer(headers))
    if _API.fullmatch(path):
        return Presented("api", _bearer(headers))
    is_addressed = headers.get("host", "").partition(":")[0].lower() == HOST
    return Presented("direct", "") if is_addressed else None


def opened(form: Form, scope: Scope, headers: Headers) -> Scope:
    """The request inside. Raises NotFound where there is none, BadRequest for a URL that isn't one."""
    match form:
        case "envelope":
            return _moved(scope, headers, "mf-url", _unprefixed(scope["headers"]))
        case "proxy":
            return _moved(scope, headers, "x-forwarded", scope["headers"])
        case _:
            return scope


def _bearer(headers: Headers) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _unprefixed(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    inside = [(name.removeprefix(_MF_PREFIX), value) for name, value in headers if name.startswith(_MF_PREFIX)]
    outside = [(name, value) for name, value in headers if name in _OF_THE_CONNECTION]
    return [*((name, value) for name, value in inside if name not in _OF_THE_CONNECTION), *outside]


def _moved(scope: Scope, headers: Headers, name: str, inside: list[tuple[bytes, bytes]]) -> Scope:
    """The request with those headers at the URL that the header ``name`` has."""
    if name not in headers:
        raise NotFound(f"A Worker's request says in {name} what it is for; this one says nothing.")
    try:
        url = urlsplit(headers[name])
    except ValueError:
        raise BadRequest(f"{name}: must be a URL.") from None
    if url.scheme not in ("http", "https") or not url.netloc:
        raise BadRequest(f"{name}: must be an http or https URL.")
    path = url.path or "/"
    raw = {"raw_path": path.encode("latin-1"), "query_string": url.query.encode("latin-1")}
    return {**scope, **raw, "path": unquote(path), "headers": inside}
