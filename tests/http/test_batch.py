"""Batches of the native API: queued whole or not at all, run, and told in order, with what failed among them."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass

import anyio
import pytest

from lowcloud.core.requests import Caller, Embed, Generate
from lowcloud.engines.scripted_scores import ScriptedClassifier
from lowcloud.http.call import Trace
from lowcloud.http.offload import Offload
from lowcloud.http.workers_ai.batch import CHECK_S, Batch
from lowcloud.http.workers_ai.embeddings import EmbeddingsRunner
from lowcloud.http.workers_ai.native import Native
from lowcloud.http.workers_ai.text_request import MAX_SEED
from lowcloud.models.card import Task
from lowcloud.models.catalogue import packaged_cards
from lowcloud.serving.jobs import JobRunner, RunnerLimits
from lowcloud.storage.database import open_database
from lowcloud.storage.jobs import JobLimits, JobStore

pytestmark = pytest.mark.anyio
ACCOUNT, OTHER = "0123456789abcdef0123456789abcdef", "f" * 32
LLAMA = "@cf/meta/llama-3.1-8b-instruct"
QWEN = "@cf/qwen/qwen3-30b-a3b-fp8"
BGE = "@cf/baai/bge-large-en-v1.5"
CLASSIFIER = "@cf/huggingface/distilbert-sst-2-int8"
CARDS = {card.id: card for card in packaged_cards()}
LATER = "?queueRequest=true"
KEPT_S = 1000.0


class Now:
    now = 1_000_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Queue:
    """Jobs on a database of a test's own."""

    runner: JobRunner
    now: Now


@pytest.fixture
def queue(tmp_path) -> Callable[..., Queue]:
    """``queue(limits of the store...)``."""
    with open_database(f"sqlite:///{tmp_path}/lowcloud.db") as database:

        def make(**limits: int) -> Queue:
            now = Now()
            store = JobStore(database, JobLimits(**limits), now)
            return Queue(JobRunner(store, RunnerLimits(kept_s=KEPT_S), clock=now), now)

        yield make


async def post(world, body, model=LLAMA, query=LATER, account=ACCOUNT, headers=None):
    return await world.ask("POST", f"/client/v4/accounts/{account}/ai/run/{model}{query}", body, headers)


async def submitted(world, requests, model=LLAMA):
    answer = await post(world, {"requests": requests}, model)
    assert answer.status == 200, answer.body
    return answer.json["result"]["request_id"]


async def done(world, request_id, query=""):
    """The result once it is there, having run everything that is queued."""
    with anyio.fail_after(30):
        while True:
            result = (await post(world, {"request_id": request_id}, query=query)).json["result"]
            if "responses" in result:
                return result


def error_of(answer):
    (error,) = answer.json["errors"]
    return answer.status, error["code"], error["message"]


def prompts(*texts):
    return [{"prompt": text} for text in texts]


async def test_a_batch_is_queued_then_running_then_told_in_order(make_world, queue):
    jobs = queue()
    async with make_world(jobs=jobs.runner) as world, anyio.create_task_group() as tasks:
        answer = await post(world, {"requests": [{"prompt": "a b", "external_reference": "first"}, {"prompt": "c"}]})
        request_id = answer.json["result"]["request_id"]
        queued = {"status": "queued", "request_id": request_id, "model": LLAMA}
        assert answer.json == {"result": queued, "success": True, "errors": [], "messages": []}
        assert (await post(world, {"request_id": request_id})).json["result"] == queued
        world.chat.stage.hold("start")
        tasks.start_soon(jobs.runner.run)
        await world.chat.stage.reached("start")
        assert (await post(world, {"request_id": request_id}, query="")).json["result"] == queued | {
            "status": "running"
        }
        world.chat.stage.open("start")
        result = await done(world, request_id)
        jobs.runner.stop()
    first, second = result["responses"]
    assert (first["id"], first["success"], first["external_reference"]) == (0, True, "first")
    assert (second["id"], second["success"], second["external_reference"]) == (1, True, None)
    assert first["result"]["response"] == second["result"]["response"] == "one two three"
    assert first["headers"]["lowcloud-stand-in"] == "@local/smollm2-135m-instruct"
    usages = [response["result"]["usage"] for response in result["responses"]]
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert result["usage"][name] == sum(usage[name] for usage in usages)
    assert world.chat.ranks == [2, 2]


