"""What a model that sees can do of a request is done, the rest is refused by name; its images are named in the text."""

import pytest

from lowcloud.core.errors import BadRequest, Unsupported
from lowcloud.core.messages import Image, Message, Messages, Text, Tokens
from lowcloud.core.output import AnyText, Choice, JsonSchema, Lark, Regex
from lowcloud.core.requests import Generate, Sampling, ThinkingBound
from lowcloud.core.tools import Tool, ToolPlan
from lowcloud.engines.local.vision_bounds import check_tags, check_vision, loosened, tagged

SCHEMA = {"type": "object", "properties": {}}
LOOK = Messages((Message("user", "look", images=(Image(b"one", "image/png"),)),))
FREE = Tool("f", parameters=SCHEMA, param="tools[0].function.parameters")
STRICT = Tool("g", parameters=SCHEMA, is_strict=True, param="tools[1].function.parameters")


def ask(prompt=LOOK, **fields) -> Generate:
    return Generate("r1", prompt, **fields)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"prompt": Text("go on")},
        {"choices": 3, "stop": ("x",), "max_tokens": 5, "ignore_eos": True, "prediction": "it is"},
        {"sampling": Sampling(0.5, 0.9, 40, 0.1, -7, 1.1, 0.5, -0.5)},
        {"tools": ToolPlan((FREE, Tool("h"), Tool("c", input=AnyText())), "auto")},
        {"tools": ToolPlan((STRICT,), "none", at_most_one=True)},
    ],
)
def test_sampling_stop_strings_choices_and_free_tools_are_taken(fields):
    check_vision(ask(**fields), "@local/m")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": Tokens((1, 2))}, "prompt"),
        ({"prompt": Text("a", suffix="b")}, "suffix"),
        ({"top_logprobs": 0}, "logprobs"),
        ({"sampling": Sampling(logit_bias=((1, 2.0),))}, "logit_bias"),
        ({"thinking": ThinkingBound(5, "thinking.budget_tokens")}, "thinking.budget_tokens"),
        ({"output": JsonSchema(SCHEMA)}, "response_format"),
        ({"output": Regex("a")}, "guided_regex"),
        ({"output": Choice(("a",))}, "guided_choice"),
        ({"output": Lark("start: /a/")}, "guided_grammar"),
        ({"tools": ToolPlan((FREE,), "required")}, "tool_choice"),
        ({"tools": ToolPlan((FREE,), "auto", at_most_one=True)}, "parallel_tool_calls"),
        ({"tools": ToolPlan((FREE, STRICT), "auto")}, "tools[1].function.parameters"),
        ({"tools": ToolPlan((Tool("c", input=Regex("a"), param="tools[0].custom"),), "auto")}, "tools[0].custom"),
    ],
)
def test_what_would_need_a_bound_or_probabilities_is_refused_by_name(fields, param):
    with pytest.raises(Unsupported, match="@local/m") as caught:
        check_vision(ask(**fields), "@local/m")
    assert caught.value.param == param


def test_the_schemas_of_functions_are_named_as_not_enforced():
    plan = ToolPlan((FREE, Tool("h")), "auto")
    assert loosened(ask(tools=plan)) == ("tools[0].function.parameters",)
    assert loosened(ask()) == ()


def test_images_are_named_at_their_places_by_numbers_that_go_on_over_the_conversation():
    images = (Image(b"three", "image/png", 4), Image(b"one", "image/png", 0), Image(b"two", "image/png", 4))
    conversation = Messages((Message("user", "seen?", images=images), Message("assistant", "no"), *LOOK.messages))
    told, files = tagged(conversation)
    assert [message.text for message in told.messages] == [
        "<ov_genai_image_0>seen<ov_genai_image_1><ov_genai_image_2>?",
        "no",
        "<ov_genai_image_3>look",
    ]
    assert files == (b"one", b"three", b"two", b"one")
    assert not any(message.images for message in told.messages)


@pytest.mark.parametrize(
    ("text", "n_images"),
    [("", 0), ("a <b>", 0), ("<ov_genai_image_0>", 1), ("<ov_genai_image_0>x<ov_genai_image_1>", 2)],
)
def test_a_prompt_with_each_tag_once_and_in_order_is_taken(text, n_images):
    check_tags(text, n_images)


@pytest.mark.parametrize(
    ("text", "n_images"),
    [
        ("<ov_genai_image_0>", 0),
        ("", 1),
        ("<ov_genai_image_1><ov_genai_image_0>", 2),
        ("<ov_genai_image_0><ov_genai_image_0>", 1),
        ("<ov_genai_image_0><ov_genai_video_0>", 1),
    ],
)
def test_a_prompt_with_tags_of_a_callers_or_without_those_of_its_images_is_refused(text, n_images):
    with pytest.raises(BadRequest) as caught:
        check_tags(text, n_images)
    assert caught.value.param == "messages"
