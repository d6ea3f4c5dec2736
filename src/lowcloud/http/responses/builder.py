"""The core's events to a response: its output items, the events of its stream, and its last state. No I/O.

``Builder`` makes them as they come; ``replayed`` makes the same events of a response that was kept. Both write through
``Stream``, which owns the nesting and the numbers. A response is the fold of its own events.

Source: the types of openai's Python SDK 3.54 (types/responses/response_stream_event.py) and the Open Responses
specification of 2026-04-24.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from lowcloud.core.errors import BadRequest, LowcloudError, Overloaded
from lowcloud.core.events import (
    Event,
    Finished,
    FinishReason,
    ReasoningDelta,
    Started,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)
from lowcloud.http.openai.chat_answer import NEURON_DIGITS, logprob_fields

Fields: TypeAlias = dict[str, Any]
# Of each item its deltas' lengths in characters; those of a text with log-probabilities are pairs, with their number.
Pieces: TypeAlias = list[list[Any]]
OVER = {"completed": "response.completed", "incomplete": "response.incomplete", "failed": "response.failed"}
_OF_THE_END = frozenset({"status", "output", "completed_at", "error", "incomplete_details", "usage"})
_CANCELLED_EVENT = "response.incomplete"  # the SDKs know no other that could end the stream of one


@dataclass(frozen=True, slots=True)
class Plan:
    """What of a response is settled before it runs.

    ``head`` is the object without ``status``, ``output`` and what the end brings. ``custom`` are the names of custom
    tools. Calls beyond ``max_tool_calls`` aren't shown. ``seal`` makes a reasoning item's ``encrypted_content``.
    """

    head: Mapping[str, object]
    custom: frozenset[str] = frozenset()
    has_logprobs: bool = False
    max_tool_calls: int | None = None
    seal: Callable[[str], str] | None = None

    @property
    def id(self) -> str:
        return str(self.head["id"])

    @property
    def is_background(self) -> bool:
        return self.head.get("background") is True

    def item_id(self, prefix: str, place: int) -> str:
        """The id of the output item at ``place``: the same when the response is made again."""
        return f"{prefix}_{self.id.partition('_')[2]}{place:03x}"


def snapshot(head: Mapping[str, object], status: str, output: Sequence[object] = (), **end: object) -> Fields:
    """The response object: ``end`` are the members that its end brings."""
    rest = {"completed_at": None, "error": None, "incomplete_details": None, "usage": None, **end}
    return {**head, "status": status, "output": list(output), **rest}


class Stream:
    """The items of an output, one open at a time, and their events with their numbers."""

    def __init__(self) -> None:
        self.output: list[Fields] = []
        self.pieces: Pieces = []
        self._n_events = 0
        self._texts: list[str] = []
        self._logprobs: list[Fields] = []
        self._is_open = False

    @property
    def text(self) -> str:
        """What the open item has of it."""
        return "".join(self._texts)

    def lifecycle(self, kind: str, response: Fields) -> Fields:
        """An event that carries the response."""
        return self._event(kind, response=response)

    def is_open(self, **members: object) -> bool:
        """Whether the open item has these members."""
        return self._is_open and all(self.output[-1].get(name) == value for name, value in members.items())

    def open(self, item: Fields) -> list[Fields]:
        """Begin an item, whose text is empty and whose status is ``in_progress``."""
        self.output.append(item)
        self.pieces.append([])
        self._texts, self._logprobs, self._is_open = [], [], True
        events = [self._event("response.output_item.added", output_index=self._place, item=dict(item))]
        part = _PARTS.get(item["type"])
        if part is not None:
            events.append(self._event("response.content_part.added", **self._at_part, part=part("", [])))
        return events

    def delta(self, text: str, logprobs: Sequence[Fields] | None = None) -> Fields:
        """A piece of the open item's text, reasoning, arguments or input."""
        kind = self.output[-1]["type"]
        self._texts.append(text)
        self.pieces[-1].append(len(text) if logprobs is None else [len(text), len(logprobs)])
        more: Fields = {}
        if kind == "message":
            self._logprobs += logprobs or ()
            more = {"logprobs": list(logprobs or ())}
        return self._event(f"{_STREAMED[kind][0]}.delta", **self._at, delta=text, **more)

    def close(self, status: str, **members: object) -> list[Fields]:
        """End the open item, if there is one. ``members`` are those that its end brings."""
        if not self._is_open:
            return []
        self._is_open = False
        item, text = self.output[-1], self.text
        name, member = _STREAMED[item["type"]]
        logprobs = {"logprobs": list(self._logprobs)} if item["type"] == "message" else {}
        events = [self._event(f"{name}.done", **self._at, **{member: text}, **logprobs)]
        part = _PARTS.get(item["type"])
        if part is None:
            item[member] = text
        else:
            shown = part(text, self._logprobs)
            item["content"] = [shown]
            events.append(self._event("response.content_part.done", **self._at_part, part=shown))
        item |= {"status": status, **members}
        return [*events, self._event("response.output_item.done", output_index=self._place, item=dict(item))]

    @property
    def _place(self) -> int:
        return len(self.output) - 1

    @property
    def _at_part(self) -> Fields:
        return {"item_id": self.output[-1]["id"], "output_index": self._place, "content_index": 0}

    @property
    def _at(self) -> Fields:
        at = self._at_part
        if self.output[-1]["type"] not in _PARTS:
            del at["content_index"]
        return at

    def _event(self, kind: str, **fields: object) -> Fields:
        event = {"type": kind, "sequence_number": self._n_events, **fields}
        self._n_events += 1
        return event


