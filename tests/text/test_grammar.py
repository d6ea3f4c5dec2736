import pytest
from grammars import takes, token_ids

from lowcloud.text.grammar import LarkWriter

MARK = "<|x|>calls>"


@pytest.mark.parametrize("controls", [(), ("|x|",), ("<|x|>",), ("calls>",), ("calls>", "|x|", "<|x|>")])
def test_a_text_goes_on_to_the_first_mark_whichever_part_of_it_is_a_token(controls):
    lark = LarkWriter(token_ids(controls))
    grammar = lark.grammar(f"({lark.text_until(MARK)} /[0-9]+/)* TEXT")
    assert takes(grammar, "if a < b and <| or <|y|>", controls)
    assert takes(grammar, f"a < b {MARK}12", controls)
    assert takes(grammar, f"{MARK}12 < {MARK}3", controls)
    assert not takes(grammar, f"a < b {MARK}x", controls)
