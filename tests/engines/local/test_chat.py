"""A model's chat templates and dialects: what was called before reaches every prompt."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from lowcloud.core.errors import ModelUnusable
from lowcloud.core.messages import Message, Messages, ToolCall
from lowcloud.core.tools import Tool
from lowcloud.engines.local.chat import chats_of
from lowcloud.engines.local.tokenizer import TextAssets
from lowcloud.text.dialects import registry

TEMPLATES = Path(__file__).parents[2] / "fixtures" / "templates"
TURN = "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
# Tells of tools as Hermes does, and shows messages' contents alone, as SmolLM3 and LFM2 do.
TELLS = (
    """{% if tools %}Write <tool_call>{"name": ...}</tool_call>: {{ tools | tojson }}\n{% endif %}"""
    "{% for m in messages %}" + TURN + "{% endfor %}"
)
CALLS = "{% for c in m.tool_calls %}<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}"
WHOLE = TELLS.replace("<|im_end|>", CALLS + "<|im_end|>")
WITH_TOOLS = TELLS.replace("<|im_end|>", "{% if tools %}" + CALLS + "{% endif %}<|im_end|>")
FIRST = TELLS.replace("<|im_end|>", "{% if m.tool_calls %}{{ m.tool_calls[0].function | tojson }}{% endif %}<|im_end|>")
NO_RESULTS = WHOLE.replace("{{ m.content }}", "{{ m.content if m.role != 'tool' }}")
REFUSES = WHOLE.replace("{% for m in", "{{ raise_exception('no') if messages | length > 1 }}{% for m in")
TOOL = Tool("weather", "The weather.", {"type": "object", "properties": {}})
CALLED = (
    Message("user", "Rain?"),
    Message(
        "assistant",
        "Well.",
        calls=tuple(ToolCall(f"call_{city}", "weather", f'{{"city": "{city}"}}') for city in ("Rome", "Oslo")),
    ),
    Message("tool", "none", call_id="call_Rome"),
    Message("tool", "snow", call_id="call_Oslo"),
)


@pytest.fixture
def chats(byte_tokenizer):
    def make(source, tool_source=None, dialect=""):
        assets = TextAssets(byte_tokenizer, source, 256, (257,), "", "<|im_end|>", "fake", tool_source)
        return chats_of(assets, lambda: datetime(2026, 11, 24, tzinfo=UTC), dialect)

    return make


@pytest.fixture
def chat(chats):
    return lambda source: chats(source).plain


@pytest.mark.parametrize(
    ("source", "loses"),
    [
        (TELLS, {True: True, False: True}),
        (WHOLE, {True: False, False: False}),
        (WITH_TOOLS, {True: False, False: True}),
        (FIRST, {True: True, False: True}),
        (NO_RESULTS, {True: True, False: True}),
        (REFUSES, {True: False, False: False}),
    ],
    ids=["none", "all", "with tools", "the first", "no results", "refuses"],
)
def test_a_template_is_tried_for_what_it_shows_of_calls(chat, source, loses):
    assert chat(source).loses_calls == loses


@pytest.mark.parametrize("source", [TELLS, WITH_TOOLS, FIRST, NO_RESULTS])
@pytest.mark.parametrize("tools", [(TOOL,), ()], ids=["tools", "no tools"])
def test_calls_and_results_that_a_template_leaves_out_are_told_in_words(chat, source, tools):
    prompt = chat(source).rendered(Messages(CALLED, tools), str)
    for words in ('"Rome"', '"Oslo"', "none", "snow", "Rain?", "Well."):
        assert prompt.count(words) == 1, words


def test_what_is_told_in_words_leaves_the_tools_to_the_template(chat):
    assert chat(TELLS).rendered(Messages(CALLED, (TOOL,)), str) == (
        """Write <tool_call>{"name": ...}</tool_call>: [{"type": "function", "function": {"name": "weather", """
        """"description": "The weather.", "parameters": {"type": "object", "properties": {}}}}]\n"""
        "<|im_start|>user\nRain?<|im_end|>\n<|im_start|>assistant\nWell.\n"
        """<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>\n"""
        """<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call><|im_end|>\n"""
        "<|im_start|>user\nResult of weather:\nnone\n\nResult of weather:\nsnow<|im_end|>\n"
    )


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.jinja")), ids=lambda path: path.stem)
def test_the_models_own_templates_lose_nothing(chat, path):
    assert chat(path.read_text("utf-8")).loses_calls == {True: False, False: False}


HERMES = TELLS.replace("{% if tools %}", "").replace("{% endif %}", "", 1)


def test_a_conversation_with_tools_has_the_template_for_those(chats):
    both = chats("plain", HERMES)
    hello = Messages((Message("user", "Hi"),))
    with_tools = Messages((Message("user", "Hi"),), (TOOL,))
    assert both.of(hello).rendered(hello, str) == "plain"
    assert both.of(with_tools).rendered(with_tools, str).endswith("<|im_start|>user\nHi<|im_end|>\n")
    assert (both.of(hello).dialect.name, both.of(with_tools).dialect.name) == ("generic", "hermes")


def test_a_model_may_have_one_template_or_none(chats):
    hello, with_tools = Messages((Message("user", "Hi"),)), Messages((Message("user", "Hi"),), (TOOL,))
    one, other, none = chats("plain"), chats(None, HERMES), chats(None)
    assert one.of(hello) is one.of(with_tools) is one.plain
    assert (other.of(hello), other.of(with_tools)) == (None, other.with_tools)
    assert none.of(hello) is none.of(with_tools) is None


def test_the_dialect_that_is_named_counts_whatever_the_templates_look_like(chats):
    odd = "{{ tools }}" + TURN.join(("{% for m in messages %}", "{% endfor %}"))
    assert (chats(odd).plain.dialect.name, chats(odd, dialect="llama").plain.dialect.name) == ("generic", "llama")
    assert chats(HERMES, dialect="generic").plain.dialect.name == "generic"
    assert [
        chat.dialect.name for chat in (chats("plain", HERMES, "kimi").plain, chats("plain", HERMES, "kimi").with_tools)
    ] == ["kimi", "kimi"]


@pytest.mark.parametrize("dialect", registry.DIALECTS, ids=lambda dialect: dialect.name)
def test_a_dialect_that_tells_of_no_tools_needs_a_template_that_does(chats, dialect):
    if dialect.takes_tools:
        with pytest.raises(ModelUnusable, match="needs a chat template that shows tools"):
            chats("plain", dialect=dialect.name)
    else:
        assert chats("plain", dialect=dialect.name).plain.dialect is dialect
    assert chats("{{ tools }}", dialect=dialect.name).plain.dialect is dialect


@pytest.mark.parametrize(
    ("source", "effort", "thinks"), [("plain", None, False), ("think", None, True), ("think", "none", False)]
)
def test_a_model_may_think_where_its_template_knows_of_that_and_nobody_puts_it_off(chat, source, effort, thinks):
    assert chat(source).thinks(Messages((Message("user", "Hi"),), effort=effort)) == thinks
