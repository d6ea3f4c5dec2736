"""Events to the chat format's bytes, chunk by chunk. No I/O.

Chunks are built from prepared bytes, since 64 streams run through here token by token.
"""

from lowcloud.core.events import Event, Finished, ReasoningDelta, Started, TextDelta, ToolCallDelta, Usage
from lowcloud.http.encode import to_json
from lowcloud.http.openai.chat_answer import Head, Shape, call_fields, logprob_fields, usage_fields

PAD_BYTES = 64  # a padded event's size is a multiple of it
_PAD = b',"obfuscation":"%b"}\n\n'
_NOISE = b"aSpQ0vKx7LmZ3dTfJ9rWcB2gYhNe5uXoR1kVtI8bHqGyD4wCjPzMlE6sUiAnFo_-"


class ChunkWriter:
    """Writes a stream. Feed it the events in order, beginning with ``Started``."""

    def __init__(self, head: Head, shape: Shape) -> None:
        fields = to_json(head.fields("chat.completion.chunk"))
        self._begin = b"data: " + fields[:-1] + b',"choices":['
        self._shape = shape
        has_null = shape.include_usage and shape.has_null_usage
        self._end = b'],"usage":null}\n\n' if has_null else b"]}\n\n"
        self._custom: set[tuple[int, int]] = set()

    def feed(self, event: Event) -> bytes:
        """The whole SSE events that ``event`` becomes; empty where it becomes none."""
        match event:
            case TextDelta(choice=choice, text=text, logprobs=logprobs) if text or logprobs:
                shown = to_json(logprob_fields(logprobs)) if logprobs else b"null"
                return self._chunk(choice, b'{"content":%b}' % to_json(text), shown)
            case ReasoningDelta() | ToolCallDelta():
                delta = self._reasoning(event) if isinstance(event, ReasoningDelta) else self._call(event)
                return self._chunk(event.choice, delta) if delta else b""
            case Started():
                return b"".join(self._chunk(choice, self._role()) for choice in range(self._shape.choices))
            case Finished(choice=choice, reason=reason):
                return self._chunk(choice, b"{}", reason=b'"%b"' % self._shape.finish_reason(reason).encode())
            case Usage() if self._shape.include_usage:
                return self._begin + b'],"usage":%b}\n\n' % to_json(usage_fields(event))
        return b""

    def _chunk(self, choice: int, delta: bytes, logprobs: bytes = b"null", reason: bytes = b"null") -> bytes:
        body = b'{"index":%d,"delta":%b,"logprobs":%b,"finish_reason":%b}' % (choice, delta, logprobs, reason)
        event = self._begin + body + self._end
        return padded(event) if self._shape.pads else event

    def _role(self) -> bytes:
        """Content is null where a call is forced, as OpenAI has it."""
        return b'{"role":"assistant","content":%b,"refusal":null}' % (b"null" if self._shape.is_forced else b'""')

    def _reasoning(self, event: ReasoningDelta) -> bytes:
        shown = to_json(event.text)
        return b'{"reasoning_content":%b,"reasoning":%b}' % (shown, shown) if event.text else b""

    def _call(self, event: ToolCallDelta) -> bytes:
        """The delta of a piece of a call: with id and name the first time, arguments alone after that."""
        if event.id is None and not event.arguments:
            return b""
        key = (event.choice, event.call)
        if event.name in self._shape.custom:
            self._custom.add(key)
        if self._shape.is_legacy:
            name = {} if event.name is None else {"name": event.name}
            return to_json({"function_call": {**name, "arguments": event.arguments}})
        if event.id is not None and event.name is not None:
            shown = {"index": event.call, **call_fields(event.id, event.name, event.arguments, self._shape)}
            return to_json({"tool_calls": [shown]})
        kind = b'"custom":{"input":%b}' if key in self._custom else b'"function":{"arguments":%b}'
        return b'{"tool_calls":[{"index":%d,%b}]}' % (event.call, kind % to_json(event.arguments))


def padded(event: bytes) -> bytes:
    """The same event with a member that brings its size to a multiple of ``PAD_BYTES``."""
    size = len(event) - len(b"}\n\n") + len(_PAD) - len(b"%b")
    return event[:-3] + _PAD % _NOISE[: -size % PAD_BYTES]
