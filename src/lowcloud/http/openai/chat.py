"""POST chat/completions: a body in, a stream or a whole answer out."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

from starlette.responses import Response
from starlette.types import ASGIApp
from structlog.typing import FilteringBoundLogger

from lowcloud.core.errors import LowcloudError, Unsupported
from lowcloud.core.events import Event, Started
from lowcloud.http import errors
from lowcloud.http.call import Call, Trace
from lowcloud.http.clock import Clock
from lowcloud.http.edge import internal_error
from lowcloud.http.encode import header_list, header_safe, to_json
from lowcloud.http.offload import Offload
from lowcloud.http.openai.chat_answer import Head, WholeAnswer, fingerprint
from lowcloud.http.openai.chat_request import ChatAsked, chat_asked
from lowcloud.http.openai.chat_stream import ChunkWriter
from lowcloud.http.sse import DONE, EventStream, Pace
from lowcloud.http.watch import close
from lowcloud.serving.service import Service
from lowcloud.storage.completions import CompletionStore, StoredCompletion


@dataclass(frozen=True, slots=True)
class ChatTools:
    """What the handler works with, beside the service. ``new_id`` makes the ids of completions.

    ``store`` keeps those that are to be stored; None: nothing is.
    """

    offload: Offload
    pace: Pace
    clock: Clock
    new_id: Callable[[], str]
    logger: FilteringBoundLogger
    store: CompletionStore | None = None


class Chat:
    """Handles chat completions."""

    def __init__(self, service: Service, tools: ChatTools) -> None:
        self._service = service
        self._tools = tools

    async def create(self, call: Call) -> ASGIApp:
        """Waits until the generation has started: until then every failure is a status."""
        call.trace.completion_id = request_id = self._tools.new_id()
        asked = await self._tools.offload.read(call.body, lambda raw: chat_asked(raw, request_id))
        call.trace.model = asked.model
        if asked.to_store is not None and self._tools.store is None:
            raise Unsupported("store is not supported here.", param="store")
        events = self._service.generate(asked.model, asked.generate)
        try:
            started = await _started(events)
            head = self._head(request_id, asked, started)
            headers = answer_headers(asked.ignored, started)
            answer = WholeAnswer(head, asked.shape)
            if not asked.is_stream:
                async for event in events:
                    answer.feed(event)
                await self._keep(asked, answer, call)
                return Response(answer.body(), 200, headers, "application/json")
        except BaseException:
            await close(events)
            raise
        told = events if asked.to_store is None else self._kept(asked, answer, events, call)
        chunks = self._chunks(ChunkWriter(head, asked.shape), started, told, call.trace)
        return EventStream(chunks, events, headers, self._tools.pace, self._tools.clock)

    def _head(self, request_id: str, asked: ChatAsked, started: Started) -> Head:
        created = int(self._tools.clock.wall())
        return Head(request_id, created, asked.model, fingerprint(started.weights), asked.service_tier)

    async def _kept(
        self, asked: ChatAsked, answer: WholeAnswer, events: AsyncGenerator[Event, None], call: Call
    ) -> AsyncGenerator[Event, None]:
        """The same events; when they have ended, the answer is stored."""
        async for event in events:
            answer.feed(event)
            yield event
        await self._keep(asked, answer, call)

    async def _keep(self, asked: ChatAsked, answer: WholeAnswer, call: Call) -> None:
        store, to_store = self._tools.store, asked.to_store
        if store is None or to_store is None or call.principal is None:
            return
        messages, kept = to_json(to_store.messages).decode(), answer.body().decode()
        account_id = call.principal.account_id
        completion_id = asked.generate.id
        await store.save(StoredCompletion(completion_id, account_id, asked.model, to_store.metadata, messages, kept))

    async def _chunks(
        self, writer: ChunkWriter, started: Started, events: AsyncGenerator[Event, None], trace: Trace
    ) -> AsyncGenerator[bytes, None]:
        try:
            yield writer.feed(started)
            async for event in events:
                if chunk := writer.feed(event):
                    yield chunk
        except LowcloudError as error:
            trace.outcome = "failed"
            yield errors.event(error)
        except Exception:  # the status is gone, so this is the outermost loop of a stream
            self._tools.logger.exception("a stream failed", route=trace.route)
            trace.outcome = "failed"
            yield errors.event(internal_error(trace.id))
        else:
            yield DONE


async def _started(events: AsyncGenerator[Event, None]) -> Started:
    first = await anext(events)
    if not isinstance(first, Started):
        raise TypeError(f"a generation begins with {type(first).__name__}")
    return first


def answer_headers(ignored: tuple[str, ...], started: Started) -> dict[str, str]:
    """What an answer says beside its body: what was ignored or loosened, who answers, which bound the card set."""
    headers: dict[str, str] = {}
    if ignored:
        headers["lowcloud-ignored"] = header_list(ignored)
    if started.loosened:
        headers["lowcloud-loosened"] = header_list(started.loosened)
    if started.stand_in is not None:
        headers["lowcloud-stand-in"] = header_safe(started.stand_in)
    if started.default_max_tokens is not None:
        headers["lowcloud-default-max-tokens"] = str(started.default_max_tokens)
    return headers
