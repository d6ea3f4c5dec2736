"""POST responses/compact: the user's messages and a summary that only this server reads."""

import pytest
from usage_sums import Sums, UsageTold

from lowcloud.core.errors import EngineFailed
from lowcloud.core.messages import Image, Message, ToolCall
from lowcloud.engines.scripted import Said, ScriptedEngine, Stage
from lowcloud.http.responses.summary import FRAME, MAX_TOKENS, bound, first_guess, newest, transcript
from lowcloud.models.card import Task
from lowcloud.models.catalogue import CHAT_STAND_IN, packaged_cards
from lowcloud.serving.limits import Allowance
from lowcloud.serving.usage import Ledger

pytestmark = pytest.mark.anyio
WINDOW = 8192
MODEL = {"model": CHAT_STAND_IN}
TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is the code?"},
    {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hmm"}]},
    {"type": "function_call", "call_id": "c1", "name": "look", "arguments": '{"at": "safe"}'},
    {"type": "function_call_output", "call_id": "c1", "output": "1234"},
    {"role": "assistant", "content": "It is 1234."},
    {"id": "msg_mine", "role": "user", "content": "Thanks."},
]


async def compacted(desk, **body):
    answer = await desk.ask("POST", "/responses/compact", MODEL | body)
    assert answer.status == 200, answer.body
    return answer.json


def prompt(desk, place=-1):
    return desk.world.chat.requests[place].prompt.messages[-1].text


def error_of(answer):
    return answer.status, answer.json["error"]["param"]


async def test_it_gives_the_users_messages_as_they_are_and_one_summary(desk):
    made = await compacted(desk, input=TURNS)
    *users, compaction = made["output"]
    assert [item["content"] for item in users] == [
        [{"type": "input_text", "text": "What is the code?"}],
        [{"type": "input_text", "text": "Thanks."}],
    ]
    assert users[1]["id"] == "msg_mine"
    assert set(compaction) == {"type", "id", "encrypted_content"}
    assert (compaction["type"], compaction["id"][:4]) == ("compaction", "cmp_")
    assert "one two three" not in str(made)
    assert (made["object"], made["id"][:5], made["created_at"]) == ("response.compaction", "resp_", 1_800_000_000)
    assert made["usage"]["output_tokens"] == 3


async def test_the_model_is_asked_for_a_bounded_summary_of_all_that_was_said(desk):
    await compacted(desk, input=TURNS, instructions="Speak Latin.")
    (request,) = desk.world.chat.requests
    assert request.max_tokens == MAX_TOKENS
    for said in (
        "Speak Latin.",
        "Be brief.",
        "What is the code?",
        'look: {"at": "safe"}',
        "tool look: 1234",
        "Thanks.",
    ):
        assert said in prompt(desk)
    assert "hmm" not in prompt(desk)


async def test_its_output_is_the_next_requests_input(make_desk):
    async with make_desk(reply="the code is 1234") as desk:
        made = await compacted(desk, input=TURNS)
        await desk.response(input=[*made["output"], {"role": "user", "content": "And now?"}])
        messages = desk.world.chat.requests[-1].prompt.messages
    assert [(message.role, message.text) for message in messages] == [
        ("user", "What is the code?"),
        ("user", "Thanks."),
        ("user", f"{FRAME}the code is 1234"),
        ("user", "And now?"),
    ]


async def test_an_earlier_summary_is_summarised_again(make_desk):
    async with make_desk(reply="the code is 1234") as desk:
        made = await compacted(desk, input=TURNS)
        again = await compacted(desk, input=made["output"])
        assert f"{FRAME}the code is 1234" in prompt(desk)
    assert [item["type"] for item in again["output"]] == ["message", "message", "compaction"]


async def test_a_stored_chain_is_compacted_and_nothing_of_that_is_kept(desk):
    first = await desk.response(input="first")
    made = await compacted(desk, previous_response_id=first["id"], input="second")
    assert [item["content"][0]["text"] for item in made["output"][:-1]] == ["first", "second"]
    assert "one two three" in prompt(desk)
    assert (await desk.get(made["id"])).status == 404
    await compacted(desk, previous_response_id=first["id"])


async def test_what_is_over_the_context_is_summarised_in_parts_each_with_the_summary_before(make_desk):
    async with make_desk(reply="noted") as desk:
        made = await compacted(desk, input="first " + "word " * 3 * WINDOW + "last")
        parts = [request.prompt.messages[-1].text for request in desk.world.chat.requests]
    read = [part for part in parts if len(part.split()) < WINDOW - MAX_TOKENS]
    assert "first" in read[0]
    assert "last" in read[-1]
    assert all("came before:\n\nnoted" in part for part in read[1:])
    assert made["usage"]["output_tokens"] == len(read)
    assert made["usage"]["input_tokens"] > 3 * WINDOW


