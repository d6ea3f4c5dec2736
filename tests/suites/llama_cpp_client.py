"""A pytest plugin for llama.cpp's server tests: speaks for a client of a server with many models and one API base.

llama.cpp serves one model, so its cases name none; here each request carries the alias of the case's preset, which the
server's config maps to a model. llama.cpp serves the OpenAI routes with and without ``/v1``; here all are below it.
Nothing else of a request is touched, and the server knows nothing of it.
"""

import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
import suite_recorder

# Served at the root by llama.cpp as well.
BARE_ROUTES = ("/chat/completions", "/embeddings", "/rerank", "/models", "/tokenize", "/detokenize", "/apply-template")

# Their conftest imports wget, to download models; an external server needs none. It is loaded before any hook runs.
sys.modules.setdefault("wget", ModuleType("wget"))


def pytest_sessionstart(session: pytest.Session) -> None:
    """Teach their client our base path and model names; tell the recorder what the server answered."""
    import utils

    client, noted = utils.ServerProcess, suite_recorder.recorder(session.config).refuse
    client.make_url = below_v1(client.make_url)
    client.make_request = whole(client.make_request, noted)
    client.make_stream_request = streamed(client.make_stream_request, noted, utils.ServerError)


def below_v1(make_url: Callable[..., str]) -> Callable[..., str]:
    def made(self: Any, path: str, host: str | None = None) -> str:
        return make_url(self, f"/v1{path}" if path.startswith(BARE_ROUTES) else path, host)

    return made


def whole(request: Callable[..., Any], noted: Callable[[int, object], None]) -> Callable[..., Any]:
    def requested(self: Any, method: str, path: str, data: Any = None, *rest: Any, **named: Any) -> Any:
        answer = request(self, method, path, with_model(data, self.model_alias), *rest, **named)
        noted(answer.status_code, answer.body)
        return answer

    return requested


def streamed(
    request: Callable[..., Any], noted: Callable[[int, object], None], refused: type[Exception]
) -> Callable[..., Any]:
    def requested(self: Any, method: str, path: str, data: Any = None, *rest: Any, **named: Any) -> Iterator[Any]:
        try:
            yield from request(self, method, path, with_model(data, self.model_alias), *rest, **named)
        except refused as error:
            noted(error.code, error.body)
            raise

    return requested


def with_model(data: Any, alias: str | None) -> Any:
    return {**data, "model": alias} if isinstance(data, dict) and data.get("model") is None else data
