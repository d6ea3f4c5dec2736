"""Input items as they are kept and shown: checked, with an id, a type, a status and content in parts. Pure.

What is canonical stays as it is, so an item that was shown may come back.
"""

from collections.abc import Callable, Mapping
from functools import partial
from hashlib import sha256
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, SkipValidation

from lowcloud.core.errors import BadRequest, Unsupported
from lowcloud.http.image_links import is_link
from lowcloud.http.openai.chat_content import RefusalPart, embedded
from lowcloud.http.openai.chat_tools import ToolName
from lowcloud.http.openai.parameters import note_unread
from lowcloud.http.validation import validated

Item: TypeAlias = Mapping[str, object]
NewId: TypeAlias = Callable[[str], str]
Status: TypeAlias = Literal["in_progress", "completed", "incomplete"]
ItemId = Annotated[str, Field(min_length=1, max_length=1024)]
CallId = Annotated[str, Field(min_length=1, max_length=256)]
_ID_CHARS = 48
_DIRECT = {"type": "direct"}  # the caller of every call here: the model itself


class _Part(BaseModel):
    model_config = ConfigDict(strict=True)


class InputText(_Part):
    type: Literal["input_text"]
    text: str


class Annotation(_Part):
    """What an assistant's text refers to."""

    type: Literal["url_citation", "file_citation", "container_file_citation", "file_path"]


class UrlCitation(Annotation):
    type: Literal["url_citation"]
    url: str
    title: str
    start_index: int
    end_index: int


class FileCitation(Annotation):
    type: Literal["file_citation"]
    file_id: str
    filename: str
    index: int


class ContainerFileCitation(Annotation):
    type: Literal["container_file_citation"]
    container_id: str
    file_id: str
    filename: str
    start_index: int
    end_index: int


class FilePath(Annotation):
    type: Literal["file_path"]
    file_id: str
    index: int


class TokenLogprob(_Part):
    token: str
    bytes: list[int]
    logprob: float


class SampledLogprob(TokenLogprob):
    """Of the token that was chosen, with the alternatives to it."""

    top_logprobs: list[TokenLogprob]


class OutputText(_Part):
    """An assistant's text, as an answer had it."""

    type: Literal["output_text", "input_text"]
    text: str
    annotations: (
        list[Annotated[UrlCitation | FileCitation | ContainerFileCitation | FilePath, SkipValidation]] | None
    ) = None
    logprobs: list[SampledLogprob] | None = None


class InputImage(_Part):
    """``image_url`` is a data URL, or a link where ``server.image_urls`` is set."""

    type: Literal["input_image"]
    image_url: str | None = None
    file_id: str | None = None
    detail: Literal["auto", "low", "high", "original"] | None = None


class SummaryText(_Part):
    type: Literal["summary_text"]
    text: str


class ReasoningText(_Part):
    type: Literal["reasoning_text"]
    text: str


class _Item(_Part):
    id: ItemId | None = None


class MessageItem(_Item):
    """A message; ``content`` is a text or parts. ``phase`` is an assistant's."""

    type: Literal["message"] | None = None
    role: Literal["user", "assistant", "system", "developer"]
    content: Annotated[str | list[InputText | InputImage | OutputText | RefusalPart], SkipValidation]
    status: Status | None = None
    phase: Literal["commentary", "final_answer"] | None = None


class _CallItem(_Item):
    type: str
    call_id: CallId
    name: ToolName
    status: Status | None = None


class FunctionCallItem(_CallItem):
    """A call that the assistant made. ``arguments`` is JSON, as text."""

    type: Literal["function_call"]
    arguments: str


class CustomCallItem(_CallItem):
    """A call of a custom tool that the assistant made. ``input`` is the text itself."""

    type: Literal["custom_tool_call"]
    input: str


class OutputItem(_Item):
    """What a call gave: a text, or parts."""

    type: Literal["function_call_output", "custom_tool_call_output"]
    call_id: CallId
    output: Annotated[str | list[InputText | InputImage], SkipValidation]
    status: Status | None = None


class ReasoningItem(_Item):
    """What the assistant thought: ``content``, or what only this server can read of it, ``encrypted_content``."""

    type: Literal["reasoning"]
    summary: list[SummaryText] | None = None
    content: list[ReasoningText] | None = None
    encrypted_content: str | None = None
    status: Status | None = None


class CompactionItem(_Item):
    """What stands for an earlier part of the conversation; only this server can read it."""

    type: Literal["compaction"]
    encrypted_content: str


class ReferenceItem(_Part):
    """An item that is kept here, by its id."""

    type: Literal["item_reference"] | None = None
    id: ItemId


InputItem: TypeAlias = (
    MessageItem | FunctionCallItem | CustomCallItem | OutputItem | ReasoningItem | CompactionItem | ReferenceItem
)


