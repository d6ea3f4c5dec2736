"""Messages of the chat format to messages of the core: their content, their calls and the answers to those."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SkipValidation

from lowcloud.core.errors import BadRequest, Unsupported
from lowcloud.core.messages import Message, ToolCall
from lowcloud.http.openai.chat_content import Content, Part, content_of
from lowcloud.http.openai.chat_tools import ToolName
from lowcloud.http.openai.parameters import note_unread
from lowcloud.http.validation import validated

# Source: OpenAI's specification. It keeps control strings out, which templates put into the prompt with the name.
NAME = r"^[^\s<|\\/>]{1,64}$"
_EVERYONES = frozenset({"role", "content", "tool_calls", "function_call", "audio"})
_MADE_CALLS = ("tool_calls", "function_call")


class CalledFunction(BaseModel):
    """``arguments`` is JSON, as text."""

    model_config = ConfigDict(strict=True)

    name: ToolName
    arguments: str


class CalledCustom(BaseModel):
    """``input`` is the text itself."""

    model_config = ConfigDict(strict=True)

    name: ToolName
    input: str


class FunctionCall(BaseModel):
    """A call of a function that the assistant made."""

    model_config = ConfigDict(strict=True)

    id: str = Field(min_length=1)
    type: Literal["function"] = "function"
    function: CalledFunction


class CustomCall(BaseModel):
    """A call of a custom tool that the assistant made."""

    model_config = ConfigDict(strict=True)

    id: str = Field(min_length=1)
    type: Literal["custom"]
    custom: CalledCustom


class ChatMessage(BaseModel):
    """One turn. Content may be null or absent for an assistant only; a tool's message names the call it answers."""

    model_config = ConfigDict(strict=True)

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Annotated[str | list[Part] | None, SkipValidation] = None
    name: str | None = Field(None, pattern=NAME)
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: Annotated[list[FunctionCall | CustomCall] | None, SkipValidation] = None
    function_call: Annotated[CalledFunction | None, SkipValidation] = None
    tool_call_id: str | None = Field(None, min_length=1)


def messages_of(value: object, unread: dict[str, None]) -> tuple[Message, ...]:
    """The messages; ``unread`` gets the names of the members that nothing reads. Raises BadRequest, Unsupported."""
    if not isinstance(value, list) or not value:
        raise BadRequest("messages: must be a list of at least one message.", param="messages")
    return tuple(_message(item, f"messages[{index}]", unread) for index, item in enumerate(value))


def _message(value: Any, path: str, unread: dict[str, None]) -> Message:
    message = validated(ChatMessage, value, path)
    note_unread(value, _read(message), path, unread)
    if message.role == "tool" and message.tool_call_id is None and message.name is None:
        raise BadRequest(
            f"{path}.tool_call_id: a tool's message must say which call it answers, by its id or by the tool's name.",
            param=f"{path}.tool_call_id",
        )
    if message.role == "function" and message.name is None:
        raise BadRequest(f"Missing required parameter: {path}.name.", param=f"{path}.name")
    calls = _calls(value, message.role, path, unread)
    content = _content(message, path, unread)
    is_assistant = message.role == "assistant"
    return Message(
        message.role,
        content.text,
        message.name,
        reasoning=(message.reasoning_content or message.reasoning or None) if is_assistant else None,
        calls=calls,
        call_id=message.tool_call_id if message.role == "tool" else None,
        images=tuple(content.images),
    )


def _read(message: ChatMessage) -> frozenset[str]:
    """The members of a message that reach the prompt, whatever the template.

    A name goes to the model's chat template, and few of those read it but for a tool's: so elsewhere it is no promise,
    and is named like a hint.
    """
    match message.role:
        case "assistant":
            thought = {
                "reasoning_content",
                *(["reasoning"] if message.reasoning_content in (None, message.reasoning) else []),
            }
            return _EVERYONES | thought | ({"refusal"} if message.content is None else set())
        case "tool":
            return _EVERYONES | {"tool_call_id", "name"}
        case "function":
            return _EVERYONES | {"name"}
    return _EVERYONES


def _content(message: ChatMessage, path: str, unread: dict[str, None]) -> Content:
    if message.content is not None:
        return content_of(message.content, message.role, f"{path}.content", unread)
    if message.role == "assistant":
        return content_of(message.refusal or "", message.role, f"{path}.refusal", unread)
    raise BadRequest(f"{path}.content: is required for the role {message.role}.", param=f"{path}.content")


def _calls(value: Mapping[str, Any], role: str, path: str, unread: dict[str, None]) -> tuple[ToolCall, ...]:
    if value.get("audio") not in (None, []):
        raise Unsupported(f"{path}.audio is not supported here.", param=f"{path}.audio")
    made = [name for name in _MADE_CALLS if value.get(name) not in (None, [])]
    if not made:
        return ()
    if role != "assistant" or len(made) > 1:
        why = "only an assistant's message has calls" if role != "assistant" else "only allowed without tool_calls"
        raise BadRequest(f"{path}.{made[-1]}: {why}.", param=f"{path}.{made[-1]}")
    name, calls = made[0], value[made[0]]
    if name == "function_call":
        called = validated(CalledFunction, calls, f"{path}.function_call")
        note_unread(calls, CalledFunction.model_fields, f"{path}.function_call", unread)
        return (ToolCall(f"call_{path[9:-1]}", called.name, called.arguments),)
    if not isinstance(calls, list):
        raise BadRequest(f"{path}.tool_calls: must be a list.", param=f"{path}.tool_calls")
    return tuple(_call(call, f"{path}.tool_calls[{index}]", unread) for index, call in enumerate(calls))


def _call(value: Any, path: str, unread: dict[str, None]) -> ToolCall:
    if isinstance(value, dict) and value.get("type") == "custom":
        custom = validated(CustomCall, value, path)
        note_unread(value, {*CustomCall.model_fields, "index"}, path, unread)
        note_unread(value["custom"], CalledCustom.model_fields, f"{path}.custom", unread)
        return ToolCall(custom.id, custom.custom.name, custom.custom.input, is_custom=True)
    call = validated(FunctionCall, value, path)
    note_unread(value, {*FunctionCall.model_fields, "index"}, path, unread)
    note_unread(value["function"], CalledFunction.model_fields, f"{path}.function", unread)
    return ToolCall(call.id, call.function.name, call.function.arguments)
