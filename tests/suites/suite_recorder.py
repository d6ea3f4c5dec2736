"""A pytest plugin for the inside of another project's suite: runs the cases and writes what each of them did.

``SUITE_TABLE`` is the table's path, ``SUITE_REPORT`` the JSON file to write: a map from case id to outcome (``passed``,
``failed``, ``not run``), the refusal that the server gave it last, and the first line of a failure.
"""

import json
import os
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

import cloudflare
import openai
import pytest
import suite_table

# How the native API says which field it is, and the gateway's management API.
NATIVE_FIELD = re.compile(r"(?:AiError: Bad input: Error: |(?!AiError))([\w.\[\]]+):")


class Recorder:
    """Collects one entry a case. ``refuse`` is for plugins that see answers which raise nothing."""

    def __init__(self, table: suite_table.Table, report: Path) -> None:
        self._table = table
        self._report = report
        self._entries: dict[str, dict[str, object]] = {}
        self._last: dict[str, object] | None = None

    def refuse(self, status: int, body: object) -> None:
        """Note an answer that the running case got; one below 400 clears what was noted."""
        code, param = _code_and_field(body if isinstance(body, dict) else {})
        self._last = {"status": status, "code": code, "param": param} if status >= 400 else None

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep all cases but those that don't apply here."""
        for item in items:
            self._entries[item.nodeid] = {"outcome": "not run", "refusal": None, "said": ""}
        verdicts = [(item, self._table.verdict(item.nodeid)) for item in items]
        items[:] = [item for item, verdict in verdicts if verdict is None or verdict.kind != "not_applicable"]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        error = call.excinfo.value if call.excinfo else None
        match error:
            case openai.APIStatusError():
                self.refuse(error.status_code, {"error": error.body})
            case cloudflare.APIStatusError():
                self.refuse(error.status_code, error.body)
        if call.when == "call" or (call.when == "setup" and not report.passed):
            said = f"{type(error).__name__}: {error}".splitlines()[0][:300] if error else ""
            self._entries[item.nodeid] = {"outcome": report.outcome, "refusal": self._last, "said": said}
            self._last = None
        return report

    def pytest_sessionfinish(self) -> None:
        self._report.write_text(json.dumps(self._entries, indent=1), encoding="utf-8")


def _code_and_field(body: dict[str, Any]) -> tuple[object, object]:
    """Of OpenAI's object; of Anthropic's, which has a type and no code; or of the v4 envelope alone, whose code is a
    number and whose message names the field.
    """
    match body:
        case {"error": dict(error)}:
            return error.get("code") or error.get("type"), error.get("param")
        case {"errors": [{"code": code, "message": str(message)}]}:
            field = NATIVE_FIELD.match(message)
            return str(code), field and field[1]
        case _:
            return None, None


def pytest_configure(config: pytest.Config) -> None:
    table = suite_table.load(Path(os.environ["SUITE_TABLE"]))
    config.pluginmanager.register(Recorder(table, Path(os.environ["SUITE_REPORT"])), "suite-recorder")


def recorder(config: pytest.Config) -> Any:
    """The recorder of this run, for the plugins beside this one."""
    return config.pluginmanager.get_plugin("suite-recorder")
