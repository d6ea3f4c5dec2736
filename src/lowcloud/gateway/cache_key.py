"""What is one entry of the cache, and which replies may be kept. Pure.

Source: Cloudflare docs, AI Gateway › Caching, read 2026-11.
"""

import hashlib
import json
from collections.abc import Sequence

from lowcloud.gateway.call import Call

MAX_BYTES = 25 * 2**20
PARTIAL = 206
TAIL_BYTES, LAST_EVENTS = 2**16, 3  # of a stream: what tells how it ended
# Beside the body, these decide what a provider answers.
DECIDING = (
    "content-type",
    "content-encoding",
    "anthropic-version",
    "anthropic-beta",
    "openai-beta",
    "openai-organization",
    "openai-project",
)
KEPT_FAMILIES = frozenset({"text", "image", "audio"})
KEPT_TYPES = frozenset({"application/json", "application/x-ndjson", "application/jsonl"})


def cache_key(
    account: str, gateway: str, generation: int, call: Call, credentials: Sequence[str], custom_key: str | None
) -> str:
    """64 hex digits, the same for what may share an entry: the same call by the same ``credentials``, byte for byte.

    A ``custom_key`` stands for the body and the deciding headers alone. ``generation`` goes up where all entries of a
    gateway are to be forgotten. Nothing of the credentials can be had from the key but whether it is the same.
    """
    asked: list[str | bytes]
    if custom_key is None:
        asked = ["body", *(call.header(name) or "" for name in DECIDING), call.body]
    else:
        asked = ["custom", custom_key]
    where = (account, gateway, str(generation), call.provider, call.method, call.path, call.query)
    return _hash(*where, *output_form(call), _hash(*credentials), *asked)


def output_form(call: Call) -> tuple[str, str]:
    """In which form a reply is asked for: the media types, and whether as a stream."""
    return _accepted(call.header("accept")), "stream" if _streams(call.body) else "whole"


def is_cacheable(status: int, headers: Sequence[tuple[str, str]], n_bytes: int) -> bool:
    """Whether a whole reply of so many bytes may be kept: a success of a kind that can be played again."""
    if not 200 <= status <= 299 or status == PARTIAL or n_bytes > MAX_BYTES:
        return False
    given = next((value for name, value in headers if name.lower() == "content-type"), "")
    kind = given.partition(";")[0].strip().lower()
    return kind.partition("/")[0] in KEPT_FAMILIES or kind in KEPT_TYPES or kind.endswith("+json")


def tells_error(body: bytes) -> bool:
    """Whether a reply whose status is a success tells of a failure all the same: as JSON, or at the end of a stream,
    whose head had left by then."""
    if b"error" not in body and b"failed" not in body:
        return False
    if _is_error(body):
        return True
    events = body[-TAIL_BYTES:].replace(b"\r\n", b"\n").strip().split(b"\n\n")
    return any(_is_error_event(event.split(b"\n")) for event in events[-LAST_EVENTS:])


def _is_error_event(lines: Sequence[bytes]) -> bool:
    data = [line[5:] for line in lines if line.startswith(b"data:")]
    return b"event: error" in lines or _is_error(b"\n".join(data))


def _is_error(data: bytes) -> bool:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and (bool(value.get("error")) or value.get("type") in ("error", "response.failed"))


def _accepted(value: str | None) -> str:
    """An Accept header without what makes no difference: order, case, spaces, and what anything would do for."""
    kinds = {"".join(part.split()).lower() for part in (value or "*/*").split(",")} - {""}
    return ",".join(sorted(kinds)) or "*/*"


def _streams(body: bytes) -> bool:
    if b'"stream"' not in body:
        return False
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and value.get("stream") is True


def _hash(*parts: str | bytes) -> str:
    """Of the parts with their lengths: what moves from one to the next makes another hash."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8))
        digest.update(data)
    return digest.hexdigest()