async def test_a_batch_may_be_asked_for_in_the_bodys_options_and_in_the_universal_form(make_world, queue):
    path = f"/client/v4/accounts/{ACCOUNT}/ai/run"
    async with make_world(jobs=queue().runner) as world:
        options = {"queueRequest": True, "rejectIfBusy": True}
        answer = await post(world, {"requests": prompts("a"), "options": options, "tags": []}, query="")
        assert answer.json["result"]["status"] == "queued"
        assert sorted(answer.headers["lowcloud-ignored"].split(", ")) == ["options.rejectIfBusy", "tags"]
        answer = await world.ask("POST", path + LATER, {"model": LLAMA, "input": {"requests": prompts("a")}})
        request_id = answer.json["result"]["request_id"]
        answer = await world.ask("POST", path, {"model": LLAMA, "input": {"request_id": request_id}})
        assert answer.json["result"] == {"status": "queued", "request_id": request_id, "model": LLAMA}


async def test_results_are_those_of_live_runs(make_world, queue):
    jobs = queue()
    asked = [
        (LLAMA, {"prompt": "hello", "seed": 7, "max_tokens": 2}),
        (LLAMA, {"messages": [{"role": "user", "content": "hello"}], "seed": 8}),
        (BGE, {"text": ["tea", "coffee"], "pooling": "cls"}),
    ]
    async with make_world(jobs=jobs.runner) as world, anyio.create_task_group() as tasks:
        tasks.start_soon(jobs.runner.run)
        for model, inputs in asked:
            live = (await post(world, inputs, model, query="")).json["result"]
            (response,) = (await done(world, await submitted(world, [inputs], model)))["responses"]
            assert response["result"] == live
        (response,) = (await done(world, await submitted(world, prompts("x"), QWEN)))["responses"]
        assert response["result"]["object"] == "text_completion"
        jobs.runner.stop()


async def test_the_neurons_of_a_batch_add_up_to_the_digits_that_a_run_has(make_world, queue):
    jobs = queue()
    async with make_world(jobs=jobs.runner) as world, anyio.create_task_group() as tasks:
        tasks.start_soon(jobs.runner.run)
        result = await done(world, await submitted(world, prompts(*"abcdefghij")))
        jobs.runner.stop()
    each = [response["result"]["usage"]["neurons"] for response in result["responses"]]
    assert result["usage"]["neurons"] == round(sum(each), 6) != 0
    assert len(str(result["usage"]["neurons"]).partition(".")[2]) <= 6


async def test_a_result_that_is_a_list_is_told_as_it_is_and_has_no_usage(make_world, queue):
    jobs, classifier = queue(), ScriptedClassifier(CARDS[CLASSIFIER])
    async with make_world(jobs=jobs.runner, also=[classifier]) as world, anyio.create_task_group() as tasks:
        tasks.start_soon(jobs.runner.run)
        result = await done(world, await submitted(world, [{"text": "good"}], CLASSIFIER))
        jobs.runner.stop()
    assert {label["label"] for label in result["responses"][0]["result"]} == {"POSITIVE", "NEGATIVE"}
    assert result["usage"] == {}


async def test_a_generation_without_a_seed_gets_one_that_a_second_start_has_too(make_world, queue):
    jobs = queue()
    async with make_world(jobs=jobs.runner) as world:
        world.chat.stage.hold("start")
        requests = [{"prompt": "a"}, {"prompt": "b"}, {"prompt": "c", "seed": 5}, {"prompt": "d", "random_seed": 6}]
        request_id = await submitted(world, requests)
        await submitted(world, [{"text": "tea"}], BGE)
        for starts in (4, 8):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(jobs.runner.run)
                with anyio.fail_after(30):
                    await world.chat.stage.reached("start", times=starts)
                jobs.runner.stop()
        world.chat.stage.open("start")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(jobs.runner.run)
            await done(world, request_id)
            jobs.runner.stop()
    seeds: dict[str, set[int | None]] = {}
    for request in world.chat.requests:
        assert isinstance(request, Generate)
        seeds.setdefault(request.prompt.messages[0].text, set()).add(request.sampling.seed)
    drawn = [*seeds["a"], *seeds["b"]]
    assert len(drawn) == len(set(drawn)) == 2
    assert all(1 <= seed <= MAX_SEED for seed in drawn)
    assert (seeds["c"], seeds["d"]) == ({5}, {6})
    assert all(isinstance(request, Embed) for request in world.embedder.requests)


class Slow:
    """So much time passes whenever it is asked for that no prompt of a batch can be counted before it is queued."""

    now = 0.0

    def monotonic(self) -> float:
        self.now += CHECK_S
        return self.now

    def wall(self) -> float:
        return 1_800_000_000.0

    async def sleep(self, _seconds: float) -> None:
        await anyio.sleep_forever()