def item_id(prefix: str, response_id: str, place: str) -> str:
    """The id of what is at ``place`` of a response's input or output: always the same."""
    return f"{prefix}_{sha256(f'{response_id}/{place}'.encode()).hexdigest()[:_ID_CHARS]}"


def canonical(item: object, path: str, new_id: NewId, unread: dict[str, None]) -> dict[str, object]:
    """``item``, which is at ``path`` of the body, as it is kept; ``unread`` gets the members that nothing reads.

    ``new_id`` makes the id of one that has none, from a prefix such as ``msg``. Raises BadRequest, Unsupported.
    """
    if not isinstance(item, dict):
        raise BadRequest(f"{path}: must be an object.", param=path)
    kind = item.get("type")
    if kind is None:
        kind = "message" if "role" in item else "item_reference" if "id" in item else None
    read = _READERS.get(kind) if isinstance(kind, str) else None
    if read is not None:
        return read(item, path, new_id, unread)
    if kind is None:
        raise BadRequest(f"Missing required parameter: {path}.type.", param=f"{path}.type")
    if not isinstance(kind, str):
        raise BadRequest(f"{path}.type: must be a string.", param=f"{path}.type")
    raise Unsupported(f"{path}: items of type {kind[:64]} are not supported here.", param=f"{path}.type")


def canonical_items(given: list[object], path: str, owner_id: str, unread: dict[str, None]) -> tuple[Item, ...]:
    """Each of the list at ``path`` of the body that is ``owner_id``'s. No two may have one id. As ``canonical``."""
    items: dict[str, Item] = {}
    for index, each in enumerate(given):
        new_id = partial(item_id, response_id=owner_id, place=f"{path}/{index}")
        item = canonical(each, f"{path}[{index}]", new_id, unread)
        name = str(item["id"])
        if name in items:
            message = f"{path}[{index}].id: there is another item of the id {name[:64]}."
            raise BadRequest(message, param=f"{path}[{index}].id")
        items[name] = item
    return tuple(items.values())


def _message(item: Mapping[str, Any], path: str, new_id: NewId, unread: dict[str, None]) -> dict[str, object]:
    message = validated(MessageItem, item, path)
    is_assistant = message.role == "assistant"
    note_unread(item, MessageItem.model_fields.keys() - (set() if is_assistant else {"phase"}), path, unread)
    content: object = message.content
    if isinstance(content, str):
        content = [{"type": "output_text" if is_assistant else "input_text", "text": content}]
    elif content == [] and not is_assistant:
        raise BadRequest(f"{path}.content: must have at least one part.", param=f"{path}.content")
    kept: dict[str, object] = {
        "type": "message",
        "id": message.id or new_id("msg"),
        "status": message.status or "completed",
        "role": message.role,
        "content": _parts(content, message.role, f"{path}.content", unread),
    }
    if is_assistant and message.phase is not None:
        kept["phase"] = message.phase
    return kept


def _parts(content: object, role: str, path: str, unread: dict[str, None]) -> list[dict[str, object]]:
    if not isinstance(content, list):
        raise BadRequest(f"{path}: must be a string or a list of parts.", param=path)
    read = _said if role == "assistant" else _given
    return [read(part, role, f"{path}[{index}]", unread) for index, part in enumerate(content)]


def _said(part: object, role: str, path: str, unread: dict[str, None]) -> dict[str, object]:
    """A part of an assistant's message."""
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "refusal":
        refusal = validated(RefusalPart, part, path)
        note_unread(part, RefusalPart.model_fields, path, unread)
        return {"type": "refusal", "refusal": refusal.refusal}
    _check_kind(kind, ("output_text", "input_text"), role, path)
    said = validated(OutputText, part, path)
    note_unread(part, OutputText.model_fields, path, unread)
    annotations = [
        _annotation(each, f"{path}.annotations[{place}]", unread) for place, each in enumerate(said.annotations or ())
    ]
    kept: dict[str, object] = {"type": "output_text", "text": said.text, "annotations": annotations}
    return kept if said.logprobs is None else kept | {"logprobs": [each.model_dump() for each in said.logprobs]}


def _annotation(given: object, path: str, unread: dict[str, None]) -> dict[str, object]:
    kind = _ANNOTATIONS[validated(Annotation, given, path).type]
    note_unread(given, kind.model_fields, path, unread)
    return validated(kind, given, path).model_dump()


def _given(part: object, role: str, path: str, unread: dict[str, None]) -> dict[str, object]:
    """A part of what the model is given: of a message that isn't the assistant's, or of what a tool gave."""
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "input_image" and role in ("user", "tool"):
        image = validated(InputImage, part, path)
        note_unread(part, InputImage.model_fields, path, unread)
        return _image(image, path, unread)
    _check_kind(kind, ("input_text",), role, path)
    text = validated(InputText, part, path)
    note_unread(part, InputText.model_fields, path, unread)
    return {"type": "input_text", "text": text.text}


