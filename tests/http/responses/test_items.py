"""Input items in every form that clients send, as they are kept and shown."""

from base64 import b64encode

import pytest

from lowcloud.core.errors import BadRequest, Unsupported
from lowcloud.http.responses.items import canonical, item_id

PNG = "data:image/png;base64," + b64encode(b"png").decode()
TEXT = {"type": "input_text", "text": "hi"}
SAID = {"type": "output_text", "text": "hi", "annotations": []}
TOKEN = {"token": "hi", "bytes": [104, 105], "logprob": -0.5}
LOGPROB = {**TOKEN, "top_logprobs": [TOKEN]}


def kept(item: object) -> dict[str, object]:
    return canonical(item, "input[3]", lambda prefix: f"{prefix}_new", {})


def unread(item: object) -> list[str]:
    names: dict[str, None] = {}
    canonical(item, "input[3]", lambda prefix: f"{prefix}_new", names)
    return list(names)


def refusal(item: object) -> BadRequest:
    with pytest.raises(BadRequest) as raised:
        kept(item)
    return raised.value


def user(*parts: object) -> dict[str, object]:
    return {"role": "user", "content": list(parts)}


@pytest.mark.parametrize("role", ["user", "system", "developer"])
@pytest.mark.parametrize("content", ["hi", [TEXT]])
@pytest.mark.parametrize("kind", [{}, {"type": "message"}, {"type": None}])
def test_an_easy_message_gets_a_type_an_id_a_status_and_parts(role, content, kind):
    assert kept({"role": role, "content": content, **kind}) == {
        "type": "message",
        "id": "msg_new",
        "status": "completed",
        "role": role,
        "content": [TEXT],
    }


@pytest.mark.parametrize("content", ["hi", [TEXT], [{"type": "output_text", "text": "hi"}], [SAID]])
def test_what_an_assistant_said_is_output_text(content):
    assert kept({"role": "assistant", "content": content})["content"] == [SAID]


def test_an_assistants_message_keeps_its_id_status_phase_annotations_and_logprobs():
    note = {"type": "url_citation", "url": "u", "title": "t", "start_index": 0, "end_index": 1}
    part = {**SAID, "annotations": [note], "logprobs": [LOGPROB]}
    item = {
        "type": "message",
        "id": "msg_1",
        "status": "incomplete",
        "role": "assistant",
        "content": [part, {"type": "refusal", "refusal": "no"}],
        "phase": "commentary",
    }
    assert kept(item) == item
    assert kept({"role": "assistant", "content": []})["content"] == []


def test_an_image_keeps_its_url_and_gets_a_detail():
    image = {"type": "input_image", "image_url": PNG}
    assert kept(user(image))["content"] == [{**image, "detail": "auto"}]
    link = {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "high"}
    assert kept(user(TEXT, link))["content"] == [TEXT, link]
    assert unread(user(link)) == ["input[].content[].detail"]


@pytest.mark.parametrize(
    ("given", "made"),
    [
        (
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"id": "fc_new", "status": "completed"},
        ),
        (
            {"type": "custom_tool_call", "call_id": "c", "name": "f", "input": "ls"},
            {"id": "ctc_new", "status": "completed"},
        ),
        (
            {"type": "function_call_output", "call_id": "c", "output": "4"},
            {"id": "fco_new", "status": "completed"},
        ),
        (
            {"type": "custom_tool_call_output", "call_id": "c", "output": [TEXT]},
            {"id": "ctco_new", "status": "completed"},
        ),
        ({"type": "reasoning"}, {"id": "rs_new", "summary": []}),
        (
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "s"}], "content": None},
            {"content": ...},
        ),
        (
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [],
                "content": [{"type": "reasoning_text", "text": "hm"}],
                "encrypted_content": "e",
                "status": "completed",
            },
            {},
        ),
        ({"type": "compaction", "encrypted_content": "e", "created_by": "us"}, {"id": "cmp_new", "created_by": ...}),
        ({"id": "msg_1"}, {"type": "item_reference"}),
        ({"type": None, "id": "msg_1"}, {"type": "item_reference"}),
        ({"type": "item_reference", "id": "msg_1"}, {}),
    ],
)
def test_every_other_item_gets_what_it_lacks_and_no_more(given, made):
    wanted = {name: value for name, value in {**given, **made}.items() if value is not ...}
    assert kept(given) == wanted
    assert canonical(wanted, "input[3]", str.upper, {}) == wanted
    assert unread(given) == []


def test_a_tools_output_may_hold_images():
    image = {"type": "input_image", "image_url": PNG, "detail": "auto"}
    item = {"type": "function_call_output", "call_id": "c", "output": [TEXT, image]}
    assert kept(item)["output"] == [TEXT, image]


@pytest.mark.parametrize(
    "note",
    [
        {"type": "url_citation", "url": "u", "title": "t", "start_index": 0, "end_index": 1},
        {"type": "file_citation", "file_id": "f", "filename": "n", "index": 0},
        {
            "type": "container_file_citation",
            "container_id": "c",
            "file_id": "f",
            "filename": "n",
            "start_index": 0,
            "end_index": 1,
        },
        {"type": "file_path", "file_id": "f", "index": 0},
    ],
)
def test_each_kind_of_annotation_is_kept_whole_and_refused_in_part(note):
    def of(annotation: object) -> dict[str, object]:
        return {"role": "assistant", "content": [{**SAID, "annotations": [annotation]}]}

    assert kept(of(note))["content"] == [{**SAID, "annotations": [note]}]
    assert unread(of({**note, "more": 1})) == ["input[].content[].annotations[].more"]
    path = "input[3].content[0].annotations[0]"
    for name in note:
        assert refusal(of({key: value for key, value in note.items() if key != name})).param == f"{path}.{name}"
        assert refusal(of({**note, name: []})).param == f"{path}.{name}"
    assert refusal(of("note")).param == path
    assert refusal(of({**note, "type": "footnote"})).param == f"{path}.type"


