"""The text engine of a remote model: requests become completions of an upstream, its chunks our events.

The upstream renders, counts and samples. So a prompt's tokens are an estimate until the end (a quarter of its
characters), and the upstream enforces the context, schemas and choices of tools.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace

from lowcloud.core.events import Event, Started
from lowcloud.core.messages import Prompt
from lowcloud.core.requests import Generate
from lowcloud.engines.calls import new_call_id
from lowcloud.engines.engine import Prepared
from lowcloud.engines.remote.body import body_of, check, path_of, rough_tokens
from lowcloud.engines.remote.reply import Reply
from lowcloud.engines.remote.runtime import Answer, RemoteRuntime
from lowcloud.engines.remote.words import WordReader, check_words, in_words
from lowcloud.engines.sampling import default_length, filled
from lowcloud.models.card import Card

UNBOUNDED = 2**31 - 1  # what Prepared says where nobody named a length and the context is unknown; it isn't sent


class RemoteEngine:
    """``Engine`` of one remote model; it sends through ``runtime``, which the pool runs."""

    def __init__(self, card: Card, runtime: RemoteRuntime, new_id: Callable[[], str] = new_call_id) -> None:
        self._card, self._runtime, self._new_id = card, runtime, new_id

    @property
    def card(self) -> Card:
        return self._card

    def check(self, request: Generate) -> None:
        check(request, self._runtime.upstream)
        if self._is_worded:
            check_words(request, self._runtime.upstream)

    @property
    def _is_worded(self) -> bool:
        return self._runtime.upstream.tooling == "words"

    async def prepare(self, request: Generate) -> Prepared:
        """Fills in the card's defaults: what nobody names, such as the length, is the upstream's to choose."""
        asked, default = request.max_tokens, default_length(request, self._card)
        length = default if asked is None else asked
        return Prepared(
            request=replace(request, sampling=filled(request.sampling, self._card.defaults), max_tokens=length),
            prompt_ids=None,
            prompt_tokens=rough_tokens(request.prompt),
            max_tokens=length or self._card.context_window or UNBOUNDED,
            default_max_tokens=default if asked is None else None,
        )

    async def count(self, prompt: Prompt) -> int:
        """An estimate."""
        return rough_tokens(prompt)

    async def generate(self, prepared: Prepared) -> AsyncGenerator[Event, None]:
        """``Started`` comes with the head of the upstream's answer; closing the generator closes the connection."""
        upstream = self._runtime.upstream
        asked = in_words(prepared.request) if self._is_worded else prepared.request
        async with self._runtime.post(path_of(asked.prompt), lambda: body_of(asked, upstream)) as answer:
            default = prepared.default_max_tokens
            yield Started(prepared.prompt_tokens, 0, upstream.weights, default_max_tokens=default)
            reply = Reply(upstream, asked, prepared.prompt_tokens, self._new_id)
            async with aclosing(_events(answer, reply)) as events:
                read = WordReader(upstream, prepared.request, self._new_id).read if self._is_worded else _as_it_is
                async for event in events:
                    for given in read(event):
                        yield given


async def _events(answer: Answer, reply: Reply) -> AsyncGenerator[Event, None]:
    async with aclosing(answer.chunks()) as chunks:
        async for chunk in chunks:
            for event in reply.take(chunk):
                yield event
    for event in reply.end(is_whole=answer.is_whole):
        yield event


def _as_it_is(event: Event) -> tuple[Event, ...]:
    return (event,)
