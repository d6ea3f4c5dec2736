"""POST ai/run: the model in the path or in the body, the envelope around its result, and errors in the native form."""

import json

import anyio
import pytest

from lowcloud.core.errors import EngineFailed
from lowcloud.engines.scripted import Said, SaidCall
from lowcloud.http.auth import TokenAuth
from lowcloud.http.settings import HttpSettings
from lowcloud.http.workers_ai.text_request import classic_asked
from lowcloud.models.card import Defaults

pytestmark = pytest.mark.anyio
ACCOUNT = "0123456789abcdef0123456789abcdef"
RUN = f"/client/v4/accounts/{ACCOUNT}/ai/run"
LLAMA = "@cf/meta/llama-3.1-8b-instruct"
QWEN = "@cf/qwen/qwen3-30b-a3b-fp8"
SAY = {"messages": [{"role": "user", "content": "hello there"}]}


async def run(world, inputs=SAY, model=LLAMA, headers=None, query=""):
    return await world.ask("POST", f"{RUN}/{model}{query}", inputs, headers)


def error_of(answer):
    assert (answer.json["success"], answer.json["messages"]) == (False, [])
    (error,) = answer.json["errors"]
    return answer.status, error["code"], error["message"]


@pytest.mark.parametrize(
    "path",
    [
        LLAMA,
        LLAMA.replace("/", "%2F"),
        LLAMA.replace("@", "%40"),
        f"{LLAMA}/",
        f"{LLAMA}/".replace("/", "%2F"),
        LLAMA.replace("/m", "%2fm"),
    ],
)
async def test_the_model_of_the_path_answers_however_it_is_encoded(world, path):
    answer = await world.ask("POST", f"{RUN}/{path}", SAY)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json["result"]["response"] == "one two three"
    assert (answer.json["success"], answer.json["errors"], answer.json["messages"]) == (True, [], [])
    assert answer.headers["lowcloud-stand-in"] == "@local/smollm2-135m-instruct"
    assert answer.headers["cf-ai-req-id"]


async def test_the_universal_form_names_the_model_in_the_body(world):
    answer = await world.ask("POST", RUN, {"model": LLAMA, "input": SAY})
    assert answer.json["result"]["response"] == "one two three"
    answer = await world.ask("POST", f"{RUN}/", {"model": LLAMA, "input": SAY, "provider": "x", "extra": 1})
    assert (answer.status, answer.headers["lowcloud-ignored"]) == (200, "provider, extra")


@pytest.mark.parametrize(
    "body", [{"input": SAY}, {"model": 7, "input": SAY}, {"model": LLAMA}, {"model": LLAMA, "input": []}]
)
async def test_the_universal_form_needs_a_model_and_its_input(world, body):
    status, code, message = error_of(await world.ask("POST", RUN, body))
    assert (status, code) == (400, 5006)
    assert "required properties at '/'" in message


@pytest.mark.parametrize(
    "media_type",
    [None, "application/x-www-form-urlencoded", "text/plain", "application/json", "audio/wav", "image/png"],
)
async def test_a_body_is_json_whatever_it_is_labelled_as(world, media_type):
    headers = {} if media_type is None else {"content-type": media_type}
    answer = await run(world, json.dumps(SAY).encode(), headers=headers)
    assert answer.json["result"]["response"] == "one two three"


@pytest.mark.parametrize("media_type", ["multipart/form-data; boundary=x", "audio/wav", "image/png"])
async def test_what_is_surely_no_json_is_refused(world, media_type):
    assert error_of(await run(world, b"RIFF", headers={"content-type": media_type}))[:2] == (415, 5004)


async def test_a_run_without_a_body_says_so(world):
    assert error_of(await run(world, b"")) == (400, 3003, "AiError: Request is missing headers or body: body (id-1)")


async def test_the_error_of_a_model_bears_the_request_id_and_an_empty_result(world):
    answer = await run(world, {"messages": [{"role": "user"}]})
    status, code, message = error_of(answer)
    assert (status, code, answer.json["result"]) == (400, 5006, {})
    assert message.startswith("AiError: Bad input: Error: messages[0].content")
    assert message.endswith(f"({answer.headers['cf-ai-req-id']})")


async def test_without_a_prompt_and_messages_the_error_says_what_did_not_match(world):
    _, code, message = error_of(await run(world, {}))
    assert code == 5006
    assert "oneOf at '/' not met, 0 matches: required properties at '/' are 'prompt'" in message


