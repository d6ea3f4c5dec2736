"""What comes back up the narrow waist: the events of a generation, in order.

Exactly one ``Started``; then deltas of the choices, interleaved; one ``Finished`` a choice; last,
exactly one ``Usage``. A failure is raised from the generator, never an event of it.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

# "tool_calls": the answer is complete and has at least one call.
FinishReason: TypeAlias = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True, slots=True)
class Alternative:
    """A token that could have stood there: its text, its bytes (a token may hold half a character), ln p."""

    token: str
    bytes: bytes
    logprob: float


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """The sampled token and the likeliest ones at its place, best first."""

    sampled: Alternative
    top: tuple[Alternative, ...]


@dataclass(frozen=True, slots=True)
class Started:
    """Admitted, counted, resources promised: HTTP headers may leave now.

    ``weights`` names the weights and engine that answer; ``stand_in`` the card that answers for another,
    or None. ``default_max_tokens`` is the bound that the card set because the caller set none. ``loosened`` names what
    of the caller's schemas isn't enforced, such as ``tools[0].function.parameters.properties.when.format``; ``unread``
    the fields that the model, or its chat template, does nothing with.
    """

    prompt_tokens: int
    cached_tokens: int
    weights: str
    stand_in: str | None = None
    default_max_tokens: int | None = None
    loosened: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of a choice's text: whole characters; ``logprobs`` of its tokens when asked for.

    The text may be empty when only log-probabilities are ready (a token that ends inside a character).
    """

    choice: int
    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """A piece of what a choice thinks before it answers; no part of its text."""

    choice: int
    text: str


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of a choice's tool call; ``call`` counts its calls from 0.

    The first one of a call has ``id`` and ``name``, later ones neither; the ``arguments`` of all, joined, are JSON of
    an object, or a custom tool's input. The last one is ``is_complete``, but for a call that was cut, or isn't well
    formed.
    """

    choice: int
    call: int
    arguments: str = ""
    id: str | None = None
    name: str | None = None
    is_complete: bool = False


@dataclass(frozen=True, slots=True)
class Finished:
    """A choice is complete. ``stop_sequence`` is the caller's stop string that ended it, if one did."""

    choice: int
    reason: FinishReason
    stop_sequence: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of the whole request: the prompt once, the completion tokens of all choices, ``reasoning`` among them.

    ``accepted_prediction`` are those that the caller's prediction foresaw; ``rejected_prediction`` tokens were tried
    and didn't come, so they are none of the completion's. ``neurons`` are what it cost, by the card that was asked for;
    engines don't know them: None.
    """

    prompt: int
    cached: int
    completion: int
    reasoning: int = 0
    neurons: float | None = None
    accepted_prediction: int = 0
    rejected_prediction: int = 0


Event: TypeAlias = Started | TextDelta | ReasoningDelta | ToolCallDelta | Finished | Usage
