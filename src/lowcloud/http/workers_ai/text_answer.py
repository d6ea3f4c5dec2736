"""Events as the classic shape of text generation: ``{response, tool_calls, usage}``, whole or as a stream. No I/O."""

from dataclasses import dataclass, field

from lowcloud.core.errors import JsonModeFailed
from lowcloud.core.events import Event, Finished, FinishReason, ReasoningDelta, TextDelta, ToolCallDelta, Usage
from lowcloud.http.encode import as_it_is, to_json
from lowcloud.http.openai.chat_answer import usage_fields


@dataclass(slots=True)
class _Call:
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    is_complete: bool = False

    def json(self) -> bytes:
        """The arguments as a value. The id is an addition, for clients that send the call back."""
        head = to_json({"id": self.id, "name": self.name})
        return b'%b,"arguments":%b}' % (head[:-1], as_it_is("".join(self.arguments) or "{}"))


class ClassicAnswer:
    """The fold of a stream into one answer. With ``is_json`` the response is the value itself, not its text."""

    def __init__(self, *, is_json: bool, has_tools: bool) -> None:
        self._is_json, self._has_tools = is_json, has_tools
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: dict[int, _Call] = {}
        self._reason: FinishReason | None = None
        self._usage: Usage | None = None

    def feed(self, event: Event) -> None:
        """Take one event in."""
        match event:
            case TextDelta(text=text):
                self._text.append(text)
            case ReasoningDelta(text=text):
                self._reasoning.append(text)
            case ToolCallDelta():
                call = self._calls.setdefault(event.call, _Call())
                call.id, call.name = event.id or call.id, event.name or call.name
                call.arguments.append(event.arguments)
                call.is_complete = event.is_complete
            case Finished(reason=reason):
                self._reason = reason
            case Usage():
                self._usage = event

    def body(self) -> bytes:
        """The answer, once the events have ended. Raises JsonModeFailed for JSON that was cut."""
        if self._usage is None or self._reason is None:
            raise RuntimeError("the engine's events ended too early")
        calls = [call.json() for _, call in sorted(self._calls.items()) if call.is_complete]
        shown = b'"response":' + self._response(bool(calls))
        if self._has_tools:
            shown += b',"tool_calls":[%b]' % b",".join(calls)
        reasoning = {"reasoning_content": "".join(self._reasoning)} if self._reasoning else {}
        last = to_json({**reasoning, "finish_reason": self._reason, "usage": usage_fields(self._usage)})
        return b"{%b,%b" % (shown, last[1:])

    def _response(self, has_calls: bool) -> bytes:
        text = "".join(self._text)
        if not self._is_json or (has_calls and not text):
            return to_json(text)
        try:
            return as_it_is(text)
        except ValueError:
            cut = " The answer was cut at max_tokens." if self._reason == "length" else ""
            raise JsonModeFailed(f"JSON Mode couldn't be met.{cut}") from None


class ClassicWriter:
    """Writes a stream. ``response`` is a string in every event, so that who adds them up never adds anything else."""

    def __init__(self) -> None:
        self._reason: FinishReason | None = None

    def feed(self, event: Event) -> bytes:
        """The whole SSE events that ``event`` becomes; empty where it becomes none."""
        match event:
            case TextDelta(text=text) if text:
                return b'data: {"response":%b}\n\n' % to_json(text)
            case ReasoningDelta(text=text) if text:
                return b'data: {"response":"","reasoning_content":%b}\n\n' % to_json(text)
            case ToolCallDelta() if event.id is not None or event.arguments:
                return b'data: {"response":"","tool_calls":[%b]}\n\n' % to_json(_delta(event))
            case Finished(reason=reason):
                self._reason = reason
            case Usage():
                last = {"response": "", "finish_reason": self._reason, "usage": usage_fields(event)}
                return b"data: %b\n\n" % to_json(last)
        return b""


def _delta(event: ToolCallDelta) -> dict[str, object]:
    """Id and name once, arguments in pieces."""
    if event.id is None:
        return {"index": event.call, "function": {"arguments": event.arguments}}
    function = {"name": event.name, "arguments": event.arguments}
    return {"id": event.id, "type": "function", "index": event.call, "function": function}
