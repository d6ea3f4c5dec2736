"""Templates of Llama, Mistral, Granite, Phi and Qwen: one dialect alone knows each, and its retold calls render."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from lowcloud.core.messages import Message, Messages, ToolCall
from lowcloud.core.tools import Tool
from lowcloud.text.dialects import registry
from lowcloud.text.template import ChatTemplate

TEMPLATES = Path(__file__).parents[2] / "fixtures" / "templates"
FILES = {
    "Mistral-Small-3.2-24B-Instruct-2506": "mistral",
    "mistralai-Ministral-3-14B-Reasoning-2512": "mistral",
    "unsloth-mistral-Devstral-Small-2507": "mistral",
    "mistralai-Mistral-Nemo-Instruct-2407": "mistral-v3",
    "ibm-granite-granite-3.3-2B-Instruct": "granite",
    "ibm-granite-granite-4.0": "hermes",
    "Qwen-Qwen2.5-7B-Instruct": "hermes",
    "Qwen-Qwen3-0.6B": "hermes",
    "Qwen-QwQ-32B": "hermes",
}
# Where no template is kept here: the words by which it is known.
_JSON = 'Respond in the format {"name": function name, "parameters": dictionary of argument name and its value}.'
_PYTHON = "Respond in the format [func_name1(params_name1=params_value1, params_name2=params_value2...), ...]"
_LLAMA_4 = "- Use exact format: [func_name1(param1=value1, param2=value2), func_name2(...)]"
WORDS = {
    # meta-llama/Llama-3.3-70B-Instruct; vLLM's examples/tool_chat_template_llama4_json.jinja
    "llama": (f"<|start_header_id|>{_JSON}", f"<|header_start|>{_JSON}"),
    # vLLM's examples/tool_chat_template_llama3.2_pythonic.jinja and tool_chat_template_llama4_pythonic.jinja
    "llama-pythonic": (f"<|start_header_id|>{_PYTHON}", f"<|header_start|>{_LLAMA_4}"),
    # llama.cpp's llama-cpp-microsoft-Phi-4-mini-instruct.jinja; vLLM's examples/tool_chat_template_phi4_mini.jinja
    "phi-4": (
        "'<|tool|>' + (tool['function'] | tojson) + '<|/tool|>' + '<|end|>'",
        'a single JSON list formatted as functools[{"name": [function name], ...]<|end|>',
    ),
    None: ("<|start_header_id|>{{ message['role'] }}<|end_header_id|>",),
}
CALL = ToolCall("call_00112233445566778899", "get_weather", '{"city": "Rome"}')
CONVERSATION = Messages(
    (
        Message("user", "Rain?"),
        Message("assistant", "", calls=(CALL,)),
        Message("tool", "None today.", call_id=CALL.id),
    ),
    (Tool("get_weather", "The weather.", {"type": "object", "properties": {"city": {"type": "string"}}}),),
)


@pytest.mark.parametrize("file", FILES)
def test_a_template_is_known_by_its_look(file):
    assert recognisers((TEMPLATES / f"{file}.jinja").read_text("utf-8")) == [FILES[file]]


@pytest.mark.parametrize(("name", "words"), [(name, words) for name, several in WORDS.items() for words in several])
def test_a_template_is_known_by_the_words_that_tell_of_calls(name, words):
    assert recognisers(words) == [name]


@pytest.mark.parametrize("file", FILES)
def test_a_retold_conversation_with_a_call_of_any_id_renders(file):
    source = (TEMPLATES / f"{file}.jinja").read_text("utf-8")
    dialect = registry.recognised(source)
    template = ChatTemplate(source, bos_token="<s>", eos_token="</s>", now=lambda: datetime(2026, 11, 24, tzinfo=UTC))
    rendered = template.render(dialect.retold(CONVERSATION), has_text_arguments=dialect.has_text_arguments)
    assert all(text in rendered for text in ("get_weather", '{"city": "Rome"}', "None today."))
    assert not dialect.is_thinking(rendered)


def recognisers(template):
    """All that take it for theirs: no template is claimed by two."""
    return [dialect.name for dialect in registry.DIALECTS if dialect.recognises(template)] or [None]