@pytest.mark.parametrize(
    ("model", "status", "code", "words"),
    [
        ("@cf/nobody/nothing", 400, 5007, "No such model @cf/nobody/nothing"),
        ("@cf/openai/whisper", 400, 5007, "no engine here does Automatic Speech Recognition yet"),
        ("@cf/facebook/bart-large-cnn", 400, 5007, "no engine here does Summarization yet"),
        ("@cf/meta/%00", 404, 3042, "The model name is invalid"),
        ("@cf/meta/" + "x" * 300, 404, 3042, "The model name is invalid"),
        ("@cf/meta/a%20b", 404, 3042, "The model name is invalid"),
    ],
)
async def test_a_model_that_cannot_answer_is_named(world, model, status, code, words):
    answer = await run(world, model=model)
    assert error_of(answer)[:2] == (status, code)
    assert words in answer.json["errors"][0]["message"]


async def test_a_lora_is_a_405_in_the_words_of_the_docs(world):
    status, code, message = error_of(await run(world, {**SAY, "lora": "cf-public-magicoder"}))
    assert (status, code) == (405, 5005)
    assert f"The model {LLAMA} does not support LoRa inference" in message


async def test_other_methods_and_paths_are_errors_of_the_api(world):
    answer = await world.ask("GET", f"{RUN}/{LLAMA}")
    assert (error_of(answer)[:2], answer.json["result"]) == ((405, 7001), None)


async def test_a_token_is_asked_for_and_each_way_to_fail_has_its_code(make_world, tokens):
    async with make_world(auth=TokenAuth(tokens), settings=HttpSettings()) as world:
        cases = {"": (401, 9106), "Basic x": (400, 6003), "Bearer no": (401, 10000), "Bearer expired": (401, 1000)}
        for token, expected in {**cases, "Bearer powerless": (403, 10000)}.items():
            answer = await run(world, headers={"authorization": token})
            assert (error_of(answer)[:2], answer.json["result"]) == (expected, None), token
        other = await world.ask(
            "POST", f"/client/v4/accounts/{'f' * 32}/ai/run/{LLAMA}", SAY, {"authorization": "Bearer good"}
        )
        assert error_of(other)[:2] == (403, 9109)
        nobody = await world.ask("POST", f"/client/v4/accounts/me/ai/run/{LLAMA}", SAY)
        assert error_of(nobody)[:2] == (404, 7003)


async def test_the_classic_shape_has_the_response_and_the_usage(world):
    result = (await run(world)).json["result"]
    assert list(result) == ["response", "finish_reason", "usage"]
    assert (result["response"], result["finish_reason"]) == ("one two three", "stop")
    usage = {name: result["usage"][name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
    assert usage == {"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7}
    assert result["usage"]["prompt_tokens_details"] == {"cached_tokens": 0}


async def test_a_prompt_is_a_message_of_the_user_unless_it_is_raw(world):
    await run(world, {"prompt": "hello there"})
    await run(world, {"prompt": "hello there", "raw": "true"})
    templated, raw = [request.prompt for request in world.chat.requests]
    assert [(message.role, message.text) for message in templated.messages] == [("user", "hello there")]
    assert raw.text == "hello there"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tools", [{"name": "f"}]),
        ("image", "aGk="),
        ("reasoning_effort", "low"),
        ("chat_template_kwargs", {"enable_thinking": True}),
    ],
)
async def test_what_only_the_chat_template_can_show_is_refused_beside_a_raw_prompt(world, name, value):
    status, code, message = error_of(await run(world, {"prompt": "hello", "raw": True, name: value}))
    assert (status, code) == (400, 5006)
    assert f"{name}: not with raw" in message


@pytest.mark.parametrize("options", [[], "x", 5])
async def test_options_that_are_no_object_are_refused_in_words_of_ours(world, options):
    status, code, message = error_of(await run(world, {**SAY, "options": options}))
    assert (status, code, message) == (400, 5006, "AiError: Bad input: Error: options: must be an object. (id-1)")


async def test_numbers_and_booleans_may_be_strings(world):
    inputs = {"stream": "false", "max_tokens": "7", "temperature": "5", "seed": "42", "top_k": "50", "top_p": "1.5"}
    assert (await run(world, {**SAY, **inputs})).status == 200
    (request,) = world.chat.requests
    sampling = request.sampling
    assert (request.max_tokens, sampling.temperature, sampling.seed, sampling.top_k, sampling.top_p) == (
        7,
        5,
        42,
        50,
        1,
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 5.1),
        ("top_k", 0),
        ("top_k", 51),
        ("seed", 0),
        ("seed", 10**10),
        ("max_tokens", 0),
        ("max_tokens", "many"),
        ("repetition_penalty", 2.5),
        ("frequency_penalty", -3),
        ("raw", "perhaps"),
        ("stream", 1),
        ("prompt", ""),
        ("tools", {}),
        ("image", "?"),
        ("image", "data:text/plain;base64,aGk="),
        ("image", ["?"]),
        ("safe_prompt", True),
        ("random_seed", "x"),
    ],
)
async def test_a_value_beyond_its_limits_is_a_5006_that_names_it(world, field, value):
    status, code, message = error_of(await run(world, {**SAY, field: value}))
    assert (status, code) == (400, 5006)
    assert message.startswith(f"AiError: Bad input: Error: {field}")


