"""The embedder between a caller and a worker that the test plays: order, counts, bounds, failures, cancellation."""

import json
from pathlib import Path

import anyio
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from lowcloud.core.errors import BadRequest, EngineFailed, LowcloudError, Overloaded, Unavailable
from lowcloud.core.messages import Text, Tokens
from lowcloud.core.requests import Embed
from lowcloud.core.results import Embedded
from lowcloud.engines.local.embedder import LocalEmbedder, Room, describe
from lowcloud.engines.local.frames import Accepted, Encode, Ready, Refused
from lowcloud.engines.local.process import Client, Part, Vector
from lowcloud.models.card import Card, Task

pytestmark = pytest.mark.anyio
CARD = Card(id="@local/tiny", task=Task.TEXT_EMBEDDINGS, owned_by="local", dimensions=8)
WORDS = ["[CLS]", "[SEP]", "a", "b"]


class Worker:
    """Keeps what it is given until the test answers, fails or refuses it, which closes the client as the process does.

    ``cancelled``: the numbers that were closed while they were open, of which a real worker is told.
    """

    def __init__(self, room: int = 100) -> None:
        self.loaded: Ready | None = None
        self.clients: dict[int, Client] = {}
        self.sent: dict[int, Encode] = {}
        self.cancelled: list[int] = []
        self._left = room
        self._changed = anyio.Event()

    def open(self, client: Client) -> int:
        if self._left == 0:
            raise Overloaded("full", retry_after_s=1.0)
        self._left -= 1
        number = len(self.sent) + 1
        self.clients[number] = client
        self.sent[number] = client.frame(number)
        self._changed.set()
        self._changed = anyio.Event()
        return number

    def close(self, number: int) -> None:
        if self.clients.pop(number, None):
            self.cancelled.append(number)

    async def opened(self, count: int) -> None:
        with anyio.fail_after(10):
            while len(self.sent) < count:
                await self._changed.wait()

    def answer(self, number: int) -> None:
        self.take(number, Vector(b"%d" % number))

    def take(self, number: int, part: Part) -> None:
        is_last = not isinstance(part, Accepted)
        (self.clients.pop(number) if is_last else self.clients[number]).take(part)

    def fail(self, number: int, error: LowcloudError) -> None:
        self.clients.pop(number).fail(error)


class Reply:
    """One call of ``embed``, running beside the test."""

    def __init__(self, tasks: anyio.abc.TaskGroup, embedder: LocalEmbedder, request: Embed) -> None:
        self.embedded: Embedded | None = None
        self.error: LowcloudError | None = None
        self.scope = anyio.CancelScope()
        self._over = anyio.Event()
        tasks.start_soon(self._run, embedder, request)

    async def _run(self, embedder: LocalEmbedder, request: Embed) -> None:
        with self.scope:
            try:
                self.embedded = await embedder.embed(request)
            except LowcloudError as error:
                self.error = error
        self._over.set()

    async def over(self) -> "Reply":
        with anyio.fail_after(10):
            await self._over.wait()
        return self


def embedder(path: Path, worker: Worker, *, card: Card = CARD, **options: object) -> LocalEmbedder:
    config = {"model_type": "bert", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config |= {"vocab_size": len(WORDS), "max_position_embeddings": 6}
    (path / "model.safetensors").touch()
    (path / "config.json").write_text(json.dumps(config))
    made = Tokenizer(models.WordLevel({word: token for token, word in enumerate(WORDS)}, unk_token="b"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 0), ("[SEP]", 1)])
    made.save(str(path / "tokenizer.json"))
    return LocalEmbedder(card, describe(path), worker, **options)


def texts(*inputs: str, **options: object) -> Embed:
    return Embed("r", tuple(Text(text) for text in inputs), **options)


