"""No secret is in what is logged, and nothing else is missing from it."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowcloud.gateway import redact as module
from lowcloud.gateway.redact import REDACTED, redacted, redacted_query

WORD = "abcDEF123456789012345678901234567890"
KEYS = [
    f"sk-{WORD}",
    f"sk-ant-api03-{WORD}",
    f"sk-proj-{WORD}",
    f"sk-or-v1-{WORD}",
    f"sk_{WORD}",
    f"AIza{WORD}",
    f"gsk_{WORD}",
    f"xai-{WORD}",
    f"r8_{WORD}",
    f"hf_{WORD}",
    f"pplx-{WORD}",
    f"csk-{WORD}",
    f"fw_{WORD}",
    f"ya29.a0-{WORD}",
    f"lowcloud_{WORD}",
]


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("around", ["{}", '{{"content": "my key is {}"}}', "a\n{} b", "({})", "é{}é", "'{}'", "={}&"])
def test_a_known_key_is_nowhere_in_what_is_logged(key, around):
    text = redacted(around.format(key).encode())
    assert text == around.format("[redacted]").encode()


def test_a_look_among_bytes_made_alike_misses_no_mark_in_any_case():
    for looks, marks, _, _ in module._STEPS:
        for mark in marks:
            assert any(look in mark.translate(module._FOLD) for look in looks)
    letters = b"abcdefghijklmnopqrstuvwxyz"
    assert letters.upper().translate(module._FOLD) == letters.translate(module._FOLD)


def test_keys_of_all_kinds_are_redacted_together():
    text = " ".join(["Bearer abcdefgh1", "?api_key=x", '{"access_token": "y"}', *KEYS]).encode()
    assert redacted(
        text
    ) == b'Bearer [redacted] ?api_key=[redacted] {"access_token": "[redacted]"}' + b" [redacted]" * len(KEYS)


@given(st.binary(max_size=50), st.sampled_from(KEYS), st.binary(max_size=50))
def test_whatever_is_around_a_key_it_is_gone(before, key, after):
    joined = before + b" " + key.encode() + b" " + after
    assert WORD.encode() not in redacted(joined)


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("Authorization: Bearer my.own-token_1", "Authorization: Bearer [redacted]"),
        ("authorization: BASIC dXNlcjpwYXNzMQ==", "authorization: BASIC [redacted]"),
        ("https://a.example/v1?key=abc&alt=sse", "https://a.example/v1?key=[redacted]&alt=sse"),
        ("https://a.example/v1?a=1&access_token=x%20y#z", "https://a.example/v1?a=1&access_token=[redacted]#z"),
        ('{"api_key": "a\\"b", "n": 1}', '{"api_key": "[redacted]", "n": 1}'),
        ('{"Authorization":"whatever"}', '{"Authorization":"[redacted]"}'),
        ('{"x-api-key" : "s"}', '{"x-api-key" : "[redacted]"}'),
        ('{"arguments": "{\\"api_key\\": \\"abc\\"}"}', '{"arguments": "{\\"api_key\\": \\"[redacted]\\"}"}'),
    ],
)
def test_what_is_named_a_secret_is_one(text, safe):
    assert redacted(text.encode()) == safe.encode()


@pytest.mark.parametrize(
    ("query", "safe"),
    [
        ("key=abc", "key=[redacted]"),
        ("api-version=2024-06-01&api_key=abc", "api-version=2024-06-01&api_key=[redacted]"),
        ("model=nova&keywords=a:1", "model=nova&keywords=a:1"),
        ("", ""),
    ],
)
def test_keys_in_a_query_are_redacted(query, safe):
    assert redacted_query(query) == safe


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Basic Authentication, and bearer certificates of the risk-averse-and-cautious-company are on the task-list.",
        "Which key= is the one? monkey=3, keyboard, sk-, AIza, hf_transformers, sk-learn",
        '{"key": "value", "tokens": 12, "api_keys": ["a"], "model": "sk-1"}',
        "lowcloud_requests_total, bearer of news",
        "data: {}\n\ndata: [DONE]\n\n\x00\xff",
    ],
)
def test_text_without_keys_stays_as_it_is(text):
    data = text.encode("latin-1")
    assert redacted(data) == data


@given(st.text(st.characters(codec="utf-8", exclude_characters='_-.?&="')))
def test_text_that_can_hold_no_key_stays_as_it_is(text):
    data = text.encode()
    if b"earer" not in data.lower() and b"asic" not in data.lower() and b"AIza" not in data:
        assert redacted(data) == data


PIECES = [b"sk-", b"gsk_", b"Bearer ", b"basic\t", b"A1" * 12, b"a", b" ", b"-", b"\xc3\xa9", b"lowcloud_", b"AIza"]


@given(st.lists(st.sampled_from(PIECES), max_size=40))
def test_where_marks_are_few_and_where_they_are_many_the_same_is_redacted(pieces):
    data = b"".join(pieces)
    for _, marks, patterns, safe in module._STEPS[1:]:
        (pattern,) = patterns
        assert module._at_marks(pattern, marks, safe, data) == pattern.sub(safe, data)


@given(st.lists(st.sampled_from([b"sk-", b"Bearer ", b'"api_key":"', b"\\", b'"', b"a1", b"?key=", b" "]), max_size=40))
def test_what_is_redacted_stays_so(pieces):
    once = redacted(b"".join(pieces))
    assert redacted(once) == once or REDACTED in once


@pytest.mark.parametrize(
    "piece", [b"bearer ", b"sk-", b'"api_key":"\\', b"?key=", b"bearer a", b"AIza-", b'"api_key"', b"a"]
)
def test_it_takes_time_as_the_length_does(piece):
    """A quarter of a million repetitions would take minutes if it took time as their square."""
    data = piece * (2**21 // len(piece))
    began = time.perf_counter()
    redacted(data)
    assert time.perf_counter() - began < 10
