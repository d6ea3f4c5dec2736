"""Chat templates render as Hugging Face's do, in a sandbox."""

import json
from datetime import UTC, datetime
from functools import reduce

import pytest

from lowcloud.core.errors import BadRequest, ModelUnusable
from lowcloud.core.messages import Message, Messages, ToolCall
from lowcloud.core.output import Regex
from lowcloud.core.tools import Tool
from lowcloud.text import template
from lowcloud.text.template import ChatTemplate

USER = (Message("user", "Hi"),)


def compiled(source, limits=None):
    now = lambda: datetime(2026, 11, 24, tzinfo=UTC)  # noqa: E731
    return ChatTemplate(source, bos_token="<s>", eos_token="</s>", now=now, limits=limits)


def render(source, messages=USER, tools=(), effort=None, **options):
    return compiled(source).render(Messages(tuple(messages), tools, effort, options))


def told(name, *args, **kwargs):
    """A variable as the template has it."""
    return json.loads(render("{{ " + name + " | tojson }}", *args, **kwargs))


def test_a_chatml_template_renders_every_turn_and_begins_the_assistants():
    source = (
        "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + "
        "'\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    turns = [Message("system", "Be kind"), Message("user", "Hi")]
    assert render(source, turns) == (
        "<|im_start|>system\nBe kind<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize(
    "source",
    [
        # As templates of models that see have it: what isn't a list of parts has no text, or is an error.
        "{% for m in messages %}[{{ m.role }}]{% for part in m.content | selectattr('type', 'equalto', 'text') %}"
        "{{ part.text }}{% endfor %}{% endfor %}",
        "{% for m in messages %}[{{ m.role }}]{{ m.content[0]['text'] }}{% endfor %}",
        "{% for m in messages %}[{{ m.role }}]{% if m.content is string %}{{ raise_exception('parts!') }}{% endif %}"
        "{% for part in m.content %}{{ part['text'] }}{% endfor %}{% endfor %}",
    ],
)
def test_a_template_that_takes_parts_alone_gets_them(source):
    assert render(source, [Message("system", "Be kind"), Message("user", "Hi")]) == "[system]Be kind[user]Hi"


def test_a_template_that_takes_strings_gets_them_whatever_else_it_takes():
    source = "{% for m in messages %}{{ m.content if m.content is string else m.content[0].text }}{% endfor %}"
    assert render(source) == "Hi"
    assert told("messages[0].content") == "Hi"


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ bos_token }}{{ eos_token }}", "<s></s>"),
        ("  {% if true %}\nyes\n  {% endif %}\n", "yes\n"),
        ("{% for n in range(9) %}{% if n == 2 %}{% break %}{% endif %}{{ n }}{% endfor %}", "01"),
        ("{% for n in range(3) %}{% if n == 1 %}{% continue %}{% endif %}{{ n }}{% endfor %}", "02"),
        ("{{ strftime_now('%d %b %Y') }}", "24 Nov 2026"),
        ("{{ {'a': '<é&>'} | tojson }}", '{"a": "<é&>"}'),
        ("{{ {'b': 1, 'a': [2]} | tojson(indent=1, sort_keys=true) }}", '{\n "a": [\n  2\n ],\n "b": 1\n}'),
        ("{{ [1, 2] | tojson(separators=(',', ':')) }}", "[1,2]"),
        ("{{ 'é' | tojson(ensure_ascii=true) }}", '"\\u00e9"'),
        ("{% generation %}{{ 'said' }}{% endgeneration %}", "said"),
        ("{{ tools is none }} {{ documents is none }}", "True True"),
        ("{{ messages[0].name is defined }}", "False"),
        ("{{ messages[0].missing }}", ""),
    ],
)
def test_a_template_has_what_hugging_face_gives_it(source, text):
    assert render(source) == text


def test_a_developers_message_is_the_systems_unless_the_template_knows_developers():
    developer = [Message("developer", "x")]
    assert render("{{ messages[0].role }}", developer) == "system"
    assert render("{{ messages[0].role }}{# developer #}", developer) == "developer"


def test_a_functions_result_is_a_tools():
    assert render("{{ messages[0].role }} {{ messages[0].name }}", [Message("function", "1", "sum")]) == "tool sum"


