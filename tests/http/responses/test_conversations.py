"""Conversations over HTTP: created, labelled, filled, listed, emptied, deleted."""

import pytest

from lowcloud.engines.scripted import Said

pytestmark = pytest.mark.anyio
HELLO = {"role": "user", "content": "hello"}


def error_of(answer):
    return answer.status, answer.json["error"]["code"], answer.json["error"]["param"]


def texts(page):
    return [item["content"][0]["text"] for item in page["data"]]


async def created(desk, **body):
    """A conversation, which must be one."""
    answer = await desk.ask("POST", "/conversations", body)
    assert answer.status == 200, answer.body
    return answer.json


async def page(desk, conversation_id, query=""):
    answer = await desk.ask("GET", f"/conversations/{conversation_id}/items{query}")
    assert answer.status == 200, answer.body
    return answer.json


def says(*words):
    return [{"role": "user", "content": word} for word in words]


async def test_a_conversation_is_what_create_answered(desk):
    made = await created(desk, metadata={"a": "b"}, items=[HELLO])
    assert made == {
        "id": made["id"],
        "object": "conversation",
        "created_at": 1_800_000_000,
        "metadata": {"a": "b"},
    }
    assert made["id"].startswith("conv_")
    assert (await desk.ask("GET", f"/conversations/{made['id']}")).json == made


@pytest.mark.parametrize("body", [None, {}, {"items": None, "metadata": None}, {"items": []}])
async def test_everything_of_a_new_conversation_may_be_left_out(desk, body):
    answer = await desk.ask("POST", "/conversations", body)
    assert (answer.status, answer.json["metadata"]) == (200, {})
    assert await page(desk, answer.json["id"]) == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }


async def test_the_short_base_has_them_too(desk):
    made = (await desk.world.ask("POST", "/v1/conversations", {"items": [HELLO]})).json
    listed = await desk.world.ask("GET", f"/v1/conversations/{made['id']}/items")
    assert texts(listed.json) == ["hello"]


async def test_other_metadata_replace_all_that_were_there(desk):
    made = await created(desk, metadata={"a": "b", "c": "d"})
    path = f"/conversations/{made['id']}"
    assert (await desk.ask("POST", path, {"metadata": {"e": "f"}})).json == made | {"metadata": {"e": "f"}}
    assert (await desk.ask("GET", path)).json["metadata"] == {"e": "f"}
    assert (await desk.ask("POST", path, {"metadata": None})).json["metadata"] == {}
    assert error_of(await desk.ask("POST", path, {}))[::2] == (400, "metadata")


async def test_a_deleted_conversation_is_gone_with_its_items(desk):
    made = await created(desk, items=[HELLO])
    item = (await page(desk, made["id"]))["data"][0]
    deleted = await desk.ask("DELETE", f"/conversations/{made['id']}")
    assert deleted.json == {"id": made["id"], "object": "conversation.deleted", "deleted": True}
    for path in ("", "/items", f"/items/{item['id']}"):
        gone = await desk.ask("GET", f"/conversations/{made['id']}{path}")
        assert error_of(gone) == (404, "not_found", "conversation_id")


async def test_items_are_shown_as_an_answers_are(desk):
    call = {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "c1", "output": "seen"}
    made = await created(desk, items=[HELLO, {"role": "assistant", "content": "hi"}, call, output])
    user, assistant, called, seen = (await page(desk, made["id"], "?order=asc"))["data"]
    assert user == {
        "type": "message",
        "id": user["id"],
        "status": "completed",
        "role": "user",
        "content": [{"type": "input_text", "text": "hello"}],
    }
    assert assistant["content"] == [{"type": "output_text", "text": "hi", "annotations": []}]
    assert called == call | {"id": called["id"], "status": "completed"}
    assert seen == output | {"id": seen["id"], "status": "completed"}


