"""Prompts are those of transformers, byte for byte: see scripts/record_template_fixture.py."""

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lowcloud.core.errors import BadRequest
from lowcloud.core.messages import Message, Messages, ToolCall
from lowcloud.core.tools import Tool
from lowcloud.text.template import ChatTemplate

FIXTURES = Path(__file__).parent.parent / "fixtures"
CONVERSATIONS = json.loads((FIXTURES / "templates" / "conversations.json").read_text("utf-8"))
RENDERED = json.loads(gzip.decompress((FIXTURES / "templates.json.gz").read_bytes()))["rendered"]


def test_every_template_and_every_conversation_is_recorded():
    assert RENDERED.keys() == {file.stem for file in (FIXTURES / "templates").glob("*.jinja")}
    assert all(recorded.keys() == {c["name"] for c in CONVERSATIONS} for recorded in RENDERED.values())


@pytest.mark.parametrize("name", RENDERED)
def test_a_prompt_is_what_transformers_renders(name):
    source = (FIXTURES / "templates" / f"{name}.jinja").read_text("utf-8")
    template = ChatTemplate(
        source, bos_token="<s>", eos_token="</s>", now=lambda: datetime(2026, 11, 24, 13, 5, tzinfo=UTC)
    )
    for conversation in CONVERSATIONS:
        for asked in (False, True):
            expected = RENDERED[name][conversation["name"]][template.shape(has_text_arguments=asked).has_text_arguments]
            assert rendered(template, conversation, has_text_arguments=asked) == expected, conversation["name"]


def rendered(template, conversation, *, has_text_arguments):
    prompt = Messages(
        tuple(map(message, conversation["messages"])),
        tuple(Tool(**tool["function"]) for tool in conversation["tools"] or []),
        conversation["effort"],
        conversation["options"],
    )
    try:
        return {"text": template.render(prompt, has_text_arguments=has_text_arguments)}
    except BadRequest as error:
        _, refuses, own_words = str(error).partition("refuses this conversation: ")
        return {"refused": own_words if refuses else None}


def message(told):
    calls = [(call["id"], call["function"]) for call in told.get("tool_calls", [])]
    return Message(
        told["role"],
        told["content"],
        told.get("name"),
        told.get("reasoning"),
        tuple(ToolCall(number, f["name"], json.dumps(f["arguments"], ensure_ascii=False)) for number, f in calls),
        told.get("tool_call_id"),
    )
