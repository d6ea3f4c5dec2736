"""langchain-openai as a client of the Responses API (``use_responses_api``), over scripted engines."""

from collections.abc import Iterator

import node_project
import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel
from scripted_server import LLAMA, Served, scripted_server

NOISES = [SystemMessage("Be brief."), HumanMessage("Make some robot noises")]
ASK = HumanMessage("What is the weather in Oslo?")


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


@tool
def get_weather(city: str, unit: str) -> str:
    """The weather of a city."""
    return f"4 degrees {unit} in {city}"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with scripted_server(is_open=True, responses=True) as running:
        running.reply = node_project.script
        yield running


@pytest.fixture(scope="module")
def llm(served: Served) -> ChatOpenAI:
    return model(served)


def model(served: Served, **options: object) -> ChatOpenAI:
    """A chat model whose connections the server closes; all of a base share them."""
    common = {"base_url": served.base, "api_key": "any", "max_retries": 0, "timeout": 20}
    made = ChatOpenAI(model=LLAMA, use_responses_api=True, **common, **options)
    served.owned(made.root_client)
    return made


def test_an_answer_comes_whole_with_its_usage_and_the_id_of_the_response(llm):
    answer = llm.invoke(NOISES)
    assert answer.text == "beep boop whirr"
    assert answer.usage_metadata["output_tokens"] == 3
    assert answer.response_metadata["id"].startswith("resp_")


def test_an_answer_comes_word_by_word(llm):
    chunks = list(llm.stream(NOISES))
    assert [chunk.text for chunk in chunks if chunk.text] == ["beep", " boop", " whirr"]
    assert chunks[-1].usage_metadata["output_tokens"] == 3


def test_a_bound_cuts_the_answer(served):
    answer = model(served, max_tokens=2).invoke(NOISES)
    assert answer.text == "beep boop"
    assert answer.response_metadata["incomplete_details"] == {"reason": "max_output_tokens"}


def test_a_tool_is_called_and_its_result_goes_back(llm):
    able = llm.bind_tools([get_weather], tool_choice="required")
    asked = able.invoke([ASK])
    (call,) = asked.tool_calls
    assert (call["name"], call["args"]) == ("get_weather", {"city": "Oslo", "unit": "celsius"})
    told = llm.bind_tools([get_weather]).invoke([ASK, asked, get_weather.invoke(call)])
    assert told.text == "The tool says 4 degrees celsius in Oslo"


def test_a_streamed_call_is_the_whole_call(llm):
    whole = None
    for chunk in llm.bind_tools([get_weather]).stream([ASK]):
        whole = chunk if whole is None else whole + chunk
    assert [(call["name"], call["args"]["city"]) for call in whole.tool_calls] == [("get_weather", "Oslo")]


@pytest.mark.parametrize("strict", [None, True])
def test_with_structured_output_gives_the_pydantic_model(llm, strict):
    person = llm.with_structured_output(Person, strict=strict).invoke("Invent a person.")
    assert person == Person.model_validate(node_project.ADA)


def test_it_goes_on_by_the_id_of_the_response_before(served):
    going_on = model(served, use_previous_response_id=True)
    first = going_on.invoke(NOISES)
    again = going_on.invoke([*NOISES, first, HumanMessage("Make some robot noises again")])
    assert again.text == "beep boop whirr"
    seen = served.chat.requests[-1].prompt.messages
    assert [message.role for message in seen] == ["system", "user", "assistant", "user"]
