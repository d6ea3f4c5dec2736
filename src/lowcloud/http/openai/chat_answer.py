"""Events folded into one whole answer of the chat format, and the pieces that streams share with it. No I/O."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from lowcloud.core.events import (
    Alternative,
    Event,
    Finished,
    FinishReason,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)
from lowcloud.http.encode import to_json

# Source: OpenAI's API reference, logprobs: what stands for "very unlikely". JSON has no infinity.
MIN_LOGPROB = -9999.0
NEURON_DIGITS = 6  # behind the point


@dataclass(frozen=True, slots=True)
class Head:
    """What each chunk repeats. ``created`` in seconds since 1970; ``model`` is the id that was asked for.

    ``service_tier`` is the one that answers, shown to those who asked for one.
    """

    id: str
    created: int
    model: str
    fingerprint: str
    service_tier: str | None = None

    def fields(self, kind: str) -> dict[str, object]:
        """The members in front of ``choices``."""
        tier = {} if self.service_tier is None else {"service_tier": self.service_tier}
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            **tier,
        }


def fingerprint(weights: str) -> str:
    """Names the weights and the engine that answer."""
    return f"fp_{weights}"


@dataclass(frozen=True, slots=True)
class Shape:
    """What of an answer depends on the request.

    ``custom`` are the names of custom tools. ``is_named``: the caller chose the tool, so that a call is no news and the
    finish reason is ``stop``. ``is_legacy``: calls are shown as ``function_call``. ``is_forced``: some tool is called.
    ``pads``: chunks are padded, so that their sizes tell less of what is in them. ``has_null_usage``: where the usage
    is included, the chunks before it say that they have none.
    """

    choices: int = 1
    has_logprobs: bool = False
    include_usage: bool = False
    has_null_usage: bool = True
    custom: frozenset[str] = frozenset()
    is_named: bool = False
    is_legacy: bool = False
    is_forced: bool = False
    pads: bool = False

    def finish_reason(self, reason: FinishReason) -> str:
        """As OpenAI gives it."""
        if reason != "tool_calls":
            return reason
        if self.is_named:
            return "stop"
        return "function_call" if self.is_legacy else reason


@dataclass(slots=True)
class _Call:
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    is_complete: bool = False


@dataclass(slots=True)
class _Choice:
    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    calls: dict[int, _Call] = field(default_factory=dict)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    reason: FinishReason | None = None


class WholeAnswer:
    """The fold of a stream into one answer. Feed it the same events."""

    def __init__(self, head: Head, shape: Shape) -> None:
        self._head = head
        self._shape = shape
        self._choices = [_Choice() for _ in range(shape.choices)]
        self._usage: Usage | None = None

    def feed(self, event: Event) -> None:
        """Take one event in."""
        match event:
            case TextDelta(choice=choice, text=text, logprobs=logprobs):
                self._choices[choice].text.append(text)
                self._choices[choice].logprobs.extend(logprobs)
            case ReasoningDelta(choice=choice, text=text):
                self._choices[choice].reasoning.append(text)
            case ToolCallDelta():
                call = self._choices[event.choice].calls.setdefault(event.call, _Call())
                call.id, call.name = event.id or call.id, event.name or call.name
                call.arguments.append(event.arguments)
                call.is_complete = event.is_complete
            case Finished(choice=choice, reason=reason):
                self._choices[choice].reason = reason
            case Usage():
                self._usage = event

    def fields(self) -> dict[str, object]:
        """The answer, once the events have ended."""
        if self._usage is None:
            raise RuntimeError("the engine's events ended too early")
        choices = [self._choice(index, choice) for index, choice in enumerate(self._choices)]
        fields = self._head.fields("chat.completion")
        return {**fields, "choices": choices, "usage": usage_fields(self._usage)}

    def body(self) -> bytes:
        """``fields`` as JSON."""
        return to_json(self.fields())

    def _choice(self, index: int, choice: _Choice) -> dict[str, object]:
        if choice.reason is None:
            raise RuntimeError("the engine's events ended too early")
        return {
            "index": index,
            "message": self._message(choice),
            "logprobs": logprob_fields(choice.logprobs) if self._shape.has_logprobs else None,
            "finish_reason": self._shape.finish_reason(choice.reason),
        }

    def _message(self, choice: _Choice) -> dict[str, object]:
        """A call that the length cut is left out: nobody is to run half of one."""
        calls = [call for _, call in sorted(choice.calls.items()) if call.is_complete]
        text, reasoning = "".join(choice.text), "".join(choice.reasoning)
        message: dict[str, object] = {"role": "assistant", "content": text, "refusal": None}
        if reasoning:
            message |= reasoning_fields(reasoning)
        if calls:
            message["content"] = text or None
            message |= self._called(calls)
        return message

    def _called(self, calls: Sequence[_Call]) -> dict[str, object]:
        if self._shape.is_legacy:
            return {"function_call": {"name": calls[0].name, "arguments": "".join(calls[0].arguments)}}
        shown = [call_fields(call.id, call.name, "".join(call.arguments), self._shape) for call in calls]
        return {"tool_calls": shown}


def reasoning_fields(text: str) -> dict[str, object]:
    """By both names that clients know."""
    return {"reasoning_content": text, "reasoning": text}


def call_fields(call_id: str, name: str, arguments: str, shape: Shape) -> dict[str, object]:
    """A call as the format shows it: of a function, or of a custom tool."""
    if name in shape.custom:
        return {"id": call_id, "type": "custom", "custom": {"name": name, "input": arguments}}
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def usage_fields(usage: Usage) -> dict[str, object]:
    """Counts in tokens, and the neurons where they are known."""
    cost = {} if usage.neurons is None else {"neurons": round(usage.neurons, NEURON_DIGITS)}
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "accepted_prediction_tokens": usage.accepted_prediction,
            "rejected_prediction_tokens": usage.rejected_prediction,
        },
        **cost,
    }


def logprob_fields(logprobs: Sequence[TokenLogprob]) -> dict[str, object]:
    """Log-probabilities as the format shows them."""
    content = [
        {**_alternative(each.sampled), "top_logprobs": [_alternative(one) for one in each.top]} for each in logprobs
    ]
    return {"content": content, "refusal": None}


def _alternative(one: Alternative) -> dict[str, object]:
    return {"token": one.token, "logprob": shown_logprob(one), "bytes": list(one.bytes)}


def shown_logprob(one: Alternative) -> float:
    """A number for JSON: neither -infinity nor, from an upstream, no number at all."""
    return max(MIN_LOGPROB, one.logprob)
