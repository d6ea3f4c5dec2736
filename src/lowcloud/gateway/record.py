"""The log of one call: filled in while it runs, and written as one line of JSON."""

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any

from lowcloud.gateway.redact import redacted

BODY_BYTES = 10 * 2**20


@dataclass(slots=True)
class Record:
    """One call. ``created_at`` is in seconds since 1970, ``cost`` in dollars (None: unknown).

    A body that isn't to be kept is None; of one that is, the first ``BODY_BYTES`` are.
    """

    id: str
    account_id: str
    gateway_id: str
    created_at: float
    provider: str = ""
    model: str = ""
    model_type: str = ""
    request_type: str = ""
    path: str = ""
    method: str = "POST"
    status_code: int = 0
    success: bool = False
    cached: bool = False
    duration_ms: float = 0.0
    step: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float | None = None
    custom_cost: bool = False
    metadata: Mapping[str, object] = field(default_factory=dict)
    event_id: str = ""
    user_agent: str = ""
    source: str = ""
    authenticated: bool = False
    request_content_type: str = ""
    response_content_type: str = ""
    request_size: int = 0
    response_size: int = 0
    request: bytes | None = None
    response: bytes | None = None


_ENCODER = json.JSONEncoder(separators=(",", ":"))  # json.dumps makes one a line
FIELDS = tuple(each.name for each in fields(Record))
_values = attrgetter(*FIELDS)


def make_safe(record: Record) -> None:
    """Take secrets out of its bodies: neither the disk nor the database has them."""
    record.request = None if record.request is None else redacted(record.request)
    record.response = None if record.response is None else redacted(record.response)


def line_of(record: Record) -> bytes:
    """A line of JSON."""
    told: dict[str, Any] = dict(zip(FIELDS, _values(record), strict=True))
    for name in ("request", "response"):
        told[name] = None if told[name] is None else _text(told[name])
    return _ENCODER.encode(told).encode() + b"\n"


def record_of(line: bytes) -> Record:
    """The record of a line. Raises ValueError for what isn't one whole."""
    told = json.loads(line)
    if not isinstance(told, dict) or told.keys() != set(FIELDS):
        raise ValueError("not a record")
    for name in ("request", "response"):
        told[name] = None if told[name] is None else _bytes(told[name])
    return Record(**told)


def _text(body: bytes) -> str | dict[str, str]:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return {"base64": b64encode(body).decode()}


def _bytes(told: Any) -> bytes:
    if isinstance(told, str):
        return told.encode()
    return b64decode(told["base64"], validate=True)
