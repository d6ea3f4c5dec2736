"""The core of the native API: a model's inputs in, its native result out. What wraps that result is the caller's."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from lowcloud.core.errors import InvalidModelName, LoraUnsupported, ModelNotFound
from lowcloud.core.requests import Caller
from lowcloud.http.call import Trace
from lowcloud.http.generation import Whole
from lowcloud.http.sse import EventStream
from lowcloud.models.card import Task
from lowcloud.serving.service import Answer, Service

MAX_NAME_CHARS = 200


@dataclass(frozen=True, slots=True)
class Run:
    """One run: ``inputs`` are a JSON object as it came, of ``n_bytes``; ``trace.id`` is the run's id."""

    answer: Answer
    inputs: Mapping[str, object]
    n_bytes: int
    caller: Caller
    trace: Trace


NativeResult: TypeAlias = Whole | EventStream
TaskRunner: TypeAlias = Callable[[Run], Awaitable[NativeResult]]


class Native:
    """Runs models. ``runners`` has one for each task that some engine does."""

    def __init__(self, service: Service, runners: Mapping[Task, TaskRunner]) -> None:
        self._service, self._runners = service, runners

    async def run(
        self, model: str, inputs: Mapping[str, object], n_bytes: int, caller: Caller, trace: Trace
    ) -> NativeResult:
        """The result, or the stream once it has started. Raises InvalidModelName, ModelNotFound, BadRequest, ..."""
        trace.model = model[:MAX_NAME_CHARS]
        answer = self.answer(model)
        if inputs.get("lora"):
            raise LoraUnsupported(f"The model {model} does not support LoRa inference", param="lora")
        return await self._runners[answer.card.task](Run(answer, inputs, n_bytes, caller, trace))

    def answer(self, model: str) -> Answer:
        """Who answers for a model. Raises InvalidModelName, ModelNotFound."""
        if len(model) > MAX_NAME_CHARS or not model.isprintable() or " " in model:
            raise InvalidModelName("The model name is invalid", param="model")
        answer = self._service.model(model)
        if answer.card.task not in self._runners:
            raise ModelNotFound(model, why=f"no engine here does {answer.card.task.value} yet")
        return answer
