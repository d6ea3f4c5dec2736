"""Requests that schemathesis makes of our own OpenAPI document: none is a 5xx, and all is answered as documented.

500 requests, always the same; LOWCLOUD_FUZZ=5000 makes so many, and others each time.
"""

import json
import math
import os
import re
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from scripted_server import ACCOUNT, BGE, HELLO, LLAMA, RERANKER, Served, scripted_server

from lowcloud.http.workers_ai.model_schema import schemas, shape_of
from lowcloud.models.catalogue import packaged_cards

REQUESTS = int(os.environ.get("LOWCLOUD_FUZZ", "500"))
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
RUN = "/client/v4/accounts/{account_id}/ai/run"
GPT_OSS = "@cf/openai/gpt-oss-20b"
M3 = "@cf/baai/bge-m3"
QWEN = "@cf/qwen/qwen3-embedding-0.6b"
PLACE = re.compile(r"{(\w+)}")
RUN_MODELS = (LLAMA, GPT_OSS, BGE, M3, QWEN, RERANKER)
MODELS = [*RUN_MODELS, "@cf/openai/whisper", "@cf/no/such"]
WITH_GOOD_MESSAGES = ("ChatBody", "MessagesBody", "TemplateBody")  # others' are made up
TALK = [*HELLO, {"role": "assistant", "content": "beep"}, {"role": "user", "content": "And then?"}]
MODELS_OF = {"EmbeddingsBody": [BGE, QWEN], "RerankBody": [RERANKER], "UniversalRun": MODELS}
CARDS = {card.id: card for card in packaged_cards()}


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with scripted_server(is_open=True, reranks=True) as running:
        yield running


@pytest.fixture(scope="module")
def operations(served: Served) -> list[APIOperation]:
    """One of each, however many paths it has."""
    with urllib.request.urlopen(f"{served.url}/openapi.json") as answer:  # noqa: S310 - loopback
        document = aimed(json.load(answer))
    found = {}
    for result in schemathesis.openapi.from_dict(document).get_all_operations():
        operation = result.ok()
        found.setdefault(operation.definition.raw["operationId"].partition("_")[0], operation)
    return list(found.values())


def aimed(document: dict[str, Any]) -> dict[str, Any]:
    """The document with models and messages that are good, so that more than the first check is reached.

    Native runs have an operation a model, whose inputs are those of ``models/schema``.
    """
    run = document["paths"].pop(RUN + "/{model}")["post"]
    for model in RUN_MODELS:
        inputs, components = embedded(schemas(shape_of(CARDS[model]))["input"], model)
        document["components"]["schemas"] |= components
        body = {"required": True, "content": {"application/json": {"schema": inputs}}}
        operation = {**run, "operationId": f"runModel{model}", "requestBody": body, "parameters": []}
        document["paths"][f"{RUN}/{model}"] = {"post": operation}
    document["paths"] = {PLACE.sub(known, path): item for path, item in document["paths"].items()}
    for item in document["paths"].values():
        for operation in item.values():
            content = operation["responses"]["200"]["content"]
            content |= {"text/event-stream": {}} if "text/event-stream" in content else {}  # the schema is of the data
            operation["parameters"] = [
                {**each, "schema": {"enum": MODELS}} if each["name"] == "model" else each
                for each in operation.get("parameters", ())
                if each["in"] != "path" or each["name"] == "model"
            ]
    for name, schema in document["components"]["schemas"].items():
        if name in MODELS_OF or name.endswith("Body"):
            schema["properties"]["model"] = {"enum": MODELS_OF.get(name, [LLAMA, GPT_OSS])}
        if name in WITH_GOOD_MESSAGES:
            schema["properties"]["messages"] = {"enum": [HELLO, TALK]}
    return document


def known(place: re.Match[str]) -> str:
    """What stands in a path: what is made up would often be another path."""
    return {"account_id": ACCOUNT, "model": place[0]}.get(place[1], "some-id")


def embedded(schema: Mapping[str, Any], model: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A schema with its definitions, for an OpenAPI document."""
    prefix = "".join(character if character.isalnum() else "_" for character in model)
    moved = json.loads(json.dumps(schema).replace("#/$defs/", f"#/components/schemas/{prefix}"))
    definitions = moved.pop("$defs", {})
    return moved, {prefix + name: each for name, each in definitions.items()}


def test_generated_requests_are_answered_as_documented(served: Served, operations: list[APIOperation]):
    good, bad = GenerationMode.POSITIVE, GenerationMode.NEGATIVE
    single = [operation for operation in operations if not (operation.body or operation.query)]
    varied = [(operation, mode) for operation in operations if operation not in single for mode in (good, bad)]
    times = math.ceil((REQUESTS - len(single)) / len(varied))
    answered: Counter[int] = Counter()
    for operation in single:
        ask(operation, good, 1, served.url, answered)
    for operation, mode in varied:
        ask(operation, mode, times, served.url, answered)
    assert answered.total() >= REQUESTS
    assert answered[200] > REQUESTS / 5  # what is made up gets past the first check


def ask(operation: APIOperation, mode: GenerationMode, times: int, url: str, answered: Counter[int]) -> None:
    """Send so many requests, and check their answers."""

    @settings(
        max_examples=times,
        database=None,
        deadline=None,
        derandomize="LOWCLOUD_FUZZ" not in os.environ,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode))
    def send(case: Case) -> None:
        response = case.call_and_validate(base_url=url, checks=CHECKS)
        answered[response.status_code] += 1

    send()
