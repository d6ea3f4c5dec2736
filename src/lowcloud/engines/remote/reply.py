"""An upstream's chunks of a completion, as our events. Pure; one for each request.

A whole answer (``message`` instead of ``delta``) is read as one chunk, for upstreams that don't stream; a completion of
a text has ``text`` itself.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest

from lowcloud.core.events import (
    Alternative,
    Event,
    Finished,
    FinishReason,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    Usage,
)
from lowcloud.core.requests import Generate
from lowcloud.engines.remote.calls import BadCallError, CallReader
from lowcloud.engines.remote.failure import broken, complained
from lowcloud.engines.remote.upstream import Upstream

_LENGTH = frozenset({"length", "max_tokens", "model_length", "MAX_TOKENS"})
_COLUMNS = ("tokens", "token_logprobs", "top_logprobs")
_FAILED = frozenset({"error", "abort"})


@dataclass(slots=True)
class _Choice:
    calls: CallReader
    is_finished: bool = False
    has_text: bool = False
    has_logprobs: bool = False


@dataclass(slots=True)
class _Counts:
    """Pieces that came, for upstreams that send no usage."""

    completion: int = 0
    reasoning: int = 0
    given: Mapping[str, object] = field(default_factory=dict)


class Reply:
    """Feed it the chunks in order, then ``end``. ``prompt_tokens`` is our estimate, where the upstream gives none."""

    def __init__(self, upstream: Upstream, request: Generate, prompt_tokens: int, new_id: Callable[[], str]) -> None:
        self._upstream, self._request, self._prompt_tokens = upstream, request, prompt_tokens
        one = request.tools.at_most_one
        self._choices = [_Choice(CallReader(n, new_id, at_most_one=one)) for n in range(request.choices)]
        self._counts = _Counts()

    def take(self, chunk: object) -> Iterator[Event]:
        """The events of one chunk. Raises EngineFailed for one that is an error, or none at all."""
        if not isinstance(chunk, Mapping) or chunk.get("error") or chunk.get("object") == "error":
            raise complained(self._upstream, chunk)
        usage = chunk.get("usage")
        if isinstance(usage, Mapping):
            self._counts.given = usage
        choices = chunk.get("choices")
        for part in choices if isinstance(choices, list) else ():
            if isinstance(part, Mapping):
                yield from self._part(part)

    def end(self, *, is_whole: bool) -> Iterator[Event]:
        """The stream is over; ``is_whole``: the upstream said so. Raises EngineFailed where something is missing."""
        for number, choice in enumerate(self._choices):
            if not choice.is_finished and not (is_whole and (choice.has_text or choice.calls.has_calls)):
                raise broken(
                    self._upstream, "broke its answer off" if not is_whole else _missing(number, self._choices)
                )
            yield from self._finished(number, choice, "stop")
        yield self._usage()

    def _part(self, part: Mapping[str, object]) -> Iterator[Event]:
        index = part.get("index")
        number = index if isinstance(index, int) else 0
        if not 0 <= number < len(self._choices) or self._choices[number].is_finished:
            return
        choice = self._choices[number]
        delta = part.get("delta")
        delta = delta if isinstance(delta, Mapping) else part.get("message", {"content": part.get("text")})
        if isinstance(delta, Mapping):
            yield from self._delta(number, delta, _logprobs(part.get("logprobs"), self._request.top_logprobs))
        reason = part.get("finish_reason")
        if isinstance(reason, str) and reason:
            yield from self._finished(number, choice, reason, part.get("stop_reason"))

    def _delta(self, number: int, delta: Mapping[str, object], logprobs: tuple[TokenLogprob, ...]) -> Iterator[Event]:
        choice = self._choices[number]
        thought = _first_text(delta, ("reasoning_content", "reasoning", "thinking"))
        text = _first_text(delta, ("content", "refusal"))
        if isinstance(parts := delta.get("content"), list):
            thought, text = thought + _joined(parts, "thinking"), _joined(parts, "text")
        self._counts.completion += bool(thought)
        self._counts.reasoning += bool(thought)
        if thought:
            yield ReasoningDelta(number, thought)
        calls = _calls(delta)
        if text or (logprobs and not thought and not calls):
            choice.has_text = True
            choice.has_logprobs |= bool(logprobs)
            self._counts.completion += max(1, len(logprobs))
            yield TextDelta(number, text, logprobs)
        for call in calls:
            self._counts.completion += 1
            try:
                yield from choice.calls.take(call)
            except BadCallError as error:
                raise broken(self._upstream, str(error)) from None

    def _finished(self, number: int, choice: _Choice, reason: str, stop: object = None) -> Iterator[Event]:
        """Raises EngineFailed where the answer isn't what was asked for: it must not look as if it were.

        ``stop`` is the stop sequence that ended it, which vLLM alone tells.
        """
        if choice.is_finished:
            return
        if reason in _FAILED:
            raise broken(self._upstream, f"ended its answer with {reason!r}")
        is_cut = reason in _LENGTH
        try:
            yield from choice.calls.close(is_cut=is_cut)
        except BadCallError as error:
            raise broken(self._upstream, str(error)) from None
        self._check(choice, is_cut=is_cut)
        choice.is_finished = True
        sequence = stop if isinstance(stop, str) and stop in self._request.stop else None
        yield Finished(number, _reason(choice, is_cut=is_cut), sequence)

    def _check(self, choice: _Choice, *, is_cut: bool) -> None:
        mode = self._request.tools.mode
        if mode == "required" and not choice.calls.has_calls and not is_cut:
            raise broken(self._upstream, "called no tool, though one was required")
        if mode == "none" and choice.calls.has_calls:
            raise broken(self._upstream, "called a tool, though none was offered")
        if self._request.top_logprobs is not None and choice.has_text and not choice.has_logprobs:
            raise broken(self._upstream, "gives no log-probabilities")

    def _usage(self) -> Usage:
        given, counts = self._counts.given, self._counts
        prompt, completion = _count(given, "prompt_tokens"), _count(given, "completion_tokens")
        cached = _count(given.get("prompt_tokens_details"), "cached_tokens")
        details = given.get("completion_tokens_details")
        reasoning = _count(details, "reasoning_tokens")
        return Usage(
            prompt=self._prompt_tokens if prompt is None else prompt,
            cached=cached or 0,
            completion=counts.completion if completion is None else completion,
            reasoning=counts.reasoning if reasoning is None else reasoning,
            accepted_prediction=_count(details, "accepted_prediction_tokens") or 0,
            rejected_prediction=_count(details, "rejected_prediction_tokens") or 0,
        )


def _missing(number: int, choices: list[_Choice]) -> str:
    return f"gave no answer number {number + 1} of {len(choices)}" if len(choices) > 1 else "gave an empty answer"


def _reason(choice: _Choice, *, is_cut: bool) -> FinishReason:
    if is_cut:
        return "length"
    return "tool_calls" if choice.calls.has_calls else "stop"


def _calls(delta: Mapping[str, object]) -> list[Mapping[str, object]]:
    calls = delta.get("tool_calls")
    found = [call for call in calls if isinstance(call, Mapping)] if isinstance(calls, list) else []
    legacy = delta.get("function_call")
    return [*found, {"index": 0, "function": legacy}] if isinstance(legacy, Mapping) else found


def _first_text(delta: Mapping[str, object], names: tuple[str, ...]) -> str:
    """The first of these members that is a text and not empty; some upstreams send the same under two names."""
    return next((whole(text) for name in names if isinstance(text := delta.get(name), str) and text), "")


def _joined(parts: list[object], kind: str) -> str:
    """Content as parts, as Mistral's thinking models give it: the texts of one kind."""
    texts = [part.get(kind) for part in parts if isinstance(part, Mapping) and part.get("type") == kind]
    inner = [_joined(text, "text") if isinstance(text, list) else text for text in texts]
    return whole("".join(text for text in inner if isinstance(text, str)))


