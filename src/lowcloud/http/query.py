"""The query of a request as a model, whose values are text."""

import re
from typing import TypeVar, get_origin
from urllib.parse import parse_qsl

from pydantic import BaseModel

from lowcloud.core.errors import BadRequest
from lowcloud.http.validation import validated

Q = TypeVar("Q", bound=BaseModel)
_METADATA = re.compile(r"metadata\[(.*)\]", re.DOTALL)


def query_of(model: type[Q], query: str) -> Q:
    """The raw query as ``model``: of one value it has the last of a name, of a list all.

    Raises BadRequest, also for a parameter that it hasn't.
    """
    fields = model.model_fields
    labels: dict[str, str] = {}
    known: dict[str, object] = {"metadata": labels} if "metadata" in fields else {}
    lists: dict[str, list[str]] = {name: [] for name, field in fields.items() if get_origin(field.annotation) is list}
    for name, value in parse_qsl(query, keep_blank_values=True):
        plain = name.removesuffix("[]")
        if "metadata" in known and (key := _METADATA.fullmatch(name)):
            labels[key[1]] = value
        elif plain in lists:
            lists[plain].append(value)
        elif plain in fields and plain != "metadata":
            known[plain] = value
        else:
            raise BadRequest(f"{name[:64]}: there is no such parameter.", param=name[:64])
    return validated(model, known | lists)
