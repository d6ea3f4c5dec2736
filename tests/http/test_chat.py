import anyio
import pytest

from lowcloud.core.errors import EngineFailed, Overloaded, Unavailable
from lowcloud.core.events import Usage
from lowcloud.core.output import JsonSchema
from lowcloud.engines.scripted import Said, SaidCall, ScriptedEngine
from lowcloud.http.openai import schemas
from lowcloud.http.settings import HttpSettings
from lowcloud.serving.admission import Bounds
from lowcloud.serving.service import Limits

pytestmark = pytest.mark.anyio
CHAT = "/v1/chat/completions"
LLAMA = "@cf/meta/llama-3.1-8b-instruct"
STAND_IN = "@local/smollm2-135m-instruct"
STREAM = {"model": STAND_IN, "messages": [{"role": "user", "content": "hello there"}], "stream": True}


async def test_a_whole_answer_has_the_shape_that_is_documented(world):
    answer = await world.chat_completion(logprobs=True, top_logprobs=2, n=2)
    completion = schemas.ChatCompletion.model_validate(answer.json)
    assert answer.headers["content-type"] == "application/json"
    assert [choice.message.content for choice in completion.choices] == ["one two three"] * 2
    assert [choice.index for choice in completion.choices] == [0, 1]
    assert {choice.finish_reason for choice in completion.choices} == {"stop"}
    assert len(completion.choices[0].logprobs.content) == 3
    assert (completion.created, completion.id) == (1_800_000_000, "chatcmpl-id2")
    assert "refusal" in answer.json["choices"][0]["message"]
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens


async def test_ids_of_completions_are_unique(world):
    assert len({(await world.chat_completion()).json["id"] for _ in range(3)}) == 3


async def test_a_stand_in_says_so_and_the_model_stays_the_one_asked_for(world):
    for stream in (False, True):
        answer = await world.chat_completion(model=LLAMA, stream=stream)
        body = answer.chunks[0] if stream else answer.json
        assert (body["model"], body["system_fingerprint"]) == (LLAMA, "fp_scripted")
        assert answer.headers["lowcloud-stand-in"] == STAND_IN
    assert "lowcloud-stand-in" not in (await world.chat_completion()).headers


async def test_a_bound_that_the_card_set_is_named(world):
    assert (await world.chat_completion()).headers["lowcloud-default-max-tokens"] == "512"
    assert "lowcloud-default-max-tokens" not in (await world.chat_completion(max_tokens=2)).headers


async def test_what_is_ignored_is_named_in_a_header_that_is_safe(world):
    answer = await world.chat_completion(**{"user": "me", "x,y\r\nset-cookie: a": 1, "été": 2})
    assert answer.headers["lowcloud-ignored"] == "user, x%2Cy%0D%0Aset-cookie:%20a, %C3%A9t%C3%A9"
    many = await world.chat_completion(**{f"field-{number}" * 5: 1 for number in range(1000)})
    assert len(many.headers["lowcloud-ignored"]) < 4_200
    assert many.headers["lowcloud-ignored"].split(", ")[-1].startswith("+9")