async def test_a_request_that_fails_is_told_as_such_and_the_others_are_done(make_world, queue):
    jobs = queue()
    async with make_world(jobs=jobs.runner, clock=Slow()) as world, anyio.create_task_group() as tasks:
        tasks.start_soon(jobs.runner.run)
        long = {"prompt": "word " * 9_000, "external_reference": "long"}
        result = await done(world, request_id := await submitted(world, [{"prompt": "a"}, long]))
        jobs.runner.stop()
    assert [response["success"] for response in result["responses"]] == [True, False]
    failed = result["responses"][1]
    assert failed.keys() == {"id", "result", "success", "error", "external_reference"}
    assert (failed["id"], failed["result"], failed["external_reference"]) == (1, None, "long")
    assert failed["error"]["code"] == 5021
    assert failed["error"]["message"].startswith("AiError: This model's maximum context length is")
    assert failed["error"]["message"].endswith(f"({request_id}-1)")
    assert result["usage"]["completion_tokens"] == 3


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "required properties at '/' are 'requests'"),
        ({"requests": []}, "Type mismatch of '/requests', must be a list"),
        ({"requests": {"prompt": "a"}}, "Type mismatch of '/requests', must be a list"),
        ({"requests": prompts("a"), "request_id": "x"}, "requests and request_id are mutually exclusive"),
        ({"request_id": 7}, "Type mismatch of '/request_id', must be a string"),
        ({"requests": [{"prompt": "a"}, "b"]}, "requests[1]: must be an object"),
        ({"requests": [{"prompt": "a"}, {}]}, "requests[1]: oneOf at '/' not met"),
        ({"requests": [{"prompt": "a", "top_k": 99}]}, "requests[0].top_k: Input should be less than"),
        ({"requests": [{"messages": [{"role": "user"}]}]}, "requests[0].messages[0].content"),
        ({"requests": [{"prompt": "a", "stream": "true"}]}, "requests[0].stream: nothing of a batch is streamed"),
        ({"requests": [{"prompt": "a", "external_reference": 1}]}, "requests[0].external_reference: "),
        ({"requests": [{"prompt": "a", "external_reference": "x" * 1025}]}, "requests[0].external_reference: "),
    ],
)
async def test_what_can_not_be_run_is_refused_whole_and_by_name(make_world, queue, body, says):
    jobs = queue()
    async with make_world(jobs=jobs.runner) as world:
        status, code, message = error_of(await post(world, body))
    assert (status, code) == (400, 5006)
    assert message.startswith(f"AiError: Bad input: Error: {says}")
    assert await jobs.runner.group("batch", ACCOUNT, "id-2") is None


async def test_each_task_refuses_its_own_bad_requests_before_anything_is_queued(make_world, queue):
    async with make_world(jobs=queue().runner) as world:
        answer = await post(world, {"requests": [{"text": "a"}, {"text": []}]}, BGE)
        assert "requests[1]" in error_of(answer)[2]
        answer = await post(world, {"requests": [{"prompt": "a", "messages": []}]}, QWEN)
        assert error_of(answer)[2].startswith(
            "AiError: Bad input: Error: requests[0]: messages and prompt are mutually"
        )
        image = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]
        answer = await post(world, {"requests": [{"messages": [{"role": "user", "content": image}]}]})
        assert error_of(answer)[2].startswith("AiError: Bad input: Error: requests[0].messages[0].content[0]: ")
        assert error_of(await post(world, {"requests": [{"prompt": "a", "lora": "x"}]}))[:2] == (405, 5005)
        assert error_of(await post(world, {"requests": prompts("a")}, "@cf/no/such"))[:2] == (400, 5007)
        assert world.chat.requests == world.embedder.requests == []


@pytest.mark.parametrize(
    ("model", "request_"),
    [
        (LLAMA, {"prompt": "word " * 9_000}),
        (LLAMA, {"prompt": "a", "max_tokens": 100_000}),
        (QWEN, {"messages": [{"role": "user", "content": "a"}], "logit_bias": {"999999999": 1}}),
        (QWEN, {"prompt": "a", "max_tokens": 1_000_000}),
    ],
)
async def test_what_a_live_run_refuses_before_it_starts_is_never_queued(make_world, queue, model, request_):
    async with make_world(jobs=queue().runner) as world:
        status, code, live = error_of(await post(world, request_, model, query=""))
        assert status == 400
        answer = await post(world, {"requests": [{"prompt": "a"}, request_]}, model)
    said = error_of(answer)
    assert said[:2] == (400, code) and "requests[1]" in said[2]
    assert _told(said[2]).replace("requests[1].", "").removeprefix("requests[1]: ") == _told(live)


def _told(message):
    """Without what stands around each message."""
    return message.rpartition(" (")[0].removeprefix("AiError: ").removeprefix("Bad input: Error: ")


async def test_what_takes_too_long_to_check_is_left_to_the_runs_but_for_its_fields(make_world, queue):
    async with make_world(jobs=queue().runner, clock=Slow()) as world:
        assert await submitted(world, [{"prompt": "word " * 9_000}])
        answer = await post(world, {"requests": [{"prompt": "a"}, {"prompt": "a", "top_k": 99}]})
    assert "requests[1].top_k" in error_of(answer)[2]