CALL = ToolCall("call_1", "sum", '{"of": [1, {"é": null}]}')
CALLED = Message("assistant", "", calls=(CALL,))


def test_a_call_is_a_function_with_an_object_and_its_result_names_it():
    turns = [*USER, CALLED, Message("tool", "1", call_id="call_1")]
    function = {"name": "sum", "arguments": {"of": [1, {"é": None}]}}
    assert told("messages", turns)[1:] == [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
        },
        {"role": "tool", "content": "1", "name": "sum", "tool_call_id": "call_1"},
    ]


def test_a_results_own_name_stays():
    turns = [CALLED, Message("tool", "1", "total", call_id="call_1"), Message("tool", "2", call_id="unknown")]
    assert [turn.get("name") for turn in told("messages", turns)[1:]] == ["total", None]


@pytest.mark.parametrize(
    ("arguments", "is_custom", "as_object", "as_text"),
    [
        ('{"a": 1}', False, {"a": 1}, '{"a": 1}'),
        ('{"a":  "\\u00e9"}', False, {"a": "é"}, '{"a":  "\\u00e9"}'),
        ("", False, {}, "{}"),
        ('{"a": ', False, '{"a": ', '{"a": '),
        ("[1]", False, "[1]", "[1]"),
        ("[" * 100_000, False, "[" * 100_000, "[" * 100_000),
        ('say "é"', True, {"input": 'say "é"'}, '{"input": "say \\"é\\""}'),
    ],
)
def test_arguments_are_an_object_or_text_as_the_dialect_says(arguments, is_custom, as_object, as_text):
    prompt = Messages((Message("assistant", "", calls=(ToolCall("1", "f", arguments, is_custom),)),))
    chat = compiled("{{ messages[0].tool_calls[0].function.arguments | tojson }}")
    assert json.loads(chat.render(prompt)) == as_object
    assert json.loads(chat.render(prompt, has_text_arguments=True)) == as_text


CALLS = "{% for c in message.tool_calls %}{{ c.function.name ~ (ARGUMENTS) }}{% endfor %}"
EACH = "{% for message in messages %}BODY{% endfor %}"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("c.function.arguments + ';'", 'sum{"of": [1, {"é": null}]};'),  # fails with an object
        ("c.function.arguments", 'sum{"of": [1, {"é": null}]}'),  # an object would be written as Python's
        ("c.function.arguments | tojson", 'sum{"of": [1, {"é": null}]}'),  # a text would be quoted
    ],
)
def test_arguments_have_the_shape_that_a_template_can_show_whatever_the_dialect_says(arguments, expected):
    chat = compiled(EACH.replace("BODY", CALLS.replace("ARGUMENTS", arguments)))
    for says in (False, True):
        assert chat.render(Messages((CALLED,)), has_text_arguments=says) == expected


def test_content_is_none_only_for_a_template_that_tells_calls_by_it():
    body = CALLS.replace("ARGUMENTS", "c.function.arguments | tojson")
    by_none = "{% if message['content'] is none %}" + body + "{% else %}{{ message['content'] }}{% endif %}"
    assert render(EACH.replace("BODY", by_none), [CALLED]) == 'sum{"of": [1, {"é": null}]}'
    assert render(EACH.replace("BODY", by_none), [Message("assistant", "", calls=())]) == ""
    assert render(EACH.replace("BODY", "{{ message.content }}" + body), [CALLED]) == 'sum{"of": [1, {"é": null}]}'


REASONING = {"reasoning_content", "reasoning", "thinking"}


def test_reasoning_has_every_name_that_templates_know_it_by():
    turn = told("messages", [Message("assistant", "2", reasoning="1+1")])[0]
    assert turn == {"role": "assistant", "content": "2", **dict.fromkeys(REASONING, "1+1")}
    assert not REASONING & told("messages", [Message("assistant", "2")])[0].keys()


