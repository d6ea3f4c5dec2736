"""What a chat template is told of a prompt: its messages, tools and options, in the shapes that templates expect.

Source: transformers, docs/source/en/chat_templating.md, chat_extras.md; utils/chat_template_utils.py, 5.24.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from lowcloud.core.errors import BadRequest
from lowcloud.core.messages import RESERVED_OPTIONS, Effort, Message, Messages, ToolCall
from lowcloud.core.tools import Tool
from lowcloud.text.dialects.reading import INPUT, arguments_schema

Hide: TypeAlias = Callable[[str], str]
Values: TypeAlias = dict[str, object]


@dataclass(frozen=True, slots=True)
class CallShape:
    """What templates differ in: whether a call's arguments are JSON text or an object, and whether an assistant that
    says nothing beside its calls has content that is none, or empty.
    """

    has_text_arguments: bool = False
    has_none: bool = False


@dataclass(frozen=True, slots=True)
class Turns:
    """Writes prompts as templates take them. ``hide`` is applied to every text of a caller's, and to nothing else.

    ``knows_developer``: the template has a role for developers, whose messages are the system's otherwise.
    ``has_parts``: it takes content as a list of parts alone, as templates of models that see may do.
    """

    hide: Hide
    knows_developer: bool = True
    shape: CallShape = CallShape()
    has_parts: bool = False

    def variables(self, prompt: Messages) -> Values:
        """The template's variables. Raises BadRequest for an option that would take the place of the conversation."""
        for name in prompt.options.keys() & RESERVED_OPTIONS:
            raise BadRequest(f"chat_template_kwargs can't set {name}.", param=f"chat_template_kwargs.{name}")
        names = {call.id: call.name for message in prompt.messages for call in message.calls}
        return {
            "documents": None,
            **_of_effort(prompt.effort),
            **{name: self._hidden(value) for name, value in prompt.options.items()},
            "messages": [dict(self._turn(message, names)) for message in prompt.messages],
            "tools": [self._tool(tool) for tool in prompt.tools] or None,
            "add_generation_prompt": True,
        }

    def _turn(self, message: Message, names: Mapping[str, str]) -> Iterator[tuple[str, object]]:
        yield "role", self._role(message)
        is_none = self.shape.has_none and message.calls and not message.text
        yield "content", None if is_none else self._content(message.text)
        name = message.name if message.name is not None else names.get(message.call_id or "")
        if name is not None:
            yield "name", self.hide(name)
        if message.calls:
            yield "tool_calls", [self._call(call) for call in message.calls]
        if message.call_id is not None:
            yield "tool_call_id", self.hide(message.call_id)
        if message.reasoning is not None:
            for key in ("reasoning_content", "reasoning", "thinking"):
                yield key, self.hide(message.reasoning)

    def _content(self, text: str) -> object:
        hidden = self.hide(text)
        return [{"type": "text", "text": hidden}] if self.has_parts else hidden

    def _role(self, message: Message) -> str:
        if message.role == "developer" and not self.knows_developer:
            return "system"
        return "tool" if message.role == "function" else message.role

    def _call(self, call: ToolCall) -> Values:
        function = {"name": self.hide(call.name), "arguments": self._arguments(call)}
        return {"id": self.hide(call.id), "type": "function", "function": function}

    def _arguments(self, call: ToolCall) -> object:
        """An object, or JSON text of one; what a client sent that isn't JSON of an object stays the text that it is."""
        if call.is_custom:
            value: object = {INPUT: call.arguments}
        else:
            value = _read(call.arguments)
        if not isinstance(value, dict):
            return self.hide(call.arguments)
        if not self.shape.has_text_arguments:
            return self._hidden(value)
        return self.hide(json.dumps(value, ensure_ascii=False) if call.is_custom else call.arguments or "{}")

    def _tool(self, tool: Tool) -> Values:
        """With a description and properties in any case: templates read them, and many fail where there are none."""
        parameters = self._hidden(_parameters(tool))
        function = {
            "name": self.hide(tool.name),
            "description": self.hide(tool.description or ""),
            "parameters": parameters,
        }
        return {"type": "function", "function": function}

    def _hidden(self, value: object) -> object:
        """A JSON value with every string in it hidden, keys too."""
        if isinstance(value, str):
            return self.hide(value)
        if isinstance(value, Mapping):
            return {self.hide(key): self._hidden(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._hidden(item) for item in value]
        return value


EFFORT_NAMES = frozenset(("reasoning_effort", "enable_thinking", "thinking"))


def _of_effort(effort: Effort | None) -> Values:
    """The names under which templates are told whether, and how much, to think."""
    if effort is None:
        return {}
    thinks = effort != "none"
    return {"reasoning_effort": effort, "enable_thinking": thinks, "thinking": thinks}


def _read(arguments: str) -> object:
    """Of a call without arguments some clients send an empty text."""
    try:
        value: object = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        return None
    return value


def _parameters(tool: Tool) -> Mapping[str, object]:
    if tool.input is not None:
        return arguments_schema(tool)
    parameters = tool.parameters or {}
    head: Values = {} if "type" in parameters else {"type": "object"}
    tail: Values = {} if "properties" in parameters else {"properties": {}}
    return {**head, **parameters, **tail}
