"""The JSON schemas of what native text generation takes, made of the models that validate it.

Each has a branch for a prompt and one for messages, as the service's have: tools look for them there. Newer models have
one more for the input of a response.
"""

from collections.abc import Collection, Mapping
from typing import Any

from lowcloud.http.openai.chat_request import ChatBody
from lowcloud.http.openai.completions_request import CompletionBody
from lowcloud.http.responses.request import ResponseBody
from lowcloud.http.workers_ai.text_request import ClassicBody
from lowcloud.http.workers_ai.text_response import STATEFUL

_OF_A_PROMPT = ("prompt", "raw")
_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}


def classic_input() -> dict[str, object]:
    """Of a model of the classic family. That numbers and flags may be strings isn't said."""
    whole = ClassicBody.model_json_schema(mode="serialization")
    whole["properties"] = {name: _bounded(member) for name, member in whole["properties"].items()}
    return _either(_branch(whole, "prompt", without=("messages",)), _branch(whole, "messages", without=_OF_A_PROMPT))


def chat_input() -> dict[str, object]:
    """Of a model of the newer family: OpenAI's bodies, whose ``model`` nobody needs to name again; a single prompt."""
    prompt = CompletionBody.model_json_schema()
    prompt["properties"] |= {"prompt": {"type": "string"}}
    messages = _branch(ChatBody.model_json_schema(), "messages", without=("store",))
    response = _branch(ResponseBody.model_json_schema(), "input", without=STATEFUL)
    return _either(_branch(prompt, "prompt"), messages, response)


def _branch(schema: Mapping[str, Any], needed: str, without: Collection[str] = ()) -> dict[str, Any]:
    """The schema with one member that is required and not null, and without some others."""
    properties = {name: value for name, value in schema["properties"].items() if name not in without}
    properties[needed] = _not_null(properties[needed])
    return {**schema, "title": needed.capitalize(), "properties": properties, "required": [needed]}


def _bounded(member: Mapping[str, Any]) -> dict[str, Any]:
    """The bounds by JSON schema's names: pydantic has none for those around a validator of ours."""
    forms = [{_BOUNDS.get(name, name): value for name, value in form.items()} for form in member.get("anyOf", ())]
    return {**member, "anyOf": forms} if forms else dict(member)


def _not_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A member that may be null without that form."""
    forms = [form for form in schema.get("anyOf", ()) if form != {"type": "null"}]
    if len(forms) == 1:
        return {**forms[0], "title": schema["title"]}
    return {**schema, "anyOf": forms} if forms else dict(schema)


def _either(*branches: dict[str, Any]) -> dict[str, object]:
    definitions: dict[str, Any] = {}
    for branch in branches:
        definitions |= branch.pop("$defs", {})
    return {"type": "object", "oneOf": list(branches), **({"$defs": definitions} if definitions else {})}
