"""A remote model over a real connection: events, bounds, cancellation, and connections that are used again."""

import asyncio
import json
from contextlib import aclosing
from dataclasses import replace

import anyio
import pytest
from aiohttp import web
from fake_upstream import chunk, events, said, spoken, streamed
from remote_model import UPSTREAM, asked, chat_card, remote

from lowcloud.core.errors import BadRequest, EngineFailed, Unavailable
from lowcloud.core.events import Finished, Started, TextDelta, Usage
from lowcloud.core.messages import Text
from lowcloud.core.requests import Sampling
from lowcloud.core.tools import Tool, ToolPlan
from lowcloud.engines.remote.runtime import RemoteRuntime

pytestmark = pytest.mark.anyio

REQUIRED = ToolPlan((Tool("f"),), "required")


async def test_a_stream_of_an_upstream_is_our_events():
    async with remote(streamed(spoken(["beep ", "boop"], prompt_tokens=12, completion_tokens=2))) as model:
        assert await model.generate() == [
            Started(10, 0, "remote_qwen3"),
            TextDelta(0, "beep "),
            TextDelta(0, "boop"),
            Finished(0, "stop"),
            Usage(12, 0, 2),
        ]
        assert model.upstream.paths == ["/v1/chat/completions"]
        assert model.upstream.headers[0]["Authorization"] == "Bearer sk-secret"


async def test_without_a_token_none_is_sent():
    async with remote(streamed(spoken(["a"])), token=None) as model:
        await model.generate()
        assert "Authorization" not in model.upstream.headers[0]


async def test_tokens_that_the_upstream_doesnt_count_are_estimated_and_counted():
    async with remote(streamed(spoken(["beep ", "boop"]))) as model:
        assert (await model.generate())[-1] == Usage(10, 0, 2)


async def test_an_answer_that_isnt_a_stream_is_understood():
    body = {"choices": [{"message": {"content": "beep"}, "finish_reason": "length"}], "usage": {"completion_tokens": 4}}
    async with remote(said(body)) as model:
        assert (await model.generate())[1:] == [TextDelta(0, "beep"), Finished(0, "length"), Usage(10, 0, 4)]


async def test_a_cards_defaults_are_sent_and_a_length_that_they_set_is_named():
    async with remote(streamed(spoken(["a"])), chat_card(temperature=0.3, max_tokens=50)) as model:
        (started, *_) = await model.generate(sampling=Sampling(top_p=0.5))
        assert started.default_max_tokens == 50
        sent = {key: model.upstream.bodies[0].get(key) for key in ("temperature", "top_p", "top_k", "max_tokens")}
        assert sent == {"temperature": 0.3, "top_p": 0.5, "top_k": None, "max_tokens": 50}
        (started, *_) = await model.generate(max_tokens=7)
        assert (started.default_max_tokens, model.upstream.bodies[1]["max_tokens"]) == (None, 7)


async def test_log_probabilities_come_with_their_text():
    token = {"token": "é", "logprob": -0.5, "bytes": [195, 169], "top_logprobs": [{"token": "é", "logprob": -0.5}]}
    answer = chunk({"content": "é"}, "stop")
    answer["choices"][0]["logprobs"] = {"content": [token]}
    async with remote(streamed(events(answer))) as model:
        (delta,) = [event for event in await model.generate(top_logprobs=1) if isinstance(event, TextDelta)]
        assert delta.logprobs[0].sampled.bytes == "é".encode() == delta.logprobs[0].top[0].bytes
        assert delta.logprobs[0].sampled.logprob == -0.5