async def test_an_answer_that_is_cut_ends_with_length(world):
    answer = await world.chat_completion(max_tokens=2)
    choice = answer.json["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("one two", "length")


async def test_cached_tokens_are_reported(make_world):
    async with make_world(cached_tokens=2) as world:
        answer = await world.chat_completion()
    assert answer.json["usage"]["prompt_tokens_details"] == {"cached_tokens": 2}


TOOLS = [{"type": "function", "function": {"name": "f"}}]
PNG = {"type": "image_url", "image_url": {"url": "data:image/png;base64,eA=="}}


async def test_reasoning_and_calls_are_in_a_whole_answer(make_world):
    async with make_world(reply=Said(reasoning="hm so", calls=(SaidCall("f", '{"a": 1}'),))) as world:
        answer = await world.chat_completion(tools=TOOLS)
    choice = schemas.ChatCompletion.model_validate(answer.json).choices[0]
    (call,) = choice.message.tool_calls
    assert (call.function.name, call.function.arguments) == ("f", '{"a": 1}')
    assert (choice.message.content, choice.finish_reason) == (None, "tool_calls")
    assert choice.message.reasoning == choice.message.reasoning_content == "hm so"
    details = {"reasoning_tokens": 2, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}
    assert answer.json["usage"]["completion_tokens_details"] == details


async def test_ids_of_calls_are_unique(make_world):
    async with make_world(reply=Said(calls=(SaidCall("f"), SaidCall("f")))) as world:
        answers = [await world.chat_completion(tools=TOOLS, n=2) for _ in range(2)]
    choices = [choice for answer in answers for choice in answer.json["choices"]]
    ids = [call["id"] for choice in choices for call in choice["message"]["tool_calls"]]
    assert (len(ids), len(set(ids))) == (8, 8)
    assert all(call_id.startswith("call_") for call_id in ids)


async def test_what_is_not_enforced_is_named_in_a_header(make_world):
    async with make_world(loosened=("tools[0].parameters.not", "a b")) as world:
        for stream in (False, True):
            answer = await world.chat_completion(tools=TOOLS, stream=stream)
            assert answer.headers["lowcloud-loosened"] == "tools[0].parameters.not, a%20b"
    async with make_world() as world:
        assert "lowcloud-loosened" not in (await world.chat_completion(tools=TOOLS)).headers


async def test_the_engine_gets_the_format_the_tools_and_the_effort(world):
    schema = {"type": "json_schema", "json_schema": {"schema": {"const": 1}}}
    answer = await world.chat_completion(tools=TOOLS, response_format=schema, reasoning_effort="low")
    request = world.chat.requests[-1]
    assert answer.status == 200
    assert request.output == JsonSchema({"const": 1}, param="response_format.json_schema.schema")
    assert [tool.name for tool in request.tools.tools] == [tool.name for tool in request.prompt.tools] == ["f"]
    assert request.prompt.effort == "low"


async def test_a_model_that_does_not_see_refuses_images_by_name(world):
    answer = await world.chat_completion(messages=[{"role": "user", "content": [PNG]}])
    error = answer.json["error"]
    assert (answer.status, error["code"], error["param"]) == (400, "unsupported_parameter", "messages[0].content[0]")


async def test_a_service_tier_is_shown_where_one_was_named(world):
    for stream in (False, True):
        answer = await world.chat_completion(service_tier="flex", stream=stream)
        assert (answer.chunks[0] if stream else answer.json)["service_tier"] == "default"
        assert answer.headers["lowcloud-ignored"] == "service_tier"
    assert "service_tier" not in (await world.chat_completion()).json


async def test_a_stream_begins_with_the_role_and_ends_with_one_done(world):
    answer = await world.chat_completion(stream=True, n=2)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    for chunk in answer.chunks:
        schemas.ChatCompletionChunk.model_validate(chunk)
    choices = [chunk["choices"][0] for chunk in answer.chunks]
    assert [choice["delta"] for choice in choices[:2]] == [{"role": "assistant", "content": "", "refusal": None}] * 2
    assert {choice["index"] for choice in choices} == {0, 1}
    assert [choice["finish_reason"] for choice in choices if choice["finish_reason"]] == ["stop", "stop"]
    assert (answer.events[-1], answer.events.count("[DONE]")) == ("[DONE]", 1)
    assert all("usage" not in chunk for chunk in answer.chunks)


async def test_the_usage_chunk_comes_last_with_no_choices_when_asked(world):
    answer = await world.chat_completion(stream=True, stream_options={"include_usage": True})
    *others, last = answer.chunks
    assert (last["choices"], last["usage"]["completion_tokens"]) == ([], 3)
    assert all(chunk["usage"] is None for chunk in others)


async def test_a_stream_has_log_probabilities_when_asked(world):
    answer = await world.chat_completion(stream=True, logprobs=True, top_logprobs=1)
    shown = [chunk["choices"][0]["logprobs"] for chunk in answer.chunks]
    tokens = [each["content"][0] for each in shown if each]
    assert [token["token"] for token in tokens] == ["one", " two", " three"]
    assert tokens[1]["bytes"] == list(b" two")
    assert len(tokens[1]["top_logprobs"]) == 1


async def test_the_headers_leave_when_the_generation_has_started_and_the_role_follows_at_once(world):
    world.chat.stage.hold("start")
    exchange = world.exchange("POST", CHAT, STREAM)
    async with anyio.create_task_group() as group:
        group.start_soon(exchange.run)
        await world.chat.stage.reached("start")
        await anyio.wait_all_tasks_blocked()
        assert exchange.answer is None
        world.chat.stage.hold("token:0")
        world.chat.stage.open("start")
        answer = await exchange.until(lambda answer: bool(answer.pieces))
        assert answer.chunks[0]["choices"][0]["delta"]["role"] == "assistant"
        world.chat.stage.open("token:0")


async def test_silence_is_filled_with_comments_every_ten_seconds(world):
    world.chat.stage.hold("token:1")
    exchange = world.exchange("POST", CHAT, STREAM)
    async with anyio.create_task_group() as group:
        group.start_soon(exchange.run)
        await world.chat.stage.reached("token:1")
        await anyio.wait_all_tasks_blocked()
        for seconds, heartbeats in ((9, 0), (1, 1), (9, 1), (1, 2)):
            await world.clock.advance(seconds)
            assert exchange.answer.events.count(": heartbeat") == heartbeats
        world.chat.stage.open("token:1")
    assert exchange.answer.events[-1] == "[DONE]"
    whole = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in exchange.answer.chunks)
    assert whole == "one two three"


