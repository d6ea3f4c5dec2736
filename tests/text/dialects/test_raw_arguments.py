"""Whatever the grammars of raw arguments let a model write is read as arguments that the schema allows."""

import json
import random

import jsonschema
import pytest
from dialect_fixtures import read_text
from grammars import answers, written

from lowcloud.core.messages import Message, Messages
from lowcloud.core.output import ANY_TEXT, Regex
from lowcloud.core.tools import Tool, ToolPlan
from lowcloud.text.dialects.dialect import Outlook
from lowcloud.text.dialects.registry import named
from lowcloud.text.grammar import LarkWriter, Wanted

SCHEMA = {
    "type": "object",
    "properties": {
        "text": {"type": "string", "maxLength": 4},
        "named": {"enum": ["a<", "b\n", "true", 1, None, False, [1, 2]]},
        "integer": {"type": "integer", "minimum": -3, "maximum": 20},
        "plain": {"anyOf": [{"type": "string", "maxLength": 3}, {"type": "null"}, {"type": "number"}]},
        "nested": {"anyOf": [{"type": "string", "enum": ["x", "nullish"]}, {"$ref": "#/$defs/object"}]},
        "list": {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 2},
        "pattern": {"type": "string", "pattern": "^(?:[a-c]{1,3})$"},
        "both": {"type": ["integer", "string"], "minimum": 5, "pattern": "^[a-z]$"},
        "constant": {"const": "k"},
    },
    "required": ["text", "named", "integer"],
    "$defs": {
        "object": {
            "type": "object",
            "properties": {"k": {"type": "boolean"}},
            "required": ["k"],
            "additionalProperties": False,
        }
    },
}
TOOL = Tool("f", parameters=SCHEMA)


@pytest.mark.parametrize("name", ["qwen3-xml", "glm-4.5", "glm-4.7", "deepseek-v3.2", "deepseek-v4.1"])
@pytest.mark.parametrize("are_tokens", [False, True], ids=["marks are text", "marks are tokens"])
def test_what_may_be_written_is_read_as_what_the_schema_allows(name, are_tokens):
    dialect = named(name)
    controls = dialect.marks if are_tokens else ()
    grammar = dialect.grammar(
        LarkWriter({text: 256 + at for at, text in enumerate(controls)}),
        Wanted(ANY_TEXT, ToolPlan((TOOL,), "required", at_most_one=True)),
    )
    for seed in range(15):
        text = written(grammar, random.Random(seed), controls)  # noqa: S311 - which of the texts, not a secret
        (call,) = read_text(dialect, text, Outlook((TOOL,))).calls
        jsonschema.validate(json.loads(call.arguments), SCHEMA)


# A call with a raw input, and what ends that.
RAW = {
    "qwen3-xml": ("<tool_call>\n<function=f>\n<parameter=input>\n{}{}</function>\n</tool_call>", "\n</parameter>\n"),
    "glm-4.7": ("<tool_call>f<arg_key>input</arg_key><arg_value>{}{}</tool_call>", "</arg_value>"),
    "deepseek-v3.2": (
        '\n\n<｜DSML｜function_calls>\n<｜DSML｜invoke name="f">\n<｜DSML｜parameter name="input" string="true">{}{}'
        "</｜DSML｜invoke>\n</｜DSML｜function_calls>",
        "</｜DSML｜parameter>\n",
    ),
}


@pytest.mark.parametrize("name", RAW)
@pytest.mark.parametrize("are_tokens", [False, True], ids=["marks are text", "marks are tokens"])
def test_a_raw_input_that_an_expression_binds_ends_at_its_closing_tag(name, are_tokens):
    """Also where the expression would go on past that."""
    dialect, (form, end) = named(name), RAW[name]
    tool = Tool("f", input=Regex(r"a(.|\n)*"))
    plan = ToolPlan((tool,), "required", at_most_one=True)
    bound = answers(dialect, Wanted(ANY_TEXT, plan), dialect.marks if are_tokens else ())
    for text in ("a", "a</b>\n", "a\n<\n</", 'a"\\'):
        answer = form.format(text, end)
        assert answer in bound
        (call,) = read_text(dialect, answer, Outlook((tool,))).calls
        assert json.loads(call.arguments) == {"input": text}
    assert form.format("b", end) not in bound
    if not are_tokens:
        assert form.format(f"a{end}b", end) not in bound


# A union of unions, deeper than any that people write.
DEEP = {f"d{n}": {"anyOf": [{"type": "integer"}, {"$ref": f"#/$defs/d{n + 1}"}]} for n in range(40)}
NEVER = {
    "type": "object",
    "properties": {
        "never": False,
        "empty": {"type": "array", "items": False},
        "deep": {"$ref": "#/$defs/d0"},
        "loop": {"$ref": "#/$defs/loop"},
    },
    "required": ["deep"],
    "additionalProperties": False,
    "$defs": {**DEEP, "d40": {"type": "boolean"}, "loop": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/loop"}]}},
}


@pytest.mark.parametrize("name", ["qwen3-xml", "glm-4.5", "deepseek-v3.2", "gemma4", "kimi-k3", "llama-pythonic"])
def test_what_a_schema_never_allows_is_never_written(name):
    tool = Tool("f", parameters=NEVER)
    grammar = named(name).grammar(LarkWriter({}), Wanted(ANY_TEXT, ToolPlan((tool,), "required", at_most_one=True)))
    for seed in range(30):
        text = written(grammar, random.Random(seed))  # noqa: S311 - which of the texts, not a secret
        (call,) = read_text(named(name), text, Outlook((tool,))).calls
        arguments = json.loads(call.arguments)
        assert isinstance(arguments.pop("deep"), int)
        assert arguments in [{**loop, **empty} for loop in ({}, {"loop": None}) for empty in ({}, {"empty": []})]


@pytest.mark.parametrize("name", ["qwen3-xml", "glm-4.5", "deepseek-v4"])
def test_the_conversation_is_left_to_the_templates(name):
    prompt = Messages((Message("user", "hi"),), (TOOL,))
    assert named(name).retold(prompt) is prompt


@pytest.mark.parametrize("name", ["qwen3-xml", "glm-4.5", "glm-4.7", "deepseek-v3", "deepseek-v3.1", "deepseek-v4"])
@pytest.mark.parametrize("size", range(9))
def test_reasoning_that_comes_after_words_is_split_off_too(name, size):
    reading = read_text(named(name), "Well. <think>really?</think> Yes.", Outlook((TOOL,)), size)
    assert (reading.content.split(), reading.reasoning) == (["Well.", "Yes."], "really?")