@pytest.mark.parametrize(
    "logprobs",
    [
        {"tokens": ["on", "ce"], "token_logprobs": [-0.5, -1.0], "top_logprobs": [{"x": -2.0, "on": -0.5}, None]},
        {
            "content": [
                {"token": "on", "logprob": -0.5, "top_logprobs": [{"token": "on", "logprob": -0.5}]},
                {"token": "ce", "logprob": -1.0, "top_logprobs": []},
            ]
        },
    ],
)
async def test_a_text_is_completed_with_log_probabilities_of_either_form(logprobs):
    answer = {"choices": [{"index": 0, "text": "once", "logprobs": logprobs, "finish_reason": "length"}]}
    async with remote(streamed(events(answer))) as model:
        _, delta, *rest = await model.generate(prompt=Text("Say "), top_logprobs=1)
        assert model.upstream.paths == ["/v1/completions"]
        on, ce = delta.logprobs
        assert (delta.text, on.sampled.token, on.top[0].token, ce.sampled.logprob, ce.top) == (
            "once",
            "on",
            "on",
            -1.0,
            (),
        )
        assert rest == [Finished(0, "length"), Usage(1, 0, 2)]


async def test_what_an_upstream_says_of_a_prediction_is_passed_on():
    details = {"reasoning_tokens": 1, "accepted_prediction_tokens": 7, "rejected_prediction_tokens": 3}
    usage = {"prompt_tokens": 5, "completion_tokens": 9, "completion_tokens_details": details}
    async with remote(streamed(spoken(["beep"], **usage))) as model:
        told = (await model.generate(prediction="beep"))[-1]
    assert told == Usage(5, 0, 9, 1, accepted_prediction=7, rejected_prediction=3)


async def test_choices_are_told_apart_by_their_index():
    mixed = events(
        chunk({"content": "a"}, index=1),
        chunk({"content": "b"}, index=0),
        chunk({}, "stop", index=1),
        chunk({}, "length", index=0),
        chunk({"content": "c"}, index=7),
    )
    async with remote(streamed(mixed)) as model:
        assert (await model.generate(choices=2))[1:-1] == [
            TextDelta(1, "a"),
            TextDelta(0, "b"),
            Finished(1, "stop"),
            Finished(0, "length"),
        ]


async def test_a_stop_sequence_that_the_upstream_names_is_named():
    answer = chunk({"content": "a"}, "stop")
    answer["choices"][0]["stop_reason"] = "END"
    async with remote(streamed(events(answer))) as model:
        assert Finished(0, "stop", "END") in await model.generate(stop=("END", "x"))
        assert Finished(0, "stop") in await model.generate(stop=("x",))


async def test_half_a_surrogate_pair_becomes_a_replacement_character():
    async with remote(
        streamed(b'data: {"choices":[{"delta":{"content":"a\\ud83d"},"finish_reason":"stop"}]}\n\n')
    ) as m:
        assert (await m.generate())[1] == TextDelta(0, "a�")


@pytest.mark.parametrize(
    ("stream", "fields", "complaint"),
    [
        (events(chunk({"content": "a"}), done=False), {}, "broke its answer off"),
        (events(), {}, "gave an empty answer"),
        (events(chunk({"content": "a"}, "stop")), {"choices": 2}, "gave no answer number 2 of 2"),
        (b"data: {nonsense\n\n", {}, "sent what is no JSON"),
        (b"data: " + b"x" * (17 * 2**20), {}, "sent an event of more than 16777216 bytes"),
        (events({"choices": ["text"]}), {}, "gave an empty answer"),
        (events({"choices": [{"delta": "a"}]}), {}, "gave an empty answer"),
        (events("text"), {}, "failed within its answer"),
        (events({"error": {"message": "out of memory"}}), {}, "failed within its answer: out of memory"),
        (events({"error": "sk-secret is bad"}), {}, r"failed within its answer: \[token\] is bad"),
        (events({"object": "error", "message": "flat"}), {}, "failed within its answer: flat"),
        (events(chunk({"content": "a"}, "error")), {}, "ended its answer with 'error'"),
        (events(chunk({"content": "a"}, "stop")), {"tools": REQUIRED}, "called no tool, though one was required"),
        (events(chunk({"content": "a"}, "stop")), {"top_logprobs": 1}, "gives no log-probabilities"),
        (
            events(chunk({"tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}]}, "stop")),
            {},
            "called a tool, though none was offered",
        ),
        (
            events(
                chunk({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "{}"}}]}),
                chunk({"tool_calls": [{"index": 1, "function": {"name": "f", "arguments": "{}"}}]}),
                chunk({"tool_calls": [{"index": 0, "function": {"arguments": "x"}}]}),
            ),
            {"tools": REQUIRED},
            "mixes its tool calls",
        ),
        (
            events(chunk({"tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{"}}]}, "stop")),
            {"tools": REQUIRED},
            "calls f with arguments that are no JSON object",
        ),
    ],
)
async def test_an_answer_that_isnt_one_or_isnt_what_was_asked_for_fails(stream, fields, complaint):
    async with remote(streamed(stream)) as model:
        with pytest.raises(EngineFailed, match=f"The upstream of @remote/qwen {complaint}"):
            await model.generate(**fields)


