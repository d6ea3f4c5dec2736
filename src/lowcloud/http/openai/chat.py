"""POST chat/completions: a body in, a stream or a whole answer out."""

from collections.abc import Callable

from starlette.types import ASGIApp

from lowcloud.core.errors import Unsupported
from lowcloud.core.events import Started
from lowcloud.http import errors
from lowcloud.http.call import Call
from lowcloud.http.clock import Clock
from lowcloud.http.encode import to_json
from lowcloud.http.generation import Answerer, Asked, Ending, Form, Keep
from lowcloud.http.offload import Offload
from lowcloud.http.openai.chat_answer import Head, WholeAnswer, fingerprint
from lowcloud.http.openai.chat_request import ChatAsked, chat_asked
from lowcloud.http.openai.chat_stream import ChunkWriter
from lowcloud.http.sse import DONE
from lowcloud.storage.completions import CompletionStore, StoredCompletion


class Chat:
    """Handles chat completions. ``new_id`` makes their ids; ``store`` keeps those that are to be stored, None: none."""

    def __init__(
        self,
        answerer: Answerer,
        offload: Offload,
        clock: Clock,
        new_id: Callable[[], str],
        store: CompletionStore | None = None,
    ) -> None:
        self._answerer, self._offload, self._clock = answerer, offload, clock
        self._new_id, self._store = new_id, store

    async def create(self, call: Call) -> ASGIApp:
        """A completion, whole or as a stream."""
        call.trace.completion_id = request_id = self._new_id()
        asked = await self._offload.read(call.body, lambda raw: chat_asked(raw, request_id))

        def head(started: Started) -> Head:
            created = int(self._clock.wall())
            return Head(request_id, created, asked.model, fingerprint(started.weights), asked.service_tier)

        form = Form(
            lambda started: ChunkWriter(head(started), asked.shape),
            lambda started: WholeAnswer(head(started), asked.shape),
            Ending(errors.event, DONE),
            self._keep(asked, call),
        )
        plain = Asked(asked.model, asked.generate, asked.is_stream, asked.ignored, asked.rejects_if_busy)
        return await self._answerer.answer(plain, form, call)

    def _keep(self, asked: ChatAsked, call: Call) -> Keep | None:
        """What stores the answer, where that is asked for. Raises Unsupported where nothing is stored."""
        store, to_store, principal = self._store, asked.to_store, call.principal
        if to_store is None:
            return None
        if store is None or principal is None:
            raise Unsupported("store is not supported here.", param="store")
        messages = to_json(to_store.messages).decode()

        async def keep(body: bytes) -> None:
            await store.save(
                StoredCompletion(
                    asked.generate.id, principal.account_id, asked.model, to_store.metadata, messages, body.decode()
                )
            )

        return keep
