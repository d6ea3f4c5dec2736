"""Tokens and the model, out of a request and out of a reply's bytes, whole or streamed. Pure.

A stream is read as it passes and isn't kept: of each event only what it tells of usage is parsed. The forms are told
apart by their fields, since one provider may speak several (DeepSeek and OpenRouter have Anthropic's too).

Source: the references of OpenAI (chat, responses, embeddings), Anthropic (messages), Google (generateContent), Cohere
(chat v1 and v2, embed), Amazon (converse) and Workers AI, read 2026-11.
"""

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple, TypeAlias
from urllib.parse import unquote

from lowcloud.gateway.call import OURS
from lowcloud.gateway.providers import MAX_PATH_CHARS, Provider

CHARACTERS_A_TOKEN = 4
MAX_BYTES = 2**20  # of an event, or of a reply that is no stream: of a longer one only the end is read
TAIL_BYTES = 2**16
BATCH_BYTES = 2**15
Fields: TypeAlias = Mapping[str, object]
_DECODER = json.JSONDecoder()
# What comes after the first letters is looked for at their places alone, which is how these are fast.
_TOLD = tuple(
    re.compile(b'"' + name + rb'"[ \t\r\n]{0,8}:[ \t\r\n]{0,8}(?=\{)') for name in (b"usage(?:Metadata)?", b"meta")
)
_SAID = re.compile(
    rb'"(?:content|text|response|reasoning|reasoning_content|arguments|partial_json|thinking|delta)"'
    rb'[ \t]{0,8}:[ \t]{0,8}"((?:[^"\\\n]|\\[^\n])*+)"'
)
_AROUND = ("response", "message", "delta", "result", "x_groq")  # what usage may be within
# Strings of a request that are no text, or hardly any.
_SILENT = frozenset({"data", "b64_json", "url", "image_url", "model", "role", "type", "id", "name"})


class Used(NamedTuple):
    """Tokens of a call. ``tokens_in`` has those that were read from a prompt cache (``cached_in``) and written to it
    (``written_in``). Not ``is_counted``: what of them the provider didn't tell is estimated from the texts' lengths."""

    tokens_in: int
    tokens_out: int
    cached_in: int = 0
    model: str = ""
    is_counted: bool = True
    written_in: int = 0


class Facts(NamedTuple):
    """What a request says of itself; '' where it says nothing. ``request_type`` is its API, as ``chat``
    or ``messages``; ``model_type`` what its model does, as ``text`` or ``embeddings``."""

    model: str = ""
    is_stream: bool = False
    model_type: str = ""
    request_type: str = ""


class UsageReader:
    """Feed it the pieces of a reply's body, cut anywhere: the same bytes give the same. It holds ``max_bytes``, about.

    Events are read many at a time, since a stream has a thousand small ones.
    """

    def __init__(
        self, max_bytes: int = MAX_BYTES, tail_bytes: int = TAIL_BYTES, batch_bytes: int = BATCH_BYTES
    ) -> None:
        self._max_bytes, self._tail_bytes, self._batch_bytes = max_bytes, tail_bytes, batch_bytes
        self._rest = bytearray()
        self._next = batch_bytes  # when so much is held, it is read
        self._is_cut = self._is_whole = self._has_begun = False
        self._closing = b""  # the last character of a whole reply
        self._told = _Told()

    def feed(self, piece: bytes) -> None:
        """The next bytes of the body."""
        if not self._has_begun:
            piece = piece.lstrip()
            self._has_begun, self._closing = bool(piece), _CLOSING.get(piece[:1], b"")
            self._is_whole = bool(self._closing)
        self._rest += piece
        if len(self._rest) > self._next:
            end = -1 if self._is_whole else self._rest.rfind(b"\n")
            if end >= 0:
                lines = bytes(self._rest[:end])
                del self._rest[: end + 1]
                self._read(lines)
            self._cut()
            self._next = len(self._rest) + self._batch_bytes

    def used(self, request: bytes = b"") -> Used:
        """What was used, once the last piece was fed. ``request`` is the body that the reply answers: where the reply
        tells no tokens, those of its texts are estimated. A reply that ended early may have told them for less than
        came: those of the texts that came since are added, estimated."""
        rest, self._rest = bytes(self._rest), bytearray()
        if not self._is_whole:
            self._read(rest)
        elif self._is_cut or len(rest) > self._max_bytes:
            self._told.read_part(rest[-self._tail_bytes :], is_closed=rest.rstrip().endswith(self._closing))
        else:
            self._told.read_whole(rest, is_closed=rest.rstrip().endswith(self._closing))
        self._is_cut = False
        told = self._told
        if not told.is_counted:
            n_in = _tokens(_length(_json(request)))
            return Used(n_in, told.tokens_out, 0, told.model, is_counted=False)
        apart = told.cached + told.written if told.is_exclusive else 0
        n_in = told.tokens_in + apart
        is_counted = told.tokens_out == told.told_out
        return Used(n_in, told.tokens_out, min(told.cached, n_in), told.model, is_counted, told.written)

    def _cut(self) -> None:
        """Only the end of a line is kept that is too long."""
        if len(self._rest) > self._max_bytes:
            del self._rest[: -self._tail_bytes]
            self._is_cut = True

    def _read(self, lines: bytes) -> None:
        """Lines without the end of the last one. The first may be what was kept of a longer one."""
        if self._is_cut or len(lines) > self._max_bytes:
            each = lines.split(b"\n")
            long = [line for at, line in enumerate(each) if len(line) > self._max_bytes or (self._is_cut and at == 0)]
            for line in long:
                self._told.read_part(line[-self._tail_bytes :])
            first = 1 if self._is_cut else 0
            lines = b"\n".join(line for line in each[first:] if len(line) <= self._max_bytes)
            self._is_cut = False
        self._told.read_events(lines)


