"""Cloudflare's v4 envelope around a result."""

from collections.abc import Mapping, Sequence

from lowcloud.http.encode import to_json

_BEFORE, _AFTER = b'{"result":', b',"success":true,"errors":[],"messages":'


def enveloped(
    result: bytes, result_info: Mapping[str, float | None] | None = None, messages: Sequence[Mapping[str, object]] = ()
) -> bytes:
    """The body of an answer whose ``result`` is this JSON; a list's ``result_info`` says which page it is."""
    info = b"" if result_info is None else b',"result_info":' + to_json(result_info)
    return _BEFORE + result + _AFTER + to_json(list(messages)) + info + b"}"
