"""The pages under docs/api say what the code does, row by row."""

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from openai.types import embedding_create_params
from openai.types.chat import completion_create_params
from openai.types.responses import response_create_params
from scripted_server import scripted_server

from lowcloud.core import errors
from lowcloud.http.connection import Connection
from lowcloud.http.openai import chat_request, embeddings_request, rerank_request
from lowcloud.http.responses import request as responses_request
from lowcloud.http.settings import HttpSettings
from lowcloud.storage.completions import CompletionStore, Keep
from lowcloud.storage.database import open_database

BASE = re.compile(r"^(/client/v4)?(/accounts/\{\})?(/ai)?(/v[12])*/")  # what SDKs are given, and what they add
API = Path(__file__).parents[2] / "docs" / "api"
FORMATS = [
    ("chat-completions.md", chat_request),
    ("embeddings.md", embeddings_request),
    ("rerank.md", rerank_request),
    ("responses.md", responses_request),
]


def rows(page: str, columns: int) -> Iterator[list[str]]:
    """The cells of the rows of a page's tables of so many columns."""
    for line in (API / page).read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == columns and not set(cells[0]) <= {"-"}:
            yield cells


def named_values(text: str) -> list[str]:
    """The values in a cell that says "... ask for nothing"."""
    found = re.search(r"((?:`[^`]+`|, | and )+) asks? for nothing", text)
    return re.findall(r"`([^`]+)`", found[1]) if found else []


def without_names(text: str) -> str:
    """A path, or a text with paths, in which a part that may be anything has no name."""
    return re.sub(r"\{\w+\}", "{}", text)


def test_every_route_is_documented(tmp_path):
    with (
        open_database(f"sqlite:///{tmp_path}/lowcloud.db") as database,
        scripted_server(is_open=True, completions=CompletionStore(database, Keep()), responses=True) as served,
        urllib.request.urlopen(f"{served.url}/openapi.json") as answer,  # noqa: S310 - loopback
    ):
        paths = {*map(without_names, json.load(answer)["paths"]), "/openapi.json", "/docs"}
    text = without_names("".join(page.read_text("utf-8") for page in API.glob("*.md")))
    own = {BASE.sub("", path) for path in paths}
    assert {"chat/completions/{}/messages", "messages/count_tokens", "models/search", "responses/{}", "healthz"} <= own
    assert [path for path in own if not re.search(rf"[ `/]{re.escape(path)}(?![\w/{{-])", text)] == []


@pytest.mark.parametrize(("page", "code"), FORMATS)
def test_the_table_of_parameters_is_the_codes(page, code):
    table = {cells[0].strip("`"): cells[1] for cells in rows(page, 3) if cells[0] != "parameter"}
    assert table == {name: fate.value for name, fate in code.FATES.items()}


@pytest.mark.parametrize(("page", "code"), FORMATS)
def test_the_values_that_ask_for_nothing_are_the_codes(page, code):
    shown = {cells[0].strip("`"): cells[2] for cells in rows(page, 3)}
    for name, nothing in {**code.REFUSED, **code.HINTS}.items():
        values = [code_value(value) for value in nothing if value != 1.0 or isinstance(value, int)]
        assert named_values(shown[name]) == values, name


def code_value(value: object) -> str:
    names = {True: "true", False: "false"}
    if isinstance(value, bool):
        return names[value]
    return str(value).replace("'", '"') if not isinstance(value, str) else f'"{value}"'


@pytest.mark.parametrize(
    ("params", "code"),
    [
        (completion_create_params.CompletionCreateParamsStreaming, chat_request),
        (embedding_create_params.EmbeddingCreateParams, embeddings_request),
        (response_create_params.ResponseCreateParamsStreaming, responses_request),
    ],
)
def test_every_parameter_of_openais_sdk_has_a_fate(params, code):
    names = params.__required_keys__ | params.__optional_keys__
    assert names <= set(code.FATES)


def tree(kind: type[errors.LowcloudError]) -> Iterator[type[errors.LowcloudError]]:
    for child in kind.__subclasses__():
        yield child
        yield from tree(child)


def test_every_error_is_in_the_table_with_its_status_code_and_number():
    table = {tuple(cells[:3]) for cells in rows("errors.md", 4) if cells[0] != "status"}
    ours = [kind for kind in tree(errors.LowcloudError) if kind.__module__ == errors.__name__]  # the gateway has a page
    assert table == {(str(kind.status), f"`{kind.code}`", str(kind.number)) for kind in ours}


def test_every_header_of_ours_is_documented():
    source = Path(chat_request.__file__).parents[1]
    used = {
        header
        for page in source.rglob("*.py")
        for header in re.findall(r"lowcloud-[a-z]+(?:-[a-z]+)*", page.read_text("utf-8"))
    }
    pages = "".join(page.read_text("utf-8") for page in API.parent.rglob("*.md"))
    assert used
    assert all(header in pages for header in used)


def test_the_bounds_in_the_text_are_the_defaults():
    settings = HttpSettings()
    assert (settings.max_body_bytes, settings.discard_bytes) == (10 * 2**20, 64 * 2**20)
    text = (API / "errors.md").read_text("utf-8")
    assert "at most 10 MiB" in text
    assert re.search(r"up to\s64 MiB", text)
    assert (Connection.head_bytes, "over 64 KiB" in text) == (64 * 2**10, True)
    assert (settings.heartbeat_s, settings.write_timeout_s) == (10, 60)
