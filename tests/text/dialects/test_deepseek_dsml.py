from dataclasses import replace
from pathlib import Path

import pytest
from dialect_fixtures import by_tag, fixtures, misread, read_text, rendered, wanted
from grammars import answers

from lowcloud.core.output import ANY_TEXT
from lowcloud.core.tools import Tool, ToolPlan
from lowcloud.text.dialects.deepseek_dsml import DEEPSEEK_V4, DEEPSEEK_V32, DEEPSEEK_V41
from lowcloud.text.dialects.dialect import Outlook
from lowcloud.text.dialects.registry import recognised
from lowcloud.text.grammar import Wanted

DIALECTS = {"x-deepseek-v32": DEEPSEEK_V32, "x-deepseek-v4": DEEPSEEK_V4, "x-deepseek-v41": DEEPSEEK_V41}
FAMILIES = pytest.mark.parametrize("family", DIALECTS.values(), ids=lambda family: family.name)
TEMPLATES = Path(__file__).parents[2] / "fixtures" / "templates"
TOOL = Tool(
    "f",
    parameters={
        "type": "object",
        "properties": {"s": {"type": "string"}, "v": {"type": ["string", "integer"]}, "e": {"enum": ["x", 1]}},
        "required": ["s"],
    },
)


def calls(family, *calls_written):
    """``calls_written``: for each call its parameters, (name, whether it is a string, value)."""
    mark, block = f"｜DSML｜{family.gap}", family.block
    shown = []
    for parameters in calls_written:
        lines = [
            f'<{mark}parameter name="{name}" string="{str(is_text).lower()}">{value}</{mark}parameter>\n'
            for name, is_text, value in parameters
        ]
        shown.append(f'<{mark}invoke name="f">\n{"".join(lines)}</{mark}invoke>\n')
    return f"<{mark}{block}>\n{''.join(shown)}</{mark}{block}>"


@pytest.mark.parametrize(("family", "fixture"), by_tag(fixtures("deepseek"), DIALECTS))
def test_an_output_reads_the_same_whole_and_in_any_chunks(family, fixture):
    assert misread(family, fixture) == {}


def test_its_templates_are_recognised():
    template = (TEMPLATES / "deepseek-ai-DeepSeek-V3.2.jinja").read_text("utf-8")
    assert recognised(template) is DEEPSEEK_V32
    assert recognised(template.replace("function_calls>", "tool_calls>")) is DEEPSEEK_V4
    assert recognised(template.replace("function_calls>", " calls>")) is DEEPSEEK_V41


@FAMILIES
def test_a_prompt_that_ends_with_an_open_tag_has_opened_the_reasoning(family):
    assert family.is_thinking("<｜Assistant｜><think>")
    assert not family.is_thinking("<｜Assistant｜></think>")


@pytest.mark.parametrize(("family", "fixture"), by_tag(rendered("deepseek"), DIALECTS))
def test_what_the_encoders_write_is_what_the_grammar_takes(family, fixture):
    asked = wanted(family, fixture)
    assert fixture["raw_output"] in answers(family, asked)
    assert fixture["raw_output"] in answers(family, replace(asked, plan=replace(asked.plan, mode="auto")))
    if "marker-in-arguments" not in fixture["tags"]:  # no text stands for a control token
        assert fixture["raw_output"] in answers(family, asked, family.marks)


@FAMILIES
@pytest.mark.parametrize("controls", [(), DEEPSEEK_V4.marks], ids=["marks are text", "marks are tokens"])
@pytest.mark.parametrize("mode", ["auto", "required"])
def test_arguments_that_the_schema_forbids_may_not_be_written(family, controls, mode):
    taken = answers(family, Wanted(ANY_TEXT, ToolPlan((TOOL,), mode)), controls)
    string = ("s", True, "if a </b> < c")
    for right in (
        [string],
        [string, ("v", True, "1"), ("e", True, "x")],
        [string, ("v", False, "1"), ("e", False, "1")],
    ):
        assert calls(family, right) in taken
        assert calls(family, right, right) in taken
    for wrong in ([], [("s", False, "1")], [string, ("v", False, "x")], [string, ("e", True, "1")], [string, string]):
        assert calls(family, wrong) not in taken
    assert ("a </ b" in taken) == (mode == "auto")


@FAMILIES
def test_a_named_tool_is_called_once(family):
    taken = answers(family, Wanted(ANY_TEXT, ToolPlan((TOOL,), "required", at_most_one=True)))
    one = [("s", True, "")]
    assert calls(family, one) in taken
    assert calls(family, one, one) not in taken


@FAMILIES
@pytest.mark.parametrize("size", range(9))
def test_what_the_parameter_says_of_itself_counts_more_than_the_schema(family, size):
    text = calls(family, [("v", True, "1"), ("s", False, "2")])
    reading = read_text(family, text, Outlook((TOOL,)), size)
    assert [call.arguments for call in reading.calls] == ['{"v": "1", "s": 2}']
    untold = text.replace(' string="true"', "").replace(' string="false"', "")
    assert [call.arguments for call in read_text(family, untold, Outlook((TOOL,)), size).calls] == [
        '{"v": 1, "s": "2"}'
    ]


@FAMILIES
@pytest.mark.parametrize("schema", [{"type": "object"}, {"type": "object", "properties": {"a": {"type": "integer"}}}])
def test_no_arguments_are_an_empty_line_or_nothing(family, schema):
    taken = answers(family, Wanted(ANY_TEXT, ToolPlan((Tool("f", parameters=schema),), "required")))
    nothing = calls(family, [])
    assert nothing in taken
    assert nothing.replace('name="f">\n', 'name="f">\n\n') in taken
    assert calls(family, [("a", False, "1")]) in taken or "properties" not in schema


@FAMILIES
@pytest.mark.parametrize("size", range(9))
def test_words_between_parameters_leave_the_call_open(family, size):
    text = calls(family, [("s", True, "a"), ("v", True, "b")]).replace("\n<｜DSML｜", "\nand <｜DSML｜")
    assert read_text(family, text, Outlook((TOOL,)), size).calls == []
    words_inside = calls(family, [("s", True, "a")]).replace(f"</｜DSML｜{family.gap}invoke", "x</invoke")
    assert read_text(family, words_inside, Outlook((TOOL,)), size).calls == []
