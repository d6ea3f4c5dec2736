"""Which part of a JSON schema a grammar can enforce, and what is refused. Pure.

``enforced`` reads a schema of any draft from 4 on into shapes (``reading``, ``meeting``), and writes these as a schema
of the few keywords that llguidance keeps whole (``writing``). What the caller's keywords mean together is decided here:
an answer validates against the caller's schema, not only against llguidance's reading of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from lowcloud.core.errors import BadRequest, UnsupportedSchema
from lowcloud.text.schema.bounds import check_size
from lowcloud.text.schema.reading import Reader
from lowcloud.text.schema.shapes import Object, TooLarge, Unenforceable
from lowcloud.text.schema.writing import written


@dataclass(frozen=True, slots=True)
class Enforced:
    """``schema`` is what a grammar is made of; ``loosened`` has the paths, from the body on, of what it leaves out."""

    schema: Mapping[str, object]
    loosened: tuple[str, ...] = ()


def enforced(schema: object, *, param: str, is_strict: bool, is_object: bool = False) -> Enforced:
    """The part of the schema that can be enforced; ``param`` is its path in the body.

    ``is_object``: only objects are wanted, whatever the schema says. A strict schema is enforced whole, or
    UnsupportedSchema is raised, BadRequest where it isn't well formed or too large. Of others what can't be enforced is
    left out, and the rest compiles. What is no object raises BadRequest in any case.
    """
    if not isinstance(schema, Mapping):
        raise BadRequest(f"{param}: a JSON schema must be an object.", param=param)
    try:
        check_size(schema)
        reader = Reader(schema, is_strict=is_strict)
        shape = reader.meeting.of((Object(),), reader.read()) if is_object else reader.read()
        found = written(shape, reader.definitions, reader.spend)
    except Unenforceable as error:
        if is_strict:
            raise _refusal(error, param) from error
        found = None
    except RecursionError as error:
        if is_strict:
            raise _refusal(TooLarge("its references nest too deep", is_malformed=True), param) from error
        found = None
    if found is None and is_strict:
        raise _refusal(Unenforceable("no value that ends is allowed by it"), param)
    if found is None:
        return Enforced({"type": "object"} if is_object else {}, (param,))
    return Enforced(found, tuple(_whole(param, path) for path in reader.loosened))


def _refusal(error: Unenforceable, param: str) -> BadRequest:
    path = _whole(param, error.path)
    if error.is_malformed:
        return BadRequest(f"{path} isn't a JSON schema that can be read: {error}.", param=path)
    return UnsupportedSchema(f"{path} can't be enforced: {error}.", param=path)


def _whole(param: str, path: str) -> str:
    return param + path.rstrip(".")


__all__ = ["Enforced", "enforced"]
