import pytest
from dialect_fixtures import fixtures, is_right, read

from lowcloud.text.dialects.gemma4 import DIALECT

FIXTURES = fixtures("gemma4")


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda fixture: fixture["id"])
@pytest.mark.parametrize("size", range(9))
def test_an_output_reads_the_same_whole_and_in_any_chunks(fixture, size):
    assert is_right(fixture, read(DIALECT, fixture, size)), read(DIALECT, fixture, size)
