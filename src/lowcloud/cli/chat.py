"""``lowcloud chat``: a conversation in the terminal with a running server, as its answers stream in."""

import codecs
import json
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import anyio
import click

from lowcloud.cli.options import config_option, settings_of
from lowcloud.storage.folder import holder

DEFAULT_MODEL = "@local/smollm2-135m-instruct"
CONNECT_S = 10
SILENCE_S = 660  # a model may be converted first, which the server waits ten minutes for


@dataclass(frozen=True, slots=True)
class Target:
    """Where the conversation is held, and with what."""

    url: str
    token: str
    model: str
    max_tokens: int | None = None
    temperature: float | None = None


class ChatError(Exception):
    """The server refused, failed, or isn't there; the message is for people."""


@click.command()
@click.argument("message", nargs=-1)
@click.option("--url", envvar="LOWCLOUD_URL", help="The server; default: the one that runs here; also LOWCLOUD_URL.")
@click.option("--token", envvar="LOWCLOUD_TOKEN", default="dev", help="The API token; also LOWCLOUD_TOKEN.")
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help="The model's id.")
@click.option("--system", help="A system message that the conversation begins with.")
@click.option("--max-tokens", type=click.IntRange(min=1), help="Tokens in an answer; default: the model's own.")
@click.option("--temperature", type=click.FloatRange(0, 2), help="0: always the likeliest; default: the model's own.")
@config_option
def chat(  # noqa: PLR0913 - click hands over each flag
    *,
    message: tuple[str, ...],
    url: str | None,
    token: str,
    model: str,
    system: str | None,
    max_tokens: int | None,
    temperature: float | None,
    config: Path | None,
) -> None:
    """Chat with a model: with a MESSAGE, or with text on standard input, once; else until Ctrl-D.

    Ctrl-C stops an answer; /new begins again; /exit ends.
    """
    target = Target((url or _running(config)).rstrip("/"), token, model, max_tokens, temperature)
    conversation = [{"role": "system", "content": system}] if system else []
    once = " ".join(message) or ("" if sys.stdin.isatty() else sys.stdin.read().strip())
    if once or not sys.stdin.isatty():
        if not once:
            raise click.UsageError("There is nothing to say: give a MESSAGE, or text on standard input.")
        _say(target, conversation, once)
    else:
        click.echo(f"{model} at {target.url}. Ctrl-D ends, Ctrl-C stops an answer, /new begins again.", err=True)
        _converse(target, conversation)


def _running(config: Path | None) -> str:
    settings = settings_of(config)
    server = holder(settings.storage.data_dir)
    return server.url if server and server.url else f"http://127.0.0.1:{settings.server.port}"


def _converse(target: Target, conversation: list[dict[str, str]]) -> None:
    beginning = list(conversation)
    while True:
        try:
            words = input("> ").strip()
        except (EOFError, KeyboardInterrupt):
            click.echo()
            return
        if words == "/exit":
            return
        if words == "/new":
            conversation[:] = beginning
        elif words:
            try:
                _say(target, conversation, words)
            except click.ClickException as error:
                error.show()


def _say(target: Target, conversation: list[dict[str, str]], words: str) -> None:
    """One turn: the answer is printed as it comes, and kept in the conversation if it came whole."""
    turn = [*conversation, {"role": "user", "content": words}]

    async def print_answer() -> str:
        said: list[str] = []
        async with aclosing(answer(target, turn)) as pieces:
            async for piece in pieces:
                click.echo(piece, nl=False)
                said.append(piece)
        return "".join(said)

    try:
        text = anyio.run(print_answer)
    except ChatError as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        click.echo()
        return
    click.echo()
    conversation[:] = [*turn, {"role": "assistant", "content": text}]


async def answer(target: Target, messages: list[dict[str, str]]) -> AsyncGenerator[str, None]:
    """The pieces of the model's answer as they come. Raises ChatError."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=SILENCE_S)
    headers = {"Authorization": f"Bearer {target.token}"}
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, headers=headers) as session,
            session.post(f"{target.url}/v1/chat/completions", json=_body(target, messages)) as response,
        ):
            if response.status != 200:
                raise ChatError(_refusal(response.status, await response.text()))
            async for piece in _pieces(response.content):
                yield piece
    except (aiohttp.ClientError, TimeoutError) as error:
        raise ChatError(f"No server answers at {target.url} ({error}). Start one with: lowcloud dev") from error


def _body(target: Target, messages: list[dict[str, str]]) -> dict[str, object]:
    body: dict[str, object] = {"model": target.model, "messages": messages, "stream": True}
    asked = {"max_tokens": target.max_tokens, "temperature": target.temperature}
    return body | {key: value for key, value in asked.items() if value is not None}


async def _pieces(content: aiohttp.StreamReader) -> AsyncGenerator[str, None]:
    pieces = Pieces()
    async for chunk in content.iter_any():
        for piece in pieces.feed(chunk):
            yield piece
    if not pieces.is_done:
        raise ChatError("The answer broke off.")


class Pieces:
    """The text in a stream of chat completion chunks: bytes in, pieces of text out."""

    def __init__(self) -> None:
        self.is_done = False
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._line = ""

    def feed(self, chunk: bytes) -> Iterator[str]:
        """The pieces that ``chunk`` completes. Raises ChatError for an error in the stream."""
        *lines, self._line = (self._line + self._decoder.decode(chunk)).split("\n")
        for line in lines:
            data = line.removeprefix("data:").strip() if line.startswith("data:") else ""
            if data == "[DONE]":
                self.is_done = True
            elif data:
                yield from _texts(_event(data))


def _event(data: str) -> object:
    try:
        return json.loads(data)
    except ValueError as error:
        raise ChatError("The server sent an event that isn't JSON.") from error


def _texts(event: object) -> Iterator[str]:
    match event:
        case {"error": {"message": str(message)}}:
            raise ChatError(message)
        case {"choices": [{"delta": {"content": str(text)}}, *_]} if text:
            yield text
        case _:
            return


def _refusal(status: int, body: str) -> str:
    try:
        match json.loads(body):
            case {"error": {"message": str(message)}}:
                return f"{message} ({status})"
    except ValueError:
        pass
    return f"The server answered with status {status}."
