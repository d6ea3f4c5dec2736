"""A sequence's tokens become whole characters, cut at stop strings, with their log-probabilities."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowcloud.core.tools import Tool
from lowcloud.engines.local.transcript import Said, Transcript
from lowcloud.text.channels import CallArguments, CallBegin, CallEnd, Thought
from lowcloud.text.dialects import hermes
from lowcloud.text.dialects.dialect import Outlook

texts = st.text(alphabet="ab\n é😀", max_size=20)
stop_lists = st.lists(st.text(alphabet="ab\n é😀", min_size=1, max_size=4), max_size=3)


def run(tokenizer, tokens, stops=(), logprobs=False):
    transcript, said = Transcript(tokenizer, stops), []
    for token in tokens:
        said.append(joined(transcript.add(token, [-0.5, [[token, -0.5], [65, -math.inf]]] if logprobs else None)))
        if said[-1].stop is not None:
            return said
    return [*said, joined(transcript.end())]


def joined(parts):
    texts = "".join(part.text for part in parts)
    logprobs = tuple(one for part in parts for one in part.logprobs)
    return Said(texts, logprobs, parts[-1].stop if parts else None)


def cut(text, stops):
    found = [(text.find(stop) + len(stop), -len(stop), stop) for stop in stops if stop in text]
    if not found:
        return text, None
    end, _, stop = min(found)
    return text[: end - len(stop)], stop


@given(text=texts, stops=stop_lists)
def test_half_a_character_never_comes_and_a_stop_string_across_tokens_never_shows(byte_tokenizer, text, stops):
    said = run(byte_tokenizer, text.encode(), stops)
    assert ("".join(one.text for one in said), said[-1].stop) == cut(text, stops)


@given(text=texts, stops=stop_lists)
def test_every_token_of_the_text_has_its_log_probability_and_no_token_of_the_stop_string(byte_tokenizer, text, stops):
    said = run(byte_tokenizer, text.encode(), stops, logprobs=True)
    kept, _ = cut(text, stops)
    named = [one for piece in said for one in piece.logprobs]
    assert b"".join(one.sampled.bytes for one in named) == kept.encode()


@given(text=texts, stops=stop_lists)
def test_a_log_probability_never_comes_before_its_text(byte_tokenizer, text, stops):
    out, spelt = "", b""
    for piece in run(byte_tokenizer, text.encode(), stops, logprobs=True):
        out += piece.text
        spelt += b"".join(one.sampled.bytes for one in piece.logprobs)
        assert spelt.decode(errors="ignore") == out


def test_text_without_a_stop_string_comes_token_by_token(byte_tokenizer):
    assert [one.text for one in run(byte_tokenizer, b"ab", ["xyz"])] == ["a", "b", ""]


def test_held_back_text_comes_when_it_can_be_no_stop_string_any_more(byte_tokenizer):
    assert [one.text for one in run(byte_tokenizer, b"a\nb\n", ["\n\n"])] == ["a", "", "\nb", "", "\n"]


def test_an_unfinished_character_at_the_end_shows_as_a_replacement(byte_tokenizer):
    said = run(byte_tokenizer, "é".encode()[:1], logprobs=True)
    assert ([one.text for one in said], sum(len(one.logprobs) for one in said)) == (["", "\ufffd"], 1)
    assert [one.text for one in run(byte_tokenizer, b"a\xc3", ["\ufffd"])] == ["a", "", ""]
    assert run(byte_tokenizer, b"a\xc3", ["\ufffd"])[-1].stop == "\ufffd"


def test_control_tokens_have_no_text_and_show_by_name_in_log_probabilities(byte_tokenizer):
    said = run(byte_tokenizer, [97, 257, 98], logprobs=True)
    assert [one.text for one in said] == ["a", "", "b", ""]
    assert [(one.sampled.token, one.sampled.bytes) for one in said[2].logprobs] == [("<|im_end|>", b""), ("b", b"b")]


def test_log_probabilities_have_their_alternatives_as_the_worker_gives_them(byte_tokenizer):
    ((one,), _) = (piece.logprobs for piece in run(byte_tokenizer, b"b", logprobs=True))
    assert [(top.token, top.logprob) for top in one.top] == [("b", -0.5), ("A", -math.inf)]
    assert one.sampled.logprob == pytest.approx(-0.5)


HERMES = b'<think>hm</think>\n\nSo: \n<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call> done'


def heard(tokenizer, stops=(), script=hermes.DIALECT.script):
    outlook = Outlook((Tool("f"),))
    transcript = Transcript(tokenizer, stops, lambda reader: script(reader, outlook))
    parts = []
    for token in HERMES:
        parts += transcript.add(token, [-0.5, []])
        if parts and isinstance(parts[-1], Said) and parts[-1].stop is not None:
            return transcript, parts
    return transcript, [*parts, *transcript.end()]


def test_reasoning_and_calls_are_parts_of_their_own(byte_tokenizer):
    _, parts = heard(byte_tokenizer)
    assert "".join(part.text for part in parts if isinstance(part, Thought)) == "hm"
    assert "".join(part.text for part in parts if isinstance(part, CallArguments)) == '{"x": 1}'
    assert [type(part) for part in parts].count(CallBegin) == [type(part) for part in parts].count(CallEnd) == 1


def test_only_tokens_of_the_text_have_log_probabilities(byte_tokenizer):
    _, parts = heard(byte_tokenizer)
    text = "".join(part.text for part in parts if isinstance(part, Said))
    named = b"".join(one.sampled.bytes for part in parts if isinstance(part, Said) for one in part.logprobs)
    assert named.decode() == text == "So: done"


def test_a_stop_string_is_looked_for_in_the_text_alone(byte_tokenizer):
    for inside in ("hm", '"x"'):
        assert heard(byte_tokenizer, [inside])[1][-1].stop is None
    assert heard(byte_tokenizer, ["one"])[1][-1].stop == "one"


def test_the_tokens_of_the_reasoning_are_counted(byte_tokenizer):
    transcript, _ = heard(byte_tokenizer)
    assert transcript.n_reasoning == len("<think>hm")


def test_a_control_token_that_a_dialect_reads_is_shown_to_it(byte_tokenizer):
    seen = []

    def script(reader):
        mark = yield from reader.until(("<|im_end|>",), reader.content)
        seen.append(mark)

    transcript = Transcript(byte_tokenizer, (), script, {257: "<|im_end|>"})
    assert [part.text for part in [*transcript.add(97, None), *transcript.add(257, None)]] == ["a"]
    assert seen == ["<|im_end|>"]
