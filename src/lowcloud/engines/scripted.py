"""Deterministic engines without weights: for tests, demos and CI.

One token is one word with the white space before it. A ``Stage`` lets a test hold an engine at a named point, wait
until it is there, or make it fail there, so that nothing sleeps and nothing depends on the machine's speed.
"""

import hashlib
import math
import struct
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from zlib import crc32

import anyio

from lowcloud.core.errors import BadRequest, PromptTooLong, Unsupported
from lowcloud.core.events import Alternative, Event, Finished, Started, TextDelta, TokenLogprob, Usage
from lowcloud.core.messages import Messages, Prompt, Text, Tokens
from lowcloud.core.requests import Embed, Generate
from lowcloud.core.results import Embedded
from lowcloud.engines.engine import Counted, Prepared, RuntimeState, unheard
from lowcloud.engines.sampling import default_length, filled
from lowcloud.engines.scripted_reply import BABBLE, Delta, Line, Reply, Said, SaidCall, Turn, babble, line_of, words
from lowcloud.models.card import Card

__all__ = [
    "Reply",
    "Said",
    "SaidCall",
    "ScriptedEmbedder",
    "ScriptedEngine",
    "ScriptedRuntime",
    "Stage",
    "Turn",
    "babble",
    "unit_vector",
    "words",
]

N_VOCAB = 32_768
UNBOUNDED_CONTEXT = 4_096
UNBOUNDED_INPUT = 512


class Stage:
    """Named points that an engine passes, in order: ``prepare``, ``start``, ``token:0`` (before the first
    step's tokens), ``token:1`` and on, ``finish``. An embedder passes ``embed``, a reranker ``rerank``, a classifier
    ``classify``; a runtime ``load`` and, when that
    fails, ``retry``.
    """

    def __init__(self) -> None:
        self._held: dict[str, anyio.Event] = {}
        self._errors: dict[str, Exception] = {}
        self._passes: dict[str, int] = {}
        self._arrival = anyio.Event()

    def hold(self, point: str) -> None:
        """Whoever comes to ``point`` waits there until ``open``."""
        self._held.setdefault(point, anyio.Event())

    def open(self, point: str) -> None:
        """Let everyone through who waits at ``point``, and who comes later."""
        held = self._held.pop(point, None)
        if held is not None:
            held.set()

    def fail(self, point: str, error: Exception | None) -> None:
        """Whoever passes ``point`` raises ``error``; None takes that back."""
        self._errors.pop(point, None)
        if error is not None:
            self._errors[point] = error

    async def reached(self, point: str, times: int = 1) -> None:
        """Return once ``point`` was come to ``times`` times since the beginning."""
        while self._passes.get(point, 0) < times:
            await self._arrival.wait()

    async def at(self, point: str) -> None:
        """What an engine calls at ``point``."""
        self._passes[point] = self._passes.get(point, 0) + 1
        arrival, self._arrival = self._arrival, anyio.Event()
        arrival.set()
        held = self._held.get(point)
        if held is not None:
            await held.wait()
        error = self._errors.get(point)
        if error is not None:
            raise error