_CLOSING = {b"{": b"}", b"[": b"]"}


class _Told:
    """What a reply has told so far. Counts of a stream grow, so the largest is the last.

    Some tell the tokens out before the end, as Anthropic's first event does and each of Google's. So they are for what
    came up to them: ``characters`` of text came since the last that told some, which was ``covered``.
    """

    def __init__(self) -> None:
        self.tokens_in = self.told_out = self.covered = self.cached = self.written = self.characters = 0
        self.is_counted = self.is_exclusive = False
        self.model = ""

    @property
    def tokens_out(self) -> int:
        """Those that were told, and those of what came since."""
        return max(self.told_out, self.covered + _tokens(self.characters))

    def read_events(self, lines: bytes) -> None:
        """Lines of a stream of events. Most tell nothing but text, and aren't parsed."""
        heard = 0
        for found in _told_in(lines):
            end, is_covered = self._take_line(lines, found.start())
            heard = end if is_covered else heard
        at = 0
        while not self.model and (at := lines.find(b'"model', at)) >= 0:
            at, _ = self._take_line(lines, at)
        lines = lines[heard:]
        if b'.done"' in lines:  # such events say again what their deltas said
            lines = b"\n".join(line for line in lines.split(b"\n") if b'.done"' not in line[:64])
        self._listen(lines)

    def _take_line(self, lines: bytes, at: int) -> tuple[int, bool]:
        """Reads the line that ``at`` is in; says where it ends, and whether it told tokens out."""
        begin, end = lines.rfind(b"\n", 0, at) + 1, lines.find(b"\n", at)
        end = len(lines) if end < 0 else end
        return end, lines.startswith(b"data:", begin) and self._take(_json(lines[begin + 5 : end]))

    def read_whole(self, body: bytes, *, is_closed: bool) -> None:
        """A document, an array of them, or one a line; it was cut where it isn't closed."""
        value = _json(body)
        if value is None:
            for each in _lines(body):
                self._take(each)
            self.read_part(body, is_closed=is_closed)
            return
        for each in value if isinstance(value, list) else [value]:
            self._take(each)
        if not self.is_counted:
            self._listen(body)

    def read_part(self, part: bytes, *, is_closed: bool = False) -> None:
        """The last bytes of something. The last usage in them is for what came before it; of a reply that came to its
        end, and is no stream, for all of it."""
        heard = self._take_last(part)
        if not (is_closed and self.is_counted):
            self._listen(part[heard:])

    def _take_last(self, part: bytes) -> int:
        """Reads the last usage in a part; says where the line ends that told tokens out, 0 where none did."""
        for found in _told_in(part)[-1:]:
            text = part[found.end() :].decode("utf-8", "replace")
            try:
                value, _ = _DECODER.raw_decode(text)
            except (ValueError, RecursionError):
                continue
            if self._take({"usage": value}):
                end = part.find(b"\n", found.end())
                return len(part) if end < 0 else end
        return 0

    def _listen(self, data: bytes) -> None:
        self.characters += len(b"".join(_SAID.findall(data)).decode("utf-8", "replace"))

    def _take(self, value: object) -> bool:
        """Whether it told tokens out."""
        if not isinstance(value, dict):
            return False
        is_covered = self._take_one(value)
        for name in _AROUND:
            if inner := _inner(value, name):
                is_covered |= self._take_one(inner)
        return is_covered

    def _take_one(self, fields: Fields) -> bool:
        self.model = self.model or _string(fields, "model") or _string(fields, "modelVersion")
        is_covered = False
        for name in ("usage", "usageMetadata", "meta"):
            if usage := _inner(fields, name):
                is_covered |= self._count(usage)
        return is_covered

    def _count(self, usage: Fields) -> bool:
        usage = _inner(usage, "billed_units") or _inner(usage, "tokens") or usage
        n_in = _first(usage, "prompt_tokens", "input_tokens", "promptTokenCount", "inputTokens")
        n_out = _first(usage, "completion_tokens", "output_tokens", "candidatesTokenCount", "outputTokens")
        if n_in is None and n_out is None:
            return False
        is_covered = bool(n_out)  # none, or 0, says nothing of a text that came
        self.is_counted = True
        n_in = (n_in or 0) + (_first(usage, "toolUsePromptTokenCount") or 0)
        n_out = (n_out or 0) + (_first(usage, "thoughtsTokenCount") or _unsaid(usage, n_in, n_out or 0))
        cached, written = _cached(usage), _first(usage, "cache_creation_input_tokens", "cacheWriteInputTokens") or 0
        self.is_exclusive |= bool(usage.keys() & _EXCLUSIVE)
        self.tokens_in, self.told_out = max(self.tokens_in, n_in), max(self.told_out, n_out)
        self.cached, self.written = max(self.cached, cached), max(self.written, written)
        if is_covered:
            self.covered, self.characters = self.told_out, 0
        return is_covered


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
    """What a request to ``provider`` at its own ``path`` says; a path that is too long to be sent says nothing."""
    value = _json(body)
    fields: Fields = value if isinstance(value, dict) else {}
    path, said = _facts_of_path(path) if len(path) <= MAX_PATH_CHARS else ("", Facts())
    model = _string(fields, "model") or _string(fields, "model_id") or said.model
    is_stream = fields.get("stream") is True or said.is_stream
    request_type, model_type = said.request_type, said.model_type
    if provider.slug == OURS and not request_type:
        model, request_type = model if path == "run" else path.removeprefix("run/"), "run"
    if provider.slug == "azure-openai":
        model = model or (path.split("/")[1] if "/" in path else "")
    elif provider.slug in ("huggingface", "fal"):
        model = model or _FAL_HOST.sub("", path)
    return Facts(model, is_stream, model_type, request_type)