@pytest.mark.parametrize(
    ("logprob", "path"),
    [
        ("hi", ""),
        ({**LOGPROB, "token": 1}, ".token"),
        ({**LOGPROB, "bytes": None}, ".bytes"),
        ({**LOGPROB, "bytes": ["h"]}, ".bytes[0]"),
        ({**LOGPROB, "logprob": "-1"}, ".logprob"),
        (TOKEN, ".top_logprobs"),
        ({**LOGPROB, "top_logprobs": [TOKEN, {"token": "ho"}]}, ".top_logprobs[1].bytes"),
    ],
)
def test_log_probabilities_that_no_answer_has_are_refused(logprob, path):
    item = {"role": "assistant", "content": [{**SAID, "logprobs": [LOGPROB, logprob]}]}
    assert refusal(item).param == f"input[3].content[0].logprobs[1]{path}"


def test_what_nothing_reads_is_named():
    assert unread({"role": "user", "content": "hi", "name": "Bo", "phase": "commentary"}) == [
        "input[].name",
        "input[].phase",
    ]
    assert unread(user({**TEXT, "prompt_cache_breakpoint": {"mode": "explicit"}})) == [
        "input[].content[].prompt_cache_breakpoint"
    ]
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "namespace": "n"}
    assert unread({**call, "caller": {"type": "direct"}, "input": "?"}) == ["input[].namespace", "input[].input"]
    assert unread({**call, "caller": {"type": "program", "caller_id": "p"}})[-1] == "input[].caller"


@pytest.mark.parametrize(
    ("item", "param"),
    [
        ("hi", "input[3]"),
        ({}, "input[3].type"),
        ({"type": 4}, "input[3].type"),
        ({"role": "tool", "content": "hi"}, "input[3].role"),
        ({"role": "user"}, "input[3].content"),
        ({"role": "user", "content": None}, "input[3].content"),
        ({"role": "user", "content": []}, "input[3].content"),
        ({"role": "user", "content": "hi", "id": ""}, "input[3].id"),
        ({"role": "user", "content": "hi", "status": "done"}, "input[3].status"),
        ({"role": "assistant", "content": "hi", "phase": "last"}, "input[3].phase"),
        (user("hi"), "input[3].content[0]"),
        (user({"text": "hi"}), "input[3].content[0].type"),
        (user(TEXT, {"type": "input_text"}), "input[3].content[1].text"),
        (user({"type": "input_image"}), "input[3].content[0].image_url"),
        (user({"type": "input_image", "image_url": "file:///etc/passwd"}), "input[3].content[0].image_url"),
        (user({"type": "input_image", "image_url": PNG, "detail": "best"}), "input[3].content[0].detail"),
        ({"role": "assistant", "content": [{"type": "refusal"}]}, "input[3].content[0].refusal"),
        ({"role": "assistant", "content": [{**SAID, "annotations": 1}]}, "input[3].content[0].annotations"),
        ({"type": "function_call", "call_id": "c", "name": "f"}, "input[3].arguments"),
        ({"type": "function_call", "call_id": "c", "name": "f g", "arguments": ""}, "input[3].name"),
        ({"type": "custom_tool_call", "call_id": "", "name": "f", "input": ""}, "input[3].call_id"),
        ({"type": "function_call_output", "output": "4"}, "input[3].call_id"),
        ({"type": "function_call_output", "call_id": "c", "output": {}}, "input[3].output"),
        ({"type": "function_call_output", "call_id": "c", "output": [SAID]}, "input[3].output[0].type"),
        ({"type": "reasoning", "content": [{"type": "text", "text": ""}]}, "input[3].content[0].type"),
        ({"type": "compaction"}, "input[3].encrypted_content"),
        ({"type": "item_reference"}, "input[3].id"),
    ],
)
def test_what_is_wrong_is_refused_with_its_path(item, param):
    assert refusal(item).param == param


@pytest.mark.parametrize(
    ("item", "param", "name"),
    [
        (user({"type": "input_file", "file_id": "f"}), "input[3].content[0].type", "input_file"),
        (user({"type": "input_image", "file_id": "f"}), "input[3].content[0].file_id", "file_id"),
        (user(SAID), "input[3].content[0].type", "output_text"),
        ({"role": "system", "content": [{"type": "input_image"}]}, "input[3].content[0].type", "input_image"),
        ({"role": "assistant", "content": [{"type": "input_image"}]}, "input[3].content[0].type", "input_image"),
        ({"type": "web_search_call", "id": "ws_1"}, "input[3].type", "web_search_call"),
        ({"type": "compaction_trigger"}, "input[3].type", "compaction_trigger"),
    ],
)
def test_what_is_not_done_here_is_refused_by_name(item, param, name):
    error = refusal(item)
    assert isinstance(error, Unsupported)
    assert (error.param, name in str(error)) == (param, True)


def test_an_id_says_what_it_is_of_and_is_always_the_same():
    one = item_id("msg", "resp_1", "input/0")
    assert one == item_id("msg", "resp_1", "input/0")
    assert one.startswith("msg_")
    assert len({one, item_id("msg", "resp_1", "input/1"), item_id("msg", "resp_2", "input/0")}) == 3