class ScriptedEngine:
    """An ``Engine`` that says what ``reply`` says: a text, a ``Said``, or a function of the turn.

    A reply of more words than ``max_tokens`` is cut there with ``length``. What the text must be and which tools may be
    called bounds nothing. ``cached_tokens`` is what ``Started`` and ``Usage`` report, ``loosened`` what ``Started``
    does. ``cancelled`` and ``finished`` hold the ids of requests, in order; ``running`` those in between. ``requests``
    and ``ranks`` are those of the generations, in order.
    """

    def __init__(
        self,
        card: Card,
        reply: Reply | str | Said = babble,
        *,
        stage: Stage | None = None,
        weights: str = "scripted",
        cached_tokens: int = 0,
        loosened: tuple[str, ...] = (),
    ) -> None:
        self._card = card
        self._reply: Reply = reply if callable(reply) else lambda _turn: reply
        self._weights = weights
        self._cached_tokens = cached_tokens
        self._loosened = loosened
        self.stage = stage or Stage()
        self.requests: list[Generate] = []
        self.ranks: list[int] = []
        self.running: list[str] = []
        self.cancelled: list[str] = []
        self.finished: list[str] = []

    @property
    def card(self) -> Card:
        return self._card

    def check(self, request: Generate) -> None:
        """Images need a card that sees; texts can't be filled in. Nothing else of a request is beyond this engine."""
        if isinstance(request.prompt, Text) and request.prompt.suffix is not None:
            raise Unsupported("suffix: this model can't fill in the middle.", param="suffix")
        messages = request.prompt.messages if isinstance(request.prompt, Messages) else ()
        for index, message in enumerate(messages):
            if message.images and not self._card.vision:
                param = message.images[0].param or f"messages[{index}].content"
                raise Unsupported(f"{param}: {self._card.id} doesn't take images.", param=param)

    async def count(self, prompt: Prompt) -> int:
        return len(words(_rendered(prompt)))

    async def prepare(self, request: Generate) -> Prepared:
        try:
            await self.stage.at("prepare")
        except anyio.get_cancelled_exc_class():
            self.cancelled.append(request.id)
            raise
        for token, _bias in request.sampling.logit_bias:
            if not 0 <= token < N_VOCAB:
                raise BadRequest(f"Token id {token} is not in the vocabulary of {N_VOCAB}.", param="logit_bias")
        tokens = words(_rendered(request.prompt))
        limit = self._card.context_window or UNBOUNDED_CONTEXT
        max_tokens, by_default = _max_tokens(
            len(tokens), request.max_tokens, default_length(request, self._card), limit
        )
        ids = tuple(crc32(token.encode()) % N_VOCAB for token in tokens)
        whole = replace(request, sampling=filled(request.sampling, self._card.defaults))
        return Prepared(whole, ids, len(tokens), max_tokens, max_tokens if by_default else None)

    async def generate(self, prepared: Prepared) -> AsyncGenerator[Event, None]:
        request = prepared.request
        self.requests.append(request)
        self.ranks.append(prepared.rank)
        self.running.append(request.id)
        try:
            await self.stage.at("start")
            yield self._started(prepared)
            lines = [self._line(prepared, choice) for choice in range(request.choices)]
            async with aclosing(self._spoken(lines, request.top_logprobs)) as spoken:
                async for event in spoken:
                    yield event
            await self.stage.at("finish")
            yield self._usage(prepared, lines)
        except (GeneratorExit, anyio.get_cancelled_exc_class()):
            self.cancelled.append(request.id)
            raise
        else:
            self.finished.append(request.id)
        finally:
            self.running.remove(request.id)

    def _started(self, prepared: Prepared) -> Started:
        return Started(
            prepared.prompt_tokens,
            self._cached_tokens,
            self._weights,
            default_max_tokens=prepared.default_max_tokens,
            loosened=self._loosened,
        )

    def _usage(self, prepared: Prepared, lines: Sequence[Line]) -> Usage:
        completion = sum(len(line.deltas) for line in lines)
        reasoning = sum(line.reasoning_tokens() for line in lines)
        return Usage(prepared.prompt_tokens, self._cached_tokens, completion, reasoning)

    async def _spoken(self, lines: Sequence[Line], top: int | None) -> AsyncGenerator[Event, None]:
        for step in range(max(len(line.deltas) for line in lines) + 1):
            if any(step < len(line.deltas) for line in lines):
                await self.stage.at(f"token:{step}")
            for choice, line in enumerate(lines):
                if step == len(line.deltas):
                    yield Finished(choice, line.reason, line.stop_sequence)
                elif step < len(line.deltas) and (delta := _shown(line.deltas[step], top)) is not None:
                    yield delta

    def _line(self, prepared: Prepared, choice: int) -> Line:
        request = prepared.request
        greedy = request.sampling.temperature == 0
        seed = 0 if greedy else request.sampling.seed or 0
        said = self._reply(Turn(_rendered(request.prompt), 0 if greedy else choice, seed))
        return line_of(said, choice, request, prepared.max_tokens)


def _shown(delta: Delta, top: int | None) -> Delta | None:
    """With the log-probabilities of its token where they are asked for; None where it shows nothing."""
    if not isinstance(delta, TextDelta):
        return delta
    return replace(delta, logprobs=_logprobs(delta.text, top)) if delta.text or top is not None else None


def _max_tokens(prompt: int, asked: int | None, default: int | None, context: int) -> tuple[int, bool]:
    """The bound on the answer, and whether the card's default set it. Raises PromptTooLong with both counts."""
    left = context - prompt
    if left < 1:
        raise PromptTooLong(
            f"This model's maximum context length is {context} tokens, and the prompt has {prompt} tokens.",
            param="messages",
        )
    if asked is not None and asked > left:
        raise PromptTooLong(
            f"This model's maximum context length is {context} tokens; {prompt} of the prompt and {asked} asked for "
            f"are {prompt + asked}.",
            param="max_tokens",
        )
    if asked is None and default is not None and default < left:
        return default, True
    return left if asked is None else asked, False


