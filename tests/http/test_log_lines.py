"""Log lines as they are written: every one of a request carries its id, whoever writes it."""

import io
import json
import logging
from collections.abc import AsyncGenerator, Iterator

import anyio
import pytest
import structlog

from lowcloud.core.events import Event
from lowcloud.engines.scripted import ScriptedEngine
from lowcloud.telemetry.logs import configure

pytestmark = pytest.mark.anyio
HELLO = {"messages": [{"role": "user", "content": "hello"}]}


class TalkingEngine(ScriptedEngine):
    """Writes a line at the start of each generation, as itself and as a library would."""

    async def generate(self, prepared) -> AsyncGenerator[Event, None]:
        structlog.get_logger("engine").info("generates", completion_id=prepared.request.id)
        async for event in super().generate(prepared):
            yield event
        logging.getLogger("library").warning("was slow")


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What is written while the test runs, logs set up as in a server."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    stream = io.StringIO()
    configure("info", "json", dev=False, stream=stream)
    yield stream
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize("stream", [True, False])
async def test_lines_of_engines_and_libraries_carry_the_id_of_their_own_request(make_world, written, stream):
    async with make_world(engine=TalkingEngine) as world:
        world.chat.stage.hold("token:1")
        exchanges = [
            world.exchange("POST", "/v1/chat/completions", {**HELLO, "model": world.chat.card.id, "stream": stream})
            for _ in range(2)
        ]
        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                for exchange in exchanges:
                    group.start_soon(exchange.run)
                await world.chat.stage.reached("token:1")
                world.chat.stage.open("token:1")
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    ids = {exchange.answer.headers["x-request-id"] for exchange in exchanges}
    assert len(ids) == 2
    for message in ("generates", "was slow"):
        assert {line.get("request_id") for line in lines if line["message"] == message} == ids


async def test_the_line_of_a_chat_completion_has_the_id_that_its_answer_carries(world):
    answer = await world.chat_completion()
    line = world.logs.calls[-1].kwargs
    assert (line["request_id"], line["completion_id"]) == (answer.headers["x-request-id"], answer.json["id"])
    await world.embeddings()
    assert world.logs.calls[-1].kwargs["completion_id"] is None


async def test_no_request_id_outlives_its_request(world):
    await world.ask("GET", "/healthz")
    assert structlog.contextvars.get_contextvars() == {}