class Builder:
    """Makes one response of the events of its generation; ``begin``, ``feed`` each event, then one of the ends."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._stream = Stream()
        self._reason: FinishReason = "stop"
        self._usage: Usage | None = None

    @property
    def pieces(self) -> Pieces:
        """What ``replayed`` needs beside the response."""
        return self._stream.pieces

    def begin(self) -> list[Fields]:
        """The events before there is any output."""
        return _beginning(self._stream, self._plan.head)

    def feed(self, event: Event) -> list[Fields]:
        """The events that ``event`` becomes."""
        match event:
            case TextDelta(text=text, logprobs=logprobs) if text or (logprobs and self._plan.has_logprobs):
                shown = _logprobs(logprobs) if self._plan.has_logprobs else None
                return [*self._message(), self._stream.delta(text, shown)]
            case ReasoningDelta(text=text) if text:
                return [*self._reasoning(), self._stream.delta(text)]
            case ToolCallDelta():
                return self._call(event)
            case Finished(reason=reason):
                self._reason = reason
            case Usage():
                self._usage = event
            case Started() | TextDelta() | ReasoningDelta():
                pass
        return []

    def finished(self, now: float) -> tuple[list[Fields], Fields]:
        """The events that close what is open, and the response, complete or cut, at ``now``."""
        if self._usage is None:
            raise RuntimeError("the engine's events ended too early")
        is_cut = self._reason == "length"
        events = [] if self._stream.output else self._message()
        events += self._close("incomplete" if is_cut else "completed")
        details = {"incomplete_details": {"reason": "max_output_tokens"}} if is_cut else {"completed_at": int(now)}
        return events, self._snapshot("incomplete" if is_cut else "completed", **details)

    def prepared(self, prompt_tokens: int, now: float) -> Fields:
        """The response where it was to make no output."""
        self._usage = Usage(prompt_tokens, 0, 0)
        return self._snapshot("completed", completed_at=int(now))

    def failed(self, error: LowcloudError) -> tuple[list[Fields], Fields]:
        """The same where it failed: what is there of the output stays."""
        return self._close("incomplete"), self._snapshot("failed", error=error_fields(error))

    def cancelled(self) -> tuple[list[Fields], Fields]:
        """The same where its caller cancelled it."""
        return self._close("incomplete"), self._snapshot("cancelled")

    def last(self, response: Fields) -> Fields:
        """The event that ends the stream."""
        return self._stream.lifecycle(OVER.get(response["status"], _CANCELLED_EVENT), response)

    def _snapshot(self, status: str, **end: object) -> Fields:
        usage = None if self._usage is None else usage_fields(self._usage)
        return snapshot(self._plan.head, status, self._stream.output, usage=usage, **end)

    def _message(self) -> list[Fields]:
        return self._opened("message", "msg", role="assistant", content=[])

    def _reasoning(self) -> list[Fields]:
        return self._opened("reasoning", "rs", summary=[], content=[])

    def _opened(self, kind: str, prefix: str, **members: object) -> list[Fields]:
        """The events that begin an item of a kind, unless one is open."""
        if self._stream.is_open(type=kind):
            return []
        events = self._close("completed")
        item_id = self._plan.item_id(prefix, len(self._stream.output))
        return events + self._stream.open({"type": kind, "id": item_id, "status": "in_progress", **members})

    def _call(self, delta: ToolCallDelta) -> list[Fields]:
        most = self._plan.max_tool_calls
        if most is not None and delta.call >= most:
            return []
        events = [] if delta.name is None else self._begin_call(delta.name)
        if delta.arguments:
            events.append(self._stream.delta(delta.arguments))
        return events + (self._stream.close("completed") if delta.is_complete else [])

    def _begin_call(self, name: str) -> list[Fields]:
        """Calls get ids of ours, since those of a model or an upstream may come twice."""
        events = self._close("completed")
        place = len(self._stream.output)
        is_custom = name in self._plan.custom
        item: Fields = {
            "type": "custom_tool_call" if is_custom else "function_call",
            "id": self._plan.item_id("ctc" if is_custom else "fc", place),
            "call_id": self._plan.item_id("call", place),
            "name": name,
            "input" if is_custom else "arguments": "",
            "status": "in_progress",
        }
        return events + self._stream.open(item)

    def _close(self, status: str) -> list[Fields]:
        """A call that is still open was cut, whatever becomes of the response."""
        is_call = self._stream.is_open(type="function_call") or self._stream.is_open(type="custom_tool_call")
        members: Fields = {}
        if self._plan.seal is not None and self._stream.is_open(type="reasoning"):
            members["encrypted_content"] = self._plan.seal(self._stream.text)
        return self._stream.close("incomplete" if is_call else status, **members)


def replayed(response: Mapping[str, Any], pieces: Pieces) -> list[Fields]:
    """The events of a response that is over, as they were when it was made; ``pieces`` are its builder's."""
    stream = Stream()
    events = _beginning(stream, _head_of(response))
    for item, lengths in zip(response["output"], pieces, strict=True):
        events += _replayed_item(stream, item, lengths)
    kind = OVER.get(response["status"], _CANCELLED_EVENT)
    return [*events, stream.lifecycle(kind, dict(response))]


