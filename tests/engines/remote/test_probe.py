"""What asking an upstream for its models shows."""

from dataclasses import replace

import pytest
from fake_upstream import fake_upstream, said
from remote_model import UPSTREAM

from lowcloud.engines.remote.probe import Outcome, look

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (said({"data": [{"id": "qwen3"}]}), (True, True, "has the model")),
        (said({"data": [{"id": "other"}]}), (True, False, "doesn't list the model qwen3")),
        (said({"models": []}), (True, None, "without a list")),
        (said({}, 404), (True, None, "without a list")),
        (said({}, 401), (False, None, "refuses our credentials")),
        (said(b"", 500), (False, None, "failed with status 500")),
    ],
)
async def test_an_upstream_is_asked_for_its_models(answer, outcome):
    async with fake_upstream(answer) as upstream:
        seen = await look(replace(UPSTREAM, url=upstream.url))
        assert upstream.paths == ["/v1/models"]
        assert upstream.headers[0]["Authorization"] == "Bearer sk-secret"
    assert (seen.answers, seen.has_model) == outcome[:2]
    assert outcome[2] in seen.note


async def test_an_upstream_that_isnt_there_doesnt_answer():
    assert await look(UPSTREAM) == Outcome(False, None, "The upstream of @remote/qwen can't be reached.")
