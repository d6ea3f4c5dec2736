"""Values as the native API's own examples send them: numbers and booleans as strings too."""

from typing import Annotated, TypeAlias

from pydantic import BeforeValidator, Field

_FLAGS = {"true": True, "false": False}


def _flag(value: object) -> object:
    return _FLAGS.get(value.strip().lower(), value) if isinstance(value, str) else value


def _number(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return int(value) if value.strip().lstrip("+-").isdigit() else float(value)
    except ValueError:
        return value


def _whole(value: object) -> object:
    number = _number(value)
    return int(number) if isinstance(number, float) and number.is_integer() else number


def untyped(value: object) -> object:
    """A typed array as the list that it was before JSON made ``{"0": 137, "1": 80}`` of it; anything else as it is."""
    if isinstance(value, dict) and value and all(key == str(place) for place, key in enumerate(value)):
        return list(value.values())
    return value


Flag: TypeAlias = Annotated[bool, BeforeValidator(_flag, json_schema_input_type=bool | str)]
Whole: TypeAlias = Annotated[int, BeforeValidator(_whole, json_schema_input_type=int | str)]
Number: TypeAlias = Annotated[float, BeforeValidator(_number, json_schema_input_type=float | str)]
Count: TypeAlias = Annotated[Whole, Field(ge=1, lt=2**31)]
