"""Every documented error, as both of Cloudflare's SDKs parse it: its class, its status and its number."""

import json
import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import cloudflare
import node_project
import pytest
from cloudflare import Cloudflare, Omit
from scripted_server import ACCOUNT, HELLO, LLAMA, Bounded, Served, scripted_server
from usage_sums import Sums, UsageTold

from lowcloud.core.errors import ConversationLocked, EngineFailed, ModelUnusable, Unavailable, UnsupportedSchema
from lowcloud.http.settings import HttpSettings
from lowcloud.models.card import Task
from lowcloud.models.catalogue import CHAT_STAND_IN, EMBEDDING_STAND_IN
from lowcloud.serving.admission import Bounds
from lowcloud.serving.limits import Allowance
from lowcloud.serving.service import Limits
from lowcloud.serving.usage import Ledger

DOCS = Path(__file__).resolve().parents[2] / "docs" / "api"
AI = f"/accounts/{ACCOUNT}/ai"
RUN = f"{AI}/run/{LLAMA}"
CHAT = f"{AI}/v1/chat/completions"
SAY = {"prompt": "hello there"}
SCHEMA = {"type": "json_schema", "json_schema": {"type": "object", "properties": {"a": {"type": "string"}}}}
UNENFORCED = UnsupportedSchema("guided_json.pattern: can't be enforced.", param="guided_json.pattern")
MAX_BODY_BYTES = 20_000
BOUND_S = 30.0
CLASSES = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    409: "ConflictError",
    429: "RateLimitError",
    500: "InternalServerError",
    503: "InternalServerError",
}

Meanwhile = Callable[[Served], AbstractContextManager[object]]


@dataclass(frozen=True)
class Row:
    """An error, and the request that provokes it: to which of the servers, and what is the matter there meanwhile."""

    name: str
    status: int
    number: int
    path: str = RUN
    body: object = None
    headers: Mapping[str, str | None] = field(default_factory=dict)
    method: str = "post"
    server: str = "open"
    meanwhile: Meanwhile = nullcontext


def failing(point: str, error: Exception) -> Meanwhile:
    @contextmanager
    def meanwhile(served: Served) -> Iterator[None]:
        served.chat.stage.fail(point, error)
        yield
        served.chat.stage.fail(point, None)

    return meanwhile


@contextmanager
def cut_json(served: Served) -> Iterator[None]:
    usual, served.reply = served.reply, '{"a": "never ends'
    yield
    served.reply = usual


def token(value: str | None) -> dict[str, str | None]:
    return {"Authorization": value and f"Bearer {value}"}


ROWS = (
    Row("a value out of range", 400, 5006, body=SAY | {"top_k": 51}),
    Row("no prompt", 400, 5006, body={}),
    Row(
        "a parameter that isn't done here",
        400,
        5006,
        CHAT,
        {"model": LLAMA, "messages": HELLO, "audio": {"voice": "a"}},
    ),
    Row("a schema that can't be enforced", 400, 5006, body=SAY, meanwhile=failing("prepare", UNENFORCED)),
    Row("a gateway", 400, 5006, body=SAY, headers={"cf-aig-gateway-id": "default"}),
    Row("no body", 400, 3003),
    Row("no body of a chat completion", 400, 3003, CHAT),
    Row("an adapter", 405, 5005, body=SAY | {"lora": "mine"}),
    Row("an adapter in OpenAI's format", 400, 5005, CHAT, {"model": LLAMA, "messages": HELLO, "lora": "mine"}),
    Row("more than the context", 400, 5021, body={"prompt": "word " * 3000, "max_tokens": 8000}),
    Row("a text too long to embed", 400, 5021, f"{AI}/run/{EMBEDDING_STAND_IN}", {"text": "word " * 300}),
    Row("JSON that was cut", 400, 5024, body=SAY | {"response_format": SCHEMA, "max_tokens": 2}, meanwhile=cut_json),
    Row("no token", 401, 9106, body=SAY, headers=token(None), server="guarded"),
    Row("no bearer", 400, 6003, body=SAY, headers={"Authorization": "Basic c2s="}, server="guarded"),
    Row("no bearer in OpenAI's format", 401, 6003, CHAT, {}, {"Authorization": "Basic c2s="}, server="guarded"),
    Row("an unknown token", 401, 10000, body=SAY, headers=token("sk-unknown"), server="guarded"),
    Row("an expired token", 401, 1000, body=SAY, headers=token("sk-expired"), server="guarded"),
    Row(
        "an unknown token to be verified",
        401,
        1000,
        "/user/tokens/verify",
        headers=token("sk-unknown"),
        method="get",
        server="guarded",
    ),
    Row("another account's token", 403, 9109, RUN.replace(ACCOUNT, "f" * 32), SAY, server="guarded"),
    Row("a token without the permission", 403, 10000, body=SAY, headers=token("sk-powerless"), server="guarded"),
    Row("a foreign origin", 403, 9109, body=SAY, headers={"Origin": "https://elsewhere.example"}),
    Row("no such route", 404, 7000, f"{AI}/nothing", {}),
    Row("no such model", 400, 5007, f"{AI}/run/@cf/no/such", SAY),
    Row("no such model in OpenAI's format", 404, 5007, CHAT, {"model": "@cf/no/such", "messages": HELLO}),
    Row("a model whose task nothing does", 400, 5007, f"{AI}/run/@cf/openai/whisper", SAY),
    Row("what no model is called", 404, 3042, f"{AI}/run/a b", SAY),
    Row("no account", 404, 7003, RUN.replace(ACCOUNT, "mine"), SAY, server="guarded"),
    Row("another method", 405, 7001, method="get"),
    Row("too slow an answer", 408, 3007, body=SAY, server="slow"),
    Row("a conversation in use", 409, 5006, body=SAY, meanwhile=failing("prepare", ConversationLocked("It's in use."))),
    Row("too large a body", 413, 3006, body={"prompt": "x" * MAX_BODY_BYTES}),
    Row("no JSON", 415, 5004, body=SAY, headers={"Content-Type": "multipart/form-data; boundary=x"}),
    Row("a full queue", 429, 3040, body=SAY, server="full"),
    Row("the requests of the minute are used up", 429, 3036, f"{AI}/run/{CHAT_STAND_IN}", SAY, server="limited"),
    Row("the neurons of the day are used up", 429, 3036, body=SAY, server="limited"),
    Row("too large a head", 431, 3006, body=SAY, headers={"X-Much": "x" * 400_000}),
    Row("a model that gave up", 500, 8005, body=SAY, meanwhile=failing("start", EngineFailed("It died."))),
    Row("a bug", 500, 8005, body=SAY, meanwhile=failing("start", RuntimeError("a bug"))),
    Row("a model that isn't there yet", 503, 7009, body=SAY, meanwhile=failing("prepare", Unavailable("Wait."))),
    Row("a model that is broken", 503, 7009, body=SAY, meanwhile=failing("prepare", ModelUnusable("No files."))),
)


