"""A request as the body that an OpenAI-compatible upstream takes. Pure.

Only what the caller set is sent, since upstreams refuse, or ignore, what they don't know.
"""

import base64
import json
from collections.abc import Mapping

from lowcloud.core.errors import Unsupported
from lowcloud.core.messages import Image, Message, Messages, Prompt, Text, Tokens, ToolCall
from lowcloud.core.output import AnyText, Choice, Format, JsonSchema, Lark, Regex, Schema
from lowcloud.core.requests import Generate, Sampling
from lowcloud.core.tools import Tool, ToolPlan
from lowcloud.engines.remote.upstream import Upstream

CHARACTERS_A_TOKEN = 4
MESSAGE_TOKENS = 4  # what a template writes around a message, about
_ANY_OBJECT: Schema = {"type": "object"}
_SAMPLED = ("temperature", "top_p", "top_k", "min_p", "seed")


def check(request: Generate, upstream: Upstream) -> None:
    """Refuses what the formats have no words for, or what upstreams ignore without a word. Raises Unsupported."""
    if request.thinking is not None:
        message = f"{upstream.id} is a remote model; its thinking can't be bounded."
        raise Unsupported(message, param=request.thinking.param)
    if request.ignore_eos and not upstream.is_guided:
        raise _ungiven(upstream, "ignore_eos")
    match request.output:
        case Regex(param=param) | Choice(param=param) | Lark(param=param) if not upstream.is_guided:
            raise _ungiven(upstream, param)


def _ungiven(upstream: Upstream, param: str) -> Unsupported:
    return Unsupported(
        f"{param} is not known to honour it where {upstream.id} runs; for vLLM, set upstream_guided.", param=param
    )


def path_of(prompt: Prompt) -> str:
    """Where a prompt goes."""
    return "/chat/completions" if isinstance(prompt, Messages) else "/completions"