def whole(text: str) -> str:
    """JSON may hold half of a surrogate pair, which no UTF-8 has: it becomes U+FFFD."""
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _logprobs(value: object, top: int | None) -> tuple[TokenLogprob, ...]:
    """Empty where none were asked for."""
    if top is None or not isinstance(value, Mapping):
        return ()
    if isinstance(value.get("tokens"), list):
        return _old_logprobs(value, top)
    content = value.get("content")
    tokens = [token for token in content if isinstance(token, Mapping)] if isinstance(content, list) else []
    return tuple(TokenLogprob(_alternative(token), _top(token, top)) for token in tokens)


def _old_logprobs(value: Mapping[str, object], top: int) -> tuple[TokenLogprob, ...]:
    """The form of completions: three lists side by side; the likeliest tokens are an object, by their texts."""
    columns = [column if isinstance(column := value.get(name), list) else [] for name in _COLUMNS]
    rows = list(zip_longest(*columns))[: len(columns[0])]
    return tuple(
        TokenLogprob(_alternative({"token": token, "logprob": logprob}), _ranked(likeliest, top))
        for token, logprob, likeliest in rows
    )


def _ranked(likeliest: object, top: int) -> tuple[Alternative, ...]:
    pairs = likeliest.items() if isinstance(likeliest, Mapping) else ()
    found = [_alternative({"token": token, "logprob": logprob}) for token, logprob in pairs]
    return tuple(sorted(found, key=lambda one: -one.logprob)[:top])


def _top(token: Mapping[str, object], top: int) -> tuple[Alternative, ...]:
    listed = token.get("top_logprobs")
    found = [_alternative(one) for one in listed if isinstance(one, Mapping)] if isinstance(listed, list) else []
    return tuple(found[:top])


def _alternative(token: Mapping[str, object]) -> Alternative:
    text, logprob, given = token.get("token"), token.get("logprob"), token.get("bytes")
    text = whole(text) if isinstance(text, str) else ""
    is_bytes = isinstance(given, list) and all(isinstance(one, int) and 0 <= one < 256 for one in given)
    data = bytes(given) if is_bytes and isinstance(given, list) else text.encode()
    return Alternative(text, data, float(logprob) if isinstance(logprob, int | float) else float("-inf"))


def _count(value: object, name: str) -> int | None:
    count = value.get(name) if isinstance(value, Mapping) else None
    return count if isinstance(count, int) and not isinstance(count, bool) and count >= 0 else None
