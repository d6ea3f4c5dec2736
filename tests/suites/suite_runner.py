"""Runs another project's suite against a live server, in a process of its own, and compares it with the table."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import suite_table

HERE = Path(__file__).resolve().parent
CACHE = HERE.parent.parent / ".cache" / "suites"
TIMEOUT_S = 600
NO_PLUGINS = ("cacheprovider", "schemathesis", "langsmith_plugin")  # of ours, which the suites need not


@dataclass(frozen=True, slots=True)
class Suite:
    """``home`` is where pytest starts, ``files`` are relative to it, ``plugins`` are beside this module."""

    table: Path
    home: Path
    files: tuple[str, ...]
    plugins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Did:
    """What a case did: ``outcome`` is passed, failed, skipped or not run."""

    outcome: str
    refusal: suite_table.Refusal | None
    said: str


OPENAI = Suite(
    HERE / "openai.toml",
    CACHE / "openai",
    (
        "tests/api_resources/chat/test_completions.py",
        "tests/api_resources/chat/completions/test_messages.py",
        "tests/api_resources/test_completions.py",
        "tests/api_resources/test_embeddings.py",
        "tests/api_resources/test_models.py",
        "tests/api_resources/test_responses.py",
        "tests/api_resources/responses",
        "tests/api_resources/test_conversations.py",
        "tests/api_resources/conversations",
    ),
    ("openai_objects",),
)
CLOUDFLARE = Suite(
    HERE / "cloudflare.toml",
    CACHE / "cloudflare",
    (
        "tests/api_resources/test_ai.py",
        "tests/api_resources/ai",
        "tests/api_resources/test_ai_gateway.py",
        "tests/api_resources/ai_gateway",
    ),
    ("cloudflare_objects",),
)
LLAMA_CPP = Suite(
    HERE / "llama_cpp.toml",
    CACHE / "llama_cpp_python" / "vendor" / "llama.cpp" / "tools" / "server" / "tests",
    (
        "unit/test_chat_completion.py",
        "unit/test_tool_call.py",
        "unit/test_compat_anthropic.py",
        "unit/test_tokenize.py",
        "unit/test_template.py",
        "unit/test_embedding.py",
        "unit/test_rerank.py",
    ),
    ("llama_cpp_client",),
)


def run(suite: Suite, environment: Mapping[str, str], scratch: Path) -> dict[str, Did]:
    """Run the suite's files and return what each collected case did.

    The suite's own pytest options are dropped (they ask for parallel workers), its warnings stay errors.
    Raises RuntimeError with pytest's output when it could not collect or write its report.
    """
    report = scratch / "report.json"
    plugins = [argument for plugin in ("suite_recorder", *suite.plugins) for argument in ("-p", plugin)]
    settings = ["-o", "addopts=", "-o", "asyncio_default_fixture_loop_scope=session"]
    without = [argument for plugin in NO_PLUGINS for argument in ("-p", f"no:{plugin}")]
    options = [*settings, *without, "--tb=line", "-q", *plugins]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *suite.files],
        cwd=suite.home,
        env={**clean_environment(), **environment, "SUITE_TABLE": str(suite.table), "SUITE_REPORT": str(report)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if not report.is_file() or done.returncode not in (0, 1):
        raise RuntimeError(f"{suite.table.stem}: pytest ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return {case: did(entry) for case, entry in json.loads(report.read_text(encoding="utf-8")).items()}


def clean_environment() -> dict[str, str]:
    """Ours without what would change their run: our pytest options, coverage, and keys of real services."""
    foreign = ("PYTEST_", "COV_", "COVERAGE_", "OPENAI_", "CLOUDFLARE_", "LOWCLOUD_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    path = os.pathsep.join(map(str, (HERE, HERE.parent / "shared", CACHE / "site")))
    return {**kept, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


def did(entry: Mapping[str, object]) -> Did:
    noted = entry["refusal"]
    refusal = suite_table.Refusal(**noted) if isinstance(noted, dict) else None
    return Did(str(entry["outcome"]), refusal, str(entry["said"]))


def mismatch(verdict: suite_table.Verdict, case: Did) -> str | None:
    """Say how a case differs from its verdict, or None."""
    wanted = {"passes": "passed", "refused": "failed", "not_applicable": "not run"}[verdict.kind]
    if case.outcome != wanted:
        return f"is to be {verdict.kind} but {case.outcome}: {case.refusal or ''} {case.said}"
    if case.refusal != verdict.refusal:
        return f"is to be {verdict.kind} with {verdict.refusal} but got {case.refusal}"
    return None
