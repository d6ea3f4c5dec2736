"""Tools for an upstream whose own calls aren't to be relied on: told in words, forced by a schema, read from the text.

The words, and how calls are read, are those of the generic dialect.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from lowcloud.core.errors import Unsupported
from lowcloud.core.events import Event, Finished, ReasoningDelta, TextDelta
from lowcloud.core.messages import Messages
from lowcloud.core.output import AnyText, JsonSchema, Lark, Regex, Schema
from lowcloud.core.requests import Generate
from lowcloud.core.tools import NO_TOOLS, Tool, ToolPlan
from lowcloud.engines.calls import Calls
from lowcloud.engines.remote.failure import broken
from lowcloud.engines.remote.upstream import Upstream
from lowcloud.text.channels import Channels, Content, Piece, Reader, Script, Thought
from lowcloud.text.dialects.dialect import Outlook
from lowcloud.text.dialects.generic import DIALECT
from lowcloud.text.dialects.reading import arguments_schema, read_json_call


def check_words(request: Generate, upstream: Upstream) -> None:
    """Refuses what can't go with tools in words. Raises Unsupported."""
    plan, output = request.tools, request.output
    if plan.mode == "none" or not plan.tools:
        return
    if request.top_logprobs is not None:
        raise Unsupported(f"{upstream.id} gives no log-probabilities where tools may be called.", param="logprobs")
    for tool in plan.tools:
        if isinstance(tool.input, Lark) or (isinstance(tool.input, Regex) and plan.mode == "auto"):
            raise Unsupported(f"{upstream.id} can't be bound to a tool's grammar.", param=tool.input.param)
    if plan.mode == "auto" and not isinstance(output, AnyText):
        raise Unsupported(f"{upstream.id} can't be bound where tools may be called.", param=output.param)


def in_words(request: Generate) -> Generate:
    """The request for an upstream that knows no tools. Only conversations have any."""
    prompt, plan = request.prompt, request.tools
    if not isinstance(prompt, Messages):
        return request
    told = DIALECT.retold(replace(prompt, tools=plan.tools if plan.mode != "none" else ()))
    output = JsonSchema(_call_schema(plan)) if plan.mode == "required" else request.output
    return replace(request, prompt=told, output=output, tools=NO_TOOLS)


def _call_schema(plan: ToolPlan) -> Schema:
    calls = [_call_of(tool) for tool in plan.tools]
    return calls[0] if len(calls) == 1 else {"anyOf": calls}


def _call_of(tool: Tool) -> Schema:
    return {
        "type": "object",
        "properties": {"name": {"const": tool.name}, "arguments": arguments_schema(tool)},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


class WordReader:
    """Reads the calls of ``request``, as it was before ``in_words``, from the text of its events."""

    def __init__(self, upstream: Upstream, request: Generate, new_id: Callable[[], str]) -> None:
        self._upstream, self._plan = upstream, request.tools
        tools = self._plan.tools if self._plan.mode != "none" else ()
        self._channels = [Channels(_script(self._plan)) for _ in range(request.choices)] if tools else []
        self._calls = [Calls(choice, tools, new_id) for choice in range(request.choices)]

    def read(self, event: Event) -> Iterator[Event]:
        """What the caller gets of an event. Raises EngineFailed where no call comes though one was required."""
        match event:
            case TextDelta(choice=choice, text=text) if self._channels:
                yield from self._told(choice, self._channels[choice].feed(text))
            case Finished(choice=choice, reason=reason) if self._channels:
                yield from self._told(choice, self._channels[choice].end(is_cut=reason == "length"))
                has_calls = self._calls[choice].n_complete > 0
                if self._plan.mode == "required" and not has_calls and reason != "length":
                    raise broken(self._upstream, "called no tool, though one was required")
                yield replace(event, reason="tool_calls") if has_calls and reason == "stop" else event
            case _:
                yield event

    def _told(self, choice: int, pieces: Iterable[Piece]) -> Iterator[Event]:
        calls = self._calls[choice]
        for piece in pieces:
            match piece:
                case Content(text=said):
                    yield TextDelta(choice, said)
                case Thought(text=said):
                    yield ReasoningDelta(choice, said)
                case _:
                    delta = calls.delta(piece)
                    if delta is not None and not (self._plan.at_most_one and delta.call > 0):
                        yield delta


def _script(plan: ToolPlan) -> Callable[[Reader], Script]:
    if plan.mode == "required":
        return read_json_call
    return lambda reader: DIALECT.script(reader, Outlook(plan.tools))
