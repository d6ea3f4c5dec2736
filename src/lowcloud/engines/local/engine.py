"""The text engine of one local model, in the server: text above, token ids below.

Renders, tokenises and counts in threads, off the loop and without the weights; has the worker's process generate.
"""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import TypeAlias, TypeVar

import anyio
import anyio.to_thread

from lowcloud.core.errors import BadRequest, Unsupported
from lowcloud.core.events import Event
from lowcloud.core.messages import Messages, Prompt, Text, Tokens
from lowcloud.core.requests import Generate
from lowcloud.engines.calls import new_call_id
from lowcloud.engines.engine import Prepared, Token
from lowcloud.engines.local.bounds import Bounds, bounds_of, outlook_of, refuse_images
from lowcloud.engines.local.chat import Chat, chats_of
from lowcloud.engines.local.defaults import (
    Context,
    Length,
    check_bias,
    check_characters,
    length_of,
    param_of,
    sampling_of,
)
from lowcloud.engines.local.generation import Generation, Reading, Vocabulary
from lowcloud.engines.local.infill import Infill
from lowcloud.engines.local.process import WorkerProcess
from lowcloud.engines.local.tokenizer import TextAssets
from lowcloud.engines.local.vocabulary import Detokenizer
from lowcloud.engines.sampling import default_length
from lowcloud.models.card import Card
from lowcloud.text.control import ControlledEncoder, Encoded
from lowcloud.text.dialects.registry import fallback
from lowcloud.text.turns import Hide

T = TypeVar("T")
Check: TypeAlias = Callable[[Prompt, str], None]  # of a prompt's text, before it is encoded