async def test_vectors_come_in_the_order_of_the_inputs_whatever_the_workers(tmp_path: Path):
    worker = Worker()
    worker.loaded = Ready("tiny-f32", False, 4, 6, 0, "")
    async with anyio.create_task_group() as tasks:
        reply = Reply(tasks, embedder(tmp_path, worker), texts("a", "a b", "b"))
        await worker.opened(3)
        for number in (3, 1, 2):
            worker.answer(number)
        await reply.over()
    assert reply.embedded == Embedded((b"1", b"2", b"3"), 3 + 4 + 3, "tiny-f32", pooling="mean")
    assert worker.sent[2] == Encode(2, [0, 2, 3, 1], "mean")


async def test_the_caller_chooses_the_pooling_and_may_send_token_ids(tmp_path: Path):
    worker = Worker()
    async with anyio.create_task_group() as tasks:
        reply = Reply(tasks, embedder(tmp_path, worker), Embed("r", (Tokens((3,)),), pooling="cls"))
        await worker.opened(1)
        worker.answer(1)
        await reply.over()
    assert worker.sent[1] == Encode(1, [0, 3, 1], "cls")


@pytest.mark.parametrize(
    ("of_caller", "of_card", "used"), [(None, None, "mean"), (None, "cls", "cls"), ("mean", "cls", "mean")]
)
async def test_the_callers_pooling_comes_before_the_cards_and_that_before_the_files(
    tmp_path: Path, of_caller: str | None, of_card: str | None, used: str
):
    worker = Worker()
    card = CARD.model_copy(update={"pooling": of_card})
    async with anyio.create_task_group() as tasks:
        reply = Reply(tasks, embedder(tmp_path, worker, card=card), texts("a", pooling=of_caller))
        await worker.opened(1)
        worker.answer(1)
        await reply.over()
    assert (worker.sent[1].pooling, reply.embedded and reply.embedded.pooling) == (used, used)


async def test_an_error_calls_an_input_what_the_caller_calls_it(tmp_path: Path):
    with pytest.raises(BadRequest, match=r"^text has 7 tokens") as caught:
        await embedder(tmp_path, Worker()).embed(texts("a a a a a", names=("text",)))
    assert caught.value.param == "text"


async def test_an_input_over_the_limit_reaches_no_worker(tmp_path: Path):
    worker = Worker()
    with pytest.raises(BadRequest, match=r"input\[1\] has 7 tokens"):
        await embedder(tmp_path, worker).embed(texts("a", "a a a a a"))
    assert not worker.sent


async def test_a_long_input_is_cut_when_asked_and_counted_as_cut(tmp_path: Path):
    worker = Worker()
    async with anyio.create_task_group() as tasks:
        reply = Reply(tasks, embedder(tmp_path, worker), texts("a a a a a b", truncate=True))
        await worker.opened(1)
        worker.answer(1)
        await reply.over()
    assert worker.sent[1].ids == [0, 2, 2, 2, 2, 1]
    assert reply.embedded is not None
    assert reply.embedded.prompt_tokens == 6


async def test_other_dimensions_than_the_models_are_refused(tmp_path: Path):
    with pytest.raises(BadRequest, match="8 dimensions") as caught:
        await embedder(tmp_path, Worker()).embed(texts("a", dimensions=4))
    assert caught.value.param == "dimensions"


async def test_no_inputs_give_no_vectors(tmp_path: Path):
    assert (await embedder(tmp_path, Worker()).embed(texts(dimensions=8))).vectors == ()


async def test_the_tokens_are_told_when_the_work_begins(tmp_path: Path):
    worker, told = Worker(), list[int]()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(embedder(tmp_path, worker).embed, texts("a", "a b"), told.append)
        await worker.opened(2)
        assert told == [3 + 4]
        tasks.cancel_scope.cancel()


async def test_a_caller_that_leaves_takes_its_inputs_from_the_worker(tmp_path: Path):
    worker, room = Worker(), Room()
    async with anyio.create_task_group() as tasks:
        reply = Reply(tasks, embedder(tmp_path, worker, room=room), texts("a", "b"))
        await worker.opened(2)
        worker.answer(1)
        reply.scope.cancel()
        await reply.over()
    assert (worker.clients, worker.cancelled) == ({}, [2])
    assert (room.inputs, room.tokens) == (0, 0)


