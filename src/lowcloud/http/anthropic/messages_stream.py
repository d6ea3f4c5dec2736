"""Events to Anthropic's bytes: a stream of content blocks, or one message folded from it. No I/O.

Source: the types of anthropic's Python SDK, 2.14 (types/raw_message_stream_event.py).
"""

from dataclasses import dataclass, field
from typing import Any

from lowcloud.core.events import Event, Finished, ReasoningDelta, Started, TextDelta, ToolCallDelta, Usage
from lowcloud.http.encode import as_it_is, to_json

_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


@dataclass(frozen=True, slots=True)
class Head:
    """What a message begins with; ``model`` is the id that was asked for.

    Without ``shows_thinking`` the blocks of thinking are there and empty.
    """

    id: str
    model: str
    shows_thinking: bool = True

    def message(self, started: Started) -> dict[str, Any]:
        """The message before it has content."""
        usage = usage_fields(Usage(started.prompt_tokens, started.cached_tokens, 0, 0))
        return {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "stop_details": None,
            "container": None,
            "usage": usage,
        }


def usage_fields(usage: Usage) -> dict[str, object]:
    """Counts in tokens; what was read from the cache isn't among the input tokens.

    None is what there is none of here; Anthropic's specification requires the members all the same.
    """
    return {
        "input_tokens": usage.prompt - usage.cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached,
        "cache_creation": None,
        "output_tokens": usage.completion,
        "output_tokens_details": {"thinking_tokens": usage.reasoning},
        "server_tool_use": None,
        "service_tier": None,
        "inference_geo": None,
    }


def text_block() -> dict[str, object]:
    """Words, to begin with none."""
    return {"type": "text", "text": "", "citations": None}


def thinking_block() -> dict[str, object]:
    """Thoughts; nothing here checks signatures."""
    return {"type": "thinking", "thinking": "", "signature": ""}


def tool_use_block(delta: ToolCallDelta) -> dict[str, object]:
    """A call that the model itself makes."""
    return {"type": "tool_use", "id": delta.id, "name": delta.name, "input": {}, "caller": {"type": "direct"}}


def stop_fields(finished: Finished) -> dict[str, object]:
    """Why the message ended."""
    reason = "stop_sequence" if finished.stop_sequence is not None else _REASONS[finished.reason]
    return {
        "stop_reason": reason,
        "stop_sequence": finished.stop_sequence,
        "stop_details": None,
        "container": None,
    }


def sse(kind: str, **fields: object) -> bytes:
    """One event."""
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), to_json({"type": kind, **fields}))


class MessageWriter:
    """Writes a stream. Feed it the events in order, beginning with ``Started``."""

    def __init__(self, head: Head) -> None:
        self._head = head
        self._block: tuple[str, int] | None = None  # its kind, and which call it is
        self._index = -1
        self._stop: dict[str, object] = {}

    def feed(self, event: Event) -> bytes:
        """The whole SSE events that ``event`` becomes; empty where it becomes none."""
        match event:
            case Started():
                return sse("message_start", message=self._head.message(event))
            case TextDelta(text=text) if text:
                return self._open("text", 0, text_block()) + self._delta("text_delta", text=text)
            case ReasoningDelta(text=text) if text:
                begin = self._open("thinking", 0, thinking_block())
                return begin + (self._delta("thinking_delta", thinking=text) if self._head.shows_thinking else b"")
            case ToolCallDelta():
                return self._call(event)
            case Finished():
                self._stop = stop_fields(event)
            case Usage():
                return self._end(event)
        return b""

    def _call(self, delta: ToolCallDelta) -> bytes:
        begin = self._open("tool_use", delta.call, tool_use_block(delta))
        return begin + (self._delta("input_json_delta", partial_json=delta.arguments) if delta.arguments else b"")

    def _open(self, kind: str, number: int, block: dict[str, object]) -> bytes:
        """The beginning of a block, unless it is open."""
        if self._block == (kind, number):
            return b""
        end = self._close()
        self._block = (kind, number)
        self._index += 1
        return end + sse("content_block_start", index=self._index, content_block=block)

    def _close(self) -> bytes:
        if self._block is None:
            return b""
        self._block = None
        return sse("content_block_stop", index=self._index)

    def _delta(self, kind: str, **fields: object) -> bytes:
        return sse("content_block_delta", index=self._index, delta={"type": kind, **fields})

    def _end(self, usage: Usage) -> bytes:
        return self._close() + sse("message_delta", delta=self._stop, usage=usage_fields(usage)) + sse("message_stop")


@dataclass
class WholeMessage:
    """The fold of a stream into one message. Feed it the same events. A call that was cut is left out."""

    head: Head
    _message: dict[str, Any] = field(default_factory=dict)
    _arguments: list[str] = field(default_factory=list)
    _pending: dict[str, Any] = field(default_factory=dict)

    def feed(self, event: Event) -> None:
        """Take one event in."""
        match event:
            case Started():
                self._message = self.head.message(event)
            case TextDelta(text=text) if text:
                self._append(text_block(), "text", text)
            case ReasoningDelta(text=text) if text:
                self._append(thinking_block(), "thinking", text if self.head.shows_thinking else "")
            case ToolCallDelta():
                self._call(event)
            case Finished():
                self._message.update(stop_fields(event))
            case Usage():
                self._message["usage"] = usage_fields(event)

    def body(self) -> bytes:
        """The message, once the events have ended."""
        if self._message.get("stop_reason") is None:
            raise RuntimeError("the engine's events ended too early")
        head = to_json({name: value for name, value in self._message.items() if name != "content"})
        return b'%b,"content":[%b]}' % (head[:-1], b",".join(map(_block_json, self._message["content"])))

    def _append(self, empty: dict[str, object], name: str, text: str) -> None:
        blocks = self._message["content"]
        if not blocks or blocks[-1]["type"] != empty["type"]:
            blocks.append(empty)
        blocks[-1][name] += text

    def _call(self, delta: ToolCallDelta) -> None:
        if delta.id is not None:
            self._pending = tool_use_block(delta)
            self._arguments = []
        self._arguments.append(delta.arguments)
        if delta.is_complete:
            self._message["content"].append({**self._pending, "input": "".join(self._arguments) or "{}"})


def _block_json(block: dict[str, Any]) -> bytes:
    """A call's input is the JSON that the model wrote, as a text."""
    if block["type"] != "tool_use":
        return to_json(block)
    head = to_json({name: value for name, value in block.items() if name != "input"})
    return b'%b,"input":%b}' % (head[:-1], as_it_is(block["input"]))
