"""Tokens out of replies, in every form and however they are cut."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowcloud.gateway.providers import PROVIDERS, CustomProvider, provider_of
from lowcloud.gateway.usage import Facts, UsageReader, Used, _facts_of_path, request_facts

MESSAGES = b'{"model": "m", "messages": [{"role": "user", "content": "Hello there"}]}'  # 11 characters: 3 tokens


def used(*pieces: bytes, request: bytes = b"", **bounds: int) -> Used:
    reader = UsageReader(**bounds)
    for piece in pieces:
        reader.feed(piece)
    return reader.used(request)


def whole(value: object, indent: int | None = None) -> bytes:
    return json.dumps(value, indent=indent).encode()


def stream(*events: object, named: bool = False, end: bytes = b"") -> bytes:
    name = "event: {}\n"
    lines = ((name.format(e["type"]) if named else "") + f"data: {json.dumps(e)}\n\n" for e in events)
    return "".join(lines).encode() + end


DONE = b"data: [DONE]\n\n"
OPENAI_USAGE = {
    "prompt_tokens": 12,
    "completion_tokens": 5,
    "total_tokens": 17,
    "prompt_tokens_details": {"cached_tokens": 8},
    "completion_tokens_details": {"reasoning_tokens": 2},
}
RESPONSES_USAGE = {
    "input_tokens": 12,
    "input_tokens_details": {"cached_tokens": 8},
    "output_tokens": 5,
    "total_tokens": 17,
}
ANTHROPIC_USAGE = {
    "input_tokens": 3,
    "cache_read_input_tokens": 8,
    "cache_creation_input_tokens": 1,
    "output_tokens": 5,
}
GOOGLE_USAGE = {
    "promptTokenCount": 10,
    "toolUsePromptTokenCount": 2,
    "candidatesTokenCount": 3,
    "thoughtsTokenCount": 2,
    "cachedContentTokenCount": 8,
    "totalTokenCount": 17,
}
CHUNK = {"model": "m", "choices": [{"delta": {"content": "Hi"}}], "usage": None}
REPLIES = {
    "openai chat": (whole({"model": "m", "choices": [], "usage": OPENAI_USAGE}), Used(12, 5, 8, "m")),
    "openai chat, streamed": (
        stream(CHUNK, CHUNK, {"model": "m", "choices": [], "usage": OPENAI_USAGE}, end=DONE),
        Used(12, 5, 8, "m"),
    ),
    "openai responses": (whole({"model": "m", "output": [], "usage": RESPONSES_USAGE}), Used(12, 5, 8, "m")),
    "openai responses, streamed": (
        stream(
            {"type": "response.created", "response": {"model": "m", "usage": None}},
            {"type": "response.output_text.delta", "delta": "Hi"},
            {"type": "response.completed", "response": {"model": "m", "usage": RESPONSES_USAGE}},
            named=True,
        ),
        Used(12, 5, 8, "m"),
    ),
    "embeddings": (
        whole({"model": "e", "data": [{"embedding": [0.1]}], "usage": {"prompt_tokens": 7, "total_tokens": 7}}),
        Used(7, 0, 0, "e"),
    ),
    "groq, streamed": (stream({"model": "m", "choices": [], "x_groq": {"usage": OPENAI_USAGE}}), Used(12, 5, 8, "m")),
    "deepseek": (
        whole({"usage": {"prompt_tokens": 12, "completion_tokens": 5, "prompt_cache_hit_tokens": 8}}),
        Used(12, 5, 8),
    ),
    "grok": (
        whole(
            {
                "usage": {
                    "prompt_tokens": 12,
                    "completion_tokens": 5,
                    "total_tokens": 37,
                    "completion_tokens_details": {"reasoning_tokens": 20},
                }
            }
        ),
        Used(12, 25),
    ),
    "workers ai": (
        whole({"result": {"response": "Hi", "usage": OPENAI_USAGE}, "success": True, "errors": []}),
        Used(12, 5, 8),
    ),
    "workers ai, streamed": (
        stream({"response": "Hi", "p": "ab"}, {"response": "", "usage": OPENAI_USAGE}, end=DONE),
        Used(12, 5, 8),
    ),
    "anthropic": (
        whole({"type": "message", "model": "c", "usage": ANTHROPIC_USAGE}),
        Used(12, 5, 8, "c", written_in=1),
    ),
    "anthropic, streamed": (
        stream(
            {"type": "message_start", "message": {"model": "c", "usage": {**ANTHROPIC_USAGE, "output_tokens": 1}}},
            {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Hi"}},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}},
            {"type": "message_stop"},
            named=True,
        ),
        Used(12, 5, 8, "c", written_in=1),
    ),
    "google": (
        whole({"candidates": [], "usageMetadata": GOOGLE_USAGE, "modelVersion": "g"}, indent=2),
        Used(12, 5, 8, "g"),
    ),
    "google, streamed": (
        stream(
            {"candidates": [], "usageMetadata": {"promptTokenCount": 10}, "modelVersion": "g"},
            {"candidates": [], "usageMetadata": GOOGLE_USAGE, "modelVersion": "g"},
        ),
        Used(12, 5, 8, "g"),
    ),
    "google, an array": (
        whole(
            [{"usageMetadata": {"promptTokenCount": 10}}, {"usageMetadata": GOOGLE_USAGE, "modelVersion": "g"}],
            indent=2,
        ),
        Used(12, 5, 8, "g"),
    ),
    "cohere v1": (
        whole({"text": "Hi", "meta": {"billed_units": {"input_tokens": 12, "output_tokens": 5}}}),
        Used(12, 5),
    ),
    "cohere v1, streamed": (
        b"".join(
            whole(line) + b"\n"
            for line in (
                {"event_type": "text-generation", "text": "Hi"},
                {
                    "event_type": "stream-end",
                    "response": {"meta": {"tokens": {"input_tokens": 12, "output_tokens": 5}}},
                },
            )
        ),
        Used(12, 5),
    ),
    "cohere v2": (
        whole(
            {
                "usage": {
                    "billed_units": {"input_tokens": 12, "output_tokens": 5},
                    "tokens": {"input_tokens": 70, "output_tokens": 6},
                }
            }
        ),
        Used(12, 5),
    ),
    "cohere v2, streamed": (
        stream(
            {"type": "content-delta", "delta": {"message": {"content": {"text": "Hi"}}}},
            {"type": "message-end", "delta": {"usage": {"billed_units": {"input_tokens": 12.0, "output_tokens": 5.0}}}},
            named=True,
        ),
        Used(12, 5),
    ),
    "cohere embed": (whole({"embeddings": [[0.1]], "meta": {"billed_units": {"input_tokens": 7}}}), Used(7, 0)),
    "bedrock converse": (
        whole({"usage": {"inputTokens": 3, "outputTokens": 5, "cacheReadInputTokens": 8, "cacheWriteInputTokens": 1}}),
        Used(12, 5, 8, written_in=1),
    ),
}


@pytest.mark.parametrize(("reply", "expected"), REPLIES.values(), ids=REPLIES.keys())
def test_a_reply_of_any_form_tells_its_tokens(reply, expected):
    assert used(reply) == expected


@pytest.mark.parametrize(("reply", "expected"), REPLIES.values(), ids=REPLIES.keys())
def test_a_reply_tells_the_same_byte_by_byte_and_with_crlf(reply, expected):
    assert used(*(reply[at : at + 1] for at in range(len(reply))), batch_bytes=0) == expected
    assert used(reply.replace(b"\n", b"\r\n")) == expected


CUTS = st.lists(st.integers(0, 2000), max_size=6)


@given(st.sampled_from(list(REPLIES.values())), CUTS, st.integers(0, 500), st.booleans())
def test_where_a_reply_is_cut_into_pieces_makes_no_difference(reply, cuts, batch, ends_early):
    body = reply[0][: len(reply[0]) // 2] if ends_early else reply[0]
    ends = sorted(min(cut, len(body)) for cut in cuts)
    pieces = [body[begin:end] for begin, end in zip([0, *ends], [*ends, len(body)], strict=True)]
    assert used(*pieces, request=MESSAGES, batch_bytes=batch) == used(body, request=MESSAGES)


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=4), st.integers(20, 60), st.integers(0, 90))
def test_any_bytes_however_they_are_cut_give_the_same(body, cuts, bound, batch):
    ends = sorted(min(cut, len(body)) for cut in cuts)
    pieces = [body[begin:end] for begin, end in zip([0, *ends], [*ends, len(body)], strict=True)]
    bounds = {"max_bytes": bound, "tail_bytes": 20}
    assert used(*pieces, **bounds, batch_bytes=batch) == used(body, **bounds)


@given(
    st.lists(
        st.sampled_from(
            [b'data: {"usage":', b'{"usage": {"input_tokens": 4}}', b'"text": "abc"', b"\n", b"x" * 9, b"[{"]
        )
    ),
    st.integers(1, 7),
    st.integers(0, 90),
)
def test_long_lines_are_cut_the_same_however_they_come(parts, size, batch):
    body = b"".join(parts)
    bounds = {"max_bytes": 40, "tail_bytes": 24}
    pieces = (body[at : at + size] for at in range(0, len(body), size))
    assert used(*pieces, **bounds, batch_bytes=batch) == used(body, **bounds)


def test_where_no_tokens_are_told_they_are_estimated_from_the_texts():
    reply = stream(
        {"model": "m", "choices": [{"delta": {"content": "Hello"}}], "usage": None},
        {"model": "m", "choices": [{"delta": {"content": ' "you"'}}], "usage": None},
        end=DONE,
    )
    assert used(reply, request=MESSAGES) == Used(
        3, 4, 0, "m", is_counted=False
    )  # the quotes count with their backslashes
    assert used(whole({"choices": [{"message": {"content": "Hello"}}]}), request=MESSAGES).tokens_out == 2


SAID_EARLY = {
    "anthropic": (
        [{"type": "message_start", "message": {"model": "c", "usage": {**ANTHROPIC_USAGE, "output_tokens": 1}}}],
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "word" * 200}},
        Used(12, 1 + 100 * 200, 8, "c", is_counted=False, written_in=1),
    ),
    "openai, usage in the first chunk": (
        [{"model": "m", "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 0}}],
        {"choices": [{"delta": {"content": "word" * 200}}], "usage": {"prompt_tokens": 7, "completion_tokens": 0}},
        Used(7, 100 * 200, 0, "m", is_counted=False),
    ),
    "responses": (
        [{"type": "response.in_progress", "response": {"model": "m", "usage": RESPONSES_USAGE}}],
        {"type": "response.output_text.delta", "delta": "word" * 200},
        Used(12, 5 + 100 * 200, 8, "m", is_counted=False),
    ),
    "google, of the prompt and of thoughts": (
        [{"candidates": [], "usageMetadata": {"promptTokenCount": 7, "thoughtsTokenCount": 9}, "modelVersion": "g"}],
        {
            "candidates": [{"content": {"parts": [{"text": "word" * 200}]}}],
            "usageMetadata": {"promptTokenCount": 7, "thoughtsTokenCount": 9},
        },
        Used(7, 100 * 200, 0, "g", is_counted=False),
    ),
}


@pytest.mark.parametrize(("first", "delta", "expected"), SAID_EARLY.values(), ids=SAID_EARLY.keys())
def test_of_a_stream_that_ends_before_all_tokens_are_told_what_came_is_estimated(first, delta, expected):
    assert used(stream(*first, *[delta] * 100)) == expected


def test_each_told_count_of_a_stream_is_for_the_text_that_came_before_it():
    def chunk(n_out: int | None) -> dict[str, object]:
        usage = {"promptTokenCount": 10} | ({} if n_out is None else {"candidatesTokenCount": n_out})
        return {"candidates": [{"content": {"parts": [{"text": "word" * 50}]}}], "usageMetadata": usage}

    assert used(stream(chunk(40), chunk(85))) == Used(10, 85)
    assert used(stream(chunk(40), chunk(85), chunk(None))) == Used(10, 135, is_counted=False)
    assert used(stream(chunk(None), chunk(85))) == Used(10, 85)


def test_an_array_that_is_cut_tells_what_its_last_whole_usage_does():
    parts = [{"parts": [{"text": "word" * 50}], "usageMetadata": {**GOOGLE_USAGE, "candidatesTokenCount": 60}}]
    body = whole([*parts, *parts, {"parts": [{"text": "word" * 10}]}], indent=2)
    assert used(body[:-9]) == Used(12, 72, 8, is_counted=False)
    assert used(body[: body.rindex(b'"thoughtsTokenCount"')]) == Used(0, 100, is_counted=False)


def test_a_reply_that_came_to_its_end_is_what_its_usage_says_however_long_it_is():
    echoed = [{"document": {"text": "word" * 200}} for _ in range(50)]
    ranking = whole({"results": echoed, "usage": {"prompt_tokens": 500, "total_tokens": 500}})
    assert used(ranking) == used(ranking, max_bytes=100, tail_bytes=2_000) == Used(500, 0)
    lines = [{"usage": {"prompt_tokens": 5, "completion_tokens": 90}}, *[{"response": "word" * 20}] * 9]
    assert used(b"\n".join(map(whole, lines))) == Used(5, 90)


EVENTS = st.lists(st.one_of(st.text("word \u65e5", max_size=9), st.integers(1, 9)), max_size=20)


@given(EVENTS, st.integers(1, 99), st.integers(0, 500))
def test_of_any_stream_the_last_count_and_the_text_since_it_are_paid_for(events, size, batch):
    told = since = 0
    body = b""
    for each in events:
        if isinstance(each, str):
            since += len(each)
            body += stream({"choices": [{"delta": {"content": each}}]}).replace(rb"\u65e5", "\u65e5".encode())
        else:
            told, since = told + each, 0
            body += stream({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": told}})
    pieces = (body[at : at + size] for at in range(0, len(body), size))
    assert used(*pieces, batch_bytes=batch).tokens_out == told + -(-since // 4)


def test_images_names_and_roles_are_no_text():
    parts = [
        {"type": "text", "text": "abcd"},
        {"type": "image_url", "image_url": {"url": "https://a.example/" + "x" * 99}},
    ]
    request = whole(
        {"model": "m" * 99, "messages": [{"role": "user", "content": parts}], "image": "data:" + "x" * 99, "n": 1}
    )
    assert used(request=request) == Used(1, 0, is_counted=False)


def test_text_that_ends_a_delta_again_is_counted_once():
    reply = stream(
        {"type": "response.output_text.delta", "delta": "Hell"},
        {"type": "response.output_text.done", "text": "Hell"},
    )
    assert used(reply).tokens_out == 1


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"  \n ",
        b"ID3\x04\x00binary\n\n\xff\xfb",
        b"{",
        b"[" * 100_000,
        b'{"usage": {',
        b'{"usage": {}}',
        b'{"usage": []}',
        b'{"usage": {"prompt_tokens": true, "completion_tokens": -1}}',
        b'{"usage": {"prompt_tokens": 1e400}}',
        b'{"usage": {"prompt_tokens": NaN}}',
        b'{"usage": {"type": "duration", "seconds": 3}}',
        b'{"meta": {"api_version": {"version": "2"}}}',
        b'["a", 3, null]',
        b'data: {"usage": {\n\n',
        b": ping\n\nevent: a\n\ndata: x\n\n",
    ],
)
def test_what_tells_no_tokens_isnt_counted(reply):
    found = used(reply)
    assert (found.is_counted, found.tokens_in, found.tokens_out) == (False, 0, 0)


def test_of_a_reply_that_is_too_long_the_end_is_read():
    usage = {"prompt_tokens": 7, "completion_tokens": 2}
    long = {"data": [0.25] * 1000, "more": {"usage": {"prompt_tokens": 1}}, "usage": usage}
    assert used(whole(long), max_bytes=1000, tail_bytes=200) == Used(7, 2)
    event = stream({"type": "response.completed", "response": {"output": "x" * 2000, "usage": RESPONSES_USAGE}})
    assert used(event, max_bytes=1000, tail_bytes=300) == Used(12, 5, 8)
    assert not used(whole(long)[:-5], max_bytes=1000, tail_bytes=200).is_counted
    spoken = used(whole({"text": "x" * 5000, "response": "abcd"}), max_bytes=1000, tail_bytes=100)
    assert (spoken.is_counted, spoken.tokens_out) == (False, 1)


def test_a_stream_isnt_kept():
    reader = UsageReader(batch_bytes=1000)
    event = stream(CHUNK)
    for _ in range(1000):
        reader.feed(event)
        assert len(reader._rest) <= 1000 + len(event)
    assert reader.used() == reader.used() == Used(0, 500, 0, "m", is_counted=False)


def test_text_that_speaks_of_usage_is_no_usage():
    said = '{"usage": {"prompt_tokens": 99}}'
    reply = stream({"choices": [{"delta": {"content": said}}]}, {"usage": {"prompt_tokens": 1, "completion_tokens": 1}})
    assert used(reply) == Used(1, 1)


@pytest.mark.parametrize(
    ("slug", "path", "body", "facts"),
    [
        ("openai", "chat/completions", b'{"model": "m", "stream": true}', Facts("m", True, "text", "chat")),
        ("openai", "completions", b'{"model": "m"}', Facts("m", False, "text", "completion")),
        ("openai", "/responses/", b'{"model": "m", "stream": null}', Facts("m", False, "text", "responses")),
        ("openai", "embeddings", b'{"model": "m"}', Facts("m", False, "embeddings", "embeddings")),
        ("openai", "images/generations", b'{"model": "m"}', Facts("m", False, "image", "image")),
        ("openai", "audio/speech", b'{"model": "m"}', Facts("m", False, "text-to-speech", "speech")),
        ("openai", "audio/transcriptions", b"--boundary", Facts("", False, "speech-to-text", "transcription")),
        ("openai", "files", b"[1]", Facts()),
        ("openai", "models/gpt-4o", b"", Facts("gpt-4o")),
        ("anthropic", "v1/messages", b'{"model": "c", "stream": true}', Facts("c", True, "text", "messages")),
        ("azure-openai", "res/dep/chat/completions", b"{}", Facts("dep", False, "text", "chat")),
        ("azure-openai", "res/dep/chat/completions", b'{"model": "m"}', Facts("m", False, "text", "chat")),
        ("azure-openai", "res", b"{}", Facts()),
        ("google-ai-studio", "v1/models/g:generateContent", b"{}", Facts("g", False, "text", "generate")),
        ("google-ai-studio", "v1beta/models/g:streamGenerateContent", b"{}", Facts("g", True, "text", "generate")),
        ("google-ai-studio", "v1beta/models/g:embedContent", b"{}", Facts("g", False, "embeddings", "embeddings")),
        (
            "google-vertex-ai",
            "v1/projects/p/locations/us-east4/publishers/google/models/g:generateContent",
            b"{}",
            Facts("g", False, "text", "generate"),
        ),
        (
            "aws-bedrock",
            "bedrock-runtime/us-east-1/model/a.n-v1:0/converse",
            b"{}",
            Facts("a.n-v1:0", False, "text", "converse"),
        ),
        (
            "aws-bedrock",
            "bedrock-runtime/us-east-1/model/a.n-v1%3A0/invoke-with-response-stream",
            b"{}",
            Facts("a.n-v1:0", True),
        ),
        ("cohere", "v2/chat", b'{"model": "c"}', Facts("c", False, "text", "chat")),
        ("cohere", "v1/rerank", b'{"model": "r"}', Facts("r", False, "rerank", "rerank")),
        ("workers-ai", "@cf/meta/llama", b'{"stream": true}', Facts("@cf/meta/llama", True, "", "run")),
        ("workers-ai", "run/@cf/meta/llama", b"{}", Facts("@cf/meta/llama", False, "", "run")),
        ("workers-ai", "run", b'{"model": "@cf/meta/llama"}', Facts("@cf/meta/llama", False, "", "run")),
        ("workers-ai", "v1/chat/completions", b'{"model": "@cf/a/b"}', Facts("@cf/a/b", False, "text", "chat")),
        ("huggingface", "bigcode/starcoder", b'{"inputs": "a"}', Facts("bigcode/starcoder")),
        ("fal", "fal-ai/fast-sdxl", b"{}", Facts("fal-ai/fast-sdxl")),
        ("replicate", "models/a/b/predictions", b"{}", Facts("a/b")),
        ("elevenlabs", "v1/text-to-speech/voice", b'{"model_id": "e"}', Facts("e")),
        ("custom-mine", "v1/chat/completions", b'{"model": 3}', Facts("", False, "text", "chat")),
    ],
)
def test_a_request_tells_its_model_and_what_it_asks_for(slug, path, body, facts):
    provider = provider_of(slug, {"mine": CustomProvider("mine", "https://a.example")})
    assert request_facts(provider, path, body) == facts


@pytest.mark.parametrize("slug", ["openai", "workers-ai", "huggingface", "azure-openai"])
def test_a_path_that_is_too_long_says_nothing_and_isnt_kept(slug):
    asked = _facts_of_path.cache_info().misses
    assert request_facts(PROVIDERS[slug], "models/" + "%41" * 10**6, b"{}") in (Facts(), Facts(request_type="run"))
    assert _facts_of_path.cache_info().misses == asked


@given(st.sampled_from(list(PROVIDERS)), st.text(max_size=40), st.binary(max_size=40))
def test_any_request_has_facts(slug, path, body):
    assert isinstance(request_facts(PROVIDERS[slug], path, body), Facts)
