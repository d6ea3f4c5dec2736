"""Llama's dialects: JSON calls, and calls as a Python list."""

from dataclasses import replace

import pytest
from dialect_fixtures import SIZES, Call, Reading, fixtures, is_right, misread, read, read_text
from grammars import answers, takes

from lowcloud.core.errors import UnsupportedSchema
from lowcloud.core.messages import Message, Messages, ToolCall
from lowcloud.core.output import ANY_TEXT, JsonSchema, Regex
from lowcloud.core.tools import Tool, ToolPlan
from lowcloud.text.dialects import llama, llama_pythonic
from lowcloud.text.dialects.dialect import Outlook
from lowcloud.text.grammar import LarkWriter, Wanted

FIXTURES = fixtures("llama")
EXCEPTIONS = {
    "llama/l4-truncated-missing-close-bracket": "The first of two calls is whole, and a stream has passed it on when "
    "the second is cut. canitoolcall's own rule for such outputs (spec/README.md, expected_error) keeps it; this "
    "fixture says otherwise.",
}

WEATHER = Tool(
    "get_weather",
    parameters={
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer"},
            "is_metric": {"type": "boolean"},
            "near": {"type": ["string", "null"]},
            "hours": {"type": "array", "items": {"type": "integer"}},
        },
        "required": ["city"],
        "additionalProperties": False,
    },
)
TIME = Tool("get_time", parameters={"type": "object", "properties": {}, "additionalProperties": False})
ANY = Tool("note")
INPUT = Tool("grep", input=Regex("[a-z]+"))
OUTLOOK = Outlook((WEATHER, TIME, ANY, INPUT))
TAG = "<|python_tag|>"


def dialect_of(fixture):
    return (llama_pythonic if "Llama-4" in fixture["models"][0] else llama).DIALECT


def wanted(mode, *, at_most_one=False, output=ANY_TEXT):
    return Wanted(output, ToolPlan((WEATHER, TIME, ANY, INPUT), mode, at_most_one))


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda fixture: fixture["id"])
def test_an_output_reads_the_same_whole_and_in_any_chunks(fixture):
    assert set(misread(dialect_of(fixture), fixture)) == (set(SIZES) if fixture["id"] in EXCEPTIONS else set())


@pytest.mark.parametrize("dialect", [llama.DIALECT, llama_pythonic.DIALECT], ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda fixture: fixture["id"])
def test_both_read_what_the_other_asks_for(fixture, dialect):
    assert is_right(fixture, read(dialect, fixture)) == (fixture["id"] not in EXCEPTIONS)


@pytest.mark.parametrize(
    ("text", "reading"),
    [
        ('{"name": "get_time", "parameters": {}}; {"name": "note", "parameters": {"a": 1}}', "get_time{} note{'a': 1}"),
        ('{"name": "get_time", "parameters": {}}\n{"name": "get_time", "parameters": {}}', "get_time{} get_time{}"),
        ('{"name": "get_time", "parameters": null}', "get_time{}"),
        ('\n{ "name" : "get_time" , "arguments" : {} }\nDone.', "Done. get_time{}"),
        ('{"name": "get_rain", "parameters": {}}', '{"name": "get_rain", "parameters": {}}'),
        ('{"name": "get_time"}', '{"name": "get_time"}'),
        (
            '{"type": "text", "name": "get_time", "parameters": {}}',
            '{"type": "text", "name": "get_time", "parameters": {}}',
        ),
        ('I call {"name": "get_time", "parameters": {}}', 'I call {"name": "get_time", "parameters": {}}'),
        ('{"name": "note", "parameters": {"a": NaN}}', ""),
        ('{"name": "get_time", "parameters": {}', ""),
        ("<|python_tag|>print(1)", "print(1)"),
        ('[{"name": "get_time"}]', '[{"name": "get_time"}]'),
        ("[get_time(), get_rain()] x", "get_rain()] x get_time{}"),
        ("[get_time] is a name", "[get_time] is a name"),
        ("[note(this) is no call]", "[note(this) is no call]"),
        ("[note(a=this)]", ")]"),
    ],
)
@pytest.mark.parametrize("size", [0, 1, 2, 3, 5])
def test_only_a_whole_call_of_a_tool_of_the_request_is_one(text, reading, size):
    assert shown(read_text(llama.DIALECT, text, OUTLOOK, size)) == reading


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        ("'it\\'s'", "it's"),
        ('"a\\n\\t\\\\b"', "a\n\t\\b"),
        ("'\\x41\\u00e9\\U0001F600'", "Aé😀"),
        ("'\\ud83d\\ude00'", "😀"),
        ("'\\d+'", "\\d+"),
        ('"""a "b" c\nd"""', 'a "b" c\nd'),
        ("''", ""),
        ("'a\x01b'", "a\x01b"),
        ("-1.5e3", -1500.0),
        ("0x10", 16),
        ("1_000", 1000),
        (".5", 0.5),
        ("[1, (2, 'x'), [],]", [1, [2, "x"], []]),
        ("{'a': {'b': None}, 1: True, 'c': false}", {"a": {"b": None}, "1": True, "c": False}),
        ("{ }", {}),
    ],
)
@pytest.mark.parametrize("size", [0, 1, 2, 3, 5])
def test_a_python_literal_is_read_as_json(literal, value, size):
    reading = read_text(llama_pythonic.DIALECT, f"[note( a = {literal} , b=1 )]", OUTLOOK, size)
    assert reading.shown()["tool_calls"] == [{"name": "note", "arguments": {"a": value, "b": 1}}]


