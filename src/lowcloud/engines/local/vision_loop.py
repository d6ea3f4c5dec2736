"""A vision model's process: one sequence after the other through a pipeline, frames in, frames out.

The pipeline computes a whole answer in one call, and calls back for each token. Between two tokens the loop takes what
has arrived, so a sequence that was cancelled ends before the next one; while images and prompt are read it can't.
"""

from bisect import insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from lowcloud.engines.local.frames import Accepted, Cancel, Counted, Finish, Frame, Refused, Step, Submit
from lowcloud.engines.local.pictures import BadPictureError, pixels

MAX_PIXELS = 2**26  # of a request's images together: a small file may have very many


class RefusedError(Exception):
    """The pipeline can't take a prompt: a ``code`` of ``frames.Refused``, and why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Pipeline(Protocol):
    """What computes answers."""

    def generate(self, request: Submit, images: Sequence[NDArray[np.uint8]], write: Callable[[int], bool]) -> int:
        """How many tokens the prompt had. ``write`` gets each token, and says whether another one is wanted.

        Raises RefusedError, and what ``write`` raises.
        """


class Server(Protocol):
    """The other end of the socket, as ``worker.Link`` has it. Both raise where the server is gone."""

    def send(self, frame: Frame) -> None: ...
    def receive(self, *, wait: bool) -> list[Frame]: ...


@dataclass(slots=True)
class _Running:
    """The sequence that runs. ``held`` is its last token, which goes out once the prompt is counted."""

    request: Submit
    n_tokens: int = 0
    held: tuple[list[int], Finish] | None = None
    is_cancelled: bool = False


class VisionLoop:
    """Runs sequences, the lowest rank first, within it first come, first served.

    ``max_pixels`` is what the images of one may have together.
    """

    def __init__(self, server: Server, pipeline: Pipeline, max_pixels: int = MAX_PIXELS) -> None:
        self._server, self._pipeline, self._max_pixels = server, pipeline, max_pixels
        self._waiting: list[Submit] = []
        self._running: _Running | None = None

    def serve(self) -> NoReturn:
        """Until the server hangs up, which raises."""
        while True:
            self._take(self._server.receive(wait=not self._waiting))
            if self._waiting:
                self._run(self._waiting.pop(0))

    def _take(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            match frame:
                case Submit():
                    insort(self._waiting, frame, key=lambda each: each.rank)
                case Cancel(seq=seq):
                    self._waiting = [waiting for waiting in self._waiting if waiting.seq != seq]
                    if self._running and self._running.request.seq == seq:
                        self._running.is_cancelled = True
                case _:
                    raise ValueError(f"a vision worker gets no {type(frame).__name__}")

    def _run(self, request: Submit) -> None:
        running = self._running = _Running(request)
        refused, prompt_tokens = None, 0
        try:
            prompt_tokens = self._pipeline.generate(request, _seen(request, self._max_pixels), self._write)
        except RefusedError as error:
            refused = Refused(request.seq, error.code, str(error))
        self._running = None
        if running.is_cancelled:
            self._step()
        elif refused:
            self._server.send(refused)
            self._step()
        else:
            self._finish(running, prompt_tokens)

    def _finish(self, running: _Running, prompt_tokens: int) -> None:
        """A sequence that the pipeline ended by itself has used up the context."""
        seq = running.request.seq
        tokens, finish = running.held or ([], "length")
        self._server.send(Counted(seq, prompt_tokens))
        self._step([seq, tokens, None, finish])

    def _write(self, token: int) -> bool:
        running = self._running
        if running is None:
            raise TypeError("a token of no sequence")
        self._take(self._server.receive(wait=False))
        if running.is_cancelled:
            return False
        request = running.request
        if not running.n_tokens:
            self._server.send(Accepted(request.seq, 0))
        running.n_tokens += 1
        if token in request.stop_ids:
            running.held = [token], "stop"
        elif running.n_tokens == request.max_tokens:
            running.held = [token], "length"
        else:
            self._step([request.seq, [token], None, None])
        return running.held is None

    def _step(self, *outputs: list[Any]) -> None:
        self._server.send(Step(list(outputs), [len(self._waiting), int(self._running is not None), 0, 0, 0, 0]))


def _seen(request: Submit, left: int) -> list[NDArray[np.uint8]]:
    """The images' pixels. Raises RefusedError, also for an answer that would have to go on in its middle."""
    if request.forced:
        raise RefusedError("failed", "its process ended, and an answer about images can't be gone on with")
    images: list[NDArray[np.uint8]] = []
    for number, image in enumerate(request.images, 1):
        try:
            images.append(pixels(image, left))
        except BadPictureError as error:
            raise RefusedError("bad_prompt", f"image {number} {error}") from error
        left -= images[-1].size // 3
    return images
