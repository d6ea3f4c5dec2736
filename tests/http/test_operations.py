import re
from html.parser import HTMLParser

import pytest

from lowcloud.http.offload import Offload
from lowcloud.http.openai import schemas
from lowcloud.http.operations import Document

pytestmark = pytest.mark.anyio


async def test_health_says_that_the_process_answers(world):
    answer = await world.ask("GET", "/healthz")
    assert (answer.status, answer.json) == (200, {"status": "ok"})


async def test_ready_is_about_the_server_and_names_the_models(world):
    answer = await world.ask("GET", "/readyz")
    ready = schemas.Readiness.model_validate(answer.json)
    assert (answer.status, ready.ready) == (200, True)
    assert {model.id for model in ready.models} == {"@local/smollm2-135m-instruct", "@local/all-minilm-l6-v2"}


async def test_a_server_that_stops_is_not_ready_but_healthy(world):
    world.service.stop_accepting()
    answer = await world.ask("GET", "/readyz")
    assert (answer.status, answer.json["ready"], answer.headers["retry-after"]) == (503, False, "1")
    assert (await world.ask("GET", "/healthz")).status == 200


async def test_metrics_are_in_the_text_format(world):
    answer = await world.ask("GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert b"lowcloud_up 1" in answer.body


async def test_what_describes_the_api_is_made_when_it_is_first_asked_for_and_once():
    made = []

    def describe():
        made.append(len(made))
        return b"{}", f"page {made}"

    shown = Document(describe, Offload())
    assert made == []
    bodies = [(await route(None)).body for route in (shown.docs, shown.openapi, shown.docs)]
    assert bodies == [b"page [0]", b"{}", b"page [0]"]


async def test_the_openapi_document_holds_every_route_and_resolves_every_reference(world):
    document = (await world.ask("GET", "/openapi.json")).json
    account = "/client/v4/accounts/{account_id}/ai/v1"
    for base in ("/v1", account):
        for path in ("/chat/completions", "/embeddings", "/models", "/models/{model}"):
            assert base + path in document["paths"]
    assert document["openapi"] == "3.1.0"
    references = set(re.findall(r'"#/components/schemas/(\w+)"', str(document).replace("'", '"')))
    assert references <= set(document["components"]["schemas"])
    names = [each["operationId"] for path in document["paths"].values() for each in path.values()]
    assert len(names) == len(set(names))
    chat = document["paths"]["/v1/chat/completions"]["post"]
    assert {"400", "401", "404", "408", "413", "415", "429", "500", "503"} <= set(chat["responses"])
    assert "422" not in chat["responses"]
    assert set(chat["responses"]["200"]["content"]) == {"application/json", "text/event-stream"}


async def test_the_document_and_the_page_say_that_only_this_machine_needs_no_token(world):
    document = (await world.ask("GET", "/openapi.json")).json
    operations = [(path, operation) for path, each in document["paths"].items() for operation in each.values()]
    for path, operation in operations:
        assert {"token": []} in operation["security"]
        assert "401" in operation["responses"]
        is_open = path in ("/healthz", "/readyz", "/metrics")
        assert ({} in operation["security"]) == is_open
        assert ("from this machine itself" in operation.get("description", "")) == is_open
    page = (await world.ask("GET", "/docs")).body.decode()
    assert page.count("from this machine itself") == 3
    assert "No token needed" not in page


@pytest.mark.parametrize(
    ("method", "path", "shape"),
    [
        ("post", "/v1/chat/completions", "ErrorEnvelope"),
        ("post", "/v1/messages", "ErrorAnswer"),
        ("post", "/client/v4/accounts/{account_id}/ai/run/{model}", "NativeErrors"),
        ("get", "/client/v4/accounts/{account_id}/tokens/verify", "NativeErrors"),
    ],
)
async def test_the_document_shows_the_errors_of_each_format(world, method: str, path: str, shape: str):
    document = (await world.ask("GET", "/openapi.json")).json
    answers = document["paths"][path][method]["responses"]
    shapes = {
        each["content"]["application/json"]["schema"]["$ref"]
        for status, each in answers.items()
        if status not in ("200", "403")
    }
    assert shapes == {f"#/components/schemas/{shape}"}


@pytest.mark.parametrize(
    ("method", "url"),
    [("POST", "/v1/messages"), ("GET", "/client/v4/accounts/{account_id}/ai/models/search")],
    ids=["anthropic", "native"],
)
async def test_the_document_shows_that_a_foreign_origin_is_refused_in_openais_form(world, method: str, url: str):
    refused = await world.ask(method, url.replace("{account_id}", "0" * 32), headers={"origin": "https://x.example"})
    document = (await world.ask("GET", "/openapi.json")).json
    schema = document["paths"][url][method.lower()]["responses"]["403"]["content"]["application/json"]["schema"]
    own, common = (each["$ref"].rpartition("/")[2] for each in schema["anyOf"])
    assert refused.status == 403
    assert schemas.ErrorEnvelope.model_validate(refused.json)
    assert (own != common, common) == (True, "ErrorEnvelope")


async def test_the_document_says_which_parameters_of_a_query_are_needed(world):
    paths = (await world.ask("GET", "/openapi.json")).json["paths"]
    for name, needed in (("models/schema", {"model"}), ("models/search", set())):
        parameters = paths[f"/client/v4/accounts/{{account_id}}/ai/{name}"]["get"]["parameters"]
        assert {each["name"] for each in parameters if each["in"] == "query" and each["required"]} == needed


async def test_the_document_describes_the_bodies(world):
    components = (await world.ask("GET", "/openapi.json")).json["components"]["schemas"]
    chat = components["ChatBody"]
    assert chat["required"] == ["model", "messages"]
    assert {"temperature", "stop", "logit_bias", "ignore_eos"} <= set(chat["properties"])
    assert chat["properties"]["messages"]["items"]["$ref"].endswith("ChatMessage")
    stop = str(chat["properties"]["stop"])
    assert "array" in stop
    assert "string" in stop


class Tags(HTMLParser):
    """Collects the tags and the links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: set[str] = set()
        self.ids: set[str] = set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        for name, value in attrs:
            if name in ("href", "src"):
                self.links.add(value)
            if name == "id":
                self.ids.add(value)


async def test_the_page_is_self_contained_and_its_links_lead_somewhere(world):
    answer = await world.ask("GET", "/docs")
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    page = Tags()
    page.feed(answer.body.decode())
    assert not page.tags & {"script", "link", "img", "iframe"}
    assert page.links <= {"/openapi.json"} | {f"#{name}" for name in page.ids}
    assert {"ChatBody", "ChatCompletion", "createEmbeddings_short"} <= page.ids
