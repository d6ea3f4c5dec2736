"""``options.gateway`` of native runs: the same as the header ``cf-aig-gateway-id``."""

import pytest

pytestmark = pytest.mark.anyio
LLAMA = "@cf/meta/llama-3.1-8b-instruct"
SAY = {"prompt": "hello there"}


async def asked(desk, path: str, body: object, headers=None):
    return await desk.world.ask("POST", f"/client/v4/accounts/{desk.account}/ai/run{path}", body, headers)


@pytest.mark.parametrize(
    ("path", "body"), [(f"/{LLAMA}", SAY), ("", {"model": LLAMA, "input": SAY})], ids=["path", "body"]
)
async def test_a_run_whose_options_name_a_gateway_goes_through_it(desk, path, body):
    options = {"gateway": {"id": "g", "cacheTtl": 60, "metadata": {"a": 1}, "x": 1}, "rejectIfBusy": True}
    answer = await asked(desk, path, {**body, "options": options})
    assert (answer.status, answer.json["result"]["response"]) == (200, "one two three")
    assert answer.headers["lowcloud-ignored"] == "options.gateway.x"
    (log,) = await desk.logged()
    assert (log.id, log.model, log.metadata) == (answer.headers["cf-aig-log-id"], LLAMA, '{"a": 1}')
    again = await asked(desk, path, {**body, "options": options})
    assert again.headers["cf-aig-cache-status"] == "HIT"


async def test_of_a_header_and_the_options_the_options_count(desk):
    body = {**SAY, "options": {"gateway": {"id": "g"}}}
    answer = await asked(desk, f"/{LLAMA}", body, {"cf-aig-gateway-id": "nobody"})
    assert (answer.status, len(await desk.logged())) == (200, 1)


@pytest.mark.parametrize("options", [{"gateway": None}, {}, None])
async def test_options_that_name_no_gateway_ask_for_none(desk, options):
    answer = await asked(desk, f"/{LLAMA}", {**SAY, "options": options})
    assert (answer.status, await desk.logged()) == (200, ())


@pytest.mark.parametrize(
    ("gateway", "code", "words"),
    [
        ({"id": "nobody"}, 2001, "There is no gateway nobody"),
        ({"cacheTtl": 60}, 5006, "options.gateway.id: must be a string."),
        (7, 5006, "options.gateway: must be an object."),
        ({"id": "g", "cacheTtl": 1}, 7001, "options.gateway.cacheTtl: "),
    ],
)
async def test_what_is_wrong_is_an_error_in_the_envelope(desk, gateway, code, words):
    answer = await asked(desk, f"/{LLAMA}", {**SAY, "options": {"gateway": gateway}})
    (error,) = answer.json["errors"]
    assert (answer.status, error["code"], error["message"].startswith("AiError")) == (400, code, code == 5006)
    assert words in error["message"]


async def test_a_gateway_in_the_query_is_refused_by_name(desk):
    answer = await asked(desk, f"/{LLAMA}?gateway=g", SAY)
    assert (answer.status, answer.json["errors"][0]["code"]) == (400, 5006)