async def test_before_the_start_nothing_is_sent_however_long_it_takes(world):
    world.chat.stage.hold("start")
    exchange = world.exchange("POST", CHAT, STREAM)
    async with anyio.create_task_group() as group:
        group.start_soon(exchange.run)
        await world.chat.stage.reached("start")
        await world.clock.advance(100)
        assert exchange.answer is None
        exchange.leave()


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("point", ["prepare", "start", "token:1", "finish"])
async def test_a_client_that_leaves_is_cancelled_wherever_its_request_is(world, point, stream):
    world.chat.stage.hold(point)
    exchange = world.exchange("POST", CHAT, STREAM | {"stream": stream})
    async with anyio.create_task_group() as group:
        group.start_soon(exchange.run)
        await world.chat.stage.reached(point)
        await anyio.wait_all_tasks_blocked()
        exchange.leave()
        with anyio.fail_after(5):
            await exchange.is_over.wait()
    assert (len(world.chat.cancelled), world.chat.running) == (1, [])
    assert world.metrics.requests == [(CHAT, "POST", 499)]
    assert world.logs.calls[-1].kwargs["outcome"] == "client_left"


async def test_a_client_that_takes_nothing_for_a_minute_is_cancelled(world):
    world.chat.stage.hold("token:1")
    exchange = world.exchange("POST", CHAT, STREAM)
    async with anyio.create_task_group() as group:
        group.start_soon(exchange.run)
        await world.chat.stage.reached("token:1")
        await anyio.wait_all_tasks_blocked()
        exchange.stalled = True
        world.chat.stage.open("token:1")
        await anyio.wait_all_tasks_blocked()
        await world.clock.advance(59)
        assert not exchange.is_over.is_set()
        await world.clock.advance(1)
        with anyio.fail_after(5):
            await exchange.is_over.wait()
    assert (len(world.chat.cancelled), world.chat.running) == (1, [])
    assert world.logs.calls[-1].kwargs["outcome"] == "write_timeout"


async def test_a_heartbeat_that_nobody_takes_ends_the_stream_as_well(world):
    world.chat.stage.hold("token:1")
    exchange = world.exchange("POST", CHAT, STREAM)
    async with anyio.create_task_group() as group:
        group.start_soon(exchange.run)
        await world.chat.stage.reached("token:1")
        await anyio.wait_all_tasks_blocked()
        exchange.stalled = True
        await world.clock.advance(10)
        world.chat.stage.open("token:1")
        await world.clock.advance(60)
        with anyio.fail_after(5):
            await exchange.is_over.wait()
    assert len(world.chat.cancelled) == 1


