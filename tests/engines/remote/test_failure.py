"""What an upstream fails with is an error of ours: the caller's fault only where it is, and never with our token."""

from dataclasses import replace

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from fake_upstream import said
from hypothesis import given
from hypothesis import strategies as st
from remote_model import UPSTREAM, remote

from lowcloud.core.errors import (
    BadRequest,
    EngineFailed,
    LowcloudError,
    ModelUnusable,
    Overloaded,
    PromptTooLong,
    Unavailable,
)
from lowcloud.engines.remote.failure import MAX_SHOWN, complaint_of, refused, scrubbed, unreached

OPENAI = {"error": {"message": "no such role", "param": "messages[0].role", "type": "invalid_request_error"}}
TABLE = [
    (400, OPENAI, BadRequest, "refuses this request: no such role"),
    (413, {}, BadRequest, "refuses this request: status 413"),
    (422, {"detail": "bad"}, BadRequest, "refuses this request: bad"),
    (401, OPENAI, ModelUnusable, r"refuses our credentials \(401\); see models.\"@remote/qwen\".upstream_token_env"),
    (403, {}, ModelUnusable, r"refuses our credentials \(403\)"),
    (404, OPENAI, ModelUnusable, r"upstream_model"),
    (405, {}, ModelUnusable, "not the base of an OpenAI-compatible server"),
    (302, {}, ModelUnusable, "not the base of an OpenAI-compatible server"),
    (429, {"error": "slow down"}, Overloaded, "has too much to do: slow down"),
    (500, OPENAI, EngineFailed, "failed with status 500"),
    (503, {}, Unavailable, r"can't answer now \(503\)"),
    (418, {}, EngineFailed, "failed with status 418"),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("status", "body", "kind", "message"), TABLE)
async def test_a_status_is_an_error_of_ours(status, body, kind, message):
    async with remote(said(body, status, {"Retry-After": "7", "Location": "/v1/elsewhere"})) as model:
        with pytest.raises(LowcloudError, match=message) as caught:
            await model.generate()
    assert type(caught.value) is kind
    assert len(model.upstream.paths) == 1, "no redirect is followed"


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7), ("0", 1), ("1e9", 3600), ("nan", 10), ("Wed, 21 Oct 2026", 10), (None, 10)]
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_the_upstreams_within_bounds(status, header, seconds):
    assert refused(UPSTREAM, status, b"", header).retry_after_s == seconds


def test_a_refusal_names_the_field():
    assert refused(UPSTREAM, 400, b'{"error": {"message": "no", "param": "temperature"}}').param == "temperature"


@pytest.mark.parametrize("code", ["context_length_exceeded", "exceed_context_size_error"])
def test_a_prompt_that_is_too_long_is_one_of_ours(code):
    body = b'{"error": {"message": "too long", "code": 400, "type": "%b"}}' % code.encode()
    assert isinstance(refused(UPSTREAM, 400, body), PromptTooLong)


@pytest.mark.parametrize(
    ("body", "message", "param"),
    [
        (OPENAI, "no such role", "messages[0].role"),
        ({"error": "a text"}, "a text", None),
        ({"detail": "a text"}, "a text", None),
        ({"detail": [{"loc": ["body", "messages", 0], "msg": "missing"}]}, "missing", "messages.0"),
        ({"object": "error", "message": "flat", "param": "n", "code": 400}, "flat", "n"),
        ({"success": False, "errors": [{"code": 5007, "message": "No such model"}]}, "No such model", None),
        ({"error": {"message": 3}}, "", None),
        ([], "", None),
        (None, "", None),
    ],
)
def test_every_form_of_a_complaint_is_read(body, message, param):
    complaint = complaint_of(body)
    assert (complaint.message, complaint.param) == (message, param)


TLS = ConnectionKey("x", 443, True, True, None, None, None)


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (aiohttp.ClientConnectorCertificateError(TLS, ValueError("self-signed")), "its TLS certificate isn't good"),
        (aiohttp.ConnectionTimeoutError(), "can't be reached within 10 s"),
        (aiohttp.ClientConnectorError(TLS, OSError("refused")), "can't be reached"),
        (TimeoutError(), "didn't answer within 300 s"),
        (aiohttp.ServerDisconnectedError(), "closed the connection without an answer"),
    ],
)
def test_an_upstream_that_gives_no_answer_is_unavailable(error, why):
    assert str(unreached(UPSTREAM, error)).endswith(f"{why}.")


@given(st.text(max_size=50), st.text(max_size=2000))
def test_what_is_shown_is_one_short_line_without_our_token(before, after):
    shown = scrubbed(f"{before}sk-secret{after}", UPSTREAM)
    assert "sk-secret" not in shown
    assert len(shown) <= MAX_SHOWN + 1
    assert shown.isprintable()


def test_without_a_token_nothing_is_taken_out():
    assert scrubbed("None", replace(UPSTREAM, token=None)) == "None"


@given(st.integers(300, 599), st.binary(max_size=200))
def test_no_answer_makes_the_translation_fail(status, body):
    assert str(refused(UPSTREAM, status, body))
