"""What the class behind ``env.AI`` asks for, and what it gets: every row of the protocol in docs/workers.md."""

import gzip
import json
from base64 import b64encode
from collections.abc import AsyncGenerator, Callable
from urllib.parse import quote

import anyio
import pytest
from tiny_pictures import PICTURE
from worker_binding import ACCOUNT, SETTINGS, Request, direct, envelope, proxy, said, sent, thrown

from lowcloud.core.errors import EngineFailed
from lowcloud.serving.jobs import JobRunner
from lowcloud.storage.database import open_database
from lowcloud.storage.jobs import JobStore

pytestmark = pytest.mark.anyio
LLAMA = "@cf/meta/llama-3.1-8b-instruct"
BGE = "@cf/baai/bge-large-en-v1.5"
SAY = {"prompt": "hello there"}
FORMS = pytest.mark.parametrize("form", [direct, envelope, proxy])


@pytest.fixture
async def world(make_world) -> AsyncGenerator:
    """One that answers bindings."""
    async with make_world(settings=SETTINGS) as made:
        yield made


def run(inputs: object = SAY, model: str = LLAMA, form: Callable[..., Request] = direct, **options: object) -> Request:
    """``env.AI.run(model, inputs, options)``."""
    headers = {"cf-consn-model-id": model, "cf-consn-sdk-version": "2.0.0", "content-type": "application/json"}
    return form("POST", "/run?version=3", {"inputs": inputs, "options": options}, headers)


@FORMS
async def test_a_run_answers_with_the_bare_result_in_the_exact_media_type(world, form):
    answer = await sent(world, run(form=form))
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json["response"] == "one two three"
    assert {"result", "success"}.isdisjoint(answer.json)
    assert answer.headers["cf-ai-req-id"] == "id-1"
    assert answer.headers["lowcloud-stand-in"] == "@local/smollm2-135m-instruct"
    logged = world.logs.calls[-1].kwargs
    assert (logged["account"], logged["token_id"], logged["path"]) == (ACCOUNT, "binding", "/run")
    assert world.metrics.requests == [("/run", "POST", 200)]


@FORMS
async def test_a_stream_comes_event_by_event_and_the_binding_sees_none_held_back(world, form):
    world.chat.stage.hold("token:1")
    request = run({**SAY, "stream": True}, form=form)
    exchange = world.exchange(request.method, request.path, request.body, request.headers)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(exchange.run)
        begun = await exchange.until(lambda answer: answer.pieces)
        assert begun.headers["content-type"] == "text/event-stream"
        assert begun.events == ['{"response":"one"}']
        world.chat.stage.open("token:1")
    assert exchange.answer.events[-1] == "[DONE]"
    assert "".join(chunk["response"] for chunk in exchange.answer.chunks) == "one two three"


@pytest.mark.parametrize("stream", [True, False])
async def test_a_worker_that_aborts_frees_the_sequence(world, stream):
    world.chat.stage.hold("token:1")
    request = run({**SAY, "stream": stream})
    exchange = world.exchange(request.method, request.path, request.body, request.headers)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(exchange.run)
        await world.chat.stage.reached("token:1")
        exchange.leave()
        with anyio.fail_after(5):
            await exchange.is_over.wait()
    assert (len(world.chat.cancelled), world.chat.running) == (1, [])
    assert world.logs.calls[-1].kwargs["outcome"] == "client_left"


async def test_what_fails_in_a_stream_is_its_last_event(world):
    world.chat.stage.fail("token:1", EngineFailed("it broke"))
    answer = await sent(world, run({**SAY, "stream": True}))
    assert answer.status == 200
    assert answer.chunks[-1]["errors"] == [{"message": "AiError: it broke (id-1)", "code": 8005}]
    assert "[DONE]" not in answer.events


async def test_embeddings_come_as_the_native_result(world):
    answer = await sent(world, run({"text": ["tea", "sea"]}, BGE))
    assert answer.json["shape"] == [2, 1024]


