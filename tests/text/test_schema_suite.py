"""The JSON Schema test suite as schemas: each is refused by name, or every answer to it validates. No third way."""

import json
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import schema_walk

from lowcloud.core.errors import BadRequest
from lowcloud.text.schema import enforced

SUITE = Path(__file__).resolve().parents[2] / ".cache" / "suites" / "jsonschema" / "json" / "tests"
pytestmark = pytest.mark.skipif(not SUITE.is_dir(), reason="the suite is not here: run scripts/fetch_suites")
SEEDS = range(3)
NAMES = {
    "draft4": "http://json-schema.org/draft-04/schema#",
    "draft6": "http://json-schema.org/draft-06/schema#",
    "draft7": "http://json-schema.org/draft-07/schema#",
    "draft2019-09": "https://json-schema.org/draft/2019-09/schema",
    "draft2020-12": "https://json-schema.org/draft/2020-12/schema",
}
# Of each draft's schemas: how many are enforced, and how many are refused for the sake of which keyword. "": of the
# whole, since nothing is allowed by it.
EXPECTED: dict[str, tuple[int, dict[str, int]]] = {
    "draft4": (
        152,
        {
            "": 1,
            "$ref": 16,
            "enum": 1,
            "format": 1,
            "minProperties": 1,
            "multipleOf": 4,
            "not": 4,
            "oneOf": 6,
            "pattern": 4,
            "patternProperties": 5,
            "uniqueItems": 3,
        },
    ),
    "draft6": (
        193,
        {
            "": 7,
            "$ref": 24,
            "const": 2,
            "contains": 6,
            "enum": 1,
            "format": 7,
            "minProperties": 1,
            "multipleOf": 4,
            "not": 6,
            "oneOf": 8,
            "pattern": 4,
            "patternProperties": 6,
            "propertyNames": 1,
            "uniqueItems": 3,
        },
    ),
    "draft7": (
        204,
        {
            "": 7,
            "$ref": 29,
            "const": 2,
            "contains": 7,
            "enum": 1,
            "format": 20,
            "if": 8,
            "minProperties": 1,
            "multipleOf": 4,
            "not": 4,
            "oneOf": 8,
            "pattern": 4,
            "patternProperties": 6,
            "propertyNames": 1,
            "uniqueItems": 3,
        },
    ),
    "draft2019-09": (
        256,
        {
            "": 7,
            "$recursiveRef": 3,
            "$ref": 42,
            "$schema": 2,
            "const": 2,
            "contains": 16,
            "enum": 1,
            "format": 20,
            "if": 8,
            "minProperties": 2,
            "multipleOf": 4,
            "not": 5,
            "oneOf": 8,
            "pattern": 4,
            "patternProperties": 6,
            "propertyNames": 3,
            "unevaluatedItems": 14,
            "unevaluatedProperties": 20,
            "uniqueItems": 3,
        },
    ),
    "draft2020-12": (
        252,
        {
            "": 7,
            "$dynamicRef": 3,
            "$ref": 51,
            "$schema": 4,
            "const": 2,
            "contains": 17,
            "enum": 1,
            "format": 21,
            "if": 8,
            "minProperties": 2,
            "multipleOf": 4,
            "not": 5,
            "oneOf": 8,
            "pattern": 4,
            "patternProperties": 6,
            "propertyNames": 3,
            "unevaluatedItems": 14,
            "unevaluatedProperties": 21,
            "uniqueItems": 3,
        },
    ),
}


@cache
def cases(draft: str) -> tuple[tuple[str, dict[str, object]], ...]:
    """Each schema of the draft that is an object, with its name."""
    return tuple(_cases(draft))


def _cases(draft: str) -> Iterator[tuple[str, dict[str, object]]]:
    for file in sorted((SUITE / draft).rglob("*.json")):
        for case in json.loads(file.read_text("utf-8")):
            if isinstance(case["schema"], dict):
                name = f"{file.relative_to(SUITE)}: {case['description']}"
                yield name, {"$schema": NAMES[draft], **case["schema"]}


def keyword_of(path: str) -> str:
    """The keyword that a path ends with."""
    return path.rpartition(".")[2].partition("[")[0] if "." in path else ""


@pytest.mark.parametrize("draft", NAMES)
def test_a_closed_schema_is_refused_by_name_or_each_answer_validates(draft):
    refused: Counter[str] = Counter()
    wrong, n_enforced = [], 0
    for name, schema in cases(draft):
        try:
            found = enforced(schema, param="schema", is_strict=True)
        except BadRequest as error:
            refused[keyword_of(error.param)] += 1
            continue
        n_enforced += 1
        walks = [schema_walk.walk(found.schema, seed) for seed in SEEDS]
        wrong += [(name, each) for each in walks if each.error]
        whole = [each.text for each in walks if each.is_whole]
        wrong += [(name, text, said) for text in whole if (said := schema_walk.objections(schema, text))]
        wrong += [] if whole or found.loosened else [(name, "no answer ends")]
    assert wrong == []
    assert (n_enforced, dict(refused)) == EXPECTED[draft]


@pytest.mark.parametrize("draft", ["draft4", "draft7", "draft2020-12"])
def test_a_schema_that_is_not_closed_is_never_refused_and_compiles(draft):
    wrong, n_loosened = [], 0
    for name, schema in cases(draft):
        found = enforced(schema, param="schema", is_strict=False)
        if not found.loosened:
            assert found == enforced(schema, param="schema", is_strict=True)
            continue
        n_loosened += 1
        if error := schema_walk.compile_error(found.schema) or schema_walk.walk(found.schema, 0).error:
            wrong.append((name, error))
    assert wrong == []
    assert n_loosened == sum(EXPECTED[draft][1].values())
