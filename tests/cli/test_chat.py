"""``lowcloud chat``: a terminal chat that streams, against a real server on loopback."""

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiohttp import web
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from lowcloud.cli.chat import ChatError, Pieces
from lowcloud.cli.main import main
from lowcloud.storage.folder import claim


def chunk(text: str) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": {"content": text}}]}, ensure_ascii=False).encode() + b"\n\n"


class Server:
    """Streams the words ``answer``; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, object]] = []
        self.tokens: list[str] = []
        self.stream = [b": quiet\n\n", chunk("Beep "), chunk("bööp"), b"data: [DONE]\n\n"]
        self.refusal: tuple[int, str] | None = None
        self.url = ""
        self.hold = False

    async def complete(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(await request.json())
        self.tokens.append(request.headers["Authorization"])
        if self.refusal:
            return web.Response(status=self.refusal[0], text=self.refusal[1])
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for part in self.stream:
            await response.write(part)
        if self.hold:
            await asyncio.Event().wait()  # until the client leaves, or the server ends
        return response

    def run(self, started: threading.Event, loop: asyncio.AbstractEventLoop) -> None:
        async def start() -> web.AppRunner:
            app = web.Application()
            app.router.add_post("/v1/chat/completions", self.complete)
            runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            return runner

        runner = loop.run_until_complete(start())
        started.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()


@pytest.fixture
def server() -> Iterator[Server]:
    server, started, loop = Server(), threading.Event(), asyncio.new_event_loop()
    thread = threading.Thread(target=server.run, args=(started, loop))
    thread.start()
    assert started.wait(10)
    yield server
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)


def chat(*arguments: str, **keywords):
    return CliRunner().invoke(main, ["chat", *arguments], **keywords)


def test_an_answer_is_printed_and_the_command_ends(server):
    result = chat("--url", server.url, "--token", "t", "Make", "some", "noise")
    assert (result.exit_code, result.output) == (0, "Beep bööp\n")
    (asked,) = server.asked
    assert asked["messages"] == [{"role": "user", "content": "Make some noise"}]
    assert (asked["model"], asked["stream"]) == ("@local/smollm2-135m-instruct", True)
    assert server.tokens == ["Bearer t"]


def test_flags_become_fields_of_the_request(server):
    chat("--url", server.url, "--model", "@m", "--system", "Be brief", "--max-tokens", "5", "--temperature", "0", "Hi")
    (asked,) = server.asked
    assert (asked["model"], asked["max_tokens"], asked["temperature"]) == ("@m", 5, 0.0)
    assert asked["messages"][0] == {"role": "system", "content": "Be brief"}


def test_standard_input_that_is_no_terminal_is_one_message(server):
    result = chat("--url", server.url, input="two\nlines\n")
    assert result.exit_code == 0
    assert server.asked[0]["messages"] == [{"role": "user", "content": "two\nlines"}]


def test_nothing_to_say_is_refused():
    result = chat("--url", "http://127.0.0.1:1", input="")
    assert result.exit_code == 2
    assert "There is nothing to say" in result.output


def test_the_server_of_the_data_folder_is_found(server, tmp_path):
    with claim(tmp_path) as folder:
        folder.announce(server.url)
        result = chat("Hi", env={"LOWCLOUD_STORAGE__DATA_DIR": str(tmp_path)})
    assert result.output == "Beep bööp\n"


def test_a_refusal_is_shown_with_its_status(server):
    server.refusal = (404, '{"error": {"message": "No such model @x."}}')
    result = chat("--url", server.url, "Hi")
    assert (result.exit_code, result.output) == (1, "Error: No such model @x. (404)\n")


@pytest.mark.parametrize("body", ["<html>", '{"error": "odd"}'])
def test_a_refusal_without_a_message_is_its_status(server, body):
    server.refusal = (502, body)
    assert chat("--url", server.url, "Hi").output == "Error: The server answered with status 502.\n"


def test_an_answer_that_breaks_off_is_an_error(server):
    server.stream = [chunk("Be")]
    result = chat("--url", server.url, "Hi")
    assert (result.exit_code, result.output) == (1, "BeError: The answer broke off.\n")


def test_no_server_is_said_so(tmp_path):
    result = chat("--url", "http://127.0.0.1:1", "Hi")
    assert result.exit_code == 1
    assert "No server answers at http://127.0.0.1:1" in result.output
    assert "lowcloud dev" in result.output
    quiet = {"LOWCLOUD_STORAGE__DATA_DIR": str(tmp_path), "LOWCLOUD_SERVER__PORT": "1"}
    assert "http://127.0.0.1:1" in chat("Hi", env=quiet).output


@given(st.text(), st.data())
def test_text_comes_out_whole_however_the_stream_is_cut(text, data):
    stream = b"".join([b": c\n\n", chunk(text), chunk("end"), b"data: [DONE]\n\n"])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = Pieces()
    said = [piece for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True) for piece in pieces.feed(stream[a:b])]
    assert "".join(said) == text + "end"
    assert pieces.is_done


def test_an_error_in_the_stream_is_raised():
    with pytest.raises(ChatError, match="the engine gave up"):
        list(Pieces().feed(b'data: {"error": {"message": "the engine gave up"}}\n\n'))


def test_an_event_that_is_no_json_is_an_error():
    with pytest.raises(ChatError, match="isn't JSON"):
        list(Pieces().feed(b"data: <html>\n\n"))


@pytest.mark.parametrize("url", ["nowhere", "http://"])
def test_an_address_that_is_none_is_said_so(url):
    result = chat("--url", url, "Hi")
    assert result.exit_code == 1
    assert "No server answers at" in result.output


def test_chunks_without_text_say_nothing():
    assert (
        list(Pieces().feed(b'data: {"choices": []}\n\ndata: {"choices": [{"delta": {"role": "assistant"}}]}\n\n')) == []
    )


class Terminal:
    """A command in a terminal: ``type`` and ``until`` what a person does and sees."""

    def __init__(self, screen: int) -> None:
        self._screen = screen

    def type(self, keys: str) -> None:
        os.write(self._screen, keys.encode())

    def until(self, text: str) -> str:
        """What is shown up to and with ``text``; the process is killed after a minute, which ends the wait."""
        shown = b""
        while text.encode() not in shown:
            shown += os.read(self._screen, 4096)
        return shown.decode()


@contextmanager
def terminal(*arguments: str) -> Iterator[tuple[Terminal, subprocess.Popen[bytes]]]:
    screen, end = pty.openpty()
    # A terminal gives Ctrl-C its meaning; a shell that runs the tests in the background takes it from their children.
    command = ["env", "--default-signal=INT", str(Path(sys.executable).with_name("lowcloud")), *arguments]
    with subprocess.Popen(command, stdin=end, stdout=end, stderr=end, start_new_session=True) as process:
        os.close(end)
        bound = threading.Timer(60, process.kill)
        bound.start()
        try:
            yield Terminal(screen), process
        finally:
            bound.cancel()
            process.kill()
            os.close(screen)


def test_a_conversation_goes_on_until_exit_and_new_begins_it_again(server):
    with terminal("chat", "--url", server.url) as (person, process):
        person.until("> ")
        person.type("one\n")
        person.until("bööp\r\n> ")
        person.type("two\n")
        person.until("bööp\r\n> ")
        person.type("/new\n")
        person.until("> ")
        person.type("three\n")
        person.until("bööp\r\n> ")
        person.type("/exit\n")
        assert process.wait(30) == 0
    said = [[message["content"] for message in asked["messages"]] for asked in server.asked]
    assert said == [["one"], ["one", "Beep bööp", "two"], ["three"]]


def test_an_error_does_not_end_a_conversation_and_ctrl_d_does(server):
    server.refusal = (503, '{"error": {"message": "The model is not there yet."}}')
    with terminal("chat", "--url", server.url) as (person, process):
        person.until("> ")
        person.type("one\n")
        assert "Error: The model is not there yet. (503)" in person.until("\n> ")
        person.type("\x04")
        assert process.wait(30) == 0


def test_ctrl_c_stops_an_answer_and_forgets_the_turn(server):
    server.stream = [chunk("Beep "), *[b": quiet\n\n"], chunk("for ever")]
    server.hold = True
    with terminal("chat", "--url", server.url) as (person, process):
        person.until("> ")
        person.type("one\n")
        person.until("for ever")
        process.send_signal(signal.SIGINT)
        person.until("> ")
        server.hold = False  # not before: the first answer must not end by itself
        server.stream = [chunk("ok"), b"data: [DONE]\n\n"]
        person.type("two\n")
        person.until("ok\r\n> ")
        person.type("/exit\n")
        assert process.wait(30) == 0
    assert server.asked[-1]["messages"] == [{"role": "user", "content": "two"}]