@pytest.mark.parametrize(("given", "ignored"), [(LLAMA, None), (f"mine:{LLAMA}", "options.prefix")])
async def test_a_prefix_of_the_model_changes_nothing_and_is_named(world, given, ignored):
    answer = await sent(world, run(model=given))
    assert (answer.status, answer.headers.get("lowcloud-ignored")) == (200, ignored)
    assert world.logs.calls[-1].kwargs["model"] == LLAMA


async def test_what_the_class_does_itself_is_not_named_and_what_nobody_reads_is(world):
    answer = await sent(world, run({**SAY, "colour": 1}, returnRawResponse=True, tags=["a"], extra=None))
    assert sorted(answer.headers["lowcloud-ignored"].split(", ")) == ["colour", "options.tags"]


async def test_a_raw_response_is_an_error_as_any_other(world):
    answer = await sent(world, run({}, returnRawResponse=True))
    assert (answer.status, answer.json["internalCode"]) == (400, 5006)


async def test_reject_if_busy_is_a_429_that_the_class_throws_as_the_service_does(world):
    world.chat.stage.hold("start")
    first = run()
    exchange = world.exchange(first.method, first.path, first.body, first.headers)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(exchange.run)
        await world.chat.stage.reached("start")
        answer = await sent(world, run(rejectIfBusy=True))
        world.chat.stage.open("start")
    assert answer.status == 429
    assert thrown(answer)[0] == "InferenceUpstreamError"
    assert thrown(answer)[1].startswith("3040: ")
    assert int(answer.headers["retry-after"]) > 0


async def test_a_batch_is_queued_and_asked_for_by_its_id(make_world, tmp_path):
    with open_database(f"sqlite:///{tmp_path}/lowcloud.db") as database:
        async with make_world(settings=SETTINGS, jobs=JobRunner(JobStore(database))) as world:
            queued = await sent(world, run({"requests": [SAY]}, queueRequest=True))
            assert (queued.status, queued.json["status"], queued.json["model"]) == (200, "queued", LLAMA)
            asked = await sent(world, run({"request_id": queued.json["request_id"]}))
            assert asked.json == queued.json
            other = await sent(world, run({"request_id": "nope"}))
            assert (other.status, thrown(other)[0]) == (404, "InferenceUpstreamError")


@pytest.mark.parametrize("image", [list(PICTURE), dict(enumerate(PICTURE)), b64encode(PICTURE).decode()])
async def test_a_typed_array_is_read_as_the_bytes_that_it_was(make_world, image):
    async with make_world(settings=SETTINGS, sees=True) as world:
        assert (await sent(world, run({**SAY, "image": image}))).status == 200
        (message,) = world.chat.requests[0].prompt.messages
        assert [image.data for image in message.images] == [PICTURE]


@pytest.mark.parametrize("image", [{}, {"1": 0}, {"0": 256}, {"0": 1, "x": 2}])
async def test_another_object_is_no_typed_array(make_world, image):
    async with make_world(settings=SETTINGS, sees=True) as world:
        answer = await sent(world, run({**SAY, "image": image}))
        assert thrown(answer) == ("AiError", "5006: Error: image: must be base64, or a list of bytes.")


@pytest.mark.parametrize("inside", [b"RIFF", [b"--x\r\n", b"--x--\r\n"]])
@pytest.mark.parametrize("form", [direct, envelope])
async def test_an_input_that_is_a_stream_or_a_form_is_refused_until_a_model_takes_bytes(world, form, inside):
    asked = quote(json.dumps({"language": "en"}))
    headers = {"cf-consn-model-id": LLAMA, "content-type": "multipart/form-data; boundary=x"}
    answer = await sent(world, form("POST", f"/run?tags=a&version=3&userInputs={asked}", inside, headers))
    assert (answer.status, thrown(answer)[1].partition(" a stream ")[0]) == (415, "5004: An input that is")
    whisper = {"cf-consn-model-id": "@cf/openai/whisper", "content-type": "audio/wav"}
    answer = await sent(world, form("POST", f"/run?version=3&userInputs={asked}", inside, whisper))
    assert thrown(answer)[1].startswith("5007: No such model @cf/openai/whisper")


