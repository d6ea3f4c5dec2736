"""Streams go on where they stopped when their worker dies."""

import os
import signal
from contextlib import aclosing
from datetime import UTC, datetime

import anyio
import pytest

from lowcloud.core.errors import EngineFailed
from lowcloud.core.events import Finished, Started, TextDelta, Usage
from lowcloud.core.messages import Message, Messages
from lowcloud.core.requests import Generate, Sampling
from lowcloud.engines.local.engine import LocalEngine, Surroundings
from lowcloud.engines.local.tokenizer import TextAssets
from lowcloud.models.card import Card

pytestmark = pytest.mark.anyio

TEMPLATE = "{% for message in messages %}{{ '<|im_start|>' + message['content'] }}{% endfor %}"
CARD = Card(id="@test/model", task="Text Generation", owned_by="test")
STREAMS = 16


@pytest.fixture
def engine_of(byte_tokenizer):
    def make(worker):
        assets = TextAssets(byte_tokenizer, TEMPLATE, 256, (257,), "", "<|im_end|>", "fake")
        around = Surroundings(anyio.CapacityLimiter(2), lambda: 1, lambda: datetime(2026, 11, 24, tzinfo=UTC))
        return LocalEngine(CARD, assets, worker.process, around)

    return make


def request(number):
    prompt = Messages((Message("user", f"stream {number}"),))
    stop = ("zz", "q") if number % 3 == 0 else ()
    logprobs = 2 if number % 2 else None
    sampling = Sampling(seed=number)
    return Generate(f"r{number}", prompt, 1 + number % 2, sampling, stop, logprobs, max_tokens=40)


class Streams:
    """Sixteen requests under way, their events by number."""

    def __init__(self, engine):
        self.engine = engine
        self.events = {number: [] for number in range(STREAMS)}
        self.errors = {}
        self._changed = anyio.Event()

    async def run(self):
        async with anyio.create_task_group() as tasks:
            for number in self.events:
                tasks.start_soon(self._read, number)

    async def _read(self, number):
        prepared = await self.engine.prepare(request(number))
        try:
            async with aclosing(self.engine.generate(prepared)) as events:
                async for event in events:
                    self.events[number].append(event)
                    changed, self._changed = self._changed, anyio.Event()
                    changed.set()
        except EngineFailed as error:
            self.errors[number] = error

    async def all_have(self, n_events):
        """Or are complete, by a stop string."""
        with anyio.fail_after(20):
            while any(len(events) < n_events and not _is_complete(events) for events in self.events.values()):
                await self._changed.wait()

    def outcome(self):
        """All that a caller sees, but for how the text was cut into deltas."""
        return {number: _outcome(events) for number, events in self.events.items()}


def _is_complete(events):
    return bool(events) and isinstance(events[-1], Usage)


def _outcome(events):
    deltas = [event for event in events if isinstance(event, TextDelta)]
    said = [
        (
            "".join(delta.text for delta in deltas if delta.choice == choice),
            [one for delta in deltas if delta.choice == choice for one in delta.logprobs],
        )
        for choice in range(2)
    ]
    finished = sorted((event for event in events if isinstance(event, Finished)), key=lambda event: event.choice)
    return events[0], said, finished, events[-1]


async def undisturbed(engine_of, fake):
    worker = fake({})
    streams = Streams(engine_of(worker))
    async with worker.run():
        await streams.run()
    return streams.outcome()


async def test_sixteen_streams_go_on_after_their_worker_is_killed_as_if_nothing_had_been(engine_of, fake):
    worker = fake({"pause_at": 7}, {"pause_at": 15}, {})
    streams = Streams(engine_of(worker))
    async with worker.run(), anyio.create_task_group() as tasks:
        tasks.start_soon(streams.run)
        for kills, n_events in enumerate((4, 8), 1):
            await streams.all_have(n_events)
            os.kill(worker.process.pid, signal.SIGKILL)
            await worker.numbers.until(lambda numbers, kills=kills: numbers.restarts == kills)
            await worker.process.ready()
    outcome = streams.outcome()
    assert outcome == await undisturbed(engine_of, fake)
    assert all(isinstance(first, Started) and isinstance(last, Usage) for first, _, _, last in outcome.values())
    assert any(end.stop_sequence for _, _, ends, _ in outcome.values() for end in ends)


async def test_three_deaths_end_the_streams_with_an_error_and_the_model_answers_again(engine_of, fake):
    worker = fake({"die_at": 4}, {"die_at": 5}, {"die_at": 6}, {})
    engine = engine_of(worker)
    streams = Streams(engine)
    async with worker.run():
        await streams.run()
        cut_off = [number for number, events in streams.events.items() if not _is_complete(events)]
        assert sorted(streams.errors) == cut_off
        assert cut_off  # the others met their stop string first, or came after the first death
        assert all("3 times" in str(error) for error in streams.errors.values())
        prepared = await engine.prepare(request(1))
        async with aclosing(engine.generate(prepared)) as events:
            later = [event async for event in events]
    assert isinstance(later[-1], Usage)
