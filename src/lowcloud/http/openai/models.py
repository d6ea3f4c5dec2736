"""GET models and models/{id}: exactly the models that would answer."""

from starlette.responses import Response
from starlette.types import ASGIApp

from lowcloud.http.call import Call
from lowcloud.http.encode import to_json
from lowcloud.models.catalogue import Answer
from lowcloud.serving.service import Service


class Models:
    """Handles the list of models and one of it."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def index(self, _call: Call) -> ASGIApp:
        """All of them; nothing is paged."""
        return _json({"object": "list", "data": [model_fields(answer) for answer in self._service.models()]})

    async def show(self, call: Call) -> ASGIApp:
        """One; ids hold slashes."""
        return _json(model_fields(self._service.model(call.params["model"])))


def model_fields(answer: Answer) -> dict[str, object]:
    """A model as OpenAI's API shows it; what is ours is under ``lowcloud``.

    Limits and defaults are those of the weights that answer. Vectors have the size of the model that was asked for.
    """
    card, by = answer.card, answer.by
    dimensions = card.dimensions if answer.stand_in else by.dimensions
    return {
        "id": card.id,
        "object": "model",
        "created": card.created,
        "owned_by": card.owned_by,
        "lowcloud": {
            "answered_by": by.id,
            "stand_in": answer.stand_in,
            "task": card.task.value,
            "description": card.description,
            "context_window": by.context_window,
            "max_input_tokens": by.max_input_tokens,
            "dimensions": dimensions,
            "defaults": by.defaults.model_dump(),
        },
    }


def _json(value: object) -> Response:
    return Response(to_json(value), media_type="application/json")
