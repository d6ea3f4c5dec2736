import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowcloud.http.encode import MAX_NAMES_CHARS, as_it_is, header_list, header_safe, large_json, to_json

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(TEXT)
def test_json_is_the_text_again_and_is_one_line(text):
    data = to_json({text: text})
    assert json.loads(data) == {text: text}
    assert len(data.decode().splitlines()) == 1


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | TEXT, lambda one: st.lists(one) | st.dictionaries(TEXT, one)
    )
)
def test_what_is_large_is_the_same_json(value):
    assert large_json(value) == to_json(value) == as_it_is(to_json(value).decode())


def test_letters_stay_letters():
    assert to_json("日本 😀") == '"日本 😀"'.encode()


def test_a_number_that_json_cannot_hold_is_our_bug():
    with pytest.raises(ValueError, match="Out of range"):
        to_json(float("nan"))


@given(TEXT)
def test_a_header_value_is_printable_ascii_without_separators(text):
    safe = header_safe(text)
    assert safe.isascii()
    assert not set(safe) & set(", \r\n;\x00")


@given(st.lists(TEXT.filter(bool), max_size=200))
def test_a_list_is_bounded_and_counts_what_it_leaves_out(names):
    shown = header_list(names).split(", ") if names else []
    assert len(", ".join(shown)) <= MAX_NAMES_CHARS + 5
    if len(shown) < len(names):
        assert shown[-1] == f"+{len(names) - len(shown) + 1}"
