"""The options of a native run, from the query and from the body's ``options``; of two, the body's."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from lowcloud.core.errors import Unsupported
from lowcloud.http.validation import validated
from lowcloud.http.workers_ai.lenient import Flag


class OptionsBody(BaseModel):
    """The names are the wire's."""

    model_config = ConfigDict(strict=True)

    queueRequest: Flag | None = Field(None, description="run it later, as a batch")  # noqa: N815
    rejectIfBusy: Flag | None = Field(None, description="429 instead of waiting behind others")  # noqa: N815


@dataclass(frozen=True, slots=True)
class RunOptions:
    """``ignored`` names those that nothing reads."""

    queues: bool = False
    rejects_if_busy: bool = False
    ignored: tuple[str, ...] = ()


def run_options(query: Mapping[str, str], options: object) -> RunOptions:
    """Raises BadRequest, and Unsupported for a gateway: calls that name one where they can don't come here."""
    given = validated(OptionsBody, dict(query))
    body = validated(OptionsBody, {} if options is None else options, "options")
    members = options if isinstance(options, dict) else {}
    names = dict.fromkeys([*query, *(name for name, value in members.items() if value is not None)])
    if "gateway" in names:
        raise Unsupported(
            "options.gateway: it is for the body, and for a server with an AI Gateway.", param="options.gateway"
        )
    return RunOptions(
        queues=bool(given.queueRequest if body.queueRequest is None else body.queueRequest),
        rejects_if_busy=bool(given.rejectIfBusy if body.rejectIfBusy is None else body.rejectIfBusy),
        ignored=tuple(f"options.{name}" for name in names if name not in OptionsBody.model_fields),
    )