async def test_false_as_a_flag_asks_for_nothing(make_world, queue):
    async with make_world(jobs=queue().runner) as world:
        assert await submitted(world, [{"prompt": "a", "stream": "false"}])
        answer = await post(world, {"prompt": "a"}, query="?queueRequest=false")
        assert answer.json["result"]["response"] == "one two three"


async def test_a_request_id_beside_a_models_inputs_is_no_poll(make_world, queue):
    async with make_world(jobs=queue().runner) as world:
        answer = await post(world, {"prompt": "a", "request_id": "mine"}, query="")
    assert answer.json["result"]["response"] == "one two three"


class Watched(dict):
    """An object that knows in which threads it was read."""

    readers: set[str]

    def items(self):
        self.readers.add(threading.current_thread().name)
        return super().items()


@pytest.mark.parametrize(("n_bytes", "is_in_loop"), [(1_000, True), (1_000_000, False)])
async def test_the_requests_of_a_large_batch_are_written_off_the_event_loop(make_world, queue, n_bytes, is_in_loop):
    request = Watched(text="é\u2028", truncate_inputs=True)
    request.readers = set()
    runner = queue().runner
    async with make_world(jobs=runner) as world:
        offload = Offload()
        native = Native(world.service, {Task.TEXT_EMBEDDINGS: EmbeddingsRunner(world.service, offload)})
        batch = Batch(native, runner, offload, world.clock, lambda: "b1")
        runner.add("batch", batch)
        asked = await batch.submit(
            BGE, {"requests": [request]}, n_bytes, Caller(ACCOUNT), Trace("t1", "POST", "", started=0.0)
        )
        assert json.loads(asked.body) == {"status": "queued", "request_id": "b1", "model": BGE}
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(runner.run)
            (response,) = (await done(world, "b1"))["responses"]
            runner.stop()
    assert (response["success"], world.embedder.requests[0].inputs[0].text) == (True, "é\u2028")
    assert (request.readers == {threading.current_thread().name}) == is_in_loop


async def test_a_name_that_no_model_can_have_isnt_logged_at_length(make_world, queue):
    path = f"/client/v4/accounts/{ACCOUNT}/ai/run{LATER}"
    async with make_world(jobs=queue().runner) as world:
        answer = await world.ask("POST", path, {"model": "x" * 100_000, "input": {"requests": prompts("a")}})
        assert error_of(answer)[:2] == (404, 3042)
        assert len(str(world.logs.calls[-1].kwargs)) < 1_000


async def test_a_batch_is_not_there_for_other_accounts_nor_when_its_time_is_over(make_world, queue):
    jobs = queue()
    async with make_world(jobs=jobs.runner) as world:
        request_id = await submitted(world, prompts("a"))
        poll = {"request_id": request_id}
        refused = await post(world, poll, account=OTHER)
        assert error_of(refused) == (
            404, 7000, f"No batch {request_id}: there was none of this account, or it is gone by now."
        )  # fmt: skip
        assert refused.json["result"] is None
        assert (await post(world, {"request_id": "\0 " + "x" * 500})).status == 404
        assert (await post(world, poll)).status == 200
        jobs.now.now += KEPT_S
        assert (await post(world, poll)).status == 404


async def test_an_account_may_have_so_many_queued_and_another_has_its_own(make_world, queue):
    async with make_world(jobs=queue(jobs=2).runner) as world:
        await submitted(world, prompts("a", "b"))
        refused = await post(world, {"requests": prompts("c")})
        assert error_of(refused)[:2] == (429, 3040)
        assert refused.headers["retry-after"] == "10"
        assert (await post(world, {"requests": prompts("c")}, account=OTHER)).status == 200
        assert error_of(await post(world, {"requests": [*prompts("a", "b"), "no object"]}))[:2] == (413, 3006)


async def test_a_server_without_jobs_queues_nothing(world):
    status, code, message = error_of(await post(world, {"requests": prompts("a")}))
    assert (status, code) == (400, 5006)
    assert "queueRequest: nothing is queued here" in message


async def test_a_live_request_goes_before_the_batch_that_came_first(make_world, queue):
    jobs = queue()
    async with make_world(jobs=jobs.runner) as world, anyio.create_task_group() as tasks:
        world.chat.stage.hold("start")
        tasks.start_soon(world.chat_completion)
        await world.chat.stage.reached("start")
        request_id = await submitted(world, prompts("batch"))
        tasks.start_soon(jobs.runner.run)
        with anyio.fail_after(30):
            while (await post(world, {"request_id": request_id})).json["result"]["status"] != "running":
                pass
        tasks.start_soon(world.chat_completion)
        await world.chat.stage.reached("start", times=2)
        world.chat.stage.open("start")
        await done(world, request_id)
        jobs.runner.stop()
    assert world.chat.ranks == [0, 0, 2]
