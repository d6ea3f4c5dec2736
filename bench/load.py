"""The load generator: raw sockets, one process of its own, so that it measures the server and not an HTTP client.

Started as ``python bench/load.py`` with one JSON job on standard input; prints one JSON result. A job is
``{"host", "port", "path", "bodies": [json body, ...], "in_flight": n, "total": n, "token"?: str}``: ``in_flight``
connections, each sending its next body when its answer is complete. A streamed answer ends with ``data: [DONE]``, a
whole one with its Content-Length. The result is ``{"wall_s", "replies": [{"ttft_s", "total_s", "gaps_s", "status",
"tail"}]}``; ``ttft_s`` is the time to the first event that carries content, ``tail`` the end of the answer (where the
usage is).
"""

import json
import re
import selectors
import socket
import sys
import time
from dataclasses import dataclass, field

CONTENT = re.compile(rb'"(?:content|text|delta)": ?"(?!")')
LENGTH = re.compile(rb"\r\ncontent-length: ?(\d+)", re.IGNORECASE)


@dataclass
class Reply:
    """One request and what came back of it."""

    sent: float
    data: bytearray = field(default_factory=bytearray)
    first: float | None = None
    last: float = 0.0
    gaps: list[float] = field(default_factory=list)

    def take(self, piece: bytes, now: float) -> bool:
        """Add bytes; True when the answer is complete."""
        if CONTENT.search(piece):
            if self.first is None:
                self.first = now
            else:
                self.gaps.append(now - self.last)
            self.last = now
        self.data += piece
        head_end = self.data.find(b"\r\n\r\n")
        if head_end < 0:
            return False
        length = LENGTH.search(self.data, 0, head_end)
        if length:
            return len(self.data) - head_end - 4 >= int(length[1])
        return b"[DONE]" in self.data[-64:] and self.data.endswith(b"0\r\n\r\n")

    def result(self, now: float) -> dict[str, object]:
        """What the parent reads of it."""
        return {
            "ttft_s": None if self.first is None else self.first - self.sent,
            "total_s": now - self.sent,
            "gaps_s": self.gaps,
            "status": int(self.data[9:12]),
            "tail": self.data[-900:].decode("utf-8", "replace"),
        }


def request_bytes(job: dict, body: object) -> bytes:
    """The HTTP/1.1 request."""
    data = json.dumps(body).encode()
    token = f"Authorization: Bearer {job['token']}\r\n" if job.get("token") else ""
    head = (
        f"POST {job['path']} HTTP/1.1\r\nHost: {job['host']}:{job['port']}\r\n{token}"
        f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


def run(job: dict) -> dict[str, object]:
    """Run the job to its end; every wait is bounded by 300 s."""
    selector = selectors.DefaultSelector()
    requests = [request_bytes(job, job["bodies"][i % len(job["bodies"])]) for i in range(job["total"])]
    requests.reverse()
    results: list[dict[str, object]] = []
    sockets = [socket.create_connection((job["host"], job["port"])) for _ in range(job["in_flight"])]
    start = time.perf_counter()
    for sock in sockets:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if requests:
            selector.register(sock, selectors.EVENT_READ, Reply(time.perf_counter()))
            sock.sendall(requests.pop())
    while selector.get_map():
        ready = selector.select(300)
        if not ready:
            raise TimeoutError("no byte for 300 s")
        for key, _ in ready:
            piece = key.fileobj.recv(1 << 18)
            now = time.perf_counter()
            if not piece:
                raise ConnectionError(f"closed early: {bytes(key.data.data[-300:])!r}")
            if not key.data.take(piece, now):
                continue
            results.append(key.data.result(now))
            selector.unregister(key.fileobj)
            if requests:
                selector.register(key.fileobj, selectors.EVENT_READ, Reply(time.perf_counter()))
                key.fileobj.sendall(requests.pop())
    return {"wall_s": time.perf_counter() - start, "replies": results}


if __name__ == "__main__":
    json.dump(run(json.load(sys.stdin)), sys.stdout)