async def test_a_client_that_stalls_before_the_first_byte_leaves_nothing_running(make_world):
    async with make_world(settings=HttpSettings(any_account=True, write_timeout_s=0.01)) as world:
        exchange = world.exchange("POST", CHAT, STREAM)
        exchange.stalled = True
        with anyio.fail_after(5):
            await exchange.run()
        assert (len(world.chat.cancelled), world.chat.running) == (1, [])


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("point", ["prepare", "start"])
async def test_until_the_start_a_failure_is_a_status(world, point, stream):
    world.chat.stage.fail(point, Unavailable("The model is loading.", retry_after_s=2.1))
    answer = await world.chat_completion(stream=stream)
    assert (answer.status, answer.headers["retry-after"]) == (503, "3")
    schemas.ErrorEnvelope.model_validate(answer.json)


async def test_a_failure_within_a_whole_answer_is_a_status(world):
    world.chat.stage.fail("token:1", EngineFailed("The model's process died three times."))
    answer = await world.chat_completion()
    assert (answer.status, answer.json["error"]["code"]) == (500, "engine_failed")


async def test_a_failure_within_a_stream_is_one_error_event_and_no_done(world):
    world.chat.stage.fail("token:1", EngineFailed("The model's process died three times."))
    answer = await world.chat_completion(stream=True)
    assert answer.status == 200
    assert answer.chunks[-1]["error"]["message"] == "The model's process died three times."
    schemas.ErrorEnvelope.model_validate(answer.chunks[-1])
    assert "[DONE]" not in answer.events
    assert world.logs.calls[-1].kwargs["outcome"] == "failed"


async def test_a_bug_within_a_stream_is_an_error_event_without_internals(world):
    world.chat.stage.fail("token:1", ZeroDivisionError("secret detail"))
    answer = await world.chat_completion(stream=True)
    assert answer.chunks[-1]["error"]["code"] == "internal_error"
    assert "secret" not in answer.body.decode()
    assert any(call.method_name == "error" and call.kwargs["exc_info"] for call in world.logs.calls)


async def test_a_full_queue_is_a_429_that_says_when_to_come_back(make_world):
    async with make_world(limits=Limits(queue=Bounds(requests=1))) as world:
        world.chat.stage.hold("start")
        first = world.exchange("POST", CHAT, STREAM)
        async with anyio.create_task_group() as group:
            group.start_soon(first.run)
            await world.chat.stage.reached("start")
            answer = await world.chat_completion()
            world.chat.stage.open("start")
    assert (answer.status, answer.json["error"]["code"]) == (429, Overloaded.code)
    assert answer.headers["retry-after"].isdigit()


async def test_an_unknown_model_lists_near_names(world):
    answer = await world.chat_completion(model="@cf/meta/llama-3.1-8b-instruc")
    assert (answer.status, answer.json["error"]["code"], answer.json["error"]["param"]) == (
        404,
        "model_not_found",
        "model",
    )
    assert LLAMA in answer.json["error"]["message"]
    assert answer.json["errors"][0]["code"] == 5007


async def test_a_prompt_longer_than_the_context_is_a_400_with_both_counts(world):
    answer = await world.chat_completion(messages=[{"role": "user", "content": "word " * 9000}])
    assert (answer.status, answer.json["error"]["code"]) == (400, "context_length_exceeded")
    assert "8192" in answer.json["error"]["message"]
    assert "9002" in answer.json["error"]["message"]


async def test_an_embedding_model_does_not_chat(world):
    answer = await world.chat_completion(model="@local/all-minilm-l6-v2")
    assert (answer.status, answer.json["error"]["param"]) == (400, "model")


async def test_a_server_that_stops_accepts_nothing_new(world):
    world.service.stop_accepting()
    answer = await world.chat_completion()
    assert (answer.status, int(answer.headers["retry-after"]) > 0) == (503, True)


class Confused(ScriptedEngine):
    """An engine whose events don't begin with ``Started``."""

    async def generate(self, prepared):
        yield Usage(1, 0, 1)


async def test_events_that_do_not_begin_with_the_start_are_a_500(make_world):
    async with make_world(engine=Confused) as world:
        answer = await world.chat_completion()
    assert (answer.status, answer.json["error"]["code"]) == (500, "internal_error")
