"""Events to the chat format's bytes: chunk by chunk, or folded into one answer. No I/O.

Chunks are built from prepared bytes, since 64 streams run through here token by token.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from lowcloud.core.events import Alternative, Event, Finished, Started, TextDelta, TokenLogprob, Usage
from lowcloud.http.encode import to_json

MIN_LOGPROB = -9999.0  # what OpenAI says for a token that can't come; JSON has no -Infinity


@dataclass(frozen=True, slots=True)
class Head:
    """What each chunk repeats. ``created`` in seconds since 1970; ``model`` is the id that was asked for."""

    id: str
    created: int
    model: str
    fingerprint: str

    def fields(self, kind: str) -> dict[str, object]:
        """The members in front of ``choices``."""
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        }


def fingerprint(weights: str) -> str:
    """Names the weights and the engine that answer."""
    return f"fp_{weights}"


class ChunkWriter:
    """Writes a stream. Feed it the events in order, beginning with ``Started``."""

    def __init__(self, head: Head, choices: int, *, include_usage: bool) -> None:
        fields = to_json(head.fields("chat.completion.chunk"))
        self._begin = b"data: " + fields[:-1] + b',"choices":['
        self._choices = choices
        self._include_usage = include_usage
        self._end = b'],"usage":null}\n\n' if include_usage else b"]}\n\n"

    def feed(self, event: Event) -> bytes:
        """The whole SSE events that ``event`` becomes; empty where it becomes none."""
        match event:
            case TextDelta(choice=choice, text=text, logprobs=logprobs) if text or logprobs:
                shown = to_json(logprob_fields(logprobs)) if logprobs else b"null"
                return self._chunk(choice, b'{"content":%b}' % to_json(text), shown, b"null")
            case Started():
                role = b'{"role":"assistant","content":"","refusal":null}'
                return b"".join(self._chunk(choice, role, b"null", b"null") for choice in range(self._choices))
            case Finished(choice=choice, reason=reason):
                return self._chunk(choice, b"{}", b"null", b'"%b"' % reason.encode())
            case Usage() if self._include_usage:
                return self._begin + b'],"usage":%b}\n\n' % to_json(usage_fields(event))
        return b""

    def _chunk(self, choice: int, delta: bytes, logprobs: bytes, reason: bytes) -> bytes:
        body = b'{"index":%d,"delta":%b,"logprobs":%b,"finish_reason":%b}' % (choice, delta, logprobs, reason)
        return self._begin + body + self._end


@dataclass(slots=True)
class _Choice:
    text: list[str] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    reason: str | None = None


class WholeAnswer:
    """The fold of a stream into one answer. Feed it the same events."""

    def __init__(self, head: Head, choices: int, *, has_logprobs: bool) -> None:
        self._head = head
        self._choices = [_Choice() for _ in range(choices)]
        self._has_logprobs = has_logprobs
        self._usage: Usage | None = None

    def feed(self, event: Event) -> None:
        """Take one event in."""
        match event:
            case TextDelta(choice=choice, text=text, logprobs=logprobs):
                self._choices[choice].text.append(text)
                self._choices[choice].logprobs.extend(logprobs)
            case Finished(choice=choice, reason=reason):
                self._choices[choice].reason = reason
            case Usage():
                self._usage = event

    def body(self) -> bytes:
        """The answer, once the events have ended."""
        if self._usage is None or any(choice.reason is None for choice in self._choices):
            raise RuntimeError("the engine's events ended too early")
        choices = [self._choice(index, choice) for index, choice in enumerate(self._choices)]
        fields = self._head.fields("chat.completion")
        return to_json({**fields, "choices": choices, "usage": usage_fields(self._usage)})

    def _choice(self, index: int, choice: _Choice) -> dict[str, object]:
        return {
            "index": index,
            "message": {"role": "assistant", "content": "".join(choice.text), "refusal": None},
            "logprobs": logprob_fields(choice.logprobs) if self._has_logprobs else None,
            "finish_reason": choice.reason,
        }


def usage_fields(usage: Usage) -> dict[str, object]:
    """Counts in tokens."""
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
    }


def logprob_fields(logprobs: Sequence[TokenLogprob]) -> dict[str, object]:
    """Log-probabilities as the format shows them."""
    content = [
        {**_alternative(each.sampled), "top_logprobs": [_alternative(one) for one in each.top]} for each in logprobs
    ]
    return {"content": content, "refusal": None}


def _alternative(one: Alternative) -> dict[str, object]:
    return {"token": one.token, "logprob": max(one.logprob, MIN_LOGPROB), "bytes": list(one.bytes)}
