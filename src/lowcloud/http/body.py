"""Reads a request's body, bounded in bytes and in time, and checks what it is labelled as."""

import asyncio

from starlette.datastructures import Headers
from starlette.types import Receive, Scope

from lowcloud.core.errors import BodyTooLarge, RequestTimeout, UnsupportedMediaType
from lowcloud.http.link import link_of
from lowcloud.http.settings import HttpSettings
from lowcloud.http.watch import ClientLeft


async def read_body(scope: Scope, receive: Receive, settings: HttpSettings) -> bytes:
    """The body, at most ``max_body_bytes``.

    Raises BodyTooLarge (after up to ``discard_bytes`` were thrown away), RequestTimeout when it
    isn't complete within ``body_timeout_s``, ClientLeft.
    """
    headers, link = Headers(scope=scope), link_of(scope)
    announced = _content_length(headers)
    if announced > settings.max_body_bytes and "expect" in headers:
        raise _too_large(settings)  # the client waits for leave to send; it gets none
    if link is not None and link.is_read:
        return await _read(receive, settings, announced)
    try:
        async with asyncio.timeout(settings.body_timeout_s):
            return await _read(receive, settings, announced)
    except TimeoutError:
        raise RequestTimeout(f"The body did not arrive within {settings.body_timeout_s:g} s.") from None


def check_media_type(headers: Headers) -> None:
    """Raises UnsupportedMediaType for what is neither JSON in UTF-8 nor unlabelled, or is compressed."""
    media_type, _, parameters = headers.get("content-type", "").partition(";")
    name = media_type.strip().lower()
    if name and name != "application/json" and not (name.startswith("application/") and name.endswith("+json")):
        raise UnsupportedMediaType(f"Content-Type must be application/json, not {name[:100]}.")
    charset = parameters.lower().partition("charset=")[2].partition(";")[0].strip().strip('"')
    if charset not in ("", "utf-8", "utf8"):
        raise UnsupportedMediaType(f"JSON must be UTF-8, not {charset[:100]}.")
    check_encoding(headers)


def check_encoding(headers: Headers) -> None:
    """Raises UnsupportedMediaType for a body that is compressed."""
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise UnsupportedMediaType(f"Content-Encoding {encoding[:100]} is not supported; send the body as it is.")


async def _read(receive: Receive, settings: HttpSettings, announced: int) -> bytes:
    kept = bytearray()
    total = 0
    is_too_large = announced > settings.max_body_bytes
    more = True
    while more and not (is_too_large and total > settings.discard_bytes):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        total += len(message.get("body", b""))
        more = message.get("more_body", False)
        is_too_large = is_too_large or total > settings.max_body_bytes
        if is_too_large:
            kept.clear()
        else:
            kept += message.get("body", b"")
    if is_too_large:
        raise _too_large(settings)
    return bytes(kept)


def _content_length(headers: Headers) -> int:
    value = headers.get("content-length", "")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 20 else 0


def _too_large(settings: HttpSettings) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than {settings.max_body_bytes} bytes (server.max_body_bytes).")
