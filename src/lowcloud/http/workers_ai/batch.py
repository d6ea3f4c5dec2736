"""Asynchronous batches: many inputs of one model are queued now, run when nobody else waits, and asked for later.

Source: Cloudflare docs, Workers AI › Asynchronous Batch API, and the types of its SDKs, read 2026-11.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from anyio.lowlevel import checkpoint
from pydantic import BaseModel, ConfigDict, Field

from lowcloud.core.errors import BadRequest, EngineFailed, LowcloudError, NotFound, Unsupported
from lowcloud.core.requests import Caller
from lowcloud.http.call import Trace
from lowcloud.http.clock import Clock
from lowcloud.http.encode import answer_headers, large_json, to_json
from lowcloud.http.generation import Whole
from lowcloud.http.offload import Offload
from lowcloud.http.openai.chat_answer import NEURON_DIGITS
from lowcloud.http.openai.parameters import named
from lowcloud.http.strict_json import LARGE_BYTES
from lowcloud.http.validation import validated
from lowcloud.http.workers_ai.errors import native
from lowcloud.http.workers_ai.lenient import Flag
from lowcloud.http.workers_ai.native import Native, Run
from lowcloud.http.workers_ai.options import RunOptions
from lowcloud.http.workers_ai.text_request import MAX_SEED
from lowcloud.models.card import Task
from lowcloud.serving.jobs import JobRunner
from lowcloud.serving.service import Answer
from lowcloud.storage.jobs import EndedJob, JobError, LeasedJob, NewJob

KIND = "batch"
CHECK_S = 5.0  # so long prompts are counted and schemas read before a batch is queued
SEEDS = ("seed", "random_seed")
# What a response calls the parts of its usage.
_USAGE_NAMES = {
    "input_tokens": "prompt_tokens",
    "output_tokens": "completion_tokens",
    "input_tokens_details": "prompt_tokens_details",
    "output_tokens_details": "completion_tokens_details",
}


class Request(BaseModel):
    """What of a batch's requests isn't the model's."""

    model_config = ConfigDict(strict=True)

    external_reference: Annotated[str, Field(max_length=1_024)] | None = None
    stream: Flag | None = None


def is_batch(inputs: Mapping[str, object], options: RunOptions) -> bool:
    """Whether it is to be queued, or asks for what was."""
    return options.queues or inputs.keys() == {"request_id"}


class Batch:
    """Queues batches, runs their requests, and says what came of them. ``new_id`` makes ids that nobody guesses."""

    def __init__(
        self, native: Native, jobs: JobRunner, offload: Offload, clock: Clock, new_id: Callable[[], str]
    ) -> None:
        self._native, self._jobs, self._offload = native, jobs, offload
        self._clock, self._new_id = clock, new_id

    async def answer(
        self, model: str, inputs: Mapping[str, object], n_bytes: int, caller: Caller, trace: Trace
    ) -> Whole:
        """The answer to what ``is_batch`` names, of so many bytes."""
        if inputs.get("request_id") is None:
            return await self.submit(model, inputs, n_bytes, caller, trace)
        if inputs.get("requests") is not None:
            raise BadRequest("requests and request_id are mutually exclusive", param="request_id")
        return await self.poll(inputs, caller)

    async def submit(
        self, model: str, inputs: Mapping[str, object], n_bytes: int, caller: Caller, trace: Trace
    ) -> Whole:
        """Queue all of ``requests``, or none: BadRequest names the one that can't be run, and its field.

        Raises Overloaded where the account has too many queued already.
        """
        answer, requests = self._native.answer(model), _requests(inputs)
        trace.model = model
        self._jobs.check(len(requests))  # each of them costs time from here on
        request_id = trace.completion_id = self._new_id()
        asked = await self._offload.sized(n_bytes, lambda: _asked(model, request_id, requests, n_bytes))
        until = self._clock.monotonic() + CHECK_S
        for place, one in enumerate(asked):
            run = Run(answer, one.inputs, len(one.job.payload), caller, trace)
            await self._check(f"requests[{place}]", run, is_whole=self._clock.monotonic() < until)
            await checkpoint()  # others may have the loop between two of thousands
        await self._jobs.enqueue(KIND, request_id, caller.account_id, [one.job for one in asked])
        ignored = named(inputs, ("requests", "request_id"), {})
        return Whole(_status("queued", request_id, model), answer_headers(ignored, None))

    async def poll(self, inputs: Mapping[str, object], caller: Caller) -> Whole:
        """How far the batch of ``request_id`` is, or all that came of it. Raises NotFound, BadRequest."""
        request_id = inputs["request_id"]
        if not isinstance(request_id, str):
            raise BadRequest("Type mismatch of '/request_id', must be a string", param="request_id")
        state = await self._jobs.group(KIND, caller.account_id, request_id)
        if state is None:
            raise NotFound(
                f"No batch {request_id[:100]}: there was none of this account, or it is gone by now.",
                param="request_id",
            )
        headers = answer_headers(named(inputs, ("requests", "request_id"), {}), None)
        if state.is_over:
            return Whole(await self._offload.run(lambda: _responses(state.ended)), headers)
        has_begun = state.running or state.done or state.failed
        status = "running" if has_begun else "queued"
        return Whole(_status(status, request_id, _model(state.head)), headers)

    async def run(self, job: LeasedJob) -> bytes:
        """One request of a batch: a JSON array of what is told of the result, and the result."""
        stored: dict[str, Any] = await self._offload.read(job.payload.encode(), lambda payload: payload)
        model, inputs = stored["model"], stored["inputs"]
        trace = Trace(job.id, "POST", "", self._clock.monotonic(), account_id=job.account_id)
        seeded = _seeded(self._native.answer(model), inputs, job.seed)
        caller = Caller(job.account_id, admission="batch")
        result = await self._native.run(model, seeded, len(job.payload), caller, trace)
        if not isinstance(result, Whole):
            raise TypeError("a request of a batch became a stream")
        return await self._offload.sized(len(result.body), lambda: _kept(result))

    def failure(self, job: LeasedJob, error: LowcloudError) -> JobError:
        """As the native API would have said it at once."""
        said = native(error, job.id)
        return JobError(str(said.number), said.message)

    async def _check(self, path: str, run: Run, *, is_whole: bool) -> None:
        """``run`` has a request of a batch as its inputs. Raises BadRequest with the path of what is wrong."""
        try:
            await self._native.check(run, is_whole=is_whole)
        except BadRequest as error:
            raise _within(error, path) from None


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request of a batch: the model's inputs, and what is kept of them."""

    inputs: Mapping[str, object]
    job: NewJob