async def test_a_stream_that_says_done_without_a_finish_is_finished():
    async with remote(streamed(events(chunk({"content": "a"})))) as model:
        assert (await model.generate())[1:] == [TextDelta(0, "a"), Finished(0, "stop"), Usage(10, 0, 1)]


async def test_a_stream_whose_last_empty_line_is_missing_is_whole():
    async with remote(streamed(events(chunk({"content": "a"}, "stop"), done=False).rstrip())) as model:
        assert (await model.generate())[1:] == [TextDelta(0, "a"), Finished(0, "stop"), Usage(10, 0, 1)]


async def test_an_upstream_that_doesnt_end_its_answer_after_done_isnt_waited_for():
    never = asyncio.Event()
    async with remote(streamed(spoken(["a"]), b"", held=never)) as model:
        assert len(await model.generate()) == 4
        await model.upstream.left.wait()


async def test_a_connection_that_breaks_within_an_answer_is_a_failure():
    async with remote(streamed(events(chunk({"content": "a"}), done=False), broken=True)) as model:
        with pytest.raises(EngineFailed, match="broke its answer off"):
            await model.generate()


async def test_a_refusal_that_breaks_off_is_still_one():
    async def answer(request):
        response = web.StreamResponse(status=400, headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"error": "no"}')
        request.transport.abort()
        return response

    async with remote(answer) as model:
        with pytest.raises(BadRequest, match="refuses this request"):
            await model.generate()


async def test_an_answer_that_is_too_large_is_a_failure():
    async with remote(said({"data": "x" * 100})) as model, model.runtime.post("/embeddings", dict) as answer:
        with pytest.raises(EngineFailed, match="sent more than 50 bytes"):
            await answer.whole(max_bytes=50)


async def test_silence_within_an_answer_is_a_failure():
    held = asyncio.Event()
    first = events(chunk({"content": "a"}), done=False)
    async with remote(streamed(first, b"", held=held), between_bytes_s=0.05) as model:
        with pytest.raises(EngineFailed, match=r"was silent for 0\.05 s"):
            await model.generate()
        await model.upstream.left.wait()


async def test_an_upstream_that_doesnt_begin_is_unavailable():
    never = asyncio.Event()

    async def hold(_request):
        await never.wait()

    async with remote(hold, connect_s=0.02, first_byte_s=0.03) as model:
        with pytest.raises(Unavailable, match=r"didn't answer within 0\.03 s"):
            await model.generate()
        await model.upstream.left.wait()


async def test_an_upstream_that_isnt_there_is_unavailable():
    async with remote(url="http://127.0.0.1:9/v1") as model:
        with pytest.raises(Unavailable, match="can't be reached") as caught:
            await model.generate()
    assert caught.value.retry_after_s


async def test_closing_the_generator_closes_the_connection():
    held = asyncio.Event()
    first = events(chunk({"content": "a"}), done=False)
    async with remote(streamed(first, b"", held=held)) as model:
        async with aclosing(model.engine.generate(await model.engine.prepare(asked()))) as stream:
            assert isinstance(await anext(stream), Started)
            assert await anext(stream) == TextDelta(0, "a")
            assert model.upstream.running == 1
        with anyio.fail_after(5):
            await model.upstream.left.wait()