@pytest.mark.parametrize(
    "literal",
    [
        "x",
        "f(1)",
        "'a",
        "'\\x4",
        "'\\U99999999'",
        "{1}",
        "{'a'}",
        "[1",
        "1 2",
        "1e999 + 1",
        "1j",
        "nan",
        "-" * 5000 + "1",
        "[" * 99 + "]" * 99,
    ],
)
def test_what_is_no_literal_ends_no_call(literal):
    assert read_text(llama_pythonic.DIALECT, f"[note(a={literal})]", OUTLOOK).calls == []


def test_an_argument_given_twice_ends_no_call():
    assert read_text(llama_pythonic.DIALECT, "[note(a=1, a=2)]", OUTLOOK).calls == []


def test_without_tools_all_is_text():
    text = '{"name": "get_time", "parameters": {}}'
    assert read_text(llama.DIALECT, text, Outlook()) == Reading(content=text)


CANONICAL = {
    llama.DIALECT: (
        '{"name": "get_weather", "parameters": {"city": "Rome", "days": 2, "is_metric": true, "near": null}}',
        '{"name": "get_time", "parameters": {}}',
        '{"name": "grep", "parameters": {"input": "abc"}}',
    ),
    llama_pythonic.DIALECT: (
        '[get_weather(city="Rome", days=2, is_metric=True, near=None, hours=[1, 2])]',
        '[get_weather(city="Rome", is_metric=False, near="x")]',
        "[get_time()]",
        '[note(a="x", b={"c": [1, null]})]',
        "[note()]",
        '[grep(input="abc")]',
    ),
}
WRONG = {
    llama.DIALECT: (
        '{"name": "get_weather", "parameters": {"city": 1}}',
        '{"name": "get_weather", "parameters": {}}',
        '{"name": "get_time", "parameters": {"a": 1}}',
        '{"name": "get_rain", "parameters": {}}',
        '{"name": "grep", "parameters": {"input": "A"}}',
    ),
    llama_pythonic.DIALECT: (
        "[get_weather(city=1)]",
        "[get_weather(days=1)]",
        '[get_weather(city="Rome", near=1)]',
        '[get_weather(city="Rome", hours=["x"])]',
        '[get_weather(city="Rome", more=1)]',
        "[get_time(a=1)]",
        "[get_rain()]",
        '[grep(input="A")]',
        "[]",
    ),
}
DIALECTS = pytest.mark.parametrize("dialect", list(CANONICAL), ids=lambda dialect: dialect.name)
CONTROLS = pytest.mark.parametrize("controls", [(), (TAG,)], ids=["no tokens", "tokens"])


@DIALECTS
@CONTROLS
def test_a_required_call_is_one_with_arguments_of_its_schema(dialect, controls):
    allowed = answers(dialect, wanted("required"), controls)
    assert all(text in allowed for text in CANONICAL[dialect])
    assert not any(text in allowed for text in (*WRONG[dialect], "", "Hello"))


@DIALECTS
@CONTROLS
def test_in_mode_auto_a_text_or_bound_calls_are_the_answer(dialect, controls):
    allowed = answers(dialect, wanted("auto"), controls)
    assert all(text in allowed for text in CANONICAL[dialect])
    bad = {llama.DIALECT: WRONG[dialect][:3], llama_pythonic.DIALECT: WRONG[dialect][:6]}[dialect]
    assert not any(text in allowed for text in bad)
    plain = ("", "Hello {", '{"a": 1}', '{"name": "Ada"}', "[1, 2]", "[get_rain()]", '{"name": "get_tim')
    assert all(text in allowed for text in plain)
    assert ' {"name":"get_weather", "parameters": {}}' not in allowed


@DIALECTS
def test_what_the_grammar_lets_a_model_write_is_read_as_calls(dialect):
    assert all(len(read_text(dialect, text, OUTLOOK).calls) == 1 for text in CANONICAL[dialect])


