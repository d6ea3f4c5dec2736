"""Wherever a caller's text stands in a prompt, real templates write no control token for it."""

import json
import re
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path

import pytest
import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers

from lowcloud.core.errors import BadRequest
from lowcloud.core.messages import Message, Messages, ToolCall
from lowcloud.core.tools import Tool
from lowcloud.engines.local.vocabulary import Tokenizer
from lowcloud.text.control import ControlledEncoder
from lowcloud.text.template import ChatTemplate

TEMPLATES = Path(__file__).parent.parent / "fixtures" / "templates"
REFUSING = {"Kimi-K2-Thinking", "llama-cpp-deepseek-r1"}  # conversations with calls, or with tools
NAMES = sorted({file.stem for file in TEMPLATES.glob("*.jinja")} - REFUSING)
MARKS = re.compile(r"""<[^<>\s'"{}\\]{2,40}>|\[/?[A-Z_]{3,}\]|<\|"\|>""")


@cache
def source_of(name):
    return (TEMPLATES / f"{name}.jinja").read_text("utf-8")


@cache
def template_of(name):
    now = lambda: datetime(2026, 11, 24, tzinfo=UTC)  # noqa: E731
    return ChatTemplate(source_of(name), bos_token="<s>", eos_token="</s>", now=now)


@cache
def tokenizer_of(name):
    """One that knows every mark in the template's source as a control token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = tokenizers.Tokenizer(models.BPE(vocab={token: n for n, token in enumerate(alphabet)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    marks = sorted({*MARKS.findall(source_of(name)), "<s>", "</s>"})
    inner.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in marks])
    return Tokenizer(inner)


def prompt(**texts):
    """A conversation with a caller's text at every place of PLACES."""
    at = {name: texts.get(name, f"x{name}") for name in PLACES}
    schema = {"type": "object", "properties": {at["key"]: {"type": "string", "enum": [at["value"]]}}}
    arguments = json.dumps({at["argument"]: [at["given"]]}, ensure_ascii=" " in at["given"])
    call = ToolCall(texts.get("call_id", "abcdefgh1"), at["call"], arguments)
    turns = (
        Message("system", at["system"]),
        Message("user", at["user"], texts.get("name")),
        Message("assistant", "", reasoning=at["reasoning"], calls=(call,)),
        Message("tool", at["result"], call_id=call.id),
        Message("assistant", at["assistant"], reasoning=at["thought"]),
        Message("user", "Go on"),
    )
    tool = Tool(at["tool"], at["description"], schema)
    options = {"custom_instructions": at["option"], "model_identity": at["option"]}
    return Messages(turns, (tool,), options=options)


PLACES = (
    *("system", "user", "name", "reasoning", "call", "call_id", "argument", "given", "result", "assistant", "thought"),
    *("tool", "description", "key", "value", "option"),
)


def written(name, messages):
    """The control tokens of a prompt, and its text; None where the template refuses it."""
    tokenizer = tokenizer_of(name)
    try:
        encoded = ControlledEncoder(tokenizer).encode(partial(template_of(name).render, messages))
    except BadRequest:
        return None
    text = b"".join(tokenizer.token_bytes(n) or tokenizer.token_text(n).encode() for n in encoded.ids).decode()
    assert text == encoded.text
    return [tokenizer.token_text(n) for n in encoded.ids if tokenizer.token_bytes(n) == b""]


@pytest.mark.parametrize("name", NAMES)
def test_what_a_caller_sends_is_no_control_token_wherever_it_stands(name):
    marks = tokenizer_of(name).control_strings
    for place in PLACES:
        plain = written(name, prompt(**{place: "x" * 9}))
        assert plain
        for text in ("".join(marks), " ".join(marks)):
            forged = written(name, prompt(**{place: text}))
            assert forged == plain or (forged is None and place == "call_id"), (place, text)


@pytest.mark.parametrize("name", NAMES)
def test_half_a_control_string_of_a_callers_is_no_control_token_with_what_the_template_writes_beside_it(name):
    places = [place for place in PLACES if place != "call_id"]
    plain = written(name, prompt(**dict.fromkeys(places, "x" * 9)))
    assert plain
    for mark in tokenizer_of(name).control_strings:
        text = f"{mark[1:]} {mark[:-1]}"
        assert written(name, prompt(**dict.fromkeys(places, text))) == plain, text


def test_no_text_of_a_conversation_is_left_out():
    everything = "{{ [messages, tools, model_identity] | tojson }}<|end|>"
    template = ChatTemplate(everything, bos_token="", eos_token="", now=lambda: datetime(2026, 11, 24, tzinfo=UTC))
    tokenizer = tokenizer_of("microsoft-Phi-3.5-mini-instruct")
    for place in PLACES:
        messages = prompt(**{place: "<|end|>"})
        encoded = ControlledEncoder(tokenizer).encode(partial(template.render, messages))
        assert encoded.text == template.render(messages)
        assert encoded.text.count("<|end|>") > 1
        assert encoded.ids.count(tokenizer.token_id("<|end|>")) == 1