async def test_prompt_and_messages_exclude_each_other(world):
    assert "prompt and messages are mutually exclusive" in error_of(await run(world, {**SAY, "prompt": "x"}))[2]


async def test_without_a_bound_256_tokens_are_the_most_and_a_header_says_so(make_world):
    async with make_world(reply=" ".join(["word"] * 300)) as world:
        answer = await run(world)
        assert answer.json["result"]["usage"]["completion_tokens"] == 256
        assert (answer.json["result"]["finish_reason"], answer.headers["lowcloud-default-max-tokens"]) == (
            "length",
            "256",
        )
        assert "lowcloud-default-max-tokens" not in (await run(world, {**SAY, "max_tokens": 9})).headers


async def test_what_nobody_knows_is_named(world):
    answer = await run(world, {**SAY, "shoe_size": 43, "options": {"tags": ["a"]}}, query="?colour=red")
    assert answer.status == 200
    assert answer.headers["lowcloud-ignored"].split(", ") == ["shoe_size", "options.colour", "options.tags"]


async def test_array_content_works(world):
    parts = [{"type": "text", "text": "hello"}, {"type": "text", "text": " there"}]
    answer = await run(world, {"messages": [{"role": "user", "content": parts}]})
    assert answer.json["result"]["response"] == "one two three"


