"""An upstream's failures as ours: the one place that knows its statuses and forms of errors. Pure.

The caller's request is at fault only where the upstream says so. Whatever an upstream writes is cut, and freed of our
token for it, before a caller or a log sees it.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp

from lowcloud.core.errors import (
    RETRY_S,
    BadRequest,
    EngineFailed,
    LowcloudError,
    ModelUnusable,
    Overloaded,
    PromptTooLong,
    Unavailable,
)
from lowcloud.engines.remote.upstream import Upstream

MAX_SHOWN = 500
MAX_PARAM = 100
MAX_RETRY_S = 3600.0
_OF_THE_REQUEST = frozenset({400, 413, 415, 422})
_OF_THE_TOKEN = frozenset({401, 402, 403, 407})
_FOR_NOW = frozenset({408, 425, 502, 503, 504, 529})
_OF_NO_BASE = frozenset({405, 501})
_TOO_LONG = frozenset({"context_length_exceeded", "exceed_context_size_error"})


@dataclass(frozen=True, slots=True)
class Complaint:
    """What an upstream says of a failure; ``code`` is its code, else its type."""

    message: str = ""
    param: str | None = None
    code: str = ""


def complaint_of(body: object) -> Complaint:
    """OpenAI's object, a text alone (Ollama), FastAPI's detail, vLLM's flat object, Cloudflare's list."""
    match body:
        case {"error": Mapping() as error} | {"errors": [Mapping() as error, *_]}:
            return _of_object(error)
        case {"error": str(message)} | {"detail": str(message)}:
            return Complaint(message)
        case {"detail": [Mapping() as first, *_]}:
            place = first.get("loc")
            path = ".".join(str(part) for part in place[1:]) if isinstance(place, list) else None
            return _of_object({"message": first.get("msg"), "param": path})
        case Mapping():
            return _of_object(body)
    return Complaint()


def refused(upstream: Upstream, status: int, body: bytes, retry_after: str | None = None) -> LowcloudError:
    """The error for an answer that isn't a 200."""
    name, key = f"The upstream of {upstream.id}", upstream.key
    said = complaint_of(parsed(body))
    shown = scrubbed(said.message, upstream) or f"status {status}"
    error: LowcloudError
    if status in _OF_THE_REQUEST:
        kind = PromptTooLong if said.code in _TOO_LONG else BadRequest
        error = kind(f"{name} refuses this request: {shown}", param=_param(said, upstream))
    elif status in _OF_THE_TOKEN:
        error = ModelUnusable(f"{name} refuses our credentials ({status}); see {key}.upstream_token_env.")
    elif status == 404:
        error = ModelUnusable(
            f"{name} doesn't have the model or the route (404); see {key}.upstream_model and {key}.upstream."
        )
    elif status == 429:
        error = Overloaded(f"{name} has too much to do: {shown}", retry_after_s=_seconds(retry_after))
    elif status in _FOR_NOW:
        error = Unavailable(f"{name} can't answer now ({status}).", retry_after_s=_seconds(retry_after))
    elif status < 400 or status in _OF_NO_BASE:
        error = ModelUnusable(f"{key}.upstream is not the base of an OpenAI-compatible server: it answers {status}.")
    else:
        error = EngineFailed(f"{name} failed with status {status}.")
    return error


def unreached(upstream: Upstream, error: Exception) -> Unavailable:
    """The error where no answer began."""
    match error:
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            why = "can't be reached: its TLS certificate isn't good"
        case aiohttp.ConnectionTimeoutError():
            why = f"can't be reached within {upstream.connect_s:g} s"
        case aiohttp.ClientConnectorError():
            why = "can't be reached"
        case TimeoutError():
            why = f"didn't answer within {upstream.first_byte_s:g} s"
        case _:
            why = "closed the connection without an answer"
    return Unavailable(f"The upstream of {upstream.id} {why}.")


def broken(upstream: Upstream, why: str) -> EngineFailed:
    """The error within an answer."""
    return EngineFailed(f"The upstream of {upstream.id} {why}.")


def complained(upstream: Upstream, chunk: object) -> EngineFailed:
    """The error for a chunk that is one."""
    shown = scrubbed(complaint_of(chunk).message, upstream)
    return broken(upstream, "failed within its answer" + (f": {shown}" if shown else ""))


def parsed(body: bytes) -> object:
    """The JSON of a body; None where it is none."""
    try:
        value: object = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value


def scrubbed(text: str, upstream: Upstream) -> str:
    """At most ``MAX_SHOWN`` characters of one line, without our token."""
    if upstream.token:
        text = text.replace(upstream.token, "[token]")
    line = " ".join("".join(char if char.isprintable() else " " for char in text[: 8 * MAX_SHOWN]).split())
    return line if len(line) <= MAX_SHOWN else line[:MAX_SHOWN] + "…"


def _of_object(error: Mapping[str, object]) -> Complaint:
    message, param, code = error.get("message"), error.get("param"), error.get("code")
    kind = code if isinstance(code, str) else error.get("type")
    return Complaint(
        message if isinstance(message, str) else "",
        param if isinstance(param, str) else None,
        kind if isinstance(kind, str) else "",
    )


def _param(said: Complaint, upstream: Upstream) -> str | None:
    return None if said.param is None else scrubbed(said.param, upstream)[:MAX_PARAM] or None


def _seconds(retry_after: str | None) -> float:
    """Of a Retry-After in seconds; one that is a date, or nothing that we know, counts as none."""
    try:
        seconds = float(retry_after or "")
    except ValueError:
        return RETRY_S
    return min(max(seconds, 1.0), MAX_RETRY_S) if math.isfinite(seconds) else RETRY_S