def _check_kind(kind: object, taken: tuple[str, ...], role: str, path: str) -> None:
    """Raises Unsupported for a part of a known form that can't stand here."""
    if isinstance(kind, str) and kind not in taken:
        what = {"assistant": "output_text and refusal are", "user": "input_text and input_image are"}
        what["tool"] = what["user"]
        taken_here = what.get(role, "input_text is")
        raise Unsupported(
            f"{path}: content of type {kind[:64]} is not supported here; only {taken_here}.", param=f"{path}.type"
        )


def _image(image: InputImage, path: str, unread: dict[str, None]) -> dict[str, object]:
    if image.file_id is not None:
        raise Unsupported(f"{path}.file_id: images are taken in image_url here, not as files.", param=f"{path}.file_id")
    if image.image_url is None:
        raise BadRequest(f"Missing required parameter: {path}.image_url.", param=f"{path}.image_url")
    if not is_link(image.image_url):
        embedded(image.image_url, f"{path}.image_url")
    if image.detail != "auto":
        note_unread({"detail": image.detail}, (), path, unread)
    return {"type": "input_image", "image_url": image.image_url, "detail": image.detail or "auto"}


def _call(item: Mapping[str, Any], path: str, new_id: NewId, unread: dict[str, None]) -> dict[str, object]:
    is_custom = item["type"] == "custom_tool_call"
    kind: type[CustomCallItem | FunctionCallItem] = CustomCallItem if is_custom else FunctionCallItem
    call = validated(kind, item, path)
    note_unread(item, {*type(call).model_fields, *_callers(item)}, path, unread)
    given = {"input": call.input} if isinstance(call, CustomCallItem) else {"arguments": call.arguments}
    return {
        "type": call.type,
        "id": call.id or new_id("ctc" if is_custom else "fc"),
        "call_id": call.call_id,
        "name": call.name,
        **given,
        "status": call.status or "completed",
    }


def _output(item: Mapping[str, Any], path: str, new_id: NewId, unread: dict[str, None]) -> dict[str, object]:
    output = validated(OutputItem, item, path)
    note_unread(item, {*OutputItem.model_fields, *_callers(item)}, path, unread)
    given = output.output if isinstance(output.output, str) else _parts(output.output, "tool", f"{path}.output", unread)
    return {
        "type": output.type,
        "id": output.id or new_id("fco" if output.type == "function_call_output" else "ctco"),
        "call_id": output.call_id,
        "output": given,
        "status": output.status or "completed",
    }


def _callers(item: Mapping[str, Any]) -> set[str]:
    """``caller``, where it says nothing."""
    return {"caller"} if item.get("caller") == _DIRECT else set()


def _reasoning(item: Mapping[str, Any], path: str, new_id: NewId, unread: dict[str, None]) -> dict[str, object]:
    reasoning = validated(ReasoningItem, item, path)
    note_unread(item, ReasoningItem.model_fields, path, unread)
    kept: dict[str, object] = {
        "type": "reasoning",
        "id": reasoning.id or new_id("rs"),
        "summary": [part.model_dump() for part in reasoning.summary or ()],
    }
    if reasoning.content is not None:
        kept["content"] = [part.model_dump() for part in reasoning.content]
    if reasoning.encrypted_content is not None:
        kept["encrypted_content"] = reasoning.encrypted_content
    return kept if reasoning.status is None else kept | {"status": reasoning.status}


def _compaction(item: Mapping[str, Any], path: str, new_id: NewId, unread: dict[str, None]) -> dict[str, object]:
    compaction = validated(CompactionItem, item, path)
    note_unread(item, {*CompactionItem.model_fields, "created_by"}, path, unread)
    kept: dict[str, object] = {"type": "compaction", "id": compaction.id or new_id("cmp")}
    return kept | {"encrypted_content": compaction.encrypted_content}


def _reference(item: Mapping[str, Any], path: str, _new_id: NewId, unread: dict[str, None]) -> dict[str, object]:
    reference = validated(ReferenceItem, item, path)
    note_unread(item, ReferenceItem.model_fields, path, unread)
    return {"type": "item_reference", "id": reference.id}


_ANNOTATIONS: Mapping[str, type[Annotation]] = {
    "url_citation": UrlCitation,
    "file_citation": FileCitation,
    "container_file_citation": ContainerFileCitation,
    "file_path": FilePath,
}
_READERS: Mapping[str, Callable[[Mapping[str, Any], str, NewId, dict[str, None]], dict[str, object]]] = {
    "message": _message,
    "function_call": _call,
    "custom_tool_call": _call,
    "function_call_output": _output,
    "custom_tool_call_output": _output,
    "reasoning": _reasoning,
    "compaction": _compaction,
    "item_reference": _reference,
}
