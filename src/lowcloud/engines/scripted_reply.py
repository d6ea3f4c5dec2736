"""What a scripted engine says: a text, or reasoning, text and calls; as events, cut to what is allowed. Pure.

One token is one word with the white space before it.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from lowcloud.core.events import FinishReason, ReasoningDelta, TextDelta, ToolCallDelta
from lowcloud.core.requests import Generate

_WORD = re.compile(r"\s*\S+|\s+\Z")
BABBLE = ("beep", "boop", "whirr", "clank", "bzzt", "ping", "hum", "click", "zap", "blip", "chirp", "thunk")
# Each is one token.
Delta: TypeAlias = TextDelta | ReasoningDelta | ToolCallDelta


@dataclass(frozen=True, slots=True)
class Turn:
    """What a reply may depend on: the prompt as text, the choice, and the seed (0 when the caller named none).

    At temperature 0 both ``choice`` and ``seed`` are 0, so every choice is the same.
    """

    prompt: str
    choice: int
    seed: int


@dataclass(frozen=True, slots=True)
class SaidCall:
    """A call: JSON of an object for a function, any text for a custom tool. ``id`` None: one that is made up."""

    name: str
    arguments: str = "{}"
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """A reply: first the reasoning, then the text, then the calls."""

    text: str = ""
    reasoning: str = ""
    calls: tuple[SaidCall, ...] = ()


Reply: TypeAlias = Callable[[Turn], str | Said]


@dataclass(frozen=True, slots=True)
class Line:
    """One choice's reply, cut to what is allowed: a token each, and how it ends."""

    deltas: tuple[Delta, ...]
    reason: FinishReason
    stop_sequence: str | None = None

    def reasoning_tokens(self) -> int:
        return sum(isinstance(delta, ReasoningDelta) for delta in self.deltas)


def words(text: str) -> list[str]:
    """The tokens of a text; joined, they are the text again."""
    return _WORD.findall(text)


def babble(turn: Turn) -> str:
    """Four to fifteen robot noises, chosen by a hash of the turn."""
    digest = hashlib.sha256(repr(turn).encode()).digest()
    return " ".join(BABBLE[byte % len(BABBLE)] for byte in digest[: 4 + digest[-1] % 12])


def line_of(said: str | Said, choice: int, request: Generate, max_tokens: int) -> Line:
    """The reply's tokens up to ``max_tokens``, or to the stop string that begins first in its text.

    With ``ignore_eos`` the text begins again until ``max_tokens``, and there are no calls.
    """
    reply = Said(said) if isinstance(said, str) else said
    thought = [ReasoningDelta(choice, word) for word in words(reply.reasoning)]
    text = words(reply.text)
    if request.ignore_eos:
        text = [(text or ["hm"])[step % max(1, len(text))] for step in range(max(0, max_tokens - len(thought)))]
    calls = [] if request.ignore_eos else _calls(reply.calls, choice, request.id)
    spoken = [*thought, *(TextDelta(choice, word) for word in text), *calls]
    kept = spoken[:max_tokens]
    stopped = _stopped(kept, request.stop)
    if stopped is not None:
        return stopped
    if len(spoken) > max_tokens or request.ignore_eos:
        return Line(tuple(kept), "length")
    return Line(tuple(kept), "tool_calls" if calls else "stop")


def _calls(calls: Sequence[SaidCall], choice: int, request_id: str) -> list[Delta]:
    deltas: list[Delta] = []
    for index, call in enumerate(calls):
        pieces = words(call.arguments) or [""]
        made_up = hashlib.sha256(f"{request_id}/{choice}/{index}".encode()).hexdigest()[:24]
        pieced = [ToolCallDelta(choice, index, piece) for piece in pieces]
        pieced[0] = replace(pieced[0], id=call.id or f"call_{made_up}", name=call.name)
        pieced[-1] = replace(pieced[-1], is_complete=True)
        deltas += pieced
    return deltas


def _stopped(deltas: Sequence[Delta], stops: Sequence[str]) -> Line | None:
    """Cut at the stop string that begins first in the text; its last token counts, and nothing comes after it."""
    text = "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
    found = [(start, stop) for stop in stops if stop and (start := text.find(stop)) >= 0]
    if not found:
        return None
    start, stop = min(found, key=lambda pair: pair[0])
    cut: list[Delta] = []
    position = 0
    for delta in deltas:
        if position >= start + len(stop):
            break
        if isinstance(delta, TextDelta):
            cut.append(replace(delta, text=delta.text[: max(0, start - position)]))
            position += len(delta.text)
        else:
            cut.append(delta)
    return Line(tuple(cut), "stop", stop)