async def test_a_request_that_is_cancelled_before_its_answer_closes_the_connection():
    arrived, never = asyncio.Event(), asyncio.Event()

    async def hold(_request):
        arrived.set()
        await never.wait()

    async with remote(hold) as model, anyio.create_task_group() as tasks:
        tasks.start_soon(model.generate)
        await arrived.wait()
        tasks.cancel_scope.cancel()
    assert model.upstream.left.is_set()


async def test_a_hundred_requests_one_after_another_use_one_connection():
    async with remote(streamed(spoken(["a"]))) as model:
        for _ in range(100):
            await model.generate()
        assert (len(model.upstream.bodies), len(model.upstream.connections)) == (100, 1)


async def test_a_resting_connection_that_the_upstream_closes_is_no_failure():
    served = set()

    async def once(request):
        if request.transport in served:
            request.transport.abort()
        served.add(request.transport)
        return await streamed(spoken(["a"]))(request)

    async with remote(once) as model:
        for _ in range(3):
            assert len(await model.generate()) == 4
        assert (len(model.upstream.bodies), len(served)) == (5, 3)


async def test_a_new_connection_that_the_upstream_closes_is_unavailable_and_isnt_tried_again():
    async def close(request):
        request.transport.abort()

    async with remote(close) as model:
        with pytest.raises(Unavailable, match="closed the connection without an answer"):
            await model.generate()
        assert len(model.upstream.bodies) == 1


async def test_a_failure_doesnt_cost_the_connection_of_others():
    async with remote(streamed(spoken(["a"]))) as model:
        await model.generate()
        good, model.upstream.answer = model.upstream.answer, streamed(events(chunk({"content": "x"}), done=False))
        with pytest.raises(EngineFailed):
            await model.generate()
        model.upstream.answer = good
        assert len(await model.generate()) == 4


async def test_clients_at_once_get_their_own_answers():
    both = asyncio.Barrier(2)

    async def echo(request):
        body = json.loads(await request.read())
        await both.wait()
        return await streamed(spoken([str(body["seed"])]))(request)

    async with remote(echo) as model, asyncio.TaskGroup() as tasks:
        first = tasks.create_task(model.generate(sampling=Sampling(seed=1)))
        second = tasks.create_task(model.generate(sampling=Sampling(seed=2)))
        with anyio.fail_after(10):
            assert ((await first)[1], (await second)[1]) == (TextDelta(0, "1"), TextDelta(0, "2"))
        assert len(model.upstream.connections) == 2


async def test_more_requests_than_connections_wait():
    held, seen = asyncio.Event(), []

    async def answer(request):
        seen.append(1)
        await held.wait()
        return await streamed(spoken(["a"]))(request)

    async with remote(answer, connections=1) as model, asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(model.generate())
        await anyio.wait_all_tasks_blocked()
        held.set()
    assert (len(seen), len(model.upstream.connections)) == (3, 1)


async def test_a_runtime_is_ready_while_it_runs_and_closes_its_connections_at_the_end():
    async with remote(streamed(spoken(["a"]))) as model:
        assert (model.runtime.state, model.runtime.note) == ("ready", "remote: qwen3")
        await model.generate()
    assert model.runtime.state == "stopped"
    with pytest.raises(Unavailable, match="stopping"):
        await model.generate()


async def test_a_prompts_tokens_are_estimated_when_they_are_asked_for():
    async with remote() as model:
        assert await model.engine.count(asked().prompt) == 10
        assert model.engine.card.id == model.embedder.card.id == UPSTREAM.id


def test_a_token_stands_in_no_representation():
    assert "sk-secret" not in repr(UPSTREAM)
    assert RemoteRuntime(replace(UPSTREAM)).state == "stopped"
