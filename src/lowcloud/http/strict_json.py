"""Bytes to a JSON object, strictly: UTF-8 with no half characters, finite numbers, one object.

A large body is parsed by the scanner that is written in Python: ten times slower, but other threads run meanwhile,
where the one in C would keep the event loop waiting for up to a second.
"""

import json
import re
from collections.abc import Iterator
from json.scanner import py_make_scanner  # type: ignore[attr-defined]  # typeshed lacks it
from typing import NoReturn

from lowcloud.core.errors import BadRequest

LARGE_BYTES = 65_536
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parse_object(body: bytes) -> dict[str, object]:
    """The object that ``body`` is. Raises BadRequest, which says where."""
    value = parse_value(body)
    if not isinstance(value, dict):
        raise BadRequest("The body must be a JSON object.")
    return value


def parse_value(body: bytes) -> object:
    """The value that ``body`` is. Raises BadRequest, which says where."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest(f"The body is not valid UTF-8 at byte {error.start}.") from None
    value = _parse(text, is_large=len(body) > LARGE_BYTES)
    if _ESCAPED_SURROGATE.search(text):
        for path, string in _strings(value):
            _refuse_surrogates(path, string)
    return value


def _parse(text: str, *, is_large: bool) -> object:
    decoder = _interruptible() if is_large else _DECODER
    try:
        return decoder.decode(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno} (character {error.pos})"
        raise BadRequest(f"The body is not valid JSON: {error.msg} at {place}.") from None
    except RecursionError:
        raise BadRequest("The body is nested too deeply.") from None
    except ValueError:
        raise BadRequest("The body holds an integer of too many digits.") from None


def _refuse_constant(name: str) -> NoReturn:
    raise BadRequest(f"The body is not valid JSON: {name} is not a number.")


def _finite(literal: str) -> float:
    number = float(literal)
    if number in (float("inf"), float("-inf")):
        raise BadRequest(f"The number {literal[:40]} is out of range.")
    return number


def _interruptible() -> json.JSONDecoder:
    decoder = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)
    decoder.scan_once = py_make_scanner(decoder)  # type: ignore[attr-defined]  # typeshed lacks it
    return decoder


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)


def _strings(root: object) -> Iterator[tuple[str, str]]:
    """Every string inside with its path; keys before what they hold, so that no path has a bad key."""
    stack: list[tuple[str, object]] = [("", root)]
    while stack:
        path, value = stack.pop()
        match value:
            case str():
                yield path, value
            case list():
                stack.extend((f"{path}[{index}]", item) for index, item in enumerate(value))
            case dict():
                for key, item in value.items():
                    yield f"{path or 'the body'} (a key)", key
                    stack.append((f"{path}.{key}" if path else key, item))


def _refuse_surrogates(path: str, string: str) -> None:
    try:
        string.encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(string[error.start]):04x}"
        raise BadRequest(f"{path}: a lone surrogate ({half}) is not a character.", param=path) from None
