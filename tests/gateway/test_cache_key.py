"""What is one entry of the cache, and which replies may be kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowcloud.gateway.cache_key import MAX_BYTES, cache_key, is_cacheable, tells_error
from lowcloud.gateway.call import Call

CALL = Call("openai", "POST", "chat/completions", "a=1", (("content-type", "application/json"),), b'{"model":"m"}')
words = st.text(max_size=5)
identities = st.tuples(words, words, st.integers(0, 3), words, words, words, words, st.binary(max_size=5), words)


def key(call=CALL, *, account="a", gateway="g", generation=0, credentials=("secret",), custom=None):
    return cache_key(account, gateway, generation, call, credentials, custom)


def key_of(identity, custom):
    account, gateway, generation, provider, method, path, query, body, credentials = identity
    call = Call(provider, method, path, query, (), body)
    return cache_key(account, gateway, generation, call, (credentials,), custom)


@given(identities, identities, st.none() | words, st.none() | words)
def test_two_calls_share_an_entry_where_all_that_counts_is_the_same(first, second, custom, other_custom):
    def counts(identity, custom):
        return (*identity[:7], identity[8], identity[7] if custom is None else None, custom)

    is_same = counts(first, custom) == counts(second, other_custom)
    assert (key_of(first, custom) == key_of(second, other_custom)) == is_same


@given(words, words)
def test_what_moves_from_one_part_to_the_next_makes_another_entry(one, other):
    moved = CALL._replace(path=CALL.path + one, query=other)
    assert (key(moved) == key(CALL._replace(path=CALL.path, query=one + other))) == (one == "")


def test_a_key_is_64_hex_digits_and_holds_nothing_of_the_credential():
    found = key()
    assert len(bytes.fromhex(found)) == 32
    assert "secret" not in found


@pytest.mark.parametrize(
    "change",
    [
        {"account": "b"},
        {"gateway": "h"},
        {"generation": 1},
        {"credentials": ("another",)},
        {"credentials": ("secret", "another")},
    ],
)
def test_accounts_gateways_generations_and_credentials_share_nothing_also_with_a_custom_key(change):
    assert key(**change) != key()
    assert key(custom="mine", **change) != key(custom="mine")


@pytest.mark.parametrize("body", [b'{"model": "m"}', b'{"model":"M"}', b""])
def test_bodies_are_compared_byte_for_byte(body):
    assert key(CALL._replace(body=body)) != key()


def test_a_custom_key_stands_for_the_body():
    assert key(custom="mine") == key(CALL._replace(body=b'{"model":"other"}'), custom="mine")
    assert key(custom="mine") != key(custom="yours")
    assert key(custom="mine") != key(CALL._replace(path="embeddings"), custom="mine")


@pytest.mark.parametrize(
    ("body", "is_stream"),
    [
        (b'{"stream": true}', True),
        (b'{"stream": false}', False),
        (b'{"stream": 1}', False),
        (b'{"a": {"stream": true}}', False),
        (b'["stream", true]', False),
        (b'{"stream": true', False),
        (b'"stream"' + b"[" * 100_000, False),
        (b'{"stream": true, "\xff": 1}', False),
    ],
)
def test_a_stream_and_a_whole_answer_share_no_entry_also_with_a_custom_key(body, is_stream):
    assert (key(CALL._replace(body=body), custom="mine") != key(custom="mine")) == is_stream


def accepting(value):
    return CALL._replace(headers=(*CALL.headers, ("accept", value)))


@pytest.mark.parametrize("value", ["*/*", " */* ", "", ",", "*/*,*/*"])
def test_to_accept_anything_is_to_say_nothing(value):
    assert key(accepting(value)) == key()


def test_what_is_accepted_is_part_of_the_entry_but_its_order_and_spelling_are_not():
    assert key(accepting("application/json")) != key()
    assert key(accepting("text/plain, Application/JSON;q=0.5")) == key(accepting("application/json; q=0.5,text/plain"))
    assert key(accepting("audio/mpeg"), custom="mine") != key(custom="mine")


@pytest.mark.parametrize("header", ["anthropic-version", "anthropic-beta", "openai-beta", "openai-organization"])
def test_a_header_that_decides_what_is_answered_is_part_of_the_entry(header):
    assert key(CALL._replace(headers=(*CALL.headers, (header, "x")))) != key()


def test_other_headers_are_not():
    assert key(CALL._replace(headers=(*CALL.headers, ("user-agent", "x")))) == key()


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "Application/JSON; charset=utf-8",
        "application/problem+json",
        "text/event-stream",
        "text/plain",
        "image/png",
        "audio/mpeg",
        "application/x-ndjson",
    ],
)
def test_a_success_of_a_kind_that_can_be_played_again_may_be_kept(kind):
    assert is_cacheable(200, [("x", "y"), ("Content-Type", kind)], MAX_BYTES)


@pytest.mark.parametrize("kind", ["application/octet-stream", "video/mp4", "multipart/mixed", "", "json"])
def test_a_success_of_another_kind_may_not(kind):
    assert not is_cacheable(200, [("content-type", kind)], 10)


def test_a_success_that_does_not_say_what_it_is_may_not():
    assert not is_cacheable(200, [], 10)


@pytest.mark.parametrize("status", [100, 199, 206, 300, 304, 400, 404, 429, 500])
def test_only_whole_successes_may_be_kept(status):
    assert not is_cacheable(status, [("content-type", "text/plain")], 10)


def test_a_reply_over_25_megabytes_may_not_be_kept():
    assert not is_cacheable(200, [("content-type", "text/plain")], MAX_BYTES + 1)


CHUNK = b'data: {"choices":[{"delta":{"content":"error"}}]}\n\n'


@pytest.mark.parametrize(
    "body",
    [
        b'{"error":{"message":"no"}}',
        b'{"object":"response","status":"failed","error":{"code":"server_error"}}',
        CHUNK * 3 + b'data: {"error":{"message":"server exploded"}}\n\n',
        CHUNK * 3 + b'data: {"error":{"message":"server exploded"}}\n\ndata: [DONE]\n\n',
        CHUNK * 9_999 + b'event: error\r\ndata: {"type":"error",\r\ndata: "error":{}}\r\n\r\n',
        b'event: response.failed\ndata: {"type":"response.failed","response":{}}\n\n',
        b"event: error\ndata: overloaded\n\n",
    ],
)
def test_a_success_that_tells_of_an_error_is_none(body):
    assert tells_error(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"an error, in plain text",
        b'{"choices":[{"message":{"content":"failed: error"}}],"error":null}',
        b'[{"error":1}]',
        CHUNK * 3 + b"data: [DONE]\n\n",
        b'event: response.completed\ndata: {"type":"response.completed","response":{"error":null}}\n\n',
        b'data: {"error":{"code":"of a tool"}}\n\n' + CHUNK * 5,
    ],
)
def test_a_reply_about_errors_is_a_success(body):
    assert not tells_error(body)