@dataclass(frozen=True)
class Parsed:
    """An error as an SDK shows it."""

    kind: str
    status: int
    errors: list[tuple[int, str]]


class Sdk(Protocol):
    """One of the clients."""

    def refused(self, row: Row, base: str) -> Parsed:
        """The error that it raises for a request."""


class PythonSdk:
    """The package for Python."""

    def refused(self, row: Row, base: str) -> Parsed:
        headers = {name: Omit() if value is None else value for name, value in row.headers.items()}
        options = {"headers": headers}
        with (
            Cloudflare(base_url=base, api_token="sk-good", max_retries=0, timeout=BOUND_S) as client,
            pytest.raises(cloudflare.APIStatusError) as raised,
        ):
            if row.method == "get":
                client.get(row.path, cast_to=object, options=options)
            else:
                client.post(row.path, body=row.body, cast_to=object, options=options)
        error = raised.value
        return Parsed(type(error).__name__, error.status_code, [(each.code, each.message) for each in error.errors])


class NodeSdk:
    """The TypeScript SDK, in one process for the whole table."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def refused(self, row: Row, base: str) -> Parsed:
        asked = {"base": base, "method": row.method, "path": row.path, "body": row.body, "headers": row.headers}
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        bound = threading.Timer(BOUND_S, self._process.kill)
        bound.start()
        line = self._process.stdout.readline()
        bound.cancel()
        said = json.loads(line)
        return Parsed(said["kind"], said["status"], [(each["code"], each["message"]) for each in said["errors"]])


@pytest.fixture(scope="module")
def sdks() -> Iterator[dict[str, Sdk]]:
    """By their names; the one for Node where it was fetched."""
    with ExitStack() as stack:
        found: dict[str, Sdk] = {"python": PythonSdk()}
        if not node_project.lacks("cloudflare"):
            process = stack.enter_context(
                subprocess.Popen(
                    [node_project.node(), "errors.mjs"],
                    cwd=node_project.HOME,
                    env={name: value for name, value in os.environ.items() if not name.startswith("CLOUDFLARE_")},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            found["node"] = NodeSdk(process)
        yield found
        if "node" in found:
            process.stdin.close()


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, Served]]:
    """``open`` takes any token, ``guarded`` knows some; the others are bounded in their own ways."""
    allowance = Allowance(0.0, {Task.TEXT_GENERATION: 0})
    bounds = {
        "open": Bounded(HttpSettings(max_body_bytes=MAX_BODY_BYTES)),
        "guarded": Bounded(),
        "slow": Bounded(limits=Limits(request_deadline_s=0.05)),
        "full": Bounded(limits=Limits(queue=Bounds(requests=0))),
        "limited": Bounded(ledger=Ledger(Sums(), UsageTold(), allowance)),
    }
    with ExitStack() as stack:
        found = {
            name: stack.enter_context(scripted_server(is_open=name != "guarded", bounded=bounded))
            for name, bounded in bounds.items()
        }
        found["slow"].chat.stage.hold("start")
        yield found


@pytest.mark.parametrize("sdk", ["python", "node"])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_an_error_is_parsed_with_its_class_status_and_number(servers, sdks, row, sdk):
    if sdk not in sdks:
        pytest.skip("no Node client: run scripts/fetch_suites")
    served = servers[row.server]
    with row.meanwhile(served):
        parsed = sdks[sdk].refused(row, f"{served.url}/client/v4")
    unnamed = {"python": "APIStatusError", "node": "APIError"}[sdk]
    assert (parsed.kind, parsed.status) == (CLASSES.get(row.status, unnamed), row.status)
    ((number, message),) = parsed.errors
    assert number == row.number
    assert message


def test_every_documented_error_is_in_the_table():
    errors = re.findall(r"^\| (\d{3}) \| `\w+` \| (\d+) \|", (DOCS / "errors.md").read_text(encoding="utf-8"), re.M)
    native = re.findall(r"^\| (\d{3}) \| (\d+) \|", (DOCS / "native.md").read_text(encoding="utf-8"), re.M)
    documented = {(int(status), int(number)) for status, number in [*errors, *native]}
    assert len(documented) > 20
    assert documented == {(row.status, row.number) for row in ROWS}