@lru_cache(maxsize=256)  # the paths of a provider are few, unless they name models
def _facts_of_path(path: str) -> tuple[str, Facts]:
    """A path as it is to be read, and what it says of its request."""
    path = unquote(path.strip("/"))
    named = _NAMED.search(path)
    request_type, model_type = next((kinds for end, kinds in _KINDS if re.search(end, path)), ("", ""))
    return path, Facts(named[1] if named else "", any(name in path for name in _STREAMS), model_type, request_type)


_FAL_HOST = re.compile(r"^[a-z0-9.-]+\.fal\.(?:run|ai)/")
# In a path: models/{model}:generateContent, model/{model}/invoke, models/{owner}/{model}/predictions.
_NAMED = re.compile(r"(?:^|/)models?/(.+?)(?=:[A-Za-z]+$|/(?:invoke|converse|predictions)|$)", re.DOTALL)
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


def _told_in(data: bytes) -> list[re.Match[bytes]]:
    """Where usage begins."""
    return sorted((found for told in _TOLD for found in told.finditer(data)), key=re.Match.start)


def _lines(body: bytes) -> Iterator[object]:
    return (_json(line) for line in body.splitlines())


def _inner(fields: Fields, name: str) -> Fields:
    value = fields.get(name)
    return value if isinstance(value, dict) else {}


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
