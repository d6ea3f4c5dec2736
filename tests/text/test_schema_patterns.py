"""Regular expressions of schemas: what is read narrowly, Python finds too; what Python finds, is read widely."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowcloud.text.schema import expressions as trees
from lowcloud.text.schema.bounds import Budget
from lowcloud.text.schema.expressions import BadPattern, lengths
from lowcloud.text.schema.patterns import pattern
from lowcloud.text.schema.shapes import TooLarge

ATOMS = ["a", "b", ".", r"\d", r"\W", r"\s", r"\S", "[a-c]", "[^a]", r"[\w-]", r"[^\d]", r"[\s\S]", "é", r"\x41", r"\-"]
pieces = st.recursive(
    st.sampled_from(ATOMS),
    lambda inner: (
        st.builds("({}|{})".format, inner, inner)
        | st.builds("(?:{}){}".format, inner, st.sampled_from(["*", "+", "?", "{2}", "{1,2}", "*?"]))
        | st.builds("{}{}".format, inner, inner)
    ),
    max_leaves=5,
)
expressions = st.builds("{}{}{}".format, st.sampled_from(["", "^"]), pieces, st.sampled_from(["", "$"]))
texts = st.text("abcAé1٣- \n\r\x1c\u2028_", max_size=6)


def matches(node, text):
    return trees.matches(node, text, Budget().spend)


@settings(max_examples=300, deadline=None)
@given(expressions, texts)
def test_the_two_readings_stand_around_python_s(expression, text):
    read = pattern(expression)
    is_found = re.search(expression, text) is not None
    assert is_found or not matches(read.narrow, text)
    assert matches(read.wide, text) or not is_found
    shortest, longest = lengths(read.narrow)
    assert not matches(read.narrow, text) or (shortest <= len(text) and (longest is None or len(text) <= longest))


@pytest.mark.parametrize(
    "expression",
    [
        r"a\b",
        "(?=a)",
        "(?i)a",
        "(?P<n>a)",
        r"(a)\1",
        r"\p{L}",
        "a^",
        "$a",
        "(^a)*",
        "a**",
        "a++",
        "*",
        "a{2",
        "[a",
        "[]a]",
        "(a",
        "a)",
        "[b-a]",
        r"[\d-z]",
        "[a[b]]",
        "[a-[]",
        "a{1001}",
        "(a{900}){900}",
        r"\ud800",
        r"\x0",
        "\\",
        r"\x00",
        "a" * 2001,
        "(" * 31 + ")" * 31,
        "a{3,2}",
        r"[^\S\n]",
        r"[\x00-\x07]",
        r"\A",
    ],
)
def test_what_dialects_do_not_share_is_refused(expression):
    with pytest.raises(BadPattern):
        pattern(expression)


@pytest.mark.parametrize("expression", ["(a*)*b", "(a|aa)+$", "(.*)*x"])
def test_matching_takes_no_longer_for_a_catastrophic_pattern(expression):
    assert not matches(pattern(f"^{expression}").narrow, "a" * 400 + "!")


@pytest.mark.parametrize(
    "expression",
    [
        pytest.param("(a|a*b)*", marks=pytest.mark.no_cover),
        pytest.param("(a|(a|a*b)*c)*", marks=pytest.mark.no_cover),
        "((a?){9}){999}",
    ],
)
def test_matching_ends_with_its_budget_where_repetitions_look_again_and_again(expression):
    with pytest.raises(TooLarge):
        matches(pattern(f"^{expression}$").narrow, "a" * 4000)


@pytest.mark.no_cover
def test_matching_a_long_text_takes_steps_in_proportion_to_it():
    assert matches(pattern("a").narrow, "a" * 100_000)
