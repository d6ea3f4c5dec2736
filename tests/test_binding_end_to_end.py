"""A server that answers Workers' bindings, as installed: where, with which secret, and what else is asked there."""

import http.client
import json
import socket
from contextlib import closing

from live_server import START_S, LiveServer, running, until
from worker_binding import ACCOUNT, HOST, SECRET

MODELS = "/ai-api/models/search?per_page=1"


class Unix(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.host)


def loopback(server: LiveServer) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", server.port, timeout=START_S)


def asked(connection: http.client.HTTPConnection, path: str, headers: dict[str, str]) -> tuple[int, dict]:
    with closing(connection):
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def bears(secret: str) -> dict[str, str]:
    return {"Host": HOST, "lowcloud-binding-secret": secret}


def test_dev_makes_the_secret_and_answers_on_loopback_and_on_a_unix_socket(tmp_path):
    path = tmp_path / "a.sock"
    with running(["dev"], tmp_path, {"LOWCLOUD_BINDING__LISTEN": f"unix:{path}"}) as server:
        file = tmp_path / "data" / "binding-secret"
        secret = file.read_text().strip()
        assert file.stat().st_mode & 0o777 == 0o600
        for connection in (loopback(server), Unix(str(path))):
            status, found = asked(connection, MODELS, bears(secret))
            assert (status, len(found["result"])) == (200, 1)
            assert asked(connection, MODELS, bears(secret + "x"))[0] == 403
            found_at = asked(connection, "/ai-gateway/gateways/default/url/openai", bears(secret))[1]["result"]["url"]
            assert found_at == f"{server.url}/v1/{'0' * 32}/default/openai"
            inside = {"MF-URL": f"https://{HOST}{MODELS}", "MF-Binding": "AI"}
            assert asked(connection, f"/binding/{secret}/", inside)[1] == found
        assert asked(Unix(str(path)), "/v1/models", {})[0] == 403
        assert secret not in server.log.read_text()
    assert not path.exists()


def test_serve_answers_them_where_it_is_told_to_on_the_account_and_with_the_secret_that_it_is_told(tmp_path):
    told = {"BINDING__ENABLED": "always", "BINDING__ACCOUNT": ACCOUNT, "BINDING_SECRET": SECRET}
    with running(["serve"], tmp_path, {f"LOWCLOUD_{name}": value for name, value in told.items()}) as server:
        assert asked(loopback(server), MODELS, bears(SECRET))[0] == 200
        assert until(lambda: f'"account": "{ACCOUNT}"' in server.log.read_text())
    assert not (tmp_path / "data" / "binding-secret").exists()
