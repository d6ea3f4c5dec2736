"""The body of a response: what each field asks for, and what the response object shows of it."""

import json
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowcloud.core.errors import BadRequest, Unsupported
from lowcloud.core.messages import Image, Messages
from lowcloud.core.output import ANY_TEXT, JsonSchema
from lowcloud.core.requests import Sampling, ThinkingBound
from lowcloud.http.responses.items import canonical
from lowcloud.http.responses.prompt import messages_of
from lowcloud.http.responses.request import (
    HINTS,
    INCLUDES,
    MOVED,
    REFUSED,
    ResponseAsked,
    ResponseBody,
    response_asked,
)

PNG = "data:image/png;base64," + b64encode(b"png").decode()
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
FORMAT = {"type": "json_schema", "name": "n", "schema": SCHEMA}
HEAD = {
    "background": False,
    "frequency_penalty": 0,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "presence_penalty": 0,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": None,
    "truncation": "disabled",
}


def asked(**fields: object) -> ResponseAsked:
    return response_asked({"model": "m", "input": "hi"} | fields, "resp_1", ignores_tools=False)


def refusal(**fields: object) -> BadRequest:
    with pytest.raises(BadRequest) as raised:
        asked(**fields)
    return raised.value


def test_a_bare_request_asks_for_nothing_special():
    request = asked()
    generate = request.generate
    assert (generate.id, generate.prompt, generate.sampling) == ("resp_1", Messages(()), Sampling())
    assert (generate.max_tokens, generate.top_logprobs, generate.output) == (None, None, ANY_TEXT)
    assert (request.is_stream, request.is_background, request.store, request.truncates) == (False, False, True, False)
    assert (request.head, request.ignored, request.custom) == (HEAD, (), frozenset())
    (item,) = request.items
    assert (item["role"], item["content"]) == ("user", [{"type": "input_text", "text": "hi"}])
    assert request.paths == {item["id"]: "input[0]"}


def test_ids_of_items_that_have_none_are_the_same_each_time():
    items = [{"role": "user", "content": "a"}, {"role": "user", "content": "a", "id": "mine"}]
    first, second = asked(input=items).items
    assert (first["id"].startswith("msg_"), second["id"]) == (True, "mine")
    assert asked(input=items).items == (first, second)
    assert response_asked({"model": "m", "input": items}, "resp_2", ignores_tools=False).items[0]["id"] != first["id"]


def test_null_asks_for_nothing():
    names = {*ResponseBody.model_fields, *HINTS, *REFUSED} - {"model", "input"}
    assert asked(**dict.fromkeys(names)) == asked()


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"instructions": "be nice"}, {}),
        ({"max_output_tokens": 9, "max_tool_calls": 2, "top_logprobs": 3}, {}),
        ({"temperature": 0.5, "top_p": 0.9, "presence_penalty": 1, "frequency_penalty": -1.5}, {}),
        ({"metadata": {"a": "b"}, "user": "u", "truncation": "auto"}, {}),
        ({"prompt_cache_key": "k", "safety_identifier": "s", "service_tier": "flex"}, {"service_tier": "default"}),
        ({"store": False, "parallel_tool_calls": False, "previous_response_id": "resp_0"}, {}),
        ({"background": True}, {}),
        ({"conversation": "conv_1"}, {"conversation": {"id": "conv_1"}}),
        ({"conversation": {"id": "conv_1"}}, {}),
        ({"reasoning": {"effort": "low", "summary": "auto"}}, {"reasoning": {"effort": "low", "summary": None}}),
        ({"text": {"verbosity": "low"}}, {"text": {"format": {"type": "text"}, "verbosity": "low"}}),
        ({"text": {"format": {"type": "json_object"}}}, {}),
        (
            {"text": {"format": FORMAT}},
            {"text": {"format": {**FORMAT, "description": None, "strict": True}}},
        ),
    ],
)
def test_the_response_shows_what_holds(fields, shown):
    assert asked(**fields).head == {**HEAD, **fields, **shown}