def body_of(request: Generate, upstream: Upstream) -> dict[str, object]:
    """The body for ``path_of`` its prompt, for a stream. ``request`` has passed ``check``."""
    body: dict[str, object] = {
        "model": upstream.model,
        **_prompt(request.prompt),
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    is_chat = isinstance(request.prompt, Messages)
    if request.max_tokens is not None:
        body[upstream.length_field if is_chat else "max_tokens"] = request.max_tokens
    if request.top_logprobs is not None:
        body |= (
            {"logprobs": True, "top_logprobs": request.top_logprobs} if is_chat else {"logprobs": request.top_logprobs}
        )
    return body | _choices(request) | _sampling(request.sampling) | _output(request.output) | _tools(request.tools)


def _prompt(prompt: Prompt) -> dict[str, object]:
    match prompt:
        case Text(text, suffix):
            return {"prompt": text} if suffix is None else {"prompt": text, "suffix": suffix}
        case Tokens(ids):
            return {"prompt": list(ids)}
    body: dict[str, object] = {"messages": [_message(message) for message in prompt.messages]}
    if prompt.effort is not None:
        body["reasoning_effort"] = prompt.effort
    return body | ({"chat_template_kwargs": dict(prompt.options)} if prompt.options else {})


def rough_tokens(prompt: Prompt) -> int:
    """An estimate of the prompt's tokens, a quarter of its characters: only the upstream can count them."""
    match prompt:
        case Messages(messages, tools):
            told = sum(len(json.dumps(_tool(tool))) for tool in tools)
            return sum(MESSAGE_TOKENS + _rough(_length(message)) for message in messages) + _rough(told)
        case Text(text, suffix):
            return max(1, _rough(len(text) + len(suffix or "")))
        case _:
            return len(prompt.ids)


def _rough(characters: int) -> int:
    return -(-characters // CHARACTERS_A_TOKEN)


def _length(message: Message) -> int:
    calls = sum(len(call.name) + len(call.arguments) for call in message.calls)
    return len(message.text) + len(message.reasoning or "") + calls


def _choices(request: Generate) -> dict[str, object]:
    body: dict[str, object] = {}
    if request.choices > 1:
        body["n"] = request.choices
    if request.stop:
        body["stop"] = list(request.stop)
    if request.ignore_eos:
        body["ignore_eos"] = True
    if request.prediction is not None:
        body["prediction"] = {"type": "content", "content": request.prediction}
    return body


def _sampling(sampling: Sampling) -> dict[str, object]:
    body: dict[str, object] = {name: value for name in _SAMPLED if (value := getattr(sampling, name)) is not None}
    if sampling.repetition_penalty is not None:
        # vLLM's and Workers AI's name, and llama.cpp's.
        body |= {"repetition_penalty": sampling.repetition_penalty, "repeat_penalty": sampling.repetition_penalty}
    for name in ("presence_penalty", "frequency_penalty"):
        if getattr(sampling, name):
            body[name] = getattr(sampling, name)
    if sampling.logit_bias:
        body["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias}
    return body


def _output(output: Format) -> dict[str, object]:
    """Guided outputs under vLLM's names, the old and the new ones: each version ignores the others."""
    match output:
        case AnyText():
            return {}
        case JsonSchema(schema) if schema == _ANY_OBJECT:
            return {"response_format": {"type": "json_object"}}
        case JsonSchema(schema, is_strict):
            described = {"name": "answer", "schema": schema, "strict": is_strict}
            return {"response_format": {"type": "json_schema", "json_schema": described}}
        case Regex(pattern):
            return {"guided_regex": pattern, "structured_outputs": {"regex": pattern}}
        case Choice(options):
            return {"guided_choice": list(options), "structured_outputs": {"choice": list(options)}}
        case Lark(grammar):
            return {"guided_grammar": grammar, "structured_outputs": {"grammar": grammar}}


def _tools(plan: ToolPlan) -> dict[str, object]:
    """The tools that may be called, and no others: so a named choice is "required" of one tool.

    llama-server takes a choice that is an object for "auto", and hardly anyone knows allowed_tools.
    """
    if plan.mode == "none" or not plan.tools:
        return {}
    body: dict[str, object] = {"tools": [_tool(tool) for tool in plan.tools], "tool_choice": plan.mode}
    return body | {"parallel_tool_calls": False} if plan.at_most_one else body


def _tool(tool: Tool) -> dict[str, object]:
    described: dict[str, object] = {"name": tool.name}
    if tool.description is not None:
        described["description"] = tool.description
    if tool.input is not None:
        return {"type": "custom", "custom": described | {"format": _input(tool.input)}}
    described["parameters"] = tool.parameters if tool.parameters is not None else {"type": "object", "properties": {}}
    if tool.is_strict:
        described["strict"] = True
    return {"type": "function", "function": described}


def _input(form: AnyText | Regex | Lark) -> dict[str, object]:
    match form:
        case AnyText():
            return {"type": "text"}
        case Regex(pattern):
            return {"type": "grammar", "grammar": {"syntax": "regex", "definition": pattern}}
        case Lark(grammar):
            return {"type": "grammar", "grammar": {"syntax": "lark", "definition": grammar}}


def _message(message: Message) -> dict[str, object]:
    """An assistant's content is never null, which Workers AI refuses."""
    body: dict[str, object] = {"role": message.role, "content": _content(message)}
    if message.name is not None:
        body["name"] = message.name
    if message.call_id is not None:
        body["tool_call_id"] = message.call_id
    if message.reasoning is not None:
        # DeepSeek's and llama.cpp's name, and vLLM's and Ollama's.
        body |= {"reasoning_content": message.reasoning, "reasoning": message.reasoning}
    if message.calls:
        body["tool_calls"] = [_call(call) for call in message.calls]
    return body


def _content(message: Message) -> str | list[Mapping[str, object]]:
    """Text, or parts of it with the images at their places between."""
    if not message.images:
        return message.text
    parts: list[Mapping[str, object]] = []
    position = 0
    for image in sorted(message.images, key=lambda each: each.at):
        if image.at > position:
            parts.append({"type": "text", "text": message.text[position : image.at]})
            position = image.at
        parts.append({"type": "image_url", "image_url": {"url": _data_url(image)}})
    if message.text[position:]:
        parts.append({"type": "text", "text": message.text[position:]})
    return parts


def _data_url(image: Image) -> str:
    return f"data:{image.media_type};base64,{base64.b64encode(image.data).decode()}"


def _call(call: ToolCall) -> dict[str, object]:
    if call.is_custom:
        return {"id": call.id, "type": "custom", "custom": {"name": call.name, "input": call.arguments}}
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
