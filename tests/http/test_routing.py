import pytest

from lowcloud.http.settings import HttpSettings

pytestmark = pytest.mark.anyio
ACCOUNT = "0123456789abcdef0123456789abcdef"
LLAMA = "@cf/meta/llama-3.1-8b-instruct"
LONG = f"/client/v4/accounts/{ACCOUNT}/ai/v1"


@pytest.mark.parametrize("base", ["/v1", LONG, "/client/v4/accounts/anything/ai/v1"])
@pytest.mark.parametrize(
    "model",
    [
        LLAMA,
        "@cf%2Fmeta%2Fllama-3.1-8b-instruct",
        "%40cf/meta/llama-3.1-8b-instruct",
        "%40cf%2fmeta%2fllama-3.1-8b-instruct",
        "%40cf%2Fmeta/llama%2D3.1-8b-instruct/",
    ],
)
async def test_a_model_id_is_found_raw_and_encoded_on_both_bases(world, base, model):
    answer = await world.ask("GET", f"{base}/models/{model}")
    assert (answer.status, answer.json["id"]) == (200, LLAMA)


async def test_a_slash_at_the_end_makes_no_difference(world):
    assert (await world.ask("GET", "/v1/models/")).status == 200
    assert (await world.ask("GET", "/healthz/")).status == 200
    assert (await world.ask("GET", "/v1/models//")).status == 404


async def test_an_encoded_slash_never_makes_a_route_out_of_one_segment(world):
    assert (await world.ask("GET", "/v1%2Fmodels")).status == 404


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/completions/x", "/nope", "/client/v4/accounts//ai/v1/models"])
async def test_an_unknown_path_is_a_404_in_our_shape(world, path):
    answer = await world.ask("POST", path, {})
    assert (answer.status, answer.json["error"]["code"], answer.json["errors"][0]["code"]) == (404, "not_found", 7000)


async def test_a_path_that_is_no_utf8_is_a_400(world):
    answer = await world.ask("GET", "/v1/models/%FF%FE")
    assert answer.status == 400
    assert "UTF-8" in answer.json["error"]["message"]


async def test_32_hex_digits_after_v1_are_kept_for_the_gateway(world):
    answer = await world.ask("POST", f"/v1/{ACCOUNT}/default/openai/chat/completions", {})
    assert answer.status == 404
    assert "AI Gateway" in answer.json["error"]["message"]


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "HEAD"])
async def test_a_wrong_method_is_a_405_that_names_the_right_ones(world, method):
    answer = await world.ask(method, "/v1/chat/completions")
    assert (answer.status, answer.headers["allow"]) == (405, "POST, OPTIONS")
    if method != "HEAD":
        assert answer.json["errors"][0]["code"] == 7001


async def test_head_answers_like_get_without_a_body(world):
    whole = await world.ask("GET", "/v1/models")
    head = await world.ask("HEAD", "/v1/models")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == whole.headers["content-length"]


async def test_options_names_the_methods_of_a_path(world):
    answer = await world.ask("OPTIONS", "/v1/models")
    assert (answer.status, answer.headers["allow"]) == (204, "GET, HEAD, OPTIONS")


async def test_serve_wants_an_account_id_of_32_hex_digits(make_world):
    async with make_world(settings=HttpSettings()) as world:
        answer = await world.ask("GET", "/client/v4/accounts/mine/ai/v1/models")
        assert (answer.status, answer.json["errors"][0]["code"]) == (404, 7003)
        assert "/client/v4/accounts/mine/ai/v1/models" in answer.json["error"]["message"]
        assert (await world.ask("GET", f"{LONG}/models")).status == 200
        assert (await world.ask("GET", f"{LONG.replace('abcdef', 'ABCDEF')}/models")).status == 200


async def test_metrics_and_log_name_the_template_and_not_the_path(world):
    await world.ask("GET", f"{LONG}/models/{LLAMA}")
    await world.ask("GET", "/secret-path")
    template = "/client/v4/accounts/{account_id}/ai/v1/models/{model...}"
    assert world.metrics.requests == [(template, "GET", 200), ("unmatched", "GET", 404)]
    line = world.logs.calls[0].kwargs
    assert (line["route"], line["status"], line["account"], line["request_id"]) == (template, 200, ACCOUNT, "id-1")
