import pytest
from dialect_fixtures import fixtures, is_right, read

from lowcloud.text.dialects.mistral import LISTED_CALLS, MARKED_CALLS

FIXTURES = fixtures("mistral")


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda fixture: fixture["id"])
@pytest.mark.parametrize("dialect", [LISTED_CALLS, MARKED_CALLS], ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("size", range(9))
def test_an_output_reads_the_same_whole_and_in_any_chunks(fixture, dialect, size):
    """Either dialect reads both forms of calls; they differ in what they let a model write."""
    reading = read(dialect, fixture, size)
    assert is_right(fixture, reading), reading