def _any_length(_prompt: Prompt, _text: str) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an engine takes from outside itself.

    ``threads`` bounds the text work of all engines that share it; ``draw_seed`` gives an int64 to requests that name
    none; ``now`` is what a chat template may write into a prompt; ``new_call_id`` names tool calls.
    """

    threads: anyio.CapacityLimiter
    draw_seed: Callable[[], int]
    now: Callable[[], datetime]
    new_call_id: Callable[[], str] = new_call_id


class LocalEngine:
    """``Engine`` of one model. ``process`` is its runtime; the pool runs it, the engine only speaks with it.

    ``dialect`` is the name of the settings' one; empty: the chat template tells. Raises ModelUnusable for a template
    that doesn't compile, or doesn't show what the dialect named relies on.
    """

    def __init__(
        self, card: Card, assets: TextAssets, process: WorkerProcess, around: Surroundings, *, dialect: str = ""
    ) -> None:
        self._card, self._process, self._around = card, process, around
        self._vocabulary = Vocabulary(assets.tokenizer, assets.stop_ids)
        self._encoder = ControlledEncoder(assets.tokenizer)
        self._context_length = min(assets.context_length, process.spec.context_length or assets.context_length)
        self._control_ids = assets.tokenizer.control_ids
        self._infill = Infill(self._control_ids)
        self._chats = chats_of(assets, around.now, dialect)

    @property
    def card(self) -> Card:
        return self._card

    def check(self, request: Generate) -> None:
        if isinstance(request.prompt, Messages):
            self._required_chat(request.prompt)
            self._refuse_images(request.prompt)

    async def prepare(self, request: Generate) -> Prepared:
        check_bias(request.sampling, self._vocabulary.tokenizer.n_vocab)
        encoded, is_thinking, bounds, prediction = await self._in_thread(partial(self._prepared, request))
        length = self._length(request, len(encoded))
        sampling = sampling_of(request.sampling, self._card.defaults, self._around.draw_seed())
        return Prepared(
            request=replace(request, sampling=sampling),
            prompt_ids=tuple(encoded),
            prompt_tokens=len(encoded),
            max_tokens=length.max_tokens,
            default_max_tokens=length.max_tokens if length.by_default else None,
            grammar=bounds.grammar,
            loosened=bounds.loosened,
            unread=self._unread(request),
            is_thinking=is_thinking,
            prediction_ids=tuple(prediction),
        )

    async def count(self, prompt: Prompt) -> int:
        ids, _ = await self._in_thread(partial(self._encode, prompt))
        return len(ids)

    async def tokens(self, prompt: Prompt) -> list[Token]:
        return await self._in_thread(partial(self._tokens, prompt))

    async def text(self, ids: tuple[int, ...]) -> str:
        return await self._in_thread(partial(self._text, ids))

    async def rendered(self, prompt: Messages) -> str:
        return (await self._in_thread(partial(self._rendered, prompt))).text

    async def generate(self, prepared: Prepared) -> AsyncGenerator[Event, None]:
        generation = Generation(self._fitted(prepared), self._vocabulary, self._process, self._reading(prepared))
        try:
            generation.start()
            while (event := await generation.mailbox.get()) is not None:
                yield event
        finally:
            generation.close()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(work, limiter=self._around.threads)

    def _fitted(self, prepared: Prepared) -> Prepared:
        """Within the context of the worker, which may have come up since. Raises PromptTooLong."""
        length = self._length(prepared.request, prepared.prompt_tokens)
        by_default = length.max_tokens if length.by_default else None
        return replace(prepared, max_tokens=length.max_tokens, default_max_tokens=by_default)

    def _length(self, request: Generate, prompt_tokens: int) -> Length:
        """The context is the model's own, or the smaller one of the settings or of the worker's KV cache."""
        loaded = self._process.loaded
        length = min(self._context_length, loaded.context_length) if loaded else self._context_length
        context, default = Context(length, self._card.id), default_length(request, self._card)
        return length_of(prompt_tokens, request.max_tokens, default, context, param_of(request.prompt))

    def _prepared(self, request: Generate) -> tuple[list[int], bool, Bounds, list[int]]:
        """The prompt's tokens, whether the answer begins inside the reasoning, what it is bound to, and the tokens of
        the prediction. Blocking."""
        ids, is_thinking = self._encode(request.prompt, self._check_characters)
        most = self._context_length * self._vocabulary.tokenizer.longest
        prediction = self._encoder.encode_text((request.prediction or "")[:most])
        return ids, is_thinking, self._bounds(request, is_thinking), prediction[: self._context_length]

    def _check_characters(self, prompt: Prompt, text: str) -> None:
        """Of a prompt that is to be run; one that is counted may be of any length. Raises PromptTooLong."""
        context = Context(self._context_length, self._card.id)
        check_characters(len(text), self._vocabulary.tokenizer.longest, context, param_of(prompt))

    def _bounds(self, request: Generate, is_thinking: bool) -> Bounds:
        """What binds an answer that no template begins is the formats alone."""
        prompt = request.prompt
        if not isinstance(prompt, Messages):
            return bounds_of(request, fallback(), self._control_ids, is_thinking=False, may_think=False)
        chat = self._required_chat(prompt)
        may_think = chat.thinks(prompt)
        return bounds_of(request, chat.dialect, self._control_ids, is_thinking=is_thinking, may_think=may_think)

    def _unread(self, request: Generate) -> tuple[str, ...]:
        """The fields about thinking that this model does nothing with."""
        if not isinstance(request.prompt, Messages):
            return ()
        chat = self._required_chat(request.prompt)
        bound = [request.thinking.param] if request.thinking and not chat.may_think else []
        return (*chat.unread(request.prompt), *bound)

    def _tokens(self, prompt: Prompt) -> list[Token]:
        ids, _ = self._encode(prompt)
        return [Token(number, self._vocabulary.tokenizer.token_text(number)) for number in ids]

    def _text(self, ids: tuple[int, ...]) -> str:
        self._check_ids(Tokens(ids), "tokens")
        control = {number: text for text, number in self._control_ids.items()}
        detokenizer = Detokenizer(self._vocabulary.tokenizer, control)
        return "".join([*map(detokenizer.feed, ids), detokenizer.flush()])

    def _encode(self, prompt: Prompt, check: Check = _any_length) -> tuple[list[int], bool]:
        match prompt:
            case Tokens(ids=ids):
                self._check_ids(prompt)
                return list(ids), False
            case Text(text=text, suffix=suffix):
                before, between, after = self._infill.around(suffix)
                check(prompt, text + (suffix or ""))
                rest = [] if suffix is None else self._encoder.encode_text(suffix)
                return [*before, *self._encoder.encode_text(text), *between, *rest, *after], False
        encoded = self._rendered(prompt, check)
        return encoded.ids, self._required_chat(prompt).dialect.is_thinking(encoded.text)

    def _refuse_images(self, prompt: Messages) -> None:
        refuse_images(prompt, "this model can't see images")

    def _rendered(self, prompt: Messages, check: Check = _any_length) -> Encoded:
        self._refuse_images(prompt)
        chat = self._required_chat(prompt)

        def render(hide: Hide) -> str:
            rendered = chat.rendered(prompt, hide)
            check(prompt, rendered)
            return rendered

        return self._encoder.encode(render)

    def _reading(self, prepared: Prepared) -> Reading:
        """A text that no template touched is gone on with as it is: it has no reasoning and no calls."""
        prompt = prepared.request.prompt
        if not isinstance(prompt, Messages):
            return Reading()
        dialect = self._required_chat(prompt).dialect
        outlook = outlook_of(prepared.request, is_thinking=prepared.is_thinking)
        shown = {self._control_ids[mark]: mark for mark in dialect.marks if mark in self._control_ids}
        return Reading(partial(dialect.script, outlook=outlook), shown, self._around.new_call_id)

    def _required_chat(self, prompt: Messages) -> Chat:
        chat = self._chats.of(prompt)
        if chat is None:
            raise Unsupported(f"{self._card.id} has no chat template, so it can't take messages.", param="messages")
        return chat

    def _check_ids(self, prompt: Tokens, param: str = "prompt") -> None:
        n_vocab = self._vocabulary.tokenizer.n_vocab
        for token in prompt.ids:
            if not 0 <= token < n_vocab:
                raise BadRequest(
                    f"The prompt has token {token}, and this model's ids are 0 to {n_vocab - 1}.", param=param
                )
