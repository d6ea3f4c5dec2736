"""Dialects by the chat templates of real models."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from lowcloud.core.messages import Message, Messages, ToolCall
from lowcloud.core.tools import Tool
from lowcloud.text.dialects import registry
from lowcloud.text.template import ChatTemplate

TEMPLATES = Path(__file__).parents[2] / "fixtures" / "templates"
NAMES = {
    "moonshotai-Kimi-K2": "kimi",
    "Kimi-K2-Thinking": "kimi",
    "google-gemma-4-31B-it": "gemma4",
    "openai-gpt-oss-120b": "harmony",
    "HuggingFaceTB-SmolLM2-135M-Instruct": "generic",
    "microsoft-Phi-3.5-mini-instruct": "generic",
}
# Of models whose whole templates aren't here.
KIMI_K3 = """{{- open_tag('message', [('role', 'assistant')]) -}}{{- '<|close|>' + tag + '<|sep|>' -}}
{{- '<|open|>' + tag -}}{{- open_tag('think' if thinking else 'response') -}}"""
GEMMA_3 = """{{ '<start_of_turn>' + role + '\n' + (first_user_prefix if loop.first else "") }}
{%- if add_generation_prompt -%}{{'<start_of_turn>model\n'}}{%- endif -%}"""

WEATHER = Tool("get_weather", "The weather", {"type": "object", "properties": {"city": {"type": "string"}}})
CONVERSATION = Messages(
    (
        Message("user", "Weather?"),
        Message("assistant", "", calls=(ToolCall("call_1", "get_weather", '{"city": "Paris"}'),)),
        Message("tool", "Sunny", call_id="call_1"),
    ),
    (WEATHER,),
)


def source(name):
    return (TEMPLATES / f"{name}.jinja").read_text("utf-8")


def of(template):
    return registry.recognised(template) or registry.fallback()


@pytest.mark.parametrize(("name", "expected"), NAMES.items())
def test_a_models_template_tells_its_dialect(name, expected):
    assert of(source(name)).name == expected


@pytest.mark.parametrize(("template", "expected"), [(KIMI_K3, "kimi-k3"), (GEMMA_3, "gemma3")])
def test_the_look_of_a_template_tells_its_dialect(template, expected):
    assert of(template).name == expected


# Not Kimi-K2-Thinking: as llama.cpp has it, it calls ``append`` where there are calls, which the sandbox refuses.
@pytest.mark.parametrize("name", sorted(NAMES.keys() - {"Kimi-K2-Thinking"}))
def test_a_conversation_with_tools_is_told_whole_and_leaves_the_answer_outside_the_reasoning(name):
    dialect = of(source(name))
    template = ChatTemplate(source(name), bos_token="", eos_token="", now=lambda: datetime(2026, 11, 24, tzinfo=UTC))
    rendered = template.render(dialect.retold(CONVERSATION), has_text_arguments=dialect.has_text_arguments)
    assert all(word in rendered for word in ("get_weather", "Weather?", "The weather", "Paris", "Sunny")), rendered
    assert not dialect.is_thinking(rendered)
