"""What a request's answer is bound to."""

import pytest

from lowcloud.core.errors import Unsupported
from lowcloud.core.messages import Image, Message, Messages
from lowcloud.core.requests import Generate
from lowcloud.core.tools import Tool, ToolPlan
from lowcloud.engines.local.bounds import bounds_of, refuse_images
from lowcloud.text.dialects.registry import named

SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "string", "format": "no format"}},
    "patternProperties": {"^x": {"type": "integer"}},
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("dialect", "loosened"),
    [
        ("hermes", ["properties.a.format"]),
        *((name, ["properties.a.format", "patternProperties"]) for name in ("qwen3-xml", "gemma4", "llama-pythonic")),
    ],
)
def test_what_of_a_schema_the_models_calls_cant_keep_to_is_said_too(dialect, loosened):
    plan = ToolPlan((Tool("f", parameters=SCHEMA, param="tools[0]"),), "auto")
    request = Generate("1", Messages((Message("user", "Hi"),)), tools=plan)
    bounds = bounds_of(request, named(dialect), {}, is_thinking=False, may_think=False)
    assert list(bounds.loosened) == [f"tools[0].{path}" for path in loosened]


@pytest.mark.parametrize(
    ("param", "shown"), [("", "messages[0].content"), ("input[2].output[0]", "input[2].output[0]")]
)
def test_images_are_refused_by_their_path_in_the_body(param, shown):
    image = Image(b"x", "image/png", param=param)
    with pytest.raises(Unsupported) as raised:
        refuse_images(Messages((Message("user", "look", images=(image,)),)), "no")
    assert (raised.value.param, str(raised.value)) == (shown, f"{shown}: no.")
