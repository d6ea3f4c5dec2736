"""For whom tools of types that aren't run here are left out: a header says so, or the settings of a model or a token.

Coding agents always send some, and can't set a member of the body.
"""

from collections.abc import Callable, Mapping
from typing import TypeAlias

from lowcloud.core.errors import BadRequest
from lowcloud.http.call import Call

IGNORES_TOOLS = "lowcloud-ignore-unsupported-tools"
# What the settings say, of a model's and a token's id.
Ignores: TypeAlias = Callable[[str, str], bool]


def ignores_none(_model: str, _token_id: str) -> bool:
    """Settings that say nothing."""
    return False


def ignores_tools(model: str, call: Call, by_settings: Ignores) -> bool:
    """Whether they are left out of what ``call`` asks of the model. Raises BadRequest for a header that doesn't say."""
    said = call.headers.get(IGNORES_TOOLS, "").lower()
    if said not in ("", "true", "false"):
        raise BadRequest(f"{IGNORES_TOOLS}: must be true or false.", param=IGNORES_TOOLS)
    token_id = call.principal.token_id if call.principal else ""
    return said == "true" or by_settings(model, token_id)


def saying_so(inputs: Mapping[str, object]) -> Mapping[str, object]:
    """The inputs of a native run, or those of a batch, as if each that is a response's body said so itself."""
    requests = inputs.get("requests")
    if isinstance(requests, list):
        return {**inputs, "requests": [saying_so(each) if isinstance(each, dict) else each for each in requests]}
    own = inputs.get("lowcloud", {})
    if inputs.get("input") is None or not inputs.get("tools") or not isinstance(own, dict):
        return inputs
    return {**inputs, "lowcloud": {**own, "ignore_unsupported_tools": True}}
