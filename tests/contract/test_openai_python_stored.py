"""Stored chat completions through the official openai package for Python."""

from collections.abc import Iterator

import openai
import pytest
from scripted_server import HELLO, LLAMA, scripted_server

from lowcloud.storage.completions import CompletionStore, Keep
from lowcloud.storage.database import open_database


@pytest.fixture
def client(tmp_path) -> Iterator[openai.OpenAI]:
    with open_database(f"sqlite:///{tmp_path}/lowcloud.db") as database:
        store = CompletionStore(database, Keep())
        with (
            scripted_server(is_open=True, completions=store) as served,
            openai.OpenAI(base_url=served.base, api_key="x", max_retries=0, timeout=20) as made,
        ):
            yield made


def test_one_is_retrieved_labelled_and_deleted(client):
    completions = client.chat.completions
    made = completions.create(model=LLAMA, messages=HELLO, store=True, metadata={"a": "b"})
    assert completions.retrieve(made.id).choices == made.choices
    assert completions.retrieve(made.id).metadata == {"a": "b"}
    assert completions.update(made.id, metadata={"c": "d"}).metadata == {"c": "d"}
    (message,) = completions.messages.list(made.id)
    assert (message.content, message.id) == (HELLO[0]["content"], f"{made.id}-0")
    assert completions.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        completions.retrieve(made.id)


def test_the_sdk_goes_through_the_pages_of_the_list(client):
    completions = client.chat.completions
    made = [
        completions.create(model=LLAMA, messages=HELLO, store=True, metadata={"number": str(number)}).id
        for number in range(5)
    ]
    assert [each.id for each in completions.list(limit=2)] == made
    assert [each.id for each in completions.list(limit=2, order="desc")] == made[::-1]
    assert [each.id for each in completions.list(metadata={"number": "3"}, model=LLAMA)] == [made[3]]


def test_a_stream_is_stored(client):
    chunks = list(client.chat.completions.create(model=LLAMA, messages=HELLO, store=True, stream=True))
    stored = client.chat.completions.retrieve(chunks[0].id)
    assert stored.choices[0].message.content == "beep boop whirr"
