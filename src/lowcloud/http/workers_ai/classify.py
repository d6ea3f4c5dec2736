"""Native text classification: every label of the model, each with its probability."""

from lowcloud.core.requests import Classify
from lowcloud.http.encode import result_headers, to_json
from lowcloud.http.generation import Whole
from lowcloud.http.offload import Offload
from lowcloud.http.openai.parameters import named
from lowcloud.http.validation import validated
from lowcloud.http.workers_ai.embeddings_request import Filled, Truncating
from lowcloud.http.workers_ai.native import NativeResult, Run
from lowcloud.serving.service import Service


class ClassifyInput(Truncating):
    """A text to classify."""

    text: Filled


class ClassifyRunner:
    """Runs text classification."""

    def __init__(self, service: Service, offload: Offload) -> None:
        self._service, self._offload = service, offload

    async def run(self, run: Run) -> NativeResult:
        """The labels in the model's own order."""
        body = await self._asked(run)
        classify = Classify(run.trace.id, (body.text,), truncate=bool(body.truncate_inputs), names=("text",))
        classified = await self._service.classify(run.answer.card.id, classify, run.caller)
        labels = [{"label": label.name, "score": label.score} for label in classified.labels[0]]
        ignored = named(run.inputs, ClassifyInput.model_fields, {})
        return Whole(to_json(labels), result_headers(ignored, classified))

    async def check(self, run: Run, *, is_whole: bool) -> None:  # noqa: ARG002 - as the protocol has it
        """Refuse what ``run`` would, as far as the inputs alone say so."""
        await self._asked(run)

    async def _asked(self, run: Run) -> ClassifyInput:
        return await self._offload.sized(run.n_bytes, lambda: validated(ClassifyInput, dict(run.inputs)))
