"""What a request means once the card's defaults are in: how long the answer may be, and how it is sampled. Pure."""

from dataclasses import dataclass, replace

from lowcloud.core.errors import BadRequest, PromptTooLong
from lowcloud.core.messages import Messages, Prompt
from lowcloud.core.requests import Sampling
from lowcloud.engines.sampling import filled
from lowcloud.models.card import Defaults

NEUTRAL = Sampling(temperature=1.0, top_p=1.0, top_k=0, min_p=0.0, repetition_penalty=1.0)


@dataclass(frozen=True, slots=True)
class Length:
    """``max_tokens`` of one choice; ``by_default``: the card set it, since the caller named none."""

    max_tokens: int
    by_default: bool


@dataclass(frozen=True, slots=True)
class Context:
    """``length`` in tokens, prompt and answer together; ``model`` is the id of the card whose weights answer."""

    length: int
    model: str


def param_of(prompt: Prompt) -> str:
    """The field that errors about a prompt name."""
    return "messages" if isinstance(prompt, Messages) else "prompt"


def check_characters(n_characters: int, longest: int, context: Context, param: str) -> None:
    """Refuse a text that is over the context whatever its tokens are, before they are counted: that would take minutes
    and gigabytes. No token has more than ``longest`` characters. Raises PromptTooLong."""
    if n_characters > context.length * longest:
        raise PromptTooLong(
            f"The context length of {context.model} is {context.length} tokens, prompt and answer together; "
            f"the prompt has at least {-(-n_characters // longest)} tokens.",
            param=param,
        )


def length_of(prompt_tokens: int, asked: int | None, default: int | None, context: Context, param: str) -> Length:
    """The bound on an answer. ``asked`` is the caller's, ``default`` the card's; with neither, what the context leaves.

    Raises BadRequest for a prompt without tokens; PromptTooLong, with all counts, for a prompt that leaves no room, and
    for more tokens asked for than it leaves.
    """
    left = context.length - prompt_tokens
    if prompt_tokens == 0:
        raise BadRequest("The prompt has no tokens.", param=param)
    if left < 1:
        raise PromptTooLong(
            f"The context length of {context.model} is {context.length} tokens, prompt and answer together; "
            f"the prompt has {prompt_tokens} tokens.",
            param=param,
        )
    if asked is not None and asked > left:
        raise PromptTooLong(
            f"The context length of {context.model} is {context.length} tokens; the prompt has {prompt_tokens} tokens "
            f"and {asked} are asked for, {prompt_tokens + asked} together.",
            param="max_tokens",
        )
    if asked is not None:
        return Length(asked, by_default=False)
    if default is not None and default < left:
        return Length(default, by_default=True)
    return Length(left, by_default=False)


def sampling_of(asked: Sampling, defaults: Defaults, drawn_seed: int) -> Sampling:
    """``asked`` with no None left: the card's defaults, else the neutral values; ``drawn_seed`` where none is named."""
    named = filled(filled(asked, defaults), NEUTRAL)
    return named if named.seed is not None else replace(named, seed=drawn_seed)


def check_bias(sampling: Sampling, n_vocab: int) -> None:
    """Raises BadRequest for a biased id that is no token's."""
    for token, _ in sampling.logit_bias:
        if not 0 <= token < n_vocab:
            raise BadRequest(
                f"logit_bias names token {token}, and this model's ids are 0 to {n_vocab - 1}.", param="logit_bias"
            )
