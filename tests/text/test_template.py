"""Chat templates render as Hugging Face's do, in a sandbox."""

from datetime import UTC, datetime

import pytest

from lowcloud.core.errors import BadRequest, ModelUnusable
from lowcloud.core.messages import Message, Messages
from lowcloud.text import template
from lowcloud.text.template import ChatTemplate

USER = (Message("user", "Hi"),)


def render(source, messages=USER):
    chat = ChatTemplate(source, bos_token="<s>", eos_token="</s>", now=lambda: datetime(2026, 11, 24, tzinfo=UTC))
    return chat.render(Messages(tuple(messages)))


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


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.append(1) }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ messages[0].update({'role': 'x'}) }}",
        "{% for n in range(1000000) %}{{ n }}{% endfor %}",
    ],
)
def test_a_template_stays_in_its_sandbox(source):
    with pytest.raises(BadRequest):
        render(source)


def test_a_template_can_neither_write_without_end_nor_work_without_end():
    with pytest.raises(BadRequest, match="too long"):
        render("{% for n in range(9) %}{{ 'x' * 10000000 }}{% endfor %}")
    loops = "{% for a in range(99999) %}{% for b in range(99999) %}{{ '' }}{% endfor %}{% endfor %}"
    with pytest.raises(BadRequest, match="too long"):
        ChatTemplate(
            loops,
            bos_token="",
            eos_token="",
            now=lambda: datetime(2026, 11, 24, tzinfo=UTC),
            limits=template.Limits(max_seconds=0.01),
        ).render(Messages(USER))


def test_a_template_that_does_not_compile_makes_the_model_unusable():
    with pytest.raises(ModelUnusable, match=r"doesn't compile \(line 2\); the log says more\.$"):
        render("\n{% if %}")