async def test_a_websocket_run_gets_a_response_that_says_why(world):
    body = quote(json.dumps({"inputs": SAY, "options": {"websocket": True}}))
    headers = {"cf-consn-model-id": LLAMA, "upgrade": "websocket", "connection": "Upgrade"}
    answer = await sent(world, direct("GET", f"/run?version=3&body={body}", headers=headers))
    assert (answer.status, thrown(answer)[1][:30]) == (400, "5006: Error: options.websocket")
    unknown = {**headers, "cf-consn-model-id": "@cf/a/b"}
    answer = await sent(world, direct("GET", f"/run?version=3&body={body}", headers=unknown))
    assert thrown(answer)[1].startswith("5007: ")


async def test_models_are_those_of_the_catalogue(world):
    answer = await sent(world, direct("GET", "/ai-api/models/search?search=bge-large&task=Text+Embeddings&per_page=1"))
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert [model["name"] for model in answer.json["result"]] == [BGE]
    answer = await sent(world, direct("GET", "/ai-api/models/search?page=0"))
    assert (answer.status, said(answer)) == (400, "page: Input should be greater than or equal to 1.")


async def test_nothing_is_converted_to_markdown_yet_and_the_class_says_so(world):
    files = {"files": [{"name": "a.txt", "mimeType": "text/plain", "data": "YQ=="}]}
    answer = await sent(world, direct("POST", "/to-everything/markdown/transformer", files))
    assert (answer.status, said(answer)) == (400, "toMarkdown: there is no converter here yet.")
    answer = await sent(world, direct("GET", "/to-everything/markdown/supported"))
    assert (answer.status, answer.json["result"]) == (200, [])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/ai-gateway/run?version=3"),
        ("POST", "/ai-gateway/universal/run/mine"),
        ("GET", "/ai-gateway/gateways/mine/logs/1"),
        ("PATCH", "/ai-gateway/gateways/mine/logs/1"),
        ("GET", "/ai-gateway/gateways/mine/url/openai"),
        ("GET", "/ai-gateway/gateways/mine/run/1/resume?from=0"),
    ],
)
async def test_whatever_is_asked_of_a_gateway_is_refused_by_name(world, method, path):
    answer = await sent(world, direct(method, path, {} if method != "GET" else None))
    assert (answer.status, said(answer)) == (400, "gateway: there is no AI Gateway here.")


async def test_a_gateway_in_the_options_or_in_a_header_is_refused_too(world):
    assert thrown(await sent(world, run(gateway={"id": "mine"})))[1].startswith("5006: Error: options.gateway")
    headers = {"cf-consn-model-id": LLAMA, "cf-aig-gateway-id": "mine"}
    answer = await sent(world, direct("POST", "/run?version=3", {"inputs": SAY}, headers))
    assert "cf-aig-gateway-id" in thrown(answer)[1]


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/autorag/rags"), ("POST", "/autorag/rags/r/search"), ("POST", "/autorag/rags/r/ai-search")],
)
async def test_there_is_no_ai_search(world, method, path):
    answer = await sent(world, direct(method, path, {} if method == "POST" else None))
    assert (answer.status, said(answer)) == (400, "autorag: there is no AI Search here.")


async def test_fetch_runs_a_model_by_the_older_version_whatever_the_host(world):
    headers = {"host": "anything.example", "cf-consn-model-id": LLAMA}
    answer = await sent(world, direct("POST", "/run?version=2", {"inputs": SAY}, headers))
    assert (answer.headers["content-type"], answer.json["response"]) == ("application/json", "one two three")


async def test_fetch_of_anything_else_is_a_404_that_says_what_there_is(world):
    for path in ("/", "/v1/models", "/client/v4/accounts/a/ai/models/search"):
        answer = await sent(world, direct("GET", path, headers={"host": "api.example"}))
        assert (answer.status, said(answer).partition(". ")[0]) == (404, f"No route for {path}")
        assert "env.AI" in said(answer)
    answer = await sent(world, direct("DELETE", "/run"))
    assert (answer.status, answer.headers["allow"]) == (405, "POST, GET, HEAD, OPTIONS")


