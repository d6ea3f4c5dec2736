"""The old completions: what a body asks for, and what becomes of numbers that JSON hasn't."""

import json
import math

import pytest

from lowcloud.core.errors import BadRequest, Unsupported
from lowcloud.core.events import Alternative, Finished, TextDelta, TokenLogprob, Usage
from lowcloud.core.output import ANY_TEXT, JsonSchema
from lowcloud.http.openai.chat_answer import Head
from lowcloud.http.openai.chat_stream import PAD_BYTES
from lowcloud.http.openai.completions_answer import CompletionWriter, WholeCompletion, logprob_fields
from lowcloud.http.openai.completions_request import CompletionAsked, completion_asked
from lowcloud.http.openai.sampling_fields import SAMPLING_REFUSED
from lowcloud.http.openai.schemas import Completion

HEAD = Head("cmpl-1", 1, "m", "fp")


def asked(**fields: object) -> CompletionAsked:
    return completion_asked({"model": "m", "prompt": "x"} | fields, "id")


def refusal(**fields: object) -> BadRequest:
    with pytest.raises(BadRequest) as raised:
        asked(**fields)
    return raised.value


def test_stream_options_are_honoured_or_named():
    options = {"include_usage": True, "include_obfuscation": True, "continuous_usage_stats": True, "zeta": False}
    request = asked(stream=True, stream_options=options)
    assert (request.include_usage, request.pads) == (True, True)
    assert request.ignored == ("stream_options.continuous_usage_stats",)
    assert refusal(stream_options={}).param == "stream_options"


@pytest.mark.parametrize("name", SAMPLING_REFUSED)
def test_what_would_change_the_text_and_isnt_done_is_refused_by_name(name):
    error = refusal(**{name: ["x"]})
    assert (error.param, isinstance(error, Unsupported)) == (name, True)
    for nothing in (None, *SAMPLING_REFUSED[name]):
        assert asked(**{name: nothing}).ignored == ()


def test_the_text_may_have_a_format_as_a_chat_completions():
    schema = {"type": "object", "properties": {}}
    named = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "zeta": 1}}
    request = asked(prompt=["x", "y"], response_format=named)
    wanted = JsonSchema(schema, param="response_format.json_schema.schema")
    assert [generate.output for generate in request.generates] == [wanted, wanted]
    assert request.ignored == ("response_format.json_schema.zeta",)
    assert asked(response_format={"type": "text"}).generates[0].output == ANY_TEXT
    assert refusal(response_format={"type": "yaml"}).param == "response_format.type"
    assert refusal(response_format={"type": "json_object"}, guided_regex="a").param == "guided_regex"


def test_padded_events_have_sizes_that_tell_less():
    writer = CompletionWriter(HEAD, asked(stream=True, stream_options={"include_obfuscation": True}))
    events = [writer.feed(0, TextDelta(0, text)) for text in ("a", "abc", "abcdefgh")]
    assert {len(event) % PAD_BYTES for event in events} == {0}
    for event in events:
        assert Completion.model_validate_json(event.removeprefix(b"data: ")).obfuscation is not None


@pytest.mark.parametrize("number", [-math.inf, math.nan])
def test_a_log_probability_that_json_cant_hold_is_the_least_one(number):
    one = Alternative("a", b"a", number)
    request = asked(logprobs=1)
    events = [TextDelta(0, "a", (TokenLogprob(one, (one,)),)), Finished(0, "stop"), Usage(1, 0, 1)]
    whole = WholeCompletion(HEAD, request)
    for event in events:
        whole.feed(0, event)
    shown = json.loads(whole.body())["choices"][0]["logprobs"]
    assert (shown["token_logprobs"], shown["top_logprobs"]) == ([-9999.0], [{"a": -9999.0}])
    assert b"-9999.0" in CompletionWriter(HEAD, request).feed(0, events[0])


def test_no_alternative_is_lost_where_texts_are_equal():
    """Parts of characters, and a byte that is a token of its own beside the character's."""
    parts = [Alternative("\ufffd", data, -1.0) for data in (b"\xf0\x9f", b"\xf0", b"\x98")]
    top = (*parts, Alternative("a", b"a", -2.0), Alternative("a", b"a", -3.0), Alternative("<|x|>", b"", -4.0))
    shown = logprob_fields([TokenLogprob(parts[0], top)], 0)
    assert shown["tokens"] == ["bytes:\\xf0\\x9f"]
    assert shown["top_logprobs"] == [
        {
            "bytes:\\xf0\\x9f": -1.0,
            "bytes:\\xf0": -1.0,
            "bytes:\\x98": -1.0,
            "a": -2.0,
            "bytes:\\x61": -3.0,
            "<|x|>": -4.0,
        }
    ]
