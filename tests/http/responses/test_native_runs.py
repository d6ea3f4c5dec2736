"""``input`` in a native run: the form of the Responses API, of which nothing is kept."""

import json

import anyio
import jsonschema
import pytest
from anyio.lowlevel import checkpoint
from worker_binding import SETTINGS, direct, sent

from lowcloud.core.errors import EngineFailed
from lowcloud.engines.scripted import Said, SaidCall, Stage
from lowcloud.http.responses.unrun import saying_so
from lowcloud.http.workers_ai.model_schema import schemas, shape_of
from lowcloud.models.catalogue import packaged_cards

pytestmark = pytest.mark.anyio
GPT_OSS = "@cf/openai/gpt-oss-20b"
LLAMA = "@cf/meta/llama-3.1-8b-instruct"
(CARD,) = [card for card in packaged_cards() if card.id == GPT_OSS]
LOOK = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}}
BINDING = {"cf-consn-model-id": GPT_OSS, "cf-consn-sdk-version": "2.0.0", "content-type": "application/json"}


async def run(desk, inputs, path=f"/{GPT_OSS}", headers=None):
    return await desk.world.ask("POST", f"/client/v4/accounts/{desk.account}/ai/run{path}", inputs, headers)


async def result(desk, **inputs):
    answer = await run(desk, inputs)
    assert answer.status == 200, answer.body
    return answer.json["result"]


def error_of(answer):
    (error,) = answer.json["errors"]
    return answer.status, error["code"], error["message"]


async def test_the_result_is_a_response_in_the_envelope(desk):
    answer = await run(desk, {"input": "hello", "instructions": "Be brief."})
    assert (answer.json["success"], answer.json["errors"]) == (True, [])
    response = answer.json["result"]
    jsonschema.validate(response, schemas(shape_of(CARD))["output"])
    assert (response["object"], response["model"], response["status"]) == ("response", GPT_OSS, "completed")
    assert response["output"][0]["content"][0]["text"] == "one two three"
    assert (response["store"], response["background"]) == (False, False)
    assert answer.headers["lowcloud-stand-in"] == "@local/smollm2-135m-instruct"
    assert [message.role for message in desk.world.chat.requests[0].prompt.messages] == ["system", "user"]


async def test_it_is_nowhere_afterwards(desk):
    response = await result(desk, input="hello")
    assert (await desk.get(response["id"])).status == 404


async def test_items_and_tools_are_those_of_responses(make_desk):
    reply = Said(reasoning="hm", calls=(SaidCall("look", '{"at": "x"}'),))
    async with make_desk(reply=reply) as desk:
        first = await result(desk, input="hello", tools=[LOOK], include=["reasoning.encrypted_content"])
        reasoning, call = first["output"]
        carried = {name: value for name, value in reasoning.items() if name != "content"}
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": "found"}
        await result(desk, input=[carried, call, output], tools=[LOOK])
        said, heard = desk.world.chat.requests[-1].prompt.messages
    assert (said.reasoning, said.calls[0].name, heard.text) == ("hm", "look", "found")


@pytest.mark.parametrize("lowcloud", [{}, {"lowcloud": {}}, {"lowcloud": {"ignore_unsupported_tools": False}}])
@pytest.mark.parametrize("queued", [False, True], ids=["at once", "in a batch"])
@pytest.mark.parametrize("said_by", ["header", "model", "nobody"])
async def test_tools_that_are_not_run_are_left_out_where_a_header_or_the_settings_say_so(
    make_desk, said_by, queued, lowcloud
):
    headers = {"lowcloud-ignore-unsupported-tools": "true"} if said_by == "header" else None
    body = {"input": "hello", "tools": [LOOK, {"type": "web_search"}], **lowcloud}
    path = f"/{GPT_OSS}?queueRequest=true" if queued else f"/{GPT_OSS}"
    async with make_desk(ignores=lambda model, _token: said_by == "model" and model == GPT_OSS, runs=True) as desk:
        answer = await run(desk, {"requests": [body]} if queued else body, path, headers)
        if said_by == "nobody":
            assert error_of(answer)[:2] == (400, 5006)
            return
        result = answer.json["result"]
        while queued and "responses" not in result:
            await checkpoint()
            asked = {"request_id": result["request_id"]}
            result = (await run(desk, asked, f"/{GPT_OSS}?queueRequest=true")).json["result"]
    (one,) = result["responses"] if queued else [{"result": result, "headers": answer.headers}]
    assert [tool["name"] for tool in one["result"]["tools"]] == ["look"]
    assert "tools[].web_search" in one["headers"]["lowcloud-ignored"]


@pytest.mark.parametrize(
    "inputs",
    [{"prompt": "hello"}, {"input": "hello"}, {"input": "hello", "tools": [LOOK], "lowcloud": 1}, {"requests": [1]}],
)
def test_inputs_without_such_tools_stay_as_they_are(inputs):
    assert saying_so(inputs) == inputs