def test_the_head_is_json():
    tools = [{"type": "function", "name": "f"}]
    assert json.loads(json.dumps(asked(tools=tools).head))["tools"][0]["parameters"]["type"] == "object"


def test_every_field_of_sampling_and_length_is_honoured():
    generate = asked(
        max_output_tokens=9,
        temperature=0,
        top_p=0.5,
        top_k=4,
        min_p=0.1,
        seed=7,
        repetition_penalty=1.1,
        presence_penalty=1,
        frequency_penalty=2,
        logit_bias={"5": -1},
        stop="x",
        ignore_eos=True,
        thinking_token_budget=3,
        reasoning={"effort": "high"},
        chat_template_kwargs={"enable_thinking": False},
    ).generate
    assert generate.sampling == Sampling(0.0, 0.5, 4, 0.1, 7, 1.1, 1.0, 2.0, ((5, -1.0),))
    assert (generate.max_tokens, generate.stop, generate.ignore_eos) == (9, ("x",), True)
    assert (generate.thinking, generate.prompt.effort) == (ThinkingBound(3), "high")
    assert generate.prompt.options == {"enable_thinking": False}


@pytest.mark.parametrize("effort", ["none", "minimal", "low", "medium", "high", "xhigh", "max"])
def test_every_effort_is_known(effort):
    prompt = asked(reasoning={"effort": effort}).generate.prompt
    assert (prompt.effort, prompt.effort_param) == (effort, "reasoning.effort")


@pytest.mark.parametrize(
    ("form", "output"),
    [
        (None, ANY_TEXT),
        ({"type": "text"}, ANY_TEXT),
        ({"type": "json_object"}, JsonSchema({"type": "object"}, param="text.format")),
        (FORMAT, JsonSchema(SCHEMA, param="text.format.schema")),
        (FORMAT | {"strict": True}, JsonSchema(SCHEMA, param="text.format.schema")),
        (FORMAT | {"strict": False}, JsonSchema(SCHEMA, is_strict=False, param="text.format.schema")),
    ],
)
def test_the_text_is_of_a_format(form, output):
    assert asked(text={"format": form}).generate.output == output


def test_switches_of_the_response_are_read():
    request = asked(
        stream=True,
        stream_options={"include_obfuscation": True},
        background=True,
        previous_response_id="resp_0",
        truncation="auto",
        include=["reasoning.encrypted_content", "message.input_image.image_url"],
        max_tool_calls=3,
        instructions="be nice",
        options={"rejectIfBusy": True},
    )
    assert (request.is_stream, request.include_obfuscation, request.is_background) == (True, True, True)
    assert (request.previous_response_id, request.truncates, request.max_tool_calls) == ("resp_0", True, 3)
    assert (request.include_encrypted_reasoning, request.include_logprobs) == (True, False)
    assert (request.instructions, request.rejects_if_busy, request.ignored) == ("be nice", True, ())
    assert (asked(store=False).store, asked(conversation={"id": "conv_1"}).conversation_id) == (False, "conv_1")


@pytest.mark.parametrize(
    ("fields", "top"),
    [
        ({"include": ["message.output_text.logprobs"]}, 0),
        ({"top_logprobs": 2}, 2),
        ({"top_logprobs": 0}, None),
        ({"include": ["message.output_text.logprobs"], "top_logprobs": 4}, 4),
    ],
)
def test_logprobs_come_where_either_field_asks_for_them(fields, top):
    request = asked(**fields)
    assert (request.generate.top_logprobs, request.include_logprobs) == (top, top is not None)


@pytest.mark.parametrize("context", [{"previous_response_id": "resp_0"}, {"conversation": "conv_1"}])
@pytest.mark.parametrize("nothing", [{}, {"input": None}, {"input": []}])
def test_input_may_be_absent_where_something_is_continued(context, nothing):
    assert response_asked({"model": "m"} | context | nothing, "r", ignores_tools=False).items == ()
    with pytest.raises(BadRequest) as raised:
        response_asked({"model": "m"} | nothing, "r", ignores_tools=False)
    assert raised.value.param == "input"


def test_an_empty_text_is_a_message():
    assert messages_of(None, asked(input="").items)[0].text == ""


