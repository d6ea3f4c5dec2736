"""Tokens and the model, out of a request and out of a reply's bytes, whole or streamed. Pure.

A stream is read as it passes and isn't kept: of each event only what it tells of usage is parsed. The forms are told
apart by their fields, since one provider may speak several (DeepSeek and OpenRouter have Anthropic's too).

Source: the references of OpenAI (chat, responses, embeddings), Anthropic (messages), Google (generateContent), Cohere
(chat v1 and v2, embed), Amazon (converse) and Workers AI, read 2026-11.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import unquote

from lowcloud.gateway.call import OURS
from lowcloud.gateway.providers import Provider

CHARACTERS_A_TOKEN = 4
MAX_BYTES = 2**20  # of an event, or of a reply that is no stream: of a longer one only the end is read
TAIL_BYTES = 2**16
Fields: TypeAlias = Mapping[str, object]
_DECODER = json.JSONDecoder()
_TOLD = re.compile(rb'"(?:usage|usageMetadata|meta)"[ \t\r\n]{0,8}:[ \t\r\n]{0,8}(?=\{)')
_MODEL = (b'"model"', b'"modelVersion"')
_SAID = re.compile(
    rb'"(?:content|text|response|reasoning|reasoning_content|arguments|partial_json|thinking|delta)"'
    rb'[ \t]{0,8}:[ \t]{0,8}"((?:[^"\\]|\\.)*+)"',
    re.DOTALL,
)
_AROUND = ("response", "message", "delta", "result", "x_groq")  # what usage may be within
# Strings of a request that are no text, or hardly any.
_SILENT = frozenset({"data", "b64_json", "url", "image_url", "model", "role", "type", "id", "name"})


@dataclass(frozen=True, slots=True)
class Used:
    """Tokens of a call. ``tokens_in`` has those that were read from a prompt cache (``cached_in``) and written to it
    (``written_in``). Not ``is_counted``: the provider told none, they are estimated from the texts' lengths."""

    tokens_in: int
    tokens_out: int
    cached_in: int = 0
    model: str = ""
    is_counted: bool = True
    written_in: int = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """What a request says of itself; '' where it says nothing. ``request_type`` is its API, as ``chat``
    or ``messages``; ``model_type`` what its model does, as ``text`` or ``embeddings``."""

    model: str = ""
    is_stream: bool = False
    model_type: str = ""
    request_type: str = ""


class UsageReader:
    """Feed it the pieces of a reply's body, cut anywhere: the same bytes give the same. It holds ``max_bytes``."""

    def __init__(self, max_bytes: int = MAX_BYTES, tail_bytes: int = TAIL_BYTES) -> None:
        self._max_bytes, self._tail_bytes = max_bytes, tail_bytes
        self._rest = bytearray()
        self._is_cut = self._is_whole = self._has_begun = False
        self._told = _Told()

    def feed(self, piece: bytes) -> None:
        """The next bytes of the body."""
        if not self._has_begun:
            piece = piece.lstrip()
            self._has_begun, self._is_whole = bool(piece), piece[:1] in (b"{", b"[")
        first, *more = (piece,) if self._is_whole else piece.split(b"\n")
        self._grow(first)
        for line in more:
            self._end()
            self._grow(line)

    def used(self, request: bytes = b"") -> Used:
        """What was used, once the last piece was fed. ``request`` is the body that the reply answers: where the reply
        tells no tokens, those of its texts are estimated."""
        self._end()
        told = self._told
        if not told.is_counted:
            n_in = _tokens(_length(_json(request)))
            return Used(n_in, _tokens(told.characters), 0, told.model, is_counted=False)
        apart = told.cached + told.written if told.is_exclusive else 0
        n_in = told.tokens_in + apart
        return Used(n_in, told.tokens_out, min(told.cached, n_in), told.model, written_in=told.written)

    def _grow(self, more: bytes) -> None:
        self._rest += more
        if len(self._rest) > self._max_bytes:
            del self._rest[: -self._tail_bytes]
            self._is_cut = True

    def _end(self) -> None:
        """A line is whole, or the body is."""
        if not self._rest:
            return
        part, is_cut = bytes(self._rest), self._is_cut
        self._rest, self._is_cut = bytearray(), False
        if is_cut:
            self._told.read_end(part[-self._tail_bytes :])
        elif self._is_whole:
            self._told.read_whole(part)
        elif part.startswith(b"data:"):
            self._told.read_event(part[5:])


