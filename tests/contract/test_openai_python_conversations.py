"""Conversations through the official openai package for Python."""

from collections.abc import Iterator

import openai
import pytest
from openai.types.conversations import Conversation, Message
from openai.types.responses import ResponseFunctionToolCallItem, ResponseFunctionToolCallOutputItem
from scripted_server import LLAMA, scripted_server

ITEMS = [
    {"type": "message", "role": "user", "content": "Is it raining?"},
    {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "call_1", "output": "It is."},
    {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Yes.", "annotations": []}]},
]


@pytest.fixture(scope="module")
def client() -> Iterator[openai.OpenAI]:
    with scripted_server(is_open=True, responses=True) as served:
        yield served.owned(openai.OpenAI(base_url=served.base, api_key="x", max_retries=0, timeout=20))


def says(*words: str) -> list:
    return [{"role": "user", "content": word} for word in words]


def texts(items) -> list[str]:
    return [item.content[0].text for item in items]


def test_one_is_created_retrieved_labelled_and_deleted(client):
    made = client.conversations.create(metadata={"a": "b"})
    assert (made.object, made.metadata) == ("conversation", {"a": "b"})
    assert client.conversations.retrieve(made.id) == made
    assert client.conversations.update(made.id, metadata={"c": "d"}).metadata == {"c": "d"}
    assert client.conversations.delete(made.id).to_dict() == {
        "id": made.id,
        "deleted": True,
        "object": "conversation.deleted",
    }
    with pytest.raises(openai.NotFoundError) as raised:
        client.conversations.retrieve(made.id)
    assert raised.value.param == "conversation_id"


def test_one_is_created_of_nothing(client):
    made = client.conversations.create()
    assert made.metadata == {}
    assert list(client.conversations.items.list(made.id)) == []


def test_items_are_of_the_sdks_types(client):
    made = client.conversations.create(items=ITEMS)
    items = list(client.conversations.items.list(made.id, order="asc"))
    kinds = [Message, ResponseFunctionToolCallItem, ResponseFunctionToolCallOutputItem, Message]
    assert [type(item) for item in items] == kinds
    assert texts([items[0], items[-1]]) == ["Is it raining?", "Yes."]


def test_the_sdk_goes_through_the_pages_of_the_list(client):
    made = client.conversations.create(items=says(*"abcde"))
    items = client.conversations.items
    assert texts(items.list(made.id, limit=2)) == ["e", "d", "c", "b", "a"]
    assert texts(items.list(made.id, limit=2, order="asc")) == ["a", "b", "c", "d", "e"]
    after = items.list(made.id, limit=2).data[1].id
    assert texts(items.list(made.id, after=after, include=["message.output_text.logprobs"])) == ["c", "b", "a"]


def test_items_are_created_retrieved_and_deleted(client):
    made = client.conversations.create(items=says("first"))
    items = client.conversations.items
    created = items.create(made.id, items=says("second", "third"), include=["reasoning.encrypted_content"])
    assert (texts(created.data), created.has_more) == (["second", "third"], False)
    assert (created.first_id, created.last_id) == (created.data[0].id, created.data[1].id)
    second = items.retrieve(created.first_id, conversation_id=made.id)
    assert second == created.data[0]
    answer = items.delete(second.id, conversation_id=made.id)
    assert (type(answer), answer) == (Conversation, made)
    assert texts(items.list(made.id)) == ["third", "first"]
    with pytest.raises(openai.NotFoundError) as raised:
        items.retrieve(second.id, conversation_id=made.id)
    assert raised.value.param == "item_id"


def test_a_response_goes_on_a_conversation(client):
    made = client.conversations.create(items=says("first"))
    response = client.responses.create(model=LLAMA, conversation=made.id, input="second")
    assert response.conversation is not None
    assert response.conversation.id == made.id
    items = list(client.conversations.items.list(made.id, order="asc"))
    assert texts(items) == ["first", "second", "beep boop whirr"]
    assert items[-1].id == response.output[0].id
    with client.responses.stream(model=LLAMA, conversation=made.id, input="third") as stream:
        assert stream.get_final_response().output_text == "beep boop whirr"
    assert len(list(client.conversations.items.list(made.id, limit=1))) == 5


def test_wrong_items_are_named(client):
    with pytest.raises(openai.BadRequestError) as raised:
        client.conversations.create(items=[*says("fine"), {"role": "nobody", "content": "hello"}])
    assert raised.value.param == "items[1].role"
