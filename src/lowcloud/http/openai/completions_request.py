"""The body of a completion: prompts that no template touches, and what is asked of each."""

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import ConfigDict, Field, SkipValidation

from lowcloud.core.errors import BadRequest, Unsupported
from lowcloud.core.messages import Text, Tokens
from lowcloud.core.requests import Generate
from lowcloud.http.openai.chat_format import GuidedFields, ResponseFormat, format_asked
from lowcloud.http.openai.parameters import Fate, named, refuse
from lowcloud.http.openai.run_options import RunFields
from lowcloud.http.openai.sampling_fields import MAX_CHOICES, SAMPLING_REFUSED, SamplingFields
from lowcloud.http.validation import validated

MAX_PROMPTS = 128
MAX_LOGPROBS = 5


class CompletionBody(SamplingFields, GuidedFields, RunFields):
    """The parameters that are read. Others are refused or named in ``lowcloud-ignored``."""

    model_config = ConfigDict(strict=True, title="CreateCompletion", allow_inf_nan=False)

    model: str = Field(description="an id of GET models; there is no default")
    prompt: Annotated[str | list[str] | list[int] | list[list[int]], SkipValidation]
    suffix: str | None = Field(None, description="what follows; for models that fill in the middle")
    echo: bool | None = None
    best_of: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    logprobs: Annotated[int, Field(ge=0, le=MAX_LOGPROBS)] | None = None
    response_format: Annotated[ResponseFormat | None, SkipValidation] = None


REFUSED: dict[str, tuple[object, ...]] = {
    **SAMPLING_REFUSED,
    "messages": (),
    "tools": ([],),
    "prompt_logprobs": (),
}
HINTS: dict[str, tuple[object, ...]] = {"user": ()}
FATES: dict[str, Fate] = {
    **dict.fromkeys(CompletionBody.model_fields, Fate.HONOURED),
    **dict.fromkeys(HINTS, Fate.IGNORED),
    **dict.fromkeys(REFUSED, Fate.REFUSED),
}


@dataclass(frozen=True, slots=True)
class CompletionAsked:
    """``generates`` has one request a prompt, of ``best_of`` choices each; the ``n`` best of them are the answer.

    ``echoes`` are the prompts, where they are to stand before their texts. ``logprobs`` None: none are shown.
    ``has_null_usage``: where the usage is included, the chunks before it say that they have none.
    """

    model: str
    generates: tuple[Generate, ...]
    n: int
    logprobs: int | None
    echoes: tuple[str, ...] | None
    is_stream: bool
    include_usage: bool
    pads: bool
    rejects_if_busy: bool
    ignored: tuple[str, ...]
    has_null_usage: bool = True

    @property
    def best_of(self) -> int:
        return self.generates[0].choices


def completion_asked(raw: dict[str, Any], request_id: str) -> CompletionAsked:
    """Raises BadRequest, Unsupported."""
    body = validated(CompletionBody, raw)
    refuse(raw, REFUSED)
    prompts = _prompts(raw["prompt"], body.suffix)
    n, best_of = body.n or 1, body.best_of or body.n or 1
    _check_together(body, n, best_of)
    unread: dict[str, None] = {}
    options = body.stream_asked(raw, unread)
    rejects_if_busy = body.rejects_if_busy(raw, unread)
    output = format_asked(raw, unread)
    top_logprobs = body.logprobs if body.logprobs is not None else (0 if best_of > n else None)
    generates = tuple(
        Generate(
            id=f"{request_id}-{index}" if len(prompts) > 1 else request_id,
            prompt=prompt,
            choices=best_of,
            sampling=body.sampling(),
            stop=tuple(body.stop or ()),
            top_logprobs=top_logprobs,
            max_tokens=body.max_tokens,
            ignore_eos=bool(body.ignore_eos),
            output=output,
        )
        for index, prompt in enumerate(prompts)
    )
    return CompletionAsked(
        body.model,
        generates,
        n,
        body.logprobs,
        _echoes(prompts) if body.echo else None,
        bool(body.stream),
        bool(options.include_usage),
        bool(options.include_obfuscation),
        rejects_if_busy,
        (*named(raw, FATES, HINTS), *unread),
    )


def _prompts(value: object, suffix: str | None) -> tuple[Text | Tokens, ...]:
    items = [value] if isinstance(value, str) or _is_ids(value) else value
    if not isinstance(items, list) or not items:
        raise BadRequest("prompt: must be a string, a list of strings, token ids, or lists of these.", param="prompt")
    if len(items) > MAX_PROMPTS:
        raise BadRequest(f"prompt: at most {MAX_PROMPTS}; these are {len(items)}.", param="prompt")
    return tuple(_prompt(item, suffix, index) for index, item in enumerate(items))


def _prompt(item: object, suffix: str | None, index: int) -> Text | Tokens:
    if isinstance(item, str):
        return Text(item, suffix)
    if isinstance(item, list) and _is_ids(item):
        if suffix is not None:
            raise Unsupported("suffix: only with prompts that are texts.", param="suffix")
        return Tokens(tuple(item))
    raise BadRequest(f"prompt[{index}]: must be a string or token ids.", param=f"prompt[{index}]")


def _is_ids(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(type(item) is int for item in value)


def _check_together(body: CompletionBody, n: int, best_of: int) -> None:
    if best_of < n:
        raise BadRequest(f"best_of: must be at least n, which is {n}.", param="best_of")
    if best_of > n and body.stream:
        raise BadRequest("best_of: can't be streamed when it is more than n.", param="best_of")
    if body.echo and body.logprobs is not None:
        raise Unsupported("echo: the prompt's own log-probabilities are not supported here.", param="echo")
    if body.echo and body.suffix is not None:
        raise BadRequest("echo: not together with suffix.", param="echo")


def _echoes(prompts: tuple[Text | Tokens, ...]) -> tuple[str, ...]:
    if any(isinstance(prompt, Tokens) for prompt in prompts):
        raise Unsupported("echo: only prompts that are texts can be echoed here.", param="echo")
    return tuple(prompt.text for prompt in prompts if isinstance(prompt, Text))
