"""Chat completions that are stored: kept when asked for, and listed, shown, labelled and deleted by their account."""

import anyio
import pytest

from lowcloud.core.errors import EngineFailed
from lowcloud.engines.scripted import Said, SaidCall
from lowcloud.http.auth import TokenAuth
from lowcloud.http.openai import schemas
from lowcloud.storage.completions import CompletionStore, Keep
from lowcloud.storage.database import open_database

pytestmark = pytest.mark.anyio
CHAT = "/v1/chat/completions"
FOREIGN = "/client/v4/accounts/ffffffffffffffffffffffffffffffff/ai/v1/chat/completions"
PARTS = [{"type": "text", "text": "hello"}, {"type": "text", "text": "there"}]
HELLO = {"role": "user", "content": "hello there"}


@pytest.fixture
def store(tmp_path):
    with open_database(f"sqlite:///{tmp_path}/lowcloud.db") as database:
        yield CompletionStore(database, Keep())


@pytest.fixture
async def kept(make_world, store):
    async with make_world(completions=store) as world:
        yield world


async def ids(world, query: str = "") -> list[str]:
    return [each["id"] for each in (await world.ask("GET", CHAT + query)).json["data"]]


async def test_a_stored_answer_is_shown_as_it_was_with_its_metadata(kept):
    answer = await kept.chat_completion(store=True, metadata={"a": "b"})
    shown = await kept.ask("GET", f"{CHAT}/{answer.json['id']}")
    schemas.StoredCompletion.model_validate(shown.json)
    assert shown.json == answer.json | {"metadata": {"a": "b"}}
    assert "lowcloud-ignored" not in answer.headers


async def test_a_stream_is_stored_when_it_has_ended(make_world, store):
    reply = Said("Let me look.", "hm", (SaidCall("f", '{"a": 1}'),))
    async with make_world(completions=store, reply=reply) as world:
        tools = [{"type": "function", "function": {"name": "f"}}]
        answer = await world.chat_completion(store=True, stream=True, tools=tools)
        (stored,) = (await world.ask("GET", CHAT)).json["data"]
    assert (answer.events[-1], stored["id"]) == ("[DONE]", answer.chunks[0]["id"])
    message = stored["choices"][0]["message"]
    assert (message["content"], message["reasoning"], len(message["tool_calls"])) == ("Let me look.", "hm", 1)
    assert stored["choices"][0]["finish_reason"] == "tool_calls"


async def test_nothing_is_stored_that_nobody_asked_for_or_that_failed(kept):
    await kept.chat_completion()
    await kept.chat_completion(store=False, metadata={"a": "b"})
    kept.chat.stage.fail("token:1", EngineFailed("The model's process died three times."))
    for stream in (False, True):
        await kept.chat_completion(store=True, stream=stream)
    assert await ids(kept) == []


async def test_a_stream_whose_client_leaves_is_not_stored_and_is_cancelled(kept):
    kept.chat.stage.hold("token:1")
    body = {"model": kept.chat.card.id, "messages": [HELLO], "stream": True, "store": True}
    exchange = kept.exchange("POST", CHAT, body)
    async with anyio.create_task_group() as group:
        group.start_soon(exchange.run)
        await kept.chat.stage.reached("token:1")
        exchange.leave()
        with anyio.fail_after(5):
            await exchange.is_over.wait()
    assert (len(kept.chat.cancelled), kept.chat.running, await ids(kept)) == (1, [], [])


async def test_the_list_has_pages_an_order_and_filters(kept):
    for number in range(3):
        await kept.chat_completion(store=True, metadata={"number": str(number), "é [x]": "y"})
    first, second, third = await ids(kept)
    page = (await kept.ask("GET", f"{CHAT}?limit=2")).json
    schemas.StoredCompletionList.model_validate(page)
    assert (page["first_id"], page["last_id"], page["has_more"]) == (first, second, True)
    assert await ids(kept, f"?limit=2&after={second}") == [third]
    assert await ids(kept, "?order=desc&limit=1") == [third]
    assert await ids(kept, "?metadata[number]=1") == await ids(kept, "?metadata%5Bnumber%5D=1") == [second]
    assert len(await ids(kept, "?metadata[%C3%A9%20[x]]=y&model=@local/smollm2-135m-instruct")) == 3
    assert await ids(kept, "?model=other") == []
    assert (await kept.ask("GET", f"{CHAT}?model=other")).json["first_id"] is None