@pytest.mark.parametrize(
    ("tool", "description", "parameters"),
    [
        (Tool("f"), "", {"type": "object", "properties": {}}),
        (Tool("f", "Does it.", {"properties": {"a": {}}}), "Does it.", {"type": "object", "properties": {"a": {}}}),
        (Tool("f", None, {"$ref": "#/$defs/a"}), "", {"type": "object", "$ref": "#/$defs/a", "properties": {}}),
        (
            Tool("f", input=Regex("a+")),
            "",
            {
                "type": "object",
                "properties": {"input": {"type": "string", "pattern": "^(?:a+)$"}},
                "required": ["input"],
                "additionalProperties": False,
            },
        ),
    ],
)
def test_a_tool_is_a_function_with_a_description_and_an_objects_schema(tool, description, parameters):
    function = {"name": "f", "description": description, "parameters": parameters}
    assert told("tools", USER, (tool,)) == [{"type": "function", "function": function}]


THOUGHT = "{{ reasoning_effort }} {{ enable_thinking }} {{ thinking }}"


@pytest.mark.parametrize(
    ("effort", "text"), [(None, "  "), ("none", "none False False"), ("minimal", "minimal True True")]
)
def test_an_effort_is_told_under_the_names_that_templates_know(effort, text):
    assert render(THOUGHT, effort=effort) == text


def test_options_are_the_templates_variables_and_stand_above_the_effort():
    assert render(THOUGHT + "{{ x.y[0] }}", effort="high", enable_thinking=False, x={"y": ["z"]}) == "high False Truez"


@pytest.mark.parametrize("name", ["messages", "tools", "add_generation_prompt", "bos_token", "eos_token"])
def test_an_option_cannot_take_the_place_of_the_conversation(name):
    with pytest.raises(BadRequest, match=f"can't set {name}") as raised:
        compiled("").render(Messages(USER, options={name: "x"}))
    assert raised.value.param == f"chat_template_kwargs.{name}"


def test_what_a_template_raises_is_a_bad_request_in_its_own_words():
    with pytest.raises(BadRequest, match="Roles must alternate") as raised:
        render("{{ raise_exception('Roles must alternate') }}")
    assert raised.value.param == "messages"


@pytest.mark.parametrize(
    "source",
    ["{{ nothing.there }}", "{{ messages[0].content + 1 }}", "{{ 1 / 0 }}", "{{ 'a'.index('b') }}"],
)
def test_a_template_that_fails_on_a_conversation_is_a_bad_request(source):
    with pytest.raises(BadRequest, match="can't render this conversation"):
        render(source)


def test_what_nests_too_deep_is_a_bad_request():
    with pytest.raises(BadRequest, match="can't render this conversation"):
        render("", nested=reduce(lambda inner, _: [inner], range(2000), 1))
    arguments = '{"a": ' * 900 + "1" + "}" * 900
    with pytest.raises(BadRequest, match="can't render this conversation"):
        render("", [Message("assistant", "", calls=(ToolCall("1", "f", arguments),))])


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.append(1) }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ messages[0].update({'role': 'x'}) }}",
        "{% for n in range(1000000) %}{{ n }}{% endfor %}",
        "{{ dict.__class__.__mro__ }}",
        "{{ dict.mro() }}",
        "{% set n = namespace(_a=1) %}",
        "{% set n = namespace() %}{% set n._a = 1 %}",
        "{{ raise_exception.__globals__['json'] }}",
        "{{ lipsum() }}",
        "{{ 'x'.encode().ljust(10000000000) }}",
        "{{ (1).to_bytes(10000000000, 'big') }}",
        "{{ ([[1] * 1000000] * 1000) | sum(start=[]) }}",
    ],
)
def test_a_template_stays_in_its_sandbox(source):
    with pytest.raises(BadRequest):
        render(source)


