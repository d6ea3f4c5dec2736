"""The core of the native API: a model's inputs in, its native result out. What wraps that result is the caller's."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

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

    @property
    def ignored(self) -> tuple[str, ...]:
        """Another model among the inputs chooses nothing, whatever the formats of OpenAI's API do with it."""
        return () if self.inputs.get("model") in (None, self.answer.card.id) else ("model",)


NativeResult: TypeAlias = Whole | EventStream


class TaskRunner(Protocol):
    """Runs the models of one task."""

    async def run(self, run: Run) -> NativeResult:
        """The result, or the stream once it has started. Raises BadRequest, and all that the service does."""

    async def check(self, run: Run, *, is_whole: bool) -> None:
        """Refuse what ``run`` would, as far as that is known before it runs; not ``is_whole``: as far as the inputs and
        the kind of model say so, without the time that prompts and schemas take."""


class Native:
    """Runs models. ``runners`` has one for each task that some engine does."""

    def __init__(self, service: Service, runners: Mapping[Task, TaskRunner]) -> None:
        self._service, self._runners = service, runners

    async def run(
        self, model: str, inputs: Mapping[str, object], n_bytes: int, caller: Caller, trace: Trace
    ) -> NativeResult:
        """The result, or the stream once it has started. Raises InvalidModelName, ModelNotFound, BadRequest, ..."""
        trace.model = model[:MAX_NAME_CHARS]
        run = Run(self.answer(model), inputs, n_bytes, caller, trace)
        return await self._runner(run).run(run)

    async def check(self, run: Run, *, is_whole: bool) -> None:
        """As ``TaskRunner.check``. Raises BadRequest, ..."""
        await self._runner(run).check(run, is_whole=is_whole)

    def answer(self, model: str) -> Answer:
        """Who answers for a model. Raises InvalidModelName, ModelNotFound."""
        if len(model) > MAX_NAME_CHARS or not model.isprintable() or " " in model:
            raise InvalidModelName("The model name is invalid", param="model")
        answer = self._service.model(model)
        if answer.card.task not in self._runners:
            raise ModelNotFound(model, why=f"no engine here does {answer.card.task.value} yet")
        return answer

    def _runner(self, run: Run) -> TaskRunner:
        if run.inputs.get("lora"):
            raise LoraUnsupported(f"The model {run.answer.card.id} does not support LoRa inference", param="lora")
        return self._runners[run.answer.card.task]
