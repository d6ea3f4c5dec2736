import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowcloud.core.errors import BadRequest
from lowcloud.http.strict_json import LARGE_BYTES, parse_object

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
PAD = b" " * LARGE_BYTES


def refusal(body: bytes) -> BadRequest:
    with pytest.raises(BadRequest) as raised:
        parse_object(body)
    return raised.value


@pytest.fixture(params=[b"", PAD], ids=["small", "large"])
def pad(request):
    return request.param


@given(st.dictionaries(st.text(), VALUES, max_size=5), st.booleans(), st.booleans())
def test_any_object_is_read_as_it_was_written_by_both_scanners(value, is_ascii, is_large):
    body = json.dumps(value, ensure_ascii=is_ascii).encode() + (PAD if is_large else b"")
    assert parse_object(body) == value


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity"])
def test_literals_that_are_no_numbers_are_refused_by_name(literal, pad):
    assert f"{literal} is not a number" in str(refusal(b'{"temperature": %b}' % literal.encode() + pad))


def test_a_number_beyond_a_float_is_refused(pad):
    assert "1e999 is out of range" in str(refusal(b'{"a": [1e999]}' + pad))
    assert parse_object(b'{"a": 1e99}' + pad) == {"a": 1e99}


def test_an_integer_of_too_many_digits_is_refused(pad):
    assert "too many digits" in str(refusal(b'{"a": ' + b"1" * 5000 + b"}" + pad))


def test_bad_json_is_refused_with_its_place(pad):
    message = str(refusal(b'{"a": 1,\n "b" 2}' + pad))
    assert "line 2 column 6 (character 14)" in message


def test_an_empty_body_is_refused():
    assert "not valid JSON" in str(refusal(b""))


def test_invalid_utf8_is_refused_with_its_place(pad):
    assert "UTF-8 at byte 7" in str(refusal(b'{"a": "\xff"}' + pad))


def test_a_surrogate_in_utf8_is_refused():
    assert "UTF-8" in str(refusal(b'{"a": "\xed\xa0\x80"}'))


@pytest.mark.parametrize("body", [b"[]", b"1", b"null", b'"x"'])
def test_what_is_no_object_is_refused(body, pad):
    assert "must be a JSON object" in str(refusal(body + pad))


@pytest.mark.parametrize("shape", [b"[", b'{"a":'])
def test_a_body_that_is_nested_too_deeply_is_refused(shape, pad):
    assert "nested too deeply" in str(refusal(b'{"a":' + shape * 20_000 + pad))


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (rb'{"messages": [{"content": "\ud800"}]}', "messages[0].content"),
        (rb'{"input": ["ok \ud83d\ude00", "\uDE00"]}', "input[1]"),
        (rb'{"metadata": {"\udfff": 1}}', "metadata (a key)"),
        (rb'{"\udfff": 1}', "the body (a key)"),
        (rb'{"a": {"\udbff": ["\udfff"]}}', "a (a key)"),
    ],
)
def test_half_a_character_is_refused_with_its_path(body, path, pad):
    assert path in str(refusal(body + pad))


def test_whole_characters_and_backslashes_that_look_like_halves_are_read(pad):
    assert parse_object(rb'{"a": "\ud83d\ude00", "b": "\\ud800"}' + pad) == {"a": "😀", "b": "\\ud800"}
