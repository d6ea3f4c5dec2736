"""The log of one call: filled in while it runs, and written in one piece."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from operator import attrgetter
from zlib import crc32

from lowcloud.gateway.redact import redacted

BODY_BYTES = 10 * 2**20


@dataclass(slots=True)
class Record:
    """One call. ``created_at`` is in seconds since 1970, ``cost`` in dollars (None: unknown).

    A body that isn't to be kept is None; of one that is, the first ``BODY_BYTES`` are. The two are the last fields.
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
_FORM = crc32(",".join(FIELDS).encode())  # of the lines: another version's may have other fields in other places


class OtherFormError(ValueError):
    """A record, but not of this form."""


def make_safe(record: Record) -> None:
    """Take secrets out of its bodies: neither the disk nor the database has them."""
    record.request = None if record.request is None else redacted(record.request)
    record.response = None if record.response is None else redacted(record.response)


def packed(record: Record) -> bytes:
    """A line of JSON, in which a body is told by its length, the bodies as they are, and the end of a line: writing
    them as JSON would take as long as all the rest of a stream's log."""
    *told, request, response = _values(record)
    lengths = (None if request is None else len(request), None if response is None else len(response))
    line = _ENCODER.encode((_FORM, *told, *lengths))
    return b"".join((line.encode(), b"\n", request or b"", response or b"", b"\n"))


def unpacked(data: bytes) -> Iterator[Record]:
    """The records of a file of them. Raises ValueError where one isn't whole: nothing behind it can be read.

    Raises OtherFormError where another version wrote it.
    """
    at = 0
    while at < len(data):
        end = data.find(b"\n", at)
        if end < 0:
            raise ValueError("a record is cut")
        told = json.loads(data[at:end])
        if not isinstance(told, list) or told[:1] != [_FORM] or len(told) != 1 + len(FIELDS):
            raise OtherFormError
        at = end + 1
        for place, length in enumerate(told[-2:], len(told) - 2):
            if length is not None:
                at, begin = at + length, at
                told[place] = data[begin:at]
        if data[at : at + 1] != b"\n":
            raise ValueError("a record is cut")
        at += 1
        yield Record(*told[1:])