def _rendered(prompt: Prompt) -> str:
    match prompt:
        case Messages(messages):
            return "\n".join([*(f"<{turn.role}> {turn.text}" for turn in messages), "<assistant>"])
        case Text(text):
            return text
        case Tokens(ids):
            return " ".join(f"#{token}" for token in ids)


def _logprobs(piece: str, top: int | None) -> tuple[TokenLogprob, ...]:
    if top is None:
        return ()
    sampled = Alternative(piece, piece.encode(), -0.25)
    others = [Alternative(f" {word}", f" {word}".encode(), -2.0 - rank) for rank, word in enumerate(_alternatives(top))]
    return (TokenLogprob(sampled, (sampled, *others)[:top]),)


def _alternatives(count: int) -> list[str]:
    return [BABBLE[rank % len(BABBLE)] + "!" * (rank // len(BABBLE)) for rank in range(count)]


class ScriptedEmbedder:
    """An ``Embedder`` of unit vectors that are a hash of the text and the pooling; ``card.dimensions`` numbers each.

    Its stage has the point ``embed``. ``cancelled`` holds the ids of requests that were given up there.
    """

    def __init__(self, card: Card, *, stage: Stage | None = None, weights: str = "scripted") -> None:
        if card.dimensions is None:
            raise ValueError(f"the card of {card.id} has no dimensions")
        self._card = card
        self._dimensions = card.dimensions
        self._weights = weights
        self.stage = stage or Stage()
        self.requests: list[Embed] = []
        self.cancelled: list[str] = []

    @property
    def card(self) -> Card:
        return self._card

    async def embed(self, request: Embed, counted: Counted = unheard) -> Embedded:
        self.requests.append(request)
        limit = self._card.max_input_tokens or UNBOUNDED_INPUT
        inputs = [words(_rendered(text)) for text in request.inputs]
        for index, tokens in enumerate(inputs):
            if len(tokens) > limit and not request.truncate:
                raise PromptTooLong(
                    f"{request.name(index)} has {len(tokens)} tokens; this model takes at most {limit}.",
                    param=request.name(index),
                )
        kept = [tokens[:limit] for tokens in inputs]
        counted(sum(map(len, kept)))
        try:
            await self.stage.at("embed")
        except anyio.get_cancelled_exc_class():
            self.cancelled.append(request.id)
            raise
        pooling = request.pooling or self._card.pooling or "mean"
        vectors = tuple(unit_vector("".join(tokens), self._dimensions, pooling) for tokens in kept)
        return Embedded(vectors, sum(len(tokens) for tokens in kept), self._weights, pooling=pooling)


def unit_vector(text: str, dimensions: int, salt: str = "mean") -> bytes:
    """Little-endian float32 bytes of a unit vector that only the arguments decide."""
    digest = hashlib.shake_128(f"{salt}\0{text}".encode()).digest(2 * dimensions)
    numbers = [number + 0.5 for number in struct.unpack(f"<{dimensions}h", digest)]
    norm = math.sqrt(sum(number * number for number in numbers))
    return struct.pack(f"<{dimensions}f", *(number / norm for number in numbers))


class ScriptedRuntime:
    """A ``Runtime`` that is ready once its stage lets it past ``load``.

    An error there is raised to those who wait, until the test opens ``retry``; then it loads again.
    """

    def __init__(self, *, stage: Stage | None = None, note: str = "scripted") -> None:
        self.stage = stage or Stage()
        self.stage.hold("retry")
        self.starts = 0
        self._note = note
        self._state: RuntimeState = "stopped"
        self._error: Exception | None = None
        self._changed = anyio.Event()

    @property
    def state(self) -> RuntimeState:
        return self._state

    @property
    def note(self) -> str:
        return self._note

    async def run(self) -> None:
        self.starts += 1
        try:
            while not await self._load():
                await self.stage.at("retry")
            await anyio.sleep_forever()
        finally:
            self._turn("stopped")

    async def ready(self) -> None:
        while self._state != "ready":
            if self._error is not None:
                raise self._error
            await self._changed.wait()

    async def _load(self) -> bool:
        self._turn("starting")
        try:
            await self.stage.at("load")
        except Exception as error:  # whatever a test put there is what callers get
            self._turn("backoff", error)
            return False
        self._turn("ready")
        return True

    def _turn(self, state: RuntimeState, error: Exception | None = None) -> None:
        self._state, self._error = state, error
        changed, self._changed = self._changed, anyio.Event()
        changed.set()
