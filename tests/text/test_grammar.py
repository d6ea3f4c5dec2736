from dataclasses import replace

import pytest
from grammars import takes, token_ids

from lowcloud.core.errors import Unsupported
from lowcloud.core.output import ANY_TEXT, Choice
from lowcloud.core.requests import ThinkingBound
from lowcloud.core.tools import NO_TOOLS
from lowcloud.text.dialects import hermes
from lowcloud.text.grammar import LarkWriter, Wanted, answer_grammar, output_expression

MARK = "<|x|>calls>"


@pytest.mark.parametrize("controls", [(), ("|x|",), ("<|x|>",), ("calls>",), ("calls>", "|x|", "<|x|>")])
def test_a_text_goes_on_to_the_first_mark_whichever_part_of_it_is_a_token(controls):
    lark = LarkWriter(token_ids(controls))
    grammar = lark.grammar(f"({lark.text_until(MARK)} /[0-9]+/)* TEXT")
    assert takes(grammar, "if a < b and <| or <|y|>", controls)
    assert takes(grammar, f"a < b {MARK}12", controls)
    assert takes(grammar, f"{MARK}12 < {MARK}3", controls)
    assert not takes(grammar, f"a < b {MARK}x", controls)


def test_a_bound_on_reasoning_binds_nothing_of_a_model_that_does_not_think():
    wanted = Wanted(ANY_TEXT, NO_TOOLS, thinking=ThinkingBound(5))
    assert answer_grammar(LarkWriter({}), wanted, hermes.SYNTAX, hermes.THINKING) is None
    thinks = replace(wanted, is_thinking=True)
    assert answer_grammar(LarkWriter(token_ids(["</think>"])), thinks, hermes.SYNTAX, hermes.THINKING) is not None


def test_a_bound_that_cant_be_kept_names_the_callers_own_field():
    """Where no token closes the reasoning."""
    wanted = Wanted(ANY_TEXT, NO_TOOLS, is_thinking=True, thinking=ThinkingBound(5, "thinking.budget_tokens"))
    with pytest.raises(Unsupported) as caught:
        answer_grammar(LarkWriter({}), wanted, hermes.SYNTAX, hermes.THINKING)
    assert caught.value.param == "thinking.budget_tokens"


ODD = ("", "a", "ab", 'q"\\', "\n\x00\x7f\u2028", "/x/|(y)", "é😀", "<|im_end|>")


@pytest.mark.parametrize("options", [ODD, tuple(f"option {number}" for number in range(5_000))])
def test_a_choice_is_one_of_its_options_however_many_and_nothing_else(options):
    lark = LarkWriter({})
    grammar = lark.grammar(output_expression(lark, Choice(options)))
    for option in (*options[:8], options[-1]):
        assert takes(grammar, option) and not takes(grammar, f"{option}b!")
    assert not takes(grammar, "b")


def test_options_that_are_equal_are_one():
    one, two = LarkWriter({}), LarkWriter({})
    assert output_expression(one, Choice(("a", "b", "a"))) == output_expression(two, Choice(("a", "b")))
    assert one.rules == two.rules