@pytest.mark.parametrize(
    "source",
    [
        "{% for n in range(9) %}{{ 'x' * 10000000 }}{% endfor %}",
        "{{ 'x' * 10000000000 }}",
        "{{ 10000000000 * 'x' }}",
        "{{ [1] * 10000000000 }}",
        "{{ 9 ** 9999999 }}",
        "{{ '%10000000000d' % 1 }}",
        "{{ '%*d' % (10000000000, 1) }}",
        "{{ '%10000000000d' | format(1) }}",
        "{{ '{:>10000000000}'.format(1) }}",
        "{{ '{:>{}}'.format(1, 10000000000) }}",
        "{{ 'x'.ljust(10000000000) }}",
        "{{ 'x' | center(10000000000) }}",
        "{{ 'x' | indent(10000000000, true) }}",
        "{{ messages | batch(10000000000, 'x') | list }}",
        "{{ 1.5 | round(10000000000, 'ceil') }}",
        "{{ messages | tojson(indent=10000000000) }}",
        "{% set a = 'x' * 1000000 %}{{ a | replace('x', a) }}",
        "{% set a = 'x' * 1000000 %}{{ a.replace('x', a) }}",
        "{% set a = 'x' * 1000000 %}{{ a | join(a) }}",
        "{% set a = 'x' * 1000000 %}{{ a.join(a) }}",
        "{% set n = namespace(x='x') %}{% for i in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}",
        "{% set n = namespace(x=[1]) %}{% for i in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}",
        "{% set n = namespace(x='x') %}{% for i in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
        *(
            "{% set n = namespace(x=1) %}{% for i in range(99) %}{% set n.x = [n.x, {'x': n.x}] %}{% endfor %}" + write
            for write in (
                *("{{ n.x }}", "{{ n.x | tojson }}", "{{ n.x | string }}", "{{ '' ~ n.x }}", "{{ '%s' % n.x }}"),
                *("{{ n.x | upper }}", "{{ n.x | trim }}", "{{ n.x | pprint }}", "{{ n.x | urlencode }}"),
                *("{{ {'x': n.x}.values() }}", "{{ [{'x': n.x}.items()] }}", "{{ n.x is upper }}"),
            )
        ),
    ],
)
def test_a_template_makes_nothing_without_bounds(source):
    with pytest.raises(BadRequest, match="too long"):
        render(source)


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{{ '' }}{% endfor %}{% endfor %}",
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% for a in range(99999) %}{% for b in range(99999) if false %}{% endfor %}{% endfor %}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{% set x = f(99) %}",
    ],
)
def test_a_template_works_no_longer_than_it_may(source):
    with pytest.raises(BadRequest, match="too long"):
        compiled(source, template.Limits(max_seconds=0.01)).render(Messages(USER))


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (
            "{{ 2 + 3 * 4 ** 2 % 7 }} {{ 'a' + 'b' * 2 }} {{ [1] + [2] * 2 }} {{ (1,) + (2,) }}",
            "8 abb [1, 2, 2] (1, 2)",
        ),
        ("{{ 1 ~ 'a' ~ none ~ missing ~ [1] }}", "1aNone[1]"),
        ("{{ '%s-%02d' % ('a', 1) }} {{ '%s' | format(1) }} {{ '{:>3}{a}'.format(1, a=2) }}", "a-01 1   12"),
        ("{{ 'a'.ljust(3) }}{{ 'a' | center(3) }}{{ 'a\nb' | indent(2) }}", "a   a a\n  b"),
        ("{{ 'aba' | replace('a', 'c') }} {{ 'aba'.replace('a', 'c') }} {{ [1, 2] | join(', ') }}", "cbc cbc 1, 2"),
        ("{{ ', '.join(['a', 'b']) }} {{ [1, 2] | map('string') | join('-') }} {{ 1.25 | round(1) }}", "a, b 1-2 1.2"),
        ("{{ [namespace(a=1), {'a': 1}.keys()] }} {{ [1, 2.5] | sum }}", "[<Namespace>, dict_keys(['a'])] 3.5"),
        ("{{ dict(a=1) }} {{ dict.fromkeys(['a']) }} {{ namespace(a=1).a }}", "{'a': 1} {'a': None} 1"),
    ],
)
def test_within_its_bounds_a_template_calculates_as_ever(source, text):
    assert render(source) == text


def test_a_template_that_does_not_compile_makes_the_model_unusable():
    with pytest.raises(ModelUnusable, match=r"doesn't compile \(line 2\); the log says more\.$"):
        render("\n{% if %}")


@pytest.mark.parametrize(
    "source", ["{{ " + "(" * 5000 + ")" * 5000 + " }}", "{% for a in [] %}" * 25 + "{% endfor %}" * 25]
)
def test_a_template_too_deep_for_python_makes_the_model_unusable(source):
    with pytest.raises(ModelUnusable, match=r"doesn't compile; the log says more\.$"):
        render(source)
