"""What holds of every dialect, on outputs put together from its marks and pieces of calls."""

import json
from itertools import pairwise
from random import Random

import pytest
from dialect_fixtures import read_chunks
from grammars import written
from hypothesis import given
from hypothesis import strategies as st

from lowcloud.core.messages import Messages
from lowcloud.core.output import ANY_TEXT
from lowcloud.core.tools import Tool, ToolPlan
from lowcloud.text.dialects import registry
from lowcloud.text.dialects.dialect import Outlook
from lowcloud.text.grammar import LarkWriter, Wanted

TOOLS = (Tool("f", parameters={"type": "object", "properties": {"a": {"type": "integer"}}}), Tool("g"))
PIECES = (
    *('{"name": "f", "arguments": {"a": 1}}', '{"name": "f", "parameters": {"a": [1}', '{"name": "no"}', '{"a": NaN}'),
    *(
        "[f(a=1, b='x\\n')",
        "[f(",
        "f",
        "a=",
        ")]",
        "{",
        "}",
        "[",
        "]",
        '"',
        "'",
        "\\",
        ",",
        ":",
        ";",
        " ",
        "\n",
        "1",
        "é",
    ),
    *("<", "|", "think", "Here is my response:", "functools[", "123456789"),
)


def texts(dialect):
    return st.lists(st.sampled_from((*dialect.marks, *dialect.marks, *PIECES)), max_size=12).map("".join)


@pytest.mark.parametrize("dialect", registry.DIALECTS, ids=lambda dialect: dialect.name)
@given(data=st.data(), tools=st.sampled_from([TOOLS, ()]), is_thinking=st.booleans())
def test_any_output_reads_the_same_in_any_chunks_and_its_calls_have_objects(dialect, data, tools, is_thinking):
    text = data.draw(texts(dialect))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)))) | {0, len(text)})
    outlook = Outlook(tools, is_thinking)
    reading = read_chunks(dialect, outlook, [text])
    assert read_chunks(dialect, outlook, [text[start:end] for start, end in pairwise(cuts)]) == reading
    assert all(isinstance(json.loads(call.arguments), dict) for call in reading.calls)
    assert tools or not reading.calls


@pytest.mark.parametrize("dialect", registry.DIALECTS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("thinking", [{}, {"is_thinking": True}, {"may_think": True}], ids=str)
def test_an_answer_that_nothing_bounds_has_no_grammar(dialect, thinking):
    assert dialect.grammar(LarkWriter({}), Wanted(ANY_TEXT, ToolPlan(), **thinking)) is None


@pytest.mark.parametrize("dialect", registry.DIALECTS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("nest", ["[", '{"a":'])
def test_arguments_that_nest_without_end_are_read_through(dialect, nest):
    for text in (*dialect.marks, '{"name": "f", "parameters": {"a": ', "[f(a="):
        read_chunks(dialect, Outlook(TOOLS), [text + nest * 5000, nest * 5000])


@pytest.mark.parametrize("is_forced", [True, False])
@pytest.mark.parametrize("dialect", registry.DIALECTS, ids=lambda dialect: dialect.name)
def test_no_piece_of_a_call_is_text_wherever_the_length_cuts_it(dialect, is_forced):
    grammar = dialect.grammar(LarkWriter({}), Wanted(ANY_TEXT, ToolPlan(TOOLS[:1], "required", at_most_one=True)))
    call = written(grammar, Random(1))  # noqa: S311 - any text of the grammar will do
    outlook = Outlook(TOOLS, is_forced=is_forced)
    assert read_chunks(dialect, outlook, [call]).calls
    for end in range(len(call)):
        cut = read_chunks(dialect, outlook, [call[:end]], is_cut=True)
        assert cut == read_chunks(dialect, outlook, call[:end], is_cut=True)
        assert not cut.content.strip() and not cut.reasoning, call[:end]
        assert not (is_forced and cut.content), call[:end]


@pytest.mark.parametrize("dialect", registry.DIALECTS, ids=lambda dialect: dialect.name)
def test_a_prompt_without_messages_is_retold_for_the_names_of_its_effort(dialect):
    """As the engine asks which variables of a template an effort sets."""
    told = dialect.retold(Messages((), effort="high", options={"a": 1}))
    assert told.options["a"] == 1
