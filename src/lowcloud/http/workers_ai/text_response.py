"""Native text generation in the form of the Responses API. Every run is one of its own: nothing is kept of it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from lowcloud.core.errors import Unsupported
from lowcloud.http.encode import neurons_header, to_json
from lowcloud.http.generation import Answerer, Begun, Ending, Whole
from lowcloud.http.offload import Offload
from lowcloud.http.openai.parameters import refuse
from lowcloud.http.responses.builder import Fields, Pieces
from lowcloud.http.responses.events import as_sse, error_event, sse
from lowcloud.http.responses.request import ResponseAsked, response_asked
from lowcloud.http.responses.run import Context, Maker, Order
from lowcloud.http.sse import DONE
from lowcloud.http.workers_ai.native import NativeResult, Run

# What needs a response that is kept.
STATEFUL: Mapping[str, tuple[object, ...]] = {
    "previous_response_id": (),
    "conversation": (),
    "background": (False,),
    "store": (False,),
}


class ResponseRunner:
    """Runs text generation whose inputs have ``input``. ``new_id`` makes responses' ids."""

    def __init__(self, maker: Maker, answerer: Answerer, offload: Offload, new_id: Callable[[], str]) -> None:
        self._maker, self._answerer = maker, answerer
        self._offload, self._new_id = offload, new_id

    async def run(self, run: Run) -> NativeResult:
        """The response, or the stream of its events once it has started."""
        run.trace.completion_id = response_id = self._new_id()
        order = await self._order(run, response_id)
        begun = await self._maker.begin(order, run.caller, run.trace)
        told = self._maker.told(order, partial(_ready, begun), _unkept, run.trace)
        if order.asked.is_stream:
            chunks = as_sse(told.events(), pads=order.asked.include_obfuscation)
            ending = Ending(lambda error: sse(error_event(error, 0)), DONE)
            return self._answerer.stream(chunks, ending, begun.headers, run.trace, source=begun.events)
        try:
            response = await told.whole()
        finally:
            await told.aclose()
        return Whole(to_json(response), {**begun.headers, **neurons_header(response["usage"].get("neurons"))})

    async def check(self, run: Run, *, is_whole: bool) -> None:
        """As the protocol has it."""
        await self._maker.check(await self._order(run, run.trace.id), is_whole=is_whole)

    async def _order(self, run: Run, response_id: str) -> Order:
        asked = await self._offload.sized(run.n_bytes, lambda: _asked(run, response_id))
        own = tuple(dict(item) for item in asked.items)
        return self._maker.order(asked, response_id, run.caller.account_id, Context(), own)


def _asked(run: Run, response_id: str) -> ResponseAsked:
    refuse(run.inputs, STATEFUL)
    body = {**run.inputs, "model": run.answer.card.id, "store": False}
    asked = response_asked(body, response_id, ignores_tools=False)
    for item in asked.items:
        if item["type"] == "item_reference":
            path = f"{asked.paths[str(item['id'])]}.type"
            raise Unsupported(f"{path}: native runs keep no items that could be referred to.", param=path)
    return replace(asked, ignored=(*asked.ignored, *run.ignored))


async def _ready(begun: Begun) -> Begun:
    return begun


async def _unkept(response: Fields, _pieces: Pieces) -> Fields:
    return response
