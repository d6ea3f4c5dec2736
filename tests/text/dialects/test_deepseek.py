from dataclasses import replace
from pathlib import Path

import pytest
from dialect_fixtures import by_tag, fixtures, misread, read_text, rendered, wanted
from grammars import answers

from lowcloud.core.messages import Message, Messages, ToolCall
from lowcloud.core.output import ANY_TEXT
from lowcloud.core.tools import Tool, ToolPlan
from lowcloud.text.dialects.deepseek import DEEPSEEK_V3, DEEPSEEK_V31
from lowcloud.text.dialects.dialect import Outlook
from lowcloud.text.dialects.registry import recognised
from lowcloud.text.grammar import Wanted

DIALECTS = {"x-deepseek-v3": DEEPSEEK_V3, "x-deepseek-v31": DEEPSEEK_V31}
TEMPLATES = Path(__file__).parents[2] / "fixtures" / "templates"
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
TOOL = Tool("f", "adds", SCHEMA)
V3_CALL = "<｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{}\n```<｜tool▁call▁end｜>"
V31_CALL = "<｜tool▁call▁begin｜>f<｜tool▁sep｜>{}<｜tool▁call▁end｜>"
FORMS = pytest.mark.parametrize(
    ("family", "form", "between"), [(DEEPSEEK_V3, V3_CALL, "\n"), (DEEPSEEK_V31, V31_CALL, "")], ids=["v3", "v3.1"]
)


def calls(form, between, *arguments):
    written = between.join(form.replace("{}", one) for one in arguments)
    return f"<｜tool▁calls▁begin｜>{written}<｜tool▁calls▁end｜>"


@pytest.mark.parametrize(("family", "fixture"), by_tag(fixtures("deepseek"), DIALECTS))
def test_an_output_reads_the_same_whole_and_in_any_chunks(family, fixture):
    assert misread(family, fixture) == {}


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("deepseek-ai-DeepSeek-R1-Distill-Qwen-32B.jinja", DEEPSEEK_V3),
        ("llama-cpp-deepseek-r1.jinja", DEEPSEEK_V3),
        ("deepseek-ai-DeepSeek-V3.1.jinja", DEEPSEEK_V31),
    ],
)
def test_its_templates_are_recognised(file, expected):
    assert recognised((TEMPLATES / file).read_text("utf-8")) is expected


def test_a_prompt_that_ends_with_an_open_tag_has_opened_the_reasoning():
    assert DEEPSEEK_V3.is_thinking("<｜Assistant｜><think>\n")
    assert not DEEPSEEK_V31.is_thinking("<｜Assistant｜></think>")


@pytest.mark.parametrize(("family", "fixture"), by_tag(rendered("deepseek"), DIALECTS))
def test_what_the_templates_write_is_what_the_grammar_takes(family, fixture):
    asked = wanted(family, fixture)
    assert fixture["raw_output"] in answers(family, asked)
    assert fixture["raw_output"] in answers(family, replace(asked, plan=replace(asked.plan, mode="auto")))
    if "marker-in-arguments" not in fixture["tags"]:  # no text stands for a control token
        assert fixture["raw_output"] in answers(family, asked, family.marks)


@FORMS
@pytest.mark.parametrize("controls", [(), DEEPSEEK_V3.marks], ids=["marks are text", "marks are tokens"])
def test_a_forced_call_keeps_to_the_schema(family, form, between, controls):
    forced = answers(family, Wanted(ANY_TEXT, ToolPlan((TOOL,), "required")), controls)
    assert calls(form, between, '{"a": 1}') in forced
    assert calls(form, between, '{"a": 1}', '{"a": 2}') in forced
    for wrong in ("{}", '{"a": "1"}', '{"a": 1, "b": 2}'):
        assert calls(form, between, wrong) not in forced
    assert "words" not in forced


@FORMS
def test_in_mode_auto_text_is_free_and_a_named_tool_is_called_once(family, form, between):
    free = answers(family, Wanted(ANY_TEXT, ToolPlan((TOOL,), "auto")))
    assert "a < b" in free
    assert "Look. " + calls(form, between, '{"a": 1}') in free
    assert "Look. " + calls(form, between, '{"a": true}') not in free
    once = answers(family, Wanted(ANY_TEXT, ToolPlan((TOOL,), "required", at_most_one=True)))
    assert calls(form, between, '{"a": 1}') in once
    assert calls(form, between, '{"a": 1}', '{"a": 1}') not in once


@FORMS
@pytest.mark.parametrize("size", range(9))
def test_a_call_that_is_not_closed_never_ends(family, form, between, size):
    whole = calls(form, between, '{"a": 1}')
    cut = whole[: whole.index("<｜tool▁call▁end｜>")]
    assert read_text(family, cut, Outlook((TOOL,)), size).calls == []
    assert len(read_text(family, whole, Outlook((TOOL,)), size).calls) == 1


@FORMS
def test_tools_are_told_in_the_system_prompt_and_calls_are_left_to_the_template(family, form, between):
    history = (
        Message("user", "add"),
        Message("assistant", "", calls=(ToolCall("1", "f", '{"a": 1}'),)),
        Message("tool", "2", call_id="1"),
    )
    told = family.retold(Messages(history, (TOOL,)))
    assert told.tools == ()
    assert told.messages[1:] == history
    assert told.messages[0].role == "system"
    assert '{"name": "f", "description": "adds"' in told.messages[0].text
    example = form.replace("f<｜tool▁sep｜>{}", "tool_call_name<｜tool▁sep｜>{}").replace(
        "｜>f\n", "｜>tool_call_name\n"
    )
    assert example.replace("{}", "tool_call_arguments") in told.messages[0].text
    assert family.retold(Messages(history)) == Messages(history)


@FORMS
@pytest.mark.parametrize("size", range(9))
@pytest.mark.parametrize(("part", "instead"), [("<｜tool▁sep｜>", ""), ("{}", "none"), ("f", ""), ("{}", '{"a": NaN}')])
def test_what_is_no_call_never_ends(family, form, between, size, part, instead):
    odd = calls(form.replace("function", "kind").replace(part, instead), between, '{"a": 1}')
    assert read_text(family, odd, Outlook((TOOL,)), size).calls == []