async def test_a_stream_has_the_events_of_responses_as_they_are(desk):
    answer = await run(desk, {"input": "hello", "stream": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    *events, done = [event for event in answer.body.decode().split("\n\n") if event]
    assert done == "data: [DONE]"
    data = [json.loads(event.split("\ndata: ")[1]) for event in events]
    assert [event["sequence_number"] for event in data] == list(range(len(data)))
    assert data[-1]["type"] == "response.completed"
    assert data[-1]["response"]["output"][0]["content"][0]["text"] == "one two three"


async def test_a_failure_is_a_status_before_the_first_event_and_an_event_after_it(make_desk):
    stage = Stage()
    stage.fail("start", EngineFailed("gone"))
    async with make_desk(stage=stage) as desk:
        assert error_of(await run(desk, {"input": "a", "stream": True}))[:2] == (500, 8005)
        stage.fail("start", None)
        stage.fail("token:1", EngineFailed("gone"))
        assert error_of(await run(desk, {"input": "a"}))[:2] == (500, 8005)
        assert "event: response.failed" in (await run(desk, {"input": "a", "stream": True})).body.decode()
        assert desk.world.chat.running == []


async def test_the_model_may_be_named_beside_the_inputs_and_another_among_them_is_ignored(desk):
    answer = await run(desk, {"model": GPT_OSS, "input": {"input": "hello", "model": "gpt-4o"}}, path="")
    assert answer.json["result"]["object"] == "response"
    assert answer.headers["lowcloud-ignored"] == "model"


async def test_a_workers_binding_gets_the_bare_response_and_its_events(make_desk):
    async with make_desk(settings=SETTINGS) as desk:
        whole = await sent(desk.world, direct("POST", "/run?version=3", {"inputs": {"input": "hello"}}, BINDING))
        inputs = {"input": "hello", "stream": True}
        streamed = await sent(desk.world, direct("POST", "/run?version=3", {"inputs": inputs}, BINDING))
    assert (whole.json["object"], whole.headers["content-type"]) == ("response", "application/json")
    assert streamed.headers["content-type"] == "text/event-stream"
    assert streamed.body.startswith(b"event: response.created\ndata: ")


async def test_a_batch_takes_them_too(desk):
    wrong = [{"input": "a"}, {"input": [{"role": "user", "content": 1}]}]
    refused = await run(desk, {"requests": wrong}, path=f"/{GPT_OSS}?queueRequest=true")
    assert "requests[1].input[0].content" in error_of(refused)[2]
    long = [{"input": "a"}, {"input": "a", "max_output_tokens": 1_000_000}]
    refused = await run(desk, {"requests": long}, path=f"/{GPT_OSS}?queueRequest=true")
    assert "requests[1]: This model's maximum context length" in error_of(refused)[2]
    requests = [{"input": "hello"}, {"messages": [{"role": "user", "content": "hello"}]}]
    queued = await run(desk, {"requests": requests}, path=f"/{GPT_OSS}?queueRequest=true")
    request = {"request_id": queued.json["result"]["request_id"]}
    with anyio.fail_after(60):
        await desk.world.chat.stage.reached("finish", times=2)
        while "responses" not in (state := (await run(desk, request)).json["result"]):
            await checkpoint()
    assert [one["result"]["object"] for one in state["responses"]] == ["response", "chat.completion"]
    response, chat = (one["result"]["usage"] for one in state["responses"])
    usage = state["usage"]
    assert usage["prompt_tokens"] == response["input_tokens"] + chat["prompt_tokens"]
    assert usage["completion_tokens"] == 6 and usage["total_tokens"] == usage["prompt_tokens"] + 6
    assert not [name for name in usage if name.startswith(("input", "output"))]
    assert desk.world.chat.requests[0].sampling.seed is not None


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True}, "background"),
        ({"store": True}, "store"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type"),
        ({"input": [{"type": "compaction", "encrypted_content": "x"}]}, "input[0].encrypted_content"),
        ({"input": []}, "input"),
        ({"max_tokens": 9}, "max_output_tokens"),
        ({"tools": [{"type": "web_search"}]}, "tools[0]"),
    ],
)
async def test_what_needs_a_stored_response_is_refused_by_name_as_is_what_is_wrong(desk, inputs, words):
    status, code, message = error_of(await run(desk, {"input": "hello"} | inputs))
    assert (status, code) == (400, 5006)
    assert words in message


async def test_what_asks_for_nothing_stored_is_taken(desk):
    await result(desk, input="hello", store=False, background=False, previous_response_id=None)


async def test_a_classic_model_has_no_such_input(desk):
    assert error_of(await run(desk, {"input": "hello"}, path=f"/{LLAMA}"))[:2] == (400, 5006)