def test_a_python_list_has_several_calls_unless_one_at_most_is_wanted():
    two = '[get_time(), get_weather(city="Rome")]'
    for mode in ("required", "auto"):
        assert two in answers(llama_pythonic.DIALECT, wanted(mode))
        assert two not in answers(llama_pythonic.DIALECT, wanted(mode, at_most_one=True))
        assert "[get_time()]" in answers(llama_pythonic.DIALECT, wanted(mode, at_most_one=True))


def test_json_calls_come_alone_since_the_templates_take_no_more():
    two = '{"name": "get_time", "parameters": {}}; {"name": "get_time", "parameters": {}}'
    assert two not in answers(llama.DIALECT, wanted("required"))
    assert two not in answers(llama.DIALECT, wanted("auto"))


@DIALECTS
def test_with_a_format_the_answer_is_of_it_or_calls(dialect):
    allowed = answers(dialect, wanted("auto", output=JsonSchema({"type": "integer"})))
    assert CANONICAL[dialect][0] in allowed
    assert "12" in allowed
    assert "Hello" not in allowed


def test_json_that_begins_as_a_call_does_may_go_on_as_the_format_has_it():
    person = {"type": "object", "properties": {"name": {"type": "string"}}, "additionalProperties": False}
    allowed = answers(llama.DIALECT, wanted("auto", output=JsonSchema(person)))
    assert '{"name": "Ada"}' in allowed
    assert CANONICAL[llama.DIALECT][0] in allowed
    assert WRONG[llama.DIALECT][0] not in allowed


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"properties": {"a": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"type": "integer"}}}, "a=1", 'a="x"'),
        ({"properties": {"a": {"anyOf": [{"type": "boolean"}, {"type": "null"}]}}}, "a=True", "a=1"),
        ({"properties": {"a": {"type": "boolean", "const": True}}}, "a=true", "a=false"),
        ({"properties": {"a": {"enum": ["x", "y"]}}}, 'a="y"', 'a="z"'),
        ({"properties": {"a": True, "b": False}}, "a=[1]", "b=1"),
        ({"properties": {"b": False}}, "", "b=1"),
        ({"properties": {"a": {"type": "integer"}}, "required": ["a", "b"]}, "a=1, b=2", "a=1"),
        ({"additionalProperties": {"type": "integer"}}, "x=1, y=2", 'x="a"'),
    ],
)
def test_the_arguments_of_a_python_call_are_bound_by_their_schema(schema, good, bad):
    allowed = answers(llama_pythonic.DIALECT, Wanted(ANY_TEXT, ToolPlan((Tool("f", parameters=schema),), "required")))
    assert f"[f({good})]" in allowed
    assert f"[f({bad})]" not in allowed


@pytest.mark.parametrize(
    ("schema", "path"), [({"properties": {"a b": {}, "c": {}}}, "properties.a b"), ({"anyOf": [{}]}, "anyOf")]
)
def test_what_python_calls_cant_express_is_refused_for_a_strict_tool_and_left_out_for_another(schema, path):
    tool = Tool("f", parameters=schema, is_strict=True, param="tools[0]")
    with pytest.raises(UnsupportedSchema) as refused:
        llama_pythonic.DIALECT.grammar(LarkWriter({}), Wanted(ANY_TEXT, ToolPlan((tool,), "auto")))
    assert refused.value.param == f"tools[0].{path}"
    lark = LarkWriter({})
    grammar = llama_pythonic.DIALECT.grammar(
        lark, Wanted(ANY_TEXT, ToolPlan((replace(tool, is_strict=False),), "required"))
    )
    assert lark.loosened == [f"tools[0].{path}"]
    assert takes(grammar, "[f(c=1)]")


def test_calls_of_one_message_follow_each_other_with_their_results():
    one, two = ToolCall("1", "get_time", "{}"), ToolCall("2", "get_time", "{}")
    asked = Message("assistant", "", calls=(one, two))
    results = (Message("tool", "b", call_id="2"), Message("tool", "a", call_id="1"), Message("tool", "c", call_id="3"))
    end = Message("user", "Thanks")
    retold = llama.DIALECT.retold(Messages((asked, *results, end)))
    first, second = replace(asked, calls=(one,)), replace(asked, calls=(two,))
    assert retold.messages == (first, results[1], second, results[0], results[2], end)
    both = Messages((asked, *results, end))
    assert llama_pythonic.DIALECT.retold(both) == both


def shown(reading):
    calls = [f"{call['name']}{call['arguments']}" for call in reading.shown()["tool_calls"]]
    return " ".join(filter(None, (reading.content.strip(), *calls)))


def test_an_open_call_has_no_end():
    reading = read_text(llama.DIALECT, '{"name": "note", "parameters": {"a": "b', OUTLOOK)
    assert (reading.calls, reading.open) == ([], Call("note", '{"a": "b'))
