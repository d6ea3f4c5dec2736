"""Calls in OpenAI's form to any provider that speaks it: the model names the provider. Pure.

Source: Cloudflare docs, AI Gateway › Unified API, read 2026-11.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from lowcloud.core.errors import BadRequest
from lowcloud.gateway.errors import FeatureUnsupported, InvalidProvider
from lowcloud.gateway.providers import CustomProvider, provider_of

Operation: TypeAlias = Literal["chat/completions", "embeddings"]
_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()
_NAMES = {"perplexity": "perplexity-ai"}  # in models, where it isn't the slug of the paths
_LATER = {
    "dynamic": "Dynamic routes are not supported yet.",
    "cloudflare": "The auto router (cloudflare/auto) is not supported yet.",
}


@dataclass(frozen=True, slots=True)
class CompatCall:
    """``provider`` is a slug; ``path`` is the provider's own; ``body`` names ``model`` as the provider does."""

    provider: str
    path: str
    body: bytes
    model: str


@dataclass(frozen=True, slots=True)
class _Member:
    """A member of an object: its value, and where that stands in the text."""

    name: str
    value: object
    begin: int
    end: int


def compat_call(operation: Operation, body: bytes, custom: Mapping[str, CustomProvider]) -> CompatCall:
    """The call that ``body`` asks for; but for its model it goes on as it is.

    Raises BadRequest; FeatureUnsupported where the gateway is to choose the model; InvalidProvider where that names no
    provider, or one that doesn't speak OpenAI's form.
    """
    text = _text(body)
    members = [member for member in _members(text) if member.name == "model"]
    named = members[-1].value if members else None
    if not isinstance(named, str) or not named:
        raise BadRequest("model must be a string: {provider}/{model}.", param="model")
    slug, _, model = named.partition("/")
    if slug in _LATER:
        raise FeatureUnsupported(_LATER[slug], param="model")
    provider = provider_of(_NAMES.get(slug, slug), custom)
    if not model:
        raise InvalidProvider()
    if provider.openai_base is None:
        raise InvalidProvider(
            f"{slug} doesn't speak OpenAI's form, and calls aren't translated yet; use its own paths."
        )
    for member in reversed(members):
        text = text[: member.begin] + json.dumps(model, ensure_ascii=False) + text[member.end :]
    return CompatCall(provider.slug, provider.openai_base + operation, text.encode(), model)


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        raise BadRequest("The body is not UTF-8.") from None


def _members(text: str) -> Iterator[_Member]:
    """Those of the object that the text is. Raises BadRequest."""
    try:
        yield from _scanned(text)
    except (ValueError, IndexError, RecursionError):
        raise BadRequest("The body is not a JSON object.") from None


def _scanned(text: str) -> Iterator[_Member]:
    """Raises ValueError, IndexError."""
    position = _after(text, 0, "{")
    if text[position] == "}":
        _end(text, position + 1)
        return
    while True:
        name, position = _DECODER.raw_decode(text, position)
        if not isinstance(name, str):
            raise ValueError("a name is a string")  # noqa: TRY004 - as the decoder's own
        begin = _after(text, position, ":")
        value, end = _DECODER.raw_decode(text, begin)
        yield _Member(name, value, begin, end)
        position = _spaced(text, end)
        if text[position] == "}":
            _end(text, position + 1)
            return
        position = _after(text, position, ",")


def _spaced(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    return found.end() if found else position


def _after(text: str, position: int, mark: str) -> int:
    """Where the next thing begins, after ``mark``."""
    position = _spaced(text, position)
    if text[position] != mark:
        raise ValueError(f"no {mark}")
    return _spaced(text, position + 1)


def _end(text: str, position: int) -> None:
    if _spaced(text, position) != len(text):
        raise ValueError("more than an object")
