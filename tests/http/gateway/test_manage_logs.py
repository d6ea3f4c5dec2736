"""Logs of a gateway, as its management API shows them."""

import pytest

pytestmark = pytest.mark.anyio
BODY = {"model": "gpt-4o", "messages": []}


async def test_a_call_leaves_one_log(desk):
    answer = await desk.ask("POST", "/g/openai/chat/completions", BODY)
    assert answer.status == 200, answer.body
    (log,) = await desk.logged()
    assert log.id == answer.headers["cf-aig-log-id"]
    assert (log.provider, log.model, log.tokens_in) == ("openai", "gpt-4o", 10)
