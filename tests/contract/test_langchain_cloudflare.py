"""langchain-cloudflare as a client of the native API, by its base URLs: chat models, embeddings and reranking."""

import node_project
import pytest
from langchain_cloudflare import (
    ChatCloudflareWorkersAI,
    CloudflareWorkersAIEmbeddings,
    CloudflareWorkersAIReranker,
)
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel
from scripted_server import ACCOUNT, BGE, LLAMA, RERANKER, Served, scripted_server

pytestmark = pytest.mark.anyio
GPT_OSS = "@cf/openai/gpt-oss-20b"
BOTH = pytest.mark.parametrize("model", [LLAMA, GPT_OSS], ids=["classic", "newer"])
NOISES = [SystemMessage("Be brief."), HumanMessage("Make some robot noises")]


class Place(BaseModel):
    """Where somebody was."""

    city: str
    years: int


class Person(BaseModel):
    """Somebody."""

    name: str
    age: int
    mood: str
    nickname: str | None
    places: list[Place]


ADA = Person.model_validate(node_project.ADA)


@tool
def get_weather(city: str, unit: str) -> str:
    """The weather of a city."""
    return f"4 degrees {unit} in {city}"


@pytest.fixture(scope="module")
def served():
    with scripted_server(is_open=True, reranks=True) as running:
        running.reply = node_project.script
        yield running


@pytest.fixture
async def chat(served: Served):
    """Makes chat models, and closes their connections, which they never do."""
    made = []

    def make(model: str, **options: object) -> ChatCloudflareWorkersAI:
        base = {"base_url": f"{served.url}/client/v4", "account_id": ACCOUNT, "api_token": "sk-any"}
        made.append(ChatCloudflareWorkersAI(model=model, timeout=20, max_retries=0, **base, **options))
        return made[-1]

    yield make
    for each in made:
        each.client.close()
        await each.async_client.aclose()


@BOTH
async def test_an_answer_comes_whole_with_its_usage(chat, model):
    llm = chat(model, temperature=0.5, max_tokens=64, reject_if_busy=True)
    for answer in (llm.invoke(NOISES), await llm.ainvoke(NOISES)):
        assert answer.content == "beep boop whirr"
        assert answer.usage_metadata["output_tokens"] == 3


@BOTH
async def test_an_answer_comes_word_by_word(chat, model):
    llm = chat(model)
    words = [chunk.content for chunk in llm.stream(NOISES) if chunk.content]
    assert (
        words == [chunk.content async for chunk in llm.astream(NOISES) if chunk.content] == ["beep", " boop", " whirr"]
    )


async def test_the_thoughts_of_a_newer_model_are_told_from_its_answer(chat):
    answer = chat(GPT_OSS).invoke("Make some robot noises, and think")
    assert answer.content == [
        {"type": "thinking", "thinking": "Robots beep."},
        {"type": "text", "text": "beep boop whirr"},
    ]


@BOTH
async def test_bound_tools_are_called_and_their_results_go_back(chat, model):
    llm = chat(model).bind_tools([get_weather])
    asked = HumanMessage("What is the weather in two cities?")
    calling = llm.invoke([asked])
    assert [call["args"] for call in calling.tool_calls] == [
        {"city": "Oslo", "unit": "celsius"},
        {"city": "Rome", "unit": "celsius"},
    ]
    results = [get_weather.invoke(call) for call in calling.tool_calls]
    assert all(isinstance(result, ToolMessage) for result in results)
    answer = llm.invoke([asked, calling, *results])
    assert answer.content.startswith("The tool says 4 degrees celsius in Oslo")
    assert "Rome" in answer.content


@BOTH
@pytest.mark.parametrize("method", ["json_schema", "json_mode"])
async def test_structured_output_is_an_object(chat, model, method):
    assert chat(model).with_structured_output(Person, method=method).invoke("Invent a person.") == ADA


async def test_a_tool_that_must_be_called_gives_structured_output(chat):
    chosen = chat(LLAMA).with_structured_output(get_weather.args_schema, method="function_calling")
    weather = chosen.invoke("What is the weather?")
    assert (weather.city, weather.unit) == ("Oslo", "celsius")


async def test_texts_are_embedded_in_their_order(served):
    embeddings = CloudflareWorkersAIEmbeddings(
        api_base_url=f"{served.url}/client/v4/accounts", account_id=ACCOUNT, api_token="sk-any", model_name=BGE
    )
    texts = ["I love matcha", "Ich mag Matcha"] * 30  # more than it sends at once
    vectors = embeddings.embed_documents(texts)
    assert [len(vector) for vector in vectors] == [1024] * 60
    assert await embeddings.aembed_documents(texts) == vectors
    assert embeddings.embed_query(texts[1]) == await embeddings.aembed_query(texts[1]) == vectors[1]


async def test_documents_are_ranked_the_best_first(served):
    reranker = CloudflareWorkersAIReranker(
        api_base_url=f"{served.url}/client/v4/accounts", account_id=ACCOUNT, api_token="sk-any", model_name=RERANKER
    )
    documents = ["black coffee", "green tea", "black tea"]
    ranked = reranker.rerank("green tea", documents, top_k=2)
    assert [(each.index, each.text) for each in ranked] == [(1, "green tea"), (2, "black tea")]
    assert await reranker.arerank("green tea", documents, top_k=2) == ranked
