"""A Worker's ``env.AI``, as it asks a server: in the direct form, in Miniflare's envelope, by the REST API's proxy."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lowcloud.http.settings import BindingSettings, HttpSettings

SECRET = "Zm9yLXRlc3RzLW9ubHkteW91LWtub3c_-"
ACCOUNT = "fedcba9876543210fedcba9876543210"
BINDING = BindingSettings(SECRET, ACCOUNT)
SETTINGS = HttpSettings(binding=BINDING)
HOST = "workers-binding.ai"


@dataclass(frozen=True)
class Request:
    """What a client sends: for ``world.ask``."""

    method: str
    path: str
    body: object
    headers: dict[str, str]


def direct(method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Request:
    """As workerd's external server sends it."""
    bears = {"host": HOST, "lowcloud-binding-secret": SECRET}
    return Request(method, path, body, {**bears, **(headers or {})})


def envelope(method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Request:
    """As Miniflare's remote proxy sends it."""
    inside = {f"MF-Header-{name}": value for name, value in (headers or {}).items()}
    outside = {"MF-URL": f"https://{HOST}{path}", "MF-Binding": "AI", "MF-Header-Content-Length": "1"}
    return Request(method, f"/binding/{SECRET}/", body, {**outside, **inside})


def proxy(method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Request:
    """As older wranglers send it."""
    outside = {"X-Forwarded": f"http://{HOST}{path}", "Authorization": f"Bearer {SECRET}"}
    return Request(method, "/client/v4/accounts/mine/ai/run/proxy", body, {**outside, **(headers or {})})


async def sent(world: Any, request: Request, over: Mapping[str, Any] | None = None) -> Any:
    """The whole answer of a world to it."""
    return await world.ask(request.method, request.path, request.body, request.headers, over)


def thrown(answer: Any) -> tuple[str, str]:
    """The name and the message of the error that the class's ``run`` throws for this answer."""
    content = json.loads(answer.body)
    assert answer.headers["content-type"] == "application/json"
    assert content["message"] == f"{content['name']}: {content['description']}"
    return content["name"], f"{content['internalCode']}: {content['description']}"


def said(answer: Any) -> str:
    """The message of the error that the rest of the class throws."""
    (error,) = json.loads(answer.body)["errors"]
    return error["message"]
