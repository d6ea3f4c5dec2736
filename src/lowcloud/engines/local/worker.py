"""A model's process: frames in, frames out. ``python -m lowcloud.engines.local.worker SPEC_JSON FD``.

One thread owns the engine. Between steps it takes what has arrived, without waiting; idle, it waits on the socket.
Writing may block: the server always drains, and a server that is gone ends the write. A second thread only watches for
the socket's end, so that the process ends at once even inside a long load or step, and its child processes with it.
"""

import contextlib
import gc
import logging
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NoReturn

from lowcloud.core.errors import LowcloudError, ModelUnusable
from lowcloud.engines.local.frames import Cancel, Failed, Frame, FrameReader, Submit, encode
from lowcloud.engines.local.grammar import Grammars, read_vocabulary
from lowcloud.engines.local.loop import Loop
from lowcloud.engines.local.spec import WorkerSpec

log = logging.getLogger("lowcloud.worker")

_READ_BYTES = 2**18
_GRACE_S = 0.5  # an idle worker notices by itself, and ends with status 0
_READS = 64  # at most so many between two steps, so that a flood of frames can't hold up what runs


class HangupError(Exception):
    """The server is gone."""


class Link:
    """The worker's end of the socket, as frames."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock, self._reader = sock, FrameReader()
        self._arrivals = select.poll()
        self._arrivals.register(sock, select.POLLIN)
        self._waker, self._woken = socket.socketpair()
        self._waker.setblocking(False)
        self._woken.setblocking(False)
        self._arrivals.register(self._woken, select.POLLIN)

    def send(self, frame: Frame) -> None:
        """Write the whole frame, waiting for the server where it must. Raises HangupError."""
        try:
            self._sock.sendall(encode(frame))
        except ConnectionError as error:
            raise HangupError from error

    def wake(self) -> None:
        """End a ``receive`` that waits, or the next one that would. For any thread."""
        with contextlib.suppress(OSError):  # enough is written to wake it, or it is closed
            self._waker.send(b"\0")

    def close(self) -> None:
        """Nothing is received any more; the socket stays its owner's."""
        self._waker.close()
        self._woken.close()

    def receive(self, *, wait: bool) -> list[Frame]:
        """What has arrived; with ``wait``, something has, or ``wake`` was called. Raises HangupError at the end."""
        frames: list[Frame] = []
        for _ in range(_READS):
            ready = [descriptor for descriptor, _ in self._arrivals.poll(None if wait and not frames else 0)]
            if self._woken.fileno() in ready:
                self._woken.recv(_READ_BYTES)
                wait = False
            if self._sock.fileno() not in ready:
                break
            try:
                data = self._sock.recv(_READ_BYTES)
            except ConnectionError as error:
                raise HangupError from error
            if not data:
                raise HangupError
            frames += self._reader.feed(data)
        return frames


def serve(link: Link, loop: Loop) -> NoReturn:
    """Run the loop until the server hangs up, which raises HangupError. ``link.wake`` says that grammars are compiled.

    When the last sequence was cancelled, one more step, without work, tells that nothing runs.
    """
    while True:
        was_busy = loop.is_busy
        for frame in link.receive(wait=not was_busy):
            match frame:
                case Submit():
                    loop.submit(frame)
                case Cancel():
                    loop.cancel(frame.seq)
                case _:
                    raise ValueError(f"a text worker gets no {type(frame).__name__}")
        loop.join_compiled()
        if loop.is_busy or was_busy:
            link.send(loop.step())


def run(spec: WorkerSpec, sock: socket.socket) -> int:
    """Load and serve; the exit status. 0: the server hung up. 1: the model can't be loaded, which was sent."""
    with contextlib.closing(Link(sock)) as link:
        try:
            return _run(spec, link)
        except HangupError:
            return 0


def _run(spec: WorkerSpec, link: Link) -> int:
    try:
        serve_on = _load_vision(spec, link) if spec.kind == "vision" else _load(spec, link)
    except LowcloudError as error:
        log.error("%s", error, exc_info=error.__cause__)  # noqa: TRY400  (made for people; its cause may not be)
        link.send(Failed(str(error)))
        return 1
    except (RuntimeError, OSError, ValueError, KeyError, ImportError, MemoryError) as error:
        log.exception("the model can't be loaded")
        link.send(Failed(f"the model can't be loaded ({type(error).__name__}); the worker's log says more"))
        return 1
    return serve_on()


def _load(spec: WorkerSpec, link: Link) -> Callable[[], NoReturn]:
    from lowcloud.engines.local.launch import launch  # noqa: PLC0415  (openvino: an encoder's worker loads its own way)

    launched = launch(spec)
    vocabulary = partial(read_vocabulary, Path(spec.source), launched.model.n_vocab)
    loop = Loop(launched.model, launched.settings, link.send, Grammars(vocabulary, link.wake))
    gc.collect()
    gc.freeze()  # what is loaded stays: later collections needn't look at it
    link.send(launched.ready)
    log.info("%s: %s", launched.ready.weights, launched.ready.note)
    return partial(serve, link, loop)


def _load_vision(spec: WorkerSpec, link: Link) -> Callable[[], NoReturn]:
    try:
        from lowcloud.engines.local.vision_loop import VisionLoop  # noqa: PLC0415  (an extra of its own)
        from lowcloud.engines.local.vision_pipeline import load  # noqa: PLC0415
    except ImportError as error:
        raise ModelUnusable("models that see need the extra vision: pip install 'lowcloud[local,vision]'") from error
    pipeline, ready = load(spec)
    link.send(ready)
    log.info("%s: %s", ready.weights, ready.note)
    return VisionLoop(link, pipeline).serve


def end_with(sock: socket.socket) -> threading.Thread:
    """Watch the socket from a thread of its own: when its other end is closed, this process and its children end."""
    thread = threading.Thread(target=_wait_for_hangup, args=(sock.fileno(),), name="hangup", daemon=True)
    thread.start()
    return thread


def _wait_for_hangup(descriptor: int) -> None:
    hangup = select.poll()
    hangup.register(descriptor, getattr(select, "POLLRDHUP", 0))  # POLLHUP always comes, POLLIN must not wake us
    hangup.poll()
    threading.main_thread().join(_GRACE_S)
    if not threading.main_thread().is_alive():
        return
    if os.getpgid(0) == os.getpid():  # a group of our own: a conversion under way ends with us
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


def main(arguments: list[str]) -> int:
    """Serve one model over an inherited socket until its other end closes."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    spec = WorkerSpec.from_json(arguments[0])
    with socket.socket(fileno=int(arguments[1])) as sock:
        end_with(sock)
        if spec.kind == "embedding":
            from lowcloud.engines.local import encoder  # noqa: PLC0415  (only that kind of worker needs it)

            encoder.serve(spec, sock)
            return 0
        return run(spec, sock)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