async def test_all_parts_together_are_one_request_and_cost_what_they_cost_together(make_desk):
    allowance = Allowance(requests_per_minute={Task.TEXT_GENERATION: 1})
    async with make_desk(ledger=Ledger(Sums(), UsageTold(), allowance, lambda: 1e9)) as desk:
        body = {"model": "@cf/meta/llama-3.1-8b-instruct", "input": "word " * 3 * WINDOW}
        answer = await desk.ask("POST", "/responses/compact", body)
        assert answer.headers["cf-ai-neurons"] == f"{answer.json['usage']['neurons']:.2f}" != "0.00"
        assert answer.json["usage"]["output_tokens"] > 3
        assert (await desk.ask("POST", "/responses/compact", body)).status == 429


async def test_of_a_conversation_that_is_far_too_long_the_newest_is_summarised(desk):
    await compacted(desk, input="first " + "w " * 20 * WINDOW + "last")
    read = [request.prompt.messages[-1].text for request in desk.world.chat.requests]
    assert not any("first" in part for part in read[1:])
    assert "last" in read[-1]


async def test_a_model_that_only_reasons_has_summarised_and_one_that_says_nothing_has_failed(make_desk):
    async with make_desk(reply=Said(reasoning="the code is 1234")) as desk:
        made = await compacted(desk, input=TURNS)
        await desk.response(input=made["output"])
        assert "the code is 1234" in prompt(desk)
    async with make_desk(reply=" ") as desk:
        assert (await desk.ask("POST", "/responses/compact", MODEL | {"input": "a"})).status == 500


async def test_a_failure_is_a_status_and_frees_the_sequence(make_desk):
    stage = Stage()
    stage.fail("token:1", EngineFailed("The engine died."))
    async with make_desk(stage=stage) as desk:
        assert (await desk.ask("POST", "/responses/compact", MODEL | {"input": "a"})).status == 500
        assert desk.world.chat.running == []


async def test_it_needs_a_model_and_something_to_compact(desk):
    assert error_of(await desk.ask("POST", "/responses/compact", {"input": "a"})) == (400, "model")
    assert error_of(await desk.ask("POST", "/responses/compact", MODEL)) == (400, "input")
    unknown = await desk.ask("POST", "/responses/compact", {"model": "@cf/no/such", "input": "a"})
    assert error_of(unknown) == (404, "model")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"conversation": "conv_1"}, "conversation"),
        ({"stream": True}, "stream"),
        ({"background": True}, "background"),
        ({"max_output_tokens": 9}, "max_output_tokens"),
        ({"input": [{"type": "input_file"}]}, "input[0].type"),
        ({"input": [{"type": "item_reference", "id": "msg_no"}]}, "input[0].id"),
        ({"input": [{"type": "compaction", "encrypted_content": "lc1_no"}]}, "input[0].encrypted_content"),
        ({"previous_response_id": "resp_no"}, "previous_response_id"),
    ],
)
async def test_what_it_cannot_do_is_refused_with_its_path(desk, fields, param):
    assert error_of(await desk.ask("POST", "/responses/compact", MODEL | {"input": "a"} | fields)) == (400, param)


async def test_what_only_says_how_an_answer_is_made_is_named_as_ignored(desk):
    copied = {"stream": False, "store": False, "service_tier": "auto", "tools": [{"type": "web_search"}], "shoe": 43}
    body = MODEL | {"input": "a"} | copied | {"reasoning": {"effort": "low"}, "prompt_cache_key": "k"}
    answer = await desk.ask("POST", "/responses/compact", body)
    assert answer.headers["lowcloud-ignored"] == "tools, shoe, reasoning, prompt_cache_key"


def test_the_transcript_names_who_said_what_and_marks_images():
    messages = [
        Message("user", "look", images=(Image(b"", "image/png"),)),
        Message("assistant", "", reasoning="hm", calls=(ToolCall("c", "f", "{}"),)),
        Message("tool", "done", name="f", call_id="c"),
    ]
    assert transcript(messages) == "user: look [image]\n\nassistant calls f: {}\n\ntool f: done"


def test_a_summary_takes_at_most_a_quarter_of_the_window():
    assert [bound(window) for window in (None, 100_000, 1_000, 1)] == [MAX_TOKENS, MAX_TOKENS, 250, 1]


def test_a_part_that_may_fit_is_never_smaller_than_what_does():
    assert [first_guess("a" * 100, window) for window in (None, 100, 10)] == [100, 100, 80]
    assert newest("ab" * 100, 10) == "ab" * 40


async def test_a_model_that_need_not_reason_is_asked_not_to(make_desk):
    kimi = next(card for card in packaged_cards() if "none" in getattr(card.reasoning_effort, "supported_efforts", ()))
    engine = ScriptedEngine(kimi, "noted")
    async with make_desk(also=[engine]) as desk:
        assert (await desk.ask("POST", "/responses/compact", {"model": kimi.id, "input": "a"})).status == 200
    assert engine.requests[0].prompt.effort == "none"
