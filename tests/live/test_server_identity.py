"""Who a real server lets in: tokens in ``serve`` and off loopback, hosts and origins everywhere."""

import http.client
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import openai
import pytest
from live_server import LiveServer, clean_environment, running

pytestmark = pytest.mark.live

WAIT_S = 60
CHAT, LLAMA = "@local/smollm2-135m-instruct", "@cf/meta/llama-3.1-8b-instruct"
ACCOUNT, OTHER_ACCOUNT = "0123456789abcdef0123456789abcdef", "f" * 32
HI = [{"role": "user", "content": "Say hi."}]
Tokens = Callable[..., str]


@dataclass(frozen=True)
class Reply:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def code(self) -> str:
        return json.loads(self.body)["error"]["code"]


def ask(server: LiveServer, path: str, method: str = "GET", **headers: str) -> Reply:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WAIT_S)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    reply = Reply(answer.status, answer.headers, answer.read())
    connection.close()
    return reply


def client_of(server: LiveServer, token: str, account: str | None = ACCOUNT) -> openai.OpenAI:
    base = f"/client/v4/accounts/{account}/ai/v1" if account else "/v1"
    url = f"http://127.0.0.1:{server.port}{base}"
    return openai.OpenAI(base_url=url, api_key=token, max_retries=0, timeout=WAIT_S)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("serve")


@pytest.fixture(scope="module")
def tokens(scratch: Path) -> Tokens:
    """``lowcloud tokens ...`` on the server's own data folder: what it prints."""

    def run(*arguments: str) -> str:
        command = [str(Path(sys.executable).with_name("lowcloud")), "tokens", *arguments]
        done = subprocess.run(
            command, env=clean_environment(scratch), check=True, capture_output=True, text=True, timeout=WAIT_S
        )
        return done.stdout.strip()

    return run


@pytest.fixture(scope="module")
def token(tokens: Tokens) -> str:
    return tokens("create", "first", "--account", ACCOUNT)


@pytest.fixture(scope="module")
def server(scratch: Path, token: str) -> Iterator[LiveServer]:
    """``lowcloud serve`` with one token."""
    with running(["serve"], scratch) as server:
        yield server


@pytest.fixture(scope="module")
def dev(tmp_path_factory) -> Iterator[LiveServer]:
    with running(["dev"], tmp_path_factory.mktemp("dev")) as server:
        yield server


@pytest.fixture(scope="module")
def open_to_all(tmp_path_factory) -> Iterator[LiveServer]:
    """``lowcloud dev`` on every address of this machine."""
    with running(["dev", "--host", "0.0.0.0"], tmp_path_factory.mktemp("all")) as server:
        yield server


@pytest.mark.parametrize("account", [ACCOUNT, ACCOUNT.upper(), None])
def test_a_token_opens_its_own_account_and_the_short_base(server, token, account):
    with client_of(server, token, account) as client:
        answer = client.chat.completions.create(model=CHAT, messages=HI, max_tokens=2)
    assert answer.usage.completion_tokens > 0


@pytest.mark.parametrize(
    ("sent", "number"),
    [({}, 9106), ({"authorization": "Bearer wrong"}, 10000), ({"authorization": "Basic eDp5"}, 6003)],
)
@pytest.mark.parametrize("path", ["/v1/models", f"/client/v4/accounts/{ACCOUNT}/ai/v1/models"])
def test_without_a_token_that_is_known_the_answer_is_a_401_of_both_sdks_shape(server, path, sent, number):
    reply = ask(server, path, **sent)
    answer = json.loads(reply.body)
    assert (reply.status, reply.headers["www-authenticate"]) == (401, "Bearer")
    assert answer["error"] == {**answer["error"], "type": "authentication_error", "code": "invalid_api_key"}
    assert (answer["success"], answer["errors"][0]["code"], answer["result"]) == (False, number, None)


