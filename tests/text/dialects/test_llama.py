"""Llama's dialects: JSON calls, and calls as a Python list."""

import pytest
from dialect_fixtures import fixtures, is_right, read

from lowcloud.text.dialects import llama, llama_pythonic

FIXTURES = fixtures("llama")
EXCEPTIONS = {
    "llama/l4-truncated-missing-close-bracket": "The first of two calls is whole, and a stream has passed it on when the "
    "second is cut. canitoolcall's own rule for such outputs (spec/README.md, expected_error) keeps it; this fixture "
    "says otherwise.",
}


def dialect_of(fixture):
    return (llama_pythonic if "Llama-4" in fixture["models"][0] else llama).DIALECT


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda fixture: fixture["id"])
@pytest.mark.parametrize("size", range(9))
def test_an_output_reads_the_same_whole_and_in_any_chunks(fixture, size):
    reading = read(dialect_of(fixture), fixture, size)
    assert is_right(fixture, reading) == (fixture["id"] not in EXCEPTIONS), reading