async def test_the_items_that_one_gains_are_the_answer_in_their_order(desk):
    made = await created(desk, items=says("first"))
    answer = await desk.ask("POST", f"/conversations/{made['id']}/items", {"items": says("second", "third")})
    assert (answer.status, texts(answer.json)) == (200, ["second", "third"])
    ids = [item["id"] for item in answer.json["data"]]
    assert (answer.json["first_id"], answer.json["last_id"], answer.json["has_more"]) == (*ids, False)
    assert texts(await page(desk, made["id"])) == ["third", "second", "first"]


async def test_equal_items_have_ids_of_their_own(desk):
    made = await created(desk, items=[HELLO, HELLO])
    await desk.ask("POST", f"/conversations/{made['id']}/items", {"items": [HELLO, HELLO]})
    assert len({item["id"] for item in (await page(desk, made["id"]))["data"]}) == 4


async def test_the_list_goes_from_page_to_page_in_both_orders(desk):
    made = await created(desk, items=says(*"abcde"))
    first = await page(desk, made["id"], "?limit=2")
    assert (texts(first), first["has_more"]) == (["e", "d"], True)
    assert (first["first_id"], first["last_id"]) == tuple(item["id"] for item in first["data"])
    rest = await page(desk, made["id"], f"?limit=3&after={first['last_id']}")
    assert (texts(rest), rest["has_more"]) == (["c", "b", "a"], False)
    upward = await page(desk, made["id"], f"?order=asc&after={first['last_id']}")
    assert texts(upward) == ["e"]


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("order=up", "order"),
        ("after=msg_no", "after"),
        ("include[]=nothing", "include"),
        ("before=msg_no", "before"),
    ],
)
async def test_a_wrong_query_is_named(desk, query, param):
    made = await created(desk)
    answer = await desk.ask("GET", f"/conversations/{made['id']}/items?{query}")
    assert error_of(answer)[::2] == (400, param)


async def test_include_adds_nothing(desk):
    made = await created(desk, items=[HELLO])
    item = (await page(desk, made["id"], "?include[]=message.output_text.logprobs"))["data"][0]
    path = f"/conversations/{made['id']}/items/{item['id']}?include[]=reasoning.encrypted_content"
    assert (await desk.ask("GET", path)).json == item


async def test_include_adds_nothing_to_a_response_either(desk):
    response = await desk.response()
    query = "?include[]=message.output_text.logprobs&include[]=file_search_call.results"
    assert (await desk.get(response["id"], query)).json == response
    path = f"/responses/{response['id']}/input_items"
    assert (await desk.ask("GET", path + query)).json == (await desk.ask("GET", path)).json
    assert error_of(await desk.ask("GET", f"{path}?include[]=nothing"))[::2] == (400, "include")


async def test_an_item_is_shown_and_taken_out(desk):
    made = await created(desk, items=says("stays", "goes"))
    item = (await page(desk, made["id"]))["data"][0]
    path = f"/conversations/{made['id']}/items/{item['id']}"
    assert (await desk.ask("GET", path)).json == item
    assert (await desk.ask("DELETE", path)).json == made
    assert texts(await page(desk, made["id"])) == ["stays"]
    for method in ("GET", "DELETE"):
        assert error_of(await desk.ask(method, path)) == (404, "not_found", "item_id")


async def test_items_keep_the_ids_that_they_bring(desk):
    made = await created(desk, items=[HELLO | {"id": "msg_mine"}])
    assert (await desk.ask("GET", f"/conversations/{made['id']}/items/msg_mine")).json["role"] == "user"


async def test_no_item_that_is_added_has_the_id_of_one_that_is_there(desk):
    made = await created(desk, items=[HELLO | {"id": "msg_mine"}, *says("other")])
    path = f"/conversations/{made['id']}/items"
    other = (await page(desk, made["id"]))["data"][0]
    for item in (HELLO | {"id": "msg_mine"}, {"type": "item_reference", "id": "msg_mine"}, other):
        answer = await desk.ask("POST", path, {"items": [HELLO, item]})
        assert error_of(answer) == (400, "invalid_request", "items[1].id")
    assert len((await page(desk, made["id"]))["data"]) == 2
    await desk.ask("DELETE", f"{path}/msg_mine")
    assert (await desk.ask("POST", path, {"items": [HELLO | {"id": "msg_mine"}]})).status == 200


