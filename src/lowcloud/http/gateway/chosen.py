"""Which gateway a call names beside its URL, in a header or in its options, and what it asks of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lowcloud.core.errors import BadRequest
from lowcloud.gateway.errors import FeatureUnsupported
from lowcloud.gateway.options import BINDING, Options, later_of, options_of, options_of_binding, over, unknown_of
from lowcloud.http.openai.parameters import named

GATEWAY_HEADER = "cf-aig-gateway-id"
AT = "options.gateway"


@dataclass(frozen=True, slots=True)
class Chosen:
    """``ignored`` names those of the options and of the gateway's headers that nothing reads."""

    gateway_id: str
    options: Options
    ignored: tuple[str, ...] = ()


def chosen(options: object, headers: Sequence[tuple[str, str]]) -> Chosen | None:
    """The gateway; None: the call names none. Of two that are asked for, that of a run's ``options`` counts.

    ``headers`` have lower-case names. Raises BadRequest, BadOption, FeatureUnsupported.
    """
    given = options.get("gateway") if isinstance(options, Mapping) else None
    gateway_id = next((value for name, value in headers if name == GATEWAY_HEADER), None)
    if given is None and gateway_id is None:
        return None
    refuse_later(headers)
    if given is None:
        return Chosen(gateway_id or "", options_of(headers), tuple(unknown_of(headers)))
    if not isinstance(given, Mapping):
        raise BadRequest(f"{AT}: must be an object.", param=AT)
    gateway_id = given.get("id", gateway_id)
    if not isinstance(gateway_id, str) or not gateway_id:
        raise BadRequest(f"{AT}.id: must be a string.", param=f"{AT}.id")
    unread = (*(f"{AT}.{name}" for name in named(given, {"id", "retries", *BINDING}, {})), *unknown_of(headers))
    return Chosen(gateway_id, over(options_of_binding(given, at=AT), options_of(headers)), unread)


def refuse_later(headers: Sequence[tuple[str, str]]) -> None:
    """Raises FeatureUnsupported for a header that would change the answer and isn't done yet."""
    for name in later_of(headers):
        raise FeatureUnsupported(f"{name} asks for what isn't supported here yet.", param=name)


def without_gateway(options: Mapping[str, object]) -> dict[str, object]:
    """The options that are the model's."""
    return {name: value for name, value in options.items() if name != "gateway"}