def test_hints_and_unknown_names_are_named():
    hints = {
        "user": "u",
        "prompt_cache_key": "k",
        "prompt_cache_options": {"mode": "explicit"},
        "prompt_cache_retention": "24h",
        "safety_identifier": "s",
        "service_tier": "flex",
        "access_programs": {"cyber": "standard"},
        "client_metadata": {},
    }
    assert asked(**hints).ignored == tuple(hints)
    assert asked(service_tier="auto", text={"verbosity": "medium"}).ignored == ()


def test_members_that_nothing_reads_are_named():
    request = asked(
        stream=True,
        stream_options={"include_usage": True},
        conversation={"id": "c", "name": "n"},
        reasoning={"effort": "low", "summary": "auto", "generate_summary": "auto", "context": "auto", "x": 1},
        text={"format": {**FORMAT, "title": "t"}, "verbosity": "high", "y": 1},
        include=["web_search_call.results"],
        lowcloud={"z": 1},
        options={"w": 1},
    )
    assert sorted(request.ignored) == sorted(
        [
            "stream_options.include_usage",
            "conversation.name",
            "reasoning.summary",
            "reasoning.generate_summary",
            "reasoning.x",
            "text.format.title",
            "text.verbosity",
            "text.y",
            "include[].web_search_call.results",
            "lowcloud.z",
            "options.w",
        ]
    )


@pytest.mark.parametrize("name", [name for name, nothing in REFUSED.items() if name not in MOVED])
def test_what_would_change_the_answer_is_refused_by_name(name):
    error = refusal(**{name: {"some": "thing"}})
    assert (error.param, error.code) == (name, "unsupported_parameter")
    for nothing in REFUSED[name]:
        assert asked(**{name: nothing}).ignored == ()