def queued(response: Mapping[str, Any]) -> list[Fields]:
    """The events of a response in the background that nobody runs yet."""
    return _beginning(Stream(), _head_of(response))[:2]


def _head_of(response: Mapping[str, Any]) -> Fields:
    return {name: value for name, value in response.items() if name not in _OF_THE_END}


def _beginning(stream: Stream, head: Mapping[str, object]) -> list[Fields]:
    is_background = head.get("background") is True
    events = [stream.lifecycle("response.created", snapshot(head, "queued" if is_background else "in_progress"))]
    if is_background:
        events.append(stream.lifecycle("response.queued", snapshot(head, "queued")))
    return [*events, stream.lifecycle("response.in_progress", snapshot(head, "in_progress"))]


def _replayed_item(stream: Stream, item: Fields, lengths: list[Any]) -> list[Fields]:
    name, member = item["type"], _STREAMED[item["type"]][1]
    whole = item["content"][0] if name in _PARTS else item
    empty: Fields = {"content": []} if name in _PARTS else {member: ""}
    begun = {key: value for key, value in item.items() if key != "encrypted_content"}
    events = stream.open({**begun, "status": "in_progress", **empty})
    text, logprobs = whole[member], whole.get("logprobs", [])
    at = seen = 0
    for length in lengths:
        n_chars, n_logprobs = (length, None) if isinstance(length, int) else length
        shown = None if n_logprobs is None else logprobs[seen : seen + n_logprobs]
        events.append(stream.delta(text[at : at + n_chars], shown))
        at, seen = at + n_chars, seen + (n_logprobs or 0)
    sealed = {"encrypted_content": item["encrypted_content"]} if "encrypted_content" in item else {}
    return events + stream.close(item["status"], **sealed)


def usage_fields(usage: Usage) -> Fields:
    """Counts in tokens, and the neurons where they are known. Nothing is billed for what the cache is given."""
    cost = {} if usage.neurons is None else {"neurons": round(usage.neurons, NEURON_DIGITS)}
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": 0},
        "output_tokens": usage.completion,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.prompt + usage.completion,
        **cost,
    }


def error_fields(error: LowcloudError) -> Fields:
    """Why a response failed, in the codes that the SDKs know."""
    match error:
        case BadRequest():
            code = "invalid_prompt"
        case Overloaded():
            code = "rate_limit_exceeded"
        case _:
            code = "server_error"
    return {"code": code, "message": str(error)}


def _logprobs(logprobs: Sequence[TokenLogprob]) -> list[Fields]:
    shown: Any = logprob_fields(logprobs)["content"]
    return list(shown)


def _text_part(text: str, logprobs: Sequence[Fields]) -> Fields:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": list(logprobs)}


def _reasoning_part(text: str, _logprobs: Sequence[Fields]) -> Fields:
    return {"type": "reasoning_text", "text": text}


# Items with parts; the text of the others is a member of their own.
_PARTS: Mapping[str, Callable[[str, Sequence[Fields]], Fields]] = {"message": _text_part, "reasoning": _reasoning_part}
# The events of each item's text, and the member that has it whole.
_STREAMED: Mapping[str, tuple[str, str]] = {
    "message": ("response.output_text", "text"),
    "reasoning": ("response.reasoning_text", "text"),
    "function_call": ("response.function_call_arguments", "arguments"),
    "custom_tool_call": ("response.custom_tool_call_input", "input"),
}
