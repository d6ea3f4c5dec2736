"""The text engine of one local model, in the server: text above, token ids below.

Renders, tokenises and counts in threads, off the loop and without the weights; has the worker's process generate.
"""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

import anyio
import anyio.to_thread

from lowcloud.core.errors import BadRequest, Unsupported
from lowcloud.core.events import Event
from lowcloud.core.messages import Messages, Prompt, Text, Tokens
from lowcloud.core.requests import Generate
from lowcloud.engines.engine import Prepared
from lowcloud.engines.local.defaults import Context, Length, check_bias, length_of, param_of, sampling_of
from lowcloud.engines.local.generation import Generation, Reading, Vocabulary
from lowcloud.engines.local.process import WorkerProcess
from lowcloud.engines.local.tokenizer import TextAssets
from lowcloud.models.card import Card
from lowcloud.text.control import ControlledEncoder
from lowcloud.text.template import ChatTemplate


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an engine takes from outside itself.

    ``threads`` bounds the text work of all engines that share it; ``draw_seed`` gives an int64 to requests that name
    none; ``now`` is what a chat template may write into a prompt.
    """

    threads: anyio.CapacityLimiter
    draw_seed: Callable[[], int]
    now: Callable[[], datetime]


class LocalEngine:
    """``Engine`` of one model. ``process`` is its runtime; the pool runs it, the engine only speaks with it.

    Raises ModelUnusable for a chat template that doesn't compile.
    """

    def __init__(self, card: Card, assets: TextAssets, process: WorkerProcess, around: Surroundings) -> None:
        self._card, self._process, self._around = card, process, around
        self._vocabulary = Vocabulary(assets.tokenizer, assets.stop_ids)
        self._encoder = ControlledEncoder(assets.tokenizer)
        self._context_length = min(assets.context_length, process.spec.context_length or assets.context_length)
        self._template = None
        if assets.chat_template is not None:
            self._template = ChatTemplate(
                assets.chat_template, bos_token=assets.bos_token, eos_token=assets.eos_token, now=around.now
            )

    @property
    def card(self) -> Card:
        return self._card

    def check(self, request: Generate) -> None:
        if isinstance(request.prompt, Messages):
            self._required_template()

    async def prepare(self, request: Generate) -> Prepared:
        check_bias(request.sampling, self._vocabulary.tokenizer.n_vocab)
        ids = await self._encoded(request.prompt)
        length = self._length(request, len(ids))
        sampling = sampling_of(request.sampling, self._card.defaults, self._around.draw_seed())
        return Prepared(
            request=replace(request, sampling=sampling),
            prompt_ids=tuple(ids),
            prompt_tokens=len(ids),
            max_tokens=length.max_tokens,
            default_max_tokens=length.max_tokens if length.by_default else None,
        )

    async def count(self, prompt: Prompt) -> int:
        return len(await self._encoded(prompt))

    async def generate(self, prepared: Prepared) -> AsyncGenerator[Event, None]:
        generation = Generation(self._fitted(prepared), self._vocabulary, self._process, Reading())
        try:
            generation.start()
            while (event := await generation.mailbox.get()) is not None:
                yield event
        finally:
            generation.close()

    def _fitted(self, prepared: Prepared) -> Prepared:
        """Within the context of the worker, which may have come up since. Raises PromptTooLong."""
        length = self._length(prepared.request, prepared.prompt_tokens)
        by_default = length.max_tokens if length.by_default else None
        return replace(prepared, max_tokens=length.max_tokens, default_max_tokens=by_default)

    def _length(self, request: Generate, prompt_tokens: int) -> Length:
        """The context is the model's own, or the smaller one of the settings or of the worker's KV cache."""
        loaded = self._process.loaded
        length = min(self._context_length, loaded.context_length) if loaded else self._context_length
        context, default = Context(length, self._card.id), self._card.defaults.max_tokens
        return length_of(prompt_tokens, request.max_tokens, default, context, param_of(request.prompt))

    async def _encoded(self, prompt: Prompt) -> list[int]:
        if isinstance(prompt, Tokens):
            self._check_ids(prompt)
            return list(prompt.ids)
        return await anyio.to_thread.run_sync(self._encode, prompt, limiter=self._around.threads)

    def _encode(self, prompt: Messages | Text) -> list[int]:
        if isinstance(prompt, Text):
            return self._encoder.encode_text(prompt.text)
        return self._encoder.encode(partial(self._required_template().render, prompt)).ids

    def _required_template(self) -> ChatTemplate:
        if self._template is None:
            raise Unsupported(f"{self._card.id} has no chat template, so it can't take messages.", param="messages")
        return self._template

    def _check_ids(self, prompt: Tokens) -> None:
        n_vocab = self._vocabulary.tokenizer.n_vocab
        for token in prompt.ids:
            if not 0 <= token < n_vocab:
                raise BadRequest(
                    f"The prompt has token {token}, and this model's ids are 0 to {n_vocab - 1}.", param="prompt"
                )
