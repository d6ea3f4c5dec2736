"""The inputs of a classic text generation: what is accepted, with the limits and defaults of Workers AI.

What the chat format has too (messages, tools, formats) is read by its code; ``text_messages`` brings the older forms
into its form. Source: Cloudflare docs, Workers AI > Models, the schemas of llama-3.3-70b and llama-3.2, read 2026-11.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, SkipValidation

from lowcloud.core.errors import BadRequest, Unsupported
from lowcloud.core.messages import Prompt, Text
from lowcloud.core.output import JsonSchema
from lowcloud.core.requests import Generate, Sampling
from lowcloud.http.openai.chat_request import chat_asked
from lowcloud.http.openai.parameters import named, refuse
from lowcloud.http.validation import validated
from lowcloud.http.workers_ai.lenient import Count, Flag, Number, Whole
from lowcloud.http.workers_ai.text_messages import chat_messages, chat_tools, named_tools, with_image
from lowcloud.http.workers_ai.text_names import Names
from lowcloud.models.card import Defaults

MAX_TOKENS = 256
TEMPERATURE = 0.6
MIN_TOP_P = 0.001
MAX_SEED = 9_999_999_999
# Read by the chat format's code, under the same names.
_AS_IN_CHAT = ("tool_choice", "response_format", "guided_json", "reasoning_effort", "chat_template_kwargs", "stop")
_OF_A_TEMPLATE = ("tools", "functions", "image", "reasoning_effort", "chat_template_kwargs")
_REFUSED: dict[str, tuple[object, ...]] = {"safe_prompt": (False,), "input": ()}


class ClassicBody(BaseModel):
    """``prompt`` or ``messages``. Numbers and booleans may be strings; names that nobody knows are ignored."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False, title="TextGenerationInput")

    prompt: Annotated[str, Field(min_length=1)] | None = None
    messages: Annotated[list[dict[str, object]] | None, SkipValidation] = None
    raw: Flag | None = Field(None, description="the prompt as it is, without the chat template")
    stream: Flag | None = None
    max_tokens: Count | None = Field(None, description="256 where none is given")
    temperature: Annotated[Number, Field(ge=0, le=5)] | None = Field(None, description="the model's own, else 0.6")
    top_p: Annotated[Number, Field(ge=0, le=2)] | None = None
    top_k: Annotated[Whole, Field(ge=1, le=50)] | None = None
    seed: Annotated[Whole, Field(ge=1, le=MAX_SEED)] | None = None
    random_seed: Annotated[Whole, Field(ge=1, le=MAX_SEED)] | None = Field(None, description="another name of seed")
    repetition_penalty: Annotated[Number, Field(gt=0, le=2)] | None = None
    frequency_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    lora: str | None = Field(None, description="refused: no model here takes an adapter")
    image: Annotated[str | list[int] | None, SkipValidation] = Field(None, description="base64, or bytes as numbers")
    tools: Annotated[list[dict[str, object]] | None, SkipValidation] = None
    functions: Annotated[list[dict[str, object]] | None, SkipValidation] = None
    tool_choice: Annotated[str | dict[str, object] | None, SkipValidation] = None
    response_format: Annotated[dict[str, object] | None, SkipValidation] = None
    guided_json: Annotated[dict[str, object] | str | None, SkipValidation] = None
    reasoning_effort: str | None = None
    chat_template_kwargs: dict[str, object] | None = None
    stop: Annotated[str | list[str] | None, SkipValidation] = None
    safe_prompt: bool | None = None

    def sampling(self, defaults: Defaults) -> Sampling:
        """``defaults`` are those of the model that answers: they come before the documented ones."""
        temperature = self.temperature
        if temperature is None and defaults.temperature is None:
            temperature = TEMPERATURE
        return Sampling(
            temperature=temperature,
            top_p=None if self.top_p is None else min(max(self.top_p, MIN_TOP_P), 1.0),
            top_k=self.top_k,
            seed=self.random_seed if self.seed is None else self.seed,
            repetition_penalty=self.repetition_penalty,
            frequency_penalty=self.frequency_penalty or 0.0,
            presence_penalty=self.presence_penalty or 0.0,
        )


@dataclass(frozen=True, slots=True)
class ClassicAsked:
    """``is_json``: the answer is shown as the value that its text is; ``has_tools``: its calls are, even if none."""

    generate: Generate
    is_stream: bool
    is_json: bool
    has_tools: bool
    ignored: tuple[str, ...]


def classic_asked(inputs: Mapping[str, Any], model: str, run_id: str, defaults: Defaults) -> ClassicAsked:
    """What the inputs ask for. Raises BadRequest, Unsupported."""
    body = validated(ClassicBody, dict(inputs))
    refuse(inputs, _REFUSED)
    _check_together(body, inputs)
    raw, names = _as_chat(body, inputs, model)
    try:
        chat = chat_asked(raw, run_id)
    except BadRequest as error:
        raise names.of_error(error) from None
    asked = names.of_generate(chat.generate)
    prompt: Prompt = asked.prompt
    if body.raw and body.prompt is not None:
        prompt = Text(body.prompt)
    generate = replace(
        asked,
        prompt=prompt,
        sampling=body.sampling(defaults),
        max_tokens=body.max_tokens,
        default_max_tokens=MAX_TOKENS,
    )
    unknown = named(inputs, ClassicBody.model_fields, {})
    is_json = isinstance(generate.output, JsonSchema)
    has_tools = bool(body.tools or body.functions)
    return ClassicAsked(generate, bool(body.stream), is_json, has_tools, (*unknown, *chat.ignored))


def _as_chat(body: ClassicBody, inputs: Mapping[str, Any], model: str) -> tuple[dict[str, Any], Names]:
    """The same in the chat format, and what is called otherwise there."""
    names: dict[str, str] = {}
    messages = [{"role": "user", "content": body.prompt}] if body.messages is None else chat_messages(body.messages)
    if body.image is not None:
        messages, path = with_image(messages, body.image)
        names[path] = "image"
    raw: dict[str, Any] = {"model": model, "messages": messages}
    raw |= {name: inputs[name] for name in _AS_IN_CHAT if inputs.get(name) is not None}
    tools, functions = chat_tools(body.tools, "tools"), chat_tools(body.functions, "functions")
    names |= named_tools(body.tools, tools, "tools", 0) | named_tools(
        body.functions, functions, "functions", len(tools)
    )
    return raw | ({"tools": [*tools, *functions]} if tools or functions else {}), Names(names)


def _check_together(body: ClassicBody, inputs: Mapping[str, Any]) -> None:
    if body.prompt is None and body.messages is None:
        raise BadRequest(
            "oneOf at '/' not met, 0 matches: required properties at '/' are 'prompt', "
            "required properties at '/' are 'messages'",
            param="prompt",
        )
    if body.prompt is not None and body.messages is not None:
        raise BadRequest("prompt and messages are mutually exclusive", param="messages")
    if None not in (body.seed, body.random_seed) and body.seed != body.random_seed:
        raise BadRequest("random_seed: contradicts seed; send one.", param="random_seed")
    if not body.raw:
        return
    if body.prompt is None:
        raise Unsupported("raw: only with a prompt; messages need the chat template.", param="raw")
    shown = next((name for name in _OF_A_TEMPLATE if inputs.get(name)), None)
    if shown is not None:
        raise Unsupported(f"{shown}: not with raw, since only the chat template can show it.", param=shown)