def _requests(inputs: Mapping[str, object]) -> Sequence[Any]:
    requests = inputs.get("requests")
    if requests is None:
        raise BadRequest("required properties at '/' are 'requests'", param="requests")
    if not isinstance(requests, list) or not requests:
        raise BadRequest("Type mismatch of '/requests', must be a list of inputs, at least one", param="requests")
    return requests


def _asked(model: str, request_id: str, requests: Sequence[Any], n_bytes: int) -> list[_Asked]:
    """Raises BadRequest with the path of what is wrong, as far as it isn't the model's."""
    write = to_json if n_bytes <= LARGE_BYTES else large_json
    asked = []
    for place, raw in enumerate(requests):
        path = f"requests[{place}]"
        if not isinstance(raw, dict):
            raise BadRequest(f"{path}: must be an object.", param=path)
        request = validated(Request, raw, path)
        if request.stream:
            raise Unsupported(f"{path}.stream: nothing of a batch is streamed.", param=f"{path}.stream")
        inputs = {name: value for name, value in raw.items() if name != "external_reference"}
        payload = write({"model": model, "inputs": inputs}).decode()
        asked.append(_Asked(inputs, NewJob(payload, _seed(f"{request_id}-{place}"), request.external_reference)))
    return asked


def _model(head: str) -> str:
    """A payload begins with its model."""
    model: str = json.JSONDecoder().raw_decode(head, len('{"model":'))[0]
    return model


def _within(error: BadRequest, path: str) -> BadRequest:
    """The same error, of the request at ``path``."""
    said = str(error)
    param = None if error.param is None else f"{path}.{error.param}"
    is_named = error.param is not None and said.startswith(error.param)
    return type(error)(f"{path}.{said}" if is_named else f"{path}: {said}", param=param or path)


def _seed(job_id: str) -> int:
    """Of every job another one, and of a job always the same; as a caller may give it."""
    digest = hashlib.blake2b(job_id.encode(), digest_size=8).digest()
    return 1 + int.from_bytes(digest) % MAX_SEED


def _seeded(answer: Answer, inputs: dict[str, Any], seed: int) -> dict[str, Any]:
    """With a seed where the model draws one, so that a second start says the same as the first."""
    is_given = any(inputs.get(name) is not None for name in SEEDS)
    return inputs if is_given or answer.card.task is not Task.TEXT_GENERATION else {**inputs, "seed": seed}


def _status(status: str, request_id: str, model: str) -> bytes:
    return to_json({"status": status, "request_id": request_id, "model": model})


def _kept(whole: Whole) -> bytes:
    result = json.loads(whole.body)
    usage = result.get("usage") if isinstance(result, dict) else None
    return b"[%b,%b]" % (to_json({"usage": usage, "headers": dict(whole.headers)}), whole.body)


def _responses(ended: Sequence[EndedJob]) -> bytes:
    """Results are told as they were kept: they may be large, and needn't be read."""
    usage: dict[str, Any] = {}
    responses = b",".join(_told(ended, usage))
    return b'{"responses":[%b],"usage":%b}' % (responses, to_json(usage))


def _told(ended: Sequence[EndedJob], usage: dict[str, Any]) -> Iterator[bytes]:
    """Each response; their usage is added up in ``usage``."""
    decoder = json.JSONDecoder()
    for job in ended:
        last = {"external_reference": job.external_reference}
        if isinstance(job.outcome, JobError):
            yield to_json({"id": job.position, "result": None, "success": False, "error": _error(job.outcome), **last})
            continue
        about, end = decoder.raw_decode(job.outcome, 1)
        _add(usage, about["usage"] or {})
        headers = {"headers": about["headers"]} if about["headers"] else {}
        told = to_json({"success": True, **headers, **last})
        yield b'{"id":%d,"result":%b,%b' % (job.position, job.outcome[end + 1 : -1].encode(), told[1:])


def _error(error: JobError) -> dict[str, object]:
    """A failure that the store found has no number of its own."""
    number = int(error.code) if error.code.isdecimal() else EngineFailed.number
    return {"code": number, "message": error.message}


def _add(sums: dict[str, Any], usage: Mapping[str, Any]) -> None:
    """Of results in different forms too: the names are those of chat completions."""
    for given, value in usage.items():
        name = _USAGE_NAMES.get(given, given)
        if isinstance(value, dict):
            _add(sums.setdefault(name, {}), value)
        elif isinstance(value, int | float):
            sums[name] = round(sums.get(name, 0) + value, NEURON_DIGITS)
