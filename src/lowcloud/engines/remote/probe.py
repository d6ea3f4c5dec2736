"""Asks an upstream once for its models, to tell a person whether it will do."""

from collections.abc import Mapping
from dataclasses import dataclass

from lowcloud.core.errors import LowcloudError
from lowcloud.engines.remote.failure import parsed, refused
from lowcloud.engines.remote.runtime import RemoteRuntime
from lowcloud.engines.remote.upstream import Upstream

_WITHOUT_A_LIST = frozenset({404, 405, 501})


@dataclass(frozen=True, slots=True)
class Outcome:
    """``answers``: it can be reached, and takes our token. ``has_model`` None: it doesn't list its models."""

    answers: bool
    has_model: bool | None
    note: str


async def look(upstream: Upstream) -> Outcome:
    """Never raises for what an upstream does."""
    runtime = RemoteRuntime(upstream)
    try:
        async with runtime.connected():
            status, body = await runtime.get("/models")
    except LowcloudError as error:
        return Outcome(False, None, str(error))
    if status != 200 and status not in _WITHOUT_A_LIST:
        return Outcome(False, None, str(refused(upstream, status, body)))
    listed = _ids(parsed(body)) if status == 200 else None
    if listed is None:
        return Outcome(True, None, "the upstream answers, without a list of its models")
    if upstream.model in listed:
        return Outcome(True, True, "the upstream answers, and has the model")
    return Outcome(True, False, f"the upstream answers, and doesn't list the model {upstream.model}")


def _ids(listed: object) -> set[object] | None:
    data = listed.get("data") if isinstance(listed, Mapping) else None
    return {model.get("id") for model in data if isinstance(model, Mapping)} if isinstance(data, list) else None
