"""What an answer cost is said in every format; what is over an account's limits, or would have to wait, is a 429."""

import anyio
import pytest
from usage_sums import Sums, UsageTold

from lowcloud.core.errors import BadRequest, EngineFailed
from lowcloud.http.openai import schemas
from lowcloud.http.openai.chat_request import chat_asked
from lowcloud.http.openai.completions_request import completion_asked
from lowcloud.http.openai.embeddings_request import embeddings_asked
from lowcloud.models.card import Task
from lowcloud.serving.limits import Allowance
from lowcloud.serving.usage import Ledger

pytestmark = pytest.mark.anyio
LLAMA = "@cf/meta/llama-3.1-8b-instruct"
BGE = "@cf/baai/bge-large-en-v1.5"
STAND_IN = "@local/smollm2-135m-instruct"
IN, OUT = 25_608, 75_147  # of LLAMA, a million tokens
RUN = f"/client/v4/accounts/{'0' * 32}/ai/run/{LLAMA}"
COST = (4 * IN + 3 * OUT) / 1e6
NOON = 20_000 * 86_400 + 43_200.0
MESSAGE = {"model": LLAMA, "max_tokens": 9, "messages": [{"role": "user", "content": "hello there"}]}
COMPLETION = {"model": LLAMA, "prompt": "hello there"}


def ledger(neurons_per_day: float | None = None, **rates: int) -> Ledger:
    by_task = {Task[name.upper()]: rate for name, rate in rates.items()}
    return Ledger(Sums(), UsageTold(), Allowance(neurons_per_day, by_task), lambda: NOON)


async def test_a_whole_chat_completion_says_its_neurons_in_the_usage_and_in_a_header(world):
    answer = await world.chat_completion(model=LLAMA)
    assert answer.json["usage"]["neurons"] == schemas.ChatCompletion.model_validate(answer.json).usage.neurons == COST
    assert answer.headers["cf-ai-neurons"] == f"{COST:.2f}" == "0.33"


async def test_a_model_without_a_price_costs_nothing(world):
    answer = await world.chat_completion()
    assert (answer.json["usage"]["neurons"], answer.headers["cf-ai-neurons"]) == (0, "0.00")


async def test_a_stream_has_the_neurons_in_its_usage_alone(world):
    answer = await world.chat_completion(model=LLAMA, stream=True, stream_options={"include_usage": True})
    assert [chunk["usage"] and chunk["usage"]["neurons"] for chunk in answer.chunks] == [None] * 5 + [COST]
    assert "cf-ai-neurons" not in answer.headers


async def test_the_prompts_of_a_completion_cost_what_they_cost_together(world):
    whole = await world.ask("POST", "/v1/completions", COMPLETION | {"prompt": ["a b", "c"]})
    cost = (3 * IN + 6 * OUT) / 1e6
    assert whole.json["usage"]["neurons"] == schemas.Completion.model_validate(whole.json).usage.neurons
    assert whole.json["usage"]["neurons"] == pytest.approx(cost)
    assert whole.headers["cf-ai-neurons"] == f"{cost:.2f}"
    stream = {"stream": True, "stream_options": {"include_usage": True}}
    streamed = await world.ask("POST", "/v1/completions", COMPLETION | {"prompt": ["a b", "c"]} | stream)
    assert streamed.chunks[-1]["usage"] == whole.json["usage"]


async def test_anthropics_format_has_the_header_alone(world):
    answer = await world.ask("POST", "/v1/messages", MESSAGE)
    assert answer.headers["cf-ai-neurons"] == f"{COST:.2f}"
    assert "neurons" not in answer.json["usage"]


async def test_a_native_run_has_the_header_and_its_usage_has_the_neurons_whole_and_streamed(world):
    whole = await world.ask("POST", RUN, {"prompt": "hello there"})
    assert (whole.json["result"]["usage"]["neurons"], whole.headers["cf-ai-neurons"]) == (COST, "0.33")
    streamed = await world.ask("POST", RUN, {"prompt": "hello there", "stream": True})
    assert [chunk["usage"]["neurons"] for chunk in streamed.chunks if "usage" in chunk] == [COST]


async def test_embeddings_have_the_header_alone(world):
    answer = await world.embeddings(model=BGE, input=["I love matcha"] * 100)
    assert answer.headers["cf-ai-neurons"] == f"{300 * 18_582 / 1e6:.2f}" == "5.57"
    assert list(answer.json["usage"]) == ["prompt_tokens", "total_tokens"]


async def test_an_error_has_no_neurons(world):
    world.chat.stage.fail("start", EngineFailed("no"))
    assert "cf-ai-neurons" not in (await world.chat_completion()).headers


