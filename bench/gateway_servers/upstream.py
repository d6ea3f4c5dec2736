"""An upstream that answers chat completions at once: a whole one of 1 kB, or a stream of 200 events. On raw asyncio, so
that it is no part of what is measured.
"""

import asyncio
import json
import sys

EVENTS = 200
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\n"


def whole() -> bytes:
    """A completion of about 1 kB."""
    message = {"role": "assistant", "content": "x" * 640}
    usage = {"prompt_tokens": 40, "completion_tokens": 160, "total_tokens": 200}
    body = {"id": "c", "object": "chat.completion", "created": 1, "model": "gpt-4o-mini", "usage": usage}
    body["choices"] = [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}]
    data = json.dumps(body).encode()
    return HEAD % b"application/json" + b"content-length: %d\r\n\r\n" % len(data) + data


def stream() -> list[bytes]:
    """A stream, in HTTP chunks of one event each, the head apart."""
    parts = [HEAD % b"text/event-stream" + b"transfer-encoding: chunked\r\n\r\n"]
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-mini"}
    for number in range(EVENTS):
        last = number == EVENTS - 1
        delta = {} if last else {"content": f" word{number}"}
        choice = {"index": 0, "delta": delta, "finish_reason": "stop" if last else None}
        event = b"data: " + json.dumps({**head, "choices": [choice]}).encode() + b"\n\n"
        parts.append(b"%x\r\n%b\r\n" % (len(event), event))
    done = b"data: [DONE]\n\n"
    return [*parts, b"%x\r\n%b\r\n0\r\n\r\n" % (len(done), done)]


WHOLE, STREAM = whole(), stream()
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Connection(asyncio.Protocol):
    """One connection, request after request."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as it is made
        self._transport, self._data = transport, b""

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            head = self._data[:end].lower()
            length = int(head.split(b"content-length:")[1].split(b"\r\n")[0]) if b"content-length:" in head else 0
            if len(self._data) < end + 4 + length:
                return
            body, self._data = self._data[end + 4 : end + 4 + length], self._data[end + 4 + length :]
            is_stream = b'"stream": true' in body or b'"stream":true' in body
            if is_stream:
                self._event(0)
            else:
                self._transport.write(OK if head.startswith(b"get") else WHOLE)

    def _event(self, number: int) -> None:
        """One event at a time, as a model makes them: others have the loop between two."""
        if self._transport.is_closing():
            return
        self._transport.write(STREAM[number])
        if number + 1 < len(STREAM):
            asyncio.get_running_loop().call_soon(self._event, number + 1)


async def serve(port: int) -> None:
    """Until it is killed."""
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(serve(int(sys.argv[1])))