async def test_in_json_mode_the_response_is_the_value(make_world):
    schema = {
        "type": "object",
        "properties": {"a": {"type": "integer"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    forms = [
        {"response_format": {"type": "json_schema", "json_schema": schema}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}},
        {"response_format": {"type": "json_object"}},
        {"guided_json": schema},
    ]
    async with make_world(reply='{"a": 1}') as world:
        for form in forms:
            assert (await run(world, {**SAY, **form})).json["result"]["response"] == {"a": 1}
        streamed = await run(world, {**SAY, **forms[0], "stream": True})
    assert "".join(event["response"] for event in streamed.chunks) == '{"a": 1}'
    assert all(isinstance(event["response"], str) for event in streamed.chunks)


async def test_json_that_was_cut_is_an_error_that_says_so(make_world):
    async with make_world(reply='{"a": [1, 2]}') as world:
        answer = await run(world, {**SAY, "max_tokens": 1, "response_format": {"type": "json_object"}})
    assert error_of(answer)[:2] == (400, 5024)
    assert "JSON Mode couldn't be met. The answer was cut at max_tokens." in error_of(answer)[2]


CALLED = Said("Let me look.", calls=(SaidCall("weather", '{"city": "São Paulo"}'),))
BARE = {
    "name": "weather",
    "description": "w",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}


@pytest.mark.parametrize("tool", [BARE, {"type": "function", "function": BARE}])
async def test_tools_of_both_forms_are_called_with_arguments_as_a_value(make_world, tool):
    async with make_world(reply=CALLED) as world:
        result = (await run(world, {**SAY, "tools": [tool]})).json["result"]
    assert (result["response"], result["finish_reason"]) == ("Let me look.", "tool_calls")
    (call,) = result["tool_calls"]
    assert (call["name"], call["arguments"]) == ("weather", {"city": "São Paulo"})
    assert call["id"].startswith("call_")


async def test_where_tools_are_there_and_none_is_called_the_list_is_empty(world):
    assert (await run(world, {**SAY, "tools": [BARE]})).json["result"]["tool_calls"] == []


WRONG = {"name": "a b", "parameters": {}}


@pytest.mark.parametrize(
    ("inputs", "names"),
    [
        ({"image": [1, 2]}, "image: "),
        ({"tools": [WRONG]}, "tools[0].name: "),
        ({"tools": [{"type": "function", "function": WRONG}]}, "tools[0].function.name: "),
        ({"functions": [WRONG]}, "functions[0].name: "),
        ({"functions": [{"type": "function", "function": WRONG}]}, "functions[0].function.name: "),
        ({"tools": [{"name": "a"}], "functions": [{"name": "b"}, WRONG]}, "functions[1].name: "),
        ({"tools": [{"name": "a"}], "functions": [{"name": "a"}]}, "functions[0]: there is another tool"),
        ({"functions": ["f"]}, "functions[0]: "),
    ],
)
async def test_errors_name_the_fields_as_they_were_sent(world, inputs, names):
    status, code, message = error_of(await run(world, {"prompt": "a", **inputs}))
    assert (status, code) == (400, 5006)
    assert message.startswith(f"AiError: Bad input: Error: {names}")


def test_what_the_engine_names_is_named_as_it_was_sent_too():
    inputs = {**SAY, "image": "aGk=", "tools": [BARE], "functions": [{**BARE, "name": "g"}]}
    generate = classic_asked(inputs, LLAMA, "id", Defaults()).generate
    assert [tool.param for tool in generate.tools.tools] == ["tools[0].parameters", "functions[0].parameters"]
    assert generate.prompt.tools == generate.tools.tools
    assert [image.param for image in generate.prompt.messages[0].images] == ["image"]


async def test_functions_are_tools_and_code_is_refused_by_name(make_world):
    async with make_world(reply=CALLED) as world:
        assert len((await run(world, {**SAY, "functions": [BARE]})).json["result"]["tool_calls"]) == 1
        answer = await run(world, {**SAY, "functions": [{"name": "f", "code": "return 1"}]})
    assert "functions[0].code" in error_of(answer)[2]


async def test_a_history_of_the_classic_form_is_understood(world):
    history = [
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "content": "", "tool_calls": [{"name": "weather", "arguments": {"city": "Lima"}}]},
        {"role": "tool", "content": "sunny"},
        {
            "role": "assistant",
            "tool_calls": [{"id": "mine", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "name": "f", "content": "1"},
    ]
    assert (await run(world, {"messages": history})).status == 200
    messages = world.chat.requests[0].prompt.messages
    assert (messages[1].calls[0].name, messages[1].calls[0].arguments) == ("weather", '{"city":"Lima"}')
    assert messages[2].call_id == messages[1].calls[0].id
    assert messages[4].call_id == "mine"


async def test_a_classic_stream_has_strings_a_last_event_with_the_usage_and_one_done(make_world):
    async with make_world(reply="1 true null") as world:
        answer = await run(world, {**SAY, "stream": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert [event["response"] for event in answer.chunks] == ["1", " true", " null", ""]
    assert (answer.chunks[-1]["usage"]["total_tokens"], answer.chunks[-1]["finish_reason"]) == (7, "stop")
    assert answer.events.count("[DONE]") == 1
    assert answer.events[-1] == "[DONE]"


async def test_a_call_is_streamed_with_its_name_once_and_arguments_that_add_up(make_world):
    async with make_world(reply=CALLED) as world:
        answer = await run(world, {**SAY, "tools": [BARE], "stream": True})
    deltas = [delta for event in answer.chunks for delta in event.get("tool_calls", ())]
    assert [delta["function"].get("name") for delta in deltas if "id" in delta] == ["weather"]
    assert json.loads("".join(delta["function"]["arguments"] for delta in deltas)) == {"city": "São Paulo"}
    assert "".join(event["response"] for event in answer.chunks) == "Let me look."


async def test_reasoning_is_no_part_of_the_response(make_world):
    async with make_world(reply=Said("Four.", reasoning="Two and two")) as world:
        whole = (await run(world)).json["result"]
        streamed = (await run(world, {**SAY, "stream": True})).chunks
    assert (whole["response"], whole["reasoning_content"]) == ("Four.", "Two and two")
    assert "".join(event["response"] for event in streamed) == "Four."
    assert "".join(event.get("reasoning_content", "") for event in streamed) == "Two and two"


async def test_a_failure_in_a_stream_is_its_last_event_and_nothing_is_done(make_world):
    async with make_world() as world:
        world.chat.stage.fail("token:1", EngineFailed("gone"))
        answer = await run(world, {**SAY, "stream": True})
    assert answer.chunks[-1]["errors"] == [{"message": "AiError: gone (id-1)", "code": 8005}]
    assert "[DONE]" not in answer.events


async def test_a_newer_model_answers_messages_as_a_chat_completion(world):
    result = (await run(world, model=QWEN)).json["result"]
    assert (result["object"], result["model"]) == ("chat.completion", QWEN)
    assert result["choices"][0]["message"]["content"] == "one two three"
    streamed = await run(world, {**SAY, "stream": True}, model=QWEN)
    assert {event["object"] for event in streamed.chunks} == {"chat.completion.chunk"}
    assert streamed.chunks[-1]["usage"]["total_tokens"] == 7
    assert not any("usage" in event for event in streamed.chunks[:-1])
    assert streamed.events.count("[DONE]") == 1


async def test_a_newer_model_answers_a_prompt_as_a_text_completion(world):
    result = (await run(world, {"prompt": "hello there"}, model=QWEN)).json["result"]
    assert (result["object"], result["choices"][0]["text"]) == ("text_completion", "one two three")
    assert world.chat.requests[0].prompt.text == "hello there"
    streamed = await run(world, {"prompt": "hello there", "stream": True}, model=QWEN)
    assert "".join(choice["text"] for event in streamed.chunks for choice in event["choices"]) == "one two three"
    assert streamed.chunks[-1]["usage"]["total_tokens"] == 5
    assert not any("usage" in event for event in streamed.chunks[:-1])


@pytest.mark.parametrize("inputs", [SAY, {"prompt": "hello there"}])
async def test_another_model_among_the_inputs_is_named_as_ignored(world, inputs):
    answer = await run(world, {**inputs, "model": "@cf/meta/other", "shoe_size": 43}, model=QWEN)
    assert answer.json["result"]["model"] == QWEN
    assert sorted(answer.headers["lowcloud-ignored"].split(", ")) == ["model", "shoe_size"]
    assert "lowcloud-ignored" not in (await run(world, {**inputs, "model": QWEN}, model=QWEN)).headers


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, "anyOf at '/' not met"),
        ({"prompt": "a", **SAY}, "messages and prompt are mutually exclusive"),
        ({"input": "a", **SAY}, "messages and input are mutually exclusive"),
        ({"input": "a"}, "no responses here"),
        ({"prompt": ["a", "b"]}, "Type mismatch of '/prompt'"),
        ({**SAY, "store": True}, "store"),
    ],
)
async def test_what_a_newer_model_cannot_take_is_a_5006(world, inputs, words):
    status, code, message = error_of(await run(world, inputs, model=QWEN))
    assert (status, code) == (400, 5006)
    assert words in message


async def test_a_gateway_is_refused_by_name_until_there_is_one(world):
    answer = await run(world, {**SAY, "options": {"gateway": {"id": "x"}}})
    assert "options.gateway" in error_of(answer)[2]
    answer = await run(world, headers={"cf-aig-gateway-id": "x"})
    assert "cf-aig-gateway-id" in error_of(answer)[2]


async def test_who_rejects_a_wait_is_told_that_the_model_is_busy(world):
    world.chat.stage.hold("prepare")
    waiting = world.exchange("POST", f"{RUN}/{LLAMA}", SAY)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waiting.run)
        await world.chat.stage.reached("prepare")
        answer = await run(world, {**SAY, "options": {"rejectIfBusy": True}})
        assert error_of(answer)[:2] == (429, 3040)
        assert "Capacity temporarily exceeded, please try again." in error_of(answer)[2]
        assert error_of(await run(world, query="?rejectIfBusy=true"))[1] == 3040
        world.chat.stage.open("prepare")


@pytest.mark.parametrize("said", [r'{"a":"\ud800"}', '{"a":1e999}', '{"a":1e-999,"a":[1.0,10000000000000000000000]}'])
async def test_in_json_mode_the_response_is_the_very_json_that_the_model_wrote(make_world, said):
    async with make_world(reply=said) as world:
        answer = await run(world, {**SAY, "response_format": {"type": "json_object"}})
    assert answer.status == 200
    assert answer.body.startswith(b'{"result":{"response":' + said.encode() + b",")


@pytest.mark.parametrize("said", ["NaN", '{"a":Infinity}', "{", "1" * 5000])
async def test_what_is_no_json_is_none_in_json_mode_either(make_world, said):
    async with make_world(reply=said) as world:
        answer = await run(world, {**SAY, "response_format": {"type": "json_object"}})
    assert error_of(answer)[:2] == (400, 5024)


async def test_the_arguments_of_a_call_are_the_very_json_that_the_model_wrote(make_world):
    arguments = r'{"city":"\ud800","x":1e999}'
    async with make_world(reply=Said(calls=(SaidCall("weather", arguments),))) as world:
        answer = await run(world, {**SAY, "tools": [BARE]})
    assert answer.status == 200
    assert b'"arguments":' + arguments.encode() in answer.body


async def test_a_custom_tool_is_refused_by_name_since_its_input_is_no_json(world):
    answer = await run(world, {**SAY, "tools": [BARE, {"type": "custom", "custom": {"name": "note"}}]})
    assert error_of(answer)[:2] == (400, 5006)
    assert "tools[1].type" in error_of(answer)[2]