async def test_over_the_neurons_of_the_day_every_format_refuses_with_the_number_and_the_words(make_world):
    async with make_world(ledger=ledger(neurons_per_day=0.3)) as world:
        assert (await world.chat_completion(model=LLAMA)).status == 200
        openai = await world.chat_completion(model=LLAMA, stream=True)
        completion = await world.ask("POST", "/v1/completions", COMPLETION)
        embeddings = await world.embeddings(model=BGE)
        anthropic = await world.ask("POST", "/v1/messages", MESSAGE)
        native = await world.ask("POST", RUN, {"prompt": "hello there"})
        free = await world.chat_completion()
    words = "You have used up your daily free allocation of 0.3 neurons."
    for refused in (openai, completion, embeddings, anthropic, native):
        assert refused.status == 429
        assert refused.headers["retry-after"] == "43200"
        assert refused.headers["x-should-retry"] == "false"
    for refused in (openai, completion, embeddings, anthropic):
        assert refused.json["error"]["message"].startswith(words)
    for refused in (openai, completion, embeddings, anthropic):
        assert refused.json["errors"][0]["code"] == 3036
    for refused in (openai, completion, embeddings):
        assert refused.json["error"]["code"] == "insufficient_quota"
    assert native.json["errors"][0]["code"] == 3036
    assert native.json["errors"][0]["message"].startswith(f"AiError: {words}")
    assert anthropic.json["error"]["type"] == "rate_limit_error"
    assert free.status == 200


async def test_over_the_requests_of_the_minute_a_task_is_refused_until_its_end_and_worth_a_retry(make_world):
    async with make_world(ledger=ledger(text_generation=2)) as world:
        assert [(await world.chat_completion()).status for _ in range(3)] == [200, 200, 429]
        refused = await world.ask("POST", "/v1/messages", MESSAGE)
        assert (await world.embeddings()).status == 200
    assert (refused.status, refused.headers["retry-after"]) == (429, "60")
    assert "x-should-retry" not in refused.headers


async def test_the_prompts_of_a_completion_are_one_request_of_the_minute(make_world):
    async with make_world(ledger=ledger(text_generation=1)) as world:
        assert (await world.ask("POST", "/v1/completions", COMPLETION | {"prompt": ["a", "b", "c"]})).status == 200
        assert (await world.ask("POST", "/v1/completions", COMPLETION)).status == 429


async def test_accounts_have_limits_of_their_own(make_world):
    async with make_world(ledger=ledger(text_generation=1)) as world:
        body = {"model": STAND_IN, "messages": [{"role": "user", "content": "hi"}]}
        paths = [f"/client/v4/accounts/{digit * 32}/ai/v1/chat/completions" for digit in "aab"]
        assert [(await world.ask("POST", path, body)).status for path in paths] == [200, 429, 200]


@pytest.mark.parametrize(
    ("path", "body"), [("/v1/chat/completions", MESSAGE), ("/v1/completions", COMPLETION | {"prompt": ["a", "b"]})]
)
async def test_who_asks_not_to_wait_is_refused_where_others_wait_and_only_there(world, path, body):
    asked = body | {"options": {"rejectIfBusy": True}}
    world.chat.stage.hold("start")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.chat_completion)
        await world.chat.stage.reached("start")
        refused = await world.ask("POST", path, asked)
        world.chat.stage.open("start")
    assert (await world.ask("POST", path, asked)).status == 200
    assert (refused.status, refused.json["errors"][0]["code"]) == (429, 3040)
    assert "retry-after" in refused.headers


async def test_embeddings_that_are_not_to_wait_are_refused_where_others_wait(world):
    options = {"rejectIfBusy": True}
    world.embedder.stage.hold("embed")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.embeddings)
        await world.embedder.stage.reached("embed")
        refused = await world.embeddings(options=options)
        world.embedder.stage.open("embed")
    assert (await world.embeddings(options=options)).status == 200
    assert (refused.status, refused.json["errors"][0]["code"]) == (429, 3040)


FORMATS = {
    "chat": lambda options: chat_asked(MESSAGE | {"options": options}, "id"),
    "completions": lambda options: completion_asked(COMPLETION | {"options": options}, "id"),
    "embeddings": lambda options: embeddings_asked(
        {"model": BGE, "input": "tea", "options": options}, "id", accept_token_ids=False
    ),
}


@pytest.mark.parametrize("name", FORMATS)
def test_options_are_read_and_the_others_named(name):
    asked = FORMATS[name]({"rejectIfBusy": True, "tags": ["a"], "gateway": {"id": "x"}, "prefix": None})
    assert (asked.rejects_if_busy, asked.ignored) == (True, ("options.tags", "options.gateway"))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("options", [None, {}, {"rejectIfBusy": None}, {"rejectIfBusy": False}])
def test_options_may_ask_for_nothing(name, options):
    asked = FORMATS[name](options)
    assert (asked.rejects_if_busy, asked.ignored) == (False, ())


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("options", "param"), [({"rejectIfBusy": "true"}, "options.rejectIfBusy"), ("fast", "options"), ([], "options")]
)
def test_wrong_options_are_refused_by_name(name, options, param):
    with pytest.raises(BadRequest) as refused:
        FORMATS[name](options)
    assert refused.value.param == param