class _Told:
    """What a reply has told so far. Counts of a stream grow, so the largest is the last."""

    def __init__(self) -> None:
        self.tokens_in = self.tokens_out = self.cached = self.written = self.characters = 0
        self.is_counted = self.is_exclusive = False
        self.model = ""

    def read_event(self, data: bytes) -> None:
        """An event of a stream; most tell nothing but text, and aren't parsed."""
        if _TOLD.search(data) or (not self.model and any(name in data for name in _MODEL)):
            self._take(_json(data))
        if not self.is_counted and b'.done"' not in data[:64]:  # which says again what its deltas said
            self._listen(data)

    def read_whole(self, body: bytes) -> None:
        """A document, an array of them, or one a line."""
        value = _json(body)
        for each in value if isinstance(value, list) else [value] if value is not None else _lines(body):
            self._take(each)
        if not self.is_counted:
            self._listen(body)

    def read_end(self, tail: bytes) -> None:
        """The last bytes of what was too long: the last usage in them counts."""
        for found in list(_TOLD.finditer(tail))[-1:]:
            text = tail[found.end() :].decode("utf-8", "replace")
            try:
                value, _ = _DECODER.raw_decode(text)
            except (ValueError, RecursionError):
                continue
            self._take({"usage": value})
        if not self.is_counted:
            self._listen(tail)

    def _listen(self, data: bytes) -> None:
        self.characters += sum(len(said[1].decode("utf-8", "replace")) for said in _SAID.finditer(data))

    def _take(self, value: object) -> None:
        if not isinstance(value, Mapping):
            return
        for each in (value, *(value.get(name) for name in _AROUND)):
            if isinstance(each, Mapping):
                self.model = self.model or _string(each, "model") or _string(each, "modelVersion")
                for name in ("usage", "usageMetadata", "meta"):
                    self._count(_inner(each, name))

    def _count(self, usage: Fields) -> None:
        usage = _inner(usage, "billed_units") or _inner(usage, "tokens") or usage
        n_in = _first(usage, "prompt_tokens", "input_tokens", "promptTokenCount", "inputTokens")
        n_out = _first(usage, "completion_tokens", "output_tokens", "candidatesTokenCount", "outputTokens")
        if n_in is None and n_out is None:
            return
        self.is_counted = True
        n_in = (n_in or 0) + (_first(usage, "toolUsePromptTokenCount") or 0)
        n_out = (n_out or 0) + (_first(usage, "thoughtsTokenCount") or _unsaid(usage, n_in, n_out or 0))
        cached, written = _cached(usage), _first(usage, "cache_creation_input_tokens", "cacheWriteInputTokens") or 0
        self.is_exclusive |= bool(usage.keys() & _EXCLUSIVE)
        self.tokens_in, self.tokens_out = max(self.tokens_in, n_in), max(self.tokens_out, n_out)
        self.cached, self.written = max(self.cached, cached), max(self.written, written)


# Anthropic's and Amazon's: what was read from a cache, or written to it, is not among the tokens in.
_EXCLUSIVE = frozenset(
    {"cache_read_input_tokens", "cache_creation_input_tokens", "cacheReadInputTokens", "cacheWriteInputTokens"}
)


def _cached(usage: Fields) -> int:
    """Tokens read from a prompt cache."""
    for name in ("prompt_tokens_details", "input_tokens_details"):
        if (found := _first(_inner(usage, name), "cached_tokens")) is not None:
            return found
    names = ("cache_read_input_tokens", "cacheReadInputTokens", "cachedContentTokenCount", "prompt_cache_hit_tokens")
    return _first(usage, *names) or 0


def _unsaid(usage: Fields, n_in: int, n_out: int) -> int:
    """Reasoning tokens that the tokens out are without, as xAI's are: the total tells."""
    n_reasoned = _first(_inner(usage, "completion_tokens_details"), "reasoning_tokens") or 0
    return n_reasoned if n_reasoned and _first(usage, "total_tokens") == n_in + n_out + n_reasoned else 0


def request_facts(provider: Provider, path: str, body: bytes) -> Facts:
    """What a request to ``provider`` at its own ``path`` says."""
    value = _json(body)
    fields: Fields = value if isinstance(value, Mapping) else {}
    path = unquote(path.strip("/"))
    named = _NAMED.search(path)
    model = _string(fields, "model") or _string(fields, "model_id") or (named[1] if named else "")
    is_stream = fields.get("stream") is True or any(name in path for name in _STREAMS)
    request_type, model_type = next((kinds for end, kinds in _KINDS if re.search(end, path)), ("", ""))
    if provider.slug == OURS and not request_type:
        model, request_type = path.removeprefix("run/"), "run"
    if provider.slug == "azure-openai":
        model = model or (path.split("/")[1] if "/" in path else "")
    elif provider.slug in ("huggingface", "fal"):
        model = model or path
    return Facts(model, is_stream, model_type, request_type)


# In a path: models/{model}:generateContent, model/{model}/invoke, models/{owner}/{model}/predictions.
_NAMED = re.compile(r"(?:^|/)models?/(.+?)(?=:[A-Za-z]+$|/(?:invoke|converse|predictions)|$)")
_STREAMS = (":streamGenerateContent", "/invoke-with-response-stream", "/converse-stream")
_KINDS = tuple(
    (rf"(?:^|[/:])(?:{end})$", kinds)
    for end, kinds in (
        ("chat/completions|chat", ("chat", "text")),
        ("completions", ("completion", "text")),
        ("responses", ("responses", "text")),
        ("messages", ("messages", "text")),
        ("generateContent|streamGenerateContent", ("generate", "text")),
        ("converse|converse-stream", ("converse", "text")),
        ("embeddings|embed|embedContent|batchEmbedContents", ("embeddings", "embeddings")),
        ("rerank", ("rerank", "rerank")),
        ("images/(?:generations|edits|variations)", ("image", "image")),
        ("audio/(?:transcriptions|translations)", ("transcription", "speech-to-text")),
        ("audio/speech", ("speech", "text-to-speech")),
    )
)


def _json(data: bytes) -> object:
    """None for what is no JSON."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _lines(body: bytes) -> Iterator[object]:
    return (_json(line) for line in body.splitlines())


def _inner(fields: Fields, name: str) -> Fields:
    value = fields.get(name)
    return value if isinstance(value, Mapping) else {}


def _string(fields: Fields, name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""


def _first(fields: Fields, *names: str) -> int | None:
    """The first count that there is. Some write them as floats."""
    for name in names:
        value = fields.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**53:
            return int(value)
    return None


def _tokens(characters: int) -> int:
    return -(-characters // CHARACTERS_A_TOKEN)


def _length(value: object) -> int:
    """The characters of a request's texts, about: without images and the names of things."""
    length, left = 0, [value]
    while left:
        match left.pop():
            case str(text):
                length += 0 if text.startswith("data:") else len(text)
            case list(items):
                left += items
            case dict(fields):
                left += [each for name, each in fields.items() if name not in _SILENT]
    return length
