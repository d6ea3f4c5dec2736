"""Logs: JSON or lines for people, with the request's id, never with a token or a prompt."""

import io
import json
import logging

import pytest
import structlog

from lowcloud.telemetry.logs import configure, without_secrets

TOKEN = "lowcloud_Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _as_it_was():
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_json_with_the_requests_id():
    stream = io.StringIO()
    configure("info", "auto", dev=True, stream=stream)
    structlog.contextvars.bind_contextvars(request_id="r1")
    structlog.get_logger("lowcloud.http").info("answered", status=200)
    (line,) = lines(stream)
    assert (line["message"], line["request_id"], line["status"], line["level"]) == ("answered", "r1", 200, "info")
    assert str(line["timestamp"]).endswith("Z")


@pytest.mark.parametrize(
    ("log_format", "dev", "terminal", "is_json"),
    [
        ("auto", True, True, False),
        ("auto", True, False, True),
        ("auto", False, True, True),
        ("json", True, True, True),
        ("console", False, False, False),
    ],
)
def test_lines_for_people_are_for_dev_on_a_terminal(log_format, dev, terminal, is_json):
    stream = Terminal() if terminal else io.StringIO()
    configure("info", log_format, dev=dev, stream=stream)
    structlog.get_logger().info("hello")
    assert stream.getvalue().startswith("{") is is_json


def test_lines_below_the_level_are_not_written():
    stream = io.StringIO()
    configure("warning", "json", dev=False, stream=stream)
    structlog.get_logger().info("quiet")
    structlog.get_logger().warning("loud")
    assert [line["message"] for line in lines(stream)] == ["loud"]


def test_librarys_warnings_are_lines_of_the_same_form():
    stream = io.StringIO()
    configure("debug", "json", dev=False, stream=stream)
    logging.getLogger("uvicorn.error").warning("slow %s", "client")
    logging.getLogger("uvicorn.error").info("not ours to tell")
    (line,) = lines(stream)
    assert (line["message"], line["logger"], line["level"]) == ("slow client", "uvicorn.error", "warning")


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_shows_no_local_variables_and_no_token(log_format):
    stream = io.StringIO()
    configure("info", log_format, dev=False, stream=stream)

    words = ["the", "users", "own", "words"]

    def answer(prompt: str) -> None:
        raise LookupError(f"Bearer {TOKEN}")

    try:
        answer(" ".join(words))
    except LookupError:
        structlog.get_logger().exception("failed")
    written = stream.getvalue()
    assert "LookupError" in written
    assert "the users own words" not in written
    assert TOKEN not in written


def test_a_token_is_cut_out_wherever_it_is():
    event = {
        "event": f"got {TOKEN}!",
        "Authorization": "anything",
        "headers": [{"authorization": "x"}, ("Bearer abc.def", TOKEN.encode())],
        "status": 401,
    }
    assert without_secrets(None, "info", event) == {
        "event": "got [hidden]!",
        "Authorization": "[hidden]",
        "headers": [{"authorization": "[hidden]"}, ["[hidden]", "[hidden]"]],
        "status": 401,
    }
