"""The native API's older forms of messages, tools and images, in the form of the chat format. Pure.

What isn't of an older form stays as it is: the chat format's own code refuses it, by name.
"""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from typing import Any

from lowcloud.core.errors import BadRequest, Unsupported
from lowcloud.http.encode import to_json
from lowcloud.http.openai.chat_content import embedded
from lowcloud.http.workers_ai.lenient import untyped

_BYTE = 256
_FUNCTION = ("name", "description", "parameters", "strict")


def chat_messages(messages: Any) -> list[Any]:
    """Calls as ``{name, arguments}`` get ids and become functions; a tool's message without an id answers the first
    call that is still unanswered."""
    if not isinstance(messages, list):
        raise BadRequest("messages: must be a list of at least one message.", param="messages")
    open_calls: list[tuple[str, object]] = []
    return [_message(message, place, open_calls) for place, message in enumerate(messages)]


def _message(message: Any, place: int, open_calls: list[tuple[str, object]]) -> Any:
    if not isinstance(message, dict):
        return message
    calls = message.get("tool_calls")
    if isinstance(calls, list) and calls:
        shown = [_call(call, f"call_{place}_{number}") for number, call in enumerate(calls)]
        open_calls.extend(_ids(shown))
        return {**message, "tool_calls": shown}
    if message.get("role") == "tool":
        return _answer(message, open_calls)
    return message


def _call(call: Any, call_id: str) -> Any:
    if not isinstance(call, dict):
        return call
    if "function" not in call and "name" in call:
        called = {name: call[name] for name in ("name", "arguments") if name in call}
        call = {"id": call.get("id") or call_id, "type": "function", "function": called}
    function = call.get("function")
    if isinstance(function, dict) and isinstance(function.get("arguments", {}), dict):
        arguments = to_json(function.get("arguments", {})).decode()
        return {**call, "id": call.get("id") or call_id, "function": {**function, "arguments": arguments}}
    return call


def _ids(calls: Sequence[Any]) -> Iterator[tuple[str, object]]:
    for call in calls:
        if isinstance(call, dict) and isinstance(call.get("id"), str):
            function = call.get("function")
            yield call["id"], function.get("name") if isinstance(function, dict) else None


def _answer(message: dict[str, Any], open_calls: list[tuple[str, object]]) -> dict[str, Any]:
    """It closes the call that it answers."""
    given, name = message.get("tool_call_id"), message.get("name")
    for place, (call_id, called) in enumerate(open_calls):
        if given == call_id or (given is None and name in (None, called)):
            del open_calls[place]
            return {**message, "tool_call_id": call_id}
    return message


def named_tools(given: Sequence[Any] | None, shown: Sequence[Any], param: str, first: int) -> dict[str, str]:
    """By what the tools ``shown`` in the chat format, from place ``first`` on, are called: the paths of those ``given``
    as ``param``."""
    names: dict[str, str] = {}
    for index, (theirs, ours) in enumerate(zip(given or (), shown, strict=True)):
        path, name = f"tools[{first + index}]", f"{param}[{index}]"
        names |= {path: name} if ours is theirs else {path: name, f"{path}.function": name}
    return names


def chat_tools(tools: Any, param: str) -> list[Any]:
    """``{name, description, parameters}`` becomes a function tool."""
    if tools is None:
        return []
    if not isinstance(tools, list):
        raise BadRequest(f"{param}: must be a list.", param=param)
    return [_tool(tool, f"{param}[{index}]") for index, tool in enumerate(tools)]


def _tool(tool: Any, path: str) -> Any:
    if isinstance(tool, dict) and tool.get("type") == "custom":
        raise Unsupported(f"{path}.type: only functions can be called in this form.", param=f"{path}.type")
    if not isinstance(tool, dict) or "function" in tool or "name" not in tool:
        return tool
    if "code" in tool:
        raise Unsupported(f"{path}.code: functions aren't run here; describe it by parameters.", param=f"{path}.code")
    return {"type": "function", "function": {name: tool[name] for name in _FUNCTION if name in tool}}


def with_image(messages: list[Any], image: object) -> tuple[list[Any], str]:
    """The image, which is base64 or bytes as numbers, in the last message of the user; and its path there."""
    place = next((at for at in reversed(range(len(messages))) if _is_users(messages[at])), None)
    if place is None:
        raise BadRequest("image: there is no message of the user that it could belong to.", param="image")
    content = messages[place].get("content")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(parts, list):
        raise BadRequest(f"messages[{place}].content: must be a string or a list.", param=f"messages[{place}].content")
    url = _data_url(image)
    embedded(url, "image")  # refused by the name that it has here
    shown = {"type": "image_url", "image_url": {"url": url}}
    seen = {**messages[place], "content": [*parts, shown]}
    return [*messages[:place], seen, *messages[place + 1 :]], f"messages[{place}].content[{len(parts)}]"


def _is_users(message: object) -> bool:
    return isinstance(message, dict) and message.get("role") == "user"


def _data_url(image: object) -> str:
    image = untyped(image)
    if isinstance(image, str):
        return image if image.startswith("data:") else f"data:image/png;base64,{image}"
    if isinstance(image, list) and all(type(byte) is int and 0 <= byte < _BYTE for byte in image):
        return f"data:image/png;base64,{b64encode(bytes(image)).decode()}"
    raise BadRequest("image: must be base64, or a list of bytes.", param="image")