def test_the_sdk_knows_the_refusals_for_what_they_are(server, token):
    with client_of(server, "wrong") as stranger, pytest.raises(openai.AuthenticationError):
        stranger.models.list()
    with client_of(server, token, OTHER_ACCOUNT) as other, pytest.raises(openai.PermissionDeniedError) as raised:
        other.models.list()
    assert raised.value.code == "permission_denied"
    with client_of(server, token, "not-an-account") as nobody, pytest.raises(openai.NotFoundError) as raised:
        nobody.models.list()
    assert raised.value.code == "unknown_account"


def test_a_token_is_good_from_its_making_until_it_is_revoked(server, tokens):
    later = tokens("create", "later", "--account", ACCOUNT)
    (record,) = [
        record for record in map(json.loads, tokens("list", "--json").splitlines()) if record["name"] == "later"
    ]
    with client_of(server, later) as client:
        assert CHAT in {model.id for model in client.models.list()}
        tokens("revoke", record["id"])
        with pytest.raises(openai.AuthenticationError):
            client.models.list()


def test_a_token_is_kept_and_shown_nowhere(server, scratch, token):
    with client_of(server, token) as client:
        assert client.models.list().data
    ask(server, "/v1/models", authorization=f"Bearer {token}x")
    kept = [path for path in scratch.rglob("*") if path.is_file() and token.encode() in path.read_bytes()]
    assert kept == []
    assert "token_id" in server.log.read_text()


def test_serve_answers_with_the_models_that_are_here_and_no_stand_ins(server, token):
    with client_of(server, token) as client, pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model=LLAMA, messages=HI)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"])
def test_operations_need_no_token_from_here(server, path):
    assert ask(server, path).status == 200


def test_dev_on_every_address_prints_a_token_and_wants_it(open_to_all):
    (token,) = re.findall(r"every request needs this token: (\S+)", open_to_all.printed)
    with client_of(open_to_all, "anything") as stranger, pytest.raises(openai.AuthenticationError):
        stranger.models.list()
    for account in (ACCOUNT, "any-account", None):
        with client_of(open_to_all, token, account) as client:
            assert LLAMA in {model.id for model in client.models.list()}
    assert token not in open_to_all.log.read_text()


def test_off_loopback_operations_are_open_to_this_machines_own_name_only(open_to_all):
    (token,) = re.findall(r"every request needs this token: (\S+)", open_to_all.printed)
    assert ask(open_to_all, "/metrics").status == 200
    assert ask(open_to_all, "/metrics", host="0.0.0.0").status == 401
    assert ask(open_to_all, "/metrics", host="0.0.0.0", authorization=f"Bearer {token}").status == 200


@pytest.mark.parametrize("path", ["/healthz", "/v1/models", "/v1/nothing"])
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8780", "10.0.0.1"])
def test_a_foreign_host_is_a_403_that_names_the_setting(dev, host, path):
    reply = ask(dev, path, host=host)
    assert (reply.status, reply.code) == (403, "permission_denied")
    assert "server.allowed_hosts" in reply.body.decode()


@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost.evil.example", "file://"])
def test_a_foreign_origin_is_a_403_that_names_the_setting(dev, origin, method):
    reply = ask(dev, "/v1/models", method, origin=origin, access_control_request_method="GET")
    assert (reply.status, reply.code) == (403, "permission_denied")
    assert "server.cors_origins" in reply.body.decode()
    assert "access-control-allow-origin" not in reply.headers


@pytest.mark.parametrize("origin", ["http://localhost:3000", "http://127.0.0.1:5173", "http://[::1]:80"])
@pytest.mark.parametrize("where", ["dev", "server"])
def test_a_page_of_this_machine_is_let_in(request, where, origin):
    server = request.getfixturevalue(where)
    asked = {"access_control_request_method": "POST", "access_control_request_headers": "authorization,content-type"}
    preflight = ask(server, "/v1/chat/completions", "OPTIONS", origin=origin, **asked)
    assert (preflight.status, preflight.headers["access-control-allow-origin"]) == (204, origin)
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert preflight.headers["access-control-allow-headers"] == "authorization,content-type"
    reply = ask(server, "/v1/models", origin=origin)
    assert reply.headers["access-control-allow-origin"] == origin
    assert reply.status == (200 if where == "dev" else 401)