async def test_the_older_package_gets_whole_answers_packed_as_it_unpacks_them(world):
    headers = {"cf-consn-model-id": LLAMA, "cf-consn-sdk-version": "1.1.0", "content-encoding": "application/json"}
    answer = await sent(world, direct("POST", "/run?version=2", {"inputs": SAY, "options": {}}, headers))
    assert (answer.headers["content-type"], "content-encoding" in answer.headers) == ("application/json", False)
    assert json.loads(gzip.decompress(answer.body))["response"] == "one two three"
    streamed = await sent(world, direct("POST", "/run?version=2", {"inputs": {**SAY, "stream": True}}, headers))
    assert streamed.events[-1] == "[DONE]"
    refused = await sent(world, direct("POST", "/run?version=2", {"inputs": {}}, headers))
    assert refused.json["internalCode"] == 5006


@pytest.mark.parametrize("query", ["", "?version=1", "?version=4", "?version="])
async def test_another_version_of_run_is_refused(world, query):
    answer = await sent(world, direct("POST", f"/run{query}", {"inputs": SAY}, {"cf-consn-model-id": LLAMA}))
    assert (answer.status, thrown(answer)[1]) == (400, "5006: Error: version: must be 2 or 3, as env.AI sends it.")


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (b"", 3003, "Request is missing headers or body: body"),
        (b"{", 5006, "not valid JSON"),
        (b"[]", 5006, "must be a JSON object"),
        ({"options": {}}, 5006, "'inputs'"),
        ({"inputs": [1]}, 5006, "'inputs'"),
        ({"inputs": SAY, "options": 7}, 5006, "options"),
        ({"inputs": SAY, "options": {"rejectIfBusy": "x"}}, 5006, "options.rejectIfBusy"),
        ({"inputs": {**SAY, "top_k": 99}}, 5006, "Error: top_k: "),
        ({"inputs": {**SAY, "lora": "x"}}, 5005, "does not support LoRa inference"),
    ],
)
async def test_a_request_that_is_wrong_is_an_ai_error_with_its_code(world, body, code, words):
    answer = await sent(world, direct("POST", "/run?version=3", body, {"cf-consn-model-id": LLAMA}))
    name, message = thrown(answer)
    assert (name, message.partition(":")[0]) == ("AiError", str(code))
    assert words in message
    assert answer.headers["cf-ai-req-id"] not in message


@pytest.mark.parametrize(
    ("model", "status", "message"),
    [
        ("", 400, "5006: Error: cf-consn-model-id: the header that names the model is missing."),
        ("@cf/a/b", 400, "5007: No such model @cf/a/b"),
        ("mine:@cf/a/b", 400, "5007: No such model @cf/a/b"),
        ("gpt:4", 400, "5007: No such model gpt:4"),
        ("a b", 404, "3042: The model name is invalid"),
    ],
)
async def test_a_model_that_cannot_answer_is_an_ai_error(world, model, status, message):
    answer = await sent(world, run(model=model))
    assert (answer.status, thrown(answer)[0]) == (status, "AiError")
    assert thrown(answer)[1].startswith(message)


async def test_the_engine_that_fails_is_an_ai_error_and_a_bug_tells_nothing(world):
    world.chat.stage.fail("prepare", EngineFailed("it broke"))
    answer = await sent(world, run())
    assert (answer.status, thrown(answer)) == (500, ("AiError", "8005: it broke"))
    world.chat.stage.fail("prepare", ZeroDivisionError("secret detail"))
    answer = await sent(world, run())
    assert (answer.status, "secret" in answer.body.decode()) == (500, False)
    assert thrown(answer)[1].startswith("8005: Internal server error.")


async def test_a_body_that_is_too_large_is_an_error_of_the_class_too(make_world):
    small = SETTINGS.__class__(binding=SETTINGS.binding, max_body_bytes=1000)
    async with make_world(settings=small) as world:
        answer = await sent(world, run({"prompt": "x" * 2000}))
    assert (answer.status, thrown(answer)[1].partition(":")[0]) == (413, "3006")
