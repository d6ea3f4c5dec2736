from dataclasses import replace
from pathlib import Path

import pytest
from dialect_fixtures import fixtures, misread, read_text, rendered, wanted
from grammars import answers

from lowcloud.core.output import ANY_TEXT
from lowcloud.core.tools import Tool, ToolPlan
from lowcloud.text.dialects.dialect import Outlook
from lowcloud.text.dialects.glm import GLM_45, GLM_47
from lowcloud.text.dialects.registry import recognised
from lowcloud.text.grammar import Wanted

TEMPLATES = Path(__file__).parents[2] / "fixtures" / "templates"
TOOL = Tool(
    "book",
    parameters={
        "type": "object",
        "properties": {"who": {"type": "string"}, "n": {"type": "integer"}, "tags": {"type": "array"}},
        "required": ["who", "n"],
    },
)


def dialect(fixture):
    return GLM_45 if fixture["models"][0] == "zai-org/GLM-4.5" else GLM_47


def call(gap, **values):
    pairs = (f"<arg_key>{key}</arg_key>{gap}<arg_value>{value}</arg_value>{gap}" for key, value in values.items())
    return f"<tool_call>book{gap}{''.join(pairs)}</tool_call>"


def ids(fixture):
    return fixture["id"]


@pytest.mark.parametrize("fixture", fixtures("glm"), ids=ids)
def test_an_output_reads_the_same_whole_and_in_any_chunks(fixture):
    assert misread(dialect(fixture), fixture) == {}


@pytest.mark.parametrize(("file", "expected"), [("GLM-4.6.jinja", GLM_45), ("GLM-4.7-Flash.jinja", GLM_47)])
def test_its_templates_are_recognised(file, expected):
    assert recognised((TEMPLATES / file).read_text("utf-8")) is expected


@pytest.mark.parametrize(
    ("prompt", "is_thinking"),
    [("<|assistant|>", False), ("<|assistant|>\n<think></think>", False), ("<|assistant|><think>", True)],
)
def test_a_prompt_that_ends_with_an_open_tag_has_opened_the_reasoning(prompt, is_thinking):
    assert GLM_47.is_thinking(prompt) is is_thinking


@pytest.mark.parametrize("fixture", rendered("glm"), ids=ids)
def test_what_the_templates_write_is_what_the_grammar_takes(fixture):
    family = dialect(fixture)
    asked = wanted(family, fixture)
    assert fixture["raw_output"] in answers(family, asked)
    assert fixture["raw_output"] in answers(family, replace(asked, plan=replace(asked.plan, mode="auto")))
    if "marker-in-arguments" not in fixture["tags"]:  # no text stands for a control token
        assert fixture["raw_output"] in answers(family, asked, family.marks)


@pytest.mark.parametrize("family", [GLM_45, GLM_47], ids=lambda family: family.name)
@pytest.mark.parametrize("controls", [(), GLM_45.marks], ids=["marks are text", "marks are tokens"])
@pytest.mark.parametrize("mode", ["auto", "required"])
def test_arguments_that_the_schema_forbids_may_not_be_written(family, controls, mode):
    taken = answers(family, Wanted(ANY_TEXT, ToolPlan((TOOL,), mode)), controls)
    assert call(family.gap, who="Ann < Bob", n=2) in taken
    assert f"{call(family.gap, who='', n=2)}{family.gap}{call(family.gap, who='b', n=-1, tags='[1, []]')}" in taken
    for wrong in (
        {"who": "Ann"},
        {"who": "Ann", "n": "two"},
        {"n": 2, "who": "Ann"},
        {"who": "A", "n": 2, "tags": "x"},
    ):
        assert call(family.gap, **wrong) not in taken
    assert ("just words" in taken) == (mode == "auto")


def test_a_named_tool_is_called_once():
    taken = answers(GLM_47, Wanted(ANY_TEXT, ToolPlan((TOOL,), "required", at_most_one=True)))
    assert call("", who="a", n=1) in taken
    assert call("", who="a", n=1) * 2 not in taken


@pytest.mark.parametrize("size", range(9))
def test_a_value_that_lacks_its_closing_tag_ends_with_the_call(size):
    whole = call("", who="a", n=1)
    reading = read_text(GLM_47, f"{whole.replace('1</arg_value>', '1')}\n{whole}", Outlook((TOOL,)), size)
    assert [one.arguments for one in reading.calls] == ['{"who": "a", "n": 1}'] * 2


def test_a_mark_in_prose_begins_no_call():
    reading = read_text(GLM_47, "Write <tool_call> and the name <b>.", Outlook((TOOL,)))
    assert reading.calls == []
    assert reading.open is None


def test_without_tools_calls_are_text():
    assert read_text(GLM_47, call("", who="a", n=1), Outlook()).content == call("", who="a", n=1)