async def test_an_item_can_be_named_instead_of_sent(desk):
    other = await created(desk, items=says("remember me"))
    item = (await page(desk, other["id"]))["data"][0]
    made = await created(desk, items=[{"type": "item_reference", "id": item["id"]}])
    assert (await page(desk, made["id"]))["data"] == [item]


@pytest.mark.parametrize(
    ("items", "param"),
    [
        ("hello", "items"),
        ([HELLO] * 21, "items"),
        (["hello"], "items[0]"),
        ([HELLO, {"role": "nobody", "content": "hello"}], "items[1].role"),
        ([HELLO, {"type": "web_search_call", "id": "ws_1"}], "items[1].type"),
        ([HELLO | {"id": "msg_1"}, HELLO | {"id": "msg_1"}], "items[1].id"),
        ([{"type": "item_reference", "id": "msg_no"}], "items[0].id"),
        ([HELLO, {"type": "compaction", "encrypted_content": "lc1_bad"}], "items[1].encrypted_content"),
    ],
)
async def test_wrong_items_are_named_wherever_they_are_sent(desk, items, param):
    made = await created(desk)
    for path in ("/conversations", f"/conversations/{made['id']}/items"):
        assert error_of(await desk.ask("POST", path, {"items": items}))[::2] == (400, param)
    assert (await page(desk, made["id"]))["data"] == []


@pytest.mark.parametrize("body", [{}, {"items": []}, {"items": None}])
async def test_at_least_one_item_has_to_be_added(desk, body):
    made = await created(desk)
    answer = await desk.ask("POST", f"/conversations/{made['id']}/items", body)
    assert error_of(answer)[::2] == (400, "items")


async def test_wrong_metadata_are_named(desk):
    for metadata, param in [({"a": 1}, "metadata.a"), ({str(n): "" for n in range(17)}, "metadata"), ([], "metadata")]:
        assert error_of(await desk.ask("POST", "/conversations", {"metadata": metadata}))[::2] == (400, param)


async def test_what_nobody_reads_is_named_in_a_header(desk):
    body = {"items": [HELLO | {"name": "Ada"}], "topic": "tea"}
    answer = await desk.ask("POST", "/conversations", body)
    assert answer.headers["lowcloud-ignored"] == "topic, items[].name"


async def test_encrypted_reasoning_that_this_server_made_is_taken(make_desk):
    async with make_desk(reply=Said("yes", "hm")) as desk:
        output = (await desk.response(include=["reasoning.encrypted_content"], store=False))["output"]
        assert output[0]["encrypted_content"]
        made = await created(desk, items=output)
        assert (await page(desk, made["id"], "?order=asc"))["data"] == output


async def test_another_accounts_conversation_is_as_one_that_never_was(desk):
    made = await created(desk, items=[HELLO])
    item_id = (await page(desk, made["id"]))["first_id"]
    desk.account = "b" * 32
    requests = [
        ("GET", "", None),
        ("POST", "", {"metadata": {}}),
        ("DELETE", "", None),
        ("GET", "/items", None),
        ("POST", "/items", {"items": [HELLO]}),
        ("GET", f"/items/{item_id}", None),
        ("DELETE", f"/items/{item_id}", None),
    ]
    for method, path, body in requests:
        foreign = await desk.ask(method, f"/conversations/{made['id']}{path}", body)
        never = await desk.ask(method, f"/conversations/conv_never{path}", body)
        assert error_of(foreign) == error_of(never) == (404, "not_found", "conversation_id")
        assert foreign.json["error"]["message"].replace(made["id"], "conv_never") == never.json["error"]["message"]
    reference = [{"type": "item_reference", "id": item_id}]
    assert error_of(await desk.ask("POST", "/conversations", {"items": reference}))[::2] == (400, "items[0].id")
