"""Which draft of JSON Schema a schema is of, and which keywords that has. Pure."""

import re
from collections.abc import Mapping

from lowcloud.text.schema.shapes import FREE, Unenforceable

LATEST = 2020
REF_STANDS_ALONE = 7  # up to this draft, keywords beside $ref say nothing
_NAMED = re.compile(r"https?://json-schema\.org/(?:draft-0([467])/schema|draft/(2019|2020)-(?:09|12)/schema|schema)#?")
_SINCE = {"const": 6, "contains": 6, "propertyNames": 6, "if": 7, "then": 7, "else": 7}
_SINCE |= dict.fromkeys(("dependentRequired", "dependentSchemas", "minContains", "maxContains"), 2019)
_SINCE |= dict.fromkeys(("unevaluatedItems", "unevaluatedProperties", "$recursiveRef"), 2019)
_SINCE |= dict.fromkeys(("prefixItems", "$dynamicRef"), 2020)
_UNTIL = {"$recursiveRef": 2019}
_APPLICATORS = frozenset(
    {"$ref", "$dynamicRef", "$recursiveRef", "allOf", "anyOf", "oneOf", "not", "if", "dependentSchemas", "contains"}
)


def draft(declared: object) -> int:
    """The draft that ``$schema`` names: 4, 6, 7, 2019 or 2020. Raises Unenforceable."""
    if declared is None:
        return LATEST
    found = _NAMED.fullmatch(declared) if isinstance(declared, str) else None
    if found is None:
        raise Unenforceable("the drafts known here are 4, 6, 7, 2019-09 and 2020-12")
    return int(found[1] or found[2] or LATEST)


def check(keyword: str, of: int) -> None:
    """Raises Unenforceable for a keyword of another draft."""
    if not is_known(keyword, of):
        raise Unenforceable(f"this keyword isn't of draft {of}")


def is_known(keyword: str, of: int) -> bool:
    """Whether the draft has the keyword, or none has."""
    return _SINCE.get(keyword, 0) <= of <= _UNTIL.get(keyword, LATEST + 1)


def types(value: object) -> list[str]:
    """The names of ``type``, each kind of JSON at most once. Raises Unenforceable."""
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not names or not all(name in FREE or name == "integer" for name in names):
        raise Unenforceable(f"it must be of {', '.join(FREE)} and integer", is_malformed=True)
    return [name for name in dict.fromkeys(names) if name != "integer" or "number" not in names]


def holds_anyway(keyword: str, schema: Mapping[str, object], max_items: int | None) -> bool:
    """Whether one of the keywords that can't be enforced holds for all that the others allow."""
    value = schema[keyword]
    match keyword:
        case "uniqueItems":
            return value is False or (max_items is not None and max_items <= 1)
        case "contains":
            return schema.get("minContains", 1) == 0 and "maxContains" not in schema
        case _:
            return value in (True, {}) or is_plain(schema)  # then it is the shape of the other items


def is_plain(schema: Mapping[str, object]) -> bool:
    """Whether no keyword applies other schemas to the same value, so that unevaluated means additional."""
    return _APPLICATORS.isdisjoint(schema)