@pytest.mark.parametrize(
    ("query", "param"),
    [("limit=0", "limit"), ("limit=101", "limit"), ("limit=x", "limit"), ("order=up", "order"), ("after=x", "after")],
)
async def test_a_wrong_query_is_refused_by_name(kept, query, param):
    answer = await kept.chat_completion(store=True)
    for path in (CHAT, f"{CHAT}/{answer.json['id']}/messages"):
        error = (await kept.ask("GET", f"{path}?{query}")).json["error"]
        assert (error["code"], error["param"]) == ("invalid_request", param)


async def test_a_parameter_that_is_not_there_is_refused_by_name(kept):
    answer = await kept.chat_completion(store=True)
    for path in (f"{CHAT}?before=x", f"{CHAT}/{answer.json['id']}/messages?metadata[a]=b"):
        assert (await kept.ask("GET", path)).status == 400


async def test_the_messages_are_those_of_the_request(kept):
    messages = [{"role": "system", "content": "be kind", "name": "Ann"}, {"role": "user", "content": PARTS}]
    completion_id = (await kept.chat_completion(store=True, messages=messages)).json["id"]
    path = f"{CHAT}/{completion_id}/messages"
    shown = (await kept.ask("GET", path)).json
    schemas.StoredMessageList.model_validate(shown)
    assert shown["data"] == [
        {**messages[0], "content_parts": None, "id": f"{completion_id}-0"},
        {"role": "user", "content": None, "content_parts": PARTS, "id": f"{completion_id}-1"},
    ]
    assert shown["has_more"] is False
    newest = (await kept.ask("GET", f"{path}?order=desc&limit=1")).json
    assert (newest["first_id"], newest["has_more"]) == (f"{completion_id}-1", True)
    rest = (await kept.ask("GET", f"{path}?after={completion_id}-0")).json
    assert [message["id"] for message in rest["data"]] == [f"{completion_id}-1"]


async def test_metadata_are_replaced_and_taken_away(kept):
    path = f"{CHAT}/{(await kept.chat_completion(store=True, metadata={'a': 'b'})).json['id']}"
    assert (await kept.ask("POST", path, {"metadata": {"c": "d"}})).json["metadata"] == {"c": "d"}
    assert (await kept.ask("POST", path, {"metadata": None})).json["metadata"] == {}
    for body, param in (({}, "metadata"), ({"metadata": {"a": 1}}, "metadata.a")):
        assert (await kept.ask("POST", path, body)).json["error"]["param"] == param


async def test_one_that_is_deleted_is_gone(kept):
    completion_id = (await kept.chat_completion(store=True)).json["id"]
    answer = await kept.ask("DELETE", f"{CHAT}/{completion_id}")
    schemas.DeletedCompletion.model_validate(answer.json)
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/messages")):
        answer = await kept.ask(method, f"{CHAT}/{completion_id}{path}")
        assert (answer.status, answer.json["error"]["param"]) == (404, "completion_id")
    assert (await kept.ask("POST", f"{CHAT}/{completion_id}", {"metadata": None})).status == 404


async def test_another_account_does_not_see_them(kept, store):
    completion_id = (await kept.chat_completion(store=True)).json["id"]
    assert (await kept.ask("GET", FOREIGN)).json["data"] == []
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/messages")):
        assert (await kept.ask(method, f"{FOREIGN}/{completion_id}{path}")).status == 404
    assert await ids(kept) == [completion_id]


async def test_without_a_token_there_is_nothing_to_see(make_world, store, tokens):
    async with make_world(completions=store, auth=TokenAuth(tokens)) as world:
        assert (await world.ask("GET", CHAT)).status == 401
        assert (await world.ask("GET", CHAT, headers={"authorization": "Bearer good"})).json["data"] == []


async def test_the_queries_are_in_the_openapi_document(kept):
    document = (await kept.ask("GET", "/openapi.json")).json
    of = {
        path: {each["name"] for each in document["paths"][path]["get"]["parameters"] if each["in"] == "query"}
        for path in (CHAT, f"{CHAT}/{{completion_id}}/messages")
    }
    assert list(of.values()) == [{"limit", "after", "order", "model", "metadata"}, {"limit", "after", "order"}]
    assert (await kept.ask("GET", "/docs")).status == 200


async def test_where_nothing_is_kept_store_is_refused_by_name(world):
    answer = await world.chat_completion(store=True)
    assert (answer.status, answer.json["error"]["param"]) == (400, "store")
    assert (await world.ask("GET", CHAT)).status == 405
