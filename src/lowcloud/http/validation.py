"""Says in one sentence, with the field's path, why a body was refused."""

from collections.abc import Sequence
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from lowcloud.core.errors import BadRequest

M = TypeVar("M", bound=BaseModel)
MAX_PATH = 200


def validated(model: type[M], value: object, prefix: str = "") -> M:
    """``value`` as ``model``. Raises BadRequest; ``prefix`` is the path of ``value`` in the body."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise refused(path_of(first["loc"], prefix), first["type"], first["msg"]) from None


def refused(path: str, kind: str, message: str) -> BadRequest:
    """The error for pydantic's complaint of ``kind`` about ``path``."""
    if kind == "missing":
        return BadRequest(f"Missing required parameter: {path}.", param=path)
    if kind in ("model_type", "dict_type"):  # pydantic's words name classes of ours
        return BadRequest(f"{path}: must be an object.", param=path)
    return BadRequest(f"{path}: {message.removeprefix('Value error, ')}.", param=path)


def path_of(location: Sequence[str | int], prefix: str = "") -> str:
    """``("messages", 3, "content")`` is ``messages[3].content``."""
    path = prefix
    for step in location:
        if isinstance(step, int):
            path += f"[{step}]"
        elif step != "[key]":
            path += f".{step}" if path else step
    return path[:MAX_PATH]
