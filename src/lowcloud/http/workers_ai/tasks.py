"""Tasks as the service shows them: its ids and names, and what each is, in our words.

Source: Cloudflare docs, Workers AI › Models, read 2026-11.
"""

from collections.abc import Mapping

from lowcloud.models.card import Task

# What the service has no task of its own for.
_COUNTED_AS: Mapping[Task, Task] = {
    Task.RERANK: Task.TEXT_CLASSIFICATION,
    Task.MODERATION: Task.TEXT_GENERATION,
    Task.DECISION: Task.TEXT_GENERATION,
}
_ABOUT: Mapping[Task, tuple[str, str]] = {
    Task.TEXT_GENERATION: ("c329a1f9-323d-4e91-b2aa-582dd4188d34", "Goes on with a text, or answers a conversation."),
    Task.TEXT_EMBEDDINGS: (
        "0137cdcf-162a-4108-94f2-1ca59e8c65ee",
        "Turns texts into vectors that lie close together where the texts mean the same.",
    ),
    Task.TEXT_CLASSIFICATION: (
        "19606750-23ed-4371-aab2-c20349b53a60",
        "Gives a text labels with scores, or texts scores for a query.",
    ),
    Task.TRANSLATION: ("f57d07cb-9087-487a-bbbf-bc3e17fecc4b", "Says a text in another language."),
    Task.SUMMARIZATION: ("6f4e65d8-da0f-40d2-9aa4-db582a5a04fd", "Says a long text in a short one."),
    Task.IMAGE_CLASSIFICATION: ("00cd182b-bf30-4fc4-8481-84a3ab349657", "Names what an image shows."),
    Task.OBJECT_DETECTION: ("9c178979-90d9-49d8-9e2c-0f1cf01815d4", "Finds objects in an image, each with its box."),
    Task.IMAGE_TO_TEXT: ("882a91d1-c331-4eec-bdad-834c919942a8", "Describes an image, or answers about it."),
    Task.TEXT_TO_IMAGE: ("3d6e1f35-341b-4915-a6c8-9a7142a9033a", "Makes an image of a text."),
    Task.SPEECH_RECOGNITION: ("dfce1c48-2a81-462e-a7fd-de97ce985207", "Writes down what is spoken."),
    Task.TEXT_TO_SPEECH: ("b52660a1-9a95-4ab2-8b1d-f232be34604a", "Speaks a text."),
    Task.VOICE_ACTIVITY_DETECTION: (
        "ccb1ca5a-043d-41a7-8a3b-61017b2796fd",
        "Hears whether somebody speaks, or is done speaking.",
    ),
}


def task_name(task: Task) -> str:
    """The service's name of a model's task."""
    return _COUNTED_AS.get(task, task).value


def task_fields(task: Task) -> dict[str, object]:
    """A model's task as a card shows it."""
    shown = _COUNTED_AS.get(task, task)
    task_id, description = _ABOUT[shown]
    return {"id": task_id, "name": shown.value, "description": description}


def all_tasks() -> list[dict[str, object]]:
    """Every task that the service has."""
    return [task_fields(task) for task in _ABOUT]
