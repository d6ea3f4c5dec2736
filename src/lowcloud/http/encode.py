"""JSON and header values as bytes and text that every client reads the same way."""

import json
from collections.abc import Sequence
from typing import NoReturn
from urllib.parse import quote

from lowcloud.core.results import Classified, Embedded, Reranked

MAX_NAMES_CHARS = 4_000
_MAX_NAME_CHARS = 80
# U+0085, U+2028 and U+2029 are legal in JSON strings, but many clients cut a stream into lines at them.
_LINE_ENDS = (("\u0085", "\\u0085"), ("\u2028", "\\u2028"), ("\u2029", "\\u2029"))
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def to_json(value: object) -> bytes:
    """Compact UTF-8 JSON without line ends of any kind. Raises ValueError for a number that JSON can't hold."""
    return _encoded(_ENCODER.encode(value))


def large_json(value: object) -> bytes:
    """The same, in a thread, for what is large: by the encoder that is written in Python, while others run."""
    return _encoded("".join(_ENCODER.iterencode(value)))


def as_it_is(text: str) -> bytes:
    """JSON that is only passed on, in UTF-8. Raises ValueError where it is none.

    Read and written again it might be none any more: 1e999 and half characters that are escaped can be read only.
    """
    _decode(text)
    return _encoded(text)


def _encoded(text: str) -> bytes:
    if not text.isascii():
        for end, escaped in _LINE_ENDS:
            text = text.replace(end, escaped)  # str.translate takes thirty times as long
    return text.encode()


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


_decode = json.JSONDecoder(parse_constant=_refuse_constant).decode


def header_safe(text: str) -> str:
    """Printable ASCII without comma or space: everything else percent-encoded."""
    return quote(text, safe="@/:.-_~[]$!*()+=")


def answer_headers(ignored: Sequence[str], stand_in: str | None) -> dict[str, str]:
    """What every answer says beside its body: what of the request nobody read, and who answers for another model."""
    headers: dict[str, str] = {}
    if ignored:
        headers["lowcloud-ignored"] = header_list(ignored)
    if stand_in is not None:
        headers["lowcloud-stand-in"] = header_safe(stand_in)
    return headers


def neurons_header(neurons: float | None) -> dict[str, str]:
    """What a whole answer cost, where that is known."""
    return {} if neurons is None else {"cf-ai-neurons": f"{neurons:.2f}"}


def result_headers(ignored: Sequence[str], result: Embedded | Reranked | Classified) -> dict[str, str]:
    """Those of an answer that came at once."""
    return {**answer_headers(ignored, result.stand_in), **neurons_header(result.neurons)}


def result_usage(result: Embedded | Reranked) -> dict[str, int]:
    """The tokens that the model was given; it makes none."""
    return {"prompt_tokens": result.prompt_tokens, "total_tokens": result.prompt_tokens}


def header_list(names: Sequence[str]) -> str:
    """Names as a comma list. A list over 4,000 characters ends with how many more there are."""
    shown: list[str] = []
    size = 0
    for name in names:
        item = header_safe(name[:_MAX_NAME_CHARS])
        size += len(item) + 2
        if size > MAX_NAMES_CHARS:
            return ", ".join([*shown, f"+{len(names) - len(shown)}"])
        shown.append(item)
    return ", ".join(shown)