@pytest.mark.parametrize(
    ("part", "words", "cancelled"),
    [
        (Refused(2, "failed", "no memory"), r"input\[1\] could not be embedded: no memory", [1, 3]),
        (Accepted(2, 0), "no vector", [1, 2, 3]),
    ],
)
async def test_one_failed_input_fails_the_request_and_frees_the_rest(
    tmp_path: Path, part: Part, words: str, cancelled: list[int]
):
    worker = Worker()
    async with anyio.create_task_group() as tasks:
        reply = Reply(tasks, embedder(tmp_path, worker), texts("a", "a b", "b"))
        await worker.opened(3)
        worker.take(2, part)
        await reply.over()
    with pytest.raises(EngineFailed, match=words):
        raise reply.error or AssertionError
    assert (worker.clients, worker.cancelled) == ({}, cancelled)


async def test_what_ends_the_process_ends_the_request(tmp_path: Path):
    worker = Worker()
    async with anyio.create_task_group() as tasks:
        reply = Reply(tasks, embedder(tmp_path, worker), texts("a", "b"))
        await worker.opened(2)
        worker.fail(1, Unavailable("The model was stopped."))
        worker.fail(2, EngineFailed("later"))
        await reply.over()
    assert isinstance(reply.error, Unavailable)


async def test_a_worker_without_room_refuses_the_whole_request(tmp_path: Path):
    worker, room = Worker(room=1), Room()
    with pytest.raises(Overloaded):
        await embedder(tmp_path, worker, room=room).embed(texts("a", "b"))
    assert (worker.clients, room.inputs) == ({}, 0)


async def test_what_is_not_live_waits_for_room_of_its_own_and_takes_none_of_what_is(tmp_path: Path):
    worker, room, later = Worker(), Room(max_inputs=2), Room(max_inputs=2)
    served = embedder(tmp_path, worker, room=room, room_later=later)
    async with anyio.create_task_group() as tasks:
        first = Reply(tasks, served, texts("a", "b", rank=2))
        await worker.opened(2)
        second, given_up = Reply(tasks, served, texts("b", rank=2)), Reply(tasks, served, texts("a", rank=1))
        live = Reply(tasks, served, texts("a", "a"))
        await worker.opened(4)
        assert [worker.sent[number].rank for number in (1, 2, 3, 4)] == [2, 2, 0, 0]
        given_up.scope.cancel()
        await given_up.over()
        worker.answer(1)
        worker.answer(2)
        await worker.opened(5)
        for number in (3, 4, 5):
            worker.answer(number)
        for reply in (first, second, live):
            assert (await reply.over()).embedded
    assert (room.inputs, later.inputs) == (0, 0)


@pytest.mark.parametrize("bounds", [{"max_inputs": 2}, {"max_tokens": 8}])
async def test_a_full_embedder_refuses_with_the_time_to_wait(tmp_path: Path, bounds: dict[str, int]):
    worker = Worker()
    served = embedder(tmp_path, worker, room=Room(**bounds))
    async with anyio.create_task_group() as tasks:
        reply = Reply(tasks, served, texts("a", "b"))
        await worker.opened(2)
        with pytest.raises(Overloaded, match="2 inputs of 6 tokens") as caught:
            await served.embed(texts("a"))
        worker.answer(1)
        worker.answer(2)
        await reply.over()
    assert caught.value.retry_after_s == 1.0


def test_a_request_of_any_size_has_room_when_nothing_else_is_there():
    room = Room(max_inputs=2, max_tokens=10)
    room.enter(100, 1000, 0.0)
    assert (room.inputs, room.tokens) == (100, 1000)


@pytest.mark.parametrize(("seconds", "retry_s"), [(10.0, 8.0), (0.5, 1.0), (1000.0, 60.0)])
def test_the_time_to_wait_follows_the_pace_since_the_room_was_empty(seconds: float, retry_s: float):
    room = Room(max_tokens=1000)
    room.enter(1, 200, 100.0)
    room.enter(1, 160, 100.0)
    room.leave(1, 200)
    with pytest.raises(Overloaded) as caught:
        room.enter(1, 900, 100.0 + seconds)
    assert caught.value.retry_after_s == retry_s
