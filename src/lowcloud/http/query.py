"""The query of a request as a model, whose values are text."""

import re
from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel

from lowcloud.core.errors import BadRequest
from lowcloud.http.validation import validated

Q = TypeVar("Q", bound=BaseModel)
_METADATA = re.compile(r"metadata\[(.*)\]", re.DOTALL)


def query_of(model: type[Q], query: Mapping[str, str]) -> Q:
    """The query as ``model``. Raises BadRequest, also for a parameter that it hasn't."""
    labels: dict[str, str] = {}
    known: dict[str, object] = {"metadata": labels} if "metadata" in model.model_fields else {}
    for name, value in query.items():
        if "metadata" in known and (key := _METADATA.fullmatch(name)):
            labels[key[1]] = value
        elif (plain := name.removesuffix("[]")) in model.model_fields and plain != "metadata":
            known[plain] = value
        else:
            raise BadRequest(f"{name[:64]}: there is no such parameter.", param=name[:64])
    return validated(model, known)