@pytest.mark.parametrize(("name", "new"), MOVED.items())
def test_a_name_of_the_chat_format_is_refused_with_the_name_it_has_here(name, new):
    error = refusal(**{name: 1})
    assert (error.param, new in str(error)) == (name, True)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"),
        ({"input": {}}, "input"),
        ({"input": [1]}, "input[0]"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text"),
        ({"input": [{"id": "a"}, {"id": "a"}]}, "input[1].id"),
        ({"instructions": ["be nice"]}, "instructions"),
        ({"previous_response_id": "r", "conversation": "c"}, "previous_response_id"),
        ({"previous_response_id": ""}, "previous_response_id"),
        ({"conversation": {}}, "conversation.id"),
        ({"conversation": 1}, "conversation"),
        ({"background": True, "store": False}, "background"),
        ({"stream_options": {}}, "stream_options"),
        ({"include": "all"}, "include"),
        ({"include": ["message.output_text.logprobs", "all"]}, "include[1]"),
        ({"include": [{}]}, "include[0]"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_tool_calls": 0}, "max_tool_calls"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"temperature": 2.1}, "temperature"),
        ({"truncation": "all"}, "truncation"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"service_tier": "best"}, "service_tier"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort"),
        ({"reasoning": {"context": "all_turns"}}, "reasoning.context"),
        ({"reasoning": {"mode": "pro"}}, "reasoning.mode"),
        ({"prompt_cache_options": {"prewarm": True}}, "prompt_cache_options.prewarm"),
        ({"chat_template_kwargs": {"tools": []}}, "chat_template_kwargs.tools"),
        ({"text": "json"}, "text"),
        ({"text": {"verbosity": "none"}}, "text.verbosity"),
        ({"text": {"format": "json"}}, "text.format"),
        ({"text": {"format": {}}}, "text.format.type"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "text.format.name"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema"),
        ({"text": {"format": FORMAT | {"name": "a b"}}}, "text.format.name"),
        ({"lowcloud": {"ignore_unsupported_tools": 1}}, "lowcloud.ignore_unsupported_tools"),
    ],
)
def test_what_is_wrong_is_refused_with_its_path(fields, param):
    assert refusal(**fields).param == param


def test_a_file_is_refused_and_an_image_is_not():
    content = [{"type": "input_image", "image_url": PNG}, {"type": "input_file", "file_url": "https://example.com"}]
    error = refusal(input=[{"role": "user", "content": content}])
    assert (type(error), error.param) == (Unsupported, "input[0].content[1].type")
    request = asked(input=[{"role": "user", "content": content[:1]}])
    (message,) = messages_of(None, request.items, paths=request.paths)
    assert message.images == (Image(b"png", "image/png", param="input[0].content[0].image_url"),)


WORDS = st.sampled_from(
    [
        *("type", "role", "content", "text", "id", "call_id", "name", "arguments", "input", "output", "summary"),
        *("message", "user", "assistant", "system", "input_text", "output_text", "input_image", "image_url", PNG),
        *("refusal", "function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output"),
        *("reasoning", "reasoning_text", "summary_text", "compaction", "encrypted_content", "item_reference"),
        *("function", "custom", "allowed_tools", "web_search", "tools", "mode", "auto", "required", "format"),
        *("grammar", "syntax", "definition", "lark", "json_schema", "schema", "strict", "effort", "phase", "status"),
        *INCLUDES,
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=14,
)
TEXTS = st.text(max_size=4)
PARTS = st.one_of(
    st.builds(lambda kind, text: {"type": kind, "text": text}, st.sampled_from(["input_text", "output_text"]), TEXTS),
    st.builds(lambda url: {"type": "input_image", "image_url": url}, st.sampled_from([PNG, "http://a/b.png"])),
    st.builds(lambda text: {"type": "refusal", "refusal": text}, TEXTS),
    JSON,
)
CONTENT = TEXTS | st.lists(PARTS, max_size=3)
MEMBERS = {
    "id": st.none() | TEXTS,
    "role": st.sampled_from(["user", "assistant", "system", "developer"]),
    "content": CONTENT | st.lists(st.builds(lambda text: {"type": "reasoning_text", "text": text}, TEXTS), max_size=2),
    "summary": st.lists(st.builds(lambda text: {"type": "summary_text", "text": text}, TEXTS), max_size=2),
    "call_id": st.sampled_from(["a", "b"]),
    "name": st.sampled_from(["f", "g"]),
    "arguments": TEXTS,
    "input": TEXTS,
    "output": CONTENT,
    "encrypted_content": TEXTS,
    "phase": st.sampled_from([None, "commentary", "final_answer"]),
    "status": st.sampled_from([None, "completed", "incomplete"]),
}
KINDS = [
    *("message", "function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output"),
    *("reasoning", "compaction", "item_reference"),
]
ITEMS = st.fixed_dictionaries({}, optional={"type": st.sampled_from(KINDS), **MEMBERS}) | JSON


@given(st.sampled_from(sorted(ResponseBody.model_fields)), JSON)
def test_whatever_a_parameter_is_the_body_is_read_or_refused_by_name(name, value):
    try:
        asked(**{name: value})
    except BadRequest as error:
        assert (error.param or "").startswith(name), str(error)


@given(st.dictionaries(st.sampled_from(sorted(ResponseBody.model_fields)) | WORDS, JSON, max_size=5))
def test_whatever_a_body_holds_it_is_read_or_refused(fields):
    try:
        request = asked(**fields)
    except BadRequest:
        return
    json.dumps(dict(request.head))


@given(st.lists(ITEMS, max_size=5))
def test_whatever_the_items_are_they_are_refused_or_make_a_conversation(items):
    try:
        request = asked(input=items)
    except BadRequest as error:
        assert (error.param or "").startswith("input")
        return
    messages_of(None, request.items)
    opened = {str(item["id"]): "text" for item in request.items}
    messages_of("be nice", request.items, opened, request.paths)


@given(ITEMS)
def test_what_is_canonical_stays_as_it_is(item):
    try:
        first = canonical(item, "input[0]", "{}_1".format, {})
    except BadRequest:
        return
    unread: dict[str, None] = {}
    assert canonical(first, "input[0]", "{}_2".format, unread) == first
    assert set(unread) <= {"input[].content[].detail", "input[].output[].detail"}
    assert {"id", "type"} <= first.keys()
